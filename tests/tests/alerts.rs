//! Promise: each flow to an outside destination makes one alert within a second of its first packet, a valid one, and
//! nothing else makes any; not even a burst that the ring buffer cannot hold loses one. (Unknown and ambiguous ones,
//! which no wire here may carry, make the same event: `policy_in_kernel`.)

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    daemon::Daemon,
    stage::{INSIDE, OUTSIDE, PATIENCE, RULED, RULED_PORT, Stage, both, flows, v4},
    traffic::send_udp,
};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

fn egress(line: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (line["class_uid"] == 4001).then_some(line)
}

/// Source port, destination.
fn flow(line: &Value) -> (u16, SocketAddr) {
    let number = |pointer: &str| line.pointer(pointer).and_then(Value::as_u64).unwrap() as u16;
    let ip: IpAddr = line["dst_endpoint"]["ip"].as_str().unwrap().parse().unwrap();
    (number("/src_endpoint/port"), SocketAddr::new(ip, number("/dst_endpoint/port")))
}

#[test]
fn each_flow_that_leaves_makes_one_alert_within_a_second_and_no_other_makes_any() {
    let stage = Stage::build(false).unwrap();
    // Epochs are too long to help: the event alone can be in time.
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"5min\"", ""), &[]).unwrap();
    let mut quiet: Vec<SocketAddr> = Vec::new();
    for address in both(INSIDE) {
        quiet.push(SocketAddr::new(address, 9));
    }
    quiet.extend(both(RULED).map(|address| SocketAddr::new(address, RULED_PORT)));
    for to in &quiet {
        stage.near.run(|| send_udp(stage.from(*to), *to, &[10; 3])).unwrap();
    }
    let mut expected = BTreeMap::new();
    let mut targets = Vec::new();
    targets.extend(both(OUTSIDE).map(|address| SocketAddr::new(address, 9)));
    targets.extend(both(RULED).map(|address| SocketAddr::new(address, RULED_PORT + 1)));
    for to in targets {
        let begun = Instant::now();
        let from = stage.near.run(|| send_udp(stage.from(to), to, &[10; 3])).unwrap();
        let id = (from.port(), to);
        let left = SECOND.saturating_sub(begun.elapsed());
        let line = daemon.alerts.wait_for(0, left, |line| egress(line).is_some_and(|line| flow(&line) == id)).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["unmapped"]["class"], "outside");
        assert_eq!(line["unmapped"]["verdict"], "observed");
        assert_eq!(line["unmapped"]["origin"], "event");
        assert_eq!(line["src_endpoint"]["ip"], from.ip().to_string());
        assert_eq!((line["activity_id"].as_u64(), line["is_alert"].as_bool()), (Some(6), Some(true)));
        expected.insert(id, 1);
    }
    // Closes the epoch, and so rebuilds what the events should have made; then the end does once more.
    flows(&daemon).unwrap();
    let ended = daemon.stop().unwrap();
    let mut made = BTreeMap::new();
    for line in ended.alerts.iter().filter_map(|line| egress(line)) {
        *made.entry(flow(&line)).or_insert(0) += 1;
    }
    assert_eq!(made, expected);
}

#[test]
fn a_flow_that_lasts_many_epochs_alerts_once() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let socket = stage.near.run(|| UdpSocket::bind(stage.from(to))).unwrap();
    let epochs = |status: &Value| status["epoch"]["count"].as_u64().unwrap_or(0);
    for _ in 0..6 {
        socket.send_to(&[1; 50], to).unwrap();
        let now = epochs(&daemon.json(&["status"]).unwrap());
        daemon.json_until(&["status"], |status| epochs(status) >= now + 2).unwrap();
    }
    let row = flows(&daemon).unwrap().flows;
    assert_eq!((row.len(), row[0].sums.packets), (1, 6));
    let alerts = daemon.stop().unwrap().alerts;
    assert_eq!(alerts.iter().filter_map(|line| egress(line)).count(), 1, "{alerts:#?}");
}

#[test]
fn denied_flows_alert_as_denied() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("mode = \"enforce\"", ""), &[]).unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &[10; 3])).unwrap();
    let line = daemon.alerts.wait_for(0, SECOND, |line| egress(line).is_some()).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((line["unmapped"]["verdict"].as_str(), line["action_id"].as_u64()), (Some("denied"), Some(2)));
}

#[test]
fn a_burst_beyond_the_ring_alerts_each_flow_once() {
    // The ring is 1 MiB and an event takes 96 bytes of it.
    const FLOWS: u16 = 20_000;
    const ROOM: u64 = ((1 << 20) - 1) / 96;
    /// Above every port at which a tunnel is looked for.
    const PORTS: RangeInclusive<u16> = 10_001..=10_000 + FLOWS;
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"5min\"", ""), &[]).unwrap();
    // Nobody reads the ring while it fills.
    daemon.stand_still().unwrap();
    let destination = IpAddr::from(v4(OUTSIDE));
    let socket = stage.near.run(|| UdpSocket::bind(stage.from(SocketAddr::new(destination, 1)))).unwrap();
    for port in PORTS {
        socket.send_to(&[1; 10], SocketAddr::new(destination, port)).unwrap();
    }
    daemon.signal(libc::SIGCONT).unwrap();
    let counted = flows(&daemon).unwrap();
    assert_eq!(counted.flows.len(), usize::from(FLOWS));
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(status["losses"]["events"], u64::from(FLOWS) - ROOM);
    assert_eq!(status["losses"]["alerts_queue_full"], 0);
    let finding = |line: &str| line.contains("\"events_lost\"");
    daemon.alerts.wait_for(0, PATIENCE, finding).unwrap();
    let ended = daemon.stop().unwrap();
    let mut made: BTreeMap<u16, u32> = BTreeMap::new();
    let mut origins: BTreeMap<String, u64> = BTreeMap::new();
    for line in ended.alerts.iter().filter_map(|line| egress(line)) {
        *made.entry(flow(&line).1.port()).or_default() += 1;
        *origins.entry(line["unmapped"]["origin"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(made, PORTS.map(|port| (port, 1)).collect());
    assert_eq!(origins.values().sum::<u64>(), u64::from(FLOWS));
    assert!(origins["drain"] >= u64::from(FLOWS) - ROOM, "{origins:?}");
}
