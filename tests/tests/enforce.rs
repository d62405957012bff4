//! Promise: enforce lets through only what it must. What the policy denies does not reach the peer with one byte,
//! in whatever frame; what it allows arrives whole; what is counted as denied is what was sent. Observe drops nothing.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use egress_monitor_tests::{
    capture::{Capture, Captured, Direction, FlowId},
    corpus::build::{
        Layer, Stack, ah, arp, destination_options, esp, eth, ether, etherip, fragment, geneve, gre, gtp, hop_by_hop,
        ip, mpls, part, payload, ports, proto, snap, srh, tcp, udp, vxlan,
    },
    daemon::Daemon,
    monitor::api::{FlowRow, Flows},
    netns::Count,
    ping::{Pinged, echo_frame, ping},
    stage::{
        INSIDE, INTERFACE, NEIGHBOUR, OUTSIDE, PATIENCE, RULED, RULED_PORT, Stage, UNPLACED, accounted, both, by_flow,
        flows, on_cpu, v4, v6, wire_count,
    },
    traffic::{Frames, TcpSink, Transfer, UdpSink, send_each, send_tcp, send_udp, udp_frame},
};

const SOON: Duration = Duration::from_millis(300);

struct Scene {
    stage: Stage,
    daemon: Daemon,
    capture: Capture,
}

impl Scene {
    fn build(mode: &str, zone: &str) -> Self {
        let stage = Stage::build(false).unwrap();
        let config = stage.config(&format!("mode = \"{mode}\"\nepoch = \"100ms\""), zone);
        let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
        let capture = Capture::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();
        Self { stage, daemon, capture }
    }

    /// Sends raw frames; gives for each whether it left. All by one CPU: each has its own memory of fragments.
    fn each<'a>(&self, frames: impl IntoIterator<Item = &'a Stack>) -> Vec<bool> {
        let frames: Vec<Vec<u8>> = frames.into_iter().map(Stack::bytes).collect();
        let send = move || send_each(INTERFACE, frames.iter().map(Vec::as_slice));
        on_cpu(&self.stage.near, 0, send).unwrap().join().unwrap().unwrap()
    }

    /// The same; gives how many left and how many were refused.
    fn raw(&self, frames: &[Stack]) -> Frames {
        let left = self.each(frames);
        let sent = left.iter().filter(|left| **left).count() as u64;
        Frames { sent, refused: left.len() as u64 - sent }
    }

    /// Packets and bytes that had no flow, by reason.
    fn reasons(&self, what: &str) -> BTreeMap<String, Count> {
        // The status is of closed epochs, and `flows` closes one.
        flows(&self.daemon).unwrap();
        let status = self.daemon.json(&["status"]).unwrap();
        let rows = status["unparsed"].as_array().unwrap().iter().map(|row| {
            let number = |key: &str| row[what][key].as_u64().unwrap();
            let count = Count { packets: number("packets"), bytes: number("bytes") };
            (row["reason"].as_str().unwrap().to_owned(), count)
        });
        rows.filter(|(_, count)| count.packets > 0).collect()
    }

    fn udp(&self, to: SocketAddr, sizes: &[usize]) -> (FlowId, Count) {
        let from = self.stage.near.run(|| send_udp(self.stage.from(to), to, sizes)).unwrap();
        let bytes = sizes.iter().map(|size| udp_frame(to.ip(), *size)).sum();
        (egress_monitor_tests::capture::flow(from, to, 17), Count { packets: sizes.len() as u64, bytes })
    }

    /// A frame that passes, so that everything sent before it has arrived when it has; then the end.
    fn finish(self) -> (Captured, Flows) {
        let last = FlowId {
            source: "192.0.2.1".parse().unwrap(),
            destination: v4(INSIDE).into(),
            protocol: 17,
            source_port: 40_000,
            destination_port: 65_535,
        };
        self.raw(&[eth() / ip(v4(INSIDE).into()) / udp(65_535)]);
        self.capture.wait_until(PATIENCE, |captured| captured.flows.contains_key(&last)).unwrap();
        let flows = flows(&self.daemon).unwrap();
        assert_eq!(accounted(&flows), flows.hook);
        let mut captured = self.capture.stop().unwrap();
        captured.flows.remove(&last);
        (captured, flows)
    }
}

fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

fn forbidden() -> Vec<IpAddr> {
    [both(OUTSIDE), both(NEIGHBOUR)].concat()
}

#[test]
fn inside_passes_whole_and_nothing_of_the_rest_reaches_the_peer() {
    let scene = Scene::build("enforce", "");
    let sizes: Vec<usize> = (0..500).map(|number| number * 2).collect();
    let (mut allowed, mut denied) = (BTreeMap::new(), BTreeMap::new());
    for address in both(INSIDE).into_iter().chain(both(UNPLACED)) {
        let sink = UdpSink::bind(&scene.stage.far, at(address, 5_000)).unwrap();
        let (id, count) = scene.udp(sink.address(), &sizes);
        allowed.insert(id, count);
        assert_eq!(sink.stop().unwrap(), (500, sizes.iter().sum::<usize>() as u64));
    }
    for address in both(INSIDE) {
        let sink = TcpSink::listen(&scene.stage.far, at(address, 443)).unwrap();
        let to = sink.address();
        let done = scene.stage.near.run(|| send_tcp(scene.stage.from(to), to, 1 << 20, PATIENCE)).unwrap();
        assert!(matches!(done, Transfer::Complete(_)), "{done:?}");
        assert_eq!(sink.stop().unwrap(), [1 << 20]);
    }
    let echo = |source: IpAddr, destination: IpAddr| FlowId {
        source,
        destination,
        protocol: if destination.is_ipv4() { 1 } else { 58 },
        source_port: 0,
        destination_port: if destination.is_ipv4() { 0x0800 } else { 0x8000 },
    };
    for (addresses, replies, time, into) in
        [(both(INSIDE).to_vec(), 3, PATIENCE, &mut allowed), (forbidden(), 0, SOON / 5, &mut denied)]
    {
        for address in addresses {
            let source = scene.stage.source(address);
            let pinged = scene.stage.near.run(|| ping(source, address, 3, 32, time)).unwrap();
            assert_eq!(pinged, Pinged { requests: 3, replies });
            into.insert(echo(source, address), Count { packets: 3, bytes: 3 * echo_frame(address, 32) });
        }
    }
    for address in forbidden() {
        let (id, count) = scene.udp(at(address, 5_000), &sizes);
        denied.insert(id, count);
        let to = at(address, 443);
        let done = scene.stage.near.run(|| send_tcp(scene.stage.from(to), to, 100, SOON)).unwrap();
        assert_eq!(done, Transfer::Stopped);
    }
    let segments = || scene.stage.near.tcp_segments_sent().unwrap();
    // The last acknowledgement of a transfer may still be on its way.
    let mut before = segments();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let flows = flows(&scene.daemon).unwrap();
        let counted: u64 = flows.flows.iter().filter(|row| row.protocol == 6).map(|row| row.sums.segments).sum();
        let after = segments();
        if before == after && counted == after {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "TCP sent {after} segments, {counted} were counted");
        before = after;
    }
    let (captured, flows) = scene.finish();
    let not_tcp = |map: BTreeMap<FlowId, Count>| -> BTreeMap<FlowId, Count> {
        map.into_iter().filter(|(id, _)| id.protocol != 6 && id.destination_port != 65_535).collect()
    };
    assert_eq!(not_tcp(by_flow(&flows, wire_count, |verdict| verdict == "denied")), denied);
    assert_eq!(not_tcp(by_flow(&flows, wire_count, |verdict| verdict == "allowed")), allowed);
    assert_eq!(not_tcp(captured.flows.clone()), allowed);
    assert_eq!(captured.sum(|id| forbidden().contains(&id.destination)), Count::default());
    let tcp = |map: &BTreeMap<FlowId, Count>| -> Vec<(FlowId, Count)> {
        map.iter().filter(|(id, _)| id.protocol == 6).map(|(id, count)| (*id, *count)).collect()
    };
    assert_eq!(tcp(&by_flow(&flows, wire_count, |verdict| verdict == "allowed")), tcp(&captured.flows));
    // Each SYN that was tried is counted as denied.
    assert_eq!(tcp(&by_flow(&flows, wire_count, |verdict| verdict == "denied")).len(), forbidden().len());
    assert!(captured.other.is_empty() && captured.malformed.is_empty(), "{captured:?}");
}

#[test]
fn a_rule_lets_one_address_and_port_through_and_not_its_neighbours() {
    let scene = Scene::build("enforce", "");
    let (mut allowed, mut denied) = (BTreeMap::new(), BTreeMap::new());
    for address in both(RULED) {
        let sink = UdpSink::bind(&scene.stage.far, at(address, RULED_PORT)).unwrap();
        let (id, count) = scene.udp(sink.address(), &[100; 50]);
        allowed.insert(id, count);
        assert_eq!(sink.stop().unwrap(), (50, 5_000));
        for port in [RULED_PORT - 1, RULED_PORT + 1] {
            denied.extend([scene.udp(at(address, port), &[100; 50])]);
        }
    }
    for number in [OUTSIDE, NEIGHBOUR] {
        for address in both(number) {
            denied.extend([scene.udp(at(address, RULED_PORT), &[100; 50])]);
        }
    }
    // A rule for UDP and TCP is none for SCTP, and none for ESP, which has no ports.
    let sctp = |to| eth() / ip(to) / ports(proto::SCTP, RULED_PORT) / payload(20);
    let portless = |to| eth() / ip(to) / esp();
    let [to4, to6] = both(RULED);
    let sent = scene.raw(&[sctp(to4), sctp(to6), portless(to4), portless(to6)]);
    assert_eq!(sent, Frames { sent: 0, refused: 4 });
    for (to, frame) in [(to4, sctp(to4)), (to6, sctp(to6))] {
        denied.insert(raw_flow(to, proto::SCTP, 40_000, RULED_PORT), one(&frame));
    }
    for (to, frame) in [(to4, portless(to4)), (to6, portless(to6))] {
        denied.insert(raw_flow(to, proto::ESP, 0, 0), one(&frame));
    }
    let (captured, flows) = scene.finish();
    assert_eq!(by_flow(&flows, wire_count, |verdict| verdict == "denied"), denied);
    let rule = |row: &&FlowRow| row.rule.as_deref() == Some("ruled");
    assert_eq!(flows.flows.iter().filter(rule).count(), allowed.len());
    assert_eq!(captured.flows, allowed);
}

/// A flow of raw frames.
fn raw_flow(destination: IpAddr, protocol: u8, source_port: u16, destination_port: u16) -> FlowId {
    let source = if destination.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" }.parse().unwrap();
    FlowId { source, destination, protocol, source_port, destination_port }
}

fn one(frame: &Stack) -> Count {
    Count { packets: 1, bytes: frame.bytes().len() as u64 }
}

fn size(frames: &[Stack]) -> Count {
    frames.iter().fold(Count::default(), |sum, frame| sum.plus(one(frame)))
}

/// A piece of a datagram of 72 bytes to `port` (UDP); `id`: of which datagram.
fn piece(to: IpAddr, id: u16, port: u16, from: usize, end: usize) -> Stack {
    let data: Layer = part(udp(port) / payload(64), from..end);
    match to {
        IpAddr::V4(_) => eth() / ip(to).fragment(id, from, end < 72) / data,
        IpAddr::V6(_) => eth() / ip(to) / fragment(id.into(), from, end < 72) / data,
    }
}

fn pieces(to: IpAddr, id: u16, port: u16) -> [Stack; 3] {
    [(0, 24), (24, 48), (48, 72)].map(|(from, end)| piece(to, id, port, from, end))
}

#[test]
fn fragments_fare_as_their_first_one() {
    let scene = Scene::build("enforce", "");
    let (mut allowed, mut denied) = (BTreeMap::new(), BTreeMap::new());
    let cases = [(RULED, RULED_PORT, true), (RULED, RULED_PORT + 1, false), (INSIDE, 53, true), (OUTSIDE, 53, false)];
    for (id, (number, port, passes)) in (1..).zip(cases) {
        for to in both(number) {
            let frames = pieces(to, id, port);
            let sent = if passes { Frames { sent: 3, refused: 0 } } else { Frames { sent: 0, refused: 3 } };
            assert_eq!(scene.raw(&frames), sent, "{to}:{port}");
            let flows = if passes { &mut allowed } else { &mut denied };
            flows.insert(raw_flow(to, proto::UDP, 40_000, port), size(&frames));
        }
    }
    assert_eq!((scene.reasons("dropped"), scene.reasons("passed")), (BTreeMap::new(), BTreeMap::new()));
    let (captured, flows) = scene.finish();
    assert_eq!(by_flow(&flows, wire_count, |verdict| verdict == "denied"), denied);
    let mut counted = by_flow(&flows, wire_count, |verdict| verdict == "allowed");
    counted.retain(|id, _| id.destination_port != 65_535);
    assert_eq!(counted, allowed);
    let ruled: Vec<_> = flows.flows.iter().filter(|row| row.rule.as_deref() == Some("ruled")).collect();
    assert_eq!(ruled.len(), 2);
    assert!(ruled.iter().all(|row| row.destination_port == RULED_PORT), "{ruled:?}");
    // etherparse gives no ports to fragments.
    let mut arrived: BTreeMap<FlowId, Count> = BTreeMap::new();
    for (id, count) in &allowed {
        let sum = arrived.entry(FlowId { source_port: 0, destination_port: 0, ..*id }).or_default();
        *sum = sum.plus(*count);
    }
    assert_eq!(captured.flows, arrived);
}

#[test]
fn a_fragment_without_its_first_passes_only_if_the_zone_says_so_and_never_to_the_outside() {
    let orphan = |to| piece(to, 9, RULED_PORT, 24, 72);
    let harmless = [both(INSIDE), both(UNPLACED)].concat();
    // The rule at RULED is for ports, of which there are none to see.
    let outside = [both(OUTSIDE), both(RULED), both(NEIGHBOUR)].concat();
    for (zone, passing, dropped) in [
        ("", vec![], [harmless.clone(), outside.clone()].concat()),
        ("undecodable.fragment_without_first = \"allow\"", harmless.clone(), outside.clone()),
        (
            "on_undecodable = \"allow\"\nundecodable.fragment_without_first = \"deny\"",
            vec![],
            [harmless, outside].concat(),
        ),
    ] {
        let scene = Scene::build("enforce", zone);
        let frames = |addresses: &[IpAddr]| addresses.iter().map(|to| orphan(*to)).collect::<Vec<Stack>>();
        let (passing, dropped) = (frames(&passing), frames(&dropped));
        assert_eq!(scene.raw(&passing), Frames { sent: passing.len() as u64, refused: 0 }, "{zone}");
        assert_eq!(scene.raw(&dropped), Frames { sent: 0, refused: dropped.len() as u64 }, "{zone}");
        let expected = |frames: &[Stack]| match frames {
            [] => BTreeMap::new(),
            _ => BTreeMap::from([("fragment_without_first".to_owned(), size(frames))]),
        };
        assert_eq!(scene.reasons("passed"), expected(&passing), "{zone}");
        assert_eq!(scene.reasons("dropped"), expected(&dropped), "{zone}");
        let (captured, flows) = scene.finish();
        assert_eq!(flows.flows.len(), 1, "{flows:?}");
        assert_eq!(captured.total, size(&passing).plus(Count { packets: 1, bytes: 42 }));
    }
}

#[test]
fn no_frame_of_whatever_form_gets_through() {
    let scene = Scene::build("enforce", "");
    let (out4, out6): (IpAddr, IpAddr) = (v4(OUTSIDE).into(), v6(OUTSIDE).into());
    let (in4, in6): (IpAddr, IpAddr) = (v4(INSIDE).into(), v6(INSIDE).into());
    let data = || udp(53) / payload(12);
    let plain = || ip(out4) / data();
    let tap = || eth() / ip(out6) / data();
    let flows_denied = [
        eth() / plain(),
        eth() / ip(out4).options(&[1; 40]) / data(),
        eth() / ip(out4) / esp(),
        eth() / ip(out4) / ah() / data(),
        eth().vlan(100) / plain(),
        eth().service_vlan(100).vlan(101) / plain(),
        eth().vlan(100).vlan(101).vlan(102) / ip(out6) / data(),
        snap([0; 3], 0) / plain(),
        eth() / ip(out6) / hop_by_hop() / destination_options() / data(),
        (0..8).fold(eth() / ip(out6), |stack, _| stack / destination_options()) / data(),
        piece(out4, 1, 53, 0, 24),
        piece(out4, 1, 53, 24, 72),
        piece(out6, 2, 53, 0, 24),
        piece(out6, 2, 53, 24, 72),
        // The outside behind the inside.
        eth() / ip(in6) / srh(1, &[in6, out6]) / data(),
        eth() / ip(in4).lsrr(4, &[out4]) / data(),
        eth() / ip(in4) / plain(),
        eth() / ip(in6) / plain(),
        eth() / ip(in4) / gre() / plain(),
        eth() / ip(in6) / gre() / tap(),
        eth() / ip(in4) / udp(4789) / vxlan(9) / tap(),
        eth() / ip(in4) / udp(6081) / geneve(&[]) / tap(),
        eth() / ip(in4) / udp(2152) / gtp(0, 255, &[]) / plain(),
        eth() / ip(in4) / udp(6635) / mpls(&[100]) / plain(),
        eth() / ip(in4) / etherip() / tap(),
        eth() / ip(in4) / gre() / ip(in6) / gre() / plain(),
    ];
    let undecodable = [
        (eth().vlan(1).vlan(2).vlan(3).vlan(4) / plain(), "vlan_depth"),
        ((0..9).fold(eth() / ip(out6), |stack, _| stack / destination_options()) / data(), "extension_depth"),
        ((eth() / plain()).cut(30), "truncated_ip"),
        ((eth() / plain()).cut(36), "length_beyond_frame"),
        (eth() / ip(out4) / part(udp(53), 0..3), "truncated_transport"),
        (eth() / ip(out6) / part(hop_by_hop(), 0..4), "truncated_extension"),
        (eth() / mpls(&[16]) / plain(), "mpls"),
        (eth().next(ether::IPV4) / ip(out6) / data(), "bad_ip_version"),
        (eth() / ip(out4).set(0, &[0x44]) / data(), "bad_ip_length"),
        (eth().tag(0x9100, 100) / plain(), "not_ip"),
        (eth() / ip(in4).options(&[7, 1]) / data(), "bad_options"),
        (eth() / ip(in6) / srh(2, &[in6]) / data(), "bad_routing"),
        (eth() / ip(in4) / part(gre(), 0..2), "truncated_tunnel"),
        (eth() / ip(in4) / gre().set(0, &[0x40]) / plain(), "bad_tunnel"),
        (eth() / ip(in4) / ip(in4) / ip(in4) / ip(in4) / ip(in4) / data(), "too_deep"),
        (piece(in4, 3, 53, 24, 72), "fragment_without_first"),
        (piece(out4, 1, 53, 24, 72), "fragment_without_first"),
        (eth() / ip(in6) / fragment(4, 0, true) / part(tcp(53), 0..0) / payload(0), "bad_ip_length"),
    ];
    let passing = [
        eth() / arp(ether::ARP, 2),
        eth() / arp(ether::ARP, 1),
        eth() / payload(28).ether(0x88cc),
        eth() / ip(in6) / data(),
    ];
    let denied = || flows_denied.iter().chain(undecodable.iter().map(|(frame, _)| frame));
    for (frame, left) in denied().zip(scene.each(denied())) {
        assert!(!left, "{frame:?}");
    }
    assert_eq!(scene.raw(&passing), Frames { sent: 4, refused: 0 });
    let mut expected: BTreeMap<String, Count> = BTreeMap::new();
    for (frame, reason) in &undecodable {
        let sum = expected.entry((*reason).to_owned()).or_default();
        *sum = sum.plus(one(frame));
    }
    assert_eq!(scene.reasons("dropped"), expected);
    let odd = ("link_control_odd".to_owned(), size(&passing[2..3]));
    assert_eq!(scene.reasons("passed"), BTreeMap::from([("link_control".to_owned(), size(&passing[..2])), odd]));
    let (captured, flows) = scene.finish();
    assert_eq!(egress_monitor_tests::stage::denied(&flows), size(&flows_denied));
    assert_eq!(captured.total, size(&passing).plus(Count { packets: 1, bytes: 42 }));
}

#[test]
fn what_the_zone_says_of_unknown_outside_and_undecodable_holds() {
    let scene = Scene::build("enforce", "on_unknown = \"deny\"\non_undecodable = \"allow\"\non_outside = \"allow\"");
    let cut = (eth() / ip(v4(OUTSIDE).into()) / udp(1) / payload(9)).cut(30);
    assert_eq!(scene.raw(std::slice::from_ref(&cut)), Frames { sent: 1, refused: 0 });
    let mut denied = BTreeMap::new();
    for address in both(UNPLACED) {
        denied.extend([scene.udp(at(address, 9), &[1, 2, 3])]);
    }
    let outside = BTreeMap::from(both(OUTSIDE).map(|address| scene.udp(at(address, 9), &[1, 2, 3])));
    let (captured, flows) = scene.finish();
    assert_eq!(by_flow(&flows, wire_count, |verdict| verdict == "denied"), denied);
    assert_eq!(captured.flows, outside);
    let malformed = captured.malformed.values().fold(Count::default(), |sum, count| sum.plus(*count));
    assert_eq!(malformed, Count { packets: 1, bytes: 30 });
}

#[test]
fn observe_drops_nothing() {
    let scene = Scene::build("observe", "");
    let (mut observed, sizes) = (BTreeMap::new(), [0, 1, 500, 1_400]);
    for address in forbidden() {
        observed.extend([scene.udp(at(address, 9), &sizes)]);
    }
    let cut = (eth() / ip(v4(OUTSIDE).into()) / udp(1) / payload(9)).cut(30);
    assert_eq!(scene.raw(std::slice::from_ref(&cut)), Frames { sent: 1, refused: 0 });
    let (captured, flows) = scene.finish();
    assert_eq!(captured.flows, observed);
    assert_eq!(by_flow(&flows, wire_count, |verdict| verdict == "observed"), observed);
    assert!(flows.flows.iter().all(|row| row.verdict != "denied"));
}

#[test]
fn enforce_on_the_command_line_overrules_the_file() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("mode = \"observe\"", ""), &["--enforce"]).unwrap();
    let before = stage.sent().unwrap();
    let to = at(v4(OUTSIDE), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &[10; 7])).unwrap();
    let flows = flows(&daemon).unwrap();
    assert_eq!(egress_monitor_tests::stage::denied(&flows).packets, 7);
    assert_eq!(stage.sent().unwrap(), before);
}
