//! Content of UDP that cannot be read: recognised by port or first bytes.

#[cfg(feature = "user")]
use super::protocol;
use super::{Bytes, UDP_HEADER};
use crate::wire::Opaque;

const HTTPS: u16 = 443;
const OPENVPN: u16 = 1194;
const L2TP: u16 = 1701;
const AMT: u16 = 2268;
const LISP: u16 = 4341;
const IPSEC_NAT_TRAVERSAL: u16 = 4500;
const CAPWAP: u16 = 5247;
const GUE: u16 = 6080;

/// Whether the destination port marks a datagram, alone or with its first byte.
#[cfg(test)]
pub(super) const fn is_port(port: u16) -> bool {
    matches!(port, IPSEC_NAT_TRAVERSAL | HTTPS | OPENVPN | L2TP | AMT | LISP | CAPWAP | GUE)
}

/// The mark that a destination alone gives, for whoever asks about one; a packet's content may give it others.
#[cfg(feature = "user")]
#[must_use]
pub fn of_destination(protocol: u8, port: Option<u16>) -> Opaque {
    match (protocol, port) {
        (protocol::ESP, _) => Opaque::Esp,
        (
            protocol::IPCOMP
            | protocol::L2TP
            | protocol::MINIMAL_ENCAPSULATION
            | protocol::IP_WITHIN_IP
            | protocol::ENCAPSULATION,
            _,
        )
        | (protocol::UDP, Some(OPENVPN | L2TP | LISP | CAPWAP | GUE)) => Opaque::Other,
        (protocol::UDP, Some(IPSEC_NAT_TRAVERSAL)) => Opaque::EspInUdp,
        (protocol::UDP, Some(HTTPS)) => Opaque::Quic,
        _ => Opaque::None,
    }
}

/// Marks a UDP datagram at `offset`, of whose header `length` and `ports` were read, in an IP packet that ends at
/// `end`. `None`: its first bytes are outside the frame.
#[inline(always)]
pub(super) fn udp(frame: impl Bytes, offset: u32, end: u32, length: u32, ports: (u16, u16)) -> Option<Opaque> {
    match ports.1 {
        IPSEC_NAT_TRAVERSAL => return Some(Opaque::EspInUdp),
        HTTPS => return Some(Opaque::Quic),
        OPENVPN | L2TP | LISP | CAPWAP | GUE => return Some(Opaque::Other),
        // RFC 7450: version 0 and one of seven types, the first of which is relays' advertisement.
        AMT if offset + UDP_HEADER < end && matches!(frame.u8(offset + UDP_HEADER)?, 1..=7) => {
            return Some(Opaque::Other);
        }
        _ => {}
    }
    udp_from(frame, offset, end, length, ports.0)
}

/// The same for one whose destination port is none of [`is_port`].
#[inline(always)]
pub(super) fn udp_from(frame: impl Bytes, offset: u32, end: u32, length: u32, port: u16) -> Option<Opaque> {
    match port {
        IPSEC_NAT_TRAVERSAL => return Some(Opaque::EspInUdp),
        HTTPS => return Some(Opaque::Quic),
        _ => {}
    }
    // A shorter one is neither.
    if offset + UDP_HEADER + 8 > end {
        return Some(Opaque::None);
    }
    // Nearly all that is neither ends here.
    let head = frame.be32(offset + UDP_HEADER)?;
    if head >> 30 != 3 && head.wrapping_sub(0x0100_0000) & !0x0300_0000 != 0 {
        return Some(Opaque::None);
    }
    let first = frame.be64(offset + UDP_HEADER)?;
    // A super-packet has no length of its own.
    let length = if length == 0 { end - offset } else { length };
    Some(if is_wireguard(first, length.saturating_sub(UDP_HEADER)) {
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
        0x0400_0000 => length >= 32 && length.is_multiple_of(16),
        _ => false,
    }
}

/// Long header and fixed bit (RFC 9000 17.2), then version 1 or 2 (RFC 9369).
#[inline(always)]
const fn is_quic_long_header(first: u64) -> bool {
    first >> 62 == 3 && matches!((first >> 24) as u32, 1 | 0x6b33_43cf)
}
