//! Promise: what leaves an interface without passing the hook is noticed by the interface's own account, within an
//! epoch, to the packet and byte; and nothing that did pass is ever accused.

use std::net::SocketAddr;

use egress_monitor_tests::{
    background::Background,
    bypass::{PassesEverything, detach_first, packet_bypass, xdp_send},
    corpus::build::{eth, ip, payload, tcp, udp},
    daemon::{Daemon, Ended},
    netns::Count,
    offload,
    stage::{INSIDE, INTERFACE, OUTSIDE, PATIENCE, Stage, both, on_cpu, v4},
    traffic::{TcpSink, Transfer, send_super, send_tcp, send_udp, udp_frame},
};
use serde_json::{Value, json};

/// The interface, after an epoch that this question closes.
fn interface(daemon: &Daemon) -> Value {
    daemon.json(&["status"]).unwrap()["interfaces"][0].clone()
}

fn amount(value: &Value) -> Count {
    Count { packets: value["packets"].as_u64().unwrap(), bytes: value["bytes"].as_u64().unwrap() }
}

fn unaccounted(interface: &Value) -> Count {
    amount(&interface["nic"]["unaccounted"])
}

/// Alerts on what is wrong with the monitor itself: not on the age of geo data, nor that it begins, is there, and ends.
fn findings(lines: &[String]) -> Vec<Value> {
    let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let others = ["heartbeat", "stale_geo_data", "started", "stopped"];
    let is_other = |line: &Value| others.contains(&line["unmapped"]["type"].as_str().unwrap());
    parsed.filter(|line| line["class_uid"] == 2004 && !is_other(line)).collect()
}

fn types(lines: &[String]) -> Vec<String> {
    let name = |line: &Value| format!("{} {}", line["unmapped"]["type"], line["activity_name"]).replace('"', "");
    findings(lines).iter().map(name).collect()
}

fn ended_well(ended: &Ended) {
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
}

/// Datagrams that pass the hook.
const ORDINARY: [usize; 100] = [200; 100];

fn send_ordinary(stage: &Stage) {
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &ORDINARY)).unwrap();
}

/// Frames of many lengths, and what they come to.
fn frames() -> (Vec<Vec<u8>>, Count) {
    let frame = |length: usize| (eth() / ip(v4(OUTSIDE).into()) / udp(9) / payload(length)).bytes();
    let frames: Vec<Vec<u8>> = (0..137).map(|number| frame(20 + number * 7)).collect();
    let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
    let count = Count { packets: frames.len() as u64, bytes };
    (frames, count)
}

/// Sends ordinary traffic, then what `bypass` sends, and expects that alone to be reported, once, by the epoch that is
/// closed then, and again for the second time.
fn is_reported(offloads: bool, hook: &str, bypass: impl Fn(&Stage) -> Count) -> (Stage, Daemon) {
    let stage = Stage::build(offloads).unwrap();
    // Longer than the test: epochs end when asked for.
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"5min\"", ""), &["--hook", hook]).unwrap();
    send_ordinary(&stage);
    let before = interface(&daemon);
    let ordinary = Count { packets: 100, bytes: 100 * udp_frame(v4(OUTSIDE).into(), 200) };
    assert_eq!((amount(&before["nic"]["sent"]), unaccounted(&before)), (ordinary, Count::default()));
    assert_eq!((&before["state"], &before["ahead"]), (&json!("attached"), &json!(0)));

    let mut total = Count::default();
    for round in 1..=2 {
        let sent = bypass(&stage);
        total = total.plus(sent);
        let after = interface(&daemon);
        assert_eq!(unaccounted(&after), total, "round {round}: {after:#}");
        assert_eq!(amount(&after["nic"]["sent"]), ordinary.plus(total));
        assert_eq!((&after["total"]["packets"], &after["nic"]["lost"]), (&json!(100), &json!(0)));
        // The line is written by a task of its own.
        let reported = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["unmapped"]["unaccounted"][0]["total_packets"] == total.packets
        };
        let line = daemon.alerts.wait_for(0, PATIENCE, reported).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let found = &line["unmapped"]["unaccounted"][0];
        assert_eq!((&found["interface"], &line["severity"]), (&json!(INTERFACE), &json!("Critical")));
        assert_eq!(amount(found), sent);
        assert_eq!(found["total_bytes"], total.bytes);
        // Once only.
        assert_eq!(unaccounted(&interface(&daemon)), total);
    }
    (stage, daemon)
}

fn ends_with_two_alerts(daemon: Daemon) {
    ends_with_two_alerts_beside(daemon, "none");
}

/// The same, beside others of a kind.
fn ends_with_two_alerts_beside(daemon: Daemon, kind: &str) {
    let ended = daemon.stop().unwrap();
    ended_well(&ended);
    let pair = ["unaccounted_egress Create", "unaccounted_egress Close"];
    let others = types(&ended.alerts).into_iter().filter(|of| !of.starts_with(kind));
    assert_eq!(others.collect::<Vec<_>>(), [pair, pair].concat());
}

#[test]
fn packets_beside_the_queue_are_reported_to_the_byte() {
    for (offloads, hook) in [(false, "tcx"), (true, "tcx"), (false, "clsact")] {
        let (_stage, daemon) = is_reported(offloads, hook, |stage| {
            let (frames, count) = frames();
            stage.near.run(|| packet_bypass(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap();
            count
        });
        ends_with_two_alerts(daemon);
    }
}

#[test]
fn packets_of_af_xdp_are_reported_to_the_byte() {
    let (_stage, daemon) = is_reported(false, "tcx", |stage| {
        let (frames, count) = frames();
        stage.near.run(|| xdp_send(INTERFACE, &frames)).unwrap();
        count
    });
    ends_with_two_alerts(daemon);
}

#[test]
fn a_foreign_program_ahead_that_passes_is_shown_and_what_it_passes_reported() {
    for hook in ["tcx", "clsact"] {
        let (stage, daemon) = is_reported(false, hook, |stage| {
            let ahead = stage.near.run(|| PassesEverything::ahead_on(INTERFACE)).unwrap();
            send_ordinary(stage);
            drop(ahead);
            Count { packets: 100, bytes: 100 * udp_frame(v4(OUTSIDE).into(), 200) }
        });
        let _ahead = stage.near.run(|| PassesEverything::ahead_on(INTERFACE)).unwrap();
        assert_eq!(interface(&daemon)["ahead"], 1, "{hook}");
        // That it is ahead is told by whoever looks once a second, if it is for so long.
        ends_with_two_alerts_beside(daemon, "program_ahead");
    }
}

#[test]
fn a_detached_program_is_reported_and_so_is_what_leaves_then() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"5min\"", ""), &["--hook", "tcx"]).unwrap();
    send_ordinary(&stage);
    assert_eq!(unaccounted(&interface(&daemon)), Count::default());
    stage.near.run(|| detach_first(INTERFACE)).unwrap();
    let off = interface(&daemon);
    assert_eq!((&off["state"], unaccounted(&off)), (&json!("detached"), Count::default()));
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"detached\"")).unwrap();
    send_ordinary(&stage);
    let off = interface(&daemon);
    let expected = Count { packets: 100, bytes: 100 * udp_frame(v4(OUTSIDE).into(), 200) };
    assert_eq!((unaccounted(&off), &off["total"]["packets"]), (expected, &json!(100)));
    let status = daemon.json(&["status"]).unwrap();
    assert!(status["not_ready"].as_str().unwrap().contains("took the program off eth0"), "{status:#}");
    let ended = daemon.stop().unwrap();
    ended_well(&ended);
    assert_eq!(types(&ended.alerts)[..2], ["detached Create", "unaccounted_egress Create"]);
}

#[test]
fn a_clsact_filter_that_somebody_deletes_is_reported() {
    let stage = Stage::build(false).unwrap();
    for delete in [&["filter", "del", "dev", INTERFACE, "egress"][..], &["qdisc", "del", "dev", INTERFACE, "clsact"]] {
        let config = stage.config("epoch = \"5min\"", "");
        let daemon = Daemon::start(&stage.near, &config, &["--hook", "clsact"]).unwrap();
        assert_eq!(interface(&daemon)["state"], "attached");
        stage.near.tc(delete).unwrap();
        assert_eq!(interface(&daemon)["state"], "detached");
        ended_well(&daemon.stop().unwrap());
    }
}

/// UDP and TCP, allowed and denied, from both CPUs, `rounds` times.
fn send_much(stage: &Stage, rounds: u16) {
    let sinks: Vec<TcpSink> =
        both(INSIDE).map(|address| TcpSink::listen(&stage.far, SocketAddr::new(address, 443)).unwrap()).into();
    let tcp: Vec<(SocketAddr, SocketAddr)> =
        sinks.iter().map(|sink| (stage.from(sink.address()), sink.address())).collect();
    let targets: Vec<SocketAddr> =
        [INSIDE, OUTSIDE].into_iter().flat_map(both).map(|address| SocketAddr::new(address, 9)).collect();
    let udp: Vec<(SocketAddr, SocketAddr)> = targets.into_iter().map(|to| (stage.from(to), to)).collect();
    let senders: Vec<_> = (0..2)
        .map(|cpu| {
            let (udp, tcp) = (udp.clone(), tcp.clone());
            let work = move || {
                let sizes: Vec<usize> = (0..2_000).map(|number| number * 7 % 1_400).collect();
                for _ in 0..rounds {
                    for (from, to) in &udp {
                        send_udp(*from, *to, &sizes).unwrap();
                    }
                    for (from, to) in &tcp {
                        let done = send_tcp(*from, *to, 3_000_000, PATIENCE).unwrap();
                        assert!(matches!(done, Transfer::Complete(_)), "{done:?}");
                    }
                }
            };
            on_cpu(&stage.near, cpu, work).unwrap()
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    for sink in sinks {
        sink.stop().unwrap();
    }
}

/// Waits until the line is quiet; then everything has to add up. Gives the interface.
fn adds_up(stage: &Stage, daemon: &Daemon, before: Count) -> Value {
    loop {
        let sent = stage.sent().unwrap().since(before);
        let one = interface(daemon);
        let quiet = stage.sent().unwrap().since(before) == sent && one["nic"]["in_flight"] == 0;
        if !quiet || amount(&one["nic"]["sent"]) != sent {
            continue;
        }
        assert_eq!(unaccounted(&one), Count::default(), "{one:#}");
        assert_eq!(one["residual"]["packets"], 0);
        let number = |what: &str, unit: &str| one[what][unit].as_u64().unwrap();
        let units = if one["nic"]["counts"] == "skbs" { ["packets", "bytes"] } else { ["segments", "wire_bytes"] };
        let [packets, bytes] = units.map(|unit| number("total", unit) - number("dropped", unit));
        let drops = one["nic"]["qdisc_drops"].as_u64().unwrap();
        // What a queue dropped may have been super-packets, and has no bytes.
        if drops == 0 {
            assert_eq!(sent, Count { packets, bytes }, "{one:#}");
        } else {
            assert!(sent.packets + drops <= packets, "{one:#}");
        }
        return one;
    }
}

/// Rounds of heavy traffic: some epochs' worth on a fast machine.
const ROUNDS: u16 = 6;

fn no_false_alarm(offloads: bool, mode: &str, queue: Option<&[&str]>) -> Value {
    let stage = Stage::build(offloads).unwrap();
    if let Some(queue) = queue {
        stage.near.tc(&[&["qdisc", "add", "dev", INTERFACE, "root"], queue].concat()).unwrap();
    }
    let before = stage.sent().unwrap();
    let config = stage.config(&format!("mode = \"{mode}\"\nepoch = \"100ms\""), "");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    send_much(&stage, ROUNDS);
    let one = adds_up(&stage, &daemon, before);
    let status = daemon.json(&["status"]).unwrap();
    assert!(status["epoch"]["count"].as_u64().unwrap() >= 5, "too few epochs to prove anything: {status:#}");
    let dropped = one["dropped"]["packets"].as_u64().unwrap();
    assert_eq!(dropped, if mode == "enforce" { u64::from(ROUNDS) * 2 * 2 * 2_000 } else { 0 });
    let ended = daemon.stop().unwrap();
    ended_well(&ended);
    assert_eq!(types(&ended.alerts), [""; 0]);
    one
}

#[test]
fn heavy_traffic_with_super_packets_is_not_accused() {
    let one = no_false_alarm(true, "observe", None);
    assert_eq!(one["nic"]["counts"], "skbs");
}

#[test]
fn heavy_traffic_without_offloads_and_with_drops_of_ours_is_not_accused() {
    no_false_alarm(false, "enforce", None);
}

#[test]
fn heavy_traffic_with_super_packets_and_drops_of_ours_is_not_accused() {
    let one = no_false_alarm(true, "enforce", None);
    assert_eq!(one["nic"]["counts"], "skbs");
}

#[test]
fn a_queue_that_cuts_super_packets_up_holds_and_drops_them_is_not_accused() {
    let queue = ["tbf", "rate", "400mbit", "burst", "16kb", "limit", "60kb"];
    for offloads in [false, true] {
        let one = no_false_alarm(offloads, "observe", Some(&queue));
        assert!(one["nic"]["qdisc_drops"].as_u64().unwrap() > 0, "{one:#}");
    }
}

#[test]
fn a_short_queue_on_a_slow_class_is_not_accused() {
    let stage = Stage::build(false).unwrap();
    stage.near.tc(&["qdisc", "add", "dev", INTERFACE, "root", "handle", "1:", "htb", "default", "1"]).unwrap();
    stage
        .near
        .tc(&["class", "add", "dev", INTERFACE, "parent", "1:", "classid", "1:1", "htb", "rate", "50mbit"])
        .unwrap();
    stage.near.tc(&["qdisc", "add", "dev", INTERFACE, "parent", "1:1", "pfifo", "limit", "20"]).unwrap();
    let before = stage.sent().unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let senders: Vec<_> = (0..2)
        .map(|cpu| {
            let (from, sizes) = (stage.from(to), vec![1_000; 5_000]);
            on_cpu(&stage.near, cpu, move || send_udp(from, to, &sizes).map(drop).unwrap()).unwrap()
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    let one = adds_up(&stage, &daemon, before);
    let drops = one["nic"]["qdisc_drops"].as_u64().unwrap();
    assert!(drops > 0, "{one:#}");
    assert_eq!(stage.sent().unwrap().since(before).packets + drops, 10_000);
    assert_eq!(one["nic"]["lost"], 0);
    // And what is sent beside the queue is found all the same.
    let (frames, count) = frames();
    stage.near.run(|| packet_bypass(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap();
    assert_eq!(unaccounted(&interface(&daemon)), count);
    ended_well(&daemon.stop().unwrap());
}

#[test]
fn a_bypass_among_super_packets_is_found_whole() {
    let stage = Stage::build(true).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    send_much(&stage, 1);
    daemon.json_until(&["status"], |status| status["interfaces"][0]["nic"]["counts"] == "skbs").unwrap();
    let (frames, count) = frames();
    let sink = TcpSink::listen(&stage.far, SocketAddr::new(v4(INSIDE).into(), 444)).unwrap();
    let (from, to) = (stage.from(sink.address()), sink.address());
    let send = move || {
        send_tcp(from, to, 2_000_000, PATIENCE).unwrap();
    };
    let sender = Background::repeat(&stage.near, 1, send).unwrap();
    let rounds = 5;
    for _ in 0..rounds {
        stage.near.run(|| packet_bypass(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap();
        interface(&daemon);
    }
    sender.stop();
    sink.stop().unwrap();
    let all = Count { packets: rounds * count.packets, bytes: rounds * count.bytes };
    // What was under way may have hidden some; it is over.
    let status = daemon.json_until(&["status"], |status| unaccounted(&status["interfaces"][0]).packets >= all.packets);
    assert_eq!(unaccounted(&status.unwrap()["interfaces"][0]), all);
    ended_well(&daemon.stop().unwrap());
}

#[test]
fn super_packets_that_come_without_a_number_of_segments_are_counted_as_they_are_cut_up() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"5min\"", ""), &[]).unwrap();
    let frame = (eth() / ip(v4(OUTSIDE).into()) / tcp(9) / payload(20_000)).bytes();
    stage.near.run(|| send_super(INTERFACE, &frame, 54, 1_448, 50)).unwrap();
    let one = interface(&daemon);
    let expected = Count { packets: 50 * 14, bytes: 50 * (14 * 54 + 20_000) };
    assert_eq!((amount(&one["nic"]["sent"]), unaccounted(&one)), (expected, Count::default()), "{one:#}");
    let total = &one["total"];
    assert_eq!((&total["packets"], &total["segments"]), (&json!(50), &json!(expected.packets)));
    assert_eq!(total["wire_bytes"], expected.bytes);
    ended_well(&daemon.stop().unwrap());
}

#[test]
fn offloads_that_are_switched_under_traffic_accuse_nobody() {
    let stage = Stage::build(true).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    for on in [true, false, true] {
        offload::set(&stage.near, INTERFACE, on).unwrap();
        send_much(&stage, 1);
        assert_eq!(unaccounted(&interface(&daemon)), Count::default());
    }
    let ended = daemon.stop().unwrap();
    ended_well(&ended);
    assert_eq!(types(&ended.alerts), [""; 0]);
}

/// Datagrams to the outside without end.
fn sending_on(stage: &Stage) -> Background<()> {
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let from = stage.from(to);
    let send = move || {
        send_udp(from, to, &[100; 50]).unwrap();
    };
    Background::repeat(&stage.near, 1, send).unwrap()
}

#[test]
fn what_is_sent_while_the_monitor_starts_is_reported_as_such_and_nobody_is_accused() {
    let stage = Stage::build(false).unwrap();
    let sender = sending_on(&stage);
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    interface(&daemon);
    sender.stop();
    let all = stage.sent().unwrap();
    let one = interface(&daemon);
    assert_eq!(unaccounted(&one), Count::default());
    let before = amount(&one["nic"]["before_attach"]);
    assert!(before.packets > 0, "{one:#}");
    assert_eq!(before.plus(amount(&one["nic"]["sent"])), all, "the interface's own numbers");
    assert!(amount(&one["nic"]["while_attaching"]).packets <= before.packets);
    let ended = daemon.stop().unwrap();
    ended_well(&ended);
    assert_eq!(types(&ended.alerts), [""; 0]);
}

#[test]
fn what_leaves_after_the_monitor_has_ended_is_not_held_against_it() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    let sender = sending_on(&stage);
    interface(&daemon);
    let ended = daemon.stop().unwrap();
    sender.stop();
    ended_well(&ended);
    assert_eq!(types(&ended.alerts), [""; 0]);
}

#[test]
fn an_interface_that_goes_away_under_traffic_is_shown_and_nobody_accused() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let from = stage.from(to);
    // Until the interface is gone, and with it the address.
    let sender = on_cpu(&stage.near, 1, move || while send_udp(from, to, &[100; 50]).is_ok() {}).unwrap();
    interface(&daemon);
    stage.near.ip(&["link", "del", INTERFACE]).unwrap();
    sender.join().unwrap();
    let gone = interface(&daemon);
    assert_eq!((&gone["state"], unaccounted(&gone)), (&json!("gone"), Count::default()));
    let ended = daemon.stop().unwrap();
    ended_well(&ended);
    assert_eq!(types(&ended.alerts), ["interface_unavailable Create"]);
}
