//! The parser on packets written down byte by byte. Every random test prints its seed when it fails.

use super::*;
use crate::wire::{Address, Decision, Link, Opaque, TunnelKey, Via};

/// Miri takes a thousand times as long.
const RANDOM: u32 = if cfg!(miri) { 200 } else { 300_000 };

const TCP: u8 = 6;
const UDP: u8 = 17;
const FROM: u32 = 0xc000_0201;
const TO: u32 = 0xc633_6401;

fn ethernet(kind: u16, content: &[u8]) -> Vec<u8> {
    [&[2; 12], kind.to_be_bytes().as_slice(), content].concat()
}

/// An IPv4 header whose options are a multiple of four bytes, and its content.
fn ipv4(protocol: u8, options: &[u8], content: &[u8]) -> Vec<u8> {
    let total = (20 + options.len() + content.len()) as u16;
    let mut header = vec![0x45 + (options.len() / 4) as u8, 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 7, 0, 0, 64, protocol, 0, 0]);
    header.extend(FROM.to_be_bytes());
    header.extend(TO.to_be_bytes());
    [&header, options, content].concat()
}

/// An address of which every byte is another one.
fn bytes(first: u8) -> [u8; 16] {
    core::array::from_fn(|at| first + at as u8)
}

fn address(bytes: [u8; 16]) -> Address {
    core::net::Ipv6Addr::from(bytes).into()
}

fn ipv6(next: u8, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((content.len() as u16).to_be_bytes());
    header.extend([next, 64]);
    [&header, bytes(0x20).as_slice(), &bytes(0x80), content].concat()
}

fn walk(frame: &[u8], link: Link) -> (Result<(), Reason>, HeaderWalker) {
    let mut walker = HeaderWalker::new();
    let result = walker.walk(frame, link);
    (result, walker)
}

#[test]
fn fast_path_and_header_walker_read_the_same() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut plains = 0;
    for _ in 0..RANDOM {
        let frame = near_plain(&mut random);
        let link = if frame[0] >> 4 == 0 { Link::Ethernet } else { Link::Ip };
        if let Some(plain) = fast_parse(frame.as_slice(), frame.len() as u32, link) {
            let key = plain.key(0).flow(0, Decision::default());
            let (result, walker) = walk(&frame, link);
            assert_eq!((result, walker.key), (Ok(()), key), "seed {seed}: {frame:02x?}");
            assert_eq!((walker.hops().len(), walker.fragments_len), (0, 0), "seed {seed}: {frame:02x?}");
            plains += 1;
        }
    }
    assert!(plains > RANDOM / 4, "only {plains} were plain, seed {seed}");
}

#[test]
fn fast_path_and_header_walker_read_the_same_of_tunnels() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut tunnels, mut flows) = ([0; Via::ALL.len()], 0);
    for _ in 0..RANDOM {
        let frame = near_tunnel(&mut random);
        let link = if frame[0] >> 4 == 0 { Link::Ethernet } else { Link::Ip };
        let (result, walker) = walk(&frame, link);
        flows += u32::from(result.is_ok() && walker.hops().len() == 1 && walker.fragments_len == 0);
        let Some(key) = fast_tunnel(&frame, link) else { continue };
        let (key, last) = (key.flow(), walker.headers[1]);
        let hop = Hop {
            address: key.inner.address,
            ip_version: key.inner.ip_version,
            via: key.inner.via,
            header: 1,
            flags: key.inner.flags,
        };
        let transport = Transport { port: key.inner.port, protocol: key.inner.protocol };
        assert_eq!((result, walker.key), (Ok(()), key.flow), "seed {seed}: {frame:02x?}");
        assert_eq!((walker.hops(), last), ([hop].as_slice(), transport), "seed {seed}: {frame:02x?}");
        assert_eq!(walker.fragments_len, 0, "seed {seed}: {frame:02x?}");
        assert!(fast_parse(frame.as_slice(), frame.len() as u32, link).is_none(), "seed {seed}: {frame:02x?}");
        tunnels[usize::from(key.inner.via)] += 1;
    }
    if !cfg!(miri) {
        for via in [Via::IpInIp, Via::Gre, Via::Vxlan, Via::Geneve] {
            assert!(tunnels[via as usize] > RANDOM / 100, "seed {seed}: {tunnels:?}");
        }
        assert!(
            tunnels.iter().sum::<u32>() > flows / 2,
            "seed {seed}: {tunnels:?} of {flows} with one destination inside"
        );
    }
}

fn fast_tunnel(frame: &[u8], link: Link) -> Option<TunnelKey> {
    let mut tunnel = FastTunnel::default();
    let outer = tunnel.outer(frame, frame.len() as u32, link, 0)?;
    tunnel.content(frame, outer)
}

/// A packet with a tunnel, but for what chance does to it.
fn near_tunnel(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut content = near_plain(random);
    let mut kind = match content[0] >> 4 {
        4 => 0x0800,
        6 => 0x86dd,
        _ => 0x6558,
    };
    if random.u8(..10) == 0 {
        kind = [0x0800_u16, 0x86dd, 0x6558, 0x8847, 0x0806][random.usize(..5)];
    }
    if kind != 0x6558 && random.u8(..3) == 0 {
        (content, kind) = (ethernet(kind, &content), 0x6558);
    }
    let flip = |random: &mut fastrand::Rng, first: &mut [u8]| {
        if random.u8(..6) == 0 {
            first[random.usize(..4)] ^= 1 << random.u8(..8);
        }
    };
    let udp = |random: &mut fastrand::Rng, port: u16, header: Vec<u8>| {
        let source: u16 = [4500, 443, random.u16(..)][random.usize(..3)];
        let length = (8 + header.len() + content.len()) as u16;
        (UDP, [&source.to_be_bytes(), &port.to_be_bytes(), &length.to_be_bytes(), [0, 0].as_slice(), &header].concat())
    };
    let (protocol, header) = match random.u8(..4) {
        0 if kind == 0x0800 => (4, vec![]),
        0 if kind == 0x86dd => (41, vec![]),
        0 | 1 => {
            let flags = [0, 0, 0x80, 0x20, 0x10, 0xb0, random.u8(..)][random.usize(..7)];
            let mut header = vec![flags, 0, (kind >> 8) as u8, kind as u8];
            header.resize(4 + 4 * (flags & 0xb0).count_ones() as usize, 7);
            flip(random, &mut header);
            (47, header)
        }
        2 => {
            let mut header = vec![8, 0, 0, 0, 0, 0, 42, 0];
            flip(random, &mut header);
            let port = [4789, 8472][random.usize(..2)];
            udp(random, port, header)
        }
        _ => {
            let options = [0, 0, 1, 3][random.usize(..4)];
            let mut header = vec![options, 0, (kind >> 8) as u8, kind as u8];
            header.resize(8 + 4 * usize::from(options), 7);
            flip(random, &mut header);
            udp(random, 6081, header)
        }
    };
    let inside = [header, content].concat();
    let (kind, mut packet) = match random.u8(..4) {
        0 | 1 => (0x0800, ipv4(protocol, &[], &inside)),
        2 => (0x86dd, ipv6(protocol, &inside)),
        // As Linux sends it: with a limit of encapsulations.
        _ => (0x86dd, ipv6(60, &[&[protocol, 0, 4, 1, 4, 1, 0, 0], inside.as_slice()].concat())),
    };
    if random.u8(..6) == 0 {
        let at = random.usize(..packet.len().min(120));
        packet[at] ^= 1 << random.u8(..8);
    }
    packet.extend(std::iter::repeat_n(0xee, [0, 0, 6][random.usize(..3)]));
    if random.u8(..10) == 0 {
        packet.truncate(random.usize(1..=packet.len()));
    }
    if random.bool() { packet } else { ethernet(kind, &packet) }
}

/// A packet that is plain but for what chance does to it.
fn near_plain(random: &mut fastrand::Rng) -> Vec<u8> {
    const PORTS: [u16; 16] =
        [53, 443, 1194, 1701, 2152, 3544, 4341, 4500, 4789, 4790, 5247, 6080, 6081, 6635, 8472, 50_000];
    const FIRST: [&[u8]; 6] = [
        &[1, 0, 0, 0],
        &[2, 0, 0, 0],
        &[3, 0, 0, 0],
        &[4, 0, 0, 0],
        &[0xc0, 0, 0, 0, 1],
        &[0xc0, 0x6b, 0x33, 0x43, 0xcf],
    ];
    let mut content: Vec<u8> = (0..random.usize(0..170)).map(|_| random.u8(..)).collect();
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = content.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &PORTS[random.usize(..16)].to_be_bytes());
    put(2, &PORTS[random.usize(..16)].to_be_bytes());
    let length = [0, 40, 72, 100, 156, random.u16(..)][random.usize(..6)];
    put(4, &length.to_be_bytes());
    put(8, FIRST[random.usize(..6)]);
    let next = [1, TCP, UDP, UDP, UDP, 33, 58, 132, 136, random.u8(..)][random.usize(..10)];
    let mut extended = |next: u8| {
        if random.u8(..4) != 0 {
            return (next, content.clone());
        }
        // Of a kind that is followed, or not; longer than it is now and then.
        let kind = [0, 0, 60, 60, 43, 51, 135][random.usize(..7)];
        let units = [0, 0, 1, 3, random.u8(..)][random.usize(..5)];
        let mut header = vec![next, units];
        header.resize(8 * (usize::from(units % 8) + 1), 0);
        header.extend(&content);
        (kind, header)
    };
    let v6 = extended(next);
    let (kind, mut packet) =
        if random.bool() { (0x0800, ipv4(next, &[], &content)) } else { (0x86dd, ipv6(v6.0, &v6.1)) };
    if random.u8(..4) == 0 {
        // A group's address, and the last hop or another one.
        let (time, to, group) = if kind == 0x0800 { (8, 16, 0xe5) } else { (7, 24, 0xff) };
        packet[time] = random.u8(..3);
        packet[to] = [group, group, random.u8(..)][random.usize(..3)];
    }
    if random.u8(..8) == 0 {
        // The length, made untrue or untold.
        let (at, value) = (if kind == 0x0800 { 2 } else { 4 }, [0, random.u16(..256)][random.usize(..2)]);
        packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    if random.u8(..4) == 0 {
        let at = random.usize(..packet.len());
        packet[at] ^= 1 << random.u8(..8);
    }
    packet.extend(std::iter::repeat_n(0xee, [0, 0, 6, 40][random.usize(..4)]));
    if random.u8(..8) == 0 {
        packet.truncate(random.usize(1..=packet.len()));
    }
    if random.bool() {
        return packet;
    }
    let mut kind: u16 = kind;
    for _ in 0..[0, 0, 0, 1, 1, 2, 3, 4][random.usize(..8)] {
        packet.splice(0..0, [0x20, random.u8(..), (kind >> 8) as u8, kind as u8]);
        kind = if random.bool() { 0x8100 } else { 0x88a8 };
    }
    ethernet(kind, &packet)
}

#[test]
fn every_reason_has_a_packet() {
    let options = |count: usize| {
        let last = [&[TCP, 0], [0; 6].as_slice()].concat();
        let others = [&[60, 0], [0; 6].as_slice()].concat();
        ipv6(60, &[others.repeat(count - 1), last, vec![0; 8]].concat())
    };
    let tagged = |count: usize| [[0, 1, 0x81, 0].repeat(count - 1), vec![0, 1, 8, 0], ipv4(TCP, &[], &[0; 8])].concat();
    let inside = |count: usize| (0..count).fold(ipv4(TCP, &[], &[0; 8]), |inner, _| ipv4(4, &[], &inner));
    let with = |mut packet: Vec<u8>, at: usize, value: u8| {
        packet[at] = value;
        packet
    };
    assert_eq!(walk(&options(8), Link::Ip).0, Ok(()));
    assert_eq!(walk(&ethernet(0x8100, &tagged(3)), Link::Ethernet).0, Ok(()));
    assert_eq!(walk(&inside(3), Link::Ip).0, Ok(()));
    let (on_ethernet, on_ip) = (Link::Ethernet, Link::Ip);
    let packets = [
        (Reason::LinkControl, on_ethernet, ethernet(0x0806, &[0, 1, 8, 0, 6, 4, 0, 1].repeat(4))),
        (Reason::LinkControlOdd, on_ethernet, ethernet(0x0806, &[])),
        (Reason::NotIp, on_ethernet, ethernet(0x88b5, &[])),
        (Reason::UnknownLink, Link::Other, ipv4(TCP, &[], &[0; 8])),
        (Reason::TruncatedLink, on_ethernet, vec![0; 13]),
        (Reason::VlanDepth, on_ethernet, ethernet(0x8100, &tagged(4))),
        (Reason::TruncatedIp, on_ethernet, ethernet(0x0800, &ipv4(TCP, &[], &[])[..19])),
        (Reason::BadIpVersion, on_ip, with(ipv4(TCP, &[], &[0; 8]), 0, 0x55)),
        (Reason::BadIpLength, on_ip, with(ipv4(TCP, &[], &[0; 8]), 0, 0x44)),
        (Reason::TruncatedExtension, on_ip, ipv6(60, &[TCP, 0, 0, 0])),
        (Reason::ExtensionDepth, on_ip, options(9)),
        (Reason::TruncatedTransport, on_ip, ipv4(TCP, &[], &[0; 3])),
        (Reason::Mpls, on_ethernet, ethernet(0x8847, &[])),
        (Reason::Pppoe, on_ethernet, ethernet(0x8864, &[])),
        (Reason::Pbb, on_ethernet, ethernet(0x88e7, &[])),
        (Reason::Nsh, on_ethernet, ethernet(0x894f, &[])),
        (Reason::Macsec, on_ethernet, ethernet(0x88e5, &[])),
        (Reason::LengthBeyondFrame, on_ip, with(ipv4(TCP, &[], &[0; 8]), 3, 29)),
        (Reason::BadOptions, on_ip, ipv4(TCP, &[7, 1, 0, 0], &[0; 8])),
        (Reason::BadRouting, on_ip, ipv6(43, &[TCP, 0, 200, 1, 0, 0, 0, 0])),
        (Reason::TruncatedTunnel, on_ip, ipv4(47, &[], &[0; 3])),
        (Reason::BadTunnel, on_ip, ipv4(47, &[], &[0, 1, 8, 0])),
        (Reason::TooDeep, on_ip, inside(4)),
        (Reason::FragmentShort, on_ip, with(ipv4(41, &[], &[0x60; 8]), 6, 0x20)),
    ];
    for (reason, link, frame) in &packets {
        assert_eq!(walk(frame, *link).0, Err(*reason), "{frame:02x?}");
    }
    // The policy's, and the fragment table's, which has tests of its own.
    let elsewhere = [Reason::NotClassified, Reason::FragmentOverlap, Reason::FragmentWithoutFirst];
    for reason in Reason::ALL {
        let here = packets.iter().any(|packet| packet.0 == reason);
        assert!(here != elsewhere.contains(&reason), "{}", reason.name());
    }
}

#[test]
fn a_cut_packet_that_states_its_length_has_no_flow() {
    for packet in [
        ipv4(UDP, &[7, 3, 4, 0], &[0; 24]),
        ipv4(41, &[], &ipv6(TCP, &[0; 20])),
        ipv6(43, &[[UDP, 2, 0, 1, 0, 0, 0, 0].as_slice(), &bytes(3), &[0; 12]].concat()),
    ] {
        assert_eq!(walk(&packet, Link::Ip).0, Ok(()));
        for length in 0..packet.len() {
            assert!(walk(&packet[..length], Link::Ip).0.is_err(), "{length} of {packet:02x?}");
        }
    }
}

/// RFC 6554 3: an address in the list has the destination's first bytes, as many as are left out.
#[test]
fn every_length_of_a_compressed_hop_is_completed_from_the_destination() {
    let destination = bytes(0x80);
    for elided in 0..16_usize {
        for elided_last in 0..16_usize {
            let complete = |first: u8, elided: usize| {
                let mut hop = bytes(first);
                hop[..elided].copy_from_slice(&destination[..elided]);
                hop
            };
            let (first, last) = (complete(0x10, elided), complete(0x40, elided_last));
            let mut list = [&first[elided..], &last[elided_last..]].concat();
            let padding = list.len().wrapping_neg() & 7;
            list.resize(list.len() + padding, 0);
            let mut header = vec![TCP, (list.len() / 8) as u8, 3, 2];
            header.extend([(elided << 4 | elided_last) as u8, (padding << 4) as u8, 0, 0]);
            let packet = ipv6(43, &[header, list, vec![0; 8]].concat());
            let (result, walker) = walk(&packet, Link::Ip);
            assert_eq!(result, Ok(()), "{elided} and {elided_last}");
            let hop = |bytes| Hop {
                address: address(bytes),
                ip_version: 6,
                via: Via::RoutingHeader as u8,
                header: 0,
                flags: 0,
            };
            assert_eq!(walker.hops(), [hop(first), hop(last)], "{elided} and {elided_last}");
        }
    }
}

#[test]
fn a_walk_that_went_before_leaves_nothing_in_the_next_one() {
    let mut used = HeaderWalker::new();
    let mut esp = ipv4(4, &[131, 7, 4, 9, 9, 9, 9, 0], &ipv4(50, &[], &[0; 16]));
    esp[6] = 0x20;
    assert_eq!(used.walk(&esp[..44], Link::Ip), Err(Reason::LengthBeyondFrame));
    assert_eq!(used.walk(&esp, Link::Ip), Err(Reason::BadIpLength), "44 bytes are no units of eight");
    esp.extend([0; 4]);
    esp[3] += 4;
    assert_eq!(used.walk(&esp, Link::Ip), Ok(()));
    assert_eq!((used.hops().len(), used.fragments_len, used.key.flags), (2, 1, Opaque::Esp as u8));
    for next in [ipv4(TCP, &[], &[0; 8]), ipv6(60, &[TCP, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]), ipv6(59, &[])] {
        assert_eq!(used.walk(&next, Link::Ip), Ok(()));
        let (_, fresh) = walk(&next, Link::Ip);
        assert_eq!((used.key, used.hops(), used.fragments_len), (fresh.key, fresh.hops(), 0));
    }
    assert_eq!(used.walk(&ethernet(0x88b5, &[]), Link::Ethernet), Err(Reason::NotIp));
    assert_eq!((used.key.ip_version, used.hops().len()), (0, 0), "no destination of an earlier packet");
}

#[test]
fn any_bytes_are_a_flow_or_a_reason() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..RANDOM {
        let mut frame: Vec<u8> = (0..random.usize(0..120)).map(|_| random.u8(..)).collect();
        if let Some(first) = frame.first_mut() {
            *first = [0x45, 0x46, 0x4f, 0x60][random.usize(..4)];
        }
        let length = frame.len() as u8;
        for at in [3, 5] {
            if let Some(place) = frame.get_mut(at - 1..=at) {
                place.copy_from_slice(&[0, length.saturating_sub(if at == 5 { 40 } else { 0 })]);
            }
        }
        let (result, walker) = walk(&frame, Link::Ip);
        assert!(result.is_err() || matches!(walker.key.ip_version, 4 | 6), "seed {seed}: {frame:02x?}");
    }
}

#[test]
fn a_jumbo_length_never_makes_a_fragment_longer_than_a_datagram() {
    // A first fragment of an IPv4 packet holds an IPv6 jumbogram that announces 2^32 - 1 bytes, and in it a fragment
    // header: what is announced past the frame must not wrap around.
    let options = [44, 0, 0xc2, 4, 0xff, 0xff, 0xff, 0xff];
    let fragment = [17, 0, 0x03, 0x20, 0, 0, 0, 5];
    let mut inner = ipv6(0, &[options.as_slice(), &fragment, &[0; 8]].concat());
    inner[4..6].copy_from_slice(&[0, 0]);
    let mut outer = ipv4(protocol::IPV6, &[], &inner);
    outer[6] = 0x20;
    assert_eq!(walk(&outer, Link::Ip).0, Err(Reason::BadIpLength));
}

#[test]
fn a_datagram_inside_a_part_of_itself_overlaps() {
    let mut inner = ipv4(TCP, &[], &[0; 24]);
    inner[9] = protocol::IPV4;
    inner[6] = 0x20;
    let mut outer = ipv4(protocol::IPV4, &[], &inner);
    outer.extend([0; 4]);
    let total = outer.len() as u16;
    outer[2..4].copy_from_slice(&total.to_be_bytes());
    outer[6] = 0x20;
    assert_eq!(walk(&outer, Link::Ip).0, Err(Reason::FragmentOverlap));
    // Another identification: one datagram inside another.
    outer[5] = 8;
    assert_ne!(walk(&outer, Link::Ip).0, Err(Reason::FragmentOverlap));
}

#[test]
fn a_fragment_has_a_length_of_its_own() {
    let mut packet = ipv4(UDP, &[], &[0; 24]);
    packet[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(walk(&packet, Link::Ip).0, Ok(()), "a super-packet");
    packet[6] = 0x20;
    assert_eq!(walk(&packet, Link::Ip).0, Err(Reason::BadIpLength));
    let fragment = [&[UDP, 0, 0, 1, 0, 0, 0, 5], [0; 16].as_slice()].concat();
    let mut packet = ipv6(protocol::FRAGMENT, &fragment);
    assert_eq!(walk(&packet, Link::Ip).0, Ok(()));
    packet[4..6].copy_from_slice(&[0, 0]);
    assert_eq!(walk(&packet, Link::Ip).0, Err(Reason::BadIpLength));
}
