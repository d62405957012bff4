//! Promise: a VLAN tag beside the frame ("offloaded": `vlan_tci` of the skb, which device or kernel put into the frame
//! below the hook) changes nothing in what is counted and decided. The flow behind it is found, also behind more tags
//! in the frame; bytes are what the hook sees, without the tag; and in enforce nothing for the outside gets through.

use std::{collections::BTreeMap, net::SocketAddr};

use aya::programs::{SchedClassifier, TcAttachType};
use egress_monitor_tests::{
    capture::{Capture, Direction, FlowId, Identity, flow, identify},
    corpus::build::{Layer, Stack, eth, ip, payload, udp},
    daemon::Daemon,
    netns::Count,
    offload,
    stage::{
        INSIDE, INTERFACE, OUTSIDE, PATIENCE, Stage, accounted, both, by_flow, count, flows, unparsed, v4, wire_count,
    },
    tag::{NAME, Receiver, Seen, Tag, Tagger},
    traffic::{TcpSink, Transfer, send_each, send_tcp, send_udp, udp_frame},
};

const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

/// Payloads of datagrams.
const SIZES: [usize; 4] = [0, 1, 500, 1_400];

/// Names of the programs at the way out, in their order.
fn programs(stage: &Stage) -> Vec<String> {
    let (_, programs) = stage.near.run(|| SchedClassifier::query_tcx(INTERFACE, TcAttachType::Egress)).unwrap();
    programs.iter().map(|program| program.name_as_str().unwrap().to_owned()).collect()
}

fn tagger(stage: &Stage, tag: Tag) -> Tagger {
    let alone = programs(stage);
    assert_eq!(alone.len(), 1, "{alone:?}");
    let tagger = Tagger::attach(&stage.near, INTERFACE, tag).unwrap();
    assert_eq!(programs(stage), [&[NAME.to_owned()], &alone[..]].concat());
    tagger
}

/// Sends frames; gives for each whether it left.
fn send(stage: &Stage, frames: &[Vec<u8>]) -> Vec<bool> {
    stage.near.run(|| send_each(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap()
}

/// Link headers with up to as many tags as the monitor follows, which is three.
fn links() -> [Layer; 4] {
    [eth(), eth().vlan(7), eth().service_vlan(100).vlan(7), eth().vlan(1).service_vlan(2).vlan(3)]
}

/// What is sent raw: a frame, its flow (none: it has too many tags) and whether it is for the inside.
fn raw() -> Vec<(Stack, Option<FlowId>, bool)> {
    let mut frames = Vec::new();
    for (number, inside) in [(INSIDE, true), (OUTSIDE, false)] {
        for to in both(number) {
            let source = if to.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" }.parse().unwrap();
            for (port, link) in (1_000..).zip(links()) {
                let id = flow(SocketAddr::new(source, 40_000), SocketAddr::new(to, port), 17);
                frames.push((link / ip(to) / udp(port) / payload(20), Some(id), inside));
            }
            // What has one tag more in the frame has not, because one is beside it, become something else.
            frames.push((eth().vlan(1).vlan(2).vlan(3).vlan(4) / ip(to) / udp(2_000) / payload(20), None, inside));
        }
    }
    frames
}

/// Sends to the inside and the outside with `tag` (none: the same without it); `taken`: whether the device takes tags
/// beside frames.
fn passes_and_counts(mode: &str, tag: Option<Tag>, taken: bool) {
    let case = format!("{mode}, {tag:?}, taken: {taken}");
    let stage = Stage::build(false).unwrap();
    offload::take_tags(&stage.near, INTERFACE, taken).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config(&format!("mode = \"{mode}\""), ""), &[]).unwrap();
    let tagger = tag.map(|tag| tagger(&stage, tag));
    let near = Receiver::start(&stage.near, INTERFACE, Direction::Outgoing).unwrap();
    let far = Receiver::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();
    let before = stage.sent().unwrap();
    let enforce = mode == "enforce";

    // What is to be: the hook's flows by verdict, packets without a flow, and what the peer gets.
    let outside = if enforce { "denied" } else { "observed" };
    let mut expected: BTreeMap<&str, BTreeMap<FlowId, Count>> = BTreeMap::new();
    let (mut lost, mut hook) = (Count::default(), Count::default());
    let all: Vec<Vec<u8>> = raw().iter().map(|(frame, ..)| frame.bytes()).collect();
    let left = send(&stage, &all);
    let mut frames = Vec::new();
    for (((_, id, inside), bytes), left) in raw().into_iter().zip(all).zip(left) {
        let one = Count { packets: 1, bytes: bytes.len() as u64 };
        hook = hook.plus(one);
        let passes = if let Some(id) = id {
            expected.entry(if inside { "allowed" } else { outside }).or_default().insert(id, one);
            inside || !enforce
        } else {
            lost = lost.plus(one);
            !enforce
        };
        assert_eq!(left, passes, "{case}: {id:?}");
        if passes {
            frames.push(bytes);
        }
    }
    let mut datagrams = BTreeMap::new();
    for (number, inside) in [(INSIDE, true), (OUTSIDE, false)] {
        for to in both(number).map(|to| SocketAddr::new(to, 5_000)) {
            let from = stage.near.run(|| send_udp(stage.from(to), to, &SIZES)).unwrap();
            let bytes = SIZES.iter().map(|size| udp_frame(to.ip(), *size)).sum();
            let all = Count { packets: SIZES.len() as u64, bytes };
            hook = hook.plus(all);
            expected.entry(if inside { "allowed" } else { outside }).or_default().insert(flow(from, to, 17), all);
            if inside || !enforce {
                datagrams.insert(flow(from, to, 17), all);
            }
        }
    }
    // Asked before the frame that ends the reception, so that it is in no count.
    let flows = flows(&daemon).unwrap();
    assert_eq!((count(&flows.hook), wire_count(&flows.hook)), (hook, hook), "{case}");
    assert_eq!(accounted(&flows), flows.hook, "{case}");
    assert_eq!((count(&flows.unparsed), wire_count(&flows.unparsed)), (lost, lost), "{case}");
    for size in [count, wire_count] {
        let mut counted: BTreeMap<&str, BTreeMap<FlowId, Count>> = BTreeMap::new();
        for verdict in ["allowed", "observed", "denied"] {
            let by_flow = by_flow(&flows, size, |given| given == verdict);
            if !by_flow.is_empty() {
                counted.insert(verdict, by_flow);
            }
        }
        assert_eq!(counted, expected, "{case}");
    }
    let [passed, dropped] = ["passed", "dropped"].map(|what| unparsed(&daemon, what).unwrap());
    let none = Count::default();
    assert_eq!((passed, dropped), if enforce { (none, lost) } else { (lost, none) }, "{case}");
    let sent = stage.sent().unwrap().since(before);

    let last = (eth() / ip(v4(INSIDE).into()) / udp(65_535)).bytes();
    assert_eq!(send(&stage, std::slice::from_ref(&last)), [true]);
    let near = near.until(&last[14..], PATIENCE).unwrap();
    let far = far.until(&last[14..], PATIENCE).unwrap();

    // The peer's kernel takes the outermost tag out of a frame by itself if there is none beside it: that is all the
    // difference between what comes with a tag beside it and without.
    let received = far.iter().map(|seen| match tag {
        Some(_) => (seen.tag, seen.frame.clone()),
        None => (None, with(seen)),
    });
    let received: Vec<(Option<Tag>, Vec<u8>)> = received.collect();
    let (given, rest) = received.split_at(frames.len());
    assert_eq!(given, frames.iter().map(|frame| (tag, frame.clone())).collect::<Vec<_>>(), "{case}");
    let mut arrived: BTreeMap<FlowId, Count> = BTreeMap::new();
    for (beside, frame) in rest {
        assert_eq!(*beside, tag, "{case}");
        let Ok(Identity::Flow(id)) = identify(frame) else { panic!("{case}: {frame:02x?}") };
        arrived.entry(id).or_default().packet(frame.len() as u64);
    }
    assert_eq!(arrived, datagrams, "{case}");

    // The device got the same, with the tag where it takes it or where the kernel has put it.
    let handed: Vec<Seen> = received
        .iter()
        .map(|(tag, frame)| {
            let seen = Seen { tag: *tag, frame: frame.clone() };
            if taken || tag.is_none() { seen } else { Seen { tag: None, frame: with(&seen) } }
        })
        .collect();
    assert_eq!(near, handed, "{case}");
    let bytes = handed.iter().map(|seen| seen.frame.len() as u64).sum();
    assert_eq!(sent, Count { packets: handed.len() as u64, bytes }, "{case}");
    drop(tagger);
    if tag.is_some() {
        assert_eq!(programs(&stage).len(), 1);
    }
}

/// The frame with the tag that was beside it.
fn with(seen: &Seen) -> Vec<u8> {
    let tag = seen.tag.map(Tag::bytes);
    [&seen.frame[..12], tag.as_ref().map_or(&[], |tag| &tag[..]), &seen.frame[12..]].concat()
}

fn all_tags(mode: &str) {
    passes_and_counts(mode, None, true);
    passes_and_counts(mode, Some(Tag { protocol: VLAN, tci: 0x2064 }), true);
    passes_and_counts(mode, Some(Tag { protocol: VLAN, tci: 0x2064 }), false);
    passes_and_counts(mode, Some(Tag { protocol: SERVICE_VLAN, tci: 0x0fff }), true);
    // Priority without a VLAN: the peer's kernel takes it for its own.
    passes_and_counts(mode, Some(Tag { protocol: VLAN, tci: 0xe000 }), true);
}

#[test]
fn a_tag_beside_the_frame_changes_nothing_in_observe() {
    all_tags("observe");
}

#[test]
fn a_tag_beside_the_frame_changes_nothing_in_enforce() {
    all_tags("enforce");
}

#[test]
fn super_packets_with_a_tag_beside_them_are_counted_exactly() {
    for mode in ["observe", "enforce"] {
        let stage = Stage::build(true).unwrap();
        let daemon = Daemon::start(&stage.near, &stage.config(&format!("mode = \"{mode}\""), ""), &[]).unwrap();
        // Only without a VLAN does the peer answer.
        let tagger = tagger(&stage, Tag { protocol: VLAN, tci: 0xe000 });
        let before = stage.sent().unwrap();
        let capture = Capture::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();
        for address in both(INSIDE) {
            let sink = TcpSink::listen(&stage.far, SocketAddr::new(address, 443)).unwrap();
            let to = sink.address();
            let done = stage.near.run(|| send_tcp(stage.from(to), to, 1 << 22, PATIENCE)).unwrap();
            assert!(matches!(done, Transfer::Complete(_)), "{done:?}");
            assert_eq!(sink.stop().unwrap(), [1 << 22]);
        }
        let (flows, captured) = stage.when_quiet(&daemon, &capture, before).unwrap();
        drop(tagger);
        assert_eq!(accounted(&flows), flows.hook);
        assert_eq!(by_flow(&flows, count, |verdict| verdict == "allowed"), captured.flows);
        assert_eq!(captured.total, count(&flows.hook));
        assert_eq!(flows.hook.segments, stage.near.tcp_segments_sent().unwrap());
        assert!(flows.hook.packets < flows.hook.segments, "no super-packets: {:?}", flows.hook);
    }
}
