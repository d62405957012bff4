//! Promise: a change can be tried and goes by itself, is saved where it is confirmed and nowhere before; who confirms too
//! late is told; and what nobody has tried is not put in force because a file has changed.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use egress_monitor_tests::{
    daemon::{Daemon, binary},
    stage::{OUTSIDE, PATIENCE, Stage, v4},
};
use serde_json::Value;

use crate::support::lives::{detach, end, home, start};

fn outside() -> SocketAddr {
    SocketAddr::new(v4(OUTSIDE).into(), 9)
}

fn text(stage: &Stage, mode: &str) -> String {
    stage.config(&format!("mode = \"{mode}\"\nepoch = \"100ms\""), "")
}

/// A command of somebody in the host's namespace, who names the daemon by its configuration.
fn run(stage: &Stage, daemon: &Daemon, arguments: &[&str]) -> Output {
    stage.near.run(|| {
        let mut command = Command::new(binary().unwrap());
        command.args(arguments).arg("--config").arg(daemon.home().config());
        command.stdin(Stdio::null()).env_remove("SSH_CONNECTION").output().unwrap()
    })
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat()
}

/// The daemon's configuration in another mode, in a file of its own.
fn candidate(daemon: &Daemon, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(daemon.home().config()).unwrap();
    let changed = text.replace(&format!("mode = \"{from}\""), &format!("mode = \"{to}\""));
    assert_ne!(changed, text);
    let file = daemon.home().path().join("candidate.toml");
    fs::write(&file, changed).unwrap();
    file
}

fn alert(daemon: &Daemon, kind: &str, says: &[&str]) -> Value {
    let kind = format!("\"type\":\"{kind}\"");
    let is = |line: &str| line.contains(&kind) && says.iter().all(|part| line.contains(part));
    let line = daemon.alerts.wait_for(0, PATIENCE, is).unwrap_or_else(|_| panic!("{:#?}", daemon.alerts.all()));
    serde_json::from_str(&line).unwrap()
}

#[test]
fn what_is_tried_goes_by_itself_and_is_saved_when_it_is_confirmed() {
    let stage = Stage::build(false).unwrap();
    let leaves = || stage.leaves(outside(), 5).unwrap();
    let daemon = Daemon::start(&stage.near, &text(&stage, "observe"), &[]).unwrap();
    assert!(leaves());
    let config = daemon.home().config();
    let before = fs::read_to_string(&config).unwrap();
    let file = candidate(&daemon, "observe", "enforce");
    let file = file.to_str().unwrap();

    let tried = run(&stage, &daemon, &["try", file, "--for", "2s"]);
    let page = said(&tried);
    assert!(tried.status.success(), "{page}");
    let effect = page.find("would start to be dropped: 5 packets").unwrap_or_else(|| panic!("{page}"));
    assert!(effect < page.find("ENFORCE on trial for ").unwrap_or_else(|| panic!("{page}")), "{page}");
    assert!(!leaves());
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
    daemon.json_until(&["status"], |status| status["mode"] == "observe").unwrap();
    assert!(leaves());
    // Too late.
    let late = run(&stage, &daemon, &["confirm"]);
    let text = said(&late);
    assert_eq!(late.status.code(), Some(69), "{text}");
    assert!(
        text.contains("nothing is on trial: policy ") && text.contains(" was not confirmed within 2 s: "),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
    assert!(leaves());

    let tried = run(&stage, &daemon, &["try", file, "--for", "1h"]);
    assert!(tried.status.success(), "{}", said(&tried));
    let confirmed = run(&stage, &daemon, &["confirm"]);
    assert!(confirmed.status.success(), "{}", said(&confirmed));
    assert_eq!(fs::read_to_string(&config).unwrap(), fs::read_to_string(file).unwrap());
    assert_eq!(fs::read_to_string(config.with_file_name("config.toml.before")).unwrap(), before);
    assert!(!leaves());
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!((&status["mode"], &status["unconfirmed"]), (&"enforce".into(), &Value::Null));
    // All of it is told, and by whom.
    assert_eq!(
        alert(&daemon, "mode_changed", &["observe → enforce", "by uid 0", "egress-monitor try"])["severity"],
        "Medium"
    );
    assert_eq!(alert(&daemon, "mode_changed", &["enforce → observe", "was not confirmed"])["severity"], "High");
    alert(&daemon, "policy_changed", &["which was on trial, is confirmed", "egress-monitor confirm"]);
    // Confirmed twice is confirmed.
    assert!(run(&stage, &daemon, &["confirm"]).status.success());
    // There is nothing to try in what holds already, and who asks for a way back is told that there is none.
    for again in [&["try", file][..], &["reload", "--confirm", "5min"]] {
        let again = run(&stage, &daemon, again);
        assert_eq!(again.status.code(), Some(69));
        assert!(said(&again).contains("no trial was started"), "{}", said(&again));
    }
    assert!(!leaves());
}

#[test]
fn what_was_tried_when_the_daemon_was_killed_is_not_in_force_afterwards_and_that_is_told() {
    let stage = Stage::build(false).unwrap();
    let leaves = || stage.leaves(outside(), 1).unwrap();
    let mut daemon = start(&stage, home(&stage), "tcx");
    assert!(!leaves());
    let file = candidate(&daemon, "enforce", "observe");
    let tried = run(&stage, &daemon, &["try", file.to_str().unwrap(), "--for", "1h"]);
    assert!(tried.status.success(), "{}", said(&tried));
    assert!(leaves());
    daemon.json(&["status"]).unwrap();
    daemon.signal(libc::SIGKILL).unwrap();
    daemon.wait().unwrap();
    let next = start(&stage, daemon.into_home().unwrap(), "tcx");
    assert!(!leaves());
    alert(&next, "policy_reverted", &["(observe) was not confirmed", "(enforce) is in force again"]);
    let late = run(&stage, &next, &["confirm"]);
    assert_eq!(late.status.code(), Some(69), "{}", said(&late));
    assert!(!leaves());
    // Who did what is on record, over the restart.
    let changes = next.json(&["changes"]).unwrap();
    let told: Vec<_> = changes["changes"].as_array().unwrap().iter().map(|of| (&of["type"], &of["by"])).collect();
    let by_whom = |kind: &str, by: &str| {
        told.iter().any(|(of, who)| **of == kind && who.as_str().unwrap_or_default().contains(by))
    };
    assert!(by_whom("mode_changed", "egress-monitor try ") && by_whom("killed", ""), "{changes:#}");
    assert!(by_whom("policy_reverted", "") && changes["truncated"] == false, "{changes:#}");
    let status = next.json(&["status"]).unwrap();
    // What is in force is explained, whatever the file says by now.
    next.home().configure(&text(&stage, "observe").replace("\"EEA\"", "\"EEA + SG\"")).unwrap();
    let explained = run(&stage, &next, &["explain", "--running", &v4(OUTSIDE).to_string()]);
    let page = said(&explained);
    assert!(explained.status.success() && page.contains(status["policy"]["digest"].as_str().unwrap()), "{page}");
    let home = end(next, libc::SIGTERM);
    detach(&stage, home.bpffs().to_str().unwrap());
}

#[test]
fn what_waits_waits_on_when_the_daemon_was_killed_and_is_taken_when_somebody_starts_it_anew() {
    let stage = Stage::build(false).unwrap();
    let leaves = || stage.leaves(outside(), 1).unwrap();
    let daemon = start(&stage, home(&stage), "tcx");
    daemon.home().configure(&text(&stage, "observe")).unwrap();
    alert(&daemon, "change_waits", &["mode = \\\"observe\\\""]);
    assert!(!leaves());
    daemon.json(&["status"]).unwrap();
    let next = start(&stage, end(daemon, libc::SIGKILL), "tcx");
    alert(&next, "change_waits", &["mode = \\\"observe\\\""]);
    assert!(!leaves());
    let last = start(&stage, end(next, libc::SIGTERM), "tcx");
    assert!(leaves());
    // By whom it was changed is told at the start, too.
    assert_eq!(alert(&last, "mode_changed", &["(enforce) → ", "by the start of the daemon"])["severity"], "High");
    let home = end(last, libc::SIGTERM);
    detach(&stage, home.bpffs().to_str().unwrap());
}

#[test]
fn whoever_would_be_cut_off_is_asked_first() {
    let stage = Stage::build(false).unwrap();
    let daemon = Daemon::start(&stage.near, &text(&stage, "observe"), &[]).unwrap();
    let far = SocketAddr::new(v4(OUTSIDE).into(), 2222);
    let listener = stage.far.run(|| TcpListener::bind(far)).unwrap();
    let connection = stage.near.run(|| TcpStream::connect(far)).unwrap();
    let file = candidate(&daemon, "observe", "enforce");
    let file = file.to_str().unwrap();
    let asked = run(&stage, &daemon, &["try", file]);
    let text = said(&asked);
    assert_eq!(asked.status.code(), Some(64), "{text}");
    assert!(
        text.contains(&format!("! an open connection with {}", far.ip())) && text.contains("WILL be cut off"),
        "{text}"
    );
    assert_eq!(daemon.json(&["status"]).unwrap()["mode"], "observe");
    let compared = run(&stage, &daemon, &["diff", "--running", file]);
    let text = said(&compared);
    assert!(text.contains(&format!("! this host would be cut off from: open connection {}", far.ip())), "{text}");
    assert!(run(&stage, &daemon, &["try", file, "--yes"]).status.success());
    assert_eq!(daemon.json(&["status"]).unwrap()["mode"], "enforce");
    drop((connection, listener));
}

#[test]
fn a_file_that_changes_puts_nothing_in_force_that_should_be_tried_and_lists_count_all_the_same() {
    let stage = Stage::build(false).unwrap();
    let leaves = || stage.leaves(outside(), 1).unwrap();
    let text = |mode: &str, inside: &str| {
        let text = text(&stage, mode).replace("inside = \"EEA\"", &format!("inside = \"{inside}\""));
        format!("{text}[policy]\nallowlists = [\"*.txt\"]\n")
    };
    let daemon = Daemon::start(&stage.near, &text("enforce", "EEA"), &[]).unwrap();
    assert!(!leaves());
    for (mode, inside, what) in
        [("observe", "EEA", "mode = \\\"observe\\\""), ("enforce", "EEA + SG", "inside gains SG")]
    {
        daemon.home().configure(&text(mode, inside)).unwrap();
        let line = alert(&daemon, "change_waits", &[what]);
        assert_eq!(line["severity"], "High");
        assert!(!leaves());
        // What else changes counts, with the configuration as it was.
        let list = daemon.home().config().with_file_name("partner.txt");
        fs::write(&list, format!("{}/32\n", v4(OUTSIDE))).unwrap();
        let rules = |daemon: &Daemon| daemon.json(&["rules"]).unwrap()["rules"].as_array().unwrap().len();
        daemon.json_until(&["rules"], |page| page["rules"].as_array().unwrap().len() == 2).unwrap();
        assert!(leaves());
        assert_eq!(daemon.json(&["status"]).unwrap()["mode"], "enforce");
        fs::write(&list, "# nobody\n").unwrap();
        daemon.json_until(&["rules"], |page| page["rules"].as_array().unwrap().len() == 1).unwrap();
        assert!(!leaves());
        assert_eq!(rules(&daemon), 1);
        let status = daemon.json(&["status"]).unwrap();
        let open = status["findings"].as_array().unwrap().iter().any(|finding| finding["type"] == "change_waits");
        assert!(open, "{status:#}");
        // Taken back, it waits no more.
        daemon.home().configure(&text("enforce", "EEA")).unwrap();
        let resolved = |line: &str| line.contains("\"change_waits\"") && line.contains("resolved");
        daemon.alerts.wait_for(0, PATIENCE, resolved).unwrap();
        assert!(!leaves());
    }
    daemon.home().configure(&text("observe", "EEA")).unwrap();
    daemon.json(&["reload"]).unwrap();
    assert!(leaves());
}
