//! The story of a verdict, for each thing that can decide one.

use super::*;
use crate::{
    ClockMap, Knowledge, compile,
    geo::{About, Dataset, Range, special},
    origin::at_line,
    spec::{Action, PortRange, Rule, Site, Spec, Zone},
};

const NOW: i64 = 1_780_272_000;

fn range<A>(first: A, last: A, code: &[u8; 2]) -> Range<A> {
    Range { first, last, country: Country(*code) }
}

fn v4(text: &str) -> u32 {
    text.parse::<Ipv4Addr>().expect("an IPv4 address").to_bits()
}

fn v6(text: &str) -> u128 {
    text.parse::<std::net::Ipv6Addr>().expect("an IPv6 address").to_bits()
}

fn knowledge() -> Knowledge {
    let one = Dataset {
        about: About::named("one"),
        v4: vec![
            range(v4("5.0.0.0"), v4("5.255.255.255"), b"DE"),
            range(v4("8.0.0.0"), v4("8.255.255.255"), b"US"),
            range(v4("9.0.0.0"), v4("9.255.255.255"), b"FR"),
        ],
        v6: vec![range(v6("2a00::"), v6("2a00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), b"IE")],
    };
    let two = Dataset {
        about: About::named("two"),
        v4: vec![
            range(v4("5.0.0.0"), v4("5.127.255.255"), b"NO"),
            range(v4("8.8.8.0"), v4("8.8.8.255"), b"US"),
            range(v4("9.0.0.0"), v4("9.255.255.255"), b"SG"),
        ],
        v6: vec![range(v6("2a00:1450::"), v6("2a00:1450:ffff:ffff:ffff:ffff:ffff:ffff"), b"DE")],
    };
    Knowledge::new(&[one, two], special::table())
}

fn rule(id: &str, to: &str, ports: &[(u8, u16, u16)], times: (Option<i64>, Option<i64>)) -> Rule {
    Rule {
        id: id.into(),
        origin: at_line("c.toml", id.len()),
        to: vec![(to.parse().expect("a network"), at_line("c.toml", 9))],
        ports: ports.iter().map(|&(protocol, low, high)| PortRange { protocol, low, high }).collect(),
        reason: "test".into(),
        not_before: times.0,
        expires: times.1,
        ..Rule::default()
    }
}

fn spec() -> Spec {
    Spec {
        sites: vec![Site {
            name: "singapore".into(),
            country: Country(*b"SG"),
            networks: vec![("10.64.0.0/10".parse().expect("a network"), at_line("c.toml", 5))],
        }],
        rules: vec![
            rule("web", "8.8.8.0/24", &[(6, 443, 443), (17, 53, 60)], (None, None)),
            rule("later", "8.8.8.8/32", &[], (Some(NOW + 1), None)),
            rule("now", "8.8.8.8/32", &[], (Some(NOW), Some(NOW + 60))),
            rule("last", "8.0.0.0/8", &[(6, 1, 65535)], (None, None)),
            rule("nat64", "64:ff9b::/96", &[(17, 123, 123)], (None, None)),
        ],
        ..Spec::default()
    }
}

fn story_of(spec: &Spec, target: &str) -> Explanation {
    let knowledge = knowledge();
    let clock = ClockMap::wall(NOW * 1_000_000_000);
    let policy = compile(spec, &knowledge, &clock).expect("must compile");
    let inputs = ExplainInputs { spec, knowledge: &knowledge, policy: &policy, clock };
    explain(&target.parse().expect("a destination"), &inputs).unwrap_or_else(|error| panic!("{error}"))
}

/// Country, class, basis, verdict in observe and in enforce, rule, reason.
fn summary(target: &str) -> String {
    let story = story_of(&spec(), target);
    format!(
        "{} {} by {}: {}/{}{} {}: {}",
        story.country,
        story.class,
        story.basis,
        story.observe,
        story.enforce,
        if story.alert { "!" } else { "" },
        story.rule.as_deref().unwrap_or("-"),
        story.reason
    )
}

#[test]
fn each_kind_of_destination_has_its_country_class_verdict_and_reason() {
    for (target, story) in [
        ("5.1.1.1", "DE inside by sources: allowed/allowed -: one says DE, two says NO: inside EEA"),
        (
            "5.200.1.1",
            "DE ambiguous by sources: observed/denied! -: one says DE, two says nothing: not all agree that it is inside \
             EEA; on_ambiguous = deny",
        ),
        (
            "9.1.1.1",
            "FR ambiguous by sources: observed/denied! -: one says FR, two says SG: not all agree that it is inside EEA; \
             on_ambiguous = deny",
        ),
        (
            "8.1.1.1",
            "US outside by sources: observed/denied! -: one says US, two says nothing: outside EEA; on_outside = deny",
        ),
        ("4.4.4.4", "ZZ unknown by sources: observed/denied! -: no source knows it; on_unknown = deny"),
        ("2a00:1450:4001::1", "IE inside by sources: allowed/allowed -: one says IE, two says DE: inside EEA"),
        (
            "10.1.2.3",
            "-- private by special: allowed/allowed -: private use (RFC 1918): no dataset can place it and no site does; \
             on_private = allow",
        ),
        (
            "10.64.2.3",
            "SG outside by site: observed/denied! -: site 'singapore' (c.toml:5) is in SG, outside EEA; on_outside = deny",
        ),
        ("127.0.0.1", "-- local by special: allowed/allowed -: loopback (RFC 1122) never leaves the link or the host"),
        (
            "64:ff9b::808:909",
            "US outside by sources: observed/denied! -: IPv4/IPv6 translation (RFC 6052) carries 8.8.9.9: one says US, two \
             says nothing: outside EEA; on_outside = deny",
        ),
        (
            "64:ff9b::a40:1",
            "SG outside by site: observed/denied! -: IPv4/IPv6 translation (RFC 6052) carries 10.64.0.1: site 'singapore' \
             (c.toml:5) is in SG, outside EEA; on_outside = deny",
        ),
        (
            "64:ff9b::7f00:1",
            "-- unknown by special: observed/denied! -: IPv4/IPv6 translation (RFC 6052) carries 127.0.0.1, which is never \
             routed: IPv4/IPv6 translation is unknown; on_unknown = deny",
        ),
    ] {
        assert_eq!(summary(target), story, "{target}");
    }
}

#[test]
fn of_an_isatap_destination_the_stricter_of_both_addresses_decides_and_the_reason_says_so() {
    for (target, story) in [
        (
            "2a00:1450::5efe:808:909",
            "US outside by sources: observed/denied! -: ISATAP (RFC 5214) carries 8.8.9.9: one says US, two says nothing: \
             outside EEA; on_outside = deny",
        ),
        (
            "fe80::200:5efe:808:909",
            "US outside by sources: observed/denied! -: ISATAP (RFC 5214) carries 8.8.9.9: one says US, two says nothing: \
             outside EEA; on_outside = deny",
        ),
        (
            "2a00:1450::5efe:a40:1",
            "SG outside by site: observed/denied! -: ISATAP (RFC 5214) carries 10.64.0.1: site 'singapore' (c.toml:5) is \
             in SG, outside EEA; on_outside = deny",
        ),
        (
            "2a00:1450::5efe:501:101",
            "IE inside by sources: allowed/allowed -: one says IE, two says DE: inside EEA; 5.1.1.1, which it carries by \
             ISATAP (RFC 5214), is judged no stricter",
        ),
        (
            "2600::5efe:808:909",
            "ZZ unknown by sources: observed/denied! -: no source knows it; on_unknown = deny; 8.8.9.9, which it carries by \
             ISATAP (RFC 5214), is judged no stricter",
        ),
        (
            "[2a00:1450::5efe:808:809]:443",
            "US outside by sources: allowed/allowed web: ISATAP (RFC 5214) carries 8.8.8.9: one says US, two says US: \
             outside EEA; rule 'web' (c.toml:3) lets it through",
        ),
        (
            "2002:501:101::5efe:808:909",
            "DE inside by sources: allowed/allowed -: 6to4 (RFC 3056) carries 5.1.1.1: one says DE, two says NO: inside EEA",
        ),
    ] {
        assert_eq!(summary(target), story, "{target}");
    }
    let story = story_of(&spec(), "[2a00:1450::5efe:808:809]:443");
    assert_eq!(story.isatap.map(|inner| inner.address.to_string()).as_deref(), Some("8.8.8.9"));
    let applying: Vec<_> = story.rules.iter().filter(|rule| rule.applies).map(|rule| rule.id.as_str()).collect();
    assert_eq!(applying, ["web"], "what lets the address inside through");
    assert_eq!(story_of(&spec(), "2a00:1450::5efd:808:809").isatap, None);
}

/// With 2001:db8:64::/64 and, in it, a /96 for translators.
fn translating() -> Spec {
    let mut spec = spec();
    let prefix = |text: &str, line| (text.parse().expect("a network"), at_line("c.toml", line));
    spec.zone.nat64 = vec![prefix("2001:db8:64::/64", 3), prefix("2001:db8:64::/96", 4)];
    spec
}

#[test]
fn a_configured_nat64_prefix_is_shown_with_its_place() {
    let summary = |target| {
        let story = story_of(&translating(), target);
        let network = story.destination.nat64.map(|nat64| nat64.network);
        (
            network.unwrap_or_default(),
            format!("{} by {}: {}: {}", story.country, story.basis, story.enforce, story.reason),
        )
    };
    assert_eq!(
        summary("2001:db8:64::8:809:900:0"),
        (
            "2001:db8:64::/64".into(),
            "US by sources: denied: NAT64 prefix 2001:db8:64::/64 (c.toml:3) carries 8.8.9.9: one says US, two says nothing: \
             outside EEA; on_outside = deny"
                .into()
        )
    );
    assert_eq!(
        summary("2001:db8:64::501:101"),
        (
            "2001:db8:64::/96".into(),
            "DE by sources: allowed: NAT64 prefix 2001:db8:64::/96 (c.toml:4) carries 5.1.1.1: one says DE, two says NO: \
             inside EEA"
                .into()
        )
    );
    assert_eq!(
        summary("2001:db8:64::7f00:1"),
        (
            "2001:db8:64::/96".into(),
            "-- by nat64: denied: NAT64 prefix 2001:db8:64::/96 (c.toml:4) carries 127.0.0.1, which is never routed: NAT64 \
             prefix 2001:db8:64::/96 is unknown; on_unknown = deny"
                .into()
        )
    );
    assert_eq!(summary("2001:db8:65::1").0, "");
}

#[test]
fn private_networks_in_the_region_are_inside_and_explained_so() {
    let zone = Zone { inside_private: true, inside_text: "EEA + private".into(), ..Zone::default() };
    let story = story_of(&Spec { zone, ..spec() }, "10.1.2.3");
    assert_eq!((story.class, story.country.as_str(), story.enforce), ("inside", "--", "allowed"));
    assert_eq!(story.reason, "private use (RFC 1918), and EEA + private takes private networks in");
}

#[test]
fn every_rule_that_covers_the_address_is_shown_with_why_it_applies_or_not() {
    let rules = |target: &str| -> Vec<String> {
        let story = story_of(&spec(), target);
        story
            .rules
            .iter()
            .map(|rule| format!("{}{}: {} [{}]", if rule.applies { "*" } else { "" }, rule.id, rule.why, rule.network))
            .collect()
    };
    assert_eq!(
        rules("8.8.8.8:443"),
        [
            "later: not before 2026-06-01T00:00:01Z [8.8.8.8/32 (c.toml:9)]",
            "*now: all traffic, until 2026-06-01T00:01:00Z [8.8.8.8/32 (c.toml:9)]",
            "web: rule 'now' names a narrower network [8.8.8.0/24 (c.toml:9)]",
            "last: rule 'now' names a narrower network [8.0.0.0/8 (c.toml:9)]",
        ]
    );
    assert_eq!(
        rules("8.8.8.9"),
        [
            "web: only for tcp/443, udp/53-60: ask with a port [8.8.8.0/24 (c.toml:9)]",
            "last: only for tcp/1-65535: ask with a port [8.0.0.0/8 (c.toml:9)]",
        ]
    );
    assert_eq!(
        rules("8.8.8.9/icmp"),
        [
            "web: only for tcp/443, udp/53-60 [8.8.8.0/24 (c.toml:9)]",
            "last: only for tcp/1-65535 [8.0.0.0/8 (c.toml:9)]",
        ]
    );
    // Those on the prefix, then those on the address inside.
    assert_eq!(
        rules("[64:ff9b::808:809]:123/udp"),
        [
            "*nat64: udp/123 [64:ff9b::/96 (c.toml:9)]",
            "web: only for tcp/443, udp/53-60 [8.8.8.0/24 (c.toml:9)]",
            "last: only for tcp/1-65535 [8.0.0.0/8 (c.toml:9)]",
        ]
    );
}

#[test]
fn why_a_rule_lost_is_explained_for_each_reason_that_there_is() {
    let network = |text: &str| (text.parse().expect("a network"), at_line("c.toml", 9));
    let here = |id: &str, ports| rule(id, "8.8.8.0/24", ports, (None, None));
    let everywhere = |id: &str| Rule { to: Vec::new(), ..here(id, &[]) };
    let mut spec = Spec {
        rules: vec![
            here("b", &[(6, 1, 9)]),
            here("c", &[(6, 1, 9)]),
            here("d", &[(6, 1, 10)]),
            Rule { countries: vec![(Country(*b"US"), at_line("c.toml", 8))], ..everywhere("us") },
        ],
        ..spec()
    };
    let summary = |spec: &Spec, target: &str| -> Vec<String> {
        let story = story_of(spec, target);
        let mark = |rule: &CoveringRule| if rule.applies { "*" } else { "" };
        let lines = story.rules.iter().map(|rule| format!("{}{} {}: {}", mark(rule), rule.id, rule.action, rule.why));
        lines.chain([format!("{}: {}", story.enforce, story.reason.rsplit("; ").next().unwrap_or_default())]).collect()
    };
    assert_eq!(
        summary(&spec, "8.8.8.9:5"),
        [
            "*b allow: tcp/1-9",
            "c allow: rule 'b' is as specific, and its id comes first",
            "d allow: rule 'b' names fewer ports",
            "us allow: rule 'b' names a network, this one a country",
            "allowed: rule 'b' (c.toml:1) lets it through",
        ]
    );
    spec.rules[1].action = Action::Deny;
    assert_eq!(
        summary(&spec, "[64:ff9b::808:809]:5"),
        [
            "*c deny: tcp/1-9",
            "b allow: rule 'c' is as specific, and denies",
            "d allow: rule 'c' names fewer ports",
            "us allow: rule 'c' names a network, this one a country",
            "denied: rule 'c' (c.toml:1) denies it",
        ]
    );
    spec.rules.push(rule("nat", "64:ff9b::/96", &[], (None, None)));
    assert_eq!(
        summary(&spec, "[64:ff9b::808:809]:5")[..2],
        ["nat allow: a rule on the address inside overrides it", "*c deny: tcp/1-9"]
    );
    assert_eq!(summary(&spec, "[64:ff9b::808:809]:11")[..2], ["*nat allow: all traffic", "c deny: only for tcp/1-9"]);
    let networks = vec![network("8.0.0.0/8")];
    spec.management =
        Some(crate::spec::Management { networks, origin: at_line("c.toml", 7), ..crate::spec::Management::default() });
    assert_eq!(
        summary(&spec, "8.8.8.9:5"),
        [
            "*management keep: all traffic",
            "c deny: management networks stand above all rules",
            "b allow: management networks stand above all rules",
            "d allow: management networks stand above all rules",
            "us allow: management networks stand above all rules",
            "allowed: rule 'management' (c.toml:7) is never dropped",
        ]
    );
}

#[test]
fn story_and_image_agree_on_random_policies() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..40 {
        let spec = crate::compile::random::spec(&mut random);
        let knowledge = crate::compile::random::knowledge(&mut random);
        let clock = crate::compile::random::CLOCK;
        let policy = compile(&spec, &knowledge, &clock).expect("must compile");
        let inputs = ExplainInputs { spec: &spec, knowledge: &knowledge, policy: &policy, clock };
        let mut probes = crate::compile::random::probes(&mut random, &spec, &knowledge);
        random.shuffle(&mut probes);
        for address in probes.into_iter().take(200) {
            let port = [None, Some(85), Some(1)][random.usize(0..3)];
            let protocol = [None, Some(6), Some(17), Some(1)][random.usize(0..4)].or(port.map(|_| 6));
            let target = Target { address, port: port.filter(|_| protocol != Some(1)), protocol };
            if let Err(error) = explain(&target, &inputs) {
                panic!("{error}, {target:?}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_rule_that_applies_turns_the_verdict_and_stands_in_the_reason() {
    let story = story_of(&spec(), "8.8.8.9:443");
    assert_eq!((story.observe, story.enforce, story.alert), ("allowed", "allowed", false));
    assert_eq!(story.rule.as_deref(), Some("web"));
    assert_eq!(story.reason, "one says US, two says US: outside EEA; rule 'web' (c.toml:3) lets it through");
    let story = story_of(&spec(), "8.8.8.9:443/udp");
    assert_eq!((story.observe, story.enforce, story.alert, story.rule), ("observed", "denied", true, None));
}

#[test]
fn each_source_is_quoted_with_the_range_that_it_speaks_of() {
    let story = story_of(&spec(), "8.8.8.9");
    assert_eq!(
        story.destination.sources,
        [
            SourceOpinion {
                source: "one".into(),
                built: None,
                country: Some("US".into()),
                range: Some("8.0.0.0 - 8.255.255.255".into())
            },
            SourceOpinion {
                source: "two".into(),
                built: None,
                country: Some("US".into()),
                range: Some("8.8.8.0 - 8.8.8.255".into())
            },
        ]
    );
    let story = story_of(&spec(), "5.200.0.1");
    assert_eq!(
        story.destination.sources[1],
        SourceOpinion { source: "two".into(), built: None, country: None, range: None }
    );
}

#[test]
fn an_image_that_differs_from_its_sources_is_reported_and_not_explained_away() {
    let spec = spec();
    let mut other = spec.clone();
    other.zone.inside.push(Country(*b"US"));
    let knowledge = knowledge();
    let clock = ClockMap::wall(NOW * 1_000_000_000);
    let policy = compile(&other, &knowledge, &clock).expect("must compile");
    let inputs = ExplainInputs { spec: &spec, knowledge: &knowledge, policy: &policy, clock };
    let target = "8.8.9.9".parse().expect("a destination");
    assert_eq!(
        explain(&target, &inputs).expect_err("must differ").to_string(),
        "the compiled policy says US, ambiguous, denied of 8.8.9.9, its sources say US, outside, denied"
    );
}

#[test]
fn story_and_image_agree_on_random_addresses_of_both_families() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (spec, knowledge) = (translating(), knowledge());
    let clock = ClockMap::wall(NOW * 1_000_000_000);
    let policy = compile(&spec, &knowledge, &clock).expect("must compile");
    let inputs = ExplainInputs { spec: &spec, knowledge: &knowledge, policy: &policy, clock };
    let tops = [
        0x0064_ff9b_u128 << 96,
        0x2002 << 112,
        0x2001 << 112,
        0x2001_0db8_0064 << 80,
        0xff02 << 112,
        0x2a00_1450 << 96,
        0x2a00_1450 << 96 | 0x5efe << 32,
        0xfe80 << 112 | 0x5efe << 32,
        0x2002_0505 << 96 | 0x5efe << 32,
        0,
        0xffff << 32,
    ];
    for round in 0..3000 {
        let address: IpAddr = if round % 2 == 0 {
            Ipv4Addr::from_bits((random.u32(..) >> (random.u32(0..3) * 4)) | (random.u32(0..3) << 25)).into()
        } else {
            let low = random.u128(..) >> random.u32(16..128);
            std::net::Ipv6Addr::from_bits(tops[random.usize(0..tops.len())] | low).into()
        };
        let port = random.bool().then(|| random.u16(..));
        let target = Target { address, port, protocol: port.map(|_| if random.bool() { 6 } else { 17 }) };
        if let Err(error) = explain(&target, &inputs) {
            panic!("{error}, seed {seed}");
        }
    }
}
