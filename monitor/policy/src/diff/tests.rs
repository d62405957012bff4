use std::net::IpAddr;

use ipnetwork::IpNetwork;
use monitor_common::{
    classify::{class_id_v4, class_id_v6, isatap},
    wire::{Address as WireAddress, Class, Embedded, FlowKey, FullKey},
};

use super::*;
use crate::{
    Policy, Spec, compile,
    compile::random,
    origin::at_line,
    spec::{Management, Mode, PortRange, Rule, Site, Zone},
};

fn wire(address: IpAddr) -> WireAddress {
    match address {
        IpAddr::V4(address) => WireAddress { high: 0, low: address.to_bits().into() },
        IpAddr::V6(address) => WireAddress { high: (address.to_bits() >> 64) as u64, low: address.to_bits() as u64 },
    }
}

fn key(destination: IpAddr, protocol: u8, destination_port: u16) -> FullKey {
    let ip_version = if destination.is_ipv4() { 4 } else { 6 };
    // From a port that no range here has but those of all.
    let source_port = 65_533;
    FlowKey {
        destination: wire(destination),
        source_port,
        destination_port,
        protocol,
        ip_version,
        ..FlowKey::default()
    }
    .into()
}

/// The class row of the address itself.
fn row(side: &Side, address: IpAddr) -> ClassRow {
    let number = match address {
        IpAddr::V4(address) => class_id_v4(&side.image, address.to_bits()),
        IpAddr::V6(_) => class_id_v6(&side.image, wire(address)),
    };
    side.class_row(number.expect("a whole image"))
}

fn covers(name: &str, protocol: u8, port: u16) -> bool {
    let (of, ports) = name.split_once('/').unwrap_or((name, "0-65535"));
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    of == protocol::label(protocol) && (low.parse().unwrap()..=high.parse().unwrap()).contains(&port)
}

/// The networks of each change.
fn listed(diff: &Diff) -> Vec<(&Change, Vec<IpNetwork>)> {
    let networks = |group: &Group| {
        let both = group.ipv4.largest.iter().chain(&group.ipv6.largest);
        both.map(|network| network.parse().unwrap()).collect()
    };
    diff.changes.iter().map(|group| (&group.change, networks(group))).collect()
}

fn found<'a>(listed: &'a [(&Change, Vec<IpNetwork>)], address: IpAddr, protocol: u8, port: u16) -> Vec<&'a Change> {
    let here = |change: &Change| {
        let any = |names: &[String]| names.iter().any(|name| covers(name, protocol, port));
        if change.only.is_empty() { !any(&change.but) } else { any(&change.only) }
    };
    let holds = |networks: &[IpNetwork]| networks.iter().filter(|network| network.contains(address)).count();
    let all = listed.iter().filter(|(change, networks)| here(change) && holds(networks) > 0);
    all.inspect(|(_, networks)| assert_eq!(holds(networks), 1, "listed twice: {address}"))
        .map(|(change, _)| *change)
        .collect()
}

const PACKETS: [(u8, u16); 9] = [(6, 79), (6, 80), (6, 85), (6, 91), (6, 443), (17, 1), (17, 100), (1, 0), (47, 0)];

#[test]
fn a_network_is_listed_exactly_where_a_look_up_finds_another_verdict() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut rounds, mut differing) = (0, 0);
    while rounds < 8 {
        let (spec, knowledge) = (random::spec(&mut random), random::knowledge(&mut random));
        let (other, another) = (random::spec(&mut random), random::knowledge(&mut random));
        let later = if random.bool() { another } else { knowledge.clone() };
        let side = |spec, knowledge| Some(Side::of(&compile(spec, knowledge, &random::CLOCK).ok()?, Mode::Observe));
        // Too many rules at one place: that is refused, not compared.
        let (Some(old), Some(new)) = (side(&spec, &knowledge), side(&other, &later)) else { continue };
        rounds += 1;
        let diff = compare(&old, &new, usize::MAX);
        assert_eq!(diff.left_out, 0);
        let listed = listed(&diff);
        let mut probes = random::probes(&mut random, &spec, &knowledge);
        probes.extend(random::probes(&mut random, &other, &later));
        for address in probes {
            for (protocol, port) in PACKETS {
                let key = key(address, protocol, port);
                let (Some((before, from)), Some((after, to))) = (old.evaluate(&key), new.evaluate(&key)) else {
                    panic!("an image is not whole")
                };
                let found = found(&listed, address, protocol, port);
                let what = || format!("{address} {protocol}/{port}: {before:?} {after:?}, listed {found:?}");
                let rows = [row(&old, address), row(&new, address)];
                let carries =
                    address.is_ipv6() && (rows.iter().any(|row| row.embedded != 0) || isatap(wire(address)).is_some());
                if !carries {
                    match &found[..] {
                        [] => assert_eq!(before, after, "{}", what()),
                        [change] => {
                            assert_eq!((&change.old, &change.new), (&before, &after), "{}", what());
                            assert_eq!((&change.old_place, &change.new_place), (&from, &to), "{}", what());
                            assert_ne!(before, after, "{}", what());
                            differing += 1;
                        }
                        _ => panic!("{}", what()),
                    }
                    continue;
                }
                // Neither the prefix nor an address inside is listed: then nothing changes.
                let inside = rows.map(|row| match row.embedded {
                    0 => isatap(wire(address)),
                    form => Embedded::from_wire(form).extract(wire(address)),
                });
                let inner = |address: &u32| {
                    let address = IpAddr::from(std::net::Ipv4Addr::from_bits(*address));
                    // A local one inside leaves the prefix its own standing.
                    let classes = [&old, &new].map(|side| Class::from_wire(row(side, address).class));
                    classes[0] != classes[1]
                        || classes[0].stays()
                        || !self::found(&listed, address, protocol, port).is_empty()
                };
                if found.is_empty() && rows[0].embedded == rows[1].embedded && !inside.iter().flatten().any(inner) {
                    assert_eq!(before, after, "{}", what());
                }
            }
        }
    }
    assert!(differing > 100, "hardly anything differed: {differing}");
}

#[test]
fn a_policy_does_not_differ_from_itself() {
    let mut random = fastrand::Rng::new();
    let (spec, knowledge) = (random::spec(&mut random), random::knowledge(&mut random));
    let Ok(policy) = compile(&spec, &knowledge, &random::CLOCK) else { return };
    let side = Side::of(&policy, Mode::Enforce);
    let diff = compare(&side, &side, 5);
    let nothing = Networks { addresses: "0".into(), ..Networks::default() };
    let expected = Diff {
        old: policy.digest.clone(),
        new: policy.digest.clone(),
        moved: (nothing.clone(), nothing),
        ..Diff::default()
    };
    assert_eq!(diff, expected);
}

#[test]
fn a_rule_for_a_port_changes_that_port_alone_and_networks_beyond_the_bound_are_counted() {
    let network = |text: &str| (text.parse().expect("a network"), at_line("c.toml", 1));
    let side = |rules: Vec<Rule>, mode: Mode| {
        let sg = Site {
            name: "sg".into(),
            country: random::country("SG"),
            networks: vec![network("198.18.0.0/15"), network("2001:db8::/32")],
        };
        let zone = Zone { name: "test".into(), ..Zone::default() };
        let spec = Spec { zone, sites: vec![sg], rules, management: Some(Management::default()) };
        let policy = compile(&spec, &crate::Knowledge::default(), &random::CLOCK).unwrap();
        Side::of(&policy, mode)
    };
    let rule = Rule {
        id: "web".into(),
        to: ["198.18.0.0/24", "198.18.2.0/23", "2001:db8:5::/48"].map(network).into(),
        ports: vec![PortRange { protocol: 6, low: 443, high: 443 }],
        reason: "a test".into(),
        ..Rule::default()
    };
    let (old, new) = (side(Vec::new(), Mode::Observe), side(vec![rule], Mode::Enforce));
    let diff = compare(&old, &new, 1);
    let place = Location { country: "SG".into(), class: "outside".into() };
    let verdict = |verdict: &str, rule: Option<&str>, alerts| Verdict {
        verdict: verdict.into(),
        rule: rule.map(str::to_owned),
        alerts,
    };
    let change = Change {
        old_place: place.clone(),
        new_place: place,
        old: verdict("denied", None, true),
        new: verdict("allowed", Some("web"), false),
        only: vec!["tcp/443".into()],
        but: Vec::new(),
    };
    let networks = |networks, addresses: u128, largest: &str| Networks {
        networks,
        addresses: addresses.to_string(),
        largest: vec![largest.into()],
        left_out: networks - 1,
    };
    let group =
        Group { change, ipv4: networks(2, 768, "198.18.2.0/23"), ipv6: networks(1, 1 << 80, "2001:db8:5::/48") };
    assert_eq!(diff.changes, [group]);
    assert_eq!(diff.mode, Some((Mode::Observe, Mode::Enforce)));
    let ids: Vec<_> =
        diff.rules.iter().map(|rule| (rule.id.as_str(), rule.old.is_some(), rule.new.is_some())).collect();
    assert_eq!(ids, [("web", false, true)]);
}

/// One rule on 192.0.2.0/24.
fn recorded() -> Rule {
    Rule {
        id: "backup".into(),
        to: vec![("192.0.2.0/24".parse().expect("a network"), at_line("c.toml", 1))],
        max_bytes_per_day: Some(1 << 30),
        reason: "a test".into(),
        legal_basis: "SCC".into(),
        owner: "dpo".into(),
        ticket: "T-1".into(),
        // Holds later: what it covers then is in no look-up now.
        not_before: Some(i64::from(u32::MAX)),
        ..Rule::default()
    }
}

fn with_rule(rule: Rule) -> Policy {
    let spec = Spec { rules: vec![rule], ..Spec::default() };
    compile(&spec, &crate::Knowledge::default(), &random::CLOCK).expect("compiles")
}

#[test]
fn whatever_is_on_the_record_of_a_rule_and_changes_is_a_change_of_the_rule() {
    let old = Side::of(&with_rule(recorded()), Mode::Observe);
    let network = |text: &str| (text.parse().expect("a network"), at_line("c.toml", 1));
    let changes: [(&str, Rule); 13] = [
        ("nothing", recorded()),
        ("place", Rule { origin: at_line("other.toml", 9), ..recorded() }),
        ("action", Rule { action: crate::spec::Action::Deny, ..recorded() }),
        ("networks", Rule { to: vec![network("192.0.2.0/25")], ..recorded() }),
        ("ports", Rule { ports: vec![PortRange { protocol: 6, low: 1, high: 2 }], ..recorded() }),
        ("not before", Rule { not_before: Some(7), ..recorded() }),
        ("expires", Rule { expires: Some(i64::MAX), ..recorded() }),
        ("another budget", Rule { max_bytes_per_day: Some(1 << 31), ..recorded() }),
        ("no budget", Rule { max_bytes_per_day: None, ..recorded() }),
        ("reason", Rule { reason: "another".into(), ..recorded() }),
        ("legal basis", Rule { legal_basis: String::new(), ..recorded() }),
        ("owner", Rule { owner: "ciso".into(), ..recorded() }),
        ("ticket", Rule { ticket: "T-2".into(), ..recorded() }),
    ];
    for (number, (what, rule)) in changes.into_iter().enumerate() {
        let new = Side::of(&with_rule(rule), Mode::Observe);
        let diff = compare(&old, &new, 5);
        let ids: Vec<_> = diff.rules.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids, if number < 2 { &[][..] } else { &["backup"] }, "{what}");
    }
    // How a list is cut, and in what order, is none.
    let cut = Rule { to: vec![network("192.0.2.128/25"), network("192.0.2.0/25")], ..recorded() };
    let ordered = Rule { to: vec![network("192.0.2.0/25"), network("192.0.2.128/25")], ..recorded() };
    let [cut, ordered] = [cut, ordered].map(|rule| Side::of(&with_rule(rule), Mode::Observe));
    assert_eq!(compare(&cut, &ordered, 5).rules, []);
}

#[test]
fn a_rule_whose_budget_is_used_up_is_compared_as_it_would_hold() {
    let rule = Rule { not_before: None, ..recorded() };
    let configured = std::sync::Arc::new(with_rule(rule.clone()));
    let suspended = configured.suspending(&[1].into());
    let side = |policy: &Policy| Side::of(policy, Mode::Observe);
    let diff = compare(&side(&suspended), &side(&configured), 5);
    assert_eq!((diff.changes, diff.rules), (vec![], vec![]));
    // The bytes that `diff --running` has.
    let running = Side::decode(&side(&suspended).encode().expect("encoded")).expect("decoded");
    let without = side(&with_rule(Rule { ports: vec![PortRange { protocol: 6, low: 1, high: 2 }], ..rule }));
    let diff = compare(&running, &without, 5);
    let changed: Vec<_> = diff.changes.iter().map(|group| group.change.old.rule.as_deref()).collect();
    assert_eq!((changed, diff.rules.len()), (vec![Some("backup")], 1));
}
