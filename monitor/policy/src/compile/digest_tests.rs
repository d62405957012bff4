//! Of random policies: written another way they keep their digest, and meaning something else they lose it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::*;
use crate::{
    ClockMap, compile,
    compile::random::{self, CLOCK},
    geo::Country,
    origin::at_line,
    spec::{Action, Management},
};

fn digest(spec: &Spec, knowledge: &Knowledge) -> String {
    compile(spec, knowledge, &CLOCK).expect("must compile").digest
}

/// The same policy, written differently.
fn rewritten(random: &mut fastrand::Rng, spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    let mut rules = Vec::new();
    for (number, mut rule) in spec.rules.drain(..).enumerate() {
        rule.origin = at_line("elsewhere.toml", number);
        random.shuffle(&mut rule.to);
        random.shuffle(&mut rule.ports);
        random.shuffle(&mut rule.countries);
        random.shuffle(&mut rule.ases);
        for (_, origin) in &mut rule.to {
            origin.line += 9;
        }
        // Said twice is said once.
        rule.to.extend(rule.to.first().cloned());
        rule.ports.extend(rule.ports.first().copied());
        if rule.plain {
            // A list by other names, in two files.
            let second =
                Rule { to: rule.to.split_off(rule.to.len() / 2), id: format!("{number}-b.txt"), ..rule.clone() };
            rule.id = format!("renamed-{}.txt", random.u32(..));
            rules.push(second);
        }
        rules.push(rule);
    }
    random.shuffle(&mut rules);
    spec.rules = rules;
    if let Some(management) = &mut spec.management {
        random.shuffle(&mut management.networks);
        management.origin = at_line("elsewhere.toml", 1);
    }
    for site in &mut spec.sites {
        random.shuffle(&mut site.networks);
    }
    spec
}

#[test]
fn a_policy_written_differently_has_the_same_digest_after_another_boot_too() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..150 {
        let (spec, knowledge) = (random::spec(&mut random), random::knowledge(&mut random));
        let reference = digest(&spec, &knowledge);
        let other = rewritten(&mut random, &spec);
        assert_eq!(digest(&other, &knowledge), reference, "round {round}, seed {seed}: {spec:#?}\n{other:#?}");
        for boottime_ns in [0, 1, CLOCK.boottime_ns + 77_000_000_000] {
            let clock = ClockMap { boottime_ns, ..CLOCK };
            let again = compile(&spec, &knowledge, &clock).expect("must compile").digest;
            assert_eq!(again, reference, "booted {boottime_ns} ns ago, round {round}, seed {seed}");
        }
    }
}

/// What is changed, and how.
type Change = (&'static str, fn(&mut Rule));

/// What can be done to a rule's terms, each of which changes what the policy means or what is on its record.
const CHANGES: [Change; 10] = [
    ("action", |rule| {
        rule.action = if rule.action == Action::Allow { Action::Deny } else { Action::Allow };
    }),
    ("port", |rule| rule.ports.push(PortRange { protocol: 132, low: 7, high: 7 })),
    ("expiry", |rule| rule.expires = Some(rule.expires.unwrap_or(9_000) + 1)),
    ("start", |rule| rule.not_before = Some(rule.not_before.unwrap_or(0) - 1)),
    ("budget", |rule| rule.max_bytes_per_day = Some(rule.max_bytes_per_day.unwrap_or(0) + 1)),
    ("reason", |rule| rule.reason.push('!')),
    ("owner", |rule| rule.owner.push('!')),
    ("ticket", |rule| rule.ticket.push('!')),
    ("country", |rule| rule.countries.push((Country(*b"IN"), at_line("test", 9)))),
    ("system", |rule| rule.ases.push((64_511, at_line("test", 9)))),
];

#[test]
fn any_change_of_meaning_changes_the_digest() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tried = 0;
    while tried < 400 {
        let (spec, knowledge) = (random::spec(&mut random), random::knowledge(&mut random));
        let reference = digest(&spec, &knowledge);
        let changed = |what: &str, change: &dyn Fn(&mut Spec)| {
            let mut other = spec.clone();
            change(&mut other);
            assert_ne!(digest(&other, &knowledge), reference, "{what}, seed {seed}: {spec:#?}");
        };
        for (place, _) in spec.rules.iter().enumerate().filter(|(_, rule)| !rule.plain) {
            for (what, change) in CHANGES {
                changed(what, &|spec| change(&mut spec.rules[place]));
                tried += 1;
            }
        }
        for (what, action) in [
            ("on_outside", (|zone| &mut zone.on_outside) as fn(&mut crate::spec::Zone) -> &mut Action),
            ("on_ambiguous", |zone| &mut zone.on_ambiguous),
            ("on_unknown", |zone| &mut zone.on_unknown),
            ("on_private", |zone| &mut zone.on_private),
            ("on_link_local", |zone| &mut zone.on_link_local),
            ("on_undecodable", |zone| &mut zone.on_undecodable),
        ] {
            changed(what, &|spec| {
                let action = action(&mut spec.zone);
                *action = if *action == Action::Allow { Action::Deny } else { Action::Allow };
            });
        }
        changed("region", &|spec| spec.zone.inside.retain(|country| country.0 != *b"DE"));
        changed("management", &|spec| {
            let management = spec.management.get_or_insert_with(Management::default);
            let everywhere: IpAddr = [203, 0, 113, 9].into();
            management.networks.push((IpNetwork::new(everywhere, 32).expect("a length"), at_line("test", 9)));
            management.ports = vec![PortRange { protocol: 132, low: 9, high: 9 }];
            management.source_ports.clear();
        });
        let mut known = knowledge.clone();
        known.datasets[0].about.digest[0] ^= 1;
        assert_ne!(digest(&spec, &known), reference, "dataset, seed {seed}");
    }
}

#[test]
fn networks_of_a_list_are_part_of_it_and_its_name_is_not() {
    let list = |id: &str, networks: &[&str]| Rule {
        id: id.into(),
        to: networks.iter().map(|text| (text.parse().expect("a network"), at_line("list", 1))).collect(),
        plain: true,
        ..Rule::default()
    };
    let of = |rules: Vec<Rule>| digest(&Spec { rules, ..Spec::default() }, &Knowledge::default());
    let whole = of(vec![list("a.txt", &["192.0.2.0/24", "2001:db8::/32"])]);
    assert_eq!(of(vec![list("z.txt", &["192.0.2.0/25", "2001:db8::/32", "192.0.2.128/25"])]), whole);
    assert_eq!(of(vec![list("b.txt", &["2001:db8::/32"]), list("c.txt", &["192.0.2.0/24"])]), whole);
    assert_ne!(of(vec![list("a.txt", &["192.0.2.0/24"])]), whole);
    assert_ne!(of(vec![list("a.txt", &["192.0.2.0/25", "2001:db8::/32"])]), whole);
}

/// Changed on purpose only: it stands in alerts and records, and is the same on every machine.
#[test]
fn the_digest_of_a_known_policy_is_a_known_one() {
    let rule = Rule {
        id: "backup".into(),
        to: vec![("192.0.2.0/24".parse().expect("a network"), at_line("c.toml", 1))],
        countries: vec![(Country(*b"SG"), at_line("c.toml", 1))],
        ports: vec![PortRange { protocol: 6, low: 443, high: 443 }],
        reason: "a test".into(),
        expires: Some(4_000_000_000),
        max_bytes_per_day: Some(1 << 30),
        ..Rule::default()
    };
    let spec = Spec { rules: vec![rule], ..Spec::default() };
    assert_eq!(
        digest(&spec, &Knowledge { special: random::special_ranges(), ..Knowledge::default() }),
        "fc76848bbddb074349f76403fb3f0d481c38f9bf307fa9b936be6bbdd702979b"
    );
}
