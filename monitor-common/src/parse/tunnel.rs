//! Tunnels with readable content.

use super::{
    Bytes, Reason, UDP_HEADER, ether_type,
    header_walker::{HeaderWalker, Layer},
    protocol as known,
};
use crate::wire::{Opaque, Via};

const GTP_U: u16 = 2152;
const TEREDO: u16 = 3544;
const VXLAN: u16 = 4789;
const GENEVE: u16 = 6081;
const MPLS_IN_UDP: u16 = 6635;
/// Linux's port for VXLAN from before one was assigned, and still its default.
const VXLAN_LINUX: u16 = 8472;

/// Whether UDP to this port is followed into.
#[inline(always)]
pub(super) const fn is_port(port: u16) -> bool {
    matches!(port, GTP_U | TEREDO | VXLAN | GENEVE | MPLS_IN_UDP | VXLAN_LINUX)
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

    /// UDP to a tunnel's port. A packet that says that it is no tunnel data is a flow like any other; one that is
    /// damaged is not.
    #[inline(always)]
    pub(super) fn udp_tunnel(&mut self, frame: impl Bytes, port: u16) -> Result<(), Reason> {
        match port {
            GTP_U => self.gtp_u(frame),
            GENEVE => self.geneve(frame),
            MPLS_IN_UDP => {
                self.require(UDP_HEADER, Reason::TruncatedTunnel)?;
                self.enter_tunnel(Via::Mpls, UDP_HEADER, Layer::Mpls)
            }
            TEREDO => {
                self.require(UDP_HEADER + 1, Reason::TruncatedTunnel)?;
                match frame.u8(self.offset + UDP_HEADER).ok_or(Reason::TruncatedTunnel)? >> 4 {
                    6 => self.enter_tunnel(Via::Teredo, UDP_HEADER, Layer::Ipv6),
                    _ => self.finish(),
                }
            }
            _ => self.vxlan(frame),
        }
    }

    /// RFC 2784 and 2890. Version 1 (PPTP) and source routes (RFC 1701) are not followed.
    #[inline(always)]
    fn gre(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const CHECKSUM: u32 = 1 << 31;
        const ROUTING: u32 = 1 << 30;
        const KEY: u32 = 1 << 29;
        const SEQUENCE: u32 = 1 << 28;
        const VERSION: u32 = 7 << 16;
        self.require(4, Reason::TruncatedTunnel)?;
        let word = frame.be32(self.offset).ok_or(Reason::TruncatedTunnel)?;
        if word & (VERSION | ROUTING) != 0 {
            return Err(Reason::BadTunnel);
        }
        let part = |flag: u32| if word & flag != 0 { 4 } else { 0 };
        let header = 4 + part(CHECKSUM) + part(KEY) + part(SEQUENCE);
        self.require(header, Reason::TruncatedTunnel)?;
        self.next = word as u16;
        self.enter_tunnel(Via::Gre, header, Layer::Payload)
    }

    /// RFC 7348: 8 bytes, of which only a flag says whether there is a frame.
    #[inline(always)]
    fn vxlan(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const HEADER: u32 = UDP_HEADER + 8;
        const HAS_NETWORK: u8 = 1 << 3;
        self.require(HEADER, Reason::TruncatedTunnel)?;
        match frame.u8(self.offset + UDP_HEADER).ok_or(Reason::TruncatedTunnel)? & HAS_NETWORK {
            0 => self.finish(),
            _ => self.enter_tunnel(Via::Vxlan, HEADER, Layer::Ethernet),
        }
    }

    /// RFC 8926: version and options' length in words, flags, protocol; network; options.
    #[inline(always)]
    fn geneve(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const HEADER: u32 = UDP_HEADER + 8;
        self.require(HEADER, Reason::TruncatedTunnel)?;
        let word = frame.be32(self.offset + UDP_HEADER).ok_or(Reason::TruncatedTunnel)?;
        if word >> 30 != 0 {
            return Err(Reason::BadTunnel);
        }
        let header = HEADER + (word >> 24 & 0x3f) * 4;
        self.require(header, Reason::TruncatedTunnel)?;
        self.next = word as u16;
        self.enter_tunnel(Via::Geneve, header, Layer::Payload)
    }

    /// The content that GRE or Geneve announce.
    #[inline(always)]
    pub(super) fn payload(&mut self) -> Result<(), Reason> {
        self.layer = match self.next {
            ether_type::IPV4 => Layer::Ipv4,
            ether_type::IPV6 => Layer::Ipv6,
            ether_type::BRIDGED => Layer::Ethernet,
            ether_type::MPLS | ether_type::MPLS_MULTICAST => return self.enter_tunnel(Via::Mpls, 0, Layer::Mpls),
            _ => return self.finish_opaque(Opaque::Other),
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
            return self.finish();
        }
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
            return Err(Reason::BadTunnel);
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
        const LABEL: u32 = 4;
        self.require(LABEL, Reason::TruncatedTunnel)?;
        let label = frame.be32(self.offset).ok_or(Reason::TruncatedTunnel)?;
        self.offset += LABEL;
        if label & BOTTOM_OF_STACK != 0 {
            self.layer = Layer::Ip;
        }
        Ok(())
    }
}
