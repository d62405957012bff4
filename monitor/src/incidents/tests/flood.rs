//! No flood drowns anybody else: the million flows of the issue, a hundredth of them here and all in `prove scale`.

use super::*;

/// Flows of the flood: a hundredth of a million.
const FLOOD: u32 = 10_000;

#[test]
fn a_flood_of_one_process_to_one_network_leaves_forty_others_their_alerts_within_the_epoch() {
    let mut bench = Bench::with(countries(), 100_000);
    let mut snapshot = fake::snapshot(1);
    snapshot.policy = Arc::clone(bench.resolver.policy());
    let of_flood = |number: u32| {
        let [_, _, third, fourth] = number.to_be_bytes();
        FlowKey { source_port: (number >> 16) as u16, ..to([198, 18, third, fourth], number as u16) }
    };
    let mut made = Vec::new();
    for number in 0..FLOOD {
        let key = of_flood(number * 6);
        made.extend(bench.event(key, 4_000, snapshot.started));
        fake::add(&mut snapshot, key, 1);
    }
    // Of these the ring had no room for an event.
    let others: Vec<FlowKey> = (0..20)
        .map(|second| to([10, second, 0, 9], 443))
        .chain((0..20).map(|country| FlowKey { class_id: 5 + country, ..to([203, 0, 113, 9], 443) }))
        .collect();
    for key in &others {
        fake::add(&mut snapshot, *key, 2);
    }
    made.extend(bench.snapshot(&snapshot));
    for key in &others {
        let told = made.iter().filter(|alert| {
            let example = on(alert).incident.example.as_ref().expect("a flow");
            example.destination == key.ip(key.destination) && on(alert).incident.totals.packets == 2
        });
        let expected = if key.class_id == fake::OUTSIDE { 1 } else { 20 };
        assert_eq!(told.count(), expected, "{key:?}");
    }
    let flood =
        made.iter().filter(|alert| on(alert).incident.network.is_some_and(|of| of.to_string().starts_with("198.18.")));
    assert_eq!(flood.count(), 32);
    let summed: Vec<_> = made.iter().filter(|alert| alert.kind() == "egress_others").collect();
    assert_eq!(summed.len(), 1);
    // Nothing is left out of the sums.
    let packets: u64 = bench.incidents.book.iter().map(|(_, open)| open.incident.totals.packets).sum();
    let flows: u64 = bench.incidents.book.iter().map(|(_, open)| open.incident.flows).sum();
    assert_eq!((packets, flows), (u64::from(FLOOD) + 80, u64::from(FLOOD) + 40));
    let (_, others) =
        bench.incidents.book.iter().find(|(key, _)| matches!(key, Key::Others { .. })).expect("what has no place");
    assert_eq!(others.incident.examples.len(), 20);
}

/// The fake policy, with twenty more countries that are outside, from class 5 on.
fn countries() -> Policy {
    let mut policy = fake::policy();
    for letter in b'A'..b'U' {
        let mut row = policy.image.classes[usize::from(fake::OUTSIDE)];
        row.country = [b'X', letter];
        policy.image.classes.push(row);
        let class = policy.classes[usize::from(fake::OUTSIDE)].class;
        policy.classes.push(monitor_policy::ClassInfo { country: monitor_policy::geo::Country([b'X', letter]), class });
    }
    policy
}

#[test]
fn others_tell_their_examples_once_there_are_many() {
    let mut bench = Bench::with(fake::policy(), 100_000);
    let mut snapshot = fake::snapshot(1);
    for third in 0..=255 {
        fake::add(&mut snapshot, to([198, 18, third, 9], 443), 1);
    }
    let made = bench.snapshot(&snapshot);
    let others: Vec<_> = made.iter().filter(|alert| alert.kind() == "egress_others").map(shown).collect();
    assert_eq!(others, [(Stage::First, "egress_others".into(), 224, 224)]);
    for third in 0..=255 {
        fake::add(&mut snapshot, to([198, 18, third, 10], 443), 1);
    }
    snapshot.epoch = 2;
    later(&mut snapshot, 70);
    let made = bench.snapshot(&snapshot);
    assert_eq!(made.iter().map(shown).collect::<Vec<_>>(), [(Stage::More, "egress_others".into(), 672, 448)]);
}
