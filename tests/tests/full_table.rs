//! Promise: a flow table that is full loses the distinction between flows and nothing else: sums stay exact, what
//! has no place is counted by country, class and verdict, and the monitor says so.

use std::net::IpAddr;

use egress_monitor_tests::{
    capture::{Capture, Direction},
    corpus::build::{eth, ip, payload, udp},
    daemon::Daemon,
    netns::Count,
    stage::{INSIDE, INTERFACE, OUTSIDE, PATIENCE, Stage, accounted, count, denied, on_cpu, v4, v6},
    traffic::{Frames, send_frames},
};
use serde_json::Value;

/// The fewest places there can be.
const PLACES: usize = 1024;
/// The fewest places that a CPU's flow cache can have.
const CACHED: usize = 128;
const FLOWS: u16 = 3_000;

/// To each of [`FLOWS`] ports one frame, every third one to the inside.
fn all_flows() -> Vec<Vec<u8>> {
    let to = |to: IpAddr, port, bytes| (eth() / ip(to) / udp(port) / payload(bytes)).bytes();
    let frame = |port: u16| match port % 3 {
        0 => to(v4(INSIDE).into(), port, 10),
        1 => to(v4(OUTSIDE).into(), port, 20),
        _ => to(v6(OUTSIDE).into(), port, 30),
    };
    (1..=FLOWS).map(frame).collect()
}

fn total(frames: &[Vec<u8>], times: u64, wanted: impl Fn(u16) -> bool) -> Count {
    let chosen = frames.iter().zip(1..).filter(|(_, port)| wanted(*port));
    chosen
        .fold(Count::default(), |sum, (frame, _)| sum.plus(Count { packets: times, bytes: times * frame.len() as u64 }))
}

fn is_finding(line: &str, activity: u64) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|line| line["unmapped"]["type"] == "flow_table_overflow" && line["activity_id"] == activity)
}

/// Sums of `status`'s totals by class.
fn of_class(status: &Value, class: &str) -> Count {
    let rows = status["totals"].as_array().unwrap().iter().filter(|row| row["class"] == class);
    rows.fold(Count::default(), |sum, row| {
        sum.plus(Count { packets: row["packets"].as_u64().unwrap(), bytes: row["bytes"].as_u64().unwrap() })
    })
}

#[test]
fn sums_stay_exact_and_the_overflow_is_counted_and_reported() {
    let stage = Stage::build(false).unwrap();
    // One epoch for everything: the table fills once.
    let config = stage.config(&format!("epoch = \"5min\"\nflows = {PLACES}\ncache = {CACHED}"), "");
    let before = stage.sent().unwrap();
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let capture = Capture::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();
    // `start` asked for the status, not for flows: this is still the first epoch.
    let senders: Vec<_> = (0..2)
        .map(|cpu| {
            let work = || send_frames(INTERFACE, all_flows().iter().map(Vec::as_slice)).unwrap();
            on_cpu(&stage.near, cpu, work).unwrap()
        })
        .collect();
    for sender in senders {
        assert_eq!(sender.join().unwrap(), Frames { sent: u64::from(FLOWS), refused: 0 });
    }
    let (flows, captured) = stage.when_quiet(&daemon, &capture, before).unwrap();
    let frames = all_flows();
    assert_eq!(count(&flows.hook), total(&frames, 2, |_| true));
    assert_eq!(captured.total, count(&flows.hook));
    assert_eq!(accounted(&flows), flows.hook);
    // Every place is taken, of a flow by more than one of table, log and two CPUs' caches maybe, which have as many for IPv6.
    let logged = daemon.json(&["status"]).unwrap()["epoch"]["flow_log"]["used"].as_u64().unwrap() as usize;
    let most = PLACES + 4 * CACHED + logged;
    assert!((PLACES..=most).contains(&flows.flows.len()), "{}", flows.flows.len());
    let told_apart: u64 = flows.flows.iter().map(|row| row.sums.packets).sum();
    assert_eq!(flows.overflow.packets, 2 * u64::from(FLOWS) - told_apart);
    assert!(told_apart <= 2 * most as u64);
    for row in &flows.flows {
        let frame = &frames[usize::from(row.destination_port) - 1];
        assert_eq!(row.sums.bytes, row.sums.packets * frame.len() as u64, "{row:?}");
    }

    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(of_class(&status, "inside"), total(&frames, 2, |port| port % 3 == 0));
    assert_eq!(of_class(&status, "outside"), total(&frames, 2, |port| port % 3 != 0));
    assert_eq!(status["losses"]["overflow_packets"], flows.overflow.packets);
    assert_eq!(status["interfaces"][0]["residual"]["packets"], 0);
    daemon.alerts.wait_for(0, PATIENCE, |line| is_finding(line, 1)).unwrap();
    // Once it is over, the monitor says that too.
    daemon.alerts.wait_for(0, PATIENCE, |line| is_finding(line, 3)).unwrap();
    let ended = daemon.stop().unwrap();
    assert_eq!(ended.alerts.iter().filter(|line| is_finding(line, 1)).count(), 1);
    assert_eq!(ended.alerts.iter().filter(|line| is_finding(line, 3)).count(), 1);
}

#[test]
fn a_full_table_is_no_way_past_the_policy() {
    let stage = Stage::build(false).unwrap();
    let config = stage.config(&format!("mode = \"enforce\"\nepoch = \"5min\"\nflows = {PLACES}\ncache = {CACHED}"), "");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let capture = Capture::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();
    let frames = all_flows();
    let work = || send_frames(INTERFACE, all_flows().iter().map(Vec::as_slice)).unwrap();
    let sent = on_cpu(&stage.near, 0, work).unwrap().join().unwrap();
    let inside = total(&frames, 1, |port| port % 3 == 0);
    assert_eq!(sent, Frames { sent: inside.packets, refused: u64::from(FLOWS) - inside.packets });
    capture.wait_until(PATIENCE, |captured| captured.total.packets >= inside.packets).unwrap();
    assert_eq!(capture.stop().unwrap().total, inside);
    let flows = egress_monitor_tests::stage::flows(&daemon).unwrap();
    // IPv4 and IPv6 have as many each. Where sending took a while, silent flows gave way to others and are in the log.
    let logged = daemon.json(&["status"]).unwrap()["epoch"]["flow_log"]["used"].as_u64().unwrap() as usize;
    let places = PLACES + 2 * CACHED + logged;
    assert_eq!((flows.flows.len(), flows.overflow.packets), (places, u64::from(FLOWS) - places as u64));
    assert_eq!(accounted(&flows), flows.hook);
    // Which flows have a place is the hash's affair; those that have one say what happened to them.
    let there: Vec<u16> = flows.flows.iter().map(|row| row.destination_port).collect();
    assert_eq!(denied(&flows), total(&frames, 1, |port| port % 3 != 0 && there.contains(&port)));
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(of_class(&status, "outside"), total(&frames, 1, |port| port % 3 != 0));
}
