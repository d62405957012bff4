//! Promise: a daemon that may have too little of something (getrlimit(2)) says of what and how much, and what an earlier one
//! left goes on; one whose files may not grow enforces all the same.

use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    stage::{PATIENCE, Stage},
};

use crate::support::lives::{attached, end, home, one, outside, start};

/// Starts a daemon under a limit, as prlimit(1) takes it.
fn start_under(stage: &Stage, home: Home, limit: &str) -> Daemon {
    let mut command = stage.near.command("prlimit").unwrap();
    command.arg(limit).arg(binary().unwrap());
    Daemon::spawn_by(command, home, &["--hook", "tcx"], &[]).unwrap()
}

#[test]
fn who_may_have_too_little_says_so_and_what_is_there_goes_on() {
    let stage = Stage::build(false).unwrap();
    let mut home = end(start(&stage, home(&stage), "tcx"), libc::SIGTERM);
    for (limit, what) in [
        (
            "--nofile=4",
            "RLIMIT_NOFILE is 4 and has to be 512 at least: raise it (`LimitNOFILE=` of the unit, or ulimit)",
        ),
        ("--nofile=500", "RLIMIT_NOFILE is 500 and has"),
        ("--as=120000000", "RLIMIT_AS is 120000000 and has to be 536870912 at least"),
        ("--data=20000000", "RLIMIT_DATA is 20000000 and has"),
        ("--stack=700000", "RLIMIT_STACK is 700000 and has"),
    ] {
        let mut daemon = start_under(&stage, home, limit);
        let ended = daemon.wait().unwrap();
        assert_eq!(ended.status.code(), Some(69), "{limit}: {:#?}", ended.log);
        assert!(matches!(&ended.log[..], [line] if line.contains(what)), "{limit}: {:#?}", ended.log);
        assert_eq!(attached(&stage), one("tcx"));
        assert!(!stage.leaves(outside(), 5).unwrap(), "{limit}");
        home = daemon.into_home().unwrap();
    }
    // As many as it may is more than it has at first.
    let daemon = start_under(&stage, home, "--nofile=16:4096");
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"adopted\"")).unwrap();
    assert!(!stage.leaves(outside(), 5).unwrap());
}

#[test]
fn where_no_file_may_grow_it_enforces_and_says_what_is_not_kept() {
    let stage = Stage::build(false).unwrap();
    let mut daemon = start_under(&stage, home(&stage), "--fsize=0");
    daemon.wait_until_ready().unwrap();
    assert!(!stage.leaves(outside(), 5).unwrap());
    let status = daemon
        .json_until(&["status"], |status| {
            let findings = status["findings"].as_array().unwrap();
            findings.iter().any(|finding| finding["type"] == "policy_state")
        })
        .unwrap();
    assert_eq!((&status["mode"], &status["interfaces"][0]["dropped"]["packets"]), (&"enforce".into(), &5.into()));
    daemon.signal(libc::SIGTERM).unwrap();
    let ended = daemon.wait().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    assert_eq!(attached(&stage), one("tcx"), "it stays");
}
