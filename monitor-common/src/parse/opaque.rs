//! What UDP carries that cannot be read.

use super::Bytes;
use crate::wire::Opaque;

const HTTPS: u16 = 443;
const IPSEC_NAT_TRAVERSAL: u16 = 4500;

/// Marks a UDP payload of `length` bytes at `offset`. `None`: its first bytes are not to be had.
#[inline(always)]
pub(super) fn udp(frame: impl Bytes, offset: u32, length: u32, ports: (u16, u16)) -> Option<Opaque> {
    if ports.0 == IPSEC_NAT_TRAVERSAL || ports.1 == IPSEC_NAT_TRAVERSAL {
        return Some(Opaque::EspInUdp);
    }
    if ports.0 == HTTPS || ports.1 == HTTPS {
        return Some(Opaque::Quic);
    }
    // Shorter is neither.
    if length < 8 {
        return Some(Opaque::None);
    }
    let first = frame.be64(offset)?;
    Some(if is_wireguard(first, length) {
        Opaque::WireGuard
    } else if is_quic_long_header(first) {
        Opaque::Quic
    } else {
        Opaque::None
    })
}

/// A type and three zero bytes, and for each type a length: initiation, response, cookie, and data in units of 16.
#[inline(always)]
const fn is_wireguard(first: u64, length: u32) -> bool {
    match first >> 32 {
        0x0100_0000 => length == 148,
        0x0200_0000 => length == 92,
        0x0300_0000 => length == 64,
        0x0400_0000 => length >= 32 && length & 15 == 0,
        _ => false,
    }
}

/// Long header and fixed bit (RFC 9000 17.2), then version 1 or 2 (RFC 9369).
#[inline(always)]
const fn is_quic_long_header(first: u64) -> bool {
    first >> 62 == 3 && matches!((first >> 24) as u32, 1 | 0x6b33_43cf)
}
