//! Which of several destinations is the strictest, by a policy of five classes.

use std::sync::OnceLock;

use super::*;
use crate::{
    classify::build::Image,
    parse::{Hop, Transport},
    wire::{Address, Class, ClassRow, RuleRow, RuleRowAction, Via},
};

const TCP: u8 = 6;

/// Class ids, and the first byte of the addresses in each.
const ALLOWED: u16 = 0;
const DENIED: u16 = 1;
const RULED: u16 = 2;
const ALERTED: u16 = 3;
const DENIED_TOO: u16 = 4;

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(build)
}

fn build() -> Image {
    let class = |deny: bool, alert: bool, rules_len: u32| ClassRow {
        class: if deny { Class::Outside } else { Class::Inside } as u8,
        deny: u8::from(deny),
        alert: u8::from(alert),
        rules_start: 0,
        rules_len,
        ..ClassRow::default()
    };
    let classes = vec![
        class(false, false, 0),
        class(true, true, 0),
        class(true, true, 1),
        class(false, true, 0),
        class(true, true, 0),
    ];
    let rule = RuleRow {
        not_before_ns: 0,
        expires_ns: u64::MAX,
        port_low: 443,
        port_high: 443,
        rule: 1,
        protocol: TCP,
        action: RuleRowAction::Allow as u8,
    };
    let v4: Vec<_> = (0..5).map(|class_id| (class_id << 24, class_id)).collect();
    Image::build(&v4, &[(0, u32::from(ALLOWED))], classes, vec![rule]).expect("a partition")
}

/// An address of a class; `number` tells it from others of the same.
fn of(class_id: u16, number: u32) -> Address {
    Address::v4(u32::from(class_id) << 24 | number)
}

/// A TCP packet to port 443 of the first, through tunnels to port 443 of the others.
fn packet(to: &[u16]) -> HeaderWalker {
    let mut walker = HeaderWalker::new();
    walker.key.ip_version = 4;
    walker.key.destination = of(to[0], 0);
    walker.set_transport(0, TCP, 1, 443);
    for (number, class_id) in to.iter().enumerate().skip(1) {
        walker.hops[number - 1] = Hop {
            address: of(*class_id, number as u32),
            ip_version: 4,
            via: Via::IpInIp as u8,
            header: number as u8,
            flags: 0,
        };
        walker.headers[number] = Transport { port: 443, protocol: TCP };
        walker.hops_len += 1;
    }
    walker
}

fn inner_destination(class_id: u16, number: u32) -> InnerDestination {
    InnerDestination {
        address: of(class_id, number),
        port: 443,
        protocol: TCP,
        ip_version: 4,
        via: Via::IpInIp as u8,
        ..InnerDestination::default()
    }
}

/// The class id of a packet, and its inner destination.
fn evaluate(to: &[u16], of_first: &InnerDestination) -> (u16, InnerDestination) {
    let evaluation = Evaluation::of_packet(image(), &packet(to), of_first).expect("the image is whole");
    (evaluation.strictest.class_id, evaluation.inner)
}

#[test]
fn the_strictest_destination_decides() {
    let none = InnerDestination::default();
    assert_eq!(evaluate(&[ALLOWED], &none), (ALLOWED, none));
    assert_eq!(evaluate(&[DENIED], &none), (DENIED, none));
    // From the mildest to the strictest.
    let order = [ALLOWED, RULED, ALERTED, DENIED];
    for (outer_rank, outer) in order.into_iter().enumerate() {
        for (inner_rank, inner) in order.into_iter().enumerate() {
            let expected = if inner_rank > outer_rank { inner } else { outer };
            assert_eq!(evaluate(&[outer, inner], &none), (expected, inner_destination(inner, 1)), "{outer} {inner}");
        }
    }
    assert_eq!(evaluate(&[ALLOWED, RULED, DENIED, ALERTED], &none), (DENIED, inner_destination(DENIED, 2)));
}

#[test]
fn a_deny_rule_on_any_destination_denies_and_management_of_one_does_not_open_the_others() {
    let class = |rules_start| ClassRow { class: Class::Inside as u8, rules_start, rules_len: 1, ..ClassRow::default() };
    let row = |rule, action: RuleRowAction| RuleRow {
        expires_ns: u64::MAX,
        port_high: u16::MAX,
        rule,
        action: action as u8,
        ..RuleRow::default()
    };
    let (allowed, kept, refused) = (0, 1, 2);
    let rules = vec![row(1, RuleRowAction::Allow), row(2, RuleRowAction::Keep), row(3, RuleRowAction::Deny)];
    let v4: Vec<_> = (0..3).map(|class_id| (class_id << 24, class_id)).collect();
    let image = Image::build(&v4, &[(0, 0)], vec![class(0), class(1), class(2)], rules).expect("a partition");
    let evaluate =
        |to: &[u16]| Evaluation::of_packet(&image, &packet(to), &InnerDestination::default()).expect("whole").strictest;
    for to in [[refused, allowed], [allowed, refused], [refused, kept], [kept, refused], [refused, refused]] {
        let found = evaluate(&to);
        assert_eq!((found.rule, found.deny, found.alert, found.keep), (3, true, true, false), "{to:?}");
    }
    assert!(evaluate(&[kept, allowed]).keep);
    assert_eq!(evaluate(&[kept]), Classification { class_id: kept, rule: 2, keep: true, ..Classification::default() });
}

#[test]
fn of_equals_the_outermost_decides_and_the_innermost_is_where_it_ends_up() {
    let none = InnerDestination::default();
    assert_eq!(evaluate(&[DENIED, DENIED_TOO], &none), (DENIED, inner_destination(DENIED_TOO, 1)));
    assert_eq!(evaluate(&[ALLOWED, DENIED_TOO, DENIED, RULED], &none), (DENIED_TOO, inner_destination(DENIED, 2)));
    assert_eq!(evaluate(&[ALLOWED, ALLOWED, ALLOWED], &none), (ALLOWED, inner_destination(ALLOWED, 2)));
}

#[test]
fn what_the_first_fragment_had_counts_as_the_innermost() {
    assert_eq!(evaluate(&[ALLOWED], &inner_destination(DENIED, 9)), (DENIED, inner_destination(DENIED, 9)));
    assert_eq!(evaluate(&[ALLOWED, ALLOWED], &inner_destination(ALLOWED, 9)), (ALLOWED, inner_destination(ALLOWED, 9)));
    assert_eq!(
        evaluate(&[ALLOWED, DENIED], &inner_destination(DENIED_TOO, 9)),
        (DENIED, inner_destination(DENIED_TOO, 9))
    );
    assert_eq!(evaluate(&[ALLOWED, DENIED], &inner_destination(ALERTED, 9)), (DENIED, inner_destination(DENIED, 1)));
}

#[test]
fn a_rule_looks_at_the_port_of_the_header_that_goes_there() {
    let mut walker = packet(&[ALLOWED, RULED]);
    let evaluate = |walker: &HeaderWalker| {
        Evaluation::of_packet(image(), walker, &InnerDestination::default()).expect("the image is whole").strictest
    };
    assert_eq!((evaluate(&walker).class_id, evaluate(&walker).rule), (RULED, 1));
    walker.headers[1].port = 444;
    assert_eq!((evaluate(&walker).class_id, evaluate(&walker).rule), (RULED, 0));
    walker.headers[1] = Transport { port: 443, protocol: 17 };
    assert_eq!(evaluate(&walker).rule, 0);
}

#[test]
fn no_destination_is_left_out_and_without_one_nothing_is_evaluated() {
    let mut walker = packet(&[ALLOWED]);
    for last in 0..MAX_HOPS {
        walker.hops = [Hop { address: of(ALLOWED, 1), ip_version: 4, via: 1, header: 0, flags: 0 }; MAX_HOPS];
        walker.hops_len = MAX_HOPS as u32;
        walker.hops[last].address = of(DENIED, 1);
        let evaluation =
            Evaluation::of_packet(image(), &walker, &InnerDestination::default()).expect("the image is whole");
        assert_eq!((evaluation.strictest.class_id, evaluation.inner.address), (DENIED, of(DENIED, 1)), "{last}");
    }
    walker.hops[MAX_HOPS - 1].address = of(ALLOWED, 1);
    let evaluation =
        Evaluation::of_packet(image(), &walker, &inner_destination(DENIED, 9)).expect("the image is whole");
    assert_eq!(
        (evaluation.strictest.class_id, evaluation.inner),
        (DENIED, inner_destination(DENIED, 9)),
        "that of the first fragment, after all hops"
    );
    assert_eq!(
        Evaluation::of_packet(image(), &HeaderWalker::new(), &InnerDestination::default()),
        Some(Evaluation::default())
    );
    assert_eq!(Evaluation::of_packet(&Image::default(), &walker, &InnerDestination::default()), None);
}
