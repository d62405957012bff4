//! Promise: `egress-monitor alerts` shows every alert that is kept, once, in order and byte by byte, whether a daemon
//! runs or not; whoever follows misses none over a restart; and who acknowledges one is on record, for root alone.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    lines::Lines,
    stage::{OUTSIDE, PATIENCE, Stage, both},
    traffic::send_udp,
    user::{NOBODY, as_user, group},
};
use serde_json::Value;

use crate::support::lives::end;

/// A group that every Debian has.
const SECURITY: &str = "sys";

/// A home that members of a group may ask in, and the daemon in it.
fn start(stage: &Stage, home: Home) -> Daemon {
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    daemon
}

fn home(stage: &Stage) -> Home {
    let mut home = Home::new().unwrap();
    home.serve("", SECURITY).unwrap();
    home.configure(&stage.config("epoch = \"100ms\"", "")).unwrap();
    home
}

/// Sends to outside: an incident of its own for each of the two ports, since one is of IPv4 and the other of IPv6.
fn leave(stage: &Stage, port: u16) {
    let [v4, v6] = both(OUTSIDE);
    let to = SocketAddr::new(if port == 1_001 { v4 } else { v6 }, port);
    stage.near.run(|| send_udp(stage.from(to), to, &[10; 3])).unwrap();
}

fn is_to(line: &str, port: u16) -> bool {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    line["class_uid"] == 4001 && line["dst_endpoint"]["port"] == port
}

fn sequence(line: &str) -> u64 {
    let line: Value = serde_json::from_str(line).unwrap();
    line["metadata"]["sequence"].as_u64().unwrap()
}

fn alerts(program: &Path, home: &Home, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("alerts").args(arguments).arg("--config").arg(home.config()).stdin(Stdio::null());
    command
}

fn shown(home: &Home, arguments: &[&str]) -> String {
    let output = alerts(&binary().unwrap(), home, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What is told each minute that it runs: nobody gets it who does not ask for it.
fn is_heartbeat(line: &str) -> bool {
    line.contains("\"type\":\"heartbeat\"")
}

/// Those lines that are no heartbeats.
fn events(lines: &[String]) -> Vec<String> {
    lines.iter().filter(|line| !is_heartbeat(line)).cloned().collect()
}

/// Lines of all segments.
fn on_disk(home: &Home) -> Vec<String> {
    let directory = home.path().join("state/alerts");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort_unstable();
    files
        .iter()
        .flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// `alerts --follow --json`, ended when it is dropped.
struct Follower {
    child: Child,
    lines: Lines,
    said: Lines,
}

impl Follower {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = alerts(&binary().unwrap(), home, &[&["--follow", "--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self { child, lines: Lines::collect(out), said: Lines::collect(err) }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_follows_gets_every_alert_once_and_as_it_is_over_a_restart_and_what_went() {
    let stage = Stage::build(false).unwrap();
    let daemon = start(&stage, home(&stage));
    let follower = Follower::start(daemon.home(), &["--since", "1h"]);
    leave(&stage, 1_001);
    follower.lines.wait_for(0, PATIENCE, |line| is_to(line, 1_001)).unwrap();
    let home = end(daemon, libc::SIGINT);
    // What is told at the end nobody but the disk has.
    let before = on_disk(&home);
    let last = events(&before).last().unwrap().clone();
    follower.lines.wait_for(0, PATIENCE, |line| line == last).unwrap();
    assert_eq!(follower.lines.all(), events(&before));
    assert!(follower.said.all().iter().any(|line| line.contains("no daemon answers; what is shown is on disk")));
    // A segment goes that it has had: it does not matter.
    for file in fs::read_dir(home.path().join("state/alerts")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "jsonl") {
            fs::remove_file(file).unwrap();
        }
    }
    let daemon = start(&stage, home);
    leave(&stage, 1_002);
    follower.lines.wait_for(0, PATIENCE, |line| is_to(line, 1_002)).unwrap();
    let home = end(daemon, libc::SIGINT);
    let after = on_disk(&home);
    let last = events(&after).last().unwrap().clone();
    follower.lines.wait_for(0, PATIENCE, |line| line == last).unwrap();
    let written = [before, after].concat();
    assert_eq!(follower.lines.all(), events(&written));
    let numbers: Vec<u64> = written.iter().map(|line| sequence(line)).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn filters_choose_the_same_with_a_daemon_and_without_and_only_root_reads_the_disk() {
    let stage = Stage::build(false).unwrap();
    let daemon = start(&stage, home(&stage));
    leave(&stage, 1_001);
    daemon.alerts.wait_for(0, PATIENCE, |line| is_to(line, 1_001)).unwrap();
    let home = end(daemon, libc::SIGINT);
    let all = on_disk(&home);
    let chosen = |arguments: &[&str]| -> Vec<u64> {
        shown(&home, &[&["--json"], arguments].concat()).lines().map(sequence).collect()
    };
    let numbers = |wanted: &dyn Fn(&Value) -> bool| -> Vec<u64> {
        let lines = all.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| wanted(line)).map(|line| line["metadata"]["sequence"].as_u64().unwrap()).collect()
    };
    let cases: [(&[&str], Vec<u64>); 6] = [
        (&[], numbers(&|line| line["unmapped"]["type"] != "heartbeat")),
        (&["--type", "heartbeat"], numbers(&|line| line["unmapped"]["type"] == "heartbeat")),
        (&["--severity", "high"], numbers(&|line| line["severity_id"].as_u64() >= Some(4))),
        (&["--type", "started,egress"], {
            numbers(&|line| ["egress", "started"].iter().any(|of| line["unmapped"]["type"] == *of))
        }),
        (&["--country", "SG"], numbers(&|line| line["unmapped"]["country"] == "SG")),
        (&["--country", "CN"], vec![]),
    ];
    for (arguments, expected) in &cases {
        assert_eq!(chosen(arguments), *expected, "{arguments:?}");
    }
    assert!(cases[..5].iter().all(|(_, expected)| !expected.is_empty()));
    assert_eq!(shown(&home, &["--country", "CN"]), "no alerts like that are kept\n");
    let wrong = alerts(&binary().unwrap(), &home, &["--severity", "worst"]).output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(64), "{said}");
    assert!(said.contains("--severity=worst: informational, low, medium, high or critical"), "{said}");
    // Whoever is not root reads nothing, and is told why.
    let program = home.path().join("egress-monitor");
    fs::copy(binary().unwrap(), &program).unwrap();
    let mut command = alerts(&program, &home, &[]);
    as_user(&mut command, NOBODY, &[group(SECURITY).unwrap()]);
    let refused = command.output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(69), 1), "{said}");
    assert!(said.contains("no daemon answers") && said.contains("can't be read"), "{said}");
    // The same lines by the daemon, byte by byte, and for members of the group.
    let daemon = start(&stage, home);
    let mut command = alerts(&program, daemon.home(), &["--json"]);
    as_user(&mut command, NOBODY, &[group(SECURITY).unwrap()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let events = events(&all);
    assert_eq!(text.lines().take(events.len()).collect::<Vec<_>>(), events);
}

fn acknowledge(daemon: &Daemon, arguments: &[&str]) -> Output {
    let mut command = alerts(&binary().unwrap(), daemon.home(), &["ack"]);
    command.args(arguments).output().unwrap()
}

#[test]
fn who_acknowledges_an_alert_is_on_record_and_only_root_does() {
    let stage = Stage::build(false).unwrap();
    let daemon = start(&stage, home(&stage));
    leave(&stage, 1_001);
    leave(&stage, 1_002);
    let [first, second] = [1_001, 1_002].map(|port| {
        let line = daemon.alerts.wait_for(0, PATIENCE, |line| is_to(line, port)).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    });
    let number = first["metadata"]["sequence"].to_string();
    let program = daemon.home().path().join("egress-monitor");
    fs::copy(binary().unwrap(), &program).unwrap();
    let mut command = alerts(&program, daemon.home(), &["ack", &number]);
    as_user(&mut command, NOBODY, &[group(SECURITY).unwrap()]);
    let refused = command.output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(69), "{said}");
    assert!(said.contains("/api/v1/alerts/ack takes the role 'root', and yours is 'security'"), "{said}");
    assert!(!daemon.home().path().join("state/acknowledged.json").exists());

    let unknown = acknowledge(&daemon, &["4711"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no alert \"4711\" is kept"), "{unknown:?}");
    let done = acknowledge(&daemon, &[&number, "--note", "known backup"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.starts_with(&format!("acknowledged: alert {number}, egress: ")), "{said}");
    // By its incident: all that is told of that.
    let incident = second["metadata"]["correlation_uid"].as_str().unwrap();
    assert!(acknowledge(&daemon, &[incident]).status.success());

    let told = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("note: known backup")).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["unmapped"]["type"], &told["severity"]), (&"alert_acknowledged".into(), &"Informational".into()));
    let text = told["finding_info"]["desc"].as_str().unwrap();
    assert!(text.starts_with(&format!("alert {number} (egress: ")) && text.contains("; by uid 0"), "{text}");
    let home = end(daemon, libc::SIGINT);
    let kept: Value = serde_json::from_slice(&fs::read(home.path().join("state/acknowledged.json")).unwrap()).unwrap();
    assert_eq!((&kept["format"], &kept["acknowledged"][0]["id"]), (&1.into(), &first["metadata"]["uid"]));

    // By the disk, and by the daemon that follows.
    let marked = |text: &str| text.lines().filter(|line| line.contains(" [acknowledged ")).count();
    assert_eq!(marked(&shown(&home, &["--type", "egress", "--severity", "high"])), 2);
    let daemon = start(&stage, home);
    let text = shown(daemon.home(), &["--type", "egress", "--severity", "high"]);
    assert_eq!(marked(&text), 2, "{text}");
    assert!(text.contains("by uid 0") && text.contains(": known backup]"), "{text}");
}
