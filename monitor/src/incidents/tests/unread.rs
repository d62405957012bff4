//! Packets without a flow: one incident for each reason, interface and fate; and those whose flow found no place.

use monitor_common::wire::HEAD;

use super::*;
use crate::model::severity::Severity;

fn mpls(verdict: Verdict) -> UnparsedEvent {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&[0xff, 0xff, 0x88, 0x47]);
    UnparsedEvent {
        jiffies: 4_750,
        ifindex: 7,
        epoch: 1,
        wire_bytes: 60,
        reason: Reason::Mpls as u8,
        verdict: verdict as u8,
        length: 4,
        _reserved: 0,
        head,
    }
}

#[test]
fn what_can_not_be_read_is_told_at_once_with_its_first_bytes_and_counted_at_the_drain() {
    let mut bench = Bench::new();
    let made = bench.unparsed(&mpls(Verdict::Observed), fake::START).expect("new");
    let alert = on(&made);
    assert_eq!(alert.incident.packet, Some(UnparsedPacket { wire_bytes: 60, head: vec![0xff, 0xff, 0x88, 0x47] }));
    assert_eq!(alert.incident.unparsed, Some(("mpls".into(), "eth0".into())));
    assert_eq!((made.severity(), made.kind()), (Severity::Medium, "egress_unparsed"));
    assert_eq!((alert.incident.counted().packets, alert.incident.counted().wire_bytes), (1, 60));
    assert_eq!(bench.unparsed(&mpls(Verdict::Observed), fake::START), None);
    let mut snapshot = fake::snapshot(1);
    fake::add_unparsed(&mut snapshot, Reason::Mpls, 3, 2);
    let dropped = bench.snapshot(&snapshot);
    assert_eq!(dropped.iter().map(shown).collect::<Vec<_>>(), [(Stage::First, "egress_unparsed".into(), 2, 0)]);
    assert_eq!((on(&dropped[0]).incident.verdict, dropped[0].severity()), (Verdict::Denied, Severity::Low));
    let passed = bench.incidents.book.iter().find(|(_, open)| open.incident.verdict == Verdict::Observed);
    assert_eq!(passed.map(|(_, open)| open.incident.totals), Some(fake::sums(3)));
}

#[test]
fn each_reason_and_fate_is_one_incident_and_link_scope_control_is_none() {
    let mut bench = Bench::new();
    let mut snapshot = fake::snapshot(1);
    for reason in Reason::ALL {
        fake::add_unparsed(&mut snapshot, reason, 1, 1);
    }
    let made = bench.snapshot(&snapshot);
    assert_eq!(made.len(), 2 * (Reason::ALL.len() - 2));
    let named =
        |name: &str| made.iter().any(|alert| on(alert).incident.unparsed.as_ref().is_some_and(|of| of.0 == name));
    assert!(named("fragment_without_first") && named("not_ip"));
    assert!(!named("link_control") && !named("link_control_odd"));
    assert_eq!(bench.snapshot(&snapshot), []);
}

#[test]
fn what_the_policy_lets_pass_unread_is_of_little_weight() {
    let mut policy = fake::policy();
    let mut snapshot = fake::snapshot(1);
    fake::add_unparsed(&mut snapshot, Reason::Mpls, 1, 0);
    let severity = |policy: &Policy, snapshot: &Snapshot| {
        let snapshot = Snapshot { policy: policy.clone().into(), ..snapshot.clone() };
        Bench::new().snapshot(&snapshot)[0].severity()
    };
    assert_eq!(severity(&policy, &snapshot), Severity::Low);
    policy.image.drop_reasons = Reason::Mpls.bit();
    assert_eq!(severity(&policy, &snapshot), Severity::Medium);
}

#[test]
fn what_the_flow_table_had_no_room_for_is_an_incident_of_its_class_and_country() {
    let mut bench = Bench::new();
    let mut snapshot = fake::snapshot(1);
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 9);
    fake::add_overflow(&mut snapshot, fake::UNKNOWN, Verdict::Denied, 4);
    fake::add_overflow(&mut snapshot, fake::INSIDE, Verdict::Allowed, 4);
    let mut made = bench.snapshot(&snapshot);
    made.sort_by_key(Alert::severity);
    let of: Vec<_> = made.iter().map(|alert| (shown(alert).2, alert.kind(), alert.severity())).collect();
    assert_eq!(of, [(4, "egress_overflow", Severity::Low), (9, "egress_overflow", Severity::High)]);
}
