//! The third way: what the test machine can send goes through the daemon's hook on a real wire, each frame with a
//! destination of its own on the link, so that what arrives is told apart by no parser.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use egress_monitor_tests::{
    capture::Recorder,
    corpus::{self, Wire, build, policy},
    daemon::Daemon,
    host::{Host, PacketOutcome},
    leftovers,
    monitor::api::Flows,
    netns::{Count, Namespace, index},
    stage::{INTERFACE, PATIENCE, Stage, accounted, count, flows, on_cpu},
    traffic::{send_each, send_scattered},
    tun,
};
use monitor_common::wire::{Link, Via};

use super::{MODES, Mode, Outcome};

const MTU: &str = "9000";

/// Longer than a page, so that the kernel need not keep it in one piece.
const SCATTERED: usize = 4_500;

/// A frame that ends inside its tag: the receiving kernel throws it away before anyone sees it, but counts it.
const UNSEEN: [&str; 1] = ["cut_tag"];

/// A frame on its way.
struct Sent {
    name: &'static str,
    frame: Vec<u8>,
    /// What the corpus says of it; `None` for what is sent before a case's packet.
    expected: Option<Outcome>,
}

/// The destination on the link of the frame with this number, or its source if it goes to a group.
const fn address(number: usize) -> [u8; 6] {
    let [high, low] = (number as u16).to_be_bytes();
    [2, 0, 0, 0, high, low]
}

/// Everything that is sent, with a frame at the end that always passes. `scattered`: to be sent in more than one piece.
fn frames(mode: Mode, scattered: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for case in corpus::corpus().iter().filter(|case| case.link == Link::Ethernet && case.wire == Wire::Sendable) {
        let sent = |frame: &Vec<u8>, expected| Sent { name: case.name, frame: frame.clone(), expected };
        all.extend(case.before.iter().map(|frame| sent(frame, None)));
        all.push(sent(&case.frame, Some(Outcome::expected(case, mode))));
    }
    let last = (build::eth() / build::ip(policy::IN) / build::udp(65_535)).bytes();
    all.push(Sent { name: "the last one", frame: last, expected: None });
    for (number, sent) in all.iter_mut().enumerate() {
        // What goes to a group goes there.
        let at = if sent.frame[0] & 1 == 0 { 0 } else { 6 };
        sent.frame[at..at + 6].copy_from_slice(&address(number));
        if scattered {
            sent.frame.resize(SCATTERED + number % 700, 0);
            // The corpus does not speak of padding that its headers announce.
            sent.expected = None;
        }
    }
    all
}

/// A flow in the daemon's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    protocol: u8,
    inner: Option<(IpAddr, u16, u8, String)>,
    opaque: Option<String>,
    class: String,
    rule: Option<String>,
    verdict: String,
}

/// What the daemon has to count, or counted: flows; what passed without one and what was dropped, by reason.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    flows: BTreeMap<Row, Count>,
    unparsed: BTreeMap<String, (Count, Count)>,
}

impl Counted {
    fn add(&mut self, mode: Mode, by_host: &PacketOutcome, bytes: u64) {
        match Outcome::from_host(mode.policy(), by_host) {
            Outcome::Flow { flow, verdict, .. } => {
                let row = Row {
                    from: (flow.source, flow.source_port),
                    to: (flow.destination, flow.destination_port),
                    protocol: flow.protocol,
                    inner: flow
                        .inner
                        .map(|(to, protocol, port, via)| (to, port, protocol, via.name().unwrap_or("?").to_owned())),
                    opaque: flow.opaque.name().map(str::to_owned),
                    class: flow.place.name().to_owned(),
                    rule: flow.rule.then(|| policy::RULE.to_owned()),
                    verdict: verdict.name().to_owned(),
                };
                self.flows.entry(row).or_default().packet(bytes);
            }
            Outcome::Unparsed { reason, dropped } => {
                let (passed, lost) = self.unparsed.entry(reason.name().to_owned()).or_default();
                (if dropped { lost } else { passed }).packet(bytes);
            }
        }
    }

    /// Fails with what differs.
    #[track_caller]
    fn equals(&self, expected: &Self) {
        let flows = |one: &Self, other: &Self| -> Vec<String> {
            let lacking = one.flows.iter().filter(|(row, count)| other.flows.get(row) != Some(count));
            lacking.map(|(row, count)| format!("  {row:?}: {count:?}")).collect()
        };
        let (lacking, unexpected) = (flows(expected, self), flows(self, expected));
        assert!(
            lacking.is_empty() && unexpected.is_empty() && self.unparsed == expected.unparsed,
            "expected\n{}\ncounted\n{}\nexpected {:#?}\ncounted {:#?}",
            lacking.join("\n"),
            unexpected.join("\n"),
            expected.unparsed,
            self.unparsed
        );
    }

    fn by_daemon(document: &Flows) -> Self {
        // An address that carries another one is shown as a way, too; here only the packet's own ways count.
        let ways: BTreeSet<_> = Via::ALL.into_iter().filter_map(Via::name).collect();
        let mut counted = Self::default();
        for flow in &document.flows {
            let inner = flow.inner.as_ref().filter(|further| ways.contains(further.via.as_str()));
            let row = Row {
                from: (flow.source, flow.source_port),
                to: (flow.destination, flow.destination_port),
                protocol: flow.protocol,
                inner: inner.map(|to| (to.destination, to.destination_port, to.protocol, to.via.clone())),
                opaque: flow.opaque.clone(),
                class: flow.class.clone(),
                rule: flow.rule.clone(),
                verdict: flow.verdict.clone(),
            };
            let known = counted.flows.insert(row, count(&flow.sums));
            assert_eq!(known, None, "twice: {flow:?}");
        }
        for row in &document.unparsed_reasons {
            counted.unparsed.insert(row.reason.clone(), (count(&row.passed), count(&row.dropped)));
        }
        counted
    }
}

/// A frame as the receiver sees it: the kernel takes the outer tag out of it.
fn received(frame: &[u8]) -> Vec<u8> {
    match frame[12..14] {
        [0x81, 0x00] | [0x88, 0xa8] => [&frame[..12], &frame[16..]].concat(),
        _ => frame.to_vec(),
    }
}

/// The daemon's configuration. A dataset of one line is read sooner than all.
fn config(mode: Mode, interface: &str, folder: &Path) -> String {
    let what = if mode.enforce { "enforce" } else { "observe" };
    let dataset = folder.join("dataset.csv");
    std::fs::write(&dataset, "2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,IE\n").unwrap();
    format!(
        "[monitor]\ninterfaces = [\"{interface}\"]\nmode = \"{what}\"\nepoch = \"100ms\"\n[management]\nnetworks = []\n[http]\nlisten = \"\"\n[geo]\n\
         sources = [\"{}\"]\n{}",
        dataset.display(),
        policy::config(mode.zone())
    )
}

/// Sends everything through the daemon (`scattered`: not in one piece of memory; the number moves where the first piece
/// ends), and holds what arrived and what was counted against the host's opinion, and
/// that against the corpus.
fn hold(mode: Mode, scattered: Option<usize>) {
    let stage = Stage::build(false).unwrap();
    for namespace in [&stage.near, &stage.far] {
        namespace.ip(&["link", "set", INTERFACE, "mtu", MTU]).unwrap();
    }
    let config = config(mode, INTERFACE, stage.folder());
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let recorder = Recorder::start(&stage.far, INTERFACE).unwrap();
    let before = stage.received().unwrap();

    let all = Arc::new(frames(mode, scattered.is_some()));
    let sending = Arc::clone(&all);
    // One CPU: each has its own memory of fragments.
    let left = on_cpu(&stage.near, 0, move || {
        let frames = sending.iter().map(|sent| sent.frame.as_slice());
        match scattered {
            None => send_each(INTERFACE, frames),
            Some(shift) => {
                let first_piece = |number: usize| 14 + ((number + shift) % 90) as u16;
                send_scattered(INTERFACE, frames.zip((0..).map(first_piece)))
            }
        }
    });
    let left = left.unwrap().join().unwrap().unwrap();
    let arrived = recorder.until(address(all.len() - 1), PATIENCE).unwrap();

    let ifindex = stage.near.run(|| index(INTERFACE)).unwrap();
    let mut host = Host::new(mode.policy(), mode.enforce, Link::Ethernet, ifindex);
    let (mut expected, mut passed, mut seen) = (Counted::default(), Count::default(), Vec::new());
    for (number, (sent, left)) in all.iter().zip(&left).enumerate() {
        let by_host = host.packet(&sent.frame, 1 + number as u64);
        if let Some(outcome) = &sent.expected {
            assert_eq!(Outcome::from_host(mode.policy(), &by_host), *outcome, "{}", sent.name);
        }
        assert_eq!(*left, !by_host.dropped(), "{}: {by_host:?}", sent.name);
        assert!(mode.enforce || *left, "{}", sent.name);
        expected.add(mode, &by_host, sent.frame.len() as u64);
        if *left {
            passed.packet(sent.frame.len() as u64);
            if scattered.is_some() || !UNSEEN.contains(&sent.name) {
                seen.push((sent.name, received(&sent.frame)));
            }
        }
    }
    for (number, (name, frame)) in seen.iter().enumerate() {
        assert_eq!(arrived.get(number), Some(frame), "{name}, which left, is not what arrived as number {number}");
    }
    assert_eq!(arrived.len(), seen.len(), "something arrived that did not leave");
    assert_eq!(stage.received().unwrap().since(before), passed);
    let document = flows(&daemon).unwrap();
    assert_eq!(accounted(&document), document.hook);
    let counted = Counted::by_daemon(&document);
    counted.equals(&expected);
    println!("{mode:?}, scattered: {scattered:?}: {} frames, {} arrived", all.len(), passed.packets);
}

/// The same for a device without a link header: the packets are told apart by being all different, and what the host
/// itself sends by it (it reports its multicast groups) by its source.
#[test]
fn on_a_device_without_a_link_header_too() {
    let source: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let cases = corpus::corpus().into_iter().filter(|case| case.link == Link::Ip && case.wire == Wire::Sendable);
    let cases: Vec<_> = cases.collect();
    for mode in MODES {
        let near = Namespace::new("host").unwrap();
        let mut device = near.run(tun::tun0).unwrap();
        near.ip(&["link", "set", tun::NAME, "up"]).unwrap();
        let folder = leftovers::folder().unwrap();
        let daemon = Daemon::start(&near, &config(mode, tun::NAME, folder.path()), &[]).unwrap();
        let mut host = Host::new(mode.policy(), mode.enforce, Link::Ip, near.run(|| index(tun::NAME)).unwrap());
        let (mut expected, mut passed, mut dropped) = (Counted::default(), Vec::new(), Vec::new());
        for case in &cases {
            let by_host = host.packet(&case.frame, 1);
            assert_eq!(Outcome::from_host(mode.policy(), &by_host), Outcome::expected(case, mode), "{}", case.name);
            expected.add(mode, &by_host, case.frame.len() as u64);
            dropped.push((case.name, by_host.dropped()));
            if !by_host.dropped() {
                passed.push(case.frame.clone());
            }
        }
        let left = near.run(|| send_each(tun::NAME, cases.iter().map(|case| case.frame.as_slice()))).unwrap();
        let refused = cases.iter().zip(left).map(|(case, left)| (case.name, !left));
        assert_eq!(refused.collect::<Vec<_>>(), dropped);
        let mut buffer = [0; 2048];
        let arrived = std::iter::from_fn(|| device.read(&mut buffer).ok().map(|length| buffer[..length].to_vec()));
        let arrived: Vec<_> = arrived.filter(|packet| cases.iter().any(|case| case.frame == *packet)).collect();
        assert_eq!(arrived, passed);
        let mut counted = Counted::by_daemon(&flows(&daemon).unwrap());
        counted.flows.retain(|row, _| source.contains(&row.from.0));
        counted.equals(&expected);
        println!("{mode:?}: {} packets, {} arrived", cases.len(), arrived.len());
    }
}

#[test]
fn on_a_wire_every_frame_is_counted_and_passes_or_not_as_the_corpus_says() {
    for mode in MODES {
        hold(mode, None);
    }
}

/// The kernel's program reads what is not in the first piece another way.
#[test]
fn headers_split_over_pieces_of_memory_make_no_difference() {
    for mode in MODES {
        for shift in [0, 30, 60] {
            hold(mode, Some(shift));
        }
    }
}
