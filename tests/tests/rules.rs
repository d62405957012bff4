//! Promise: in enforce the most specific rule decides. What a rule denies is dropped inside the region too, what a
//! narrower one allows arrives, and to a management network everything goes through, whatever other rules say and even
//! where a packet could not be read; each is attributed to its rule.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use egress_monitor_tests::{
    capture::{Capture, Direction},
    corpus::build::{Stack, eth, fragment, ip, part, payload, udp},
    daemon::Daemon,
    stage::{INSIDE, INTERFACE, NEIGHBOUR, OUTSIDE, PATIENCE, RULED, RULED_PORT, Stage, both, flows, on_cpu, v4},
    traffic::{send_frames, send_udp},
};

/// The stage's configuration with deny rules and, where the peer has an address outside, management.
fn config(stage: &Stage) -> String {
    let list = |number: u8| both(number).map(|address| format!("\"{address}\"")).join(", ");
    let inside = list(INSIDE);
    let config = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
    let management = format!("[management]\nnetworks = [{}]", list(NEIGHBOUR));
    let rules = format!(
        "[[deny]]\nid = \"no-sevens\"\nto = [{inside}]\nports = [\"udp/7000-7999\"]\nreason = \"a test\"\n\
         [[allow]]\nid = \"half-past\"\nto = [{inside}]\nports = [\"udp/7500\"]\nreason = \"a test\"\n\
         [[deny]]\nid = \"no-singapore\"\nto = [\"Singapore\"]\nreason = \"a test\"\n"
    );
    config.replace("[management]\nnetworks = []", &management) + &rules
}

/// The second half of a datagram of which the first never left.
fn orphan(to: IpAddr) -> Stack {
    let data = part(udp(9) / payload(64), 32..72);
    match to {
        IpAddr::V4(_) => eth() / ip(to).fragment(77, 32, false) / data,
        IpAddr::V6(_) => eth() / ip(to) / fragment(77, 32, false) / data,
    }
}

#[test]
fn the_most_specific_rule_decides_and_management_is_never_dropped() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &config(&stage), &[]).unwrap();
    let capture = Capture::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();
    let mut expected: BTreeMap<(IpAddr, u16), (&str, Option<&str>)> = BTreeMap::new();
    for (number, port, verdict, rule) in [
        (INSIDE, 6_999, "allowed", None),
        (INSIDE, 7_000, "denied", Some("no-sevens")),
        (INSIDE, 7_500, "allowed", Some("half-past")),
        (INSIDE, 7_999, "denied", Some("no-sevens")),
        (OUTSIDE, 9, "denied", Some("no-singapore")),
        (RULED, RULED_PORT, "allowed", Some("ruled")),
        (RULED, RULED_PORT + 1, "denied", Some("no-singapore")),
        (NEIGHBOUR, 9, "allowed", Some("management")),
    ] {
        for address in both(number) {
            let to = SocketAddr::new(address, port);
            stage.near.run(|| send_udp(stage.from(to), to, &[10, 20])).unwrap();
            expected.insert((address, port), (verdict, rule));
        }
    }
    // No flow of its own, and dropped for that by default.
    let orphans: Vec<Stack> = [NEIGHBOUR, INSIDE].iter().flat_map(|number| both(*number)).map(orphan).collect();
    let last = (v4(INSIDE).into(), 6_998);
    let frames: Vec<Vec<u8>> =
        orphans.iter().map(Stack::bytes).chain([(eth() / ip(last.0) / udp(last.1)).bytes()]).collect();
    let send = move || send_frames(INTERFACE, frames.iter().map(Vec::as_slice));
    on_cpu(&stage.near, 0, send).unwrap().join().unwrap().unwrap();
    capture
        .wait_until(PATIENCE, |captured| captured.flows.keys().any(|id| (id.destination, id.destination_port) == last))
        .unwrap();
    let flows = flows(&daemon).unwrap();
    let status = daemon.json(&["status"]).unwrap();
    let captured = capture.stop().unwrap();

    let reported: BTreeMap<_, _> = flows
        .flows
        .iter()
        .filter(|row| (row.destination, row.destination_port) != last)
        .map(|row| ((row.destination, row.destination_port), (row.verdict.as_str(), row.rule.as_deref())))
        .collect();
    assert_eq!(reported, expected);
    for ((address, port), (verdict, _)) in &expected {
        let packets: u64 = captured
            .flows
            .iter()
            .filter(|(id, _)| (id.destination, id.destination_port) == (*address, *port))
            .map(|(_, count)| count.packets)
            .sum();
        assert_eq!(packets, if *verdict == "allowed" { 2 } else { 0 }, "{address} {port}");
    }
    let reason = status["unparsed"].as_array().unwrap().iter().find(|row| row["reason"] == "fragment_without_first");
    let reason = reason.expect("fragments were counted");
    let fates = ["passed", "dropped"].map(|fate| reason[fate]["packets"].as_u64().unwrap());
    assert_eq!(fates, [2, 2], "to the management network passed, to elsewhere dropped");
}

#[test]
fn enforce_without_management_networks_does_not_start() {
    let stage = Stage::build(false).unwrap();
    let without = |mode: &str| {
        let config = stage.config(mode, "");
        config.replace("[management]\nnetworks = []\n", "")
    };
    for (config, arguments) in
        [(without("mode = \"enforce\""), &[][..]), (without("mode = \"observe\""), &["--enforce"])]
    {
        let refused = Daemon::start(&stage.near, &config, arguments).expect_err("must be refused").to_string();
        assert!(refused.contains("enforce needs [management]: add networks = "), "{refused}");
    }
}
