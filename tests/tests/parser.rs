//! Promise: whenever etherparse, which shares nothing with our parser, understands a frame up to the transport
//! header, our parser says the same: addresses, protocol, ports, and whether it is a fragment after the first.
//!
//! Where they may differ, and why, precisely:
//! - tag protocol 0x9100: a VLAN tag to etherparse; to the kernel, and so to us, no tag but [`Reason::NotIp`];
//! - MACsec in the clear: read by etherparse, [`Reason::NotIp`] to us;
//! - more than eight IPv6 extension headers: etherparse follows a chain of any length, we stop by
//!   [`Reason::ExtensionDepth`];
//! - an authentication header after IPv4: etherparse reads on behind it, to us it is the protocol (51), without ports;
//! - what follows the fragment header in a later IPv6 fragment: read as headers by etherparse, data to us;
//! - mobility, HIP and Shim6 headers after IPv6: the protocol to etherparse, extension headers to us (RFC 7045), so that
//!   we name what follows them, or say what is wrong there.
//!
//! In each of these in which we name a flow at all, both still name the same addresses.

#[allow(dead_code)]
#[path = "common/frames.rs"]
mod frames;

use std::net::IpAddr;

use etherparse::{EtherType, IpNumber, Ipv6ExtensionSlice, LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use monitor_common::{
    parse::{Reason, parse},
    wire::{FLAG_FRAGMENT, FlowKey, Link},
};

const MUTATED: u32 = 250_000;

/// What both have to agree on.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Not compared for a first fragment, in which etherparse looks for no ports.
    ports: Option<(u16, u16)>,
    later_fragment: bool,
}

/// What etherparse makes of a frame; `None`: it is not IP, or etherparse refuses it.
fn oracle(packet: &SlicedPacket<'_>) -> Option<Told> {
    let (source, destination, payload, later_fragment): (IpAddr, IpAddr, _, _) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let later = header.fragments_offset().value() != 0;
            (header.source_addr().into(), header.destination_addr().into(), ip.payload(), later)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            // What follows in a later fragment is data (RFC 8200, 4.5), though etherparse reads on in it.
            let fragment = ip.extensions().clone().into_iter().find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(f) if f.fragment_offset().value() != 0 => Some(f.next_header().0),
                _ => None,
            });
            let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
            if let Some(protocol) = fragment {
                return Some(Told { source, destination, protocol, ports: Some((0, 0)), later_fragment: true });
            }
            (source, destination, ip.payload(), false)
        }
        NetSlice::Arp(_) => return None,
    };
    let ports = match packet.transport.as_ref() {
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Icmpv4(icmp)) => Some((0, u16::from_be_bytes([icmp.type_u8(), icmp.code_u8()]))),
        Some(TransportSlice::Icmpv6(icmp)) => Some((0, u16::from_be_bytes([icmp.type_u8(), icmp.code_u8()]))),
        _ if later_fragment => Some((0, 0)),
        _ => None,
    };
    Some(Told { source, destination, protocol: payload.ip_number.0, ports, later_fragment })
}

/// Whether what we say is what one of the differences above has us say.
fn differs(packet: &SlicedPacket<'_>, oracle: &Told, ours: &Result<Told, Reason>) -> bool {
    let odd_tag = |extension: &LinkExtSlice<'_>| match extension {
        LinkExtSlice::Vlan(vlan) => vlan.ether_type() == EtherType(0x9100),
        LinkExtSlice::Macsec(_) => true,
    };
    let first = match &packet.link {
        Some(etherparse::LinkSlice::Ethernet2(header)) => header.ether_type(),
        _ => EtherType(0),
    };
    let tagged_oddly = first == EtherType(0x9100) || packet.link_exts.iter().any(odd_tag);
    let (depth, extension, v4_authentication) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => (0, false, ip.extensions().auth.is_some()),
        Some(NetSlice::Ipv6(ip)) => {
            let extension = matches!(ip.payload().ip_number, IpNumber(135 | 139 | 140)) && !oracle.later_fragment;
            (ip.extensions().clone().into_iter().count(), extension, false)
        }
        _ => (0, false, false),
    };
    match ours {
        Ok(told) if (told.source, told.destination) != (oracle.source, oracle.destination) => false,
        Ok(told) if v4_authentication => {
            told.protocol == 51 && told.ports == Some((0, 0)) && told.later_fragment == oracle.later_fragment
        }
        // Whatever follows, it is none of these.
        Ok(told) => extension && (told.later_fragment || !matches!(told.protocol, 135 | 139 | 140)),
        Err(Reason::NotIp) => tagged_oddly,
        Err(Reason::ExtensionDepth) => depth > 8 || extension,
        Err(Reason::TruncatedExtension | Reason::TruncatedTransport) => extension,
        Err(_) => false,
    }
}

fn ours(frame: &[u8]) -> Result<Told, Reason> {
    let mut key = FlowKey::default();
    parse(frame, Link::Ethernet, &mut key)?;
    Ok(Told {
        source: key.ip(key.source),
        destination: key.ip(key.destination),
        protocol: key.protocol,
        ports: Some((key.source_port, key.destination_port)),
        later_fragment: key.flags & FLAG_FRAGMENT != 0,
    })
}

/// Compares; true if etherparse had an opinion.
fn agree(frame: &[u8]) -> bool {
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else { return false };
    let Some(oracle) = oracle(&packet) else { return false };
    let ours = ours(frame);
    // A header that etherparse does not know, or a first fragment.
    let silent = oracle.ports.is_none();
    let same = match &ours {
        Ok(told) => {
            (told.source, told.destination, told.protocol, told.later_fragment)
                == (oracle.source, oracle.destination, oracle.protocol, oracle.later_fragment)
                && (silent || told.ports == oracle.ports)
        }
        // Without a transport header to look at, etherparse has no opinion on whether it is cut short.
        Err(Reason::TruncatedTransport) => silent,
        Err(_) => false,
    };
    assert!(same || differs(&packet, &oracle, &ours), "etherparse: {oracle:?}\nours: {ours:?}\n{frame:02x?}");
    !silent
}

#[test]
fn etherparse_and_our_parser_agree_on_every_frame_of_the_corpus() {
    assert!(frames::all().iter().filter(|frame| agree(frame)).count() >= 30);
}

#[test]
fn etherparse_and_our_parser_agree_on_mutated_frames() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let corpus = frames::all();
    let mut understood = 0;
    for _ in 0..MUTATED {
        let frame = &corpus[random.usize(..corpus.len())];
        understood += usize::from(agree(&frames::mutate(frame, &mut random)));
    }
    // Else the comparison would say little.
    assert!(understood > MUTATED as usize / 5, "etherparse understood only {understood}");
}
