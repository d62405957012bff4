//! One header a step: the state between the steps, and which step comes next. Called by the kernel's slow path and by
//! the host; the other files of this folder read one layer each.

use super::{
    Bytes, Reason,
    parts::{Doubt, Fragment, Hop, Refused, Transport},
};
use crate::wire::{Address, FlowKey, Link, ON_LINK, Opaque, Via};

/// Nested IP headers that are followed, the outermost included, before the packet is [`Reason::TooDeep`].
pub const MAX_HEADERS: usize = 4;
/// Inner destinations that are recorded before the packet is [`Reason::TooDeep`]: an IPv4 header has room for nine
/// hops.
pub const MAX_HOPS: usize = 16;
/// Nested fragments that are followed.
pub const MAX_FRAGMENTS: u32 = 2;
/// Steps before the packet is [`Reason::TooDeep`]: four IPv4 headers full of one-byte options take 170.
pub const MAX_STEPS: u32 = 192;

/// What the next step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Layer {
    /// An Ethernet header.
    Ethernet = 0,
    /// `next` as an EtherType after a link header.
    EtherType,
    /// What is announced as link-scope control, by `next` as an EtherType or a number in LLC.
    Control,
    /// An IP header of the version in its first bits; anything else only in a tunnel.
    Ip,
    /// An IPv4 header.
    Ipv4,
    /// An IPv4 option.
    Ipv4Option,
    /// An address of an IPv4 source route.
    Ipv4Hop,
    /// An IPv6 header.
    Ipv6,
    /// A hop-by-hop option of a packet without payload length.
    JumboOption,
    /// An address of an IPv6 routing header.
    Ipv6Hop,
    /// `next` as an IP protocol number.
    Protocol,
    /// `next` as an EtherType in a tunnel's header.
    Payload,
    /// A GTP-U extension header of type `next`.
    GtpExtension,
    /// What Teredo has before the IPv6 header; `next` says what was there already.
    Teredo,
    /// An MPLS label.
    Mpls,
    /// Nothing: the packet is read.
    Done,
}

/// Walks through a packet's headers. Begin with [`HeaderWalker::start`], then [`HeaderWalker::step`] until
/// [`HeaderWalker::is_done`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HeaderWalker {
    /// The packet's part of the key, from the outermost IP header; `ip_version` is 0 until one was read.
    pub key: FlowKey,
    pub(crate) hops: [Hop; MAX_HOPS],
    pub(crate) headers: [Transport; MAX_HEADERS],
    pub(crate) fragments: [Fragment; MAX_FRAGMENTS as usize],
    pub(crate) hops_len: u32,
    pub(crate) headers_len: u32,
    pub(crate) fragments_len: u32,
    /// Source and destination of the current IP header, the innermost so far.
    pub(super) source: Address,
    pub(super) destination: Address,
    /// Where the next step reads, from the frame's first byte.
    pub(super) offset: u32,
    /// Where the enclosing packet ends: never beyond the frame.
    pub(super) limit: u32,
    /// Where the packet of the current IP header ends according to the header: beyond `limit` in a first fragment only.
    pub(super) announced_end: u32,
    pub(super) options_end: u32,
    /// End of the fixed part of the current IPv6 header.
    pub(super) fixed_header_end: u32,
    /// The next address of a source route or routing header, and the distance from there to the one after it.
    pub(super) hop_offset: u32,
    pub(super) hop_step: u32,
    pub(super) hops_left: u32,
    /// Bytes elided from the addresses of a routing header, and from the last one.
    pub(super) elided: u32,
    pub(super) elided_last: u32,
    /// VLAN tags of the current frame, or labels of MPLS in UDP; extension headers of the current packet.
    pub(super) tags: u32,
    pub(super) extensions: u32,
    pub(super) next: u16,
    pub(super) layer: Layer,
    /// Version of the current IP header.
    pub(super) ip_version: u8,
    /// The tunnel that the next IP header is in.
    pub(super) via: Via,
    /// The packet, or an enclosing one, is a first fragment: what lies beyond `limit` is in another packet.
    pub(super) in_first_fragment: bool,
    /// The packet is a later fragment: no header follows.
    pub(super) in_later_fragment: bool,
    /// The current IPv6 header has no payload length, which no fragment may have.
    pub(super) no_payload_length: bool,
    /// It has none, but a hop-by-hop header that should contain it.
    pub(super) expects_jumbo: bool,
    /// Whether the tunnel is one is still to be seen, and of what UDP header.
    pub(super) doubt: Doubt,
    pub(super) datagram: u32,
    /// Where the current frame's Ethernet header begins.
    pub(super) link: u32,
    /// The tunnel's header says little, so that its content has to say more.
    pub(super) hidden: bool,
    /// No receiver would take what was just read.
    pub(super) refused: Refused,
}

impl HeaderWalker {
    /// A walker that has not begun.
    #[must_use]
    pub const fn new() -> Self {
        const NOWHERE: Address = Address { high: 0, low: 0 };
        Self {
            key: FlowKey {
                source: NOWHERE,
                destination: NOWHERE,
                ifindex: 0,
                source_port: 0,
                destination_port: 0,
                protocol: 0,
                ip_version: 0,
                verdict: 0,
                flags: 0,
                class_id: 0,
                rule: 0,
            },
            hops: [Hop { address: NOWHERE, ip_version: 0, via: 0, header: 0, flags: 0 }; MAX_HOPS],
            headers: [Transport { port: 0, protocol: 0 }; MAX_HEADERS],
            fragments: [Fragment {
                source: NOWHERE,
                destination: NOWHERE,
                id: 0,
                start: 0,
                end: 0,
                ip_version: 0,
                protocol: 0,
                header: 0,
                more: 0,
            }; MAX_FRAGMENTS as usize],
            hops_len: 0,
            headers_len: 0,
            fragments_len: 0,
            source: NOWHERE,
            destination: NOWHERE,
            offset: 0,
            limit: 0,
            announced_end: 0,
            options_end: 0,
            fixed_header_end: 0,
            hop_offset: 0,
            hop_step: 0,
            hops_left: 0,
            elided: 0,
            elided_last: 0,
            tags: 0,
            extensions: 0,
            next: 0,
            layer: Layer::Done,
            ip_version: 0,
            via: Via::None,
            in_first_fragment: false,
            in_later_fragment: false,
            no_payload_length: false,
            expects_jumbo: false,
            doubt: Doubt::None,
            datagram: 0,
            link: 0,
            hidden: false,
            refused: Refused::No,
        }
    }

    /// Begins with a frame of `length` bytes that starts with `link`'s header.
    ///
    /// # Errors
    /// [`Reason::UnknownLink`].
    #[inline(always)]
    pub fn start(&mut self, link: Link, length: u32) -> Result<(), Reason> {
        self.key.source = Address::default();
        self.key.destination = Address::default();
        self.key.source_port = 0;
        self.key.destination_port = 0;
        self.key.protocol = 0;
        self.key.ip_version = 0;
        self.key.flags = 0;
        self.hops_len = 0;
        self.headers_len = 0;
        self.fragments_len = 0;
        self.offset = 0;
        self.limit = length;
        self.via = Via::None;
        self.in_first_fragment = false;
        self.in_later_fragment = false;
        self.doubt = Doubt::None;
        self.refused = Refused::No;
        self.layer = match link {
            Link::Ethernet => Layer::Ethernet,
            Link::Ip => Layer::Ip,
            Link::Other => return Err(Reason::UnknownLink),
        };
        Ok(())
    }

    /// Reads the next header.
    ///
    /// # Errors
    /// The [`Reason`] why the packet has no flow; what was read until then stays.
    #[inline(always)]
    pub fn step(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let result = match self.layer {
            Layer::Ethernet => self.ethernet(frame),
            Layer::EtherType => self.ether_type(frame),
            Layer::Control => self.control(frame),
            Layer::Ip => self.ip(frame),
            Layer::Ipv4 => self.ipv4(frame),
            Layer::Ipv4Option => self.ipv4_option(frame),
            Layer::Ipv4Hop => self.ipv4_hop(frame),
            Layer::Ipv6 => self.ipv6(frame),
            Layer::JumboOption => self.jumbo_option(frame),
            Layer::Ipv6Hop => self.ipv6_hop(frame),
            Layer::Protocol => self.protocol(frame),
            Layer::Payload => self.payload(),
            Layer::GtpExtension => self.gtp_extension(frame),
            Layer::Teredo => self.teredo(frame),
            Layer::Mpls => self.mpls(frame),
            Layer::Done => Ok(()),
        };
        if self.refused == Refused::No { result } else { self.ordinary(frame) }
    }

    /// Whether the packet is read.
    #[must_use]
    #[inline(always)]
    pub fn is_done(&self) -> bool {
        self.layer == Layer::Done
    }

    /// Walks through a whole frame.
    ///
    /// # Errors
    /// As [`HeaderWalker::step`].
    #[cfg(feature = "user")]
    pub fn walk(&mut self, frame: &[u8], link: Link) -> Result<(), Reason> {
        self.start(link, frame.len() as u32)?;
        for _ in 0..MAX_STEPS {
            self.step(frame)?;
            if self.is_done() {
                return Ok(());
            }
        }
        Err(Reason::TooDeep)
    }

    /// Inner destinations in the order of the headers.
    #[must_use]
    #[cfg(feature = "user")]
    pub fn hops(&self) -> &[Hop] {
        &self.hops[..self.hops_len as usize]
    }

    /// Which parts of which datagrams the nested IP packets are, from the outermost on.
    #[must_use]
    #[inline(always)]
    pub fn fragment_at(&self, number: usize) -> Option<Fragment> {
        if number < self.fragments_len as usize { self.fragments.get(number).copied() } else { None }
    }

    /// Whether an IP header was read: a link or IP header that follows is inside a tunnel.
    #[inline(always)]
    pub(super) fn in_tunnel(&self) -> bool {
        self.headers_len != 0
    }

    /// Checks that `size` more bytes belong to the enclosing packet.
    #[inline(always)]
    pub(super) fn require(&mut self, size: u32, else_reason: Reason) -> Result<(), Reason> {
        if self.offset + size <= self.limit {
            Ok(())
        } else if self.in_first_fragment {
            Err(Reason::FragmentShort)
        } else {
            self.refuse(else_reason)
        }
    }

    /// Ends with what was read.
    #[inline(always)]
    pub(super) fn finish(&mut self) -> Result<(), Reason> {
        self.layer = Layer::Done;
        Ok(())
    }

    /// Ends, and marks the packet's content as unreadable.
    #[inline(always)]
    pub(super) fn finish_opaque(&mut self, what: Opaque) -> Result<(), Reason> {
        self.key.flags = self.key.flags & ON_LINK | what as u8;
        self.finish()
    }

    /// Continues with a tunnel's content.
    #[inline(always)]
    pub(super) fn enter_tunnel(&mut self, via: Via, header: u32, layer: Layer) -> Result<(), Reason> {
        self.offset += header;
        self.via = via;
        self.layer = layer;
        Ok(())
    }

    /// Records an IP header. `flags`: [`ON_LINK`], or 0.
    #[inline(always)]
    pub(super) fn enter_ip(
        &mut self,
        frame: impl Bytes,
        ip_version: u8,
        source: Address,
        destination: Address,
        flags: u8,
    ) -> Result<(), Reason> {
        let header = self.headers_len;
        if header >= MAX_HEADERS as u32 {
            return Err(Reason::TooDeep);
        }
        self.source = source;
        self.destination = destination;
        self.ip_version = ip_version;
        self.extensions = 0;
        self.expects_jumbo = false;
        self.headers_len = header + 1;
        if header == 0 {
            self.key.source = source;
            self.key.destination = destination;
            self.key.ip_version = ip_version;
            self.key.flags = flags;
        } else {
            let (via, header) = (self.via as u8, header as u8);
            self.push_hop(frame, Hop { address: destination, ip_version, via, header, flags })?;
        }
        self.set_current_transport(frame, 0, 0, 0);
        Ok(())
    }

    /// Records an inner destination.
    #[inline(always)]
    pub(super) fn push_hop(&mut self, frame: impl Bytes, hop: Hop) -> Result<(), Reason> {
        let number = self.hops_len;
        if number >= MAX_HOPS as u32 {
            return Err(Reason::TooDeep);
        }
        self.hops_len = number + 1;
        if let Some(entry) = self.hops.get_mut(frame.index(number, MAX_HOPS - 1)) {
            *entry = hop;
        }
        Ok(())
    }

    /// Records a hop of the current IP header.
    #[inline(always)]
    pub(super) fn push_current_hop(
        &mut self,
        frame: impl Bytes,
        address: Address,
        ip_version: u8,
        via: Via,
    ) -> Result<(), Reason> {
        let header = (self.headers_len - 1) as u8;
        self.push_hop(frame, Hop { address, ip_version, via: via as u8, header, flags: 0 })
    }

    /// Records what follows the current IP header.
    #[inline(always)]
    pub(super) fn set_current_transport(&mut self, frame: impl Bytes, protocol: u8, source_port: u16, port: u16) {
        let header = self.headers_len - 1;
        self.set_transport(frame.index(header, MAX_HEADERS - 1) as u32, protocol, source_port, port);
    }

    /// Records what follows an IP header.
    #[inline(always)]
    pub(crate) fn set_transport(&mut self, header: u32, protocol: u8, source_port: u16, port: u16) {
        if header == 0 {
            self.key.protocol = protocol;
            self.key.source_port = source_port;
            self.key.destination_port = port;
        }
        // The mask changes nothing. It is for the kernel's verifier, which sees no bound on a number in memory.
        self.headers[header as usize & (MAX_HEADERS - 1)] = Transport { port, protocol };
    }

    /// Records that the IP packet is a fragment: `payload` bytes from unit `start` on.
    #[inline(always)]
    pub(super) fn push_fragment(
        &mut self,
        frame: impl Bytes,
        protocol: u8,
        id: u32,
        start: u32,
        payload: u32,
        more: bool,
    ) -> Result<(), Reason> {
        if payload == 0 || payload > 0xffff || (more && payload & 7 != 0) || start * 8 + payload > 0xffff {
            return Err(Reason::BadIpLength);
        }
        let fragment = Fragment {
            source: self.source,
            destination: self.destination,
            id,
            start: start as u16,
            end: (start + payload.div_ceil(8)) as u16,
            ip_version: self.ip_version,
            protocol,
            header: (self.headers_len - 1) as u8,
            more: u8::from(more),
        };
        // A fragment inside a fragment of the same datagram: nobody could tell their bytes apart.
        if self.fragments_len != 0 && self.fragments[0].same_datagram(&fragment) {
            return Err(Reason::FragmentOverlap);
        }
        let number = self.fragments_len;
        if number >= MAX_FRAGMENTS {
            return Err(Reason::TooDeep);
        }
        self.fragments_len = number + 1;
        if let Some(entry) = self.fragments.get_mut(frame.index(number, MAX_FRAGMENTS as usize - 1)) {
            *entry = fragment;
        }
        if start == 0 {
            self.in_first_fragment = true;
        } else {
            self.in_later_fragment = true;
        }
        Ok(())
    }
}

impl Default for HeaderWalker {
    fn default() -> Self {
        Self::new()
    }
}
