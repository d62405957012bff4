//! The fast path for packets in a tunnel: what [`super::fast_parse`] reads, with one tunnel of those that are met on servers
//! (IP in IP, GRE, VXLAN, Geneve) before it. Whatever is not exactly that is left to the header walker, which reads the
//! same of such a packet.
//!
//! In two steps, with all that the second one needs in memory: the kernel's verifier would check it once for each way to
//! it.

use super::{
    Bytes, Window, ether_type,
    fast_parse::{Plain, Upper, behind_ethernet, ipv4, ipv6, network_header, plain, v4_on_link, v6_on_link},
    protocol,
    tunnel::{self, Gre, Udp},
};
use crate::{
    cache::V6Addresses,
    wire::{Address, Endpoints, InnerDestination, Link, ON_LINK, PlainKey, TunnelKey, Via},
};

/// A tunnel's content, of which nothing was read yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FastTunnel {
    /// Where the content begins.
    at: u32,
    /// Where the outer packet ends.
    end: u32,
    /// The content's EtherType.
    kind: u32,
    /// The tunnel.
    via: u32,
}

impl FastTunnel {
    /// Reads a packet's outer headers: their key on the interface in this slot. `length`: bytes of the whole packet.
    #[inline(always)]
    pub fn outer<B: Bytes>(&mut self, frame: B, length: u32, link: Link, slot: u32) -> Option<PlainKey> {
        let (at, is_v6) = network_header(frame, link)?;
        let (addresses, upper, flags) = if is_v6 {
            let (window, upper) = ipv6(frame, at, length)?;
            let addresses = [window.raw64(8), window.raw64(16), window.raw64(24), window.raw64(32)];
            (addresses, upper, v6_on_link(frame, window))
        } else {
            let (window, upper) = ipv4(frame, at, length)?;
            ([window.raw64(12), 0, 0, 0], upper, v4_on_link(frame, window))
        };
        self.end = upper.end;
        let endpoints = Endpoints::new(self.tunnel(frame, upper)?, upper.kind, flags).on(slot);
        Some(PlainKey { addresses, endpoints, ip_version: if is_v6 { 6 } else { 4 } })
    }

    /// Reads the tunnel's header; gives the ports, 0 where there are none.
    #[inline(always)]
    fn tunnel<B: Bytes>(&mut self, frame: B, upper: Upper<B::Window>) -> Option<u32> {
        let Upper { window, header, .. } = upper;
        let start = upper.at + header;
        let mut ports = 0;
        let (via, length, kind) = match upper.kind {
            protocol::IPV4 => (Via::IpInIp, 0, ether_type::IPV4),
            protocol::IPV6 => (Via::IpInIp, 0, ether_type::IPV6),
            protocol::GRE => {
                let gre = Gre(u32::from_be(window.raw32(header)));
                (Via::Gre, gre.header()?, gre.content())
            }
            protocol::UDP => {
                ports = window.raw32(header);
                let word = frame.be32(start + super::UDP_HEADER)?;
                match tunnel::udp(window.be16(header + 2), word)? {
                    Udp::Vxlan => (Via::Vxlan, tunnel::VXLAN_HEADER, ether_type::BRIDGED),
                    Udp::Geneve { header, content } => (Via::Geneve, header, content),
                }
            }
            _ => return None,
        };
        self.at = start + length;
        self.kind = u32::from(kind);
        self.via = via as u32;
        (self.at <= self.end).then_some(ports)
    }

    /// Reads the content's headers: the key of both, where `outer` is that of the outer ones.
    #[inline(always)]
    pub fn content<B: Bytes>(&self, frame: B, mut outer: PlainKey) -> Option<TunnelKey> {
        let (at, is_v6) = match self.kind as u16 {
            ether_type::IPV4 => (self.at, false),
            ether_type::IPV6 => (self.at, true),
            ether_type::BRIDGED => behind_ethernet(frame, self.at)?,
            _ => return None,
        };
        let (address, endpoints) = match plain(frame, at, is_v6, self.end)? {
            Plain::V4 { addresses, endpoints } => (Address::v4(u64::from_be(addresses) as u32), endpoints),
            Plain::V6 { addresses, endpoints } => {
                let (high, low) = (u64::from_be(addresses.word(2)), u64::from_be(addresses.word(3)));
                (Address { high, low }, endpoints)
            }
        };
        let inner = InnerDestination {
            address,
            port: endpoints.ports().1,
            protocol: endpoints.protocol(),
            ip_version: if is_v6 { 6 } else { 4 },
            via: self.via as u8,
            flags: endpoints.flags() & ON_LINK,
            _reserved: [0; 2],
        };
        outer.endpoints = outer.endpoints.with_flags(endpoints.flags() & !ON_LINK);
        Some(TunnelKey { outer, inner })
    }
}
