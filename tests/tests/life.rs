//! Promise: whatever way the monitor ends, nothing of it stays on an interface, and a qdisc of somebody else's does.
//! But for a clsact filter, which outlives SIGKILL: the next start takes its place.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TcAttachType};
use egress_monitor_tests::{
    daemon::{Daemon, Ended, Home},
    netns::Namespace,
    stage::{ABROAD, INTERFACE, OUTSIDE, PATIENCE, Stage, abroad, both, v4, v6},
    traffic::{send_frames, send_udp},
};

/// TCX programs, clsact filters, and whether there is a clsact qdisc.
fn attached(namespace: &Namespace) -> (usize, usize, bool) {
    let programs = namespace.run(|| SchedClassifier::query_tcx(INTERFACE, TcAttachType::Egress)).unwrap().1.len();
    let filters = namespace.tc(&["filter", "show", "dev", INTERFACE, "egress"]).unwrap();
    let filters = filters.lines().filter(|line| line.contains(" handle ")).count();
    (programs, filters, namespace.tc(&["qdisc", "show", "dev", INTERFACE]).unwrap().contains("clsact"))
}

const NOTHING: (usize, usize, bool) = (0, 0, false);

fn start(stage: &Stage, arguments: &[&str]) -> Daemon {
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), arguments).unwrap();
    let expected = if arguments.contains(&"clsact") { (0, 1) } else { (1, 0) };
    let (programs, filters, _) = attached(&stage.near);
    assert_eq!((programs, filters), expected);
    daemon
}

fn ended_well(ended: &Ended) {
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    assert!(ended.log.iter().any(|line| line.starts_with("egress-monitor: detached after ")), "{:#?}", ended.log);
}

#[test]
fn a_signal_takes_everything_off_and_prints_totals() {
    let stage = Stage::build(false).unwrap();
    for hook in ["tcx", "clsact"] {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let mut daemon = start(&stage, &["--hook", hook]);
            daemon.signal(signal).unwrap();
            ended_well(&daemon.wait().unwrap());
            assert_eq!(attached(&stage.near), NOTHING, "{hook}, signal {signal}");
            assert!(!daemon.home().socket().exists());
        }
    }
}

#[test]
fn the_end_of_the_time_takes_everything_off() {
    let stage = Stage::build(false).unwrap();
    let begun = Instant::now();
    let mut daemon = start(&stage, &["--duration", "3s"]);
    ended_well(&daemon.wait().unwrap());
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert_eq!(attached(&stage.near), NOTHING);
}

#[test]
fn a_killed_monitor_leaves_no_link() {
    let stage = Stage::build(false).unwrap();
    let mut daemon = start(&stage, &["--hook", "tcx"]);
    daemon.signal(libc::SIGKILL).unwrap();
    assert_eq!(daemon.wait().unwrap().status.code(), None);
    // The kernel takes the link away a moment after its descriptor is closed.
    let deadline = Instant::now() + PATIENCE;
    while attached(&stage.near) != NOTHING {
        assert!(Instant::now() < deadline, "still attached: {:?}", attached(&stage.near));
    }
}

#[test]
fn an_interface_that_is_not_there_stops_nothing_and_is_told() {
    let stage = Stage::build(false).unwrap();
    let home = Home::new().unwrap();
    home.configure(&stage.config("", "")).unwrap();
    let arguments = ["--interface", INTERFACE, "--interface", "nosuch0"];
    let mut daemon = Daemon::spawn(&stage.near, home, &arguments).unwrap();
    daemon.wait_until_ready().unwrap();
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"interface_unavailable\"")).unwrap();
    assert!(line.contains("'nosuch0': it does not exist: there are lo, eth0"), "{line}");
    assert_ne!(attached(&stage.near), NOTHING);
    assert_eq!(daemon.stop().unwrap().status.code(), Some(0));
    assert_eq!(attached(&stage.near), NOTHING);
}

#[test]
fn a_port_that_is_taken_and_an_alert_file_that_cant_be_written_stop_nothing_and_are_tried_again() {
    let stage = Stage::build(false).unwrap();
    let taken = stage.near.run(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = taken.local_addr().unwrap();
    let config = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
    let config = config.replace("listen = \"\"", &format!("listen = \"{address}\""));
    let folder = stage.folder().join("later");
    let alerts = folder.join("alerts.jsonl");
    let daemon = Daemon::start(&stage.near, &config, &["--alerts-file", alerts.to_str().unwrap()]).unwrap();
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"http_unavailable\"")).unwrap();
    let open = |status: &serde_json::Value, name: &str| status["findings"].to_string().contains(name);
    daemon.json_until(&["status"], |status| open(status, "sink_behind")).unwrap();
    let (before, to) = (stage.sent().unwrap(), SocketAddr::new(v4(OUTSIDE).into(), 9));
    stage.near.run(|| send_udp(stage.from(to), to, &[1; 3])).unwrap();
    assert_eq!(stage.sent().unwrap().since(before).packets, 0);
    // The cause goes.
    drop(taken);
    std::fs::create_dir(&folder).unwrap();
    daemon.json_until(&["status"], |status| !open(status, "http_unavailable")).unwrap();
    stage.near.run(|| TcpStream::connect(address)).unwrap();
    let to = SocketAddr::new(v6(OUTSIDE).into(), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &[1])).unwrap();
    daemon.json_until(&["status"], |status| !open(status, "sink_behind")).unwrap();
    // It has all of them, those too that were made before it could be written.
    let ended = daemon.stop().unwrap();
    let written = std::fs::read_to_string(&alerts).unwrap();
    assert_eq!(written.lines().collect::<Vec<_>>(), ended.alerts);
    assert!(both(OUTSIDE).iter().all(|to| written.contains(&to.to_string())), "{written}");
}

/// Findings go out in what was taken ahead, those on incidents when there is room.
#[test]
fn on_a_full_disk_alerts_wait_that_is_told_and_room_mends_it() {
    const FLOWS: usize = 20;
    let stage = Stage::build(false).unwrap();
    let home = Home::new().unwrap();
    home.keep_state_on_a_small_disk().unwrap();
    home.configure(&(stage.config("epoch = \"100ms\"", "") + ABROAD)).unwrap();
    let filler = home.path().join("state/filler");
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    assert!(std::fs::write(&filler, vec![1; 2 << 20]).is_err());
    // An incident each.
    let send = |networks: std::ops::Range<u8>| {
        let frames: Vec<Vec<u8>> = networks.map(|third| abroad(third, 9)).collect();
        stage.near.run(|| send_frames(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap();
    };
    // More than what is left in the page that was taken last.
    send(100..105);
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"outbox_unwritable\"")).unwrap();
    send(0..FLOWS as u8);
    let queued = |sinks: &serde_json::Value| sinks["queued"].as_u64();
    daemon.json_until(&["sinks"], |sinks| queued(sinks) >= Some(FLOWS as u64)).unwrap();
    std::fs::remove_file(&filler).unwrap();
    daemon.json_until(&["sinks"], |sinks| queued(sinks) == Some(0) && sinks["unwritable"].is_null()).unwrap();
    let ended = daemon.stop().unwrap();
    let told = |third: usize| {
        let to = format!("\"network\":\"198.19.{third}.0/24\"");
        ended.alerts.iter().filter(|line| line.contains(&to)).count()
    };
    assert_eq!((0..FLOWS).chain(100..105).map(told).collect::<Vec<_>>(), [1; FLOWS + 5]);
    for (line, number) in ended.alerts.iter().zip(1..) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["metadata"]["sequence"], number);
    }
}

/// The next start goes on with the numbers, and tells nothing again.
#[test]
fn alerts_are_on_disk_with_numbers_that_go_on_over_a_restart() {
    let stage = Stage::build(false).unwrap();
    let home = Home::new().unwrap();
    home.configure(&stage.config("epoch = \"100ms\"", "")).unwrap();
    let folder = home.path().join("state/alerts");
    let (mut home, mut told) = (Some(home), Vec::new());
    // What is open goes on over the restart, and is told once.
    for address in both(OUTSIDE) {
        let mut daemon = Daemon::spawn(&stage.near, home.take().unwrap(), &[]).unwrap();
        daemon.wait_until_ready().unwrap();
        let to = SocketAddr::new(address, 9);
        stage.near.run(|| send_udp(stage.from(to), to, &[1; 3])).unwrap();
        daemon.signal(libc::SIGTERM).unwrap();
        let ended = daemon.wait().unwrap();
        ended_well(&ended);
        assert!(ended.alerts.iter().any(|line| line.contains(&address.to_string())), "{:#?}", ended.alerts);
        told.extend(ended.alerts);
        home = Some(daemon.into_home().unwrap());
    }
    let kept = std::fs::read_to_string(folder.join("000000000001.jsonl")).unwrap();
    assert_eq!(kept.lines().collect::<Vec<_>>(), told);
    for (line, number) in kept.lines().zip(1..) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["metadata"]["sequence"], number);
    }
}

/// Somebody has the alerts of a daemon and reads none of them.
#[test]
fn who_does_not_read_the_alerts_does_not_hold_up_the_end() {
    let stage = Stage::build(false).unwrap();
    let fifo = stage.folder().join("fifo");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: a string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let config = stage.config("epoch = \"100ms\"", "");
    let mut daemon = Daemon::start(&stage.near, &config, &["--alerts-file", fifo.to_str().unwrap()]).unwrap();
    daemon.signal(libc::SIGTERM).unwrap();
    ended_well(&daemon.wait().unwrap());
}

#[test]
fn a_foreign_qdisc_is_used_and_stays() {
    let stage = Stage::build(false).unwrap();
    stage.near.tc(&["qdisc", "add", "dev", INTERFACE, "clsact"]).unwrap();
    let daemon = start(&stage, &["--hook", "clsact"]);
    ended_well(&daemon.stop().unwrap());
    assert_eq!(attached(&stage.near), (0, 0, true));
}

#[test]
fn the_filter_of_a_killed_monitor_is_replaced_by_the_next_one() {
    let stage = Stage::build(false).unwrap();
    let program = |whose: &str| {
        let shown = stage.near.tc(&["filter", "show", "dev", INTERFACE, "egress"]).unwrap();
        let id = shown.split_whitespace().skip_while(|word| *word != "id").nth(1).map(str::to_owned);
        id.unwrap_or_else(|| panic!("{whose}: no program id in {shown}"))
    };
    let mut killed = start(&stage, &["--hook", "clsact"]);
    killed.signal(libc::SIGKILL).unwrap();
    assert_eq!(killed.wait().unwrap().status.code(), None);
    assert_eq!(attached(&stage.near), (0, 1, true), "a filter holds its program");
    let left = program("left by the killed one");

    let next = start(&stage, &["--hook", "clsact"]);
    assert_ne!(program("of the next one"), left);
    ended_well(&next.stop().unwrap());
    // Whose the qdisc is can't be known any more; empty, it does nothing.
    assert_eq!(attached(&stage.near), (0, 0, true));
}

#[test]
fn a_control_socket_that_cant_be_made_stops_nothing_and_is_tried_again() {
    let stage = Stage::build(false).unwrap();
    let home = Home::new().unwrap();
    home.configure(&stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "")).unwrap();
    let socket = home.socket();
    std::fs::create_dir_all(&socket).unwrap();
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    let said = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"control_unavailable\"")).unwrap();
    assert!(said.contains("is in the way and not a socket"), "{said}");
    assert!(!stage.leaves(SocketAddr::new(v4(OUTSIDE).into(), 9), 3).unwrap());
    std::fs::remove_dir(&socket).unwrap();
    daemon.wait_until_ready().unwrap();
    let status = daemon.json_until(&["status"], |status| status["findings"].as_array().unwrap().is_empty()).unwrap();
    assert_eq!(status["interfaces"][0]["dropped"]["packets"], 3, "{status:#}");
}
