//! Policies by chance, for tests: everything that a configuration can say, crowded into few addresses so that it meets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnetwork::IpNetwork;
use monitor_common::wire::{Class, Embedded};

use crate::{ClockMap, Knowledge, geo::Space};
use crate::{
    geo::{
        About, Country, Dataset, Range, Rejected,
        asn::{AsDataset, AsRange},
        overlay::{Overlay, OverlayKind},
        special::Special,
    },
    origin::{Origin, at_line},
    spec::{Action, Management, PortRange, Rule, Site, Spec, Zone},
};

/// The bits in which addresses differ.
const V4_BITS: u32 = 0xc001_8103;
const V6_BITS: u128 = 0x3000_0001_0000_0001_0000_0001_0000_0003;

/// Where the two clocks stand when a policy is compiled, in seconds: 500 after the boot.
pub(crate) const NOW: i64 = 1_000;
pub(crate) const BOOT: i64 = 500;

pub(crate) const CLOCK: ClockMap =
    ClockMap { realtime_ns: NOW * 1_000_000_000, boottime_ns: (NOW - BOOT) as u64 * 1_000_000_000 };

/// Autonomous systems that occur.
const SYSTEMS: [u32; 3] = [64_496, 64_497, 64_498];
const CODES: [&str; 5] = ["DE", "FR", "SG", "US", "ZZ"];

pub(crate) fn country(code: &str) -> Country {
    Country(*code.as_bytes().first_chunk().expect("two letters"))
}

/// A random network, often next to another one.
fn network(random: &mut fastrand::Rng) -> IpNetwork {
    if random.bool() {
        let prefix = random.u8(0..=12) * 10 + random.u8(0..=8);
        let bits = random.u128(..) & V6_BITS | random.u128(0..4) << 62;
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        IpNetwork::new(Ipv6Addr::from_bits(bits & mask).into(), prefix).expect("at most 128")
    } else {
        let prefix = random.u8(0..=32);
        let bits = random.u32(..) & V4_BITS | random.u32(0..4) << 15;
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        IpNetwork::new(Ipv4Addr::from_bits(bits & mask).into(), prefix).expect("at most 32")
    }
}

fn networks(random: &mut fastrand::Rng, count: usize) -> Vec<(IpNetwork, Origin)> {
    (0..count).map(|_| (network(random), at_line("test", 1))).collect()
}

/// Cuts, sorted, made disjoint pairs that touch now and then.
fn spans<A: Space>(random: &mut fastrand::Rng, mut next: impl FnMut(&mut fastrand::Rng) -> A) -> Vec<(A, A)> {
    let mut cuts: Vec<A> = (0..random.usize(0..40)).map(|_| next(random)).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut spans: Vec<(A, A)> = Vec::new();
    for pair in cuts.windows(2) {
        let first = if random.bool() { pair[0].successor() } else { Some(pair[0]) };
        let Some(first) = first else { continue };
        if spans.last().is_none_or(|span| span.1 < first) && first <= pair[1] {
            spans.push((first, pair[1]));
        }
    }
    spans
}

fn v4(random: &mut fastrand::Rng) -> Vec<(u32, u32)> {
    spans(random, |random| random.u32(..) & V4_BITS)
}

fn v6(random: &mut fastrand::Rng) -> Vec<(u128, u128)> {
    spans(random, |random| random.u128(..) & V6_BITS)
}

/// With one of these countries by chance.
fn placed<A: Copy>(random: &mut fastrand::Rng, spans: Vec<(A, A)>, countries: &[Country]) -> Vec<Range<A>> {
    let mut of = |(first, last)| Range { first, last, country: countries[random.usize(0..countries.len())] };
    spans.into_iter().map(&mut of).collect()
}

fn announced<A: Copy>(random: &mut fastrand::Rng, spans: Vec<(A, A)>) -> Vec<AsRange<A>> {
    let mut of = |(first, last)| AsRange { first, last, asn: SYSTEMS[random.usize(0..SYSTEMS.len())] };
    spans.into_iter().map(&mut of).collect()
}

/// Special-purpose ranges, of each sort one.
pub(crate) fn special_ranges() -> Vec<Special> {
    let special = |network: &str, class: Class, embedded: Embedded| Special {
        network: network.parse().expect("a network"),
        class,
        embedded,
        name: "test",
        source: "RFC 0",
    };
    vec![
        special("10.0.0.0/8", Class::Private, Embedded::None),
        special("127.0.0.0/8", Class::Local, Embedded::None),
        special("192.0.0.0/16", Class::Unknown, Embedded::None),
        special("192.1.128.0/24", Class::Private, Embedded::None),
        special("0:0:0:1::/96", Class::Unknown, Embedded::Low32),
        special("2000::/16", Class::Unknown, Embedded::SixToFour),
        special("1000::/32", Class::Unknown, Embedded::Teredo),
        special("3000::/8", Class::Local, Embedded::None),
        special("10.128.0.0/12", Class::LinkLocal, Embedded::None),
        special("1800::/8", Class::LinkLocal, Embedded::None),
    ]
}

fn overlay(random: &mut fastrand::Rng) -> Overlay {
    let (v4, v6) = (v4(random), v6(random));
    let countries = [country("DE"), country("SG"), Country::UNDETERMINED];
    Overlay {
        about: About::named("overlay"),
        file: "overlay.csv".into(),
        kind: OverlayKind::Networks,
        v4: placed(random, v4, &countries),
        v6: placed(random, v6, &countries),
        contradictions: 0,
        rejected: Rejected::default(),
    }
}

/// What is known of addresses.
pub(crate) fn knowledge(random: &mut fastrand::Rng) -> Knowledge {
    let datasets = (0..random.usize(1..=3)).map(|number| {
        let (v4, v6) = (v4(random), v6(random));
        Dataset {
            about: About::named(number.to_string()),
            v4: placed(random, v4, &CODES.map(country)),
            v6: placed(random, v6, &CODES.map(country)),
        }
    });
    let datasets = datasets.collect();
    let overlays = (0..random.usize(0..3)).map(|_| overlay(random)).collect();
    let (v4, v6) = (v4(random), v6(random));
    let asn = AsDataset { v4: announced(random, v4), v6: announced(random, v6), ..AsDataset::default() };
    Knowledge { datasets, overlays, special: special_ranges(), asn: Some(Arc::new(asn)) }
}

fn ports(random: &mut fastrand::Rng) -> Vec<PortRange> {
    let ports = |protocol, low, high| PortRange { protocol, low, high };
    let known = [ports(6, 80, 90), ports(17, 1, 99), ports(6, 85, 85), ports(6, 0, u16::MAX), ports(1, 0, u16::MAX)];
    if random.bool() {
        return Vec::new();
    }
    (0..random.usize(1..=3)).map(|_| known[random.usize(0..known.len())]).collect()
}

fn action(random: &mut fastrand::Rng) -> Action {
    if random.bool() { Action::Allow } else { Action::Deny }
}

fn time(random: &mut fastrand::Rng) -> Option<i64> {
    random.bool().then(|| random.i64(BOOT - 100..NOW + 500))
}

fn rule(random: &mut fastrand::Rng, id: String) -> Rule {
    let origin = at_line("test", id.len());
    if random.u8(0..5) == 0 {
        let to = networks(random, 4);
        return Rule { id: format!("{id}.txt"), origin, to, plain: true, ..Rule::default() };
    }
    let count = random.usize(0..4);
    let to = networks(random, count);
    let countries = (0..random.usize(0..3)).map(|_| (country(CODES[random.usize(0..4)]), at_line("test", 2)));
    let countries = countries.collect();
    let ases = (0..random.usize(0..3)).map(|_| (SYSTEMS[random.usize(0..3)], at_line("test", 3))).collect();
    let start = time(random).filter(|_| random.bool());
    let end = time(random).filter(|end| random.bool() && start.is_none_or(|start| start < *end));
    Rule {
        id,
        origin,
        action: action(random),
        to,
        countries,
        ases,
        ports: ports(random),
        not_before: start,
        expires: end,
        reason: "test".into(),
        ..Rule::default()
    }
}

/// A configuration.
pub(crate) fn spec(random: &mut fastrand::Rng) -> Spec {
    let mut zone = Zone {
        on_outside: action(random),
        on_ambiguous: action(random),
        on_unknown: action(random),
        on_private: action(random),
        on_link_local: action(random),
        inside_private: random.bool(),
        ..Zone::default()
    };
    for _ in 0..random.usize(0..4) {
        let length = [32, 40, 48, 56, 64, 96][random.usize(0..6)];
        let bits = random.u128(..) & V6_BITS & u128::MAX << (128 - length);
        let prefix = IpNetwork::new(Ipv6Addr::from_bits(bits).into(), length).expect("at most 128");
        zone.nat64.push((prefix, at_line("test", 1)));
    }
    let sites = (0..random.usize(0..2)).map(|_| Site {
        name: "site".into(),
        country: country(["DE", "SG"][random.usize(0..2)]),
        networks: networks(random, 4),
    });
    let sites = sites.collect();
    let mut letters: Vec<char> = ('a'..='h').collect();
    random.shuffle(&mut letters);
    let rules = letters.into_iter().take(random.usize(0..8)).map(|letter| rule(random, letter.to_string())).collect();
    let management = (random.u8(0..3) == 0).then(|| {
        let count = random.usize(0..3);
        let (ports, source_ports) =
            if random.bool() { (ports(random), Vec::new()) } else { (Vec::new(), ports(random)) };
        Management {
            networks: networks(random, count),
            ports,
            source_ports,
            origin: at_line("test", 4),
            ..Management::default()
        }
    });
    Spec { zone, sites, rules, management }
}

/// Every address at which something named begins or ends, those beside them, and some that are nowhere in particular.
pub(crate) fn probes(random: &mut fastrand::Rng, spec: &Spec, knowledge: &Knowledge) -> Vec<IpAddr> {
    let v4 = |at: u32| IpAddr::from(Ipv4Addr::from_bits(at));
    let v6 = |at: u128| IpAddr::from(Ipv6Addr::from_bits(at));
    let mut edges: Vec<IpAddr> = Vec::new();
    for data in &knowledge.datasets {
        edges.extend(data.v4.iter().flat_map(|range| [v4(range.first), v4(range.last)]));
        edges.extend(data.v6.iter().flat_map(|range| [v6(range.first), v6(range.last)]));
    }
    for data in &knowledge.overlays {
        edges.extend(data.v4.iter().flat_map(|range| [v4(range.first), v4(range.last)]));
        edges.extend(data.v6.iter().flat_map(|range| [v6(range.first), v6(range.last)]));
    }
    if let Some(data) = &knowledge.asn {
        edges.extend(data.v4.iter().flat_map(|range| [v4(range.first), v4(range.last)]));
        edges.extend(data.v6.iter().flat_map(|range| [v6(range.first), v6(range.last)]));
    }
    let named = spec.sites.iter().flat_map(|site| &site.networks);
    let named = named.chain(spec.rules.iter().flat_map(|rule| &rule.to)).chain(&spec.zone.nat64);
    let named = named.chain(spec.management.iter().flat_map(|management| &management.networks));
    let named = named.map(|(network, _)| network).chain(knowledge.special.iter().map(|special| &special.network));
    edges.extend(named.flat_map(|network| [network.network(), network.broadcast()]));
    let mut probes: Vec<IpAddr> = Vec::new();
    for edge in edges {
        match edge {
            IpAddr::V4(edge) => {
                let at = edge.to_bits();
                let around = [at.wrapping_sub(1), at, at.wrapping_add(1)];
                probes.extend(around.map(v4));
            }
            IpAddr::V6(edge) => {
                let at = edge.to_bits();
                // An ISATAP interface identifier, and an address that a prefix around it may carry.
                let carried = u128::from(random.u32(..) & V4_BITS);
                let isatap = at & !u128::from(u64::MAX) | 0x5efe << 32 | carried;
                let around = [at.wrapping_sub(1), at, at.wrapping_add(1), isatap, at ^ carried];
                probes.extend(around.map(v6));
            }
        }
    }
    for _ in 0..20 {
        probes.push(v4(random.u32(..)));
        probes.push(v6(random.u128(..) & (V6_BITS | u128::from(u32::MAX))));
    }
    probes
}
