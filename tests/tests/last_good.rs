//! Promise: a start whose files are no good enforces what was confirmed last, and says why; and what nobody confirmed is
//! not in force after a start.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    stage::{OUTSIDE, PATIENCE, Stage, v4},
};
use serde_json::Value;

const ENFORCE: &str = "mode = \"enforce\"\nepoch = \"100ms\"";

/// The stage's configuration with an overlay and a list beside it.
fn text(stage: &Stage, monitor: &str) -> String {
    let geo = format!("[geo]\noverlays = [\"{}\"]\n", stage.folder().join("overlay.csv").display());
    stage.config(monitor, "").replace("[geo]\n", &geo) + "[policy]\nallowlists = [\"rules.d/*.toml\"]\n"
}

fn home(stage: &Stage) -> Home {
    let home = Home::outliving().unwrap();
    fs::write(stage.folder().join("overlay.csv"), "192.0.2.0/24,DE\n").unwrap();
    let list = home.path().join("config/rules.d");
    fs::create_dir(&list).unwrap();
    let rule = "[[allow]]\nid = \"more\"\nto = [\"192.0.2.7/32\"]\nreason = \"a test\"\n";
    fs::write(list.join("more.toml"), rule).unwrap();
    home.configure(&text(stage, ENFORCE)).unwrap();
    home
}

fn start(stage: &Stage, home: Home) -> Daemon {
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    daemon
}

fn end(mut daemon: Daemon, signal: i32) -> Home {
    daemon.signal(signal).unwrap();
    daemon.wait().unwrap();
    daemon.into_home().unwrap()
}

/// Ends what outlives the daemon: the next start is as after a boot.
fn detach(stage: &Stage, home: &Home) {
    let mut command = stage.near.command(binary().unwrap()).unwrap();
    assert!(command.args(["detach", "--bpffs"]).arg(home.bpffs()).output().unwrap().status.success());
}

fn passes(stage: &Stage) -> bool {
    stage.leaves(SocketAddr::new(v4(OUTSIDE).into(), 9), 5).unwrap()
}

fn command(arguments: &[&str], config: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary().unwrap());
    let output = command.args(arguments).arg("--config").arg(config).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn alert(daemon: &Daemon, kind: &str) -> Value {
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains(&format!("\"type\":\"{kind}\""))).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// A policy that was in force for good is kept soon after.
fn is_kept(daemon: &Daemon, digest: &Value) -> bool {
    let kept = fs::read(daemon.home().path().join("state/confirmed.json")).unwrap_or_default();
    serde_json::from_slice::<Value>(&kept).is_ok_and(|kept| kept["digest"] == *digest)
}

fn until(what: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !what() {
        assert!(std::time::Instant::now() < deadline, "it does not come");
        std::thread::yield_now();
    }
}

#[test]
fn a_start_whose_files_are_refused_enforces_the_last_good_policy_until_they_are_good_again() {
    let stage = Stage::build(false).unwrap();
    let first = start(&stage, home(&stage));
    let digest = first.json(&["status"]).unwrap()["policy"]["digest"].clone();
    until(|| is_kept(&first, &digest));
    let mut home = end(first, libc::SIGTERM);
    let config = home.config();
    let good = fs::read(&config).unwrap();
    let missing = [stage.folder().join("overlay.csv"), stage.folder().join("one.csv")];
    let list = home.path().join("config/rules.d/more.toml");
    let rule = fs::read(&list).unwrap();
    let mode = |mode| fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
    let away = |file: &Path| file.with_extension("away");
    type Deed<'a> = &'a dyn Fn();
    let damages: [(&[&str], Deed<'_>, Deed<'_>); 3] = [
        (&["config.toml:"], &|| fs::write(&config, [&good[..], b"\n[[allow"].concat()).unwrap(), &|| {
            fs::write(&config, &good).unwrap();
        }),
        (&["config.toml can be written by others"], &|| mode(0o666), &|| mode(0o644)),
        (
            &["overlay.csv' is no file", "one.csv' is no file", "more.toml:1"],
            &|| {
                missing.iter().for_each(|file| fs::rename(file, away(file)).unwrap());
                fs::write(&list, "x = 1\n").unwrap();
            },
            &|| {
                missing.iter().for_each(|file| fs::rename(away(file), file).unwrap());
                fs::write(&list, &rule).unwrap();
            },
        ),
    ];
    for (reasons, damage, mend) in damages {
        let why = reasons[0];
        detach(&stage, &home);
        assert!(passes(&stage), "{why}: as after a boot");
        damage();
        let daemon = start(&stage, home);
        assert!(!passes(&stage), "{why}");
        let status = daemon.json(&["status"]).unwrap();
        assert_eq!((&status["policy"]["digest"], status["mode"].as_str()), (&digest, Some("enforce")), "{why}");
        let last_good = &status["policy"]["last_good"];
        let refused = last_good["refused"].as_str().unwrap();
        assert!(reasons.iter().all(|reason| refused.contains(reason)), "{refused}");
        assert_eq!(last_good["policy"], digest);
        let line = alert(&daemon, "last_good_policy");
        assert_eq!(line["severity"], "High");
        let said = line["finding_info"]["desc"].as_str().unwrap();
        assert!(said.contains(why) && said.contains(digest.as_str().unwrap()), "{said}");
        let shown = String::from_utf8(daemon.ask(&["status"]).unwrap().stdout).unwrap();
        assert!(shown.contains("LAST GOOD") && shown.contains(why), "{shown}");
        let log = daemon.log.all().join("\n");
        assert!(log.contains("LAST GOOD"), "{log}");
        // Who asks by the configuration is answered all the same.
        for arguments in [&["status"][..], &["flows"], &["rules"], &["mode"], &["explain", "--running", "192.0.2.7"]] {
            let (code, out, err) = command(arguments, &config);
            assert_eq!(code, Some(0), "{why}: {arguments:?}: {err}");
            assert!(arguments[0] != "explain" || out.contains("more"), "{out}");
        }
        // `check` would pass a file that others can write, where nothing is enforced.
        if !why.contains("written by others") {
            let (code, _, err) = command(&["check"], &config);
            assert_eq!(code, Some(64), "{err}");
            assert!(err.contains(&format!("the last good policy {}", digest.as_str().unwrap())), "{err}");
            assert_eq!(command(&["reload"], &config).0, Some(69));
        }
        mend();
        let status = daemon.json_until(&["status"], |status| status["policy"]["last_good"].is_null()).unwrap();
        assert_eq!(status["policy"]["digest"], digest, "{why}");
        daemon
            .alerts
            .wait_for(0, PATIENCE, |line| line.contains("\"last_good_policy\"") && line.contains("resolved"))
            .unwrap();
        assert!(!passes(&stage));
        home = end(daemon, libc::SIGTERM);
    }
    detach(&stage, &home);
}

#[test]
fn a_first_start_and_one_that_somebody_watches_are_refused_as_before() {
    let stage = Stage::build(false).unwrap();
    let home = home(&stage);
    let good = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), good.clone() + "\n[[allow").unwrap();
    let mut first = Daemon::spawn(&stage.near, home, &[]).unwrap();
    let ended = first.wait().unwrap();
    assert_eq!(ended.status.code(), Some(64), "{:#?}", ended.log);
    assert!(ended.log.iter().any(|line| line.contains("config.toml:")), "{:#?}", ended.log);
    let home = first.into_home().unwrap();
    fs::write(home.config(), &good).unwrap();
    let daemon = start(&stage, home);
    let digest = daemon.json(&["status"]).unwrap()["policy"]["digest"].clone();
    until(|| is_kept(&daemon, &digest));
    let home = end(daemon, libc::SIGTERM);
    fs::write(home.config(), good + "\n[[allow").unwrap();
    let mut watched = Daemon::spawn(&stage.near, home, &["--ephemeral"]).unwrap();
    assert_eq!(watched.wait().unwrap().status.code(), Some(64));
    let home = watched.into_home().unwrap();
    detach(&stage, &home);
}

#[test]
fn what_was_on_trial_at_a_crash_gives_way_to_what_was_confirmed_in_its_mode() {
    let stage = Stage::build(false).unwrap();
    let daemon = start(&stage, home(&stage));
    let digest = daemon.json(&["status"]).unwrap()["policy"]["digest"].clone();
    until(|| is_kept(&daemon, &digest));
    let observe = text(&stage, "mode = \"observe\"\nepoch = \"100ms\"").replace("\"rules.d/*.toml\"", "");
    daemon.home().configure(&(observe + "reload = \"signal\"\n")).unwrap();
    let outcome = daemon.json(&["reload", "--confirm", "1h"]).unwrap();
    assert_eq!((&outcome["policy"]["mode"], &outcome["changed"]), (&"observe".into(), &true.into()));
    let tried = outcome["policy"]["digest"].clone();
    assert!(tried != digest && passes(&stage));
    let mut home = end(daemon, libc::SIGKILL);
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let daemon = start(&stage, home);
        assert!(!passes(&stage));
        let status = daemon.json(&["status"]).unwrap();
        assert_eq!((&status["policy"]["digest"], status["mode"].as_str()), (&digest, Some("enforce")));
        assert_eq!((&status["unconfirmed"], &status["policy"]["last_good"]), (&Value::Null, &Value::Null));
        let said = alert(&daemon, "policy_reverted")["finding_info"]["desc"].as_str().unwrap().to_owned();
        let (tried, digest) = (tried.as_str().unwrap(), digest.as_str().unwrap());
        assert_eq!(said, format!("policy {tried} (observe) was not confirmed: {digest} (enforce) is in force again"));
        if signal == libc::SIGTERM {
            // Somebody's decision.
            assert_eq!(daemon.json(&["reload"]).unwrap()["policy"]["digest"], tried);
            assert!(passes(&stage));
            until(|| is_kept(&daemon, &tried.into()));
        }
        home = end(daemon, signal);
    }
    detach(&stage, &home);
}

#[test]
fn a_state_that_cannot_be_written_or_read_hinders_no_start_and_is_told() {
    let stage = Stage::build(false).unwrap();
    let mut home = home(&stage);
    let state = home.path().join("state");
    fs::remove_dir(&state).unwrap();
    fs::write(&state, "a file").unwrap();
    for why in ["[paths] state", "FORMAT says"] {
        let daemon = start(&stage, home);
        assert!(!passes(&stage), "{why}");
        let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"policy_state\"")).unwrap();
        assert!(line.to_lowercase().contains(&why.to_lowercase()), "{line}");
        home = end(daemon, libc::SIGTERM);
        let _ = fs::remove_file(&state);
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("FORMAT"), "7\n").unwrap();
    }
    assert!(!state.join("confirmed.json").exists(), "what a later version keeps is left alone");
    detach(&stage, &home);
}

#[test]
fn a_trial_that_a_restart_would_not_know_of_is_refused() {
    let stage = Stage::build(false).unwrap();
    let home = home(&stage);
    home.keep_state_on_a_small_disk().unwrap();
    let daemon = start(&stage, home);
    let outside = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let filler = daemon.home().path().join("state/filler");
    // Until nothing more fits.
    assert!(fs::write(&filler, vec![1; 2 << 20]).is_err());
    let loose = text(&stage, ENFORCE).replace("[zone]\n", "[zone]\non_outside = \"allow\"\n");
    daemon.home().configure(&loose).unwrap();
    let refused = daemon.ask(&["reload", "--confirm", "1h"]).unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("no trial: it can't be kept in"), "{why}");
    assert!(!stage.leaves(outside, 1).unwrap());
    daemon.json_until(&["status"], |status| status["findings"].to_string().contains("reload_refused")).unwrap();
    // What waits for somebody says that a restart would take it.
    daemon.home().configure(&text(&stage, "mode = \"observe\"\nepoch = \"100ms\"")).unwrap();
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("a restart takes the file as it is")).unwrap();
    fs::remove_file(&filler).unwrap();
    daemon.home().configure(&loose).unwrap();
    let tried = daemon.ask(&["reload", "--confirm", "1h"]).unwrap();
    assert!(tried.status.success(), "{tried:?}");
    assert!(stage.leaves(outside, 1).unwrap());
    let next = start(&stage, end(daemon, libc::SIGKILL));
    assert!(!stage.leaves(outside, 1).unwrap());
    next.alerts.wait_for(0, PATIENCE, |line| line.contains("\"policy_reverted\"")).unwrap();
}
