//! Notes on rules, from the policy compiler, and by hand where order matters.

use ipnetwork::IpNetwork;

use super::*;
use crate::{
    ClockMap, Knowledge, compile,
    geo::{Country, Dataset, Range},
    origin::at_line,
    spec::{Management, Spec},
};

/// Seconds since 1970 that the tests take place at.
const NOW: i64 = 1_000;

type Notes = Vec<(Why, String, Vec<String>)>;

fn network(text: &str) -> (IpNetwork, Origin) {
    (text.parse().expect("a network"), at_line("c.toml", 9))
}

fn allow(id: &str, to: &str, ports: &[(u16, u16)]) -> Rule {
    Rule {
        id: id.into(),
        origin: at_line(&format!("{id}.toml"), 1),
        to: to.split_whitespace().map(network).collect(),
        ports: ports.iter().map(|&(low, high)| PortRange { protocol: 6, low, high }).collect(),
        ..Rule::default()
    }
}

fn deny(id: &str, to: &str, ports: &[(u16, u16)]) -> Rule {
    Rule { action: Action::Deny, ..allow(id, to, ports) }
}

/// By the compiler; 8.0.0.0/8 is American.
fn notes(spec: &Spec) -> Vec<RuleNote> {
    let v4 = vec![Range { first: 8 << 24, last: (9 << 24) - 1, country: Country(*b"US") }];
    let data = Dataset { v4, ..Dataset::default() };
    let clock = ClockMap::wall(NOW * 1_000_000_000);
    compile(spec, &Knowledge::new(&[data], &[]), &clock).expect("compiles").notes
}

fn short(notes: Vec<RuleNote>) -> Notes {
    let short = |note: RuleNote| (note.why, note.rule.id, note.others.into_iter().map(|other| other.id).collect());
    notes.into_iter().map(short).collect()
}

fn notes_of(rules: &[Rule]) -> Notes {
    short(notes(&Spec { rules: rules.to_vec(), ..Spec::default() }))
}

fn of(why: Why, id: &str, others: &[&str]) -> (Why, String, Vec<String>) {
    (why, id.into(), others.iter().map(|other| (*other).into()).collect())
}

#[test]
fn a_rule_that_says_what_others_say_is_reported_with_the_first_of_them_whatever_the_order_of_its_terms() {
    let one = Rule {
        countries: vec![(Country(*b"US"), at_line("1", 0)), (Country(*b"SG"), at_line("2", 0))],
        ..allow("a", "8.8.8.0/24 8.8.4.0/24", &[(1, 2), (5, 9)])
    };
    let mut other = Rule { id: "b".into(), reason: "another".into(), ..one.clone() };
    other.to.reverse();
    other.countries.reverse();
    other.ports.reverse();
    let third = Rule { id: "c".into(), ..one.clone() };
    assert_eq!(
        notes_of(&[third, one.clone(), other.clone()]),
        [of(Why::Identical, "b", &["a"]), of(Why::Identical, "c", &["a"])]
    );
    type Change = fn(&mut Rule);
    let differ: [(&str, Change); 8] = [
        ("action", |rule| rule.action = Action::Deny),
        ("network", |rule| rule.to[1] = network("8.8.5.0/24")),
        ("first network", |rule| rule.to.truncate(1)),
        ("country", |rule| rule.countries.truncate(1)),
        ("port", |rule| rule.ports[0].high += 1),
        ("begin", |rule| rule.not_before = Some(1)),
        ("end", |rule| rule.expires = Some(NOW + 1)),
        ("budget", |rule| rule.max_bytes_per_day = Some(1)),
    ];
    for (what, change) in differ {
        let mut other = other.clone();
        change(&mut other);
        let identical = notes_of(&[one.clone(), other]).iter().any(|note| note.0 == Why::Identical);
        assert!(!identical, "{what}");
    }
    // Two on autonomous systems, of which the data here knows none.
    let of = |id: &str, asn| Rule { ases: vec![(asn, at_line("c.toml", 5))], ..allow(id, "", &[]) };
    let spec = Spec { rules: vec![of("a", 1), of("b", 2), of("c", 1)], ..Spec::default() };
    assert_eq!(identical(&NumberedRules::of(&spec)), HashMap::from([(3, 1)]));
}

#[test]
fn management_is_no_twin_and_no_tie_of_a_rule() {
    let management = |ports: &[(u16, u16)]| {
        let Rule { to: networks, ports, .. } = allow("", "8.8.8.0/24", ports);
        Some(Management { networks, ports, origin: at_line("c.toml", 3), ..Management::default() })
    };
    let with = |rule: Rule, ports: &[(u16, u16)]| {
        short(notes(&Spec { rules: vec![rule], management: management(ports), ..Spec::default() }))
    };
    assert_eq!(with(allow("a", "8.8.8.0/24", &[]), &[]), [of(Why::Shadowed, "a", &["management"])]);
    assert_eq!(with(allow("a", "8.8.8.0/24", &[(1, 9)]), &[(5, 13)]), []);
    assert_eq!(with(deny("a", "8.8.8.0/24", &[(1, 9)]), &[(5, 13)]), [of(Why::Exception, "a", &["management"])]);
}

#[test]
fn a_tie_needs_the_same_network_and_as_many_ports_that_meet() {
    let one = deny("a", "8.8.8.0/24", &[(10, 19)]);
    for (other, expected) in [
        (allow("b", "8.8.8.0/24", &[(19, 28)]), vec![of(Why::Tie, "b", &["a"])]),
        (deny("b", "8.8.8.0/24", &[(1, 10)]), vec![of(Why::Tie, "b", &["a"])]),
        (allow("b", "8.8.8.0/24", &[(20, 29)]), vec![]),
        (allow("b", "8.8.8.0/24", &[(0, 9)]), vec![]),
        (allow("b", "8.8.8.0/24", &[(19, 29)]), vec![of(Why::Exception, "b", &["a"])]),
        (allow("b", "8.8.8.0/25", &[(19, 28)]), vec![of(Why::Exception, "a", &["b"])]),
        (deny("b", "8.8.8.0/25", &[(19, 28)]), vec![]),
        (Rule { expires: Some(NOW + 9), ..allow("b", "8.8.8.0/24", &[(19, 28)]) }, vec![of(Why::Tie, "b", &["a"])]),
    ] {
        assert_eq!(notes_of(&[one.clone(), other.clone()]), expected, "{other:?}");
    }
    // Ranges of one rule are no others.
    assert_eq!(notes_of(&[allow("a", "8.8.8.0/24", &[(1, 5), (3, 7), (4, 5)])]), []);
    // Rules of times that never meet.
    let until = Rule { expires: Some(NOW + 9), ..one };
    let from = |start| Rule { not_before: Some(start), ..allow("b", "8.8.8.0/24", &[(19, 28)]) };
    assert_eq!(notes_of(&[until.clone(), from(NOW + 9)]), [of(Why::NotYet, "b", &[])]);
    assert_eq!(notes_of(&[until, from(NOW + 8)]), [of(Why::NotYet, "b", &[]), of(Why::Tie, "b", &["a"])]);
    let until = |end| Rule { expires: Some(end), ..allow("b", "8.8.8.0/24", &[(19, 28)]) };
    let from = Rule { not_before: Some(NOW + 9), ..deny("a", "8.8.8.0/24", &[(10, 19)]) };
    assert_eq!(notes_of(&[from.clone(), until(NOW + 9)]), [of(Why::NotYet, "a", &[])]);
    assert_eq!(notes_of(&[from, until(NOW + 10)]), [of(Why::NotYet, "a", &[]), of(Why::Tie, "b", &["a"])]);
}

#[test]
fn a_rule_is_shadowed_only_where_others_that_outlast_it_leave_it_nothing() {
    let shadowed = |by: &[&str]| vec![of(Why::Shadowed, "z", by)];
    let hidden = allow("z", "8.8.8.0/24", &[(10, 20)]);
    let whole = deny("a", "8.8.8.0/24", &[(10, 20)]);
    for (others, expected) in [
        (vec![whole.clone()], shadowed(&["a"])),
        (vec![deny("a", "8.8.8.0/24", &[(10, 15)]), deny("b", "8.8.8.0/24", &[(16, 20)])], shadowed(&["a", "b"])),
        (
            vec![deny("a", "8.8.8.0/24", &[(10, 14)]), deny("b", "8.8.8.0/24", &[(16, 20)])],
            vec![of(Why::Exception, "z", &["a", "b"])],
        ),
        (
            vec![deny("a", "8.8.8.0/24", &[(10, 15)]), deny("b", "8.8.8.0/24", &[(16, 19)])],
            vec![of(Why::Exception, "z", &["a", "b"])],
        ),
        (vec![deny("a", "8.8.8.0/24", &[(11, 20)])], vec![of(Why::Exception, "z", &["a"])]),
        // One that ends, one with a budget: what it covers is the other's again.
        (vec![Rule { expires: Some(NOW + 9), ..whole.clone() }], vec![of(Why::Tie, "z", &["a"])]),
        (
            vec![Rule { max_bytes_per_day: Some(9), ..allow("a", "8.8.8.0/24", &[(10, 20)]) }],
            vec![of(Why::Tie, "z", &["a"])],
        ),
        // Each half of its network by another.
        (vec![deny("a", "8.8.8.0/25", &[]), deny("b", "8.8.8.128/25", &[])], shadowed(&["a", "b"])),
        (vec![deny("a", "8.8.8.0/25", &[])], vec![of(Why::Exception, "z", &["a"])]),
    ] {
        let rules: Vec<Rule> = others.iter().cloned().chain([hidden.clone()]).collect();
        assert_eq!(notes_of(&rules), expected, "{others:?}");
    }
    // One range within another of those that cover it.
    let inner = deny("b", "8.8.8.0/24", &[(11, 12)]);
    assert_eq!(notes_of(&[whole.clone(), inner, hidden.clone()]), shadowed(&["a", "b"]));
    // Rules for all traffic in each half: they hide it as long as they hold, and what is for all traffic too.
    let halves = |begin, end| {
        let halves = deny("a", "8.8.8.0/25 8.8.8.128/25", &[]);
        Rule { not_before: begin, expires: end, ..halves }
    };
    for z in [hidden.clone(), allow("z", "8.8.8.0/24", &[])] {
        for (begin, end, expected) in [
            (None, None, shadowed(&["a"])),
            (None, Some(NOW + 5), vec![of(Why::Exception, "z", &["a"])]),
            (Some(NOW), None, vec![of(Why::Exception, "z", &["a"])]),
        ] {
            assert_eq!(notes_of(&[halves(begin, end), z.clone()]), expected, "{begin:?} {end:?} {z:?}");
        }
        let z = Rule { expires: Some(NOW + 5), ..z };
        assert_eq!(notes_of(&[halves(None, Some(NOW + 5)), z]), shadowed(&["a"]));
    }
    // Times: one that begins and ends with it, one that begins later, one that ends before.
    for (begin, end, expected) in [
        (NOW - 5, NOW + 5, shadowed(&["a"])),
        (NOW - 6, NOW + 6, shadowed(&["a"])),
        (NOW - 4, NOW + 5, vec![of(Why::Tie, "z", &["a"])]),
        (NOW - 5, NOW + 4, vec![of(Why::Tie, "z", &["a"])]),
    ] {
        let timed = |rule: &Rule, begin, end| Rule { not_before: Some(begin), expires: Some(end), ..rule.clone() };
        let rules = [timed(&whole, begin, end), timed(&hidden, NOW - 5, NOW + 5)];
        assert_eq!(notes_of(&rules), expected, "{begin} {end}");
    }
    // Of many the first few.
    let many: Vec<Rule> =
        (0..11_u16).map(|at| deny(&format!("{at:02}"), "8.8.8.0/24", &[(10 + at, 10 + at)])).collect();
    assert_eq!(notes_of(&[many, vec![hidden]].concat()), shadowed(&["00", "01", "02", "03"]));
    let many: Vec<Rule> = (0..MAX_NAMED + 2)
        .map(|at| deny(&format!("{at}"), &format!("8.8.8.{}/28", 16 * at), &[]))
        .chain([allow("z", "8.8.8.0/26 8.8.8.64/27", &[])])
        .collect();
    assert_eq!(notes_of(&many), shadowed(&["0", "1", "2", "3"]));
}

#[test]
fn a_rule_that_covers_nothing_and_one_out_of_its_time_are_reported_to_the_second() {
    let one = deny("a", "8.8.8.0/24", &[]);
    let at = |not_before, expires| notes_of(&[Rule { not_before, expires, ..one.clone() }]);
    assert_eq!(at(Some(NOW), Some(NOW + 1)), []);
    assert_eq!(at(Some(NOW + 1), None), [of(Why::NotYet, "a", &[])]);
    assert_eq!(at(Some(NOW - 1), Some(NOW)), [of(Why::Expired, "a", &[])]);
    // An expired rule gets no other note.
    let nowhere = Rule { countries: vec![(Country(*b"TV"), at_line("c.toml", 1))], ..deny("b", "", &[]) };
    assert_eq!(notes_of(std::slice::from_ref(&nowhere)), [of(Why::Empty, "b", &[])]);
    assert_eq!(notes_of(&[Rule { expires: Some(NOW), ..nowhere.clone() }]), [of(Why::Expired, "b", &[])]);
    assert_eq!(
        notes_of(&[Rule { not_before: Some(NOW + 1), ..nowhere }]),
        [of(Why::NotYet, "b", &[]), of(Why::Empty, "b", &[])]
    );
}

#[test]
fn each_note_says_what_is_the_matter_with_whom_and_where() {
    let rules = vec![
        allow("a", "8.8.8.0/24", &[(1, 9)]),
        allow("b", "8.8.8.0/24", &[(1, 9)]),
        deny("c", "8.8.8.0/24", &[(1, 10)]),
        allow("d", "8.8.9.0/24", &[(1, 9)]),
        deny("e", "8.8.9.0/24", &[(9, 17)]),
        deny("f", "8.8.9.0/25", &[(1, 8)]),
        Rule { not_before: Some(NOW + 1), ..allow("g", "8.9.0.0/24", &[]) },
        Rule { expires: Some(NOW), ..allow("h", "8.9.1.0/24", &[]) },
        Rule { countries: vec![(Country(*b"TV"), at_line("c.toml", 1))], ..allow("i", "", &[]) },
        allow("j", "8.8.7.9/32", &[]),
        allow("k", "8.8.7.0/24", &[]),
        allow("l", "8.8.7.9/32", &[(1, 2)]),
        allow("m", "8.8.7.9/32 8.8.7.8/32", &[]),
    ];
    let met = notes(&Spec { rules, ..Spec::default() });
    let messages: Vec<_> = met.iter().map(|note| note.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "rule 'b' (b.toml:1) says what 'a' (a.toml:1) says: remove one of them",
            "rule 'c' (c.toml:1) denies, but a part of it is let through by 'a' (a.toml:1)",
            "rule 'd' (d.toml:1) is as specific as 'e' (e.toml:1) where both cover a packet: that one denies, or has the \
             smaller id, and decides",
            "rule 'd' (d.toml:1) allows, but a part of it is denied by 'f' (f.toml:1)",
            "rule 'g' (g.toml:1) does not hold before 1970-01-01T00:16:41Z",
            "rule 'h' (h.toml:1) expired at 1970-01-01T00:16:40Z: renew it or remove it",
            "rule 'i' (i.toml:1) covers no address: nothing is known to be in what it names",
            "rule 'm' (m.toml:1) is as specific as 'j' (j.toml:1) where both cover a packet: that one denies, or has the \
             smaller id, and decides",
        ]
    );
    let shadowed = vec![deny("a", "8.8.8.0/24", &[]), allow("b", "8.8.8.0/24", &[])];
    assert_eq!(
        notes(&Spec { rules: shadowed, ..Spec::default() }),
        [RuleNote {
            why: Why::Shadowed,
            rule: RuleRef { id: "b".into(), origin: at_line("b.toml", 1) },
            others: vec![RuleRef { id: "a".into(), origin: at_line("a.toml", 1) }],
            message:
                "rule 'b' (b.toml:1) decides nothing: all of it is covered more narrowly by 'a' (a.toml:1): remove it \
                      or narrow those"
                    .into(),
        }]
    );
}
