//! Promise: what leaves for outside is an incident that alerts within a second of its first packet, and nothing else is one;
//! each flow of it is counted once, not even a burst that the ring buffer cannot hold loses one; and so does what can't be
//! read. (Unknown and ambiguous destinations, which no wire here may carry, make the same event: `policy_in_kernel`.)

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    corpus::build::{eth, ip, mpls, payload, tcp, udp},
    daemon::Daemon,
    stage::{
        ABROAD, INSIDE, INTERFACE, OUTSIDE, PATIENCE, RULED, RULED_PORT, Stage, abroad, both, flows, incidents, v4,
    },
    traffic::{send_frames, send_udp},
};
use monitor_policy::text::hex;
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

fn incident(line: &str) -> Option<Value> {
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
fn what_leaves_is_one_incident_a_network_told_within_a_second_and_nothing_else_is_one() {
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
    for address in both(OUTSIDE) {
        let to = SocketAddr::new(address, 9);
        let begun = Instant::now();
        let from = stage.near.run(|| send_udp(stage.from(to), to, &[10; 3])).unwrap();
        let id = (from.port(), to);
        let left = SECOND.saturating_sub(begun.elapsed());
        let is = |line: &str| incident(line).is_some_and(|line| flow(&line) == id);
        let line = incident(&daemon.alerts.wait_for(0, left, is).unwrap()).unwrap();
        assert_eq!(line["unmapped"]["class"], "outside");
        assert_eq!((&line["unmapped"]["verdict"], &line["unmapped"]["source"]), (&"observed".into(), &"local".into()));
        assert_eq!(line["unmapped"]["origin"], "event");
        assert_eq!(line["src_endpoint"]["ip"], from.ip().to_string());
        assert_eq!((line["activity_id"].as_u64(), line["is_alert"].as_bool()), (Some(1), Some(true)));
        let network = line["unmapped"]["network"].as_str().unwrap().to_owned();
        // Its neighbour at a port without a rule is in the same network.
        expected.insert(network, (if address.is_ipv4() { 2 } else { 1 }, 0));
    }
    let to = SocketAddr::new(v4(RULED).into(), RULED_PORT + 1);
    stage.near.run(|| send_udp(stage.from(to), to, &[10; 3])).unwrap();
    // Closes the epoch, and so counts what the events told of.
    let open = incidents(&daemon).unwrap().incidents;
    let counted = open.iter().map(|row| (row.network.clone().unwrap(), (row.flows, row.sums.packets)));
    for (flows, packets) in expected.values_mut() {
        *packets = 3 * *flows;
    }
    assert_eq!(counted.collect::<BTreeMap<_, _>>(), expected);
    let ended = daemon.stop().unwrap();
    let told: Vec<Value> = ended.alerts.iter().filter_map(|line| incident(line)).collect();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
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
    let open = incidents(&daemon).unwrap().incidents;
    assert_eq!(open.iter().map(|row| (row.flows, row.sums)).collect::<Vec<_>>(), [(1, row[0].sums)]);
    let alerts = daemon.stop().unwrap().alerts;
    assert_eq!(alerts.iter().filter_map(|line| incident(line)).count(), 1, "{alerts:#?}");
}

#[test]
fn denied_flows_alert_as_denied() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("mode = \"enforce\"", ""), &[]).unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &[10; 3])).unwrap();
    let line = daemon.alerts.wait_for(0, SECOND, |line| incident(line).is_some()).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((line["unmapped"]["verdict"].as_str(), line["action_id"].as_u64()), (Some("denied"), Some(2)));
}

#[test]
fn a_burst_beyond_the_ring_is_told_at_once_and_each_of_its_flows_is_counted_once() {
    // The ring is 1 MiB and an event takes 104 bytes of it.
    const FLOWS: u16 = 20_000;
    const ROOM: u64 = ((1 << 20) - 1) / 104;
    /// Above every port at which a tunnel is looked for.
    const PORTS: RangeInclusive<u16> = 10_001..=10_000 + FLOWS;
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &(stage.config("epoch = \"5min\"", "") + ABROAD), &[]).unwrap();
    // Nobody reads the ring while it fills.
    daemon.stand_still().unwrap();
    let destination = IpAddr::from(v4(OUTSIDE));
    let socket = stage.near.run(|| UdpSocket::bind(stage.from(SocketAddr::new(destination, 1)))).unwrap();
    for port in PORTS {
        socket.send_to(&[1; 10], SocketAddr::new(destination, port)).unwrap();
    }
    // For these the ring has no room.
    let frames: Vec<Vec<u8>> = (0..10).map(|third| abroad(third, 1)).collect();
    stage.near.run(|| send_frames(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap();
    daemon.signal(libc::SIGCONT).unwrap();
    let counted = flows(&daemon).unwrap();
    assert_eq!(counted.flows.len(), usize::from(FLOWS) + 10);
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(status["losses"]["events"], u64::from(FLOWS) + 10 - ROOM);
    assert_eq!(status["losses"]["alerts_queue_full"], 0);
    let finding = |line: &str| line.contains("\"events_lost\"");
    daemon.alerts.wait_for(0, PATIENCE, finding).unwrap();
    let open = incidents(&daemon).unwrap().incidents;
    let burst = open.iter().find(|row| row.flows > 1).expect("the burst");
    assert_eq!((burst.flows, burst.sums.packets), (FLOWS.into(), FLOWS.into()));
    assert_eq!((open.len(), burst.kind.as_str()), (11, "egress"));
    let ended = daemon.stop().unwrap();
    let mut origins: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let told: Vec<Value> = ended.alerts.iter().filter_map(|line| incident(line)).collect();
    for line in told.iter().filter(|line| line["activity_id"] == 1) {
        let of = |field: &str| line["unmapped"][field].as_str().unwrap().to_owned();
        assert!(origins.entry(of("origin")).or_default().insert(of("network")));
    }
    // The drain may be before the first event is read.
    assert_eq!(origins.values().map(BTreeSet::len).sum::<usize>(), 11, "{origins:?}");
    assert!(origins["drain"].len() >= 10, "{origins:?}");
}

#[test]
fn what_can_not_be_read_is_told_with_its_first_bytes_and_counted() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"5min\"", ""), &[]).unwrap();
    let outside = IpAddr::from(v4(OUTSIDE));
    let orphan = eth() / ip(outside).fragment(7, 1_480, false) / udp(9) / payload(64);
    let frames = [
        ("mpls", (eth() / mpls(&[7]) / ip(outside) / udp(9)).bytes()),
        ("fragment_without_first", orphan.bytes()),
        ("not_ip", (eth().ether(0x88b5) / payload(64)).bytes()),
    ];
    for (reason, frame) in &frames {
        let begun = Instant::now();
        stage.near.run(|| send_frames(INTERFACE, [frame.as_slice(); 3])).unwrap();
        let left = SECOND.saturating_sub(begun.elapsed());
        let is = |line: &str| incident(line).is_some_and(|line| line["unmapped"]["reason"] == *reason);
        let line = incident(&daemon.alerts.wait_for(0, left, is).unwrap()).unwrap();
        let head = hex(&frame[..frame.len().min(48)]);
        assert_eq!((&line["unmapped"]["head"], &line["unmapped"]["interface"]), (&head.into(), &INTERFACE.into()));
        assert_eq!((&line["severity"], &line["traffic"]["packets"]), (&"Medium".into(), &1.into()));
    }
    let open = incidents(&daemon).unwrap().incidents;
    let counted = open.iter().map(|row| (row.reason.clone().unwrap(), row.sums.packets));
    assert_eq!(
        counted.collect::<BTreeMap<_, _>>(),
        frames.iter().map(|(reason, _)| ((*reason).to_owned(), 3)).collect::<BTreeMap<_, _>>()
    );
    let ended = daemon.stop().unwrap();
    assert_eq!(ended.alerts.iter().filter_map(|line| incident(line)).count(), frames.len());
}

#[test]
fn who_answers_probes_with_resets_has_one_alert_of_little_weight() {
    const NETWORKS: u8 = 100;
    /// Behind the link header and an IPv4 header: offset of the flags in TCP's.
    const FLAGS: usize = 14 + 20 + 13;
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &(stage.config("epoch = \"5min\"", "") + ABROAD), &[]).unwrap();
    let reset = |third| {
        let mut frame = (eth() / ip(IpAddr::from([198, 19, third, 9])) / tcp(40_000)).bytes();
        frame[FLAGS] = 0x14;
        frame
    };
    let frames: Vec<Vec<u8>> = (0..NETWORKS).map(reset).collect();
    stage.near.run(|| send_frames(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap();
    let is = |line: &str| incident(line).is_some_and(|line| line["unmapped"]["type"] == "egress_answers");
    let line = incident(&daemon.alerts.wait_for(0, SECOND, is).unwrap()).unwrap();
    assert_eq!(line["severity"], "Low");
    let open = incidents(&daemon).unwrap().incidents;
    let of: Vec<_> = open.iter().map(|row| (row.kind.as_str(), row.flows, row.sums.packets)).collect();
    assert_eq!(of, [("egress_answers", NETWORKS.into(), NETWORKS.into())]);
    let ended = daemon.stop().unwrap();
    assert_eq!(ended.alerts.iter().filter_map(|line| incident(line)).count(), 1);
}
