//! Promise: nothing is lost and nothing is counted twice. Under load from two CPUs, with epochs that end all the
//! time, the hook total is the sum of its parts, is what the interface sent, and is flow by flow what the peer
//! received.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use egress_monitor_tests::{
    capture::{Capture, Captured, Direction, FlowId},
    corpus::build::{
        Layer, Stack, ah, arp, control, destination_options, eth, eth_to, ether, fragment, geneve, gre, hop_by_hop,
        icmp, ip, mpls, part, payload, proto, raw, srh, tcp, udp, vxlan,
    },
    daemon::Daemon,
    netns::Count,
    ping::ping,
    stage::{
        INSIDE, INTERFACE, OUTSIDE, PATIENCE, Stage, UNPLACED, accounted, both, by_flow, count, flows, on_cpu, v4, v6,
        wire_count,
    },
    traffic::{Frames, TcpSink, Transfer, UdpSink, send_frames, send_tcp, send_udp},
};

const DATAGRAMS: usize = 3_000;
const TCP_BYTES: u64 = 6_000_000;
/// How often each raw frame is sent by each of the two senders.
const REPEATS: u64 = 30;

/// A raw frame and what the monitor has to make of it, said by hand and not by any parser.
struct Raw {
    frame: Vec<u8>,
    /// Flow or reason.
    is: Result<FlowId, &'static str>,
    /// The flow that etherparse at the peer takes it for, if any.
    seen: Option<FlowId>,
    /// Whether the first tag is taken out of the frame by the receiving kernel, before AF_PACKET sees it.
    tag: bool,
}

impl Raw {
    fn flow(frame: impl Into<Stack>, id: FlowId) -> Self {
        Self { frame: frame.into().bytes(), is: Ok(id), seen: Some(id), tag: false }
    }

    fn refused(frame: impl Into<Stack>, reason: &'static str) -> Self {
        Self { frame: frame.into().bytes(), is: Err(reason), seen: None, tag: false }
    }

    fn tagged(self) -> Self {
        Self { tag: true, ..self }
    }

    fn seen(self, id: FlowId) -> Self {
        Self { seen: Some(id), ..self }
    }
}

fn flow_v4(protocol: u8, source_port: u16, destination_port: u16) -> FlowId {
    let source = "192.0.2.1".parse().unwrap();
    FlowId { source, destination: v4(OUTSIDE).into(), protocol, source_port, destination_port }
}

fn flow_v6(protocol: u8, source_port: u16, destination_port: u16) -> FlowId {
    let source = "2001:db8::1".parse().unwrap();
    FlowId { source, destination: v6(OUTSIDE).into(), protocol, source_port, destination_port }
}

/// What one sender sends again and again, in this order. Fragments have identifications of the sender's own: should
/// both run on one CPU, they do not get in each other's way.
fn raw_frames(sender: u16) -> Vec<Raw> {
    let mut frames = whole_frames();
    frames.extend(fragments(sender));
    frames.extend(unreadable());
    frames
}

fn whole_frames() -> Vec<Raw> {
    let (to4, to6): (IpAddr, IpAddr) = (v4(OUTSIDE).into(), v6(OUTSIDE).into());
    let (in4, in6): (IpAddr, IpAddr) = (v4(INSIDE).into(), v6(INSIDE).into());
    let datagram = |port| udp(port) / payload(20);
    let udp4 = |port| flow_v4(proto::UDP, 40_000, port);
    let udp6 = |port| flow_v6(proto::UDP, 40_000, port);
    vec![
        Raw::flow(eth() / ip(to4) / datagram(1), udp4(1)),
        Raw::flow(eth() / ip(to4).options(&[1; 40]) / datagram(2), udp4(2)),
        Raw::flow(eth() / ip(to4) / tcp(3) / payload(9), flow_v4(proto::TCP, 40_000, 3)),
        Raw::flow(eth() / ip(to4) / icmp(8, 0), flow_v4(proto::ICMP, 0, 0x0800)),
        Raw::flow(eth().vlan(100) / ip(to4) / datagram(5), udp4(5)).tagged(),
        Raw::flow(eth().service_vlan(100).vlan(101) / ip(to4) / datagram(6), udp4(6)).tagged(),
        Raw::flow(eth().vlan(100).vlan(101) / ip(to6) / datagram(7), udp6(7)).tagged(),
        Raw::flow(eth() / ip(to6) / datagram(8), udp6(8)),
        Raw::flow(eth() / ip(to6) / hop_by_hop() / destination_options() / datagram(9), udp6(9)),
        Raw::flow(eth() / ip(to6) / srh(0, &[to6]) / ah() / datagram(10), udp6(10)),
        // Packets with a further destination are counted in flows of the outermost header, once.
        Raw::flow(eth() / ip(to6) / srh(1, &[to6, in6]) / datagram(11), udp6(11)),
        Raw::flow(eth() / ip(to4).lsrr(4, &[in4]) / datagram(12), udp4(12)),
        Raw::flow(eth() / ip(to4) / ip(in4) / datagram(1), flow_v4(proto::IPIP, 0, 0)),
        Raw::flow(eth() / ip(to6) / gre() / ip(in6) / datagram(1), flow_v6(proto::GRE, 0, 0)),
        Raw::flow(eth() / ip(to6) / gre() / ip(to4) / datagram(1), flow_v6(proto::GRE, 0, 0)),
        Raw::flow(eth() / ip(to4) / udp(4789) / vxlan(9) / eth() / ip(in6) / datagram(1), udp4(4789)),
        Raw::flow(eth() / ip(to6) / udp(6081) / geneve(&[]) / ip(in4) / datagram(1), udp6(6081)),
    ]
}

/// Two datagrams in pieces, which are in the flow of their first ones, and pieces that belong to none. etherparse gives
/// no ports to any.
fn fragments(sender: u16) -> Vec<Raw> {
    let (to4, to6): (IpAddr, IpAddr) = (v4(OUTSIDE).into(), v6(OUTSIDE).into());
    let data = |port| udp(port) / payload(64);
    let id = 2 * sender;
    let four = |id: u16, from: usize, to: usize| eth() / ip(to4).fragment(id, from, to < 72) / part(data(13), from..to);
    let six = |id: u16, from: usize, to: usize| {
        let inner: Layer = part(data(14), from..to);
        eth() / ip(to6) / destination_options() / fragment(id.into(), from, to < 72) / inner
    };
    let (seen4, seen6) = (flow_v4(proto::UDP, 0, 0), flow_v6(proto::UDP, 0, 0));
    let in4 = |frame| Raw::flow(frame, flow_v4(proto::UDP, 40_000, 13)).seen(seen4);
    let in6 = |frame| Raw::flow(frame, flow_v6(proto::UDP, 40_000, 14)).seen(seen6);
    vec![
        in4(four(id, 0, 32)),
        in6(six(id, 0, 24)),
        in4(four(id, 32, 64)),
        Raw::refused(four(id, 40, 72), "fragment_overlap").seen(seen4),
        Raw::refused(six(id, 0, 24), "fragment_overlap").seen(seen6),
        Raw::refused(four(id + 1, 32, 64), "fragment_without_first").seen(seen4),
        Raw::refused(six(id + 1, 24, 72), "fragment_without_first").seen(seen6),
        in4(four(id, 64, 72)),
        in6(six(id, 24, 72)),
        // Over: the next first one begins anew.
        Raw::refused(four(id, 64, 72), "fragment_without_first").seen(seen4),
    ]
}

fn unreadable() -> Vec<Raw> {
    let (to4, to6): (IpAddr, IpAddr) = (v4(OUTSIDE).into(), v6(OUTSIDE).into());
    let whole = || eth() / ip(to4) / udp(1) / payload(20);
    let other = |number: u16| eth() / payload(28).ether(number);
    let nine = (0..9).fold(eth() / ip(to6), |stack, _| stack / destination_options());
    vec![
        Raw::refused(eth() / arp(ether::ARP, 1), "link_control"),
        Raw::refused(eth_to([1, 0x80, 0xc2, 0, 0, 0x0e]) / control(0x88cc, &[2, 7, 4], 28), "link_control"),
        Raw::refused(other(0x88cc), "link_control_odd"),
        Raw::refused(other(ether::EXPERIMENT), "not_ip"),
        Raw::refused(eth() / mpls(&[16]) / ip(to4) / udp(1), "mpls"),
        // BPF_PROG_TEST_RUN refuses these, so only a wire shows it.
        Raw::refused(whole().cut(14), "truncated_ip"),
        Raw::refused(whole().cut(33), "truncated_ip"),
        Raw::refused((eth() / ip(to6) / udp(1)).cut(53), "truncated_ip"),
        Raw::refused(whole().cut(36), "length_beyond_frame"),
        Raw::refused((eth() / ip(to6) / hop_by_hop() / udp(1)).cut(56), "length_beyond_frame"),
        Raw::refused(eth() / ip(to4) / part(udp(1), 0..3), "truncated_transport"),
        Raw::refused(eth() / ip(to6) / part(hop_by_hop(), 0..4), "truncated_extension"),
        Raw::refused(eth().next(ether::IPV4) / ip(to6) / udp(1), "bad_ip_version"),
        Raw::refused(eth() / ip(to4).set(0, &[0x44]) / udp(1), "bad_ip_length"),
        Raw::refused(eth().vlan(1).vlan(2).vlan(3).vlan(4).vlan(5) / ip(to4) / udp(1), "vlan_depth").tagged(),
        Raw::refused((eth().vlan(1).vlan(2) / ip(to4) / udp(1)).cut(20), "truncated_link").tagged(),
        // etherparse follows a chain of any length, and looks into no option, routing header or tunnel.
        Raw::refused(nine / udp(99), "extension_depth").seen(flow_v6(proto::UDP, 40_000, 99)),
        Raw::refused(eth() / ip(to4).options(&[7, 1]) / udp(98), "bad_options").seen(flow_v4(proto::UDP, 40_000, 98)),
        Raw::refused(eth() / ip(to6) / srh(2, &[to6]) / udp(97), "bad_routing").seen(flow_v6(proto::UDP, 40_000, 97)),
        Raw::refused(eth() / ip(to4) / raw(&[0, 0]).protocol(proto::GRE), "truncated_tunnel").seen(flow_v4(
            proto::GRE,
            0,
            0,
        )),
        Raw::refused(eth() / ip(to6) / gre().set(0, &[0x40]) / ip(to4) / udp(1), "bad_tunnel").seen(flow_v6(
            proto::GRE,
            0,
            0,
        )),
    ]
}

/// One sender's work: every kind of traffic. Both senders send the same raw frames but for their
/// identifications, so that they meet in the same flows.
fn send(round: u16, targets: &[(SocketAddr, SocketAddr)], sinks: &[SocketAddr], frames: &[Raw]) {
    let sizes: Vec<usize> = (0..DATAGRAMS).map(|number| number * 7 % 1_400).collect();
    for (from, to) in targets {
        let from = SocketAddr::new(from.ip(), 20_000 + round);
        send_udp(from, *to, &sizes).unwrap();
    }
    for _ in 0..REPEATS {
        let sent = send_frames(INTERFACE, frames.iter().map(|raw| raw.frame.as_slice())).unwrap();
        assert_eq!(sent, Frames { sent: frames.len() as u64, refused: 0 });
    }
    for to in sinks {
        let from = targets.iter().find(|(_, other)| other.is_ipv4() == to.is_ipv4()).unwrap().0;
        let done = send_tcp(SocketAddr::new(from.ip(), 0), *to, TCP_BYTES, PATIENCE).unwrap();
        assert!(matches!(done, Transfer::Complete(_)), "{done:?}");
        let pinged = ping(from.ip(), to.ip(), 10, 80 + usize::from(round), PATIENCE).unwrap();
        assert_eq!(pinged.replies, 10);
    }
}

fn nothing_is_lost(arguments: &[&str], hook: &str, offloads: bool) {
    let stage = Stage::build(offloads).unwrap();
    let before = stage.sent().unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), arguments).unwrap();
    assert_eq!(daemon.json(&["status"]).unwrap()["interfaces"][0]["hook"], hook);
    // The wire is silent: what was sent while the monitor started would be missing below, and nothing was.
    assert_eq!(stage.sent().unwrap(), before);
    let received_before = stage.received().unwrap();
    let capture = Capture::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();

    let mut udp_sinks = Vec::new();
    let mut targets = Vec::new();
    for number in [INSIDE, OUTSIDE, UNPLACED] {
        for address in both(number) {
            let sink = UdpSink::bind(&stage.far, SocketAddr::new(address, 5_000)).unwrap();
            targets.push((stage.from(sink.address()), sink.address()));
            udp_sinks.push(sink);
        }
    }
    let tcp_sinks: Vec<TcpSink> =
        both(OUTSIDE).map(|address| TcpSink::listen(&stage.far, SocketAddr::new(address, 443)).unwrap()).into();
    let tcp_targets: Vec<SocketAddr> = tcp_sinks.iter().map(TcpSink::address).collect();
    let frames = [0, 1].map(|sender| Arc::new(raw_frames(sender)));
    let senders: Vec<_> = (0..2)
        .map(|cpu| {
            let (targets, sinks, frames) = (targets.clone(), tcp_targets.clone(), Arc::clone(&frames[cpu]));
            on_cpu(&stage.near, cpu, move || send(cpu as u16, &targets, &sinks, &frames)).unwrap()
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    for sink in udp_sinks {
        assert_eq!(sink.stop().unwrap().0, 2 * DATAGRAMS as u64);
    }
    for sink in tcp_sinks {
        assert_eq!(sink.stop().unwrap(), [TCP_BYTES; 2]);
    }

    let (flows, captured) = stage.when_quiet(&daemon, &capture, before).unwrap();
    assert_eq!(accounted(&flows), flows.hook);
    assert_eq!((flows.overflow.packets, flows.evicted.flows), (0, 0));
    let sent = stage.sent().unwrap().since(before);
    assert_eq!(stage.as_sent(&flows.hook), sent);
    assert_eq!(stage.received().unwrap().since(received_before), sent);
    if offloads {
        assert!(flows.hook.segments > flows.hook.packets, "no super-packet was sent: {:?}", flows.hook);
        assert!(flows.hook.wire_bytes > flows.hook.bytes);
    }
    let size = if offloads { count } else { wire_count };
    let status = daemon.json(&["status"]).unwrap();
    assert!(status["epoch"]["count"].as_u64().unwrap() >= 5, "too few epochs to prove anything: {status:#}");
    assert_eq!(status["interfaces"][0]["residual"]["packets"], 0);
    as_the_peer_saw_it(&by_flow(&flows, size, |_| true), &captured, &frames[0]);
    assert_eq!(unparsed(&status), expected_unparsed(&frames[0]));
    let capture = capture.stop().unwrap();
    assert_eq!(capture.total, captured.total);
    let ended = daemon.stop().unwrap();
    assert_eq!(ended.status.code(), Some(0));
}

/// What both senders sent of the raw frames, by the flow that `id` gives.
fn sum(frames: &[Raw], id: fn(&Raw) -> Option<FlowId>, length: fn(&Raw) -> usize) -> BTreeMap<FlowId, Count> {
    let mut sums: BTreeMap<FlowId, Count> = BTreeMap::new();
    for raw in frames {
        if let Some(id) = id(raw) {
            let sum = sums.entry(id).or_default();
            *sum = sum.plus(Count { packets: 2 * REPEATS, bytes: 2 * REPEATS * length(raw) as u64 });
        }
    }
    sums
}

/// Flow by flow. Raw frames are compared with what was sent, said by hand, on both sides; all other flows with
/// etherparse at the peer.
fn as_the_peer_saw_it(flows: &BTreeMap<FlowId, Count>, captured: &Captured, frames: &[Raw]) {
    let ours_expected = sum(frames, |raw| raw.is.ok(), |raw| raw.frame.len());
    let seen_expected = sum(frames, |raw| raw.seen, |raw| raw.frame.len() - if raw.tag { 4 } else { 0 });
    let split = |flows: &BTreeMap<FlowId, Count>, by: &BTreeMap<FlowId, Count>| -> [BTreeMap<FlowId, Count>; 2] {
        let (raw, others) = flows.iter().map(|(id, count)| (*id, *count)).partition(|(id, _)| by.contains_key(id));
        [raw, others]
    };
    let [ours_raw, ours] = split(flows, &ours_expected);
    let [seen_raw, seen] = split(&captured.flows, &seen_expected);
    assert_eq!(ours_raw, ours_expected);
    assert_eq!(seen_raw, seen_expected);
    assert_eq!(ours, seen);
}

/// Packets and bytes by reason.
type Reasons = BTreeMap<String, (u64, u64)>;

fn unparsed(status: &serde_json::Value) -> Reasons {
    let rows = status["unparsed"].as_array().unwrap().iter();
    rows.map(|row| {
        let number = |what: &str, key: &str| row[what][key].as_u64().unwrap();
        assert_eq!(number("dropped", "packets"), 0);
        (row["reason"].as_str().unwrap().to_owned(), (number("passed", "packets"), number("passed", "bytes")))
    })
    .collect()
}

fn expected_unparsed(frames: &[Raw]) -> Reasons {
    let mut reasons = Reasons::new();
    for (raw, reason) in frames.iter().filter_map(|raw| Some((raw, raw.is.err()?))) {
        let sum = reasons.entry(reason.to_owned()).or_default();
        sum.0 += 2 * REPEATS;
        sum.1 += 2 * REPEATS * raw.frame.len() as u64;
    }
    reasons
}

#[test]
fn nothing_is_lost_by_tcx_with_super_packets() {
    nothing_is_lost(&["--hook", "tcx"], "tcx", true);
}

#[test]
fn nothing_is_lost_by_tcx_and_the_wire_has_as_many_bytes_as_counted() {
    nothing_is_lost(&["--hook", "tcx"], "tcx", false);
}

#[test]
fn nothing_is_lost_by_clsact() {
    nothing_is_lost(&["--hook", "clsact"], "clsact", false);
}

#[test]
fn the_last_packets_before_the_end_are_in_the_totals() {
    let stage = Stage::build(false).unwrap();
    let before = stage.sent().unwrap();
    // An epoch longer than the test: the closing drain alone has them.
    let mut daemon = Daemon::start(&stage.near, &stage.config("epoch = \"5min\"", ""), &["--json"]).unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &[100; 1_000])).unwrap();
    let sent = stage.sent().unwrap().since(before);
    daemon.signal(libc::SIGINT).unwrap();
    let ended = daemon.wait().unwrap();
    let line = ended.log.iter().rev().find(|line| line.starts_with("{\"version\"")).expect("the closing totals");
    let status: serde_json::Value = serde_json::from_str(line).unwrap();
    let total = &status["interfaces"][0]["total"];
    assert_eq!(sent, Count { packets: 1_000, bytes: 142_000 });
    assert_eq!((total["packets"].as_u64(), total["bytes"].as_u64()), (Some(1_000), Some(142_000)));
}

#[test]
fn flows_asked_for_again_and_again_never_differ_from_what_was_sent() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let mut packets = 0;
    for batch in 1..=20_u64 {
        stage.near.run(|| send_udp(stage.from(to), to, &vec![10; batch as usize * 10])).unwrap();
        packets += batch * 10;
        let flows = flows(&daemon).unwrap();
        assert_eq!((flows.hook.packets, accounted(&flows).packets), (packets, packets));
        assert_eq!(flows.flows.len() as u64, batch);
    }
}
