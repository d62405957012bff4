//! The corpus is whole, and stays on addresses that are ours to send.

use std::collections::HashSet;

use super::*;

fn is_reason(case: &Case, wanted: Reason) -> bool {
    matches!(case.expect, Expect::Unread { reason, .. } if reason == wanted)
}

fn flows(corpus: &[Case]) -> impl Iterator<Item = &Flow> {
    corpus.iter().filter_map(|case| match &case.expect {
        Expect::Flow(flow) => Some(flow),
        Expect::Unread { .. } => None,
    })
}

#[test]
fn names_are_unique_and_there_are_enough() {
    let corpus = corpus();
    let mut names = HashSet::new();
    for case in &corpus {
        assert!(names.insert(case.name), "{} is there twice", case.name);
        assert!(case.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{}", case.name);
    }
    assert!(corpus.len() >= 130, "{} cases", corpus.len());
}

#[test]
fn every_reason_way_and_form_occurs() {
    let corpus = corpus();
    for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::NotClassified) {
        assert!(corpus.iter().any(|case| is_reason(case, reason)), "{} does not occur", reason.name());
    }
    for via in Via::ALL.into_iter().skip(1) {
        assert!(flows(&corpus).any(|flow| flow.inner.is_some_and(|inner| inner.3 == via)), "{via:?} does not occur");
    }
    for opaque in Opaque::ALL {
        assert!(flows(&corpus).any(|flow| flow.opaque == opaque), "{opaque:?} does not occur");
    }
    for case in corpus.iter().filter(|case| case.link == Link::Other) {
        assert!(is_reason(case, Reason::UnknownLink), "{}", case.name);
    }
}

#[test]
fn what_is_sent_names_only_addresses_for_our_wires() {
    for case in corpus() {
        let foreign =
            case.addresses.iter().find(|a| !policy::ON_WIRES.iter().any(|network| policy::holds(network, **a)));
        match case.wire {
            Wire::Sendable => assert_eq!(foreign, None, "{}", case.name),
            Wire::Not(why) => assert!(!why.is_empty(), "{}", case.name),
        }
    }
}

#[test]
fn a_sendable_frame_fits_a_wire() {
    for case in corpus().iter().filter(|case| case.wire == Wire::Sendable) {
        for frame in case.before.iter().chain([&case.frame]) {
            assert!(frame.len() <= 1514, "{}: {} bytes", case.name, frame.len());
            assert!(case.link != Link::Ethernet || frame.len() >= 14, "{}: {} bytes", case.name, frame.len());
        }
    }
}

#[test]
fn the_stricter_standing_holds_and_of_equals_the_outer_one() {
    let place = |outer, inner, port| {
        let flow = flow(outer, proto::IPIP, 0).inner(Via::IpInIp, inner, proto::UDP, port);
        (flow.place, flow.rule)
    };
    assert_eq!(place(policy::IN, policy::OUT, 53), (Class::Outside, false));
    assert_eq!(place(policy::OUT, policy::IN, 53), (Class::Outside, false));
    assert_eq!(place(policy::IN, policy::UNPLACED, 53), (Class::Unknown, false));
    assert_eq!(place(policy::IN, policy::RULED, 4505), (Class::Outside, true));
    assert_eq!(place(policy::UNPLACED, policy::RULED, 4505), (Class::Unknown, false));
    assert_eq!(place(policy::UNPLACED, policy::RULED, 53), (Class::Unknown, false));
}

#[test]
fn ipv4_headers_add_up() {
    let frame = (build::eth() / ip(policy::OUT).options(&[148, 4, 0, 0]) / build::udp(53)).bytes();
    let sum: u32 = frame[14..38].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    assert_eq!(sum % 0xffff, 0, "{frame:x?}");
    assert_eq!((frame[14], &frame[16..18], frame[23]), (0x46, [0, 32].as_slice(), 17));
}

#[test]
fn the_table_has_a_row_for_each_case() {
    let table = table();
    for case in corpus() {
        assert!(table.contains(&format!("| `{}` |", case.name)), "{}", case.name);
        assert!(!case.about.contains('|') && !case.about.is_empty(), "{}", case.name);
    }
    assert!(table.contains(
        "| `gre_to_outside` | the same, the content goes outside | flow to 198.51.100.7 (GRE), onward to 198.18.0.7:53 \
         (UDP) via gre, outside |"
    ));
}
