//! Frames as readable builders: the corpus that parser and datapath are held against.

use std::net::Ipv6Addr;

/// EtherTypes.
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const ARP: u16 = 0x0806;
pub const VLAN: u16 = 0x8100;
pub const SERVICE_VLAN: u16 = 0x88a8;

/// IP protocols.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ESP: u8 = 50;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// IPv6 extension headers.
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const AUTHENTICATION: u8 = 51;
pub const DESTINATION_OPTIONS: u8 = 60;

pub fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An Ethernet frame with tags in it, outermost first.
pub fn tagged(tags: &[u16], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut inner = Vec::new();
    for (i, _) in tags.iter().enumerate() {
        inner.extend([0x20, 100 + i as u8]);
        inner.extend(tags.get(i + 1).copied().unwrap_or(kind).to_be_bytes());
    }
    inner.extend(payload);
    ethernet(tags.first().copied().unwrap_or(kind), &inner)
}

/// An IPv4 packet; `options` is a multiple of four bytes, `fragment` the whole flags-and-offset field.
pub fn ipv4(to: [u8; 4], protocol: u8, options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let words = 5 + options.len() / 4;
    let mut packet = vec![0x40 | words as u8, 0];
    packet.extend(((words * 4 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 1]);
    packet.extend(to);
    packet.extend(options);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv6 packet with a chain of extension headers: `(type, body)`, a body being all but the next-header byte.
pub fn ipv6(to: Ipv6Addr, extensions: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut chain = Vec::new();
    for (i, (_, body)) in extensions.iter().enumerate() {
        chain.push(extensions.get(i + 1).map_or(protocol, |(next, _)| *next));
        chain.extend(body);
    }
    chain.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((chain.len() as u16).to_be_bytes());
    packet.extend([extensions.first().map_or(protocol, |(first, _)| *first), 64]);
    packet.extend("2001:db8::1".parse::<Ipv6Addr>().expect("an address").octets());
    packet.extend(to.octets());
    packet.extend(chain);
    packet
}

/// An option header (hop-by-hop, destination options) of `8 × (1 + units)` bytes, padded with PadN.
pub fn options(kind: u8, units: u8) -> (u8, Vec<u8>) {
    let mut body = vec![units, 1, 4];
    body.resize(7 + usize::from(units) * 8, 0);
    (kind, body)
}

/// A fragment header: offset in units of eight bytes, and whether more follow.
pub fn fragment(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let field = offset << 3 | u16::from(more);
    let mut body = vec![0];
    body.extend(field.to_be_bytes());
    body.extend([0, 0, 0, 9]);
    (FRAGMENT, body)
}

/// An authentication header of `4 × (2 + units)` bytes.
pub fn authentication(units: u8) -> (u8, Vec<u8>) {
    let mut body = vec![units];
    body.resize(7 + usize::from(units) * 4, 0xaa);
    (AUTHENTICATION, body)
}

/// The transport headers' ports and a payload; enough of UDP for everything.
pub fn ports(source: u16, destination: u16, payload: usize) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    header.extend((8 + payload as u16).to_be_bytes());
    header.extend([0, 0]);
    header.resize(8 + payload, 0x55);
    header
}

pub fn tcp(source: u16, destination: u16, payload: usize) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    header.resize(20 + payload, 0x55);
    header
}

pub fn udp_v4(to: [u8; 4], port: u16, payload: usize) -> Vec<u8> {
    ethernet(IPV4, &ipv4(to, UDP, &[], 0, &ports(40_000, port, payload)))
}

pub fn udp_v6(to: Ipv6Addr, port: u16, payload: usize) -> Vec<u8> {
    ethernet(IPV6, &ipv6(to, &[], UDP, &ports(40_000, port, payload)))
}

/// One of everything.
pub fn all() -> Vec<Vec<u8>> {
    let inside = [198, 51, 100, 7];
    let outside = [203, 0, 113, 7];
    let ruled = [203, 0, 113, 130];
    let six = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
    let v4 = |to, protocol, payload: &[u8]| ethernet(IPV4, &ipv4(to, protocol, &[], 0, payload));
    let v6 = |to: &str, extensions: &[(u8, Vec<u8>)], protocol, payload: &[u8]| {
        ethernet(IPV6, &ipv6(six(to), extensions, protocol, payload))
    };
    let udp = ports(40_000, 4505, 12);
    let mut frames = vec![
        v4(inside, UDP, &udp),
        v4(outside, UDP, &udp),
        v4(ruled, UDP, &udp),
        v4(ruled, UDP, &ports(40_000, 4511, 0)),
        v4(ruled, TCP, &tcp(40_000, 443, 4)),
        v4(ruled, TCP, &tcp(40_000, 444, 4)),
        v4([203, 0, 113, 201], ESP, &[9; 20]),
        v4([192, 0, 2, 99], SCTP, &ports(1, 2, 8)),
        v4([10, 1, 2, 3], ICMP, &[8, 0, 0, 0, 0, 1, 0, 1]),
        v4([255, 255, 255, 255], UDP, &udp),
        v4([100, 64, 200, 1], UDP, &udp),
        v4(outside, 4, &ipv4(inside, UDP, &[], 0, &udp)),
        // Options of every length, read as ports by a parser with a fixed header.
        ethernet(IPV4, &ipv4(outside, TCP, &[1; 4], 0, &tcp(1, 2, 0))),
        ethernet(IPV4, &ipv4(outside, TCP, &[1; 40], 0, &tcp(1, 2, 0))),
        // First, middle and last fragment.
        ethernet(IPV4, &ipv4(ruled, UDP, &[], 0x2000, &udp)),
        ethernet(IPV4, &ipv4(ruled, UDP, &[], 0x2001, &udp)),
        ethernet(IPV4, &ipv4(ruled, UDP, &[], 0x0002, &udp)),
        ethernet(IPV4, &ipv4(ruled, UDP, &[1; 8], 0x0002, &[])),
        // Tags.
        tagged(&[VLAN], IPV4, &ipv4(outside, UDP, &[], 0, &udp)),
        tagged(&[SERVICE_VLAN, VLAN], IPV4, &ipv4(inside, UDP, &[], 0, &udp)),
        tagged(&[VLAN, VLAN, VLAN], IPV6, &ipv6(six("2001:db8::7"), &[], UDP, &udp)),
        tagged(&[VLAN; 4], IPV4, &ipv4(outside, UDP, &[], 0, &udp)),
        // IPv6.
        v6("2001:db8::7", &[], UDP, &udp),
        v6("2001:db8:1::7", &[], TCP, &tcp(1, 443, 3)),
        v6("2001:db8:2:3:4::1", &[], TCP, &tcp(1, 443, 3)),
        v6("2001:db8:2:3:3:ffff:ffff:ffff", &[], UDP, &udp),
        v6("2001:db8:2:3:5::", &[], UDP, &udp),
        v6("2001:db8:2:4::", &[], UDP, &udp),
        v6("2001:db8:7::1", &[], UDP, &ports(1, 3, 0)),
        v6("fe80::1", &[], ICMPV6, &[135, 0, 0, 0, 0, 0, 0, 0]),
        v6("ff02::2", &[options(HOP_BY_HOP, 0)], ICMPV6, &[143, 0, 0, 0, 0, 0, 0, 0]),
        v6("2001:db8:1::7", &[options(HOP_BY_HOP, 1), options(DESTINATION_OPTIONS, 2)], UDP, &udp),
        v6("2001:db8:1::7", &[options(ROUTING, 2)], UDP, &udp),
        v6("2001:db8:1::7", &[authentication(4)], TCP, &tcp(5, 6, 0)),
        v6("2001:db8:1::7", &[authentication(1), fragment(0, true), options(DESTINATION_OPTIONS, 0)], UDP, &udp),
        v6("2001:db8:1::7", &[fragment(0, false)], UDP, &udp),
        v6("2001:db8:2:3:4::1", &[fragment(3, true)], UDP, &udp),
        v6("2001:db8:1::7", &[options(DESTINATION_OPTIONS, 0), fragment(185, false)], TCP, &[]),
        v6("2001:db8:1::7", &vec![options(DESTINATION_OPTIONS, 0); 8], UDP, &udp),
        v6("2001:db8:1::7", &vec![options(DESTINATION_OPTIONS, 0); 9], UDP, &udp),
        v6("2001:db8:1::7", &[], 59, &[]),
        v6("2001:db8:1::7", &[], 41, &[1, 2, 3, 4]),
        // Addresses inside addresses.
        v6("64:ff9b::198.51.100.7", &[], UDP, &udp),
        v6("64:ff9b::203.0.113.130", &[], UDP, &udp),
        v6("::ffff:203.0.113.7", &[], UDP, &udp),
        v6("2002:c633:6407::1", &[], UDP, &udp),
        v6("2002:cb00:7107::1", &[], UDP, &udp),
        v6("2001:0:1:2:3:4:34ff:8ef8", &[], UDP, &udp),
        // Not IP.
        ethernet(ARP, &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1]),
        ethernet(0x88cc, &[2, 7, 4, 0, 0, 0, 0, 0]),
        ethernet(0x888e, &[1, 0, 0, 0]),
        ethernet(0x8809, &[1, 1, 0, 0]),
        ethernet(0x8847, &[0, 1, 1, 64, 0x45, 0]),
        ethernet(0x0026, &[0x42, 0x42, 3, 0, 0, 0]),
        ethernet(0x0026, &[0xe0, 0xe0, 3, 0, 0, 0]),
        tagged(&[VLAN], ARP, &[0, 1, 8, 0, 6, 4, 0, 1]),
    ];
    // Lies about version and length.
    for (at, value) in [(14, 0x44), (14, 0x65), (14, 0x4f), (14, 0x05), (16, 0xff), (17, 3), (17, 20), (17, 22)] {
        let mut frame = v4(outside, UDP, &udp);
        frame[at] = value;
        frames.push(frame);
    }
    for (at, value) in [(14, 0x40), (18, 0xff), (19, 0), (19, 3), (20, 0), (20, 60)] {
        let mut frame = v6("2001:db8:1::7", &[], UDP, &udp);
        frame[at] = value;
        frames.push(frame);
    }
    // A GSO super-packet beyond 64 KiB has no length of its own.
    let mut big = v4(outside, TCP, &tcp(1, 2, 0));
    big[16..18].copy_from_slice(&[0, 0]);
    frames.push(big);
    frames
}

/// A frame like `frame` with a few bytes changed, cut or added, mostly where headers are.
pub fn mutate(frame: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for _ in 0..random.usize(0..4) {
        let headers = frame.len().min(80);
        match random.u8(0..5) {
            0 => frame[random.usize(12..headers)] = random.u8(..),
            1 => frame[random.usize(12..headers)] ^= 1 << random.u8(0..8),
            // Values that mean something to a parser.
            2 => {
                const TELLING: [u8; 16] = [0, 1, 4, 6, 8, 17, 41, 43, 44, 50, 51, 58, 60, 0x45, 0x60, 0xff];
                frame[random.usize(12..headers)] = TELLING[random.usize(..TELLING.len())];
            }
            3 => frame.truncate(random.usize(14..=frame.len())),
            _ => frame.extend((0..random.usize(0..40)).map(|_| random.u8(..))),
        }
        if frame.len() < 15 {
            break;
        }
    }
    frame
}

/// A UDP packet to any address, half of them near a border of the test policy.
pub fn to_random_destination(random: &mut fastrand::Rng) -> Vec<u8> {
    if random.bool() {
        let mut to: [u8; 4] = random.u32(..).to_be_bytes();
        if random.bool() {
            to[..2].copy_from_slice(&[[100, 64], [203, 0], [198, 51], [192, 0]][random.usize(..4)]);
        }
        udp_v4(to, random.u16(..), 4)
    } else {
        let mut to = random.u128(..);
        if random.bool() {
            to = 0x2001_0db8 << 96 | to >> random.u32(32..128);
        }
        udp_v6(Ipv6Addr::from_bits(to), random.u16(..), 4)
    }
}
