//! What the rules of a class decide, and addresses that are in others.

use super::*;
use crate::wire::Opaque;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn row(rule: u16, protocol: u8, port_low: u16, port_high: u16) -> RuleRow {
    RuleRow {
        not_before_ns: 0,
        expires_ns: u64::MAX,
        port_low,
        port_high,
        rule,
        protocol,
        action: RuleRowAction::Allow as u8,
    }
}

/// One class with these rules, asked about at any address.
fn one_class(rules: Vec<RuleRow>) -> Image {
    let class = ClassRow {
        rules_len: rules.len() as u32,
        deny: 1,
        alert: 1,
        class: Class::Outside as u8,
        ..ClassRow::default()
    };
    Image::build(&[(0, 0)], &[(0, 0)], vec![class], rules).expect("fits")
}

#[test]
fn a_rule_with_ports_covers_its_protocol_from_the_first_port_to_the_last() {
    let image =
        one_class(vec![row(1, TCP, 100, 200), row(1, UDP, 0, 0), row(2, TCP, 200, 65535), row(3, UDP, 65535, 65535)]);
    let rule = |protocol, port, known: bool| {
        classify(&image, 4, Address::v4(1), protocol, known.then_some(port)).expect("whole").rule
    };
    for (protocol, port, expected) in [
        (TCP, 99, 0),
        (TCP, 100, 1),
        (TCP, 200, 1),
        (TCP, 201, 2),
        (TCP, 65535, 2),
        (TCP, 0, 0),
        (UDP, 0, 1),
        (UDP, 1, 0),
        (UDP, 65534, 0),
        (UDP, 65535, 3),
        (1, 100, 0),
        (0, 100, 0),
    ] {
        assert_eq!(rule(protocol, port, true), expected, "protocol {protocol} port {port}");
        assert_eq!(rule(protocol, port, false), 0, "a later fragment has no port to cover");
    }
}

#[test]
fn a_rule_without_ports_covers_every_packet_and_fragments_too() {
    let image = one_class(vec![row(1, TCP, 443, 443), row(7, 0, 0, 65535)]);
    for (protocol, port, known, rule) in
        [(TCP, 443, true, 1), (TCP, 443, false, 7), (1, 0, true, 7), (255, 9, false, 7)]
    {
        let got = classify(&image, 4, Address::v4(1), protocol, known.then_some(port)).expect("whole");
        assert_eq!(
            got,
            Classification { class_id: 0, rule, deny: false, alert: false, keep: false },
            "protocol {protocol} {known}"
        );
    }
}

#[test]
fn a_rule_for_all_of_a_protocol_covers_what_has_no_port_and_one_for_all_but_one_does_not() {
    let rules = vec![row(1, TCP, 1, 65535), row(2, TCP, 0, 65534), row(3, UDP, 0, 65535), row(4, TCP, 0, 65535)];
    let image = one_class(rules);
    let rule = |protocol, port| classify(&image, 4, Address::v4(1), protocol, port).expect("whole").rule;
    assert_eq!([rule(TCP, None), rule(UDP, None), rule(1, None)], [4, 3, 0]);
    assert_eq!([rule(TCP, Some(0)), rule(TCP, Some(1))], [2, 1]);
}

#[test]
fn a_rule_out_of_its_time_is_passed_over_for_the_next() {
    let timed = RuleRow { not_before_ns: 1000, expires_ns: 2000, ..row(1, TCP, 443, 443) };
    let mut image = one_class(vec![timed, row(2, TCP, 440, 450)]);
    for (now, rule) in [(0, 2), (999, 2), (1000, 1), (1999, 1), (2000, 2), (u64::MAX, 2)] {
        image.host_boot_ns = now;
        assert_eq!(classify(&image, 4, Address::v4(1), TCP, Some(443)).expect("whole").rule, rule, "at {now}");
    }
}

#[test]
fn random_rules_agree_with_a_scan() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        let rows: Vec<RuleRow> = (0..random.usize(0..=MAX_RULES_PER_CLASS as usize))
            .map(|number| {
                let (a, b) = (random.u16(0..30), random.u16(0..30));
                let times = (random.u64(0..10), if random.bool() { u64::MAX } else { random.u64(0..10) });
                RuleRow {
                    not_before_ns: times.0,
                    expires_ns: times.1,
                    action: random.u8(1..=3),
                    ..row(number as u16 + 1, [0, TCP, UDP][random.usize(0..3)], a.min(b), a.max(b))
                }
            })
            .collect();
        let mut image = one_class(rows.clone());
        for _ in 0..200 {
            let (protocol, port, known, now) =
                ([TCP, UDP, 1][random.usize(0..3)], random.u16(0..32), random.bool(), random.u64(0..12));
            image.host_boot_ns = now;
            let expected = rows.iter().filter(|row| row.not_before_ns <= now && (now < row.expires_ns)).find(|row| {
                row.protocol == 0 || known && row.protocol == protocol && (row.port_low..=row.port_high).contains(&port)
            });
            let got = classify(&image, 4, Address::v4(9), protocol, known.then_some(port)).expect("whole");
            let denied = expected.is_none_or(|row| row.action == RuleRowAction::Deny as u8);
            let expected = Classification {
                class_id: 0,
                rule: expected.map_or(0, |row| row.rule),
                deny: denied,
                alert: denied,
                keep: expected.is_some_and(|row| row.action == RuleRowAction::Keep as u8),
            };
            assert_eq!(got, expected, "seed {seed}");
        }
    }
}

#[test]
fn an_address_inside_an_ipv6_address_decides_but_never_makes_it_local() {
    let of = |class: Class, rules: (u32, u32)| ClassRow {
        class: class as u8,
        deny: u8::from(matches!(class, Class::Outside | Class::Unknown)),
        alert: u8::from(matches!(class, Class::Outside | Class::Unknown)),
        rules_start: rules.0,
        rules_len: rules.1,
        ..ClassRow::default()
    };
    let carrier = |form: Embedded| ClassRow { embedded: form as u8, ..of(Class::Unknown, (0, 1)) };
    let classes = vec![
        of(Class::Unknown, (0, 0)),
        of(Class::Outside, (1, 1)),
        of(Class::Local, (0, 0)),
        of(Class::Inside, (0, 0)),
        carrier(Embedded::Low32),
        carrier(Embedded::SixToFour),
        carrier(Embedded::Teredo),
    ];
    let v4 = [(0, 0), (0x0505_0000, 3), (0x0808_0000, 1), (0x0809_0000, 0), (0x7f00_0000, 2), (0x8000_0000, 0)];
    let v6 = [
        (0, 0),
        (0x0064_ff9b << 96, 4),
        ((0x0064_ff9b << 96) + (1 << 32), 0),
        (0x2001_0000 << 96, 6),
        (0x2001_0001 << 96, 0),
        (0x2002 << 112, 5),
        (0x2003 << 112, 0),
    ];
    let image = Image::build(&v4, &v6, classes, vec![row(1, TCP, 80, 80), row(2, TCP, 90, 90)]).expect("fits");
    let ask = |bits: u128, port| classify(&image, 6, address(bits), TCP, Some(port)).expect("whole");
    for (form, put) in [
        ("NAT64", (|inner| 0x0064_ff9b << 96 | inner) as fn(u128) -> u128),
        ("6to4", |inner| 0x2002 << 112 | inner << 80 | 1),
        ("Teredo", |inner| 0x2001_0000 << 96 | 0x1234_5678 << 64 | (inner ^ 0xffff_ffff)),
    ] {
        let outside = Classification { class_id: 1, rule: 0, deny: true, alert: true, keep: false };
        assert_eq!(ask(put(0x0808_0808), 443), outside, "{form}");
        assert_eq!(
            ask(put(0x0808_0808), 80),
            Classification { rule: 1, deny: false, alert: false, ..outside },
            "{form}: the prefix's rule"
        );
        assert_eq!(
            ask(put(0x0808_0808), 90),
            Classification { rule: 2, deny: false, alert: false, ..outside },
            "{form}: the rule inside"
        );
        assert_eq!(ask(put(0x0505_0505), 443), Classification { class_id: 3, ..Classification::default() }, "{form}");
        let local = ask(put(0x7f00_0001), 443);
        assert!(local.deny && local.alert && (4..=6).contains(&local.class_id), "{form}: {local:?}");
        assert_eq!(ask(put(0x7f00_0001), 80).rule, 1, "{form}");
    }
}

/// The prefix's rule, or that of the address inside, by an image with one of each.
fn embedded(prefix: RuleRowAction, inside: RuleRowAction, form: Embedded, class: Class) -> Classification {
    let ruled = |row_action: RuleRowAction, start| if row_action == RuleRowAction::None { (0, 0) } else { (start, 1) };
    let of = |class: Class, (rules_start, rules_len), form: Embedded| {
        let denied = u8::from(matches!(class, Class::Outside | Class::Unknown));
        ClassRow {
            class: class as u8,
            deny: denied,
            alert: denied,
            rules_start,
            rules_len,
            embedded: form as u8,
            ..ClassRow::default()
        }
    };
    let classes = vec![of(Class::Unknown, ruled(prefix, 0), form), of(class, ruled(inside, 1), Embedded::None)];
    let rules =
        vec![RuleRow { action: prefix as u8, ..row(1, 0, 0, 0) }, RuleRow { action: inside as u8, ..row(2, 0, 0, 0) }];
    let image = Image::build(&[(0, 1)], &[(0, 0)], classes, rules).expect("fits");
    let isatap = Address { high: 0x2001_0db8 << 32, low: 0x5efe_0808_0808 };
    classify(&image, 6, isatap, TCP, Some(1)).expect("whole")
}

#[test]
fn of_a_prefix_and_the_address_inside_the_stricter_rule_holds_and_management_stands_above_both() {
    use RuleRowAction::{Allow, Deny, Keep, None};
    for class in [Class::Inside, Class::Outside, Class::Local, Class::LinkLocal] {
        let local = class.stays();
        for (prefix, inside, rule) in [
            (None, None, 0),
            (Allow, None, 1),
            (Deny, None, 1),
            (Keep, None, 1),
            (None, Allow, if local { 0 } else { 2 }),
            (None, Deny, 2),
            (None, Keep, if local { 0 } else { 2 }),
            (Allow, Allow, 1),
            (Allow, Deny, 2),
            (Deny, Allow, 1),
            (Deny, Deny, 1),
            (Deny, Keep, if local { 1 } else { 2 }),
            (Keep, Deny, 1),
        ] {
            let got = embedded(prefix, inside, Embedded::Low32, class);
            let row_action = [None, prefix, inside][usize::from(rule)];
            let deny = if rule == 0 { class != Class::Inside } else { row_action == Deny };
            let expected =
                Classification { class_id: u16::from(!local), rule, deny, alert: deny, keep: row_action == Keep };
            assert_eq!(got, expected, "{class:?}: {prefix:?} on the prefix, {inside:?} inside");
        }
    }
}

#[test]
fn by_isatap_each_address_has_its_own_rules_and_the_stricter_of_the_two_holds() {
    use RuleRowAction::{Allow, Deny, Keep, None};
    // The outer address is denied by its class, the inner one by its own.
    for (outer, inside, class, class_id, deny) in [
        (None, None, Class::Inside, 0, true),
        (None, None, Class::Outside, 0, true),
        (None, Allow, Class::Outside, 0, true),
        (None, Keep, Class::Outside, 0, true),
        (Allow, None, Class::Inside, 0, false),
        (Allow, None, Class::Outside, 1, true),
        (Allow, Allow, Class::Outside, 0, false),
        (Allow, Deny, Class::Inside, 1, true),
        (Deny, Allow, Class::Inside, 0, true),
        (Deny, Deny, Class::Inside, 0, true),
        (Keep, None, Class::Outside, 0, false),
        (Keep, Deny, Class::Inside, 0, false),
    ] {
        let got = embedded(outer, inside, Embedded::None, class);
        assert_eq!((got.class_id, got.deny), (class_id, deny), "{class:?}: {outer:?} outside, {inside:?} inside");
        assert_eq!(got.keep, outer == Keep);
    }
}

#[test]
fn an_image_that_is_not_whole_gives_no_answer_and_never_panics() {
    let whole = image_v6(&[(0, 1), (5, 2), (1 << 100, 3)]);
    let ask = |image: &Image, version| classify(image, version, Address { high: 0, low: 7 }, TCP, Some(1));
    assert_eq!(ask(&whole, 6).map(|got| got.class_id), Some(2));
    assert_eq!(ask(&Image::default(), 4), None);
    assert_eq!(ask(&Image::default(), 6), None);
    assert_eq!(ask(&Image { v4_root: Vec::new(), ..whole.clone() }, 4), None);
    assert_eq!(ask(&Image { v6_root: Vec::new(), ..whole.clone() }, 6), None);
    assert_eq!(ask(&Image { v6_nodes: Vec::new(), ..whole.clone() }, 6), None);
    assert_eq!(ask(&Image { v6_low: Vec::new(), ..whole.clone() }, 6), None);
    assert_eq!(ask(&Image { classes: Vec::new(), ..whole }, 6), None);
    let rules_gone = Image { rules: Vec::new(), ..one_class(vec![row(1, 0, 0, 0)]) };
    assert_eq!(ask(&rules_gone, 4), None);
}

#[test]
fn a_row_for_source_ports_keeps_what_comes_from_them_and_nothing_else() {
    let from = RuleRow { action: RuleRow::KEEP_FROM, ..row(1, TCP, 22, 23) };
    let image = one_class(vec![from, row(2, TCP, 22, 22)]);
    let ask = |source_port: Option<u16>, port, protocol| {
        let source_port = source_port.map_or(Destination::NO_SOURCE, u32::from);
        let (address, ip_version) = (Address::v4(1), 4);
        let to = Destination { address, ip_version, protocol, port, source_port, flags: 0 };
        let found = classify_packet(&image, &to).expect("whole");
        (found.rule, found.keep, found.deny)
    };
    assert_eq!(ask(Some(22), 50_000, TCP), (1, true, false));
    assert_eq!(ask(Some(23), 443, TCP), (1, true, false));
    assert_eq!(ask(Some(24), 443, TCP), (0, false, true));
    assert_eq!(ask(Some(22), 443, UDP), (0, false, true));
    assert_eq!(ask(Some(443), 22, TCP), (2, false, false), "a destination port is none of the source");
    assert_eq!(ask(None, 443, TCP), (0, false, true), "an inner destination has none");
}

#[test]
fn a_group_on_its_last_link_is_local_unless_a_rule_covers_it() {
    let class =
        |class: Class, rules_len| ClassRow { class: class as u8, rules_len, deny: 1, alert: 1, ..ClassRow::default() };
    let local = ClassRow { class: Class::Local as u8, ..ClassRow::default() };
    let deny = RuleRow { action: RuleRowAction::Deny as u8, ..row(1, UDP, 319, 319) };
    let image = Image::build(&[(0, 0)], &[(0, 0)], vec![class(Class::Unknown, 1), local], vec![deny]).expect("fits");
    let ask = |flags, port| {
        let (address, ip_version) = (Address::v4(0xe000_0181), 4);
        let to = Destination { address, ip_version, protocol: UDP, port, source_port: Destination::NO_SOURCE, flags };
        let found = classify_packet(&image, &to).expect("whole");
        (found.class_id, found.rule, found.deny, found.alert)
    };
    assert_eq!(ask(0, 320), (0, 0, true, true));
    assert_eq!(ask(ON_LINK, 320), (1, 0, false, false));
    assert_eq!(ask(ON_LINK, 319), (0, 1, true, true));
}

#[test]
fn content_that_cannot_be_read_is_denied_by_its_mark_but_for_rules_and_what_stays() {
    let class = |class: Class| ClassRow { class: class as u8, ..ClassRow::default() };
    let classes = vec![class(Class::Inside), class(Class::Local), class(Class::LinkLocal)];
    let mut image = Image::build(&[(0, 0)], &[(0, 0)], classes, Vec::new()).expect("fits");
    image.opaque_denied = Opaque::Quic.bit();
    let ask = |class_id, rule, flags| {
        let found = Classification { class_id, rule, ..Classification::default() };
        let found = judge_content(&image, found, flags).expect("whole");
        (found.deny, found.alert)
    };
    let quic = Opaque::Quic as u8;
    assert_eq!([ask(0, 0, quic), ask(0, 0, quic | ON_LINK)], [(true, true); 2]);
    for (class_id, rule, flags) in [(0, 7, quic), (1, 0, quic), (2, 0, quic), (0, 0, 0), (0, 0, Opaque::Esp as u8)] {
        assert_eq!(ask(class_id, rule, flags), (false, false), "{class_id} {rule} {flags}");
    }
}
