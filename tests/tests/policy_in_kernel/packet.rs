//! Packets by where they go: said by hand, counted by the kernel, or at random.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egress_monitor_tests::{
    corpus::{
        build::{
            Stack, esp, eth, gre, icmp, icmpv6, ip, ports,
            proto::{ESP, GRE, ICMP, ICMPV6, IPIP, IPV6, SCTP, TCP, UDP},
            raw, tcp, udp,
        },
        policy::NAT64,
    },
    monitor::{
        geo::{Range, Space},
        policy::{Target, has_ports},
    },
};
use monitor_common::wire::FullKey;

use super::world::knowledge;

/// One way to send to an address: with a port if the protocol has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) to: IpAddr,
    pub(super) protocol: u8,
    pub(super) port: Option<u16>,
}

impl End {
    fn new(to: IpAddr, protocol: u8, port: u16) -> Self {
        Self { to, protocol, port: has_ports(protocol).then_some(port) }
    }
}

/// A packet to there, and what it carries on to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packet {
    pub(super) end: End,
    pub(super) inner: Option<End>,
}

impl From<End> for Packet {
    fn from(end: End) -> Self {
        Self { end, inner: None }
    }
}

impl From<&str> for Packet {
    /// As `explain` takes it on the command line.
    fn from(text: &str) -> Self {
        let target: Target = text.parse().unwrap();
        let protocol = target.protocol.expect("a protocol");
        assert_eq!(target.port.is_some(), has_ports(protocol), "{text} cannot be sent");
        Self::from(End { to: target.address, protocol, port: target.port })
    }
}

impl From<&FullKey> for Packet {
    fn from(FullKey { flow, inner }: &FullKey) -> Self {
        Self {
            end: End::new(flow.ip(flow.destination), flow.protocol, flow.destination_port),
            inner: inner.ip().map(|to| End::new(to, inner.protocol, inner.port)),
        }
    }
}

/// A third anywhere; a third in a dataset's range, a third at its first or last address or one beside it.
fn near_a_border<A: Space>(random: &mut fastrand::Rng, ranges: &[Range<A>]) -> u128 {
    let range = &ranges[random.usize(..ranges.len())];
    let (first, last) = (range.first.number(), range.last.number());
    let address = match random.u8(0..6) {
        0 | 1 => random.u128(..),
        2 | 3 => random.u128(first..=last),
        4 => first.wrapping_sub(random.u128(0..2)),
        _ => last.wrapping_add(random.u128(0..2)),
    };
    address & A::LAST.number()
}

impl End {
    /// Without a link header.
    fn packet(self) -> Stack {
        // At no port a tunnel or anything else that is looked into; where a careless parser would find port 53.
        let data = raw(&[0, 0, 1, 0, 0, 53, 0, 0, 0, 0, 0, 53]);
        let header = match (self.protocol, self.port) {
            (TCP, Some(port)) => tcp(port),
            (UDP, Some(port)) => udp(port),
            (protocol, Some(port)) => ports(protocol, port),
            (ICMP, None) => icmp(8, 0),
            (ICMPV6, None) => icmpv6(128, 0),
            (ESP, None) => esp(),
            (protocol, None) => panic!("no packet of protocol {protocol}"),
        };
        ip(self.to) / header / data
    }

    pub(super) fn random(random: &mut fastrand::Rng, v6: bool) -> Self {
        let datasets = &knowledge().datasets;
        let dataset = &datasets[random.usize(..datasets.len())];
        let v4 = near_a_border(random, &dataset.v4) as u32;
        let to = if v6 {
            let bits = match random.u8(0..10) {
                // IPv4 in every form that IPv6 carries it in.
                0 => [0, 0xffff << 32, 0x64_ff9b << 96][random.usize(..3)] | u128::from(v4),
                1 => 0x2002 << 112 | u128::from(v4) << 80 | random.u128(..) >> 48,
                2 => 0x2001 << 112 | u128::from(random.u64(..)) << 32 | u128::from(!v4),
                3 => translated(NAT64[random.usize(..NAT64.len())], v4, random.u128(..)),
                4 => {
                    let prefix = near_a_border(random, &dataset.v6) >> 64 << 64;
                    let identifier = [0x5efe_u128, 0x0200_5efe][random.usize(..2)];
                    prefix | identifier << 32 | u128::from(v4)
                }
                // Near what the sites and rules name.
                5 => 0x2001_0db8 << 96 | u128::from(random.u8(..8)) << 80 | random.u128(..) >> random.u32(48..128),
                _ => near_a_border(random, &dataset.v6),
            };
            Ipv6Addr::from(bits).into()
        } else {
            Ipv4Addr::from(v4).into()
        };
        let (protocol, port) = match random.u8(0..8) {
            0 => (if v6 { ICMPV6 } else { ICMP }, 0),
            1 => (ESP, 0),
            2 => (SCTP, random.u16(..)),
            3 => (UDP, random.u16(4_498..4_513)),
            4 => (UDP, 53),
            5 => (TCP, [53, 853][random.usize(..2)]),
            _ => ([TCP, UDP][random.usize(..2)], random.u16(..)),
        };
        Self::new(to, protocol, port)
    }
}

/// An IPv4 address in a translator's prefix (RFC 6052, 2.2): right behind it, but for bits 64 to 71; what is behind the
/// address is `rest`.
fn translated(prefix: &str, v4: u32, rest: u128) -> u128 {
    let (base, length) = prefix.split_once('/').unwrap();
    let (base, length): (Ipv6Addr, usize) = (base.parse().unwrap(), length.parse().unwrap());
    let mut octets = rest.to_be_bytes();
    octets[..length / 8].copy_from_slice(&base.octets()[..length / 8]);
    let free = (length / 8..16).filter(|at| *at != 8);
    for (at, octet) in free.zip(v4.to_be_bytes()) {
        octets[at] = octet;
    }
    u128::from_be_bytes(octets)
}

impl Packet {
    pub(super) fn frame(self) -> Vec<u8> {
        let Some(inner) = self.inner else { return (eth() / self.end.packet()).bytes() };
        match self.end.protocol {
            GRE => (eth() / ip(self.end.to) / gre() / inner.packet()).bytes(),
            _ => (eth() / ip(self.end.to) / inner.packet()).bytes(),
        }
    }

    pub(super) fn random(random: &mut fastrand::Rng, v6: bool) -> Self {
        End::random(random, v6).into()
    }

    /// IP in IP or GRE, of either family in either.
    pub(super) fn random_tunnel(random: &mut fastrand::Rng) -> Self {
        let inner = {
            let v6 = random.bool();
            End::random(random, v6)
        };
        let v6 = random.bool();
        let to = End::random(random, v6).to;
        let protocol = match inner.to {
            _ if random.bool() => GRE,
            IpAddr::V4(_) => IPIP,
            IpAddr::V6(_) => IPV6,
        };
        Self { end: End { to, protocol, port: None }, inner: Some(inner) }
    }
}
