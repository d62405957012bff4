//! Promise: a packet without a flow is counted by its reason's name, in `/metrics`, `flows` and `status` alike, and in
//! enforce it does what the configuration says of that reason; it is dropped whatever that says if a destination that
//! was read before is denied, and link-scope control always passes. Observe drops none.
//!
//! Every reason that a frame can have on a wire is tried, with each frame of the corpus. Not among them:
//! [`Reason::UnknownLink`], which takes another kind of device, and [`Reason::NotClassified`], which is a defect.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
};

use egress_monitor_tests::{
    corpus::{
        self, Expect, Wire,
        policy::{NAT64, RULED_NETWORKS, SITES},
    },
    daemon::Daemon,
    netns::Count,
    stage::{INTERFACE, Stage, accounted, flows, on_cpu},
    traffic::send_each,
};
use monitor_common::{
    parse::Reason,
    wire::{Class, Link},
};
use serde_json::Value;

/// The frames that are sent before a packet have flows. But for this case's, which shows just that.
const NOT_UNDERSTOOD_BEFORE: (&str, Reason) = ("fragment_after_short", Reason::FragmentShort);

/// A packet without a flow.
struct Unread {
    name: &'static str,
    before: Vec<Vec<u8>>,
    frame: Vec<u8>,
    reason: Reason,
    /// A destination that was read is outside.
    outside: bool,
}

fn unread() -> Vec<Unread> {
    let sendable =
        corpus::corpus().into_iter().filter(|case| case.link == Link::Ethernet && case.wire == Wire::Sendable);
    let cases = sendable.filter_map(|case| match case.expect {
        Expect::Flow(_) => None,
        Expect::Unread { reason, to } => Some(Unread {
            name: case.name,
            before: case.before,
            frame: case.frame,
            reason,
            outside: to == Some(Class::Outside),
        }),
    });
    let cases: Vec<Unread> = cases.collect();
    let reasons: BTreeSet<Reason> = cases.iter().map(|case| case.reason).collect();
    assert_eq!(reasons, on_a_wire().collect());
    cases
}

fn on_a_wire() -> impl Iterator<Item = Reason> {
    Reason::ALL.into_iter().filter(|reason| !matches!(reason, Reason::UnknownLink | Reason::NotClassified))
}

/// The corpus's policy.
fn config(mode: &str, zone: &str) -> String {
    let site = |(number, (network, country, _)): (usize, &(&str, &str, Class))| {
        format!("[[site]]\nname = \"{number}\"\ncountry = \"{country}\"\nnetworks = [\"{network}\"]\n")
    };
    let sites: String = SITES.iter().enumerate().map(site).collect();
    format!(
        "[monitor]\ninterfaces = [\"{INTERFACE}\"]\nmode = \"{mode}\"\nepoch = \"100ms\"\n[zone]\nname = \"test\"\n\
         inside = \"EEA\"\nnat64 = {NAT64:?}\n{zone}\n[management]\nnetworks = []\n[http]\nlisten = \"\"\n{sites}[[allow]]\nid = \"ruled\"\n\
         to = {RULED_NETWORKS:?}\nports = [\"udp/4500-4510\", \"tcp/443\"]\nreason = \"a test\"\n"
    )
}

/// By reason what passed and what was dropped.
type Fates = BTreeMap<String, (Count, Count)>;

/// As `flows` and `status` have it.
fn rows(rows: &Value) -> Fates {
    let rows = rows.as_array().expect("rows").iter().map(|row| {
        let count = |fate: &str| {
            let number = |key: &str| row[fate][key].as_u64().expect("a number");
            Count { packets: number("packets"), bytes: number("bytes") }
        };
        (row["reason"].as_str().expect("a reason").to_owned(), (count("passed"), count("dropped")))
    });
    rows.collect()
}

/// Packets passed and dropped, as `/metrics` has them.
fn metrics(daemon: &Daemon) -> BTreeMap<String, (u64, u64)> {
    let mut socket = UnixStream::connect(daemon.home().socket()).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: egress-monitor\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("egress_monitor_unparsed_packets_total{")) {
        let (labels, value) = line.split_once("} ").expect("a sample");
        let label = |name: &str| {
            let value = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix('='));
            value.expect("a label").trim_matches('"').to_owned()
        };
        let sum = sums.entry(label("reason")).or_default();
        let fate = match label("fate").as_str() {
            "passed" => &mut sum.0,
            "dropped" => &mut sum.1,
            other => panic!("{other}"),
        };
        *fate += value.parse::<u64>().expect("a whole number");
    }
    sums
}

/// Sends all by one CPU, holds what becomes of each packet against `passes`, and what is said of them against that.
fn hold(mode: &str, zone: &str, passes: impl Fn(&Unread) -> bool) {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &config(mode, zone), &[]).unwrap();
    let before = stage.sent().unwrap();
    let cases = Arc::new(unread());
    let sending = Arc::clone(&cases);
    let left = on_cpu(&stage.near, 0, move || {
        let frames = sending.iter().flat_map(|case| case.before.iter().chain([&case.frame]));
        send_each(INTERFACE, frames.map(Vec::as_slice)).unwrap()
    });
    let left = left.unwrap().join().unwrap();
    let mut left = left.into_iter();
    let sent: Vec<(Vec<bool>, bool)> = cases
        .iter()
        .map(|case| (left.by_ref().take(case.before.len()).collect(), left.next().expect("one for each frame")))
        .collect();
    let mut expected = Fates::new();
    let mut left = Count::default();
    for (case, (earlier, leaves)) in cases.iter().zip(&sent) {
        assert_eq!(*leaves, passes(case), "{} ({})\n{zone}", case.name, case.reason.name());
        let mut count = |reason: Reason, frame: &[u8], leaves: bool| {
            let (passed, dropped) = expected.entry(reason.name().to_owned()).or_default();
            (if leaves { passed } else { dropped }).packet(frame.len() as u64);
        };
        count(case.reason, &case.frame, *leaves);
        if let (name, reason) = NOT_UNDERSTOOD_BEFORE
            && case.name == name
        {
            count(reason, &case.before[0], earlier[0]);
        }
        let frames = case.before.iter().zip(earlier).chain([(&case.frame, leaves)]);
        frames.filter(|(_, leaves)| **leaves).for_each(|(frame, _)| left.packet(frame.len() as u64));
    }
    assert_eq!(stage.sent().unwrap().since(before), left);
    let flows = flows(&daemon).unwrap();
    assert_eq!(accounted(&flows), flows.hook);
    let reported = serde_json::to_value(&flows.unparsed_reasons).unwrap();
    assert_eq!(rows(&reported), expected);
    assert_eq!(rows(&daemon.json(&["status"]).unwrap()["unparsed"]), expected);
    let packets =
        expected.iter().map(|(reason, (passed, dropped))| (reason.clone(), (passed.packets, dropped.packets)));
    assert_eq!(metrics(&daemon), packets.collect());
}

#[test]
fn by_default_enforce_drops_what_it_cannot_read() {
    hold("enforce", "", |case| matches!(case.reason, Reason::LinkControl | Reason::LinkControlOdd));
}

#[test]
fn observe_drops_no_unreadable_packet() {
    hold("observe", "", |_| true);
}

#[test]
fn each_reason_has_the_action_that_the_configuration_gives_it() {
    // Every second reason has an action of its own, then the others.
    for (default, own) in [("deny", "allow"), ("allow", "deny")] {
        for half in [0, 1] {
            let chosen = |reason: Reason| reason as u8 % 2 == half && reason != Reason::LinkControl;
            let lines: Vec<String> = Reason::ALL
                .into_iter()
                .filter(|reason| chosen(*reason))
                .map(|reason| format!("undecodable.{} = \"{own}\"", reason.name()))
                .collect();
            let zone = format!("on_undecodable = \"{default}\"\n{}", lines.join("\n"));
            hold("enforce", &zone, |case| {
                let otherwise = if case.reason == Reason::LinkControlOdd { "allow" } else { default };
                let action = if chosen(case.reason) { own } else { otherwise };
                case.reason == Reason::LinkControl || (action == "allow" && !case.outside)
            });
        }
    }
}
