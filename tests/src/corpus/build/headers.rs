//! One builder for each kind of header, from the link to what tunnels carry.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::{Layer, Next, Stack, ether, octets, proto};

/// Some bytes of `stack`, announced as what it starts with: a fragment, or a packet cut on the way in.
#[must_use]
pub fn part(stack: impl Into<Stack>, range: Range<usize>) -> Layer {
    let stack = stack.into();
    let (ether, protocol) = (stack.layers[0].ether, stack.layers[0].protocol);
    let bytes = stack.bytes()[range].to_vec();
    Layer { addresses: stack.addresses(), ..Layer::new(bytes, ether, protocol, Next::Nowhere) }
}

/// Any bytes; announced as an experiment unless a case says otherwise.
#[must_use]
pub fn raw(bytes: &[u8]) -> Layer {
    Layer::new(bytes.to_vec(), ether::EXPERIMENT, proto::EXPERIMENT, Next::Nowhere)
}

/// So many bytes of data.
#[must_use]
pub fn payload(bytes: usize) -> Layer {
    raw(&vec![0x55; bytes])
}

/// An Ethernet header.
#[must_use]
pub fn eth() -> Layer {
    let bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    Layer::new(bytes, ether::BRIDGED, proto::ETHERNET, Next::Ether(12))
}

/// An Ethernet header to this address.
#[must_use]
pub fn eth_to(to: [u8; 6]) -> Layer {
    let mut layer = eth();
    layer.bytes[..6].copy_from_slice(&to);
    layer
}

/// What link-scope control begins with, filled up to so many bytes.
#[must_use]
pub fn control(ether: u16, head: &[u8], bytes: usize) -> Layer {
    let mut content = head.to_vec();
    content.resize(bytes, 0);
    raw(&content).ether(ether)
}

/// ARP (RFC 826) or RARP (RFC 903) of this operation, filled up as a card does.
#[must_use]
pub fn arp(ether: u16, operation: u8) -> Layer {
    control(ether, &[0, 1, 8, 0, 6, 4, 0, operation], 46)
}

/// An 802.3 header with its length, and LLC: destination and source access point, control.
#[must_use]
pub fn llc(point: u8) -> Layer {
    let bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0, 0, point, point, 3];
    let length = |header: &mut [u8], payload: usize| {
        let length = (header.len() - 14 + payload) as u16;
        header[12..14].copy_from_slice(&length.to_be_bytes());
    };
    Layer::new(bytes, ether::BRIDGED, proto::ETHERNET, Next::Nowhere).with_length(length)
}

/// An 802.3 header, LLC and SNAP: the EtherType follows, or with a vendor's number its protocol.
#[must_use]
pub fn snap(vendor: [u8; 3], protocol: u16) -> Layer {
    let mut layer = llc(0xaa);
    layer.bytes.extend(vendor);
    layer.bytes.extend(protocol.to_be_bytes());
    layer.next = if vendor == [0; 3] { Next::Ether(20) } else { Next::Nowhere };
    layer
}

/// An IPv4 or IPv6 header from 192.0.2.1 or 2001:db8::1.
#[must_use]
pub fn ip(to: IpAddr) -> Layer {
    match to {
        IpAddr::V4(to) => {
            let from = Ipv4Addr::new(192, 0, 2, 1);
            let mut bytes = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto::NONE, 0, 0];
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            let length = |header: &mut [u8], payload: usize| {
                let total = (header.len() + payload) as u16;
                header[2..4].copy_from_slice(&total.to_be_bytes());
            };
            Layer {
                addresses: vec![from.into(), to.into()],
                ..Layer::new(bytes, ether::IPV4, proto::IPIP, Next::Protocol(9)).with_length(length)
            }
        }
        IpAddr::V6(to) => {
            let from = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            let mut bytes = vec![0x60, 0, 0, 0, 0, 0, proto::NONE, 64];
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            let length =
                |header: &mut [u8], payload: usize| header[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
            Layer {
                addresses: vec![from.into(), to.into()],
                ..Layer::new(bytes, ether::IPV6, proto::IPV6, Next::Protocol(6)).with_length(length)
            }
        }
    }
}

/// The port that everything comes from unless it matters.
pub const FROM_PORT: u16 = 40_000;

/// A UDP header.
#[must_use]
pub fn udp(to: u16) -> Layer {
    udp_from(FROM_PORT, to)
}

/// A UDP header with its source port.
#[must_use]
pub fn udp_from(from: u16, to: u16) -> Layer {
    let bytes = [from.to_be_bytes(), to.to_be_bytes(), [0, 0], [0, 0]].concat();
    let length = |header: &mut [u8], payload: usize| header[4..6].copy_from_slice(&(8 + payload as u16).to_be_bytes());
    Layer::new(bytes, ether::EXPERIMENT, proto::UDP, Next::Nowhere).with_length(length)
}

/// A TCP header (SYN).
#[must_use]
pub fn tcp(to: u16) -> Layer {
    let mut bytes = [FROM_PORT.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    Layer::new(bytes, ether::EXPERIMENT, proto::TCP, Next::Nowhere)
}

/// The ports that SCTP, DCCP and UDP-Lite begin with, and as many bytes more as their headers have.
#[must_use]
pub fn ports(protocol: u8, to: u16) -> Layer {
    let mut bytes = [FROM_PORT.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.resize(12, 0);
    raw(&bytes).protocol(protocol)
}

/// An ICMP message.
#[must_use]
pub fn icmp(kind: u8, code: u8) -> Layer {
    raw(&[kind, code, 0, 0, 0, 1, 0, 1]).protocol(proto::ICMP)
}

/// An ICMPv6 message.
#[must_use]
pub fn icmpv6(kind: u8, code: u8) -> Layer {
    raw(&[kind, code, 0, 0, 0, 0, 0, 0]).protocol(proto::ICMPV6)
}

/// An IPv6 extension header of a kind whose length counts units of eight bytes; `body` starts at its third byte.
#[must_use]
pub fn extension(kind: u8, body: &[u8]) -> Layer {
    let mut bytes = [&[proto::NONE, 0], body].concat();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes[1] = (bytes.len() / 8 - 1) as u8;
    Layer::new(bytes, ether::EXPERIMENT, kind, Next::Protocol(0))
}

/// Hop-by-hop options: a router alert (RFC 2711) and PadN.
#[must_use]
pub fn hop_by_hop() -> Layer {
    extension(proto::HOP_BY_HOP, &[5, 2, 0, 0, 1, 0])
}

/// Hop-by-hop options with a jumbo payload length (RFC 2675).
#[must_use]
pub fn jumbo(length: u32) -> Layer {
    extension(proto::HOP_BY_HOP, &[&[0xc2, 4], length.to_be_bytes().as_slice()].concat())
}

/// Destination options: padding.
#[must_use]
pub fn destination_options() -> Layer {
    extension(proto::DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0])
}

/// A routing header of any type with whole addresses in the order in which they stand there.
#[must_use]
pub fn routing(kind: u8, left: u8, fourth_to_seventh: [u8; 4], addresses: &[IpAddr]) -> Layer {
    let list: Vec<u8> = addresses.iter().flat_map(|address| octets(*address)).collect();
    let body = [&[kind, left], fourth_to_seventh.as_slice(), &list].concat();
    Layer { addresses: addresses.to_vec(), ..extension(proto::ROUTING, &body) }
}

/// A routing header of type 0 (RFC 2460).
#[must_use]
pub fn type0(left: u8, addresses: &[IpAddr]) -> Layer {
    routing(0, left, [0; 4], addresses)
}

/// A segment routing header (RFC 8754): `path` is in the order of travel, in the header it is reversed.
#[must_use]
pub fn srh(left: u8, path: &[IpAddr]) -> Layer {
    let list: Vec<IpAddr> = path.iter().rev().copied().collect();
    routing(4, left, [path.len() as u8 - 1, 0, 0, 0], &list)
}

/// A source routing header of RPL (RFC 6554): all but the last address without their first `elided` bytes, the last one
/// without `elided_last`.
///
/// # Panics
/// Without an address.
#[must_use]
pub fn rpl(left: u8, elided: u8, elided_last: u8, addresses: &[IpAddr]) -> Layer {
    let (last, others) = addresses.split_last().expect("at least one address");
    let mut list: Vec<u8> = others.iter().flat_map(|other| octets(*other).split_off(elided.into())).collect();
    list.extend(&octets(*last)[elided_last.into()..]);
    let padding = (list.len().next_multiple_of(8) - list.len()) as u8;
    let body = [&[3, left, elided << 4 | elided_last, padding << 4, 0, 0], list.as_slice()].concat();
    Layer { addresses: addresses.to_vec(), ..extension(proto::ROUTING, &body) }
}

/// A fragment header: the piece of datagram `id` that begins `offset` bytes into it.
#[must_use]
pub fn fragment(id: u32, offset: usize, more: bool) -> Layer {
    let field = offset as u16 & 0xfff8 | u16::from(more);
    let bytes = [&[proto::NONE, 0], field.to_be_bytes().as_slice(), &id.to_be_bytes()].concat();
    Layer::new(bytes, ether::EXPERIMENT, proto::FRAGMENT, Next::Protocol(0))
}

/// An authentication header (RFC 4302) with a check value of twelve bytes, which over IPv6 needs no padding.
#[must_use]
pub fn ah() -> Layer {
    let mut bytes = vec![proto::NONE, 4, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1];
    bytes.resize(24, 0xaa);
    Layer::new(bytes, ether::EXPERIMENT, proto::AH, Next::Protocol(0))
}

/// ESP (RFC 4303): SPI, sequence number, and what nobody can read.
#[must_use]
pub fn esp() -> Layer {
    raw(&[0, 0, 0, 9, 0, 0, 0, 1, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a]).protocol(proto::ESP)
}

/// GRE (RFC 2784).
#[must_use]
pub fn gre() -> Layer {
    Layer::new(vec![0, 0, 0, 0], ether::EXPERIMENT, proto::GRE, Next::Ether(2))
}

/// GRE with a checksum (C, 0x80), a key (K, 0x20), a sequence number (S, 0x10) (RFC 2890).
#[must_use]
pub fn gre_with(flags: u8) -> Layer {
    let mut layer = gre();
    layer.bytes[0] = flags;
    layer.bytes.resize(4 + 4 * (flags & 0xb0).count_ones() as usize, 0);
    layer
}

/// VXLAN (RFC 7348), behind UDP.
#[must_use]
pub fn vxlan(network: u32) -> Layer {
    raw(&[[8, 0, 0, 0], (network << 8).to_be_bytes()].concat())
}

/// Geneve (RFC 8926), behind UDP, with options of whole words.
#[must_use]
pub fn geneve(options: &[u8]) -> Layer {
    let bytes = [&[(options.len() / 4) as u8, 0, 0, 0, 0, 0, 9, 0], options].concat();
    Layer::new(bytes, ether::EXPERIMENT, proto::EXPERIMENT, Next::Ether(2))
}

/// GTP-U (3GPP TS 29.281), behind UDP: flags (E 4, S 2, PN 1), message type, and what these flags announce: four bytes
/// of sequence number, N-PDU number and next extension type, then the extensions.
#[must_use]
pub fn gtp(flags: u8, message: u8, optional: &[u8]) -> Layer {
    let bytes = [&[0x30 | flags, message, 0, 0, 0, 0, 0, 9], optional].concat();
    let length = |header: &mut [u8], payload: usize| {
        let length = (header.len() - 8 + payload) as u16;
        header[2..4].copy_from_slice(&length.to_be_bytes());
    };
    raw(&bytes).with_length(length)
}

/// MPLS labels (RFC 3032), the last one at the bottom of the stack.
#[must_use]
pub fn mpls(labels: &[u32]) -> Layer {
    let entry = |(i, label): (usize, &u32)| {
        let bottom = u32::from(i + 1 == labels.len());
        (label << 12 | bottom << 8 | 64).to_be_bytes()
    };
    let bytes: Vec<u8> = labels.iter().enumerate().flat_map(entry).collect();
    raw(&bytes).ether(ether::MPLS).protocol(proto::MPLS)
}

/// EtherIP (RFC 3378).
#[must_use]
pub fn etherip() -> Layer {
    raw(&[0x30, 0]).protocol(proto::ETHERIP)
}

/// A WireGuard message of a type and a whole length.
#[must_use]
pub fn wireguard(kind: u8, length: usize) -> Layer {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.resize(length, 0x77);
    raw(&bytes)
}

/// A QUIC long header (RFC 9000, 17.2) of a version.
#[must_use]
pub fn quic(version: u32) -> Layer {
    let connections = [8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
    raw(&[&[0xc0], version.to_be_bytes().as_slice(), &connections, &[0x66; 25]].concat())
}
