//! Promise: a mode that somebody sets by hand outranks the configuration until it ends, whatever is reloaded and however
//! often the daemon is restarted, and never unnoticed.

use std::{fs, net::SocketAddr};

use egress_monitor_tests::{
    daemon::Daemon,
    stage::{OUTSIDE, PATIENCE, Stage, v4},
};
use serde_json::Value;

fn text(stage: &Stage, mode: &str) -> String {
    stage.config(&format!("mode = \"{mode}\"\nepoch = \"100ms\""), "")
}

fn passes(stage: &Stage) -> bool {
    stage.leaves(SocketAddr::new(v4(OUTSIDE).into(), 9), 5).unwrap()
}

/// An alert of this kind that says all of this.
fn alert(daemon: &Daemon, kind: &str, says: &[&str]) -> Value {
    let kind = format!("\"type\":\"{kind}\"");
    let line =
        daemon.alerts.wait_for(0, PATIENCE, |line| line.contains(&kind) && says.iter().all(|part| line.contains(part)));
    serde_json::from_str(&line.unwrap()).unwrap()
}

#[test]
fn a_mode_set_by_hand_outranks_the_file_and_survives_restarts_until_it_is_given_back() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &text(&stage, "enforce"), &[]).unwrap();
    assert!(!passes(&stage));
    let shown = daemon.json(&["mode"]).unwrap();
    assert_eq!((&shown["mode"], &shown["by_hand"]), (&"enforce".into(), &Value::Null));
    for refused in [&["mode", "observe"][..], &["mode", "observe", "--reason", " "], &["mode", "file", "--for", "1h"]] {
        assert_eq!(daemon.ask(refused).unwrap().status.code(), Some(64), "{refused:?}");
    }
    let set = daemon.json(&["mode", "observe", "--for", "2h", "--reason", "CHG-7: 50% & more"]).unwrap();
    assert_eq!(
        (&set["mode"], &set["configured"], &set["warning"]),
        (&"observe".into(), &"enforce".into(), &Value::Null)
    );
    assert_eq!(set["by_hand"]["reason"], "CHG-7: 50% & more");
    assert!((7_100..=7_200).contains(&set["by_hand"]["seconds_left"].as_i64().unwrap()), "{set:#}");
    assert!(passes(&stage));
    let line = alert(&daemon, "observe_by_hand", &["CHG-7: 50% & more", "the configuration says enforce"]);
    assert_eq!(line["severity"], "High");
    // Whatever is reloaded.
    daemon.home().configure(&text(&stage, "enforce").replace("[[allow]]", "# more\n[[allow]]")).unwrap();
    assert_eq!(daemon.json(&["reload"]).unwrap()["policy"]["mode"], "observe");
    assert!(passes(&stage));
    // Whoever starts again.
    let mut daemon = daemon;
    daemon.signal(libc::SIGKILL).unwrap();
    daemon.wait().unwrap();
    let mut daemon = Daemon::spawn(&stage.near, daemon.into_home().unwrap(), &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    assert!(passes(&stage));
    alert(&daemon, "observe_by_hand", &["CHG-7"]);
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!((&status["mode"], &status["mode_by_hand"]["configured"]), (&"observe".into(), &"enforce".into()));
    let shown = String::from_utf8(daemon.ask(&["status"]).unwrap().stdout).unwrap();
    assert!(shown.contains("BY HAND, set ") && shown.contains("CHG-7"), "{shown}");
    let log = daemon.log.all().join("\n");
    assert!(log.contains("BY HAND, set ") && log.contains("CHG-7"), "{log}");
    let given = daemon.json(&["mode", "file"]).unwrap();
    assert_eq!((&given["mode"], &given["by_hand"]), (&"enforce".into(), &Value::Null));
    assert!(!passes(&stage));
    alert(&daemon, "observe_by_hand", &["resolved"]);
    assert!(!daemon.home().path().join("state/mode.json").exists());
    assert_eq!(daemon.stop().unwrap().status.code(), Some(0));
}

#[test]
fn a_mode_set_by_hand_ends_by_its_time_while_the_daemon_runs_and_while_it_does_not() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &text(&stage, "enforce"), &[]).unwrap();
    daemon.json(&["mode", "observe", "--for", "1s", "--reason", "a test"]).unwrap();
    assert!(passes(&stage));
    daemon.json_until(&["status"], |status| status["mode"] == "enforce").unwrap();
    assert!(!passes(&stage));
    daemon.json(&["mode", "observe", "--for", "1h", "--reason", "a test"]).unwrap();
    let mut daemon = daemon;
    daemon.signal(libc::SIGKILL).unwrap();
    daemon.wait().unwrap();
    let home = daemon.into_home().unwrap();
    // As if that hour were over.
    let file = home.path().join("state/mode.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    kept["ends"]["at"] = 1.into();
    fs::write(&file, kept.to_string()).unwrap();
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    assert!(!passes(&stage));
    assert_eq!(daemon.json(&["status"]).unwrap()["mode_by_hand"], Value::Null);
}

#[test]
fn enforce_by_hand_needs_what_enforce_needs() {
    let stage = Stage::build(false).unwrap();
    let good = text(&stage, "observe");
    let lacks = good.replace("[management]\nnetworks = []\n", "");
    let daemon = Daemon::start(&stage.near, &lacks, &[]).unwrap();
    let enforce = ["mode", "enforce", "--reason", "a test"];
    let refused = daemon.ask(&enforce).unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(69));
    assert!(said.contains("enforce needs [management]"), "{said}");
    assert!(passes(&stage));
    daemon.home().configure(&good).unwrap();
    daemon.json(&["reload"]).unwrap();
    assert_eq!(daemon.json(&enforce).unwrap()["mode"], "enforce");
    assert!(!passes(&stage));
    let line = alert(&daemon, "mode_by_hand", &["the configuration says observe"]);
    assert_eq!(line["severity"], "Medium");
    // Nor is a configuration put in force under it that lacks that.
    daemon.home().configure(&lacks).unwrap();
    let refused = String::from_utf8(daemon.ask(&["reload"]).unwrap().stderr).unwrap();
    assert!(refused.contains("enforce needs [management]"), "{refused}");
    assert!(!passes(&stage));
}
