//! Tunnels with readable content.

use super::{
    Bytes, Reason, UDP_HEADER, ether_type,
    header_walker::{HeaderWalker, Layer},
    protocol as known,
};
use crate::wire::Via;

const GTP_U: u16 = 2152;
const TEREDO: u16 = 3544;
const VXLAN: u16 = 4789;
/// VXLAN whose header may announce its content: at this port or, as Linux can have it, at VXLAN's.
const VXLAN_GPE: u16 = 4790;
const GENEVE: u16 = 6081;
const MPLS_IN_UDP: u16 = 6635;
/// Linux's port for VXLAN from before one was assigned, and still its default.
const VXLAN_LINUX: u16 = 8472;

/// Whether UDP to this port is read as VXLAN.
#[must_use]
pub const fn is_vxlan_port(port: u16) -> bool {
    matches!(port, VXLAN | VXLAN_GPE | VXLAN_LINUX)
}

/// The same of Geneve.
#[must_use]
pub const fn is_geneve_port(port: u16) -> bool {
    port == GENEVE
}

/// Whether UDP to this port is followed into.
#[inline(always)]
pub(super) const fn is_port(port: u16) -> bool {
    matches!(port, GTP_U | TEREDO | VXLAN | VXLAN_GPE | GENEVE | MPLS_IN_UDP | VXLAN_LINUX)
}

/// Labels of MPLS in UDP that a receiver takes: more than any router pushes (Linux at most 30).
const MAX_LABELS: u32 = 32;

/// What of Teredo's own was read.
const TEREDO_NOTHING: u16 = 0;
const TEREDO_AUTHENTICATION: u16 = 1;
const TEREDO_ORIGIN: u16 = 2;

/// Bytes of a UDP header and of VXLAN's.
pub(super) const VXLAN_HEADER: u32 = UDP_HEADER + 8;

/// The first word of a GRE header.
#[derive(Clone, Copy)]
pub(super) struct Gre(pub u32);

impl Gre {
    /// Bytes of the header (RFC 2784 and 2890). `None`: version 1 (PPTP) and source routes (RFC 1701), which are not
    /// followed.
    #[inline(always)]
    pub(super) const fn header(self) -> Option<u32> {
        const CHECKSUM: u32 = 31;
        const ROUTING: u32 = 1 << 30;
        const KEY: u32 = 29;
        const SEQUENCE: u32 = 28;
        const VERSION: u32 = 7 << 16;
        if self.0 & (VERSION | ROUTING) != 0 {
            return None;
        }
        Some(4 + 4 * ((self.0 >> CHECKSUM & 1) + (self.0 >> KEY & 1) + (self.0 >> SEQUENCE & 1)))
    }

    /// The content's EtherType.
    #[inline(always)]
    pub(super) const fn content(self) -> u16 {
        self.0 as u16
    }
}

/// A tunnel in UDP that [`super::FastTunnel`] reads.
#[derive(Clone, Copy)]
pub(super) enum Udp {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve {
        /// Bytes of the UDP header and of Geneve's.
        header: u32,
        /// The content's EtherType.
        content: u16,
    },
}

/// The tunnel at this UDP port, with the first word behind the UDP header.
#[inline(always)]
pub(super) fn udp(port: u16, word: u32) -> Option<Udp> {
    match port {
        VXLAN | VXLAN_LINUX => {
            (word & (VXLAN_HAS_NETWORK | VXLAN_HAS_PROTOCOL) == VXLAN_HAS_NETWORK).then_some(Udp::Vxlan)
        }
        GENEVE => Some(Udp::Geneve { header: geneve_header(word)?, content: word as u16 }),
        _ => None,
    }
}

/// In the first word of a VXLAN header: there is a network's number, without which most receivers take nothing.
const VXLAN_HAS_NETWORK: u32 = 1 << 27;
/// The last byte of the word says what follows (VXLAN-GPE).
const VXLAN_HAS_PROTOCOL: u32 = 1 << 26;
/// VXLAN-GPE's version, which is 0.
const VXLAN_VERSION: u32 = 3 << 28;

/// Bytes of a UDP header and of Geneve's with its options, by the latter's first word. `None`: another version.
#[inline(always)]
const fn geneve_header(word: u32) -> Option<u32> {
    if word >> 30 != 0 { None } else { Some(UDP_HEADER + 8 + (word >> 24 & 0x3f) * 4) }
}

impl HeaderWalker {
    /// Protocols directly over IP.
    #[inline(always)]
    pub(super) fn tunnel(&mut self, frame: impl Bytes, protocol: u8) -> Result<(), Reason> {
        match protocol {
            known::IPV4 => self.enter_tunnel(Via::IpInIp, 0, Layer::Ipv4),
            known::IPV6 => self.enter_tunnel(Via::IpInIp, 0, Layer::Ipv6),
            known::GRE => self.gre(frame),
            known::MPLS => self.enter_tunnel(Via::Mpls, 0, Layer::Mpls),
            known::ETHERNET => self.enter_tunnel(Via::Ethernet, 0, Layer::Ethernet),
            known::ETHERIP => {
                const HEADER: u32 = 2;
                self.require(HEADER, Reason::TruncatedTunnel)?;
                if frame.u8(self.offset).ok_or(Reason::TruncatedTunnel)? >> 4 != 3 {
                    return Err(Reason::BadTunnel);
                }
                self.enter_tunnel(Via::Ethernet, HEADER, Layer::Ethernet)
            }
            _ => self.finish(),
        }
    }

    /// UDP, of at least a header, to a tunnel's port.
    #[inline(always)]
    pub(super) fn udp_tunnel(&mut self, frame: impl Bytes, port: u16) -> Result<(), Reason> {
        self.doubt(matches!(port, GTP_U | TEREDO | MPLS_IN_UDP));
        match port {
            GTP_U => self.gtp_u(frame),
            GENEVE => self.geneve(frame),
            MPLS_IN_UDP => {
                self.end_with_datagram(frame)?;
                self.tags = 0;
                self.enter_tunnel(Via::Mpls, UDP_HEADER, Layer::Mpls)
            }
            TEREDO => {
                self.end_with_datagram(frame)?;
                self.next = TEREDO_NOTHING;
                self.enter_tunnel(Via::Teredo, UDP_HEADER, Layer::Teredo)
            }
            _ => self.vxlan(frame),
        }
    }

    #[inline(always)]
    fn gre(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        self.require(4, Reason::TruncatedTunnel)?;
        let gre = Gre(frame.be32(self.offset).ok_or(Reason::TruncatedTunnel)?);
        let header = gre.header().ok_or(Reason::BadTunnel)?;
        self.require(header, Reason::TruncatedTunnel)?;
        self.next = gre.content();
        self.enter_tunnel(Via::Gre, header, Layer::Payload)
    }

    /// RFC 7348: 8 bytes, of which only a flag says whether there is a frame; a receiver may ignore all of them. With
    /// another flag (VXLAN-GPE) the last byte of the first word announces the content.
    #[inline(always)]
    fn vxlan(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const IPV4: u32 = 1;
        const IPV6: u32 = 2;
        const NSH: u32 = 4;
        const MPLS: u32 = 5;
        self.require(VXLAN_HEADER, Reason::TruncatedTunnel)?;
        let word = frame.be32(self.offset + UDP_HEADER).ok_or(Reason::TruncatedTunnel)?;
        let network = frame.be32(self.offset + UDP_HEADER + 4).ok_or(Reason::TruncatedTunnel)?;
        let announces = word & (VXLAN_HAS_PROTOCOL | VXLAN_VERSION) == VXLAN_HAS_PROTOCOL;
        let content = if announces { word & 0xff } else { 0 };
        let flags = if announces { word & !0xff & !VXLAN_HAS_PROTOCOL } else { word };
        let right = flags == VXLAN_HAS_NETWORK && network & 0xff == 0;
        let right = right && content <= MPLS && announces == (content != 0);
        self.believe(right);
        // A byte says less of the content than an EtherType.
        self.hidden = content != 0 && !right;
        let layer = match content {
            IPV4 | IPV6 => {
                self.require(VXLAN_HEADER + 1, Reason::TruncatedTunnel)?;
                match frame.u8(self.offset + VXLAN_HEADER).ok_or(Reason::TruncatedTunnel)? >> 4 {
                    4 if content == IPV4 => Layer::Ipv4,
                    6 if content == IPV6 => Layer::Ipv6,
                    // To a receiver that does not know the flag it is a frame.
                    _ => Layer::Ethernet,
                }
            }
            NSH => return self.unreadable(),
            MPLS => return self.enter_tunnel(Via::Mpls, VXLAN_HEADER, Layer::Mpls),
            _ => Layer::Ethernet,
        };
        self.enter_tunnel(Via::Vxlan, VXLAN_HEADER, layer)
    }

    /// RFC 8926: version and options' length in words, flags, protocol; network; options.
    #[inline(always)]
    fn geneve(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const RESERVED: u32 = 0x003f_0000;
        const FIRST_ETHERTYPE: u16 = 0x0600;
        self.require(UDP_HEADER + 8, Reason::TruncatedTunnel)?;
        let word = frame.be32(self.offset + UDP_HEADER).ok_or(Reason::TruncatedTunnel)?;
        let network = frame.be32(self.offset + UDP_HEADER + 4).ok_or(Reason::TruncatedTunnel)?;
        let Some(header) = geneve_header(word) else { return self.refuse(Reason::BadTunnel) };
        self.require(header, Reason::TruncatedTunnel)?;
        self.next = word as u16;
        self.believe(word & RESERVED == 0 && network & 0xff == 0 && self.next >= FIRST_ETHERTYPE);
        self.enter_tunnel(Via::Geneve, header, Layer::Payload)
    }

    /// RFC 4380 5.1.1: an authentication header, then an origin indication, both of which may be missing, then IPv6.
    #[inline(always)]
    pub(super) fn teredo(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const ORIGIN: u16 = 0;
        const AUTHENTICATION: u16 = 1;
        self.require(4, Reason::TruncatedTunnel)?;
        let word = frame.be32(self.offset).ok_or(Reason::TruncatedTunnel)?;
        let size = match (word >> 16) as u16 {
            // Two lengths, what is that long, a nonce and a confirmation.
            AUTHENTICATION if self.next == TEREDO_NOTHING => {
                self.next = TEREDO_AUTHENTICATION;
                4 + (word >> 8 & 0xff) + (word & 0xff) + 9
            }
            // An obfuscated port and address.
            ORIGIN if self.next != TEREDO_ORIGIN => {
                self.next = TEREDO_ORIGIN;
                8
            }
            kind if kind >> 12 == 6 => {
                self.layer = Layer::Ipv6;
                return Ok(());
            }
            _ => return self.refuse(Reason::BadTunnel),
        };
        self.require(size, Reason::TruncatedTunnel)?;
        self.offset += size;
        Ok(())
    }

    /// The content that GRE or Geneve announce.
    #[inline(always)]
    pub(super) fn payload(&mut self) -> Result<(), Reason> {
        self.layer = match self.next {
            ether_type::IPV4 => Layer::Ipv4,
            ether_type::IPV6 => Layer::Ipv6,
            ether_type::BRIDGED => Layer::Ethernet,
            ether_type::MPLS | ether_type::MPLS_MULTICAST => return self.enter_tunnel(Via::Mpls, 0, Layer::Mpls),
            _ => return self.unreadable(),
        };
        Ok(())
    }

    /// 3GPP TS 29.281 5.1: flags, type, length, endpoint; with any of three flags a sequence number, an N-PDU number
    /// and the type of the first extension header. Only a G-PDU carries a packet.
    #[inline(always)]
    fn gtp_u(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const HEADER: u32 = UDP_HEADER + 8;
        const VERSION_AND_TYPE: u8 = 0xf0;
        const VERSION_1: u8 = 0x30;
        const EXTENSION: u8 = 1 << 2;
        const ANY_OPTION: u8 = 7;
        const G_PDU: u8 = 255;
        self.require(HEADER, Reason::TruncatedTunnel)?;
        let word = frame.be16(self.offset + UDP_HEADER).ok_or(Reason::TruncatedTunnel)?;
        let flags = (word >> 8) as u8;
        if flags & VERSION_AND_TYPE != VERSION_1 || word as u8 != G_PDU {
            return self.as_ordinary();
        }
        self.believe(true);
        if flags & ANY_OPTION == 0 {
            return self.enter_tunnel(Via::GtpU, HEADER, Layer::Ip);
        }
        self.require(HEADER + 4, Reason::TruncatedTunnel)?;
        let first = frame.u8(self.offset + HEADER + 3).ok_or(Reason::TruncatedTunnel)?;
        self.next = if flags & EXTENSION != 0 { u16::from(first) } else { 0 };
        self.enter_tunnel(Via::GtpU, HEADER + 4, Layer::GtpExtension)
    }

    /// Length in words, content, and the type of the next one in the last byte; type 0: none.
    #[inline(always)]
    pub(super) fn gtp_extension(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        if self.next == 0 {
            self.layer = Layer::Ip;
            return Ok(());
        }
        self.require(4, Reason::TruncatedTunnel)?;
        let size = u32::from(frame.u8(self.offset).ok_or(Reason::TruncatedTunnel)?) * 4;
        if size == 0 {
            return self.refuse(Reason::BadTunnel);
        }
        self.require(size, Reason::TruncatedTunnel)?;
        self.next = u16::from(frame.u8(self.offset + size - 1).ok_or(Reason::TruncatedTunnel)?);
        self.offset += size;
        Ok(())
    }

    /// A label (RFC 3032). What follows the last one is known to its network only; here, as in routers that balance
    /// load by it, the first four bits decide (RFC 4928).
    #[inline(always)]
    pub(super) fn mpls(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const BOTTOM_OF_STACK: u32 = 1 << 8;
        const TIME_TO_LIVE: u32 = 0xff;
        const LABEL: u32 = 4;
        self.require(LABEL, Reason::TruncatedTunnel)?;
        let label = frame.be32(self.offset).ok_or(Reason::TruncatedTunnel)?;
        if self.hidden && self.in_doubt() {
            // RFC 3032 2.4.2 and `mpls_forward`: the first label's time is up.
            if (self.tags == 0 && label & TIME_TO_LIVE <= 1) || self.tags >= MAX_LABELS {
                return self.refuse(Reason::BadTunnel);
            }
            self.tags += 1;
        }
        self.offset += LABEL;
        if label & BOTTOM_OF_STACK != 0 {
            self.layer = Layer::Ip;
        }
        Ok(())
    }
}
