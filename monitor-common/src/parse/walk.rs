//! One header a step: the state between the steps, and which step comes next.

use super::{Bytes, Reason};
use crate::wire::{Address, FlowKey, Link, Opaque, Via};

/// IP headers inside each other that are followed, the outermost included, before the packet is [`Reason::TooDeep`].
pub const MAX_HEADERS: usize = 4;
/// Further destinations that are kept before the packet is [`Reason::TooDeep`]: an IPv4 header has room for nine hops.
pub const MAX_HOPS: usize = 16;
/// Fragments inside each other that are followed.
pub const MAX_FRAGMENTS: u32 = 2;
/// Steps before the packet is [`Reason::TooDeep`]: four IPv4 headers full of one-byte options take 170.
pub const MAX_STEPS: u32 = 192;

/// A further destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Where.
    pub address: Address,
    /// 4 or 6.
    pub ip_version: u8,
    /// A [`Via`] as its number.
    pub via: u8,
    /// Which of [`Walk::headers`] goes there.
    pub header: u8,
}

/// What follows an IP header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// See [`FlowKey::destination_port`].
    pub port: u16,
    /// See [`FlowKey::protocol`].
    pub protocol: u8,
}

/// Which part of which datagram an IP packet is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Source of the header that is fragmented.
    pub source: Address,
    /// Its destination.
    pub destination: Address,
    /// Identification.
    pub id: u32,
    /// First byte in units of eight; 0: the first fragment.
    pub start: u16,
    /// First unit after it.
    pub end: u16,
    /// 4 or 6.
    pub ip_version: u8,
    /// IPv4: part of the datagram's identity. IPv6: 0, it isn't (RFC 8200 4.5).
    pub protocol: u8,
    /// Which of [`Walk::headers`] it is.
    pub header: u8,
    /// 1: others follow.
    pub more: u8,
}

impl Fragment {
    /// Whether both are parts of one datagram.
    #[inline(always)]
    const fn is_of(&self, other: &Self) -> bool {
        self.id == other.id
            && self.ip_version == other.ip_version
            && self.protocol == other.protocol
            && self.source.low == other.source.low
            && self.source.high == other.source.high
            && self.destination.low == other.destination.low
            && self.destination.high == other.destination.high
    }
}

/// What the next step looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Layer {
    /// An Ethernet header.
    Ethernet = 0,
    /// `next` as an EtherType after a link header.
    EtherType,
    /// An IP header of the version that its first bits tell; anything else only inside a tunnel.
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
    /// `next` as an EtherType that a tunnel header tells.
    Payload,
    /// A GTP-U extension header of type `next`.
    GtpExtension,
    /// An MPLS label.
    Mpls,
    /// Nothing: all is known.
    Done,
}

/// A packet on the way through its headers. Start with [`Walk::start`], then [`Walk::step`] until [`Walk::done`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// The packet's part of the key, from the outermost IP header; `ip_version` is 0 until there was one.
    pub key: FlowKey,
    pub(crate) hops: [Hop; MAX_HOPS],
    pub(crate) headers: [Transport; MAX_HEADERS],
    pub(crate) fragments: [Fragment; MAX_FRAGMENTS as usize],
    pub(crate) hops_len: u32,
    pub(crate) headers_len: u32,
    pub(crate) fragments_len: u32,
    /// Source and destination of the IP header that was met last.
    pub(super) source: Address,
    pub(super) destination: Address,
    /// What is looked at next, from the frame's first byte.
    pub(super) offset: u32,
    /// Where what encloses it ends: never beyond the frame.
    pub(super) limit: u32,
    /// Where the IP header that was met last says that its packet ends: beyond `limit` in a first fragment only.
    pub(super) announced: u32,
    /// Where options end.
    pub(super) resume: u32,
    /// Where the fixed part of the IPv6 header that was met last ends.
    pub(super) fixed_end: u32,
    /// Next address of a source route or routing header, and how far it is from there to the one after it.
    pub(super) hop_at: u32,
    pub(super) hop_step: u32,
    pub(super) hops_left: u32,
    /// Bytes that the addresses of a routing header leave out, and the last one.
    pub(super) elided: u32,
    pub(super) elided_last: u32,
    /// VLAN tags of this frame; extension headers of this packet.
    pub(super) tags: u32,
    pub(super) extensions: u32,
    pub(super) next: u16,
    pub(super) layer: Layer,
    /// Version of the IP header that was met last.
    pub(super) ip_version: u8,
    /// By which tunnel the next IP header came.
    pub(super) via: Via,
    /// The packet, or one around it, is a first fragment: what lies beyond `limit` is in another packet.
    pub(super) cut: bool,
    /// The packet is a fragment after the first: no header follows.
    pub(super) later: bool,
    /// The IPv6 header that was met last has no payload length: no fragment has such a one.
    pub(super) untold: bool,
    /// It has none, but a hop-by-hop header that should tell it.
    pub(super) jumbo: bool,
}

impl Walk {
    /// A walk that has not begun.
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
                class: 0,
                rule: 0,
            },
            hops: [Hop { address: NOWHERE, ip_version: 0, via: 0, header: 0 }; MAX_HOPS],
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
            announced: 0,
            resume: 0,
            fixed_end: 0,
            hop_at: 0,
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
            cut: false,
            later: false,
            untold: false,
            jumbo: false,
        }
    }

    /// Puts the walk before a frame of `length` bytes that starts with `link`'s header.
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
        self.cut = false;
        self.later = false;
        self.layer = match link {
            Link::Ethernet => Layer::Ethernet,
            Link::Ip => Layer::Ip,
            Link::Other => return Err(Reason::UnknownLink),
        };
        Ok(())
    }

    /// Looks at the next header.
    ///
    /// # Errors
    /// The [`Reason`] why the packet has no flow; what was met until then stays.
    #[inline(always)]
    pub fn step(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        match self.layer {
            Layer::Ethernet => self.ethernet(frame),
            Layer::EtherType => self.ether_type(frame),
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
            Layer::Mpls => self.mpls(frame),
            Layer::Done => Ok(()),
        }
    }

    /// Whether all is known.
    #[must_use]
    #[inline(always)]
    pub fn done(&self) -> bool {
        self.layer == Layer::Done
    }

    /// The whole way through a frame.
    ///
    /// # Errors
    /// As [`Walk::step`].
    #[cfg(feature = "user")]
    pub fn whole(&mut self, frame: &[u8], link: Link) -> Result<(), Reason> {
        self.start(link, frame.len() as u32)?;
        for _ in 0..MAX_STEPS {
            self.step(frame)?;
            if self.done() {
                return Ok(());
            }
        }
        Err(Reason::TooDeep)
    }

    /// Further destinations in the order in which they were met.
    #[must_use]
    #[cfg(feature = "user")]
    pub fn hops(&self) -> &[Hop] {
        &self.hops[..self.hops_len as usize]
    }

    /// Which parts of which datagrams the IP packets inside each other are, from the outermost on.
    #[must_use]
    #[inline(always)]
    pub fn fragment_at(&self, number: usize) -> Option<Fragment> {
        if number < self.fragments_len as usize { self.fragments.get(number).copied() } else { None }
    }

    /// Whether a tunnel's header was met.
    #[inline(always)]
    pub(super) fn inside(&self) -> bool {
        self.headers_len != 0
    }

    /// That `size` more bytes belong to what is being looked at.
    #[inline(always)]
    pub(super) fn need(&self, size: u32, else_reason: Reason) -> Result<(), Reason> {
        if self.offset + size <= self.limit {
            Ok(())
        } else if self.cut {
            Err(Reason::FragmentShort)
        } else {
            Err(else_reason)
        }
    }

    /// Ends with what is known.
    #[inline(always)]
    pub(super) fn finish(&mut self) -> Result<(), Reason> {
        self.layer = Layer::Done;
        Ok(())
    }

    /// Ends, and says that the packet carries something that can't be read.
    #[inline(always)]
    pub(super) fn opaque(&mut self, what: Opaque) -> Result<(), Reason> {
        self.key.flags = what as u8;
        self.finish()
    }

    /// Goes on with a tunnel's content.
    #[inline(always)]
    pub(super) fn enter_tunnel(&mut self, via: Via, header: u32, layer: Layer) -> Result<(), Reason> {
        self.offset += header;
        self.via = via;
        self.layer = layer;
        Ok(())
    }

    /// Takes note of an IP header.
    #[inline(always)]
    pub(super) fn enter(
        &mut self,
        frame: impl Bytes,
        ip_version: u8,
        source: Address,
        destination: Address,
    ) -> Result<(), Reason> {
        let header = self.headers_len;
        if header >= MAX_HEADERS as u32 {
            return Err(Reason::TooDeep);
        }
        self.source = source;
        self.destination = destination;
        self.ip_version = ip_version;
        self.extensions = 0;
        self.jumbo = false;
        self.headers_len = header + 1;
        if header == 0 {
            self.key.source = source;
            self.key.destination = destination;
            self.key.ip_version = ip_version;
        } else {
            self.hop(frame, Hop { address: destination, ip_version, via: self.via as u8, header: header as u8 })?;
        }
        self.carries(frame, 0, 0, 0);
        Ok(())
    }

    /// Takes note of a further destination.
    #[inline(always)]
    pub(super) fn hop(&mut self, frame: impl Bytes, hop: Hop) -> Result<(), Reason> {
        let number = self.hops_len;
        if number >= MAX_HOPS as u32 {
            return Err(Reason::TooDeep);
        }
        self.hops_len = number + 1;
        if let Some(place) = self.hops.get_mut(frame.index(number, MAX_HOPS - 1)) {
            *place = hop;
        }
        Ok(())
    }

    /// Takes note of a hop of the IP header that was met last.
    #[inline(always)]
    pub(super) fn hop_here(
        &mut self,
        frame: impl Bytes,
        address: Address,
        ip_version: u8,
        via: Via,
    ) -> Result<(), Reason> {
        self.hop(frame, Hop { address, ip_version, via: via as u8, header: (self.headers_len - 1) as u8 })
    }

    /// Takes note of what follows the IP header that was met last.
    #[inline(always)]
    pub(super) fn carries(&mut self, frame: impl Bytes, protocol: u8, source_port: u16, port: u16) {
        let header = self.headers_len - 1;
        self.set_transport(frame.index(header, MAX_HEADERS - 1) as u32, protocol, source_port, port);
    }

    /// Says what follows an IP header.
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

    /// Takes note that the IP packet is a part of another: `payload` bytes from unit `start` on.
    #[inline(always)]
    pub(super) fn fragment(
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
        // A part of a datagram inside a part of the same one: their bytes would be told apart by nobody.
        if self.fragments_len != 0 && self.fragments[0].is_of(&fragment) {
            return Err(Reason::FragmentOverlap);
        }
        let number = self.fragments_len;
        if number >= MAX_FRAGMENTS {
            return Err(Reason::TooDeep);
        }
        self.fragments_len = number + 1;
        if let Some(place) = self.fragments.get_mut(frame.index(number, MAX_FRAGMENTS as usize - 1)) {
            *place = fragment;
        }
        if start == 0 {
            self.cut = true;
        } else {
            self.later = true;
        }
        Ok(())
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}
