//! Promise: whatever way the monitor ends, nothing of it stays on an interface, and a qdisc of somebody else's does.
//! But for a clsact filter, which outlives SIGKILL: the next start takes its place.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TcAttachType};
use egress_monitor_tests::{
    daemon::{Daemon, Ended, Home},
    netns::Namespace,
    stage::{INTERFACE, PATIENCE, Stage},
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
fn a_failed_start_leaves_nothing() {
    let stage = Stage::build(false).unwrap();
    let taken = stage.near.run(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = taken.local_addr().unwrap().to_string();
    for (arguments, listen, reported) in [
        (&["--interface", INTERFACE, "--interface", "nosuch0"][..], "", "interface 'nosuch0' does not exist"),
        (&[][..], port.as_str(), port.as_str()),
    ] {
        let home = Home::new().unwrap();
        let config = stage.config("", "").replace("listen = \"\"", &format!("listen = \"{listen}\""));
        home.configure(&config).unwrap();
        let mut daemon = Daemon::spawn(&stage.near, home, arguments).unwrap();
        let ended = daemon.wait().unwrap();
        assert_eq!(ended.status.code(), Some(69));
        assert_eq!(ended.log.len(), 1, "{:#?}", ended.log);
        assert!(ended.log[0].contains(reported), "{}", ended.log[0]);
        assert_eq!(attached(&stage.near), NOTHING);
        assert!(!daemon.home().socket().exists());
    }
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
