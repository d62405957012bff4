//! Promise: however the daemon ends and begins again, what is denied stays on the host, and what came to the hook
//! meanwhile is known to the packet.

use std::{ffi::OsStr, net::SocketAddr, os::unix::process::ExitStatusExt as _, process::Command, time::Instant};

use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    stage::{INSIDE, PATIENCE, Stage, incidents, v4},
    traffic::send_udp,
};

use crate::support::{
    lives::{HOOKS, attached, confirmed, detach, end, gap, home, one, outside, start},
    load::Load,
};

/// How often daemons come and go: more in `cargo xtask prove never-open`.
fn lives(fast: usize) -> usize {
    std::env::var("LIVES").map_or(fast, |lives| lives.parse().expect("LIVES is a number"))
}

#[test]
fn what_came_while_no_daemon_was_there_is_judged_and_known_to_the_byte() {
    let stage = Stage::build(false).unwrap();
    for hook in HOOKS {
        let mut home = home(&stage);
        let (mut sums, mut since) = ([0_u64; 2], None);
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT] {
            let daemon = start(&stage, home, hook);
            assert_eq!(attached(&stage), one(hook));
            stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 3])).unwrap();
            // All of that is taken.
            daemon.json(&["status"]).unwrap();
            home = end(daemon, signal);
            assert_eq!(attached(&stage), one(hook), "it stays");
            let before = stage.sent().unwrap();
            let inside = SocketAddr::new(v4(INSIDE).into(), 9);
            stage.near.run(|| send_udp(stage.from(outside()), outside(), &[100; 7])).unwrap();
            stage.near.run(|| send_udp(stage.from(inside), inside, &[50; 4])).unwrap();
            assert_eq!(stage.sent().unwrap().since(before).packets, 4, "denied is what was denied before");
            let next = start(&stage, home, hook);
            // Ethernet, IPv4 and UDP are 42 bytes.
            assert_eq!(gap(&next), [11, 7 * 142 + 4 * 92, 7, 7 * 142], "{hook}, signal {signal}");
            let told =
                |kind: &str| next.alerts.all().iter().any(|line| line.contains(&format!("\"types\":[\"{kind}\"]")));
            assert_eq!((told("killed"), told("adopted")), (signal == libc::SIGKILL, true));
            // Its flows are this one's, and so are the alerts that nobody made; its totals are those of all before it.
            let status = next.json(&["status"]).unwrap();
            let interface = &status["interfaces"][0];
            sums = [sums[0] + 3 + 11, sums[1] + 3 + 7];
            assert_eq!(
                (&interface["total"]["packets"], &interface["dropped"]["packets"]),
                (&sums[0].into(), &sums[1].into()),
                "{status:#}\n{:#?}",
                next.log.all()
            );
            assert_eq!(interface["residual"]["packets"], 0, "{status:#}");
            since.get_or_insert_with(|| status["totals_since"].clone());
            assert_eq!(Some(&status["totals_since"]), since.as_ref());
            let flows = next.json(&["flows"]).unwrap();
            let of = |verdict: &str| -> u64 {
                let rows = flows["flows"].as_array().unwrap().iter().filter(|row| row["verdict"] == verdict);
                rows.map(|row| row["packets"].as_u64().unwrap()).sum()
            };
            assert_eq!((of("denied"), of("allowed")), (7, 4), "{flows:#}");
            assert_eq!(flows["hook"]["packets"], sums[0], "{flows:#}");
            // So are those of its incident, which was told before.
            let open = incidents(&next).unwrap().incidents;
            assert_eq!(open.iter().map(|row| row.sums.packets).collect::<Vec<_>>(), [sums[1]]);
            assert!(
                !next.alerts.all().iter().any(|line| line.contains("\"class_uid\":4001")),
                "{:#?}",
                next.alerts.all()
            );
            home = end(next, libc::SIGTERM);
        }
        drop(home);
        // With its pins the link goes; a filter stays until somebody takes it off.
        let ended = detach(&stage, "/nonexistent");
        assert_eq!(ended.contains("removed the program on interface eth0 (clsact)"), hook == "clsact", "{ended}");
        assert_eq!(attached(&stage), (0, 0));
    }
}

/// Kills the daemon, and says how many packets pass until the kernel part stops them by itself.
fn pass_once_killed(daemon: &mut Daemon, leaves: impl Fn() -> bool) -> u64 {
    daemon.signal(libc::SIGKILL).unwrap();
    daemon.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut passed = 0;
    while leaves() {
        passed += 1;
        assert!(Instant::now() < deadline, "it never stops them");
    }
    passed
}

#[test]
fn what_nobody_confirms_goes_although_the_daemon_was_killed() {
    let stage = Stage::build(false).unwrap();
    let strict = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
    let loose = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "on_outside = \"allow\"");
    let leaves = || stage.leaves(outside(), 1).unwrap();
    for hook in HOOKS {
        let mut daemon = start(&stage, home(&stage), hook);
        assert!(!leaves());
        daemon.home().configure(&loose).unwrap();
        let reloaded = daemon.ask(&["reload", "--confirm", "1s"]).unwrap();
        assert!(reloaded.status.success(), "{reloaded:?}");
        assert!(leaves());
        // All of that is taken.
        daemon.json(&["status"]).unwrap();
        let passed = pass_once_killed(&mut daemon, leaves);
        assert!(passed > 0 && !leaves());
        let home = daemon.into_home().unwrap();
        home.configure(&strict).unwrap();
        let next = start(&stage, home, hook);
        // An IPv4 packet of a byte is 43 long. Two policies, an epoch each, and every packet is under its own.
        assert_eq!(gap(&next), [passed + 2, (passed + 2) * 43, 2, 2 * 43], "{hook}");
        let status = next.json(&["status"]).unwrap();
        assert_eq!(status["interfaces"][0]["residual"]["packets"], 0, "{status:#}");
        assert_eq!(status["interfaces"][0]["dropped"]["packets"], 1 + 2, "{status:#}");
        let home = end(next, libc::SIGTERM);
        detach(&stage, home.bpffs().to_str().unwrap());
    }
}

#[test]
fn a_mode_set_by_hand_ends_by_its_time_although_the_daemon_was_killed() {
    let stage = Stage::build(false).unwrap();
    let leaves = || stage.leaves(outside(), 1).unwrap();
    for hook in HOOKS {
        let mut daemon = start(&stage, home(&stage), hook);
        assert!(!leaves());
        daemon.json(&["mode", "observe", "--for", "1s", "--reason", "a test"]).unwrap();
        assert!(leaves());
        daemon.json(&["status"]).unwrap();
        let passed = pass_once_killed(&mut daemon, leaves);
        assert!(!leaves());
        let next = start(&stage, daemon.into_home().unwrap(), hook);
        // An epoch in each mode, and every packet is under its own: an IPv4 packet of a byte is 43 long.
        assert_eq!(gap(&next), [passed + 2, (passed + 2) * 43, 2, 2 * 43], "{hook}");
        let status = next.json(&["status"]).unwrap();
        assert_eq!((&status["mode"], &status["mode_by_hand"]), (&"enforce".into(), &serde_json::Value::Null));
        assert!(!leaves());
        let home = end(next, libc::SIGTERM);
        detach(&stage, home.bpffs().to_str().unwrap());
    }
}

#[test]
fn a_mode_set_by_hand_ends_by_its_time_although_the_daemon_was_killed_while_it_wrote_a_policy() {
    let stage = Stage::build(false).unwrap();
    let leaves = || stage.leaves(outside(), 1).unwrap();
    // The second policy that it writes: the first is the one in the other mode.
    let fault = [("EGRESS_MONITOR_FAULT", OsStr::new("stage:2"))];
    let mut daemon = Daemon::spawn_with(&stage.near, home(&stage), &[], &fault).unwrap();
    daemon.wait_until_ready().unwrap();
    daemon.json(&["mode", "observe", "--for", "2s", "--reason", "a test"]).unwrap();
    assert!(leaves());
    let other = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "on_private = \"deny\"");
    daemon.home().configure(&other).unwrap();
    let _ = daemon.ask(&["reload"]);
    assert_eq!(daemon.wait().unwrap().status.signal(), Some(libc::SIGKILL));
    let deadline = Instant::now() + PATIENCE;
    while leaves() {
        assert!(Instant::now() < deadline, "it never stops them");
    }
}

#[test]
fn a_mode_set_by_hand_is_not_over_because_the_daemon_stood_still() {
    let stage = Stage::build(false).unwrap();
    let leaves = || stage.leaves(outside(), 1).unwrap();
    let home = home(&stage);
    let observes = stage.config("mode = \"observe\"\nepoch = \"100ms\"\non_daemon_loss = \"observe\"", "");
    home.configure(&observes).unwrap();
    let daemon = start(&stage, home, "tcx");
    assert!(leaves());
    daemon.json(&["mode", "enforce", "--for", "1h", "--reason", "a test"]).unwrap();
    assert!(!leaves());
    daemon.stand_still().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !leaves() {
        assert!(Instant::now() < deadline, "it enforces without a daemon");
    }
    daemon.signal(libc::SIGCONT).unwrap();
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"observed_alone\"")).unwrap();
    let enforces =
        |status: &serde_json::Value| status["mode"] == "enforce" && status["mode_by_hand"]["mode"] == "enforce";
    let status = daemon.json_until(&["status"], enforces).unwrap();
    assert!(!leaves());
    assert!(!status["findings"].to_string().contains("observed_alone"), "it is over: {status:#}");
    let home = end(daemon, libc::SIGTERM);
    detach(&stage, home.bpffs().to_str().unwrap());
}

#[test]
fn where_it_is_wanted_nothing_outlives_the_daemon() {
    let stage = Stage::build(false).unwrap();
    let open = stage.config("mode = \"enforce\"\nepoch = \"100ms\"\non_daemon_loss = \"open\"", "");
    let leaves = || stage.leaves(outside(), 1).unwrap();
    for (hook, signal) in [("tcx", libc::SIGKILL), ("tcx", libc::SIGTERM), ("clsact", libc::SIGTERM)] {
        let home = home(&stage);
        home.configure(&open).unwrap();
        let daemon = start(&stage, home, hook);
        assert!(!leaves());
        let home = end(daemon, signal);
        assert!(leaves());
        assert_eq!((attached(&stage), home.bpffs().read_dir().map_or(0, Iterator::count)), ((0, 0), 0));
    }
    // The filter of a daemon that was killed stays, and lets everything pass.
    let home = home(&stage);
    home.configure(&open).unwrap();
    let home = end(start(&stage, home, "clsact"), libc::SIGKILL);
    assert_eq!(attached(&stage), one("clsact"));
    let deadline = Instant::now() + PATIENCE;
    while !leaves() {
        assert!(Instant::now() < deadline, "it enforces for good");
    }
    detach(&stage, home.bpffs().to_str().unwrap());
    assert_eq!(attached(&stage), (0, 0));
}

#[test]
fn nothing_that_is_denied_leaves_while_daemons_come_and_go_under_load() {
    let stage = Stage::build(false).unwrap();
    for hook in HOOKS {
        let first = start(&stage, home(&stage), hook);
        let before = stage.sent().unwrap();
        let (last, offered) = std::thread::scope(|scope| {
            let mut daemon = first;
            let load = Load::begin(scope, &stage, 1);
            for life in 0..lives(2) {
                let home = end(daemon, [libc::SIGKILL, libc::SIGTERM][life % 2]);
                daemon = start(&stage, home, hook);
                assert_eq!(attached(&stage), one(hook));
                assert!(gap(&daemon)[0] > 0);
            }
            (daemon, load.end())
        });
        assert_eq!(stage.sent().unwrap().since(before).packets, 0, "of {offered}");
        assert!(offered > 10_000);
        println!(
            "proven: {hook}, killed and stopped in turn: {} lives, {offered} forbidden packets offered, 0 left",
            lives(2)
        );
        let home = end(last, libc::SIGTERM);
        let said = detach(&stage, home.bpffs().to_str().unwrap());
        assert!(said.contains(if hook == "tcx" { "(tcx)" } else { "(clsact)" }), "{said}");
        assert_eq!(attached(&stage), (0, 0));
        assert!(!home.bpffs().exists());
    }
}

/// What a daemon has in its totals at its end.
fn totals(daemon: Daemon) -> (Home, u64) {
    let mut daemon = daemon;
    daemon.signal(libc::SIGTERM).unwrap();
    let ended = daemon.wait().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    let last = ended.log.iter().rfind(|line| line.starts_with('{')).expect("the closing totals");
    let status: serde_json::Value = serde_json::from_str(last).unwrap();
    let interface = &status["interfaces"][0];
    assert_eq!(interface["residual"]["packets"], 0, "{status:#}");
    (daemon.into_home().unwrap(), interface["total"]["packets"].as_u64().unwrap())
}

#[test]
fn totals_go_on_from_life_to_life_with_every_packet_once() {
    let stage = Stage::build(false).unwrap();
    let begin = |home: Home, hook: &str| {
        let mut daemon = Daemon::spawn(&stage.near, home, &["--hook", hook, "--json"]).unwrap();
        daemon.wait_until_ready().unwrap();
        daemon
    };
    for hook in HOOKS {
        let mut after = Vec::new();
        let first = begin(home(&stage), hook);
        let (left, offered) = std::thread::scope(|scope| {
            let load = Load::begin(scope, &stage, 2);
            let mut daemon = first;
            for _ in 0..lives(2) {
                let (home, so_far) = totals(daemon);
                after.push(so_far);
                daemon = begin(home, hook);
            }
            (daemon, load.end())
        });
        let (home, counted) = totals(left);
        after.push(counted);
        assert!(after.is_sorted(), "{hook}: {after:?}");
        assert_eq!(counted, offered, "{hook}");
        println!("proven: {hook}, stopped: {} lives, {counted} packets offered and counted, each once", lives(2));
        assert!(!detach(&stage, home.bpffs().to_str().unwrap()).contains("counters"), "nothing is left");
    }
}

#[test]
fn where_nothing_can_be_pinned_it_enforces_all_the_same_and_says_so() {
    let stage = Stage::build(false).unwrap();
    let mut home = Home::new().unwrap();
    let folder = home.path().join("no-bpffs");
    home.pin_in(folder);
    home.configure(&stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "")).unwrap();
    let daemon = start(&stage, home, "tcx");
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"not_pinned\"")).unwrap();
    assert!(line.contains("it is on no BPF file system: mount one there"), "{line}");
    let before = stage.sent().unwrap();
    stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 3])).unwrap();
    assert_eq!(stage.sent().unwrap().since(before).packets, 0);
    end(daemon, libc::SIGTERM);
    assert_eq!(attached(&stage), (0, 0), "it ends with the daemon");
}

#[test]
fn commands_reach_the_daemon_whatever_else_is_wrong_in_the_file() {
    let stage = Stage::build(false).unwrap();
    let daemon = start(&stage, home(&stage), "tcx");
    let config = daemon.home().config();
    let whole = std::fs::read_to_string(&config).unwrap();
    let good = daemon.home().path().join("good.toml");
    std::fs::write(&good, &whole).unwrap();
    confirmed(&daemon);
    let expired =
        "\n[[allow]]\nid = \"old\"\nto = [\"192.0.2.7\"]\nexpires = 2020-01-01T00:00:00Z\nreason = \"a test\"\n";
    for (broken, refused) in [
        (whole.replace("epoch = ", "epoch = nonsense "), true),
        (whole.replace("mode = ", "colour = "), true),
        (whole.clone() + "[[allow", true),
        (whole.clone() + "\n[[allow]]\nid = \"gone\"\nfile = \"no-such-list.txt\"\nreason = \"a test\"\n", true),
        (whole + expired, false),
    ] {
        std::fs::write(&config, &broken).unwrap();
        let ask = |arguments: &[&str]| {
            let mut command = Command::new(binary().unwrap());
            command.args(arguments).arg("--config").arg(&config).output().unwrap()
        };
        let diff = ["diff", "--running", good.to_str().unwrap()];
        let explain = ["explain", "--running", "198.18.0.1"];
        let by_hand = ["mode", "enforce", "--for", "1h", "--reason", "a test"];
        for arguments in [
            &["status"][..],
            &["flows"],
            &["rules"],
            &["changes"],
            &["sinks"],
            &explain,
            &diff,
            &["confirm"],
            &["mode"],
        ]
        .into_iter()
        .chain([&by_hand[..], &["mode", "file"]])
        {
            let output = ask(arguments);
            assert!(output.status.success(), "{arguments:?}: {broken}: {output:?}");
        }
        // The daemon answers, with its reasons.
        let output = ask(&["reload"]);
        assert_eq!(output.status.success(), !refused, "{broken}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!refused || said.contains("config.toml") || said.contains("no-such-list.txt"), "{said}");
    }
}

#[test]
fn a_file_that_others_can_write_is_refused_where_it_is_enforced() {
    let stage = Stage::build(false).unwrap();
    let home = home(&stage);
    let config = home.config();
    let set = |mode| std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    set(0o666);
    let mut refused = Daemon::spawn(&stage.near, home, &[]).unwrap();
    let ended = refused.wait().unwrap();
    assert_eq!(ended.status.code(), Some(64));
    assert!(ended.log.iter().any(|line| line.contains("config.toml can be written by others")), "{:#?}", ended.log);
    set(0o644);
    let daemon = start(&stage, refused.into_home().unwrap(), "tcx");
    daemon.home().configure(&stage.config("mode = \"enforce\"\nepoch = \"200ms\"", "")).unwrap();
    set(0o606);
    let status = daemon.json_until(&["status"], |status| status["losses"]["reloads_refused"] == 1).unwrap();
    assert!(status["reload_error"].as_str().unwrap().contains("can be written by others"), "{status:#}");
    assert_eq!(status["mode"], "enforce");
}

#[test]
fn what_cannot_be_read_of_an_earlier_start_is_told() {
    let stage = Stage::build(false).unwrap();
    let home = end(start(&stage, home(&stage), "tcx"), libc::SIGTERM);
    let other = home.pins().join("maps/0");
    std::fs::create_dir_all(other.join("in-use")).unwrap();
    let daemon = start(&stage, home, "tcx");
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"gap\"")).unwrap();
    assert!(line.contains("What the daemon before this one left counted can't be read"), "{line}");
    assert!(!other.exists());
}
