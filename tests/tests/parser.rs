//! Promise: whenever etherparse, which shares nothing with our parser, understands a frame up to the transport header,
//! our parser says the same: addresses, protocol, ports, and which piece of which datagram it is. The same for the
//! packets inside: where ours goes on into IP in IP, GRE, VXLAN, Geneve, EtherIP, Ethernet in IP or Teredo, etherparse
//! reads the content, too; the tunnels' own headers, which it does not know, are skipped by [`carried`]. Of an inner
//! packet the destination is compared, of the innermost also protocol and ports.
//!
//! Where they may differ, and why, precisely. etherparse has an opinion where we have only a [`Reason`]:
//! - tag protocol 0x9100: a VLAN tag to etherparse; to the kernel, and so to us, no tag but [`Reason::NotIp`];
//! - MACsec in the clear: read by etherparse, [`Reason::Macsec`] to us;
//! - more than eight extension headers: etherparse follows a chain of any length, we stop: [`Reason::ExtensionDepth`];
//! - IPv4 options, which etherparse does not look into: [`Reason::BadOptions`];
//! - routing headers, likewise: [`Reason::BadRouting`];
//! - a fragment that is empty, not in units of eight bytes or past 65,535: [`Reason::BadIpLength`]; a first one that
//!   ends before what says where it goes: [`Reason::FragmentShort`];
//! - an IPv6 packet without a payload length and with hop-by-hop options: whole to etherparse, to us a jumbogram, whose
//!   length may be missing ([`Reason::BadIpLength`]), be none ([`Reason::TruncatedExtension`]) or beyond the frame
//!   ([`Reason::LengthBeyondFrame`]);
//! - SCTP, DCCP and UDP-Lite, which etherparse doesn't read: [`Reason::TruncatedTransport`], and ports of ours alone;
//! - more than four IP headers, or more hops and options than we follow: [`Reason::TooDeep`].
//!
//! And both have an opinion, but one of them looks no further:
//! - what follows a later fragment's header (the first such header, should a fragment be in a fragment): read as
//!   headers by etherparse, data to us;
//! - ports and tunnels of a first fragment: read by us, not by etherparse;
//! - mobility, HIP and Shim6 headers after IPv6, and a second authentication header after IPv4: the protocol to
//!   etherparse, extension headers to us (RFC 7045), so that we name what follows them, or say what is wrong there;
//! - GTP-U, VXLAN-GPE and MPLS: skipping their headers would be a parser of its own;
//! - what a tunnel in UDP carries that etherparse refuses, and Teredo that does not fill its datagram: an ordinary
//!   datagram to us.
//!
//! Reasons that etherparse shares (headers cut short, lengths beyond the frame, versions) are none of these: a frame
//! that we refuse by them has to be one that etherparse refuses, or the content of which it refuses. What etherparse
//! does not take for IP (802.3 with SNAP), it has no opinion on.
//!
//! In each of these both name the same addresses as far as both read.

use std::net::IpAddr;

use egress_monitor_tests::corpus::{
    self,
    build::{eth, ether, gre, ip, proto, raw, udp, vxlan},
    policy::{IN, IN6},
};
use etherparse::{EtherType, Ipv6ExtensionSlice, LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use monitor_common::{
    classify::build::Image,
    evaluate::Evaluation,
    parse::{HeaderWalker, MAX_HEADERS, Reason},
    wire::{Class, ClassRow, InnerDestination, Link, Via},
};

use crate::support::{mutate::change, random};

const MUTATED: u32 = 250_000;

/// Which piece of which datagram: identification, first unit of eight bytes, whether more follow.
type Piece = (u32, u16, bool);

/// What etherparse says of an IP packet.
#[derive(Debug, PartialEq, Eq)]
struct Sliced {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// `None`: it does not know.
    ports: Option<(u16, u16)>,
    piece: Option<Piece>,
    /// What it has that could make us stop where etherparse reads on.
    options: bool,
    routing: bool,
    jumbo: bool,
    extensions: usize,
}

/// Why there are no further packets inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It carries no packet.
    Whole,
    /// etherparse refuses what is inside, or it is none of what is compared here: no opinion.
    Unknown,
    /// The tunnel's header is not whole.
    Truncated,
    /// The tunnel's header is of a form that is not to be followed.
    Bad,
}

/// A packet and those inside it.
#[derive(Debug)]
struct Oracle {
    packets: Vec<Sliced>,
    end: End,
}

fn sliced(packet: &SlicedPacket<'_>) -> Option<Sliced> {
    let (source, destination, mut protocol): (IpAddr, IpAddr, u8);
    let (mut piece, mut routing) = (None, false);
    let (options, jumbo, extensions);
    match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (source, destination) = (header.source_addr().into(), header.destination_addr().into());
            protocol = ip.payload().ip_number.0;
            let offset = header.fragments_offset().value();
            if offset != 0 || header.more_fragments() {
                piece = Some((header.identification().into(), offset, header.more_fragments()));
            }
            if offset != 0 {
                protocol = header.protocol().0;
            }
            (options, jumbo, extensions) = (!header.options().is_empty(), false, 0);
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (source, destination) = (header.source_addr().into(), header.destination_addr().into());
            protocol = ip.payload().ip_number.0;
            for extension in ip.extensions().clone() {
                match extension {
                    Ipv6ExtensionSlice::Routing(_) => routing = true,
                    Ipv6ExtensionSlice::Fragment(f) if f.is_fragmenting_payload() => {
                        let this = (f.identification(), f.fragment_offset().value(), f.more_fragments());
                        // The outermost, should a fragment be a fragment itself.
                        piece = piece.or(Some(this));
                        // What follows in a later fragment is data (RFC 8200, 4.5), though etherparse reads on in it.
                        if f.fragment_offset().value() != 0 {
                            protocol = f.next_header().0;
                            break;
                        }
                    }
                    _ => {}
                }
            }
            jumbo = header.payload_length() == 0 && header.next_header().0 == proto::HOP_BY_HOP;
            (options, extensions) = (false, ip.extensions().clone().into_iter().count());
        }
        NetSlice::Arp(_) => return None,
    }
    let ports = match (piece, packet.transport.as_ref()) {
        (Some((_, 0, _)), _) => None,
        (Some(_), _) => Some((0, 0)),
        (_, Some(TransportSlice::Udp(udp))) => Some((udp.source_port(), udp.destination_port())),
        (_, Some(TransportSlice::Tcp(tcp))) => Some((tcp.source_port(), tcp.destination_port())),
        (_, Some(TransportSlice::Icmpv4(icmp))) => Some((0, u16::from_be_bytes([icmp.type_u8(), icmp.code_u8()]))),
        (_, Some(TransportSlice::Icmpv6(icmp))) => Some((0, u16::from_be_bytes([icmp.type_u8(), icmp.code_u8()]))),
        _ if matches!(protocol, proto::SCTP | proto::DCCP | proto::UDP_LITE) => None,
        _ => Some((0, 0)),
    };
    Some(Sliced { source, destination, protocol, ports, piece, options, routing, jumbo, extensions })
}

impl Sliced {
    fn is_later(&self) -> bool {
        self.piece.is_some_and(|(_, start, _)| start != 0)
    }

    /// An extension header to us, the protocol to etherparse.
    fn is_passed_through(&self) -> bool {
        let known = if self.source.is_ipv4() {
            matches!(self.protocol, proto::AH)
        } else {
            matches!(self.protocol, proto::AH | proto::MOBILITY | proto::HIP | proto::SHIM6)
        };
        known && !self.is_later()
    }
}

/// What a packet carries.
enum Carried<'a> {
    /// An IP packet of this version.
    Ip(u8, &'a [u8]),
    Ethernet(&'a [u8]),
    Nothing(End),
}

/// Skips a tunnel's header: as many lines as its standard needs.
fn carried<'a>(sliced: &Sliced, payload: &'a [u8]) -> Carried<'a> {
    let by_ether_type = |kind: u16, rest: &'a [u8]| match kind {
        ether::IPV4 => Carried::Ip(4, rest),
        ether::IPV6 => Carried::Ip(6, rest),
        ether::BRIDGED => Carried::Ethernet(rest),
        ether::MPLS | ether::MPLS_MULTICAST => Carried::Nothing(End::Unknown),
        _ => Carried::Nothing(End::Whole),
    };
    let short = Carried::Nothing(End::Truncated);
    let be16 = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    match (sliced.protocol, sliced.ports) {
        _ if sliced.is_later() => Carried::Nothing(End::Whole),
        _ if sliced.piece.is_some() || sliced.is_passed_through() => Carried::Nothing(End::Unknown),
        (proto::IPIP, _) => Carried::Ip(4, payload),
        (proto::IPV6, _) => Carried::Ip(6, payload),
        (proto::ETHERNET, _) => Carried::Ethernet(payload),
        (proto::ETHERIP, _) if payload.len() < 2 => short,
        (proto::ETHERIP, _) if payload[0] >> 4 != 3 => Carried::Nothing(End::Bad),
        (proto::ETHERIP, _) => Carried::Ethernet(&payload[2..]),
        (proto::GRE, _) if payload.len() < 4 => short,
        // Routing, version.
        (proto::GRE, _) if payload[0] & 0x40 != 0 || payload[1] & 7 != 0 => Carried::Nothing(End::Bad),
        (proto::GRE, _) => {
            // Checksum, key and sequence number.
            let header = 4 + 4 * (payload[0] & 0xb0).count_ones() as usize;
            if payload.len() < header { short } else { by_ether_type(be16(2), &payload[header..]) }
        }
        (proto::MPLS, _) | (proto::UDP, Some((_, 2152 | 4790 | 6635))) => Carried::Nothing(End::Unknown),
        // Not whole, or of a form that receivers drop: an ordinary datagram.
        (proto::UDP, Some((_, 4789 | 8472 | 6081))) if payload.len() < 16 => Carried::Nothing(End::Whole),
        (proto::UDP, Some((_, 6081))) if payload[8] >> 6 != 0 => Carried::Nothing(End::Whole),
        (proto::UDP, Some((_, 3544))) => match payload.get(8..) {
            // What fills the datagram, from one global address to another.
            Some(packet)
                if packet.len() >= 40
                    && packet[0] >> 4 == 6
                    && packet.len() == 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))
                    && usize::from(be16(4)) == payload.len()
                    && [packet[8], packet[24]].map(|first| first >> 5) == [1, 1] =>
            {
                Carried::Ip(6, packet)
            }
            _ => Carried::Nothing(End::Unknown),
        },
        // VXLAN-GPE.
        (proto::UDP, Some((_, 4789 | 8472))) if payload[8] & 4 != 0 => Carried::Nothing(End::Unknown),
        (proto::UDP, Some((_, 4789 | 8472))) => Carried::Ethernet(&payload[16..]),
        (proto::UDP, Some((_, 6081))) => {
            let header = 16 + 4 * usize::from(payload[8] & 0x3f);
            if payload.len() < header {
                Carried::Nothing(End::Whole)
            } else {
                by_ether_type(be16(10), &payload[header..])
            }
        }
        _ => Carried::Nothing(End::Whole),
    }
}

/// The reason that we have for a tag that etherparse reads through.
fn odd_tag(packet: &SlicedPacket<'_>) -> Option<Reason> {
    let outermost = match &packet.link {
        Some(etherparse::LinkSlice::Ethernet2(header)) => header.ether_type(),
        _ => EtherType(0),
    };
    if outermost == EtherType(0x9100) {
        return Some(Reason::NotIp);
    }
    packet.link_exts.iter().find_map(|extension| match extension {
        LinkExtSlice::Vlan(vlan) if vlan.ether_type() == EtherType(0x9100) => Some(Reason::NotIp),
        LinkExtSlice::Macsec(_) => Some(Reason::Macsec),
        LinkExtSlice::Vlan(_) => None,
    })
}

/// What etherparse makes of a frame; `None`: it is not IP, or etherparse refuses it.
fn oracle(outermost: &SlicedPacket<'_>) -> Option<Oracle> {
    let mut packets = vec![sliced(outermost)?];
    let mut packet = outermost.clone();
    loop {
        let payload = match packet.net.as_ref() {
            Some(NetSlice::Ipv4(ip)) => ip.payload().payload,
            Some(NetSlice::Ipv6(ip)) => ip.payload().payload,
            _ => unreachable!("it has a network header"),
        };
        let inner = match carried(packets.last().expect("one at least"), payload) {
            Carried::Nothing(end) => return Some(Oracle { packets, end }),
            Carried::Ip(version, bytes) if bytes.first().is_some_and(|first| first >> 4 == version) => {
                SlicedPacket::from_ip(bytes).ok()
            }
            Carried::Ip(..) => None,
            Carried::Ethernet(bytes) => SlicedPacket::from_ethernet(bytes).ok().filter(|p| odd_tag(p).is_none()),
        };
        let Some((inner, sliced)) = inner.and_then(|inner| Some((inner.clone(), sliced(&inner)?))) else {
            return Some(Oracle { packets, end: End::Unknown });
        };
        packets.push(sliced);
        packet = inner;
    }
}

/// Whether one of the differences above has us stop by this reason in a frame all of which etherparse understood.
fn may_refuse(oracle: &Oracle, reason: Reason) -> bool {
    let any = |what: fn(&Sliced) -> bool| oracle.packets.iter().any(what);
    let jumbo = any(|sliced| sliced.jumbo);
    match reason {
        Reason::BadIpLength => jumbo || any(|sliced| sliced.piece.is_some()),
        Reason::FragmentShort => any(|sliced| sliced.piece.is_some()),
        Reason::LengthBeyondFrame | Reason::TruncatedExtension => jumbo,
        Reason::BadOptions => any(|sliced| sliced.options),
        Reason::BadRouting => any(|sliced| sliced.routing),
        Reason::ExtensionDepth => any(|sliced| sliced.extensions > 8),
        Reason::TruncatedTransport => any(|sliced| sliced.ports.is_none()),
        Reason::TooDeep => oracle.packets.len() > MAX_HEADERS || any(|sliced| sliced.options || sliced.routing),
        Reason::TruncatedTunnel => oracle.end == End::Truncated,
        Reason::BadTunnel => oracle.end == End::Bad,
        _ => false,
    }
}

/// A policy to which all destinations are equal, so that of several the innermost is kept.
fn indifferent() -> Image {
    let class = ClassRow { class: Class::Inside as u8, ..ClassRow::default() };
    Image::build(&[(0, 0)], &[(0, 0)], vec![class], Vec::new()).expect("one class for all")
}

struct Compared {
    image: Image,
    walker: HeaderWalker,
    /// Frames that etherparse understood, and packets inside packets.
    understood: u32,
    inner: u32,
}

impl Compared {
    fn new() -> Self {
        Self { image: indifferent(), walker: HeaderWalker::new(), understood: 0, inner: 0 }
    }

    fn frame(&mut self, frame: &[u8]) {
        let Ok(packet) = SlicedPacket::from_ethernet(frame) else { return };
        let Some(oracle) = oracle(&packet) else { return };
        let read = self.walker.walk(frame, Link::Ethernet);
        if let Some(reason) = odd_tag(&packet) {
            assert_eq!(read, Err(reason), "{oracle:?}\n{frame:02x?}");
            return;
        }
        if let Err(why) = self.agree(&oracle, read) {
            let (key, hops) = (&self.walker.key, self.walker.hops());
            panic!("{why}\netherparse: {oracle:#?}\nours: {read:?} {key:x?} {hops:x?}\n{frame:02x?}");
        }
        self.understood += u32::from(oracle.end != End::Unknown);
        self.inner += oracle.packets.len() as u32 - 1;
    }

    fn agree(&self, oracle: &Oracle, read: Result<(), Reason>) -> Result<(), &'static str> {
        let Self { walker, image, .. } = self;
        let key = &walker.key;
        let (first, last) = (&oracle.packets[0], oracle.packets.last().expect("one at least"));
        let complain = |wrong: bool, what| if wrong { Err(what) } else { Ok(()) };
        // Addresses, as far as both read.
        let addresses = (key.ip(key.source), key.ip(key.destination));
        complain(key.ip_version == 0, "no address")?;
        complain(addresses != (first.source, first.destination), "another address")?;
        let inner = |hop: &monitor_common::parse::Hop| {
            InnerDestination { address: hop.address, ip_version: hop.ip_version, ..InnerDestination::default() }
                .ip()
                .expect("a version")
        };
        let on_the_way = [Via::SourceRoute as u8, Via::RoutingHeader as u8];
        let hops = walker.hops().iter().filter(|hop| !on_the_way.contains(&hop.via)).map(inner);
        let hops: Vec<IpAddr> = hops.collect();
        let sliced: Vec<IpAddr> = oracle.packets[1..].iter().map(|sliced| sliced.destination).collect();
        let both = hops.len().min(sliced.len());
        complain(hops[..both] != sliced[..both], "another inner destination")?;
        if let Err(reason) = read {
            return complain(oracle.end != End::Unknown && !may_refuse(oracle, reason), "a reason of ours alone");
        }
        complain(hops.len() < sliced.len(), "we overlook a packet inside")?;
        complain(matches!(oracle.end, End::Truncated | End::Bad), "we read a tunnel that cannot be read")?;
        if first.is_passed_through() {
            let later = walker.fragment_at(0).is_some_and(|fragment| fragment.start != 0);
            return complain(key.protocol == first.protocol && !later, "an extension header as protocol");
        }
        // Which piece the outermost is.
        let outer = walker.fragment_at(0).filter(|fragment| fragment.header == 0);
        let outer = outer.map(|fragment| (fragment.id, fragment.start, fragment.more != 0));
        complain(outer != first.piece, "another piece")?;
        complain(key.protocol != first.protocol, "another protocol")?;
        let differ = |ports: (u16, u16)| ports != (key.source_port, key.destination_port);
        complain(first.ports.is_some_and(differ), "other ports")?;
        if oracle.end == End::Unknown {
            return Ok(());
        }
        complain(hops.len() != sliced.len(), "we see a packet inside that is not there")?;
        if let [_, .., innermost] = &oracle.packets[..] {
            let inner =
                Evaluation::of_packet(image, walker, &InnerDestination::default()).expect("the image is whole").inner;
            complain(inner.protocol != innermost.protocol, "another inner protocol")?;
            complain(last.ports.is_some_and(|(_, port)| port != inner.port), "another inner port")?;
        }
        Ok(())
    }
}

fn ethernet_frames() -> Vec<Vec<u8>> {
    let cases = corpus::corpus().into_iter().filter(|case| case.link == Link::Ethernet);
    cases.flat_map(|case| [case.before, vec![case.frame]].concat()).collect()
}

#[test]
fn etherparse_and_our_parser_agree_on_every_frame_of_the_corpus() {
    let mut compared = Compared::new();
    for frame in ethernet_frames() {
        compared.frame(&frame);
    }
    println!("{} understood, {} packets inside packets", compared.understood, compared.inner);
    assert!(compared.understood >= 150 && compared.inner >= 50, "{} {}", compared.understood, compared.inner);
}

/// The frame, or its packet, inside a tunnel whose own headers are right.
fn wrap(frame: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let Some((header, packet)) = frame.split_first_chunk::<14>() else { return frame.to_vec() };
    let kind = u16::from_be_bytes([header[12], header[13]]);
    let outer = || eth() / ip(if frame.len().is_multiple_of(2) { IN } else { IN6 });
    let whole = || raw(frame);
    let stack = match (random.u8(..5), kind) {
        (0, ether::IPV4) => outer() / raw(packet).protocol(proto::IPIP),
        (0, ether::IPV6) => outer() / raw(packet).protocol(proto::IPV6),
        (1, _) => outer() / gre() / raw(packet).ether(kind),
        (2, _) => outer() / gre() / whole().ether(ether::BRIDGED),
        (3, _) => outer() / udp(4789) / vxlan(9) / whole(),
        _ => outer() / whole().protocol(proto::ETHERNET),
    };
    stack.bytes()
}

#[test]
fn etherparse_and_our_parser_agree_on_mutated_frames() {
    let mut random = random();
    let frames = ethernet_frames();
    let mut compared = Compared::new();
    for _ in 0..MUTATED {
        let mut frame = frames[random.usize(..frames.len())].clone();
        for _ in 0..random.u8(..4) {
            change(&mut frame, &mut random);
        }
        while random.u8(..4) == 0 && frame.len() < 1_000 {
            frame = wrap(&frame, &mut random);
        }
        compared.frame(&frame);
    }
    println!("{} understood, {} packets inside packets", compared.understood, compared.inner);
    // Else the comparison would say little.
    assert!(compared.understood > MUTATED / 5, "etherparse understood only {}", compared.understood);
    assert!(compared.inner > MUTATED / 10, "only {} packets inside packets", compared.inner);
}
