//! A flow is sighted once, whichever way it comes to be known, and its incident alerts at once.

use std::collections::BTreeSet;

use monitor_common::wire::{Address, Opaque};

use super::*;

#[test]
fn an_incident_alerts_once_whether_its_event_came_or_not() {
    let mut bench = Bench::new();
    let mut snapshot = fake::snapshot(1);
    let reported = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    fake::add_flow(&mut snapshot, 7, fake::UNKNOWN, 444, 5);
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 445, 5);
    fake::add(&mut snapshot, FlowKey { rule: 1, ..fake::key(7, fake::OUTSIDE, 446) }, 5);
    let alert = bench.event(reported, 4_750, snapshot.started).expect("new");
    assert_eq!(shown(&alert), (Stage::First, "198.51.100.0/24".into(), 1, 1));
    assert_eq!(bench.event(reported, 4_750, snapshot.started), None);
    let rebuilt = bench.snapshot(&snapshot);
    assert_eq!(rebuilt.iter().map(shown).collect::<Vec<_>>(), [(Stage::First, "198.51.100.0/24".into(), 5, 1)]);
    assert_eq!(on(&rebuilt[0]).incident.class, Some(Class::Unknown));
    assert_eq!(on(&rebuilt[0]).sighting.as_ref().map(|seen| seen.seen.origin), Some(Origin::Drain));
}

#[test]
fn flows_of_one_source_to_one_network_are_one_incident_that_counts_each_once() {
    let mut bench = Bench::new();
    let mut snapshot = fake::snapshot(1);
    for host in 1..=200 {
        let key = to([198, 51, 100, host], 443 + u16::from(host % 3));
        assert_eq!(bench.event(key, 4_750, snapshot.started).is_some(), host == 1);
        fake::add(&mut snapshot, key, 2);
    }
    assert_eq!(bench.snapshot(&snapshot), []);
    snapshot.epoch = 2;
    later(&mut snapshot, 10);
    assert_eq!(bench.snapshot(&snapshot), []);
    let (_, open) = bench.incidents.book.iter().next().expect("one");
    let Incident { totals, flows, peers, ports, .. } = &open.incident;
    assert_eq!((*totals, *flows), (fake::sums(800), 200));
    assert_eq!((peers.text(), ports.text()), ("more than 64".into(), "3".into()));
}

#[test]
fn what_differs_in_what_was_decided_or_in_who_sends_is_another_incident() {
    let mut bench = Bench::new();
    let key = fake::key(7, fake::OUTSIDE, 443);
    let forwarded = FlowKey { source: Address::v4(0xc633_640a), ..key };
    let flows: [FullKey; 7] = [
        key.into(),
        FlowKey { verdict: Verdict::Denied as u8, ..key }.into(),
        FlowKey { class_id: fake::AMBIGUOUS, ..key }.into(),
        FlowKey { rule: 1, ..key }.into(),
        forwarded.into(),
        to([198, 51, 101, 9], 443).into(),
        FlowKey { source: Address::v4(0xc633_640b), ..key }.into(),
    ];
    let made: Vec<_> = flows.iter().filter_map(|flow| bench.event(*flow, 1, fake::START)).collect();
    assert_eq!(made.len(), flows.len());
    let ids: BTreeSet<_> = made.iter().map(|alert| on(alert).incident.id).collect();
    assert_eq!(ids.len(), flows.len());
    let source = |at: usize| on(&made[at]).incident.source.map(|source| source.to_string());
    assert_eq!((source(0), source(4)), (None, Some("198.51.100.10".into())));
    assert_eq!(on(&made[3]).incident.rule.as_deref(), Some("migration-sg"));
    // Ports and what can't be read are of the same.
    for flow in [FlowKey { destination_port: 1, ..key }, FlowKey { flags: Opaque::Esp as u8, ..key }] {
        assert_eq!(bench.event(flow, 1, fake::START), None);
    }
}

#[test]
fn who_it_is_is_the_same_from_event_and_drain_and_another_for_anything_else() {
    let mut snapshot = fake::snapshot(1);
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    let first = snapshot.flows[0].1.first;
    let id = |alert: &Alert| on(alert).incident.id;
    let reported = Bench::new().event(key, first, snapshot.started).expect("new");
    let rebuilt = Bench::new().snapshot(&snapshot);
    assert_eq!(id(&reported), id(&rebuilt[0]));
    let mut ids = BTreeSet::from([id(&reported)]);
    let mut other = Bench::new();
    other.incidents.boot = "b1".into();
    ids.insert(id(&other.event(key, first, snapshot.started).expect("new")));
    let mut other = Bench::new();
    other.epoch = 2;
    ids.insert(id(&other.event(key, first, snapshot.started).expect("new")));
    ids.insert(id(&Bench::new().event(key, first + 1, snapshot.started).expect("new")));
    ids.insert(id(&Bench::new().event(to([198, 51, 101, 9], 443), first, snapshot.started).expect("new")));
    assert_eq!(ids.len(), 5);
}

#[test]
fn at_the_drain_an_incident_begins_with_the_flow_that_was_first() {
    let mut snapshot = fake::snapshot(1);
    for (host, packets) in [(3, 5), (1, 7), (2, 9)] {
        fake::add(&mut snapshot, to([198, 51, 100, host], 443), packets);
        let at = snapshot.flows.len() - 1;
        snapshot.flows[at].1.first -= [10, 90, 50][at];
    }
    let made = Bench::new().snapshot(&snapshot);
    assert_eq!(made.iter().map(shown).collect::<Vec<_>>(), [(Stage::First, "198.51.100.0/24".into(), 21, 3)]);
    let incident = &on(&made[0]).incident;
    assert_eq!(incident.example.as_ref().map(|of| of.destination.to_string()).as_deref(), Some("198.51.100.1"));
    assert_eq!(i128::from(incident.first), snapshot.wall_time(snapshot.flows[1].1.first));
    assert_eq!((incident.peers.seen.len(), incident.totals), (3, fake::sums(21)));
}

#[test]
fn an_event_that_is_read_after_its_drain_is_no_news_unless_the_table_was_full() {
    let mut bench = Bench::new();
    assert!(!bench.incidents.has_seen(5));
    bench.snapshot(&fake::snapshot(5));
    assert!(bench.incidents.has_seen(5) && !bench.incidents.has_seen(6));
    let mut full = fake::snapshot(7);
    fake::add_overflow(&mut full, fake::INSIDE, Verdict::Allowed, 1);
    bench.snapshot(&full);
    assert!(!bench.incidents.has_seen(7));
    bench.snapshot(&fake::snapshot(8));
    assert!(bench.incidents.has_seen(8));
}

#[test]
fn memory_of_flows_is_bounded_and_the_ones_silent_longest_are_forgotten_first() {
    let mut bench = Bench::with(fake::policy(), 16);
    for port in 0..17 {
        bench.event(fake::key(7, fake::OUTSIDE, port), 1, fake::START + i128::from(port));
    }
    assert_eq!(bench.incidents.flows.len(), 15);
    let flows = |bench: &Bench| bench.incidents.book.iter().map(|(_, open)| open.incident.flows).sum::<u64>();
    assert_eq!(flows(&bench), 17);
    bench.event(fake::key(7, fake::OUTSIDE, 16), 1, fake::START + 20);
    assert_eq!(flows(&bench), 17);
    bench.event(fake::key(7, fake::OUTSIDE, 0), 1, fake::START + 20);
    assert_eq!(flows(&bench), 18);
}

#[test]
fn resets_are_summed_up_as_answers_of_little_weight_and_what_sends_more_is_none() {
    let mut bench = Bench::new();
    let mut snapshot = fake::snapshot(1);
    let mut made = Vec::new();
    for third in 0..200 {
        let key = to([198, 51, third, 9], 40_000 + u16::from(third));
        made.extend(bench.flagged(key, 0x14, 4_750, snapshot.started));
        fake::add(&mut snapshot, key, 1);
    }
    assert_eq!(made.iter().map(shown).collect::<Vec<_>>(), [(Stage::First, "egress_answers".into(), 1, 1)]);
    assert_eq!(made[0].severity(), crate::model::severity::Severity::Low);
    assert_eq!(bench.snapshot(&snapshot), []);
    // One of them goes on, with content.
    let mut next = fake::snapshot(2);
    fake::add(&mut next, to([198, 51, 7, 9], 40_007), 10);
    next.flows[0].1.counters.wire_bytes = 15_000;
    let made = bench.snapshot(&next);
    assert_eq!(made.iter().map(shown).collect::<Vec<_>>(), [(Stage::First, "198.51.7.0/24".into(), 10, 1)]);
    assert_eq!(made[0].severity(), crate::model::severity::Severity::High);
}
