//! What the compiler promises, against hand-worked cases and a scan of everything for random ones.

use std::net::IpAddr;

use monitor_common::{
    classify::{Classification, classify},
    parse::Reason,
    wire::{self, Opaque},
};

use super::{random::country, *};
use crate::{
    geo::{About, Dataset},
    origin::at_line,
    spec::{Action, PortRange, Site, Zone},
};

/// Networks of both families with their countries, in order.
pub(crate) fn dataset(name: &str, ranges: &[(&str, &str)]) -> Dataset {
    let about = About { digest: [7; 32], ..About::named(name) };
    let mut dataset = Dataset { about, ..Dataset::default() };
    for (network, code) in ranges {
        let network: ipnetwork::IpNetwork = network.parse().expect("a network");
        if let Some((first, last)) = u32::ends(&network) {
            dataset.v4.push(Range { first, last, country: country(code) });
        } else if let Some((first, last)) = u128::ends(&network) {
            dataset.v6.push(Range { first, last, country: country(code) });
        }
    }
    dataset
}

pub(crate) fn special(network: &str, class: Class, embedded: Embedded) -> Special {
    Special { network: network.parse().expect("a network"), class, embedded, name: "test", source: "RFC 0" }
}

pub(crate) fn site(code: &str, networks: &[&str]) -> Site {
    let networks = networks.iter().map(|text| (text.parse().expect("a network"), at_line("test", 1))).collect();
    Site { name: code.into(), country: country(code), networks }
}

pub(crate) fn rule(id: &str, to: &[&str], ports: &[(u8, u16, u16)]) -> Rule {
    Rule {
        id: id.into(),
        origin: at_line(&format!("{id}.toml"), 1),
        to: to.iter().map(|text| (text.parse().expect("a network"), at_line("test", 1))).collect(),
        ports: ports.iter().map(|&(protocol, low, high)| PortRange { protocol, low, high }).collect(),
        reason: "test".into(),
        ..Rule::default()
    }
}

pub(crate) fn compiled(spec: &Spec, datasets: &[Dataset], special: &[Special]) -> Policy {
    compile(spec, &Knowledge::new(datasets, special), &ClockMap::wall(0)).expect("must compile")
}

pub(crate) fn ask(policy: &Policy, address: &str, protocol: u8, port: u16) -> Classification {
    classification(policy, address.parse().expect("an address"), protocol, port)
}

pub(crate) fn classification(policy: &Policy, address: IpAddr, protocol: u8, port: u16) -> Classification {
    let (version, address) = match address {
        IpAddr::V4(v4) => (4, wire::Address::v4(v4.to_bits())),
        IpAddr::V6(v6) => (6, wire::Address::from(v6)),
    };
    classify(&policy.image, version, address, protocol, Some(port)).expect("the image is whole")
}

/// Country and class, as `DE inside`.
fn class(policy: &Policy, address: &str) -> String {
    let info = &policy.classes[usize::from(ask(policy, address, 6, 443).class_id)];
    format!("{} {}", info.country, info.class.name())
}

#[test]
fn an_address_is_inside_only_where_every_source_says_so() {
    let one = dataset(
        "one",
        &[
            ("192.0.2.0/30", "DE"),
            ("192.0.2.4/30", "DE"),
            ("192.0.2.8/30", "DE"),
            ("192.0.2.12/30", "SG"),
            ("192.0.2.16/30", "SG"),
            ("192.0.2.24/30", "ZZ"),
        ],
    );
    let two = dataset(
        "two",
        &[
            ("192.0.2.0/30", "FR"),
            ("192.0.2.4/30", "SG"),
            ("192.0.2.12/30", "US"),
            ("192.0.2.20/30", "DE"),
            ("192.0.2.24/30", "SG"),
        ],
    );
    let policy = compiled(&Spec::default(), &[one, two], &[]);
    assert_eq!(class(&policy, "192.0.2.0"), "DE inside");
    assert_eq!(class(&policy, "192.0.2.7"), "DE ambiguous", "the border runs between the two");
    assert_eq!(class(&policy, "192.0.2.8"), "DE ambiguous", "the second says nothing");
    assert_eq!(class(&policy, "192.0.2.12"), "SG outside");
    assert_eq!(class(&policy, "192.0.2.16"), "SG outside", "the second says nothing");
    assert_eq!(class(&policy, "192.0.2.20"), "DE ambiguous", "the first says nothing: the second names the country");
    assert_eq!(class(&policy, "192.0.2.24"), "SG outside", "ZZ is saying nothing");
    assert_eq!(class(&policy, "192.0.2.28"), "ZZ unknown");
    assert_eq!(class(&policy, "2001:db8::"), "ZZ unknown");
}

#[test]
fn one_source_alone_decides() {
    let policy = compiled(&Spec::default(), &[dataset("one", &[("192.0.2.0/24", "IE")])], &[]);
    assert_eq!(class(&policy, "192.0.2.255"), "IE inside");
    assert_eq!(class(&policy, "192.0.3.0"), "ZZ unknown");
}

#[test]
fn special_ranges_override_datasets_and_sites_override_both_but_for_local_ones() {
    let data = [dataset("one", &[("0.0.0.0/0", "US"), ("::/0", "US")])];
    let table = [
        special("10.0.0.0/8", Class::Private, Embedded::None),
        special("127.0.0.0/8", Class::Local, Embedded::None),
        special("192.0.0.0/24", Class::Unknown, Embedded::None),
        special("192.0.0.8/32", Class::Local, Embedded::None),
    ];
    let spec = Spec {
        sites: vec![site("SG", &["10.64.0.0/10"]), site("IE", &["0.0.0.0/5", "126.0.0.0/7"])],
        ..Spec::default()
    };
    let policy = compiled(&spec, &data, &table);
    assert_eq!(class(&policy, "10.63.255.255"), "-- private");
    assert_eq!(class(&policy, "10.64.0.0"), "SG outside");
    assert_eq!(class(&policy, "10.127.255.255"), "SG outside");
    assert_eq!(class(&policy, "10.128.0.0"), "-- private");
    assert_eq!(class(&policy, "7.255.255.255"), "IE inside");
    assert_eq!(class(&policy, "126.0.0.1"), "IE inside");
    assert_eq!(class(&policy, "127.0.0.1"), "-- local", "no site can place what never leaves the host");
    assert_eq!(class(&policy, "192.0.0.7"), "-- unknown");
    assert_eq!(class(&policy, "192.0.0.8"), "-- local", "the narrowest special range holds");
    assert_eq!(class(&policy, "192.0.0.9"), "-- unknown");
    assert_eq!(class(&policy, "8.8.8.8"), "US outside");
}

#[test]
fn private_in_the_region_makes_unplaced_private_networks_inside_and_no_others() {
    let table = [
        special("10.0.0.0/8", Class::Private, Embedded::None),
        special("198.18.0.0/15", Class::Unknown, Embedded::None),
    ];
    let zone = Zone { inside_private: true, ..Zone::default() };
    let policy = compiled(&Spec { zone, sites: vec![site("SG", &["10.9.0.0/16"])], ..Spec::default() }, &[], &table);
    assert_eq!(class(&policy, "10.1.2.3"), "-- inside");
    assert_eq!(class(&policy, "10.9.2.3"), "SG outside");
    assert_eq!(class(&policy, "198.18.0.1"), "-- unknown");
}

#[test]
fn an_embedded_ipv4_address_decides_unless_a_site_or_a_rule_covers_the_prefix() {
    let data = [dataset("one", &[("5.0.0.0/8", "DE"), ("8.0.0.0/8", "US")])];
    let table = [
        special("64:ff9b::/96", Class::Unknown, Embedded::Low32),
        special("2002::/16", Class::Unknown, Embedded::SixToFour),
        special("2001::/32", Class::Unknown, Embedded::Teredo),
        special("127.0.0.0/8", Class::Local, Embedded::None),
    ];
    let policy = compiled(&Spec::default(), &data, &table);
    assert_eq!(class(&policy, "64:ff9b::808:808"), "US outside");
    assert_eq!(class(&policy, "64:ff9b::505:505"), "DE inside");
    assert_eq!(class(&policy, "2002:505:505::1"), "DE inside");
    assert_eq!(class(&policy, "2001::f7f7:f7f7"), "US outside", "Teredo inverts the client's address");
    assert_eq!(class(&policy, "2001:1::"), "ZZ unknown");

    let sited = Spec { sites: vec![site("IE", &["64:ff9b::/96"])], ..Spec::default() };
    assert_eq!(class(&compiled(&sited, &data, &table), "64:ff9b::808:808"), "IE inside");

    let ruled = Spec {
        rules: vec![rule("nat64", &["64:ff9b::/96"], &[]), rule("in", &["8.8.8.0/24"], &[])],
        ..Spec::default()
    };
    let policy = compiled(&ruled, &data, &table);
    assert_eq!(ask(&policy, "64:ff9b::808:808", 6, 443), Classification { rule: 2, ..ask(&policy, "8.8.8.8", 6, 1) });
    assert_eq!(ask(&policy, "2002:808:808::", 6, 443).rule, 1, "a rule for the address inside holds too");
    assert_eq!(ask(&policy, "2002:808:908::", 6, 443).rule, 0);
}

/// `[zone] nat64`.
fn translators(prefixes: &[&str]) -> Zone {
    let nat64 = prefixes.iter().map(|text| (text.parse().expect("a network"), at_line("test", 1))).collect();
    Zone { nat64, ..Zone::default() }
}

#[test]
fn a_configured_nat64_prefix_of_each_length_is_what_the_address_inside_is() {
    let data = [dataset("one", &[("5.0.0.0/8", "DE"), ("8.0.0.0/8", "US"), ("2a00::/16", "DE")])];
    // Each carries 8.5.5.8 in the form of RFC 6052 2.2.
    for (prefix, address) in [
        ("2a00:64::/32", "2a00:64:805:508::"),
        ("2a00:64::/40", "2a00:64:8:505:8::"),
        ("2a00:64::/48", "2a00:64:0:805:5:800::"),
        ("2a00:64::/56", "2a00:64:0:8:5:508::"),
        ("2a00:64::/64", "2a00:64::8:505:800:0"),
        ("2a00:64::/96", "2a00:64::805:508"),
    ] {
        let spec = Spec { zone: translators(&[prefix]), ..Spec::default() };
        let policy = compiled(&spec, &data, &[]);
        assert_eq!(class(&policy, address), "US outside", "{prefix}");
        assert_eq!(ask(&policy, address, 6, 1), ask(&policy, "8.5.5.8", 6, 1));
        assert_eq!(class(&policy, "2a00:65::1"), "DE inside", "beside {prefix}");
        assert_eq!(class(&compiled(&Spec::default(), &data, &[]), address), "DE inside", "without {prefix}");
    }
}

#[test]
fn a_configured_nat64_prefix_stands_above_sites_and_special_ranges_but_for_local_ones() {
    let data = [dataset("one", &[("5.0.0.0/8", "DE"), ("8.0.0.0/8", "US")])];
    let spec = Spec {
        zone: translators(&["64:ff9b:1::/48", "64:ff9b:1:1::/96", "fc00::/64", "fe80::/64"]),
        sites: vec![site("IE", &["fc00::/16"])],
        rules: vec![rule("ntp", &["fc00::/64"], &[(17, 123, 123)])],
        ..Spec::default()
    };
    let policy = compiled(&spec, &data, crate::geo::special::table());
    assert_eq!(class(&policy, "64:ff9b:1:808:8:800::"), "US outside");
    assert_eq!(class(&policy, "64:ff9b:1:505:5:500::"), "DE inside");
    assert_eq!(class(&policy, "64:ff9b:1:1::808:808"), "US outside", "the narrowest says the form");
    let mut backwards = spec.clone();
    backwards.zone.nat64.reverse();
    let backwards = compiled(&backwards, &data, crate::geo::special::table());
    assert_eq!(class(&backwards, "64:ff9b:1:1::808:808"), "US outside", "wherever it stands");
    assert_eq!(class(&backwards, "64:ff9b:1:808:8:800::"), "US outside");
    assert_eq!(class(&policy, "fc00::8:808:800:0"), "US outside", "though the site is in Ireland");
    assert_eq!(class(&policy, "fc00:0:0:1::1"), "IE inside");
    assert_eq!(class(&policy, "fe80::8:808:800:0"), "-- link-local");
    assert_eq!(class(&policy, "fc00::7f:0:100:0"), "-- unknown", "127.0.0.1 inside: the prefix's own standing");
    assert_eq!(ask(&policy, "fc00::8:808:800:0", 17, 123).rule, 1, "a rule on the prefix holds");
    assert_eq!(ask(&policy, "fc00::8:808:800:0", 17, 124).rule, 0);
}

#[test]
fn the_translation_prefix_for_local_use_is_taken_for_a_96_and_is_unknown_where_that_can_not_be() {
    let data = [dataset("one", &[("5.0.0.0/8", "DE"), ("8.0.0.0/8", "US")])];
    let policy = compiled(&Spec::default(), &data, crate::geo::special::table());
    assert_eq!(class(&policy, "64:ff9b:1::808:808"), "US outside");
    assert_eq!(class(&policy, "64:ff9b:1:abcd::505:505"), "DE inside");
    assert_eq!(class(&policy, "64:ff9b:1:808:8:800::"), "-- unknown", "a /48 ends in zeros");
    assert!(ask(&policy, "64:ff9b:1::", 6, 1).deny);
}

#[test]
fn the_image_has_a_bit_for_each_mark_that_is_denied() {
    let denied = |on_opaque: Action, opaque: &[(Opaque, Action)]| {
        let mut spec = Spec::default();
        (spec.zone.on_opaque, spec.zone.opaque) = (on_opaque, opaque.iter().copied().collect());
        compiled(&spec, &[], &[]).image.opaque_denied
    };
    assert_eq!(denied(Action::Allow, &[]), 0);
    assert_eq!(denied(Action::Deny, &[]), 0b11_1110);
    assert_eq!(denied(Action::Deny, &[(Opaque::Quic, Action::Allow)]), 0b10_1110);
    assert_eq!(denied(Action::Allow, &[(Opaque::Esp, Action::Deny), (Opaque::Other, Action::Deny)]), 0b10_0010);
}

#[test]
fn the_image_has_a_bit_for_each_reason_that_is_dropped_and_never_for_link_control() {
    let bits = |change: fn(&mut Zone)| {
        let mut spec = Spec::default();
        change(&mut spec.zone);
        compiled(&spec, &[], &[]).image.drop_reasons
    };
    let passing = Reason::LinkControl.bit() | Reason::LinkControlOdd.bit();
    let all = Reason::ALL.iter().fold(0, |bits, reason| bits | reason.bit()) & !passing;
    assert_eq!(bits(|_| ()), all);
    assert_eq!(bits(|zone| zone.on_undecodable = Action::Allow), 0);
    assert_eq!(bits(|zone| zone.undecodable = [(Reason::NotIp, Action::Allow)].into()), all & !Reason::NotIp.bit());
    assert_eq!(
        bits(|zone| {
            zone.on_undecodable = Action::Allow;
            zone.undecodable = [(Reason::Mpls, Action::Deny), (Reason::LinkControl, Action::Deny)].into();
        }),
        Reason::Mpls.bit()
    );
}

#[test]
fn a_network_of_one_family_never_covers_the_other() {
    let everything = Spec { rules: vec![rule("all-v4", &["0.0.0.0/0"], &[])], ..Spec::default() };
    let policy = compiled(&everything, &[], &[]);
    assert_eq!(ask(&policy, "203.0.113.1", 6, 443).rule, 1);
    assert_eq!(ask(&policy, "2001:db8::1", 6, 443).rule, 0);
    assert_eq!(ask(&policy, "::1.2.3.4", 6, 443).rule, 0);
}

#[test]
fn what_is_denied_and_what_makes_an_alert_follows_the_zone() {
    let data = [dataset("one", &[("192.0.2.0/25", "DE"), ("192.0.2.128/25", "SG")])];
    let table =
        [special("10.0.0.0/8", Class::Private, Embedded::None), special("127.0.0.0/8", Class::Local, Embedded::None)];
    let verdict = |policy: &Policy, address| {
        let classified = ask(policy, address, 6, 1);
        (classified.deny, classified.alert)
    };
    let policy = compiled(&Spec::default(), &data, &table);
    assert_eq!(verdict(&policy, "192.0.2.1"), (false, false));
    assert_eq!(verdict(&policy, "192.0.2.128"), (true, true));
    assert_eq!(verdict(&policy, "203.0.113.1"), (true, true));
    assert_eq!(verdict(&policy, "10.0.0.1"), (false, false));
    assert_eq!(verdict(&policy, "127.0.0.1"), (false, false));
    let zone =
        Zone { on_outside: Action::Allow, on_unknown: Action::Allow, on_private: Action::Deny, ..Zone::default() };
    let policy = compiled(&Spec { zone, ..Spec::default() }, &data, &table);
    assert_eq!(verdict(&policy, "192.0.2.128"), (false, true), "outside raises an alert even when it may pass");
    assert_eq!(verdict(&policy, "203.0.113.1"), (false, true));
    assert_eq!(verdict(&policy, "10.0.0.1"), (true, true), "what is denied raises an alert");
    assert_eq!(verdict(&policy, "127.0.0.1"), (false, false));
}

#[test]
fn each_kind_of_place_has_an_action_of_its_own() {
    let one = dataset("one", &[("192.0.2.0/25", "DE"), ("192.0.2.128/25", "SG")]);
    let two = dataset("two", &[("192.0.2.0/26", "DE"), ("192.0.2.64/26", "SG"), ("192.0.2.128/25", "SG")]);
    let table = [special("10.0.0.0/8", Class::Private, Embedded::None)];
    // Outside, ambiguous, unknown, private; then inside, which no action is asked of.
    let places = ["192.0.2.128", "192.0.2.64", "203.0.113.1", "10.0.0.1", "192.0.2.1"];
    let allow = Zone {
        on_outside: Action::Allow,
        on_ambiguous: Action::Allow,
        on_unknown: Action::Allow,
        on_private: Action::Allow,
        ..Zone::default()
    };
    type Change = fn(&mut Zone);
    let deny: [(usize, Change); 4] = [
        (0, |zone| zone.on_outside = Action::Deny),
        (1, |zone| zone.on_ambiguous = Action::Deny),
        (2, |zone| zone.on_unknown = Action::Deny),
        (3, |zone| zone.on_private = Action::Deny),
    ];
    for (denied, change) in deny {
        let mut zone = allow.clone();
        change(&mut zone);
        let policy = compiled(&Spec { zone, ..Spec::default() }, &[one.clone(), two.clone()], &table);
        let found = places.map(|address| ask(&policy, address, 6, 1));
        let expected = std::array::from_fn(|place| (place == denied, place == denied || place < 3));
        assert_eq!(found.map(|found| (found.deny, found.alert)), expected, "{denied}");
    }
}

#[test]
fn the_digest_is_the_same_after_a_boot_and_another_for_anything_that_matters() {
    let data = [dataset("one", &[("192.0.2.0/24", "DE")])];
    let mut timed = rule("timed", &["192.0.2.0/24"], &[(6, 1, 2)]);
    timed.expires = Some(2_000_000_000);
    let spec = Spec { rules: vec![timed], ..Spec::default() };
    let digest = |spec: &Spec, data: &[Dataset], boot| {
        let clock = ClockMap { realtime_ns: 1_000_000_000_000, boottime_ns: boot };
        compile(spec, &Knowledge::new(data, &[]), &clock).expect("must compile").digest
    };
    let reference = digest(&spec, &data, 5);
    assert_eq!(reference.len(), 64);
    assert_eq!(digest(&spec, &data, 77_000), reference);
    let mut moved = spec.clone();
    moved.rules[0].origin = at_line("elsewhere.toml", 9);
    assert_eq!(digest(&moved, &data, 5), reference, "where a rule stands is not what it says");

    let changes: [fn(&mut Spec); 11] = [
        |spec| spec.rules[0].expires = Some(2_000_000_001),
        |spec| spec.rules[0].not_before = Some(0),
        |spec| spec.rules[0].ports[0].high = 3,
        |spec| spec.rules[0].reason.push('!'),
        |spec| spec.rules[0].id.push('!'),
        |spec| spec.zone.name.push('!'),
        |spec| spec.zone.on_outside = Action::Allow,
        |spec| spec.zone.on_undecodable = Action::Allow,
        |spec| spec.zone.undecodable = [(Reason::NotIp, Action::Allow)].into(),
        |spec| spec.zone.nat64 = translators(&["2a00::/96"]).nat64,
        |spec| spec.zone.inside.retain(|country| country.0 != *b"DE"),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut changed = spec.clone();
        change(&mut changed);
        assert_ne!(digest(&changed, &data, 5), reference, "change {number}");
    }
    let spelt = |default, other| {
        let mut spec = spec.clone();
        spec.zone.on_undecodable = default;
        spec.zone.undecodable = Reason::ALL.map(|reason| (reason, other)).into();
        spec.zone.undecodable.remove(&Reason::LinkControlOdd);
        digest(&spec, &data, 5)
    };
    assert_eq!(spelt(Action::Allow, Action::Deny), reference, "however the configuration comes to it");
    let mut newer = data.clone();
    newer[0].about.digest = [8; 32];
    assert_ne!(digest(&spec, &newer, 5), reference);
}

#[test]
fn the_summary_counts_every_address_once() {
    let data = [dataset("one", &[("0.0.0.0/2", "DE"), ("128.0.0.0/1", "SG"), ("2000::/4", "SG")])];
    let table = [
        special("10.0.0.0/8", Class::Private, Embedded::None),
        special("64:ff9b::/96", Class::Unknown, Embedded::Low32),
    ];
    let summary = compiled(&Spec::default(), &data, &table).summary;
    let v4 = |class: Class| (summary.of(class).v4_ranges, summary.of(class).v4_addresses);
    assert_eq!(v4(Class::Inside), (2, (1 << 30) - (1 << 24)));
    assert_eq!(v4(Class::Private), (1, 1 << 24));
    assert_eq!(v4(Class::Unknown), (1, 1 << 30));
    assert_eq!(v4(Class::Outside), (1, 1 << 31));
    assert_eq!((summary.of(Class::Outside).v6_ranges, summary.of(Class::Outside).v6_addresses), (1, 1 << 124));
    assert_eq!((summary.embedded.v6_ranges, summary.embedded.v6_addresses), (1, 1 << 32));
    let all =
        summary.classes.iter().fold(summary.embedded.v6_addresses, |sum, extent| sum.wrapping_add(extent.v6_addresses));
    assert_eq!(all, 0, "2^128, modulo 2^128");
}

#[test]
fn a_dataset_out_of_order_is_refused() {
    let mut broken = dataset("broken", &[("192.0.2.0/24", "DE"), ("192.0.2.128/25", "SG")]);
    let refused = |data: &Dataset| {
        compile(&Spec::default(), &Knowledge::new(std::slice::from_ref(data), &[]), &ClockMap::default())
            .expect_err("must be refused")
            .to_string()
    };
    assert_eq!(
        refused(&broken),
        "geo source 'broken': IPv4 range 1 overlaps or precedes the one before it: import it anew"
    );
    broken.v4 = vec![Range { first: 2, last: 1, country: country("DE") }];
    assert_eq!(
        refused(&broken),
        "geo source 'broken': IPv4 range 0 overlaps or precedes the one before it: import it anew"
    );
    let range = |first, last| Range { first, last, country: country("DE") };
    broken.v4 = vec![range(1, 1), range(2, 9), range(9, 10)];
    assert_eq!(
        refused(&broken),
        "geo source 'broken': IPv4 range 2 overlaps or precedes the one before it: import it anew"
    );
}

#[test]
fn the_next_expiry_is_the_first_that_is_still_to_come() {
    let until = |id: &str, expires| Rule { expires, ..rule(id, &["192.0.2.0/24"], &[]) };
    let next = |ends: &[Option<i64>]| {
        let rules = (0..).zip(ends).map(|(number, end)| until(&format!("{number}"), *end)).collect();
        let spec = Spec { rules, ..Spec::default() };
        compile(&spec, &Knowledge::default(), &ClockMap::wall(9_000_000_000)).expect("must compile").next_expiry
    };
    assert_eq!(next(&[None, Some(12), Some(8), Some(9), Some(11), Some(10)]), Some(10));
    assert_eq!(next(&[None, Some(8), Some(9)]), None);
}

#[test]
fn the_embedded_datasets_compile_to_the_same_image_and_digest_every_time() {
    let datasets = crate::geo::load("embedded").expect("built in");
    let compile = || compiled(&Spec::default(), &datasets, crate::geo::special::table());
    let (one, other) = (compile(), compile());
    assert_eq!(one.digest, other.digest);
    assert!(one.image == other.image);
}
