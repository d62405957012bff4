//! Which rule decides, when, and what is refused.

use super::{
    random::country,
    tests::{ask, compiled, dataset, rule, site, special},
    *,
};
use crate::{
    origin::at_line,
    spec::{Action, Management, PortRange},
};

/// The id of the rule that decides, `!` in front where it denies; `-` for none.
fn decided(policy: &Policy, address: &str, protocol: u8, port: u16) -> String {
    let found = ask(policy, address, protocol, port);
    let id = policy.rule(found.rule).map_or("-", |rule| rule.id.as_str());
    format!("{}{id}", if found.deny && found.rule != 0 { "!" } else { "" })
}

fn deny(id: &str, to: &[&str], ports: &[(u8, u16, u16)]) -> Rule {
    Rule { action: Action::Deny, ..rule(id, to, ports) }
}

#[test]
fn the_most_specific_rule_wins_wherever_it_stands() {
    let rules = vec![
        rule("https", &["192.0.2.0/24"], &[(6, 443, 443), (17, 443, 443)]),
        rule("wide", &["192.0.0.0/16"], &[(6, 400, 500)]),
        deny("tcp", &["192.0.0.0/16"], &[(6, 0, u16::MAX)]),
        rule("any", &["192.0.0.0/16"], &[]),
        deny("host", &["192.0.2.9/32"], &[]),
    ];
    let of = |rules: Vec<Rule>| compiled(&Spec { rules, ..Spec::default() }, &[], &[]);
    let backwards = of(rules.iter().rev().cloned().collect());
    let policy = of(rules);
    assert_eq!((&policy.digest, &policy.image), (&backwards.digest, &backwards.image));
    for (address, protocol, port, rule) in [
        ("192.0.2.9", 6, 443, "!host"),
        ("192.0.2.8", 17, 443, "https"),
        ("192.0.2.8", 17, 444, "any"),
        ("192.0.2.8", 6, 444, "wide"),
        ("192.0.2.8", 6, 399, "!tcp"),
        ("192.0.3.0", 6, 443, "wide"),
        ("192.1.0.0", 6, 443, "-"),
    ] {
        assert_eq!(decided(&policy, address, protocol, port), rule, "{address} {protocol} {port}");
    }
    let ids: Vec<_> = policy.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["any", "host", "https", "tcp", "wide"]);
    let host = RuleInfo {
        id: "host".into(),
        origin: at_line("host.toml", 1),
        action: Action::Deny,
        reason: "test".into(),
        scope: policy.rules[1].scope.clone(),
        ..RuleInfo::default()
    };
    assert_eq!(policy.rule(2), Some(&host));
    assert_eq!(policy.rule(0), None);
}

#[test]
fn of_rules_as_specific_deny_wins_and_then_the_smaller_id() {
    let rules = vec![
        rule("b", &["192.0.2.0/24"], &[(6, 1, 10)]),
        rule("a", &["192.0.2.0/24"], &[(6, 1, 10), (6, 100, 109)]),
        deny("z", &["192.0.2.0/24"], &[(6, 5, 14)]),
        deny("y", &["192.0.2.0/24"], &[(6, 105, 114)]),
        deny("x", &["192.0.2.0/24"], &[(6, 105, 114)]),
    ];
    let policy = compiled(&Spec { rules, ..Spec::default() }, &[], &[]);
    for (port, rule) in [(4, "a"), (5, "!z"), (10, "!z"), (14, "!z"), (15, "-"), (104, "a"), (105, "!x"), (110, "!x")] {
        assert_eq!(decided(&policy, "192.0.2.1", 6, port), rule, "port {port}");
    }
}

#[test]
fn a_network_beats_an_autonomous_system_and_that_a_country() {
    let data = [dataset("one", &[("8.0.0.0/8", "SG"), ("9.0.0.0/8", "DE"), ("2a00::/16", "SG")])];
    let as_range = |first: [u8; 4], last: [u8; 4], asn| AsRange {
        first: u32::from_be_bytes(first),
        last: u32::from_be_bytes(last),
        asn,
    };
    let mut knowledge = Knowledge::new(&data, &[special("10.0.0.0/8", Class::Private, Embedded::None)]);
    knowledge.asn = Some(std::sync::Arc::new(AsDataset {
        v4: vec![
            as_range([8, 8, 0, 0], [9, 8, 255, 255], 64_500),
            as_range([10, 0, 0, 0], [10, 255, 255, 255], 64_500),
        ],
        ..AsDataset::default()
    }));
    let place = |text: &str| (country(text), at_line("c.toml", 3));
    let rules = vec![
        Rule { countries: vec![place("SG")], ..deny("country", &[], &[(6, 443, 443)]) },
        Rule { countries: vec![place("DE")], ..deny("germany", &[], &[]) },
        Rule { ases: vec![(64_500, at_line("c.toml", 4))], ..rule("as", &[], &[]) },
        deny("network", &["8.0.0.0/5"], &[(17, 53, 53)]),
    ];
    let spec = Spec { rules, sites: vec![site("SG", &["10.1.0.0/16"])], ..Spec::default() };
    let policy = compile(&spec, &knowledge, &ClockMap::wall(0)).expect("must compile");
    for (address, protocol, port, rule) in [
        ("8.1.0.0", 6, 443, "!country"),
        ("8.1.0.0", 6, 444, "-"),
        ("8.8.0.0", 6, 443, "as"),
        ("8.8.0.0", 17, 53, "!network"),
        ("9.9.0.0", 6, 443, "!germany"),
        ("9.8.255.255", 6, 443, "as"),
        ("2a00::1", 6, 443, "!country"),
        ("10.1.2.3", 6, 443, "!country"),
        ("10.2.2.3", 6, 443, "-"),
        ("64.0.0.0", 6, 443, "-"),
    ] {
        assert_eq!(decided(&policy, address, protocol, port), rule, "{address} {protocol} {port}");
    }
    let inside = ask(&policy, "9.9.0.0", 6, 1);
    assert_eq!((inside.deny, inside.alert), (true, true), "a rule denies inside the region too");
    knowledge.asn = None;
    assert_eq!(
        compile(&spec, &knowledge, &ClockMap::wall(0)).expect_err("must be refused").to_string(),
        "rule 'as' (c.toml:4) names AS64500, and no dataset says what that is: name one by [geo] asn"
    );
}

#[test]
fn management_networks_stand_above_every_rule_and_only_for_their_ports() {
    let network = |text: &str| (text.parse().expect("a network"), at_line("c.toml", 7));
    let management = Management {
        networks: vec![network("192.0.0.0/16"), network("64:ff9b::/96")],
        ports: vec![PortRange { protocol: 6, low: 22, high: 22 }],
        origin: at_line("c.toml", 6),
        ..Management::default()
    };
    let spec = Spec {
        rules: vec![deny("host", &["192.0.2.9/32"], &[(6, 22, 22)]), deny("ssh", &["0.0.0.0/0"], &[(6, 22, 22)])],
        management: Some(management),
        ..Spec::default()
    };
    let policy = compiled(&spec, &[], &[special("64:ff9b::/96", Class::Unknown, Embedded::Low32)]);
    let kept = ask(&policy, "192.0.2.9", 6, 22);
    assert_eq!((kept.rule, kept.deny, kept.alert, kept.keep), (3, false, false, true));
    assert_eq!(policy.rule(3).map(|rule| rule.id.as_str()), Some("management"));
    assert_eq!(decided(&policy, "192.0.2.9", 6, 23), "-");
    assert_eq!(decided(&policy, "192.1.0.0", 6, 22), "!ssh");
    assert_eq!(decided(&policy, "64:ff9b::102:304", 6, 22), "management", "above the rule on the address inside");
    assert_eq!(decided(&policy, "64:ff9b::102:304", 6, 23), "-");
    assert_ne!(policy.digest, compiled(&Spec { management: None, ..spec }, &[], &[]).digest);
}

#[test]
fn rule_times_hold_by_the_boot_clock_to_the_nanosecond() {
    let mut timed = rule("timed", &["192.0.2.0/24"], &[]);
    timed.not_before = Some(1_000_000);
    timed.expires = Some(1_000_060);
    let mut past = rule("past", &["198.51.100.0/24"], &[]);
    past.not_before = Some(999_000);
    past.expires = Some(999_900);
    // The machine booted at 999,950 s.
    let clock = ClockMap { realtime_ns: 999_990_000_000_000, boottime_ns: 40_000_000_000 };
    let spec = Spec { rules: vec![timed, past], ..Spec::default() };
    let mut policy = compile(&spec, &Knowledge::default(), &clock).expect("must compile");
    assert_eq!(policy.image.host_boot_ns, 40_000_000_000);
    assert_eq!(policy.next_expiry, Some(1_000_060));
    for (boot_ns, holds) in [
        (0, 0),
        (40_000_000_000, 0),
        (49_999_999_999, 0),
        (50_000_000_000, 2),
        (109_999_999_999, 2),
        (110_000_000_000, 0),
        (u64::MAX, 0),
    ] {
        policy.image.host_boot_ns = boot_ns;
        assert_eq!(ask(&policy, "192.0.2.1", 6, 1).rule, holds, "at {boot_ns}");
        assert_eq!(ask(&policy, "198.51.100.1", 6, 1).rule, 0, "expired before the boot, at {boot_ns}");
    }
}

#[test]
fn a_rule_with_too_many_ports_and_too_many_rules_in_one_place_are_refused_by_name() {
    let ports: Vec<_> = (0..32).map(|port| (6, port * 10, port * 10 + 1)).collect();
    let full = Spec { rules: vec![rule("full", &["192.0.2.0/24"], &ports)], ..Spec::default() };
    let policy = compiled(&full, &[], &[]);
    assert_eq!(ask(&policy, "192.0.2.1", 6, 311).rule, 1, "the 32nd row is looked at");

    let rules = vec![rule("full", &["192.0.2.0/24"], &ports), rule("more", &["192.0.2.128/25"], &[(17, 53, 53)])];
    let refused = compile(&Spec { rules, ..Spec::default() }, &Knowledge::default(), &ClockMap::default());
    assert_eq!(
        refused.expect_err("must be refused").to_string(),
        "at 192.0.2.128 the rules 'more' (more.toml:1), 'full' (full.toml:1) come to more than 32 port ranges: merge \
         ranges or leave 'ports' out"
    );

    // What a more specific rule for all traffic hides needs no room, nor does what another range of ports holds.
    let mut rules = vec![
        rule("any", &["192.0.2.0/25"], &[]),
        rule("full", &["192.0.2.0/24"], &ports),
        rule("more", &["192.0.2.0/25"], &[(17, 53, 53)]),
    ];
    let policy = compiled(&Spec { rules: rules.clone(), ..Spec::default() }, &[], &[]);
    assert_eq!([decided(&policy, "192.0.2.1", 17, 53), decided(&policy, "192.0.2.1", 6, 0)], ["more", "any"]);
    rules[0] = deny("tcp", &["192.0.2.0/25"], &[(6, 0, u16::MAX)]);
    let policy = compiled(&Spec { rules, ..Spec::default() }, &[], &[]);
    assert_eq!([decided(&policy, "192.0.2.1", 6, 0), decided(&policy, "192.0.2.128", 6, 0)], ["!tcp", "full"]);
}
