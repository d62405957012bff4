//! Which of several destinations stands out, by a policy of five places.

use std::sync::OnceLock;

use super::*;
use crate::{
    classify::build::Image,
    parse::{Hop, Transport},
    wire::{Address, ClassRow, Kind, RuleRow, Ruling, Via},
};

const TCP: u8 = 6;

/// Classes, and the first number of the addresses that are in each.
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
        kind: if deny { Kind::Outside } else { Kind::Inside } as u8,
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
        action: Ruling::Allow as u8,
    };
    let v4: Vec<_> = (0..5).map(|class| (class << 24, class)).collect();
    Image::build(&v4, &[(0, u32::from(ALLOWED))], classes, vec![rule]).expect("a partition")
}

/// An address of a class; `number` tells it from others of the same.
fn of(class: u16, number: u32) -> Address {
    Address::v4(u32::from(class) << 24 | number)
}

/// A TCP packet to port 443 of the first, through tunnels to port 443 of the others.
fn packet(to: &[u16]) -> Walk {
    let mut walk = Walk::new();
    walk.key.ip_version = 4;
    walk.key.destination = of(to[0], 0);
    walk.set_transport(0, TCP, 1, 443);
    for (number, class) in to.iter().enumerate().skip(1) {
        walk.hops[number - 1] =
            Hop { address: of(*class, number as u32), ip_version: 4, via: Via::IpInIp as u8, header: number as u8 };
        walk.headers[number] = Transport { port: 443, protocol: TCP };
        walk.hops_len += 1;
    }
    walk
}

fn onward(class: u16, number: u32) -> Onward {
    Onward {
        address: of(class, number),
        port: 443,
        protocol: TCP,
        ip_version: 4,
        via: Via::IpInIp as u8,
        ..Onward::default()
    }
}

/// Class of the packet, and class and number of its further destination.
fn judge(to: &[u16], kept: &Onward) -> (u16, Onward) {
    let judgement = Judgement::of(image(), &packet(to), kept).expect("the image is whole");
    (judgement.to.class, judgement.onward)
}

#[test]
fn the_strictest_stands_out() {
    let none = Onward::default();
    assert_eq!(judge(&[ALLOWED], &none), (ALLOWED, none));
    assert_eq!(judge(&[DENIED], &none), (DENIED, none));
    // From the mildest to the strictest.
    let order = [ALLOWED, RULED, ALERTED, DENIED];
    for (outer_rank, outer) in order.into_iter().enumerate() {
        for (inner_rank, inner) in order.into_iter().enumerate() {
            let expected = if inner_rank > outer_rank { inner } else { outer };
            assert_eq!(judge(&[outer, inner], &none), (expected, onward(inner, 1)), "{outer} {inner}");
        }
    }
    assert_eq!(judge(&[ALLOWED, RULED, DENIED, ALERTED], &none), (DENIED, onward(DENIED, 2)));
}

#[test]
fn a_deny_rule_on_any_destination_denies_and_management_of_one_does_not_open_the_others() {
    let class = |rules_start| ClassRow { kind: Kind::Inside as u8, rules_start, rules_len: 1, ..ClassRow::default() };
    let row = |rule, action: Ruling| RuleRow {
        expires_ns: u64::MAX,
        port_high: u16::MAX,
        rule,
        action: action as u8,
        ..RuleRow::default()
    };
    let (allowed, kept, refused) = (0, 1, 2);
    let rules = vec![row(1, Ruling::Allow), row(2, Ruling::Keep), row(3, Ruling::Deny)];
    let v4: Vec<_> = (0..3).map(|class| (class << 24, class)).collect();
    let image = Image::build(&v4, &[(0, 0)], vec![class(0), class(1), class(2)], rules).expect("a partition");
    let judge = |to: &[u16]| Judgement::of(&image, &packet(to), &Onward::default()).expect("whole").to;
    for to in [[refused, allowed], [allowed, refused], [refused, kept], [kept, refused], [refused, refused]] {
        let found = judge(&to);
        assert_eq!((found.rule, found.deny, found.alert, found.keep), (3, true, true, false), "{to:?}");
    }
    assert!(judge(&[kept, allowed]).keep);
    assert_eq!(judge(&[kept]), Classified { class: kept, rule: 2, keep: true, ..Classified::default() });
}

#[test]
fn of_equals_the_outermost_decides_and_the_innermost_is_where_it_ends_up() {
    let none = Onward::default();
    assert_eq!(judge(&[DENIED, DENIED_TOO], &none), (DENIED, onward(DENIED_TOO, 1)));
    assert_eq!(judge(&[ALLOWED, DENIED_TOO, DENIED, RULED], &none), (DENIED_TOO, onward(DENIED, 2)));
    assert_eq!(judge(&[ALLOWED, ALLOWED, ALLOWED], &none), (ALLOWED, onward(ALLOWED, 2)));
}

#[test]
fn what_the_first_fragment_had_counts_as_the_innermost() {
    assert_eq!(judge(&[ALLOWED], &onward(DENIED, 9)), (DENIED, onward(DENIED, 9)));
    assert_eq!(judge(&[ALLOWED, ALLOWED], &onward(ALLOWED, 9)), (ALLOWED, onward(ALLOWED, 9)));
    assert_eq!(judge(&[ALLOWED, DENIED], &onward(DENIED_TOO, 9)), (DENIED, onward(DENIED_TOO, 9)));
    assert_eq!(judge(&[ALLOWED, DENIED], &onward(ALERTED, 9)), (DENIED, onward(DENIED, 1)));
}

#[test]
fn a_rule_looks_at_the_port_of_the_header_that_goes_there() {
    let mut walk = packet(&[ALLOWED, RULED]);
    let judge = |walk: &Walk| Judgement::of(image(), walk, &Onward::default()).expect("the image is whole").to;
    assert_eq!((judge(&walk).class, judge(&walk).rule), (RULED, 1));
    walk.headers[1].port = 444;
    assert_eq!((judge(&walk).class, judge(&walk).rule), (RULED, 0));
    walk.headers[1] = Transport { port: 443, protocol: 17 };
    assert_eq!(judge(&walk).rule, 0);
}

#[test]
fn no_destination_is_left_out_and_without_one_nothing_is_judged() {
    let mut walk = packet(&[ALLOWED]);
    for last in 0..MAX_HOPS {
        walk.hops = [Hop { address: of(ALLOWED, 1), ip_version: 4, via: 1, header: 0 }; MAX_HOPS];
        walk.hops_len = MAX_HOPS as u32;
        walk.hops[last].address = of(DENIED, 1);
        let judgement = Judgement::of(image(), &walk, &Onward::default()).expect("the image is whole");
        assert_eq!((judgement.to.class, judgement.onward.address), (DENIED, of(DENIED, 1)), "{last}");
    }
    walk.hops[MAX_HOPS - 1].address = of(ALLOWED, 1);
    let judgement = Judgement::of(image(), &walk, &onward(DENIED, 9)).expect("the image is whole");
    assert_eq!((judgement.to.class, judgement.onward), (DENIED, onward(DENIED, 9)), "kept, after all hops");
    assert_eq!(Judgement::of(image(), &Walk::new(), &Onward::default()), Some(Judgement::default()));
    assert_eq!(Judgement::of(&Image::default(), &walk, &Onward::default()), None);
}
