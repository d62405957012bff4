//! Each flow alerts once: by its event or at the drain, again when it is another one, within bounds.

use std::collections::BTreeSet;

use monitor_common::{
    verdict::Verdict,
    wire::{Address, InnerDestination, Opaque, Via},
};

use super::*;

const IDLE_TIME: i128 = IDLE as i128;

#[test]
fn a_flow_alerts_once_whether_its_event_came_or_not() {
    let mut bench = Bench::new(100);
    let mut snapshot = fake::snapshot(1);
    let reported = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    fake::add_flow(&mut snapshot, 7, fake::UNKNOWN, 444, 5);
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 445, 5);
    fake::add(&mut snapshot, FlowKey { rule: 1, ..fake::key(7, fake::OUTSIDE, 446) }, 5);
    assert!(bench.event(reported, 4_750, snapshot.started).is_some());
    assert!(bench.event(reported, 4_750, snapshot.started).is_none());
    let rebuilt = bench.snapshot(&snapshot);
    assert_eq!(rebuilt.len(), 1);
    let line = valid(&encoded(&rebuilt[0]));
    assert_eq!((&line["unmapped"]["class"], &line["unmapped"]["origin"]), (&"unknown".into(), &"drain".into()));
    assert_eq!((&line["traffic"]["packets"], &line["traffic"]["bytes"]), (&5.into(), &520.into()));
    assert!(bench.snapshot(&snapshot).is_empty());
}

/// The flow with inner destinations that differ in one thing each.
fn inner_variants(key: FlowKey) -> Vec<FullKey> {
    let with = fake::with_inner(key, Via::Vxlan);
    let of = |inner| FullKey { inner, ..with };
    vec![
        with,
        of(InnerDestination { address: Address::v4(0xcb00_7106), ..with.inner }),
        of(InnerDestination { port: 54, ..with.inner }),
        of(InnerDestination { protocol: 6, ..with.inner }),
        of(InnerDestination { ip_version: 6, ..with.inner }),
        of(InnerDestination { via: Via::Gre as u8, ..with.inner }),
    ]
}

#[test]
fn the_uid_is_the_same_from_event_and_drain_and_differs_for_anything_else() {
    let mut snapshot = fake::snapshot(1);
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    let first = snapshot.flows[0].1.first;
    let uid = |alert: &Alert| valid(&encoded(alert))["metadata"]["uid"].as_str().map(str::to_owned);
    let reported = Bench::new(9).event(key, first, snapshot.started).expect("new");
    let rebuilt = Bench::new(9).snapshot(&snapshot);
    assert_eq!(uid(&reported), uid(&rebuilt[0]));
    let mut uids = BTreeSet::from([uid(&reported)]);
    let others = [
        FlowKey { source_port: 1, ..key },
        FlowKey { destination_port: 1, ..key },
        FlowKey { protocol: 17, ..key },
        FlowKey { verdict: Verdict::Denied as u8, ..key },
        FlowKey { class_id: fake::AMBIGUOUS, ..key },
        FlowKey { flags: Opaque::Esp as u8, ..key },
        FlowKey { flags: Opaque::Quic as u8, ..key },
    ]
    .map(FullKey::from)
    .into_iter()
    .chain(inner_variants(key))
    .collect::<Vec<_>>();
    for other in others {
        uids.insert(uid(&Bench::new(9).event(other, first, 0).expect("new")));
    }
    uids.insert(uid(&Bench::new(9).event(key, first + 1, 0).expect("new")));
    assert_eq!(uids.len(), 15);
}

#[test]
fn each_further_destination_and_each_opaque_form_alerts_once() {
    let mut bench = Bench::new(100);
    let key = fake::key(7, fake::OUTSIDE, 443);
    let opaque = FlowKey { flags: Opaque::WireGuard as u8, ..key };
    let flows: Vec<FullKey> = inner_variants(key).into_iter().chain([key.into(), opaque.into()]).collect();
    let mut reported = || flows.iter().filter(|flow| bench.event(**flow, 1, fake::START).is_some()).count();
    assert_eq!((reported(), reported()), (8, 0));
    let mut snapshot = fake::snapshot(1);
    for flow in flows {
        fake::add(&mut snapshot, flow, 1);
    }
    assert_eq!(bench.snapshot(&snapshot), []);
}

#[test]
fn a_flow_alerts_again_after_ten_minutes_of_silence_and_not_before() {
    let mut bench = Bench::new(100);
    let key = fake::key(7, fake::OUTSIDE, 443);
    assert!(bench.event(key, 1, fake::START).is_some());
    assert!(bench.event(key, 2, fake::START + IDLE_TIME).is_none());
    assert!(bench.event(key, 3, fake::START + 2 * IDLE_TIME).is_none());
    assert!(bench.event(key, 4, fake::START + 3 * IDLE_TIME + 1).is_some());
}

#[test]
fn a_flow_that_goes_on_for_longer_than_that_alerts_once() {
    let mut bench = Bench::new(100);
    let mut snapshot = fake::snapshot(1);
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    assert!(bench.event(key, 4_750, snapshot.started).is_some());
    // The daemon was away for an hour, so that the epoch was as long, and there were packets until its end.
    snapshot.ended += 6 * IDLE_TIME;
    snapshot.jiffies += 6 * 600 * 250;
    snapshot.flows[0].1.last = snapshot.jiffies;
    assert_eq!(bench.snapshot(&snapshot), []);
    let mut next = fake::snapshot(2);
    (next.ended, next.jiffies) = (snapshot.ended + 1, snapshot.jiffies + 100);
    let (_, value) = {
        fake::add_flow(&mut next, 7, fake::OUTSIDE, 443, 3);
        &mut next.flows[0]
    };
    (value.first, value.last) = (snapshot.jiffies + 1, snapshot.jiffies + 2);
    assert_eq!(bench.snapshot(&next), []);
}

#[test]
fn a_flow_that_goes_on_in_every_epoch_never_alerts_again() {
    let mut bench = Bench::new(100);
    let mut alerts = 0;
    for epoch in 0..200 {
        let mut snapshot = fake::snapshot(epoch);
        fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
        alerts += bench.snapshot(&snapshot).len();
    }
    assert_eq!(alerts, 1);
}

#[test]
fn memory_is_bounded_and_the_flows_silent_longest_are_forgotten_first() {
    let mut bench = Bench::new(16);
    for port in 0..17 {
        assert!(bench.event(fake::key(7, fake::OUTSIDE, port), 1, fake::START + i128::from(port)).is_some());
    }
    assert_eq!(bench.alerter.alerted.len(), 14);
    assert!(bench.event(fake::key(7, fake::OUTSIDE, 16), 1, fake::START + 20).is_none());
    assert!(bench.event(fake::key(7, fake::OUTSIDE, 0), 1, fake::START + 20).is_some());
}

#[test]
fn an_epoch_makes_so_many_alerts_and_counts_the_flows_that_got_none() {
    let mut bench = Bench::with(fake::policy(), 1_000, 10);
    let mut snapshot = fake::snapshot(1);
    let keys: Vec<FlowKey> = (0..100).map(|port| fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, port, 1)).collect();
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 1, 1);
    let reported = keys[..4].iter().filter(|key| bench.event(**key, 1, snapshot.started).is_some()).count();
    assert_eq!(reported, 4);
    let (alerts, suppressed) = bench.counted(&snapshot);
    assert_eq!((alerts.len(), suppressed), (6, 90));
    // An event that comes after its drain is no news.
    assert_eq!(bench.event(keys[99], 1, snapshot.started), None);
    // Events beyond the number are for the drain.
    bench.epoch = 2;
    snapshot.epoch = 2;
    let reported = keys[50..].iter().filter(|key| bench.event(**key, 1, snapshot.started).is_some()).count();
    assert_eq!(reported, 10);
    let (alerts, suppressed) = bench.counted(&snapshot);
    assert_eq!((alerts.len(), suppressed), (0, 80));
    // What goes on gets its alert, ten an epoch; nothing twice.
    for left in [70, 60, 50, 40, 30, 20, 10, 0] {
        let (alerts, suppressed) = bench.counted(&snapshot);
        assert_eq!((alerts.len(), suppressed), (10, left));
    }
    assert_eq!(bench.counted(&snapshot), (Vec::new(), 0));
}

#[test]
fn a_change_of_verdict_or_class_is_another_alert() {
    let mut bench = Bench::new(100);
    let key = fake::key(7, fake::OUTSIDE, 443);
    let lines = [
        bench.event(key, 1, fake::START),
        bench.event(FlowKey { verdict: Verdict::Denied as u8, ..key }, 1, fake::START),
        bench.event(FlowKey { class_id: fake::AMBIGUOUS, ..key }, 1, fake::START),
    ];
    let of = |alert: &Option<Alert>| {
        let line = valid(&encoded(alert.as_ref().expect("new")));
        (line["action_id"].as_u64(), line["disposition_id"].as_u64(), line["severity_id"].as_u64())
    };
    assert_eq!(
        lines.each_ref().map(of),
        [(Some(3), Some(19), Some(4)), (Some(2), Some(2), Some(3)), (Some(3), Some(19), Some(3))]
    );
}
