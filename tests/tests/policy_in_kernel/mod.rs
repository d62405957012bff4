//! Promise: the kernel does with a destination exactly what `explain` says, under the real embedded datasets: class,
//! country, rule, verdict and alert are the same, and under enforce what is outside, ambiguous or unknown and has no
//! rule is dropped, and what a deny rule covers, inside too. At every boundary of the compiled table the kernel finds
//! the class and rule that the host finds. Of a packet with a further destination it does what `explain` says of the
//! stricter of the two. Packets go through the loaded program (BPF_PROG_TEST_RUN) and nowhere else.

mod known;
mod packet;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use egress_monitor_tests::{
    corpus::build::proto::{ESP, GRE},
    monitor::config::Spec,
};
use monitor_common::{
    classify::classify,
    verdict::{Verdict, decide},
    wire::{Address, FullKey, Link},
};

use self::{
    known::{DENYING, KNOWN},
    packet::{End, Packet},
    world::{Answer, World, knowledge, rank},
};
use crate::support::{
    machine::{DROP, Machine, NEXT, run},
    random,
};

/// Random packets of each family, in each mode; the ring holds their events.
const RANDOM: usize = 10_000;

const DROPPED: [&str; 3] = ["outside", "ambiguous", "unknown"];

/// What the default zone and the rules have to make of a class.
fn verdict(class: &str, rule: Option<&str>, enforce: bool, v6: bool) -> &'static str {
    let by_zone = DROPPED.contains(&class) || (class == "link-local" && !v6);
    let denied = rule.map_or(by_zone, |rule| DENYING.contains(&rule));
    match (denied, enforce) {
        (false, _) => "allowed",
        (true, false) => "observed",
        (true, true) => "denied",
    }
}

#[test]
fn each_kind_of_destination_fares_in_the_kernel_as_explain_says() {
    let world = World::new("");
    let packets: Vec<Packet> = KNOWN.iter().map(|(text, ..)| Packet::from(*text)).collect();
    for enforce in [false, true] {
        let mut machine = Machine::new(Arc::clone(&world.policy), enforce, Link::Ethernet);
        let held = world.hold(&mut machine, enforce, &packets);
        assert_eq!(held.len(), KNOWN.len());
        for ((text, country, class, rule), packet) in KNOWN.iter().zip(&packets) {
            let verdict = verdict(class, *rule, enforce, packet.end.to.is_ipv6());
            let expected = Answer {
                country: (*country).to_owned(),
                class,
                rule: rule.map(str::to_owned),
                verdict,
                alert: verdict != "allowed",
            };
            assert_eq!(held[packet], expected, "{text}");
        }
    }
}

#[test]
fn what_the_datasets_place_on_both_sides_or_nowhere_is_dropped_unless_the_zone_allows_it() {
    let open = "inside = \"EEA + CH\"\non_ambiguous = \"allow\"\non_unknown = \"allow\"\non_private = \"deny\"";
    for (zone, dropped) in [("", &DROPPED[..]), (open, &["outside", "private"])] {
        let world = World::new(zone);
        let mut machine = Machine::new(Arc::clone(&world.policy), true, Link::Ethernet);
        for v6 in [false, true] {
            let examples = world.examples(v6);
            for class in ["inside", "outside", "ambiguous", "unknown", "private"] {
                // No dataset places what is private.
                let mut packets = examples.get(class).cloned().unwrap_or_default();
                assert!(class == "private" || !packets.is_empty(), "no {class} address, IPv6: {v6}");
                if matches!(class, "unknown" | "private") {
                    let known = KNOWN.iter().filter(|row| row.2 == class).map(|row| Packet::from(row.0));
                    packets.extend(known.filter(|packet| packet.end.to.is_ipv6() == v6));
                }
                let verdict = if dropped.contains(&class) { "denied" } else { "allowed" };
                for (packet, answer) in world.hold(&mut machine, true, &packets) {
                    assert_eq!((answer.class, answer.verdict), (class, verdict), "{packet:?}");
                }
            }
        }
    }
}

#[test]
fn random_destinations_fare_in_the_kernel_as_explain_says() {
    let mut random = random();
    let world = World::new("");
    let mut met: BTreeMap<(bool, &str), u32> = BTreeMap::new();
    for enforce in [false, true] {
        let mut machine = Machine::new(Arc::clone(&world.policy), enforce, Link::Ethernet);
        for v6 in [false, true] {
            let packets: Vec<Packet> = (0..RANDOM).map(|_| Packet::random(&mut random, v6)).collect();
            for (packet, answer) in world.hold(&mut machine, enforce, &packets) {
                let expected = verdict(answer.class, answer.rule.as_deref(), enforce, v6);
                assert_eq!(answer.verdict, expected, "{packet:?}: {answer:?}");
                *met.entry((v6, answer.class)).or_default() += 1;
            }
        }
    }
    println!("{met:?}");
    // Every class, but for IPv6's local addresses, which are too few to be met by chance.
    for class in ["ambiguous", "inside", "outside", "private", "unknown"] {
        assert!(met.contains_key(&(false, class)) && met.contains_key(&(true, class)), "no {class}: {met:?}");
    }
    assert!(met.contains_key(&(false, "local")), "{met:?}");
}

#[test]
fn of_two_destinations_the_stricter_decides() {
    let mut random = random();
    let world = World::new("");
    let mut met = BTreeSet::new();
    for enforce in [false, true] {
        let mut machine = Machine::new(Arc::clone(&world.policy), enforce, Link::Ethernet);
        let mut packets: Vec<Packet> = (0..RANDOM).map(|_| Packet::random_tunnel(&mut random)).collect();
        // Each of those said by hand, to each.
        let known: Vec<End> = KNOWN.iter().map(|(text, ..)| Packet::from(*text).end).collect();
        for end in &known {
            let outer = End { to: end.to, protocol: GRE, port: None };
            packets.extend(known.iter().map(|inner| Packet { end: outer, inner: Some(*inner) }));
        }
        // As many as the ring has room for events.
        for some in packets.chunks(8_192) {
            world.hold(&mut machine, enforce, some);
        }
        for packet in &packets {
            let ranks = [Some(packet.end), packet.inner].map(|end| rank(&world.explain(end.expect("both are there"))));
            met.insert(ranks);
        }
    }
    // Denied, let through by a rule and allowed, in each order.
    for outer in [0, 1, 3] {
        for inner in [0, 1, 3] {
            assert!(met.contains(&[outer, inner]), "{outer}, then {inner}: {met:?}");
        }
    }
}

/// Every address at which anything begins that the table was compiled from (so every boundary of the table), and the
/// one before it.
fn boundaries(config: &Spec) -> BTreeSet<IpAddr> {
    let mut starts: BTreeSet<IpAddr> = BTreeSet::new();
    let mut v4 = |first: u32, last: u32| {
        let around = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
        starts.extend(around.map(|at| IpAddr::from(Ipv4Addr::from_bits(at))));
    };
    knowledge().datasets.iter().flat_map(|dataset| &dataset.v4).for_each(|range| v4(range.first, range.last));
    let rules =
        config.rules.iter().flat_map(|rule| &rule.to).chain(config.sites.iter().flat_map(|site| &site.networks));
    let rules = rules.chain(&config.zone.nat64).chain(config.management.iter().flat_map(|of| &of.networks));
    let named = rules.map(|(network, _)| network).chain(knowledge().special.iter().map(|special| &special.network));
    let named: Vec<(IpAddr, IpAddr)> = named.map(|network| (network.network(), network.broadcast())).collect();
    for ends in &named {
        if let (IpAddr::V4(first), IpAddr::V4(last)) = ends {
            v4(first.to_bits(), last.to_bits());
        }
    }
    let mut v6 = |first: u128, last: u128| {
        let around = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
        starts.extend(around.map(|at| IpAddr::from(Ipv6Addr::from_bits(at))));
    };
    knowledge().datasets.iter().flat_map(|dataset| &dataset.v6).for_each(|range| v6(range.first, range.last));
    for ends in &named {
        if let (IpAddr::V6(first), IpAddr::V6(last)) = ends {
            v6(first.to_bits(), last.to_bits());
        }
    }
    starts
}

#[test]
fn at_every_boundary_of_the_compiled_table_the_kernel_finds_what_the_host_finds() {
    let world = World::new("");
    let mut machine = Machine::new(Arc::clone(&world.policy), true, Link::Ethernet);
    let all: Vec<IpAddr> = boundaries(&world.config).into_iter().collect();
    assert!(all.len() > 500_000, "{} boundaries", all.len());
    // By a protocol without ports, of which no header says more: the same frame but for the destination.
    let frames = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
        .map(|to| Packet::from(End { to, protocol: ESP, port: None }).frame());
    let mut asked = 0;
    // As many as the flow table has room for.
    for some in all.chunks(60_000) {
        let mut expected: BTreeMap<IpAddr, (u16, u16, u8)> = BTreeMap::new();
        for to in some {
            let mut frame = frames[usize::from(to.is_ipv6())].clone();
            let (version, address) = match to {
                IpAddr::V4(v4) => {
                    frame[14 + 16..14 + 20].copy_from_slice(&v4.octets());
                    (4, Address::v4(v4.to_bits()))
                }
                IpAddr::V6(v6) => {
                    frame[14 + 24..14 + 40].copy_from_slice(&v6.octets());
                    (6, Address::from(*v6))
                }
            };
            let found = classify(&world.policy.image, version, address, ESP, Some(0)).expect("the image is whole");
            let verdict = decide(&found, true);
            let returned = run(&mut machine.kernel, &frame, frame.len() as u32, 1);
            assert_eq!(returned, if verdict == Verdict::Denied { DROP } else { NEXT }, "{to}");
            expected.insert(*to, (found.class_id, found.rule, verdict as u8));
        }
        let drained = machine.kernel.flip().unwrap();
        let noted = drained.flows.iter().map(|(key, _)| {
            let FullKey { flow, .. } = key;
            (flow.ip(flow.destination), (flow.class_id, flow.rule, flow.verdict))
        });
        assert!(noted.collect::<BTreeMap<_, _>>() == expected, "after {asked}");
        asked += expected.len();
        while machine.events.ready().is_some() {}
    }
    println!("{asked} addresses");
}
