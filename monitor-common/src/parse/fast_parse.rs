//! The fast path for nearly every packet: Ethernet with at most two tags or no link header, then IPv4 without options or
//! IPv6 with at most one extension header, not fragmented, then a transport header and no tunnel. Whatever is not exactly
//! that is left to the header walker, which reads the same of such a plain packet.

use super::{Bytes, Window, ether_type, opaque, protocol, tunnel};
use crate::{
    cache::V6Addresses,
    wire::{Endpoints, Link, PlainKey, on_link},
};

const ETHERNET_HEADER: u32 = 14;
const TAG: u32 = 4;
/// Tags in the frame that are read over.
const TAGS: u32 = 2;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// Bytes of a transport header that must be there, so that one check covers all headers: those of UDP's. The header
/// walker requires fewer of others.
const TRANSPORT: u32 = 8;

/// A plain packet's part of the key.
#[derive(Clone, Copy, Debug)]
pub enum Plain<W> {
    /// IPv4.
    V4 {
        /// Source and destination as they are in the packet.
        addresses: u64,
        /// Without the interface.
        endpoints: Endpoints,
    },
    /// IPv6.
    V6 {
        /// Source and destination.
        addresses: AddressesOf<W>,
        /// Without the interface.
        endpoints: Endpoints,
    },
}

/// The addresses in an IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct AddressesOf<W>(W);

impl<W: Window> V6Addresses for AddressesOf<W> {
    #[inline(always)]
    fn word(self, number: u32) -> u64 {
        self.0.raw64(8 + 8 * number)
    }
}

impl<W: Window> Plain<W> {
    /// The key on the interface in this slot.
    #[must_use]
    #[inline(always)]
    pub fn key(&self, slot: u32) -> PlainKey {
        match *self {
            Self::V4 { addresses, endpoints } => {
                PlainKey { addresses: [addresses, 0, 0, 0], endpoints: endpoints.on(slot), ip_version: 4 }
            }
            Self::V6 { addresses, endpoints } => PlainKey {
                addresses: core::array::from_fn(|word| addresses.word(word as u32)),
                endpoints: endpoints.on(slot),
                ip_version: 6,
            },
        }
    }
}

/// The packet's part of the key, if it is plain. `length`: bytes of the whole packet.
#[inline(always)]
pub fn fast_parse<B: Bytes>(frame: B, length: u32, link: Link) -> Option<Plain<B::Window>> {
    let (at, is_v6) = network_header(frame, link)?;
    plain(frame, at, is_v6, length)
}

/// The flags in the TCP header of a packet that [`fast_parse`] takes and that has no extension header; 0 of any other.
#[inline(always)]
pub fn tcp_flags<B: Bytes>(frame: B, link: Link) -> u8 {
    const FLAGS: u32 = 13;
    let Some((at, is_v6)) = network_header(frame, link) else { return 0 };
    let (kind, header) = if is_v6 { (6, IPV6_HEADER) } else { (9, IPV4_HEADER) };
    if frame.u8(at + kind) != Some(protocol::TCP) {
        return 0;
    }
    frame.u8(at + header + FLAGS).unwrap_or(0)
}

/// Where the network header of a frame begins, and whether it is IPv6's.
#[inline(always)]
pub(super) fn network_header<B: Bytes>(frame: B, link: Link) -> Option<(u32, bool)> {
    match link {
        Link::Ethernet => behind_ethernet(frame, 0),
        Link::Ip => Some((0, frame.window::<{ IPV4_HEADER + TRANSPORT }>(0)?.u8(0) >> 4 == 6)),
        Link::Other => None,
    }
}

/// The same behind the Ethernet header that begins at `start`.
#[inline(always)]
pub(super) fn behind_ethernet<B: Bytes>(frame: B, start: u32) -> Option<(u32, bool)> {
    let window = frame.window::<{ ETHERNET_HEADER + IPV4_HEADER + TRANSPORT }>(start)?;
    let (mut at, mut kind) = (ETHERNET_HEADER, window.raw16(ETHERNET_HEADER - 2));
    let mut tags = 0;
    while kind == ether_type::VLAN.to_be() || kind == ether_type::SERVICE_VLAN.to_be() {
        if tags == TAGS {
            return None;
        }
        tags += 1;
        kind = window.raw16(at + 2);
        at += TAG;
    }
    let is_v6 = kind == ether_type::IPV6.to_be();
    (is_v6 || kind == ether_type::IPV4.to_be()).then_some((start + at, is_v6))
}

/// The key of the packet whose network header begins at `at`, if it is plain and ends at `length` or before.
#[inline(always)]
pub(super) fn plain<B: Bytes>(frame: B, at: u32, is_v6: bool, length: u32) -> Option<Plain<B::Window>> {
    if is_v6 {
        let (window, upper) = ipv6(frame, at, length)?;
        let endpoints = transport(frame, upper)?.with_flags(v6_on_link(frame, window));
        Some(Plain::V6 { addresses: AddressesOf(window), endpoints })
    } else {
        let (window, upper) = ipv4(frame, at, length)?;
        let endpoints = transport(frame, upper)?.with_flags(v4_on_link(frame, window));
        Some(Plain::V4 { addresses: window.raw64(12), endpoints })
    }
}

/// [`crate::wire::ON_LINK`] of the IPv4 header that a window begins with.
#[inline(always)]
pub(super) fn v4_on_link<B: Bytes>(frame: B, window: B::Window) -> u8 {
    let group = window.u8(16) >> 4 ^ 0xe;
    on_link(frame.index(window.u8(8).into(), 0xff), frame.index(group.into(), 0xff))
}

/// The same of an IPv6 header.
#[inline(always)]
pub(super) fn v6_on_link<B: Bytes>(frame: B, window: B::Window) -> u8 {
    let group = window.u8(24) ^ 0xff;
    on_link(frame.index(window.u8(7).into(), 0xff), frame.index(group.into(), 0xff))
}

/// What follows an IP header with its extension headers.
#[derive(Clone, Copy)]
pub(super) struct Upper<W> {
    /// What was checked: at least eight bytes of it.
    pub window: W,
    /// Where it begins in the window.
    pub header: u32,
    /// Where the window begins.
    pub at: u32,
    /// Where the packet ends.
    pub end: u32,
    /// IANA protocol number.
    pub kind: u8,
}

/// An IPv4 header without options, of a whole packet, and what follows.
#[inline(always)]
pub(super) fn ipv4<B: Bytes>(frame: B, at: u32, length: u32) -> Option<(B::Window, Upper<B::Window>)> {
    /// Version and header length, then more fragments and fragment offset, in the header's first eight bytes.
    const FIRST: u64 = u64::from_ne_bytes([0x45, 0, 0, 0, 0, 0, 0, 0]);
    const FIRST_MASK: u64 = u64::from_ne_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
    let window = frame.window::<{ IPV4_HEADER + TRANSPORT }>(at)?;
    let total = u32::from(window.be16(2));
    if window.raw64(0) & FIRST_MASK != FIRST || total < IPV4_HEADER + TRANSPORT || at + total > length {
        return None;
    }
    Some((window, Upper { window, header: IPV4_HEADER, at, end: at + total, kind: window.u8(9) }))
}

/// An IPv6 header with at most one extension header, of a whole packet, and what follows.
#[inline(always)]
pub(super) fn ipv6<B: Bytes>(frame: B, at: u32, length: u32) -> Option<(B::Window, Upper<B::Window>)> {
    let window = frame.window::<{ IPV6_HEADER + TRANSPORT }>(at)?;
    let payload = u32::from(window.be16(4));
    let end = at + IPV6_HEADER + payload;
    if window.u8(0) >> 4 != 6 || payload < TRANSPORT || end > length {
        return None;
    }
    let next = window.u8(6);
    if next != protocol::HOP_BY_HOP && next != protocol::DESTINATION_OPTIONS {
        return Some((window, Upper { window, header: IPV6_HEADER, at, end, kind: next }));
    }
    let extension = 8 + u32::from(window.u8(IPV6_HEADER + 1)) * 8;
    if payload < extension + TRANSPORT {
        return None;
    }
    let at = at + IPV6_HEADER + extension;
    let upper = Upper { window: frame.window::<TRANSPORT>(at)?, header: 0, at, end, kind: window.u8(IPV6_HEADER) };
    Some((window, upper))
}

#[inline(always)]
fn transport<B: Bytes>(frame: B, upper: Upper<B::Window>) -> Option<Endpoints> {
    let Upper { window, header, at, end, kind } = upper;
    let ports = window.raw32(header);
    match kind {
        protocol::TCP | protocol::SCTP | protocol::DCCP | protocol::UDP_LITE => Some(Endpoints::new(ports, kind, 0)),
        protocol::UDP => {
            let (source, destination) = (window.be16(header), window.be16(header + 2));
            let length = u32::from(window.be16(header + 4));
            let at = at + header;
            let mark = if is_known(destination) {
                if tunnel::is_port(destination) {
                    return None;
                }
                opaque::udp(frame, at, end, length, (source, destination))?
            } else {
                opaque::udp_from(frame, at, end, length, source)?
            };
            Some(Endpoints::new(ports, kind, mark as u8))
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let ports = u32::from_ne_bytes([0, 0, window.u8(header), window.u8(header + 1)]);
            Some(Endpoints::new(ports, kind, 0))
        }
        _ => None,
    }
}

/// Whether the destination port may say more about a datagram: of those that do not, one in six is taken for one. One look
/// for nearly all.
#[inline(always)]
const fn is_known(port: u16) -> bool {
    KNOWN >> bit_of(port) & 1 != 0
}

/// The ports of [`tunnel::is_port`] and [`opaque::is_port`].
const PORTS: [u16; 15] = [443, 1194, 1701, 2152, 2268, 3544, 4341, 4500, 4789, 4790, 5247, 6080, 6081, 6635, 8472];

const KNOWN: u64 = {
    let (mut bits, mut at) = (0, 0);
    while at < PORTS.len() {
        bits |= 1 << bit_of(PORTS[at]);
        at += 1;
    }
    bits
};

/// A bit of 64. The factor was chosen so that the known ports share ten of them.
#[inline(always)]
const fn bit_of(port: u16) -> u32 {
    (port as u32).wrapping_mul(0xa648_a7dd) >> 26
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_that_says_more_is_known_and_few_others() {
        let says_more = |port: &u16| tunnel::is_port(*port) || opaque::is_port(*port);
        assert_eq!((0..=u16::MAX).filter(says_more).collect::<Vec<_>>(), PORTS);
        assert!((0..=u16::MAX).filter(says_more).all(is_known));
        assert_eq!(KNOWN.count_ones(), 10);
    }
}
