//! Promise: enforce lets through only what it must. What the policy denies does not reach the peer with one byte,
//! in whatever frame; what it allows arrives whole; what is counted as denied is what was sent. Observe drops nothing.

#[allow(dead_code)]
#[path = "common/frames.rs"]
mod frames;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use egress_monitor_tests::{
    capture::{Capture, Captured, Direction, FlowId},
    daemon::Daemon,
    netns::Count,
    ping::{Pinged, echo_frame, ping},
    stage::{
        INSIDE, INTERFACE, NEIGHBOUR, OUTSIDE, PATIENCE, PRIVATE, RULED, RULED_PORT, Stage, accounted, both, by_flow,
        flows, unparsed, v4, v6, wire_count,
    },
    traffic::{Frames, TcpSink, Transfer, UdpSink, send_frames, send_tcp, send_udp, udp_frame},
};
use frames::{
    DESTINATION_OPTIONS, HOP_BY_HOP, IPV4, IPV6, ROUTING, SERVICE_VLAN, UDP, VLAN, ethernet, fragment, ipv4, ipv6,
    options, ports, tagged,
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

    /// Sends raw frames; gives how many left and how many were refused.
    fn raw(&self, frames: &[Vec<u8>]) -> Frames {
        self.stage.near.run(|| send_frames(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap()
    }

    fn udp(&self, to: SocketAddr, sizes: &[usize]) -> (FlowId, Count) {
        let from = self.stage.near.run(|| send_udp(self.stage.from(to), to, sizes)).unwrap();
        let bytes = sizes.iter().map(|size| udp_frame(to.ip(), *size)).sum();
        (egress_monitor_tests::capture::flow(from, to, 17), Count { packets: sizes.len() as u64, bytes })
    }

    /// A frame that passes, so that everything sent before it has arrived when it has; then the end.
    fn finish(self) -> (Captured, egress_monitor::api::flows::Flows) {
        let last = FlowId {
            source: "192.0.2.1".parse().unwrap(),
            destination: v4(INSIDE).into(),
            protocol: 17,
            source_port: 40_000,
            destination_port: 65_535,
        };
        self.raw(&[frames::udp_v4(v4(INSIDE).octets(), 65_535, 0)]);
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
    for address in both(INSIDE).into_iter().chain(both(PRIVATE)) {
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
    // A rule for UDP and TCP is none for SCTP, and a fragment without ports can't show that the rule covers it.
    let to = v4(RULED).octets();
    let udp = ports(40_000, RULED_PORT, 24);
    let sent = scene.raw(&[
        ethernet(IPV4, &ipv4(to, frames::SCTP, &[], 0, &udp)),
        ethernet(IPV4, &ipv4(to, UDP, &[], 0x2000, &udp)),
        ethernet(IPV4, &ipv4(to, UDP, &[], 0x0004, &[7; 16])),
        ethernet(IPV6, &ipv6(v6(RULED), &[fragment(0, true)], UDP, &udp)),
        ethernet(IPV6, &ipv6(v6(RULED), &[fragment(4, false)], UDP, &[7; 16])),
    ]);
    assert_eq!(sent, Frames { sent: 2, refused: 3 });
    let raw = |destination: IpAddr, protocol, ports: bool| FlowId {
        source: if destination.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" }.parse().unwrap(),
        destination,
        protocol,
        source_port: if ports { 40_000 } else { 0 },
        destination_port: if ports { RULED_PORT } else { 0 },
    };
    let one = |bytes| Count { packets: 1, bytes };
    denied.insert(raw(v4(RULED).into(), frames::SCTP, true), one(14 + 20 + 32));
    denied.insert(raw(v4(RULED).into(), UDP, false), one(14 + 20 + 16));
    denied.insert(raw(v6(RULED).into(), UDP, false), one(14 + 40 + 8 + 16));
    allowed.insert(raw(v4(RULED).into(), UDP, true), one(14 + 20 + 32));
    allowed.insert(raw(v6(RULED).into(), UDP, true), one(14 + 40 + 8 + 32));
    let (captured, flows) = scene.finish();
    assert_eq!(by_flow(&flows, wire_count, |verdict| verdict == "denied"), denied);
    let rule = |row: &&egress_monitor::api::flows::FlowRow| row.rule.as_deref() == Some("ruled");
    assert_eq!(flows.flows.iter().filter(rule).count(), allowed.len());
    // etherparse gives no ports to a first fragment.
    let arrived: Count = captured.flows.values().fold(Count::default(), |sum, count| sum.plus(*count));
    assert_eq!(arrived, allowed.values().fold(Count::default(), |sum, count| sum.plus(*count)));
    assert!(captured.flows.keys().all(|id| both(RULED).contains(&id.destination)), "{captured:?}");
}

#[test]
fn no_frame_of_whatever_form_gets_through() {
    let scene = Scene::build("enforce", "");
    let udp = ports(40_000, 53, 12);
    let plain4 = ipv4(v4(OUTSIDE).octets(), UDP, &[], 0, &udp);
    let to6 = |to: Ipv6Addr, extensions: &[(u8, Vec<u8>)]| ethernet(IPV6, &ipv6(to, extensions, UDP, &udp));
    let outside = v6(OUTSIDE);
    let flows_denied = [
        ethernet(IPV4, &plain4),
        ethernet(IPV4, &ipv4(v4(OUTSIDE).octets(), UDP, &[1; 40], 0, &udp)),
        ethernet(IPV4, &ipv4(v4(OUTSIDE).octets(), UDP, &[], 0x2000, &udp)),
        ethernet(IPV4, &ipv4(v4(OUTSIDE).octets(), UDP, &[], 0x0003, &[7; 9])),
        ethernet(IPV4, &ipv4(v4(OUTSIDE).octets(), 50, &[], 0, &[9; 20])),
        tagged(&[VLAN], IPV4, &plain4),
        tagged(&[SERVICE_VLAN, VLAN], IPV4, &plain4),
        tagged(&[VLAN; 3], IPV6, &ipv6(outside, &[], UDP, &udp)),
        to6(outside, &[options(HOP_BY_HOP, 0), options(DESTINATION_OPTIONS, 3)]),
        to6(outside, &[options(ROUTING, 2)]),
        to6(outside, &[fragment(0, true)]),
        to6(outside, &[fragment(9, false)]),
        to6(outside, &vec![options(DESTINATION_OPTIONS, 0); 8]),
    ];
    let undecodable = [
        tagged(&[VLAN; 4], IPV4, &plain4),
        to6(outside, &vec![options(DESTINATION_OPTIONS, 0); 9]),
        ethernet(IPV4, &plain4)[..30].to_vec(),
        ethernet(IPV4, &plain4)[..36].to_vec(),
        to6(outside, &[options(HOP_BY_HOP, 4)])[..60].to_vec(),
        ethernet(0x8847, &[0, 1, 1, 64, 0x45, 0]),
        ethernet(IPV4, &[0x65; 40]),
        ethernet(0x9100, &[&[0x20, 100, 0x08, 0x00], &plain4[..]].concat()),
    ];
    let passing = [
        ethernet(frames::ARP, &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1]),
        ethernet(0x88cc, &[2, 7, 4, 0, 0, 0, 0, 0]),
        to6(v6(INSIDE), &[]),
    ];
    let refused = |count: usize| Frames { sent: 0, refused: count as u64 };
    for frame in flows_denied.iter().chain(&undecodable) {
        assert_eq!(scene.raw(std::slice::from_ref(frame)), refused(1), "{frame:02x?}");
    }
    assert_eq!(scene.raw(&passing), Frames { sent: 3, refused: 0 });
    let size = |frames: &[Vec<u8>]| Count {
        packets: frames.len() as u64,
        bytes: frames.iter().map(|frame| frame.len() as u64).sum(),
    };
    let dropped = unparsed(&scene.daemon, "dropped").unwrap();
    // The status tells of closed epochs: ask again once one is.
    flows(&scene.daemon).unwrap();
    assert!(dropped.packets <= undecodable.len() as u64);
    assert_eq!(unparsed(&scene.daemon, "dropped").unwrap(), size(&undecodable));
    assert_eq!(unparsed(&scene.daemon, "passed").unwrap(), size(&passing[..2]));
    let (captured, flows) = scene.finish();
    assert_eq!(egress_monitor_tests::stage::denied(&flows), size(&flows_denied));
    assert_eq!(captured.total, size(&passing).plus(Count { packets: 1, bytes: 42 }));
}

#[test]
fn what_the_zone_says_of_private_outside_and_undecodable_holds() {
    let scene = Scene::build("enforce", "on_private = \"deny\"\non_undecodable = \"allow\"\non_outside = \"allow\"");
    let cut = frames::udp_v4(v4(OUTSIDE).octets(), 1, 9)[..30].to_vec();
    assert_eq!(scene.raw(std::slice::from_ref(&cut)), Frames { sent: 1, refused: 0 });
    let mut denied = BTreeMap::new();
    for address in both(PRIVATE) {
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
    let cut = frames::udp_v4(v4(OUTSIDE).octets(), 1, 9)[..30].to_vec();
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
