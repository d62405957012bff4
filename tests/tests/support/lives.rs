//! Daemons that outlive themselves, one after the other on the interface of a stage's host.

use std::{fs, net::SocketAddr, process::Stdio, time::Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    stage::{INTERFACE, OUTSIDE, PATIENCE, Stage, v4},
};
use serde_json::Value;

pub const HOOKS: [&str; 2] = ["tcx", "clsact"];

pub fn outside() -> SocketAddr {
    SocketAddr::new(v4(OUTSIDE).into(), 9)
}

pub fn config(stage: &Stage) -> String {
    stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "")
}

pub fn home(stage: &Stage) -> Home {
    let home = Home::outliving().unwrap();
    home.configure(&config(stage)).unwrap();
    home
}

pub fn start(stage: &Stage, home: Home, hook: &str) -> Daemon {
    let mut daemon = Daemon::spawn(&stage.near, home, &["--hook", hook]).unwrap();
    daemon.wait_until_ready().unwrap();
    daemon
}

pub fn end(mut daemon: Daemon, signal: i32) -> Home {
    daemon.signal(signal).unwrap();
    let ended = daemon.wait().unwrap();
    if signal != libc::SIGKILL {
        assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    }
    daemon.into_home().unwrap()
}

/// Waits until the policy in force is the one that a start falls back to.
pub fn confirmed(daemon: &Daemon) {
    let digest = daemon.json(&["status"]).unwrap()["policy"]["digest"].clone();
    let file = daemon.home().path().join("state/confirmed.json");
    let kept = || serde_json::from_slice::<Value>(&fs::read(&file).unwrap_or_default()).unwrap_or_default();
    let deadline = Instant::now() + PATIENCE;
    while kept()["digest"] != digest {
        assert!(Instant::now() < deadline, "{} is not that of {digest}", file.display());
        std::thread::yield_now();
    }
}

/// Programs by TCX and filters on the interface.
pub fn attached(stage: &Stage) -> (usize, usize) {
    // A kernel without TCX has none.
    let programs = stage.near.run(|| SchedClassifier::query_tcx(INTERFACE, TcAttachType::Egress));
    let programs = programs.map_or(0, |(_, programs)| programs.len());
    let filters = stage.near.tc(&["filter", "show", "dev", INTERFACE, "egress"]).unwrap();
    (programs, filters.lines().filter(|line| line.contains(" handle ")).count())
}

pub fn one(hook: &str) -> (usize, usize) {
    if hook == "tcx" { (1, 0) } else { (0, 1) }
}

/// Packets and bytes, and what of them was dropped, as the finding says.
pub fn gap(daemon: &Daemon) -> Vec<u64> {
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"gap\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let text = line["finding_info"]["desc"].as_str().unwrap().to_owned();
    assert!(text.starts_with(&format!("{INTERFACE}: ")), "{text}");
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Ends a daemon, and what outlives it.
pub fn detach_from(stage: &Stage, daemon: Daemon) {
    let home = end(daemon, libc::SIGTERM);
    detach(stage, home.bpffs().to_str().unwrap());
}

pub fn detach(stage: &Stage, bpffs: &str) -> String {
    let mut command = stage.near.command(binary().unwrap()).unwrap();
    let output = command.args(["detach", "--bpffs", bpffs]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
