//! Events between epochs: alerts at once, under the policy of their epoch, and never twice.

use monitor_common::wire::{Event, Reported};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_alerts_at_once_and_the_drain_only_what_was_lost() {
    let mut snapshot = fake::snapshot(0);
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    fake::add(&mut snapshot, fake::to_network(key, 7), 3);
    snapshot.events_lost = 1;
    let bench = bench([snapshot]);
    let event = Event { flow: key.into(), jiffies: 2_250, epoch: 0, wire_bytes: 104, ..Event::default() };
    bench.events.send(Report::Event(Reported::Flow(event), fake::START)).await.expect("taken");
    while bench.state.read().alerts.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.fake.script().flips, 0, "no flip was needed");
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.state.read().alerts, [(("High", "egress"), 2), (("Medium", "events_lost"), 1)].into());
    assert_eq!(
        bench.end().await,
        [
            alert("egress", "event"),
            alert("egress", "drain"),
            alert("events_lost", "Create"),
            alert("events_lost", "Close")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_read_an_hour_late_makes_no_second_alert_and_has_the_time_of_its_packet() {
    const HOUR: i128 = 3_600_000_000_000;
    let mut snapshot = fake::snapshot(0);
    // The daemon was away; there was one packet at the beginning.
    snapshot.ended += HOUR;
    snapshot.jiffies += 3_600 * 250;
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 1);
    let (first, ended) = (2_250, snapshot.ended);
    (snapshot.flows[0].1.first, snapshot.flows[0].1.last) = (first, first);
    let sent = snapshot.wall_time(first);
    // Another flow found no place: of it there is only the event.
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 1);
    let bench = bench([snapshot]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    let another = fake::to_network(key, 7);
    for key in [key, another] {
        let event = Event { flow: key.into(), jiffies: first, epoch: 0, wire_bytes: 104, ..Event::default() };
        bench.events.send(Report::Event(Reported::Flow(event), ended + 1)).await.expect("the task runs");
    }
    // What found no place is an incident of the epoch, too.
    let alerts = bench.egress(3).await;
    let kinds: Vec<_> = alerts.iter().map(|line| line["unmapped"]["type"].as_str().expect("text")).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "egress_overflow").count(), 1);
    let late = &alerts[2];
    assert_eq!(late["dst_endpoint"]["ip"], "198.51.7.9");
    assert_eq!(i128::from(late["time"].as_i64().expect("milliseconds")), sent / 1_000_000);
    let alerts = bench.end().await;
    let of_flows: Vec<_> = alerts.into_iter().filter(|(kind, how)| kind == "egress" && !how.is_empty()).collect();
    assert_eq!(of_flows, [alert("egress", "drain"), alert("egress", "event")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_epoch_number_comes_the_first_and_events_keep_their_policy() {
    let full = || {
        let mut snapshot = fake::snapshot(0);
        fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 3);
        snapshot
    };
    let bench = bench([full(), full()]);
    bench.fake.script().flips = u32::MAX - 1;
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    // In force from epoch 0 on, the second one of that number.
    assert_eq!(bench.handle.reload(in_force(&"b".repeat(64)), None).await, Ok(()));
    for (epoch, network) in [(u32::MAX, 1), (0, 2), (1, 3)] {
        let flow = fake::to_network(fake::key(7, fake::OUTSIDE, 443), network).into();
        let event = Event { flow, jiffies: 1, epoch, wire_bytes: 104, ..Event::default() };
        bench.events.send(Report::Event(Reported::Flow(event), fake::START)).await.expect("the task runs");
    }
    // And one of what found no place.
    let alerts = bench.egress(4).await;
    let policies: Vec<&str> = alerts
        .iter()
        .filter(|line| line["unmapped"]["type"] == "egress")
        .map(|line| &line["unmapped"]["policy"].as_str().expect("a digest")[..1])
        .collect();
    assert_eq!(policies, ["a", "b", "b"]);
    bench.end().await;
}
