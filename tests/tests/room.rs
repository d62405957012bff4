//! Promise: a reload that outgrew the room for it gets some from a daemon that goes on as before, and whatever becomes of the
//! daemon meanwhile, nothing leaves.

use std::{
    ffi::OsStr,
    os::unix::process::ExitStatusExt as _,
    thread,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    daemon::Daemon,
    stage::{ABROAD, INTERFACE, PATIENCE, Stage, abroad},
    traffic::{send_frames, send_udp},
};

use crate::support::{
    lives::{HOOKS, attached, config, detach_from, end, gap, home, one, outside, start},
    load::Load,
    policy::networks_apart,
};

#[test]
fn a_reload_that_outgrew_its_room_makes_some_and_alerts_go_on() {
    let stage = Stage::build(false).unwrap();
    for hook in HOOKS {
        let daemon = start(&stage, home(&stage), hook);
        let memory = daemon.json(&["status"]).unwrap()["kernel_memory_bytes"].as_u64().unwrap();
        let larger = config(&stage) + ABROAD + &networks_apart(daemon.home().path(), 60_000);
        daemon.home().configure(&larger).unwrap();
        let reloaded = daemon.ask(&["reload"]).unwrap();
        assert!(reloaded.status.success(), "{reloaded:?}");
        assert_eq!(attached(&stage), one(hook));
        // The reader of events has the new ring. On a busy machine the end of an epoch may be before it.
        let (from, deadline, mut sent) = (daemon.alerts.count(), Instant::now() + PATIENCE, 0);
        let event = |line: &str| line.contains("\"origin\":\"event\"");
        while daemon.alerts.wait_for(from, Duration::from_millis(300), event).is_err() {
            assert!(Instant::now() < deadline, "no event comes");
            // Each is an incident of its own.
            let frame = abroad(sent, 9);
            stage.near.run(|| send_frames(INTERFACE, [frame.as_slice()])).unwrap();
            sent += 1;
        }
        let status = daemon.json(&["status"]).unwrap();
        let interface = &status["interfaces"][0];
        assert_eq!((&interface["dropped"]["packets"], &interface["residual"]["packets"]), (&sent.into(), &0.into()));
        assert!(status["kernel_memory_bytes"].as_u64().unwrap() > memory, "{status:#}");
        assert_eq!(status["findings"], serde_json::json!([]), "{status:#}");
        detach_from(&stage, daemon);
    }
}

#[test]
fn killed_while_larger_maps_take_their_place_nothing_leaves_and_what_both_counted_is_known() {
    let stage = Stage::build(false).unwrap();
    for hook in HOOKS {
        let environment = [("EGRESS_MONITOR_FAULT", OsStr::new("replace:2"))];
        let mut daemon = Daemon::spawn_with(&stage.near, home(&stage), &["--hook", hook], &environment).unwrap();
        daemon.wait_until_ready().unwrap();
        // All of that is taken.
        daemon.json(&["status"]).unwrap();
        let before = stage.sent().unwrap();
        stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 5])).unwrap();
        daemon.json(&["status"]).unwrap();
        let (home, offered) = thread::scope(|scope| {
            let load = Load::begin(scope, &stage, 1);
            let larger = config(&stage) + &networks_apart(daemon.home().path(), 40_000);
            daemon.home().configure(&larger).unwrap();
            daemon.ask(&["reload"]).unwrap();
            let ended = daemon.wait().unwrap();
            assert_eq!(ended.status.signal(), Some(libc::SIGKILL), "{:#?}", ended.log);
            (daemon.into_home().unwrap(), load.end())
        });
        assert_eq!(attached(&stage), one(hook));
        let next = start(&stage, home, hook);
        let status = next.json(&["status"]).unwrap();
        let interface = &status["interfaces"][0];
        assert_eq!(interface["residual"]["packets"], 0, "{status:#}");
        assert_eq!(interface["total"]["packets"], interface["dropped"]["packets"], "{status:#}");
        // What is not in the totals that it goes on from is in what both sets of maps had.
        assert_eq!(interface["total"]["packets"], 5 + offered, "{status:#}");
        assert!(gap(&next)[0] > 0);
        assert_eq!(stage.sent().unwrap().since(before).packets, 0);
        let kept = end(next, libc::SIGKILL);
        detach_from(&stage, start(&stage, kept, hook));
    }
}
