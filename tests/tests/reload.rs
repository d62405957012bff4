//! Promise: a reload is all or nothing. Under traffic, each packet is under the old policy or the new one and counted
//! as that; a file that is wrong changes nothing and is reported with its line.

use std::net::SocketAddr;

use egress_monitor_tests::{
    background::{Background, Stop},
    capture::{Capture, Direction},
    daemon::Daemon,
    monitor::api::Flows,
    stage::{INTERFACE, OUTSIDE, PATIENCE, Stage, accounted, flows, v4},
};

/// Datagrams to the outside without end, until told to stop; gives how many.
fn traffic(stage: &Stage) -> Background<u64> {
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let from = stage.from(to);
    let work = move |stop: &Stop| {
        let socket = std::net::UdpSocket::bind(from).unwrap();
        let mut sent = 0;
        while !stop.asked() {
            socket.send_to(&[1; 100], to).unwrap();
            sent += 1;
        }
        sent
    };
    Background::on_cpu(&stage.near, 1, work).unwrap()
}

fn packets(flows: &Flows, verdict: &str) -> u64 {
    flows.flows.iter().filter(|row| row.verdict == verdict).map(|row| row.sums.packets).sum()
}

fn in_mode(daemon: &Daemon, mode: &str) {
    daemon.json_until(&["status"], |status| status["mode"] == mode).unwrap();
}

#[test]
fn a_switch_under_traffic_splits_the_counters_exactly() {
    let stage = Stage::build(false).unwrap();
    let observe = stage.config("epoch = \"100ms\"", "");
    let enforce = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
    let lifted = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "on_outside = \"allow\"");
    let daemon = Daemon::start(&stage.near, &observe, &[]).unwrap();
    let capture = Capture::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();
    let traffic = traffic(&stage);
    for (config, mode, verdict) in [
        (&enforce, "enforce", "denied"),
        (&observe, "observe", "observed"),
        (&enforce, "enforce", "denied"),
        (&lifted, "enforce", "allowed"),
        (&observe, "observe", "observed"),
    ] {
        let before = packets(&flows(&daemon).unwrap(), verdict);
        daemon.reconfigure(config).unwrap();
        in_mode(&daemon, mode);
        // Traffic under the new policy, over an epoch or more.
        let more = |answer: &serde_json::Value| {
            let rows = answer["flows"].as_array().unwrap().iter();
            let now: u64 =
                rows.filter(|row| row["verdict"] == verdict).map(|row| row["packets"].as_u64().unwrap()).sum();
            now > before
        };
        daemon.json_until(&["flows"], more).unwrap();
    }
    let sent = traffic.stop();
    let flows = flows(&daemon).unwrap();
    let [allowed, observed, denied] = ["allowed", "observed", "denied"].map(|verdict| packets(&flows, verdict));
    assert_eq!(allowed + observed + denied, sent);
    assert_eq!(accounted(&flows), flows.hook);
    assert_eq!(flows.hook.packets, sent);
    capture.wait_until(PATIENCE, |captured| captured.total.packets >= allowed + observed).unwrap();
    assert_eq!(capture.stop().unwrap().total.packets, allowed + observed);
    assert_eq!(daemon.stop().unwrap().status.code(), Some(0));
}

#[test]
fn a_wrong_file_changes_nothing_and_is_reported_with_its_line() {
    let stage = Stage::build(false).unwrap();
    let enforce = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
    let daemon = Daemon::start(&stage.near, &enforce, &[]).unwrap();
    let digest = daemon.json(&["status"]).unwrap()["policy"]["digest"].clone();
    let wrong = stage.config("mode = \"observe\"\nepohc = \"100ms\"", "");
    let line = wrong.lines().position(|line| line.starts_with("epohc")).unwrap() + 1;
    let from = daemon.log.count();
    daemon.reconfigure(&wrong).unwrap();
    let place = format!("{}:{line}", daemon.home().config().display());
    let reported = daemon.log.wait_for(from, PATIENCE, |said| said.contains(&place)).unwrap();
    assert!(reported.contains("epohc") && reported.contains("epoch"), "the key and the nearest known one: {reported}");
    let status = daemon.json_until(&["status"], |status| status["losses"]["reloads_refused"] == 1).unwrap();
    assert_eq!((&status["policy"]["digest"], status["mode"].as_str()), (&digest, Some("enforce")));
    assert!(status["reload_error"].as_str().unwrap().contains(&place));
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"reload_refused\"")).unwrap();

    let before = stage.sent().unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    stage.near.run(|| egress_monitor_tests::traffic::send_udp(stage.from(to), to, &[1; 5])).unwrap();
    assert_eq!(packets(&flows(&daemon).unwrap(), "denied"), 5);
    assert_eq!(stage.sent().unwrap(), before);

    // A right one mends it.
    daemon.reconfigure(&stage.config("mode = \"observe\"\nepoch = \"100ms\"", "")).unwrap();
    let status = daemon.json_until(&["status"], |status| status["mode"] == "observe").unwrap();
    assert!(status["reload_error"].is_null(), "{status:#}");
}
