//! The short way for nearly every packet: Ethernet or nothing, then IPv4 without options or IPv6 without extension
//! headers, whole, then a transport header and no tunnel's. Whatever is not exactly that is for the walk, which says of
//! a plain packet just the same.

use super::{Bytes, ether_type, opaque, protocol, transport::UDP_HEADER, tunnel};
use crate::wire::{Address, FlowKey, Link, Opaque};

const ETHERNET_HEADER: u32 = 14;

/// Writes the packet's part of the key and gives `Some`, if the packet is plain; else `None`, and `key` may be partly
/// written. `length`: all bytes of the packet.
#[inline(always)]
pub fn plain(frame: impl Bytes, length: u32, link: Link, key: &mut FlowKey) -> Option<()> {
    match link {
        Link::Ethernet => match frame.be16(ETHERNET_HEADER - 2)? {
            ether_type::IPV4 => ipv4::<ETHERNET_HEADER>(frame, length, key),
            ether_type::IPV6 => ipv6::<ETHERNET_HEADER>(frame, length, key),
            _ => None,
        },
        Link::Ip => match frame.u8(0)? >> 4 {
            4 => ipv4::<0>(frame, length, key),
            6 => ipv6::<0>(frame, length, key),
            _ => None,
        },
        Link::Other => None,
    }
}

#[inline(always)]
fn ipv4<const AT: u32>(frame: impl Bytes, length: u32, key: &mut FlowKey) -> Option<()> {
    const HEADER: u32 = 20;
    const NOT_WHOLE: u16 = 0x3fff;
    let destination = frame.be32(AT + 16)?;
    let source = frame.be32(AT + 12)?;
    let total = u32::from(frame.be16(AT + 2)?);
    // A total length of 0 is a GSO super-packet.
    let end = if total == 0 { length } else { AT + total };
    if frame.u8(AT)? != 0x45 || frame.be16(AT + 6)? & NOT_WHOLE != 0 || end > length {
        return None;
    }
    key.source = Address::v4(source);
    key.destination = Address::v4(destination);
    key.ip_version = 4;
    transport(frame, AT + HEADER, end, frame.u8(AT + 9)?, key)
}

#[inline(always)]
fn ipv6<const AT: u32>(frame: impl Bytes, length: u32, key: &mut FlowKey) -> Option<()> {
    const HEADER: u32 = 40;
    let low = frame.be64(AT + 32)?;
    let high = frame.be64(AT + 24)?;
    let word = frame.be32(AT + 4)?;
    let end = if word >> 16 == 0 { length } else { AT + HEADER + (word >> 16) };
    if frame.u8(AT)? >> 4 != 6 || end > length {
        return None;
    }
    key.source = Address { high: frame.be64(AT + 8)?, low: frame.be64(AT + 16)? };
    key.destination = Address { high, low };
    key.ip_version = 6;
    transport(frame, AT + HEADER, end, (word >> 8) as u8, key)
}

#[inline(always)]
fn transport(frame: impl Bytes, at: u32, end: u32, next: u8, key: &mut FlowKey) -> Option<()> {
    let mut flags = Opaque::None;
    let (source, destination) = match next {
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP | protocol::UDP_LITE if at + 4 <= end => {
            let ports = frame.be32(at)?;
            let (source, destination) = ((ports >> 16) as u16, ports as u16);
            if next == protocol::UDP {
                if tunnel::is_port(destination) {
                    return None;
                }
                if at + UDP_HEADER > end {
                    return None;
                }
                let length = frame.be16(at + 4)?;
                flags = opaque::udp(frame, at, end, u32::from(length), (source, destination))?;
            }
            (source, destination)
        }
        protocol::ICMP | protocol::ICMPV6 if at + 2 <= end => (0, frame.be16(at)?),
        _ => return None,
    };
    key.protocol = next;
    key.source_port = source;
    key.destination_port = destination;
    key.flags = flags as u8;
    Some(())
}
