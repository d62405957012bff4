//! Promise: nothing is lost and nothing is counted twice. Under load from two CPUs, with epochs that end all the
//! time, the hook total is the sum of its parts, is what the interface sent, and is flow by flow what the peer
//! received.

#[allow(dead_code)]
#[path = "common/frames.rs"]
mod frames;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use egress_monitor_tests::{
    capture::{Capture, Captured, Direction, FlowId},
    daemon::Daemon,
    netns::Count,
    ping::ping,
    stage::{
        INSIDE, INTERFACE, OUTSIDE, PATIENCE, PRIVATE, Stage, accounted, both, by_flow, count, flows, on_cpu, v4, v6,
        wire_count,
    },
    traffic::{Frames, TcpSink, Transfer, UdpSink, send_frames, send_tcp, send_udp},
};
use frames::{
    AUTHENTICATION, DESTINATION_OPTIONS, HOP_BY_HOP, ICMP, IPV4, IPV6, ROUTING, SERVICE_VLAN, TCP, UDP, VLAN, ethernet,
    fragment, ipv4, ipv6, options, ports, tagged, tcp,
};

const DATAGRAMS: usize = 3_000;
const TCP_BYTES: u64 = 6_000_000;
/// How often each raw frame is sent by each of the two senders.
const REPEATS: u64 = 30;

/// A raw frame and what the monitor has to make of it, said by hand and not by any parser.
struct Raw {
    frame: Vec<u8>,
    /// Flow and whether it is a later fragment; or a reason.
    is: Result<(FlowId, bool), &'static str>,
    /// The flow that etherparse at the peer takes it for, if any.
    seen: Option<FlowId>,
    /// Whether the first tag is taken out of the frame by the receiving kernel, before AF_PACKET sees it.
    tag: bool,
}

fn flow_v4(protocol: u8, source_port: u16, destination_port: u16) -> FlowId {
    let source = "192.0.2.1".parse().unwrap();
    FlowId { source, destination: v4(OUTSIDE).into(), protocol, source_port, destination_port }
}

fn flow_v6(protocol: u8, source_port: u16, destination_port: u16) -> FlowId {
    let source = "2001:db8::1".parse().unwrap();
    FlowId { source, destination: v6(OUTSIDE).into(), protocol, source_port, destination_port }
}

fn raw_frames() -> Vec<Raw> {
    let to4 = v4(OUTSIDE).octets();
    let udp = |port| ports(40_000, port, 20);
    let v4_udp = |port| ipv4(to4, UDP, &[], 0, &udp(port));
    let v6_with = |extensions: &[(u8, Vec<u8>)], port| ethernet(IPV6, &ipv6(v6(OUTSIDE), extensions, UDP, &udp(port)));
    let flow = |frame: Vec<u8>, id: FlowId| Raw { frame, is: Ok((id, false)), seen: Some(id), tag: false };
    let later = |frame: Vec<u8>, id: FlowId| Raw { frame, is: Ok((id, true)), seen: Some(id), tag: false };
    let refused = |frame: Vec<u8>, reason| Raw { frame, is: Err(reason), seen: None, tag: false };
    let with_tag = |raw: Raw| Raw { tag: true, ..raw };
    let cut = |frame: Vec<u8>, length: usize| frame[..length].to_vec();
    let whole = ethernet(IPV4, &v4_udp(1));
    let authentication = frames::authentication(4);
    assert_eq!(authentication.0, AUTHENTICATION);
    vec![
        flow(whole.clone(), flow_v4(UDP, 40_000, 1)),
        flow(ethernet(IPV4, &ipv4(to4, UDP, &[1; 40], 0, &udp(2))), flow_v4(UDP, 40_000, 2)),
        flow(ethernet(IPV4, &ipv4(to4, TCP, &[], 0, &tcp(40_000, 3, 9))), flow_v4(TCP, 40_000, 3)),
        flow(ethernet(IPV4, &ipv4(to4, ICMP, &[], 0, &[8, 0, 0, 0, 0, 1, 0, 1])), flow_v4(ICMP, 0, 0x0800)),
        // First, middle and last fragment. etherparse gives no ports to the first either.
        Raw {
            seen: Some(flow_v4(UDP, 0, 0)),
            ..flow(ethernet(IPV4, &ipv4(to4, UDP, &[], 0x2000, &ports(40_000, 4, 24))), flow_v4(UDP, 40_000, 4))
        },
        later(ethernet(IPV4, &ipv4(to4, UDP, &[], 0x2004, &[7; 32])), flow_v4(UDP, 0, 0)),
        later(ethernet(IPV4, &ipv4(to4, UDP, &[], 0x0008, &[7; 5])), flow_v4(UDP, 0, 0)),
        with_tag(flow(tagged(&[VLAN], IPV4, &v4_udp(5)), flow_v4(UDP, 40_000, 5))),
        with_tag(flow(tagged(&[SERVICE_VLAN, VLAN], IPV4, &v4_udp(6)), flow_v4(UDP, 40_000, 6))),
        with_tag(flow(tagged(&[VLAN, VLAN], IPV6, &ipv6(v6(OUTSIDE), &[], UDP, &udp(7))), flow_v6(UDP, 40_000, 7))),
        flow(v6_with(&[], 8), flow_v6(UDP, 40_000, 8)),
        flow(v6_with(&[options(HOP_BY_HOP, 1), options(DESTINATION_OPTIONS, 2)], 9), flow_v6(UDP, 40_000, 9)),
        flow(v6_with(&[options(ROUTING, 2), authentication], 10), flow_v6(UDP, 40_000, 10)),
        later(
            ethernet(IPV6, &ipv6(v6(OUTSIDE), &[options(DESTINATION_OPTIONS, 0), fragment(4, true)], UDP, &[7; 64])),
            flow_v6(UDP, 0, 0),
        ),
        refused(ethernet(frames::ARP, &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1]), "link_control"),
        refused(ethernet(0x88cc, &[2, 7, 4, 0, 0, 0, 0, 0]), "link_control"),
        refused(ethernet(0x8847, &[0, 1, 1, 64, 0x45, 0]), "not_ip"),
        // BPF_PROG_TEST_RUN refuses these, so only a wire tells.
        refused(cut(whole.clone(), 14), "truncated_ip"),
        refused(cut(whole.clone(), 33), "truncated_ip"),
        refused(cut(whole.clone(), 36), "truncated_transport"),
        refused(cut(v6_with(&[], 1), 53), "truncated_ip"),
        refused(cut(v6_with(&[options(HOP_BY_HOP, 1)], 1), 56), "truncated_extension"),
        refused(ethernet(IPV4, &[0x65; 40]), "bad_ip_version"),
        refused(ethernet(IPV4, &[0x44; 40]), "bad_ip_length"),
        with_tag(refused(tagged(&[VLAN; 5], IPV4, &v4_udp(1)), "vlan_depth")),
        with_tag(refused(cut(tagged(&[VLAN, VLAN], IPV4, &v4_udp(1)), 20), "truncated_link")),
        // etherparse follows a chain of any length.
        Raw {
            seen: Some(flow_v6(UDP, 40_000, 99)),
            ..refused(v6_with(&vec![options(DESTINATION_OPTIONS, 0); 9], 99), "extension_depth")
        },
    ]
}

/// One sender's work: every kind of traffic. Both senders send the same raw frames, so that they meet in the same
/// flows.
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
    for number in [INSIDE, OUTSIDE, PRIVATE] {
        for address in both(number) {
            let sink = UdpSink::bind(&stage.far, SocketAddr::new(address, 5_000)).unwrap();
            targets.push((stage.from(sink.address()), sink.address()));
            udp_sinks.push(sink);
        }
    }
    let tcp_sinks: Vec<TcpSink> =
        both(OUTSIDE).map(|address| TcpSink::listen(&stage.far, SocketAddr::new(address, 443)).unwrap()).into();
    let tcp_targets: Vec<SocketAddr> = tcp_sinks.iter().map(TcpSink::address).collect();
    let frames = Arc::new(raw_frames());
    let senders: Vec<_> = (0..2)
        .map(|cpu| {
            let (targets, sinks, frames) = (targets.clone(), tcp_targets.clone(), Arc::clone(&frames));
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

    let (flows, captured) = stage.settle(&daemon, &capture, before).unwrap();
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
    as_the_peer_saw_it(&by_flow(&flows, size, |_| true), &captured, &frames);
    // Nothing but the raw frames was in fragments.
    let mut fragments = flows.clone();
    fragments.flows.retain(|row| row.later_fragment);
    let fragment = |raw: &Raw| raw.is.ok().and_then(|(id, later)| later.then_some(id));
    assert_eq!(by_flow(&fragments, size, |_| true), sum(&frames, fragment, |raw| raw.frame.len()));
    assert_eq!(unparsed(&status), expected_unparsed(&frames));
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
    let ours_expected = sum(frames, |raw| Some(raw.is.ok()?.0), |raw| raw.frame.len());
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
