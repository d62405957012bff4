//! The fast path for nearly every packet: Ethernet or no link header, then IPv4 without options or IPv6 without
//! extension headers, not fragmented, then a transport header and no tunnel. Whatever is not exactly that is left to
//! the header walker, which reads the same of such a plain packet.

use super::{Bytes, Window, ether_type, opaque, protocol, tunnel};
use crate::wire::{CacheKey, Link, Opaque};

const ETHERNET_HEADER: u32 = 14;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// Bytes of a transport header that must be there, so that one check covers all headers: those of UDP's. The header
/// walker requires fewer of others.
const TRANSPORT: u32 = 8;

/// The packet's part of the key, if it is plain. `length`: bytes of the whole packet.
#[inline(always)]
pub fn fast_parse(frame: impl Bytes, length: u32, link: Link) -> Option<CacheKey> {
    match link {
        Link::Ethernet => {
            let window = frame.window::<{ ETHERNET_HEADER + IPV4_HEADER + TRANSPORT }>()?;
            match window.be16(ETHERNET_HEADER - 2) {
                ether_type::IPV4 => ipv4::<ETHERNET_HEADER>(frame, window, length),
                ether_type::IPV6 => {
                    let window = frame.window::<{ ETHERNET_HEADER + IPV6_HEADER + TRANSPORT }>()?;
                    ipv6::<ETHERNET_HEADER>(frame, window, length)
                }
                _ => None,
            }
        }
        Link::Ip => {
            let window = frame.window::<{ IPV4_HEADER + TRANSPORT }>()?;
            match window.u8(0) >> 4 {
                4 => ipv4::<0>(frame, window, length),
                6 => ipv6::<0>(frame, frame.window::<{ IPV6_HEADER + TRANSPORT }>()?, length),
                _ => None,
            }
        }
        Link::Other => None,
    }
}

#[inline(always)]
fn ipv4<const AT: u32>(frame: impl Bytes, window: impl Window, length: u32) -> Option<CacheKey> {
    const FRAGMENTED: u16 = 0x3fff;
    let total = u32::from(window.be16(AT + 2));
    if window.u8(AT) != 0x45
        || window.be16(AT + 6) & FRAGMENTED != 0
        || total < IPV4_HEADER + TRANSPORT
        || AT + total > length
    {
        return None;
    }
    let key = CacheKey {
        addresses: [window.raw64(AT + 12), 0, 0, 0],
        ip_version: 4,
        protocol: window.u8(AT + 9),
        ..CacheKey::default()
    };
    transport(frame, window, AT + IPV4_HEADER, AT + total, key)
}

#[inline(always)]
fn ipv6<const AT: u32>(frame: impl Bytes, window: impl Window, length: u32) -> Option<CacheKey> {
    let payload = u32::from(window.be16(AT + 4));
    if window.u8(AT) >> 4 != 6 || payload < TRANSPORT || AT + IPV6_HEADER + payload > length {
        return None;
    }
    let key = CacheKey {
        addresses: core::array::from_fn(|word| window.raw64(AT + 8 + 8 * word as u32)),
        ip_version: 6,
        protocol: window.u8(AT + 6),
        ..CacheKey::default()
    };
    transport(frame, window, AT + IPV6_HEADER, AT + IPV6_HEADER + payload, key)
}

/// Whether the destination port says more about a datagram: a single check for nearly all.
#[inline(always)]
const fn is_port(port: u16) -> bool {
    tunnel::is_port(port) || opaque::is_port(port)
}

#[inline(always)]
fn transport(frame: impl Bytes, window: impl Window, at: u32, end: u32, key: CacheKey) -> Option<CacheKey> {
    let ports = window.raw32(at);
    match key.protocol {
        protocol::TCP | protocol::SCTP | protocol::DCCP | protocol::UDP_LITE => Some(CacheKey { ports, ..key }),
        protocol::UDP => {
            let (source, destination) = (window.be16(at), window.be16(at + 2));
            let length = u32::from(window.be16(at + 4));
            let mark: Opaque = if is_port(destination) {
                if tunnel::is_port(destination) {
                    return None;
                }
                opaque::udp(frame, at, end, length, (source, destination))?
            } else {
                opaque::udp_from(frame, at, end, length, source)?
            };
            Some(CacheKey { ports, flags: mark as u8, ..key })
        }
        protocol::ICMP | protocol::ICMPV6 => {
            Some(CacheKey { ports: u32::from_ne_bytes([0, 0, window.u8(at), window.u8(at + 1)]), ..key })
        }
        _ => None,
    }
}
