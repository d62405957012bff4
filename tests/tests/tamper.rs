//! Promise: whoever changes what the monitor put into the kernel, or its files, is told within ten seconds; in enforce mode
//! it is put right, nothing that is denied leaves from then on, and every packet is counted once. Nothing that the monitor
//! does itself is told.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    bypass::{PassesEverything, detach_first, replace_first},
    daemon::{Daemon, Home, binary},
    leftovers,
    map_memory::{add_key, set_word},
    monitor::{
        config::load,
        geo,
        kernel::{Kernel, Options},
        policy::{ClockMap, Knowledge, compile},
    },
    stage::{INTERFACE, Stage},
    traffic::send_udp,
};
use serde_json::Value;

use crate::bypass_sockets::{cgroup_root, packet_socket};
use crate::support::{
    lives::{attached, end, one, outside},
    policy::networks_apart,
    watched::{Watched, config, is_told_and_put_right},
};

#[test]
fn a_link_that_is_detached() {
    let what = is_told_and_put_right("tcx", "detached", |watched| {
        watched.stage.near.run(|| detach_first(INTERFACE)).unwrap();
        watched.send(7);
    });
    assert!(what.contains("eth0: the link was detached; put right (1 times"), "{what}");
}

#[test]
fn another_program_in_the_place_of_ours() {
    let what = is_told_and_put_right("tcx", "program_replaced", |watched| {
        watched.stage.near.run(|| replace_first(INTERFACE)).unwrap();
        watched.send(7);
    });
    assert!(what.contains("eth0: its link runs program ") && what.contains("(passes, tag "), "{what}");
}

#[test]
fn a_filter_that_is_deleted() {
    let what = is_told_and_put_right("clsact", "filter_deleted", |watched| {
        watched.stage.near.tc(&["filter", "del", "dev", INTERFACE, "egress"]).unwrap();
        watched.send(7);
    });
    assert!(what.contains("eth0: the filter was deleted"), "{what}");
}

#[test]
fn the_qdisc_that_is_deleted() {
    let what = is_told_and_put_right("clsact", "qdisc_deleted", |watched| {
        watched.stage.near.tc(&["qdisc", "del", "dev", INTERFACE, "clsact"]).unwrap();
        watched.send(7);
    });
    assert!(what.contains("eth0: the clsact qdisc was deleted"), "{what}");
}

#[test]
fn a_program_ahead_is_told_and_overtaken_where_that_is_wanted() {
    let watched = Watched::start("tcx", "");
    let mut ahead = None;
    let put = |watched: &Watched| watched.stage.near.run(|| PassesEverything::ahead_on(INTERFACE)).unwrap();
    let what = watched.told("program_ahead", |watched| ahead = Some(put(watched)));
    assert!(what.contains("(passes, tag ") && what.contains("ahead of ours") && !what.contains("put right"), "{what}");
    watched.send(4);
    let status = watched.adds_up();
    assert_eq!((&status["tamper"]["healed"], watched.left()), (&Value::from(0), 4), "{status:#}");
    drop(ahead);
    let is_over = |status: &Value| status["tamper"]["open"].as_array().unwrap().is_empty();
    watched.daemon.json_until(&["status"], is_over).unwrap();
    watched.end();

    let watched = Watched::start("tcx", "heal_order = true");
    let mut ahead = None;
    watched.told("program_ahead", |watched| ahead = Some(put(watched)));
    watched.is_right_again("program_ahead");
    assert_eq!((attached(&watched.stage), watched.kinds()), ((2, 0), vec!["program_ahead"]));
    drop(ahead);
    watched.end();
}

/// A pin of ours below the daemon's directory.
fn pin(watched: &Watched, of: &str) -> PathBuf {
    let directory = watched.daemon.home().pins().join(of);
    let mut found = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| !path.is_dir()).unwrap()
}

#[test]
fn a_pin_that_is_removed() {
    for of in ["links", "maps/1"] {
        let what = is_told_and_put_right("tcx", "pin_removed", |watched| fs::remove_file(pin(watched, of)).unwrap());
        assert!(what.contains(&format!("v{}/{of}/", monitor_common::wire::LAYOUT)), "{what}");
    }
}

#[test]
fn the_file_system_of_the_pins_that_is_unmounted_and_a_later_start_finds_all_of_it() {
    let watched = Watched::start("tcx", "");
    watched.told("bpffs_unmounted", |watched| {
        let at = watched.daemon.home().bpffs().parent().unwrap().display().to_string();
        let unmounted = std::process::Command::new("umount").args(["--lazy", &at]).status().unwrap();
        assert!(unmounted.success());
    });
    watched.is_right_again("bpffs_unmounted");
    assert_eq!(watched.kinds(), ["bpffs_unmounted"]);
    let Watched { stage, daemon, before } = watched;
    let home = end(daemon, libc::SIGKILL);
    assert_eq!(attached(&stage), one("tcx"));
    stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 9])).unwrap();
    let mut daemon = Daemon::spawn(&stage.near, home, &["--hook", "tcx"]).unwrap();
    daemon.wait_until_ready().unwrap();
    let watched = Watched { stage, daemon, before };
    assert_eq!(watched.left(), 0);
    let status = watched.adds_up();
    assert_eq!(status["interfaces"][0]["total"]["packets"], 5 + 20 + 9, "{status:#}");
    watched.end();
}

#[test]
fn the_enforce_bit_of_the_control_word() {
    let watched = Watched::start("tcx", "");
    let what = watched.told("control_word_changed", |watched| {
        let hot = watched.memory("HOT");
        hot.set(0, hot.word(0) & !2);
        watched.send(7);
    });
    assert!(what.contains("policy slot 0, observe; ours is epoch"), "{what}");
    watched.is_right_again("control_word_changed");
    // What they did is told too.
    let left = watched.left();
    let expected =
        if left > 0 { vec!["control_word_changed", "impossible_verdict"] } else { vec!["control_word_changed"] };
    assert_eq!(watched.kinds(), expected);
    watched.end();
}

#[test]
fn a_fallback_that_is_not_ours_is_not_obeyed() {
    let watched = Watched::start("tcx", "");
    watched.told("control_word_changed", |watched| {
        let hot = watched.memory("HOT");
        // Observe from the next epoch on; and that since the first jiffy.
        hot.set(2, (hot.word(0) & !2) + (1 << 32));
        hot.set(1, 1);
        watched.send(7);
    });
    watched.daemon.json_until(&["status"], |status| status["tamper"]["healed"].as_u64().unwrap() > 0).unwrap();
    let left = watched.left();
    watched.send(20);
    assert_eq!(watched.left(), left, "nothing that is denied leaves");
    let status = watched.daemon.json(&["status"]).unwrap();
    assert_eq!(status["mode"], "enforce", "{status:#}");
    assert!(!watched.kinds().contains(&"contended"));
    watched.end();
}

#[test]
fn the_deny_bits_of_class_rows() {
    let watched = Watched::start("tcx", "");
    watched.told("class_row_changed", |watched| {
        let classes = watched.memory("CLASSES");
        // Rows of two words; the deny bit is the fourth byte of the second.
        for row in 0..classes.len() / 2 {
            classes.set(2 * row + 1, classes.word(2 * row + 1) & !(0xff << 24));
        }
        watched.send(7);
    });
    watched.is_right_again("class_row_changed");
    // Known flows are judged anew after a while, which may not have come.
    let left = watched.left();
    let expected = if left > 0 { vec!["class_row_changed", "impossible_verdict"] } else { vec!["class_row_changed"] };
    assert_eq!(watched.kinds(), expected);
    watched.end();
}

/// Changes a word of a map of the policy that is not zero.
fn change_a_word(watched: &Watched, map: &str) {
    let memory = watched.memory(map);
    let at = (0..memory.len()).find(|at| memory.word(*at) != 0).unwrap();
    memory.set(at, memory.word(at) ^ 0x0100);
}

#[test]
fn a_byte_of_the_image() {
    for map in ["V4_ROOT", "V4_NODES", "V6_ROOT", "V6_NODES"] {
        let watched = Watched::start("tcx", "");
        watched.told("image_changed", |watched| change_a_word(watched, map));
        watched.is_right_again("image_changed");
        assert!(watched.kinds().contains(&"image_changed"), "{map}");
        watched.end();
    }
}

#[test]
fn a_rule_row() {
    let what = is_told_and_put_right("tcx", "rule_row_changed", |watched| change_a_word(watched, "RULES"));
    assert!(what.contains("rule row 0 is not the compiled one"), "{what}");
}

#[test]
fn the_table_of_interfaces() {
    let what = is_told_and_put_right("tcx", "interface_table_changed", |watched| {
        let hot = watched.memory("HOT");
        let at = (4..hot.len()).find(|at| hot.word(*at) != 0).unwrap();
        hot.set(at, 0);
    });
    assert!(what.contains("is 0x0; ours is 0x"), "{what}");
}

#[test]
fn whose_sockets_are_refused_that_would_send_past_the_hook() {
    let what = is_told_and_put_right("tcx", "bypass_table_changed", |watched| {
        assert!(!packet_socket(&watched.stage.near));
        set_word(watched.daemon.id(), "BYPASS_NAMESPACE", 0, 0).unwrap();
    });
    assert!(what.contains("sockets of network namespace 0 are refused; ours is "), "{what}");
}

#[test]
fn a_control_group_that_nobody_named() {
    let watched = Watched::start("tcx", "");
    let group = fs::metadata(cgroup_root()).unwrap().ino();
    let what = watched.told("bypass_table_changed", |watched| {
        add_key(watched.daemon.id(), "BYPASS_GROUPS", group).unwrap();
    });
    assert!(what.contains("1 control groups that nobody named may send past the hook"), "{what}");
    watched.is_right_again("bypass_table_changed");
    assert!(!packet_socket(&watched.stage.near));
    watched.end();
}

#[test]
fn the_program_on_disk_until_that_one_runs() {
    let stage = Stage::build(false).unwrap();
    let home = Home::outliving().unwrap();
    home.configure(&config(&stage, "")).unwrap();
    let (program, draft) = (home.path().join("monitor"), home.path().join("draft"));
    fs::copy(binary().unwrap(), &program).unwrap();
    let before = stage.sent().unwrap();
    let mut daemon = Daemon::spawn_by(stage.near.command(&program).unwrap(), home, &["--hook", "tcx"], &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    let watched = Watched { stage, daemon, before };
    let what = watched.told("changed_on_disk", |_| {
        fs::copy(&program, &draft).unwrap();
        fs::rename(&draft, &program).unwrap();
    });
    assert!(what.contains("/monitor has changed since this daemon began"), "{what}");
    watched.send(5);
    assert_eq!((watched.left(), watched.kinds()), (0, vec!["changed_on_disk"]));
    let Watched { stage, daemon, before } = watched;
    let home = end(daemon, libc::SIGTERM);
    let mut daemon = Daemon::spawn_by(stage.near.command(&program).unwrap(), home, &["--hook", "tcx"], &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    let watched = Watched { stage, daemon, before };
    watched.daemon.json_until(&["status"], looked_twice()).unwrap();
    assert_eq!(watched.kinds(), [""; 0]);
    watched.end();
}

/// That a status is of a look, and one is of a later one.
fn looked_twice() -> impl Fn(&Value) -> bool {
    let first = std::cell::RefCell::new(None);
    move |status| {
        let looked = status["tamper"]["looked"].as_str().map(str::to_owned);
        let known = first.borrow_mut().get_or_insert_with(|| looked.clone()).clone();
        looked.is_some() && looked != known
    }
}

#[test]
fn what_is_done_for_the_fourth_time_is_left_alone_and_told() {
    let watched = Watched::start("tcx", "");
    for times in 1..=3 {
        watched.told("detached", |watched| watched.stage.near.run(|| detach_first(INTERFACE)).unwrap());
        let healed = |status: &Value| status["tamper"]["healed"] == times && attached(&watched.stage) == one("tcx");
        watched.daemon.json_until(&["status"], healed).unwrap();
        let over = |status: &Value| status["tamper"]["open"].as_array().unwrap().is_empty();
        watched.daemon.json_until(&["status"], over).unwrap();
    }
    let what = watched.told("contended", |watched| watched.stage.near.run(|| detach_first(INTERFACE)).unwrap());
    assert!(what.contains("detached on eth0: put right 3 times in 10 minutes, and left alone since"), "{what}");
    watched.send(6);
    let status = watched.adds_up();
    assert_eq!(status["tamper"]["contended"], serde_json::json!(["detached on eth0"]), "{status:#}");
    assert_eq!((attached(&watched.stage), &status["tamper"]["healed"]), ((0, 0), &Value::from(3)), "{status:#}");
    assert!(watched.left() >= 6);
    assert_eq!(watched.kinds(), ["detached", "contended"]);
    let status = String::from_utf8(watched.daemon.ask(&["status"]).unwrap().stdout).unwrap();
    assert!(status.contains("CONTENDED    detached on eth0"), "{status}");
    watched.end();
}

#[test]
fn in_observe_mode_it_is_told_and_nothing_is_touched() {
    let watched = Watched::start("tcx", "");
    watched.daemon.reconfigure(&watched.stage.config("mode = \"observe\"", "")).unwrap();
    watched.daemon.json_until(&["status"], |status| status["mode"] == "observe").unwrap();
    watched.told("detached", |watched| watched.stage.near.run(|| detach_first(INTERFACE)).unwrap());
    watched.daemon.json_until(&["status"], looked_twice()).unwrap();
    let status = watched.adds_up();
    assert_eq!((&status["tamper"]["healed"], attached(&watched.stage)), (&Value::from(0), (0, 0)), "{status:#}");
    // From then on it is.
    watched.daemon.reconfigure(&config(&watched.stage, "")).unwrap();
    watched.is_right_again("detached");
    watched.end();
}

#[test]
fn a_policy_of_the_embedded_data_is_compared_whole_within_eight_looks() {
    let folder = leftovers::folder().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, "").unwrap();
    let config = load(Some(&file)).unwrap_or_else(|error| panic!("{error}"));
    let knowledge = Knowledge::new(&geo::load("embedded").unwrap(), geo::special::table());
    let policy = Arc::new(compile(&config.spec, &knowledge, &ClockMap::wall(0)).unwrap());
    let mut kernel = Kernel::load(Options::default(), policy).unwrap();
    for _ in 0..2 {
        let mut took = Vec::new();
        loop {
            let began = Instant::now();
            let look = kernel.look();
            took.push(began.elapsed());
            assert_eq!(look.seen, []);
            if look.complete {
                break;
            }
        }
        println!(
            "a round: {} looks, {:?} in all, {:?} at most",
            took.len(),
            took.iter().sum::<Duration>(),
            took.iter().max()
        );
        assert!(took.len() <= 8, "{}", took.len());
    }
}

/// What the monitor does itself, and what becomes of devices.
fn is_no_tampering(hook: &str) {
    let config = |stage: &Stage, mode: &str, more: &str| {
        let config = stage.config(&format!("mode = \"{mode}\"\nepoch = \"500ms\""), "");
        config.replace(&format!("interfaces = [\"{INTERFACE}\"]"), "interfaces = [\"auto\"]") + more
    };
    let watched = Watched::start_with(hook, |stage| config(stage, "enforce", ""));
    let digest = |daemon: &Daemon| daemon.json(&["status"]).unwrap()["policy"]["digest"].as_str().unwrap().to_owned();
    // Reloads: modes, other rules, and one that has no room.
    let larger = networks_apart(watched.stage.folder(), 15_000);
    for (mode, more) in [("observe", ""), ("enforce", ""), ("enforce", larger.as_str()), ("enforce", "")] {
        let before = digest(&watched.daemon);
        watched.daemon.reconfigure(&config(&watched.stage, mode, more)).unwrap();
        let other =
            |status: &Value| status["mode"] == mode && (status["policy"]["digest"] != *before || more.is_empty());
        watched.daemon.json_until(&["status"], other).unwrap();
        watched.daemon.json_until(&["status"], looked_twice()).unwrap();
    }
    // Devices that come and go, with the same names and indices.
    for round in 0..12 {
        for device in ["t0", "t1", "t2"] {
            let index = (70 + round % 2).to_string();
            let same = device == "t0";
            let with: &[&str] = if same { &["index", &index] } else { &[] };
            let make = [&["link", "add", device], with, &["type", "veth", "peer", "name"]].concat();
            watched.stage.near.ip(&[&make[..], &[&format!("{device}p")]].concat()).unwrap();
            watched.stage.near.ip(&["link", "set", device, "up"]).unwrap();
        }
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..400)));
        for device in ["t0", "t1", "t2"] {
            watched.stage.near.ip(&["link", "del", device]).unwrap();
        }
    }
    watched.daemon.json_until(&["status"], looked_twice()).unwrap();
    let status = watched.adds_up();
    assert_eq!((watched.kinds(), &status["tamper"]["found"]), (vec![], &Value::from(0)), "{status:#}");
    // A restart that adopts, and one after a kill.
    let Watched { stage, mut daemon, before } = watched;
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        daemon.json_until(&["status"], looked_twice()).unwrap();
        let home = end(daemon, signal);
        stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 3])).unwrap();
        daemon = Daemon::spawn(&stage.near, home, &["--hook", hook]).unwrap();
        daemon.wait_until_ready().unwrap();
        daemon.json_until(&["status"], looked_twice()).unwrap();
    }
    let watched = Watched { stage, daemon, before };
    let compared = |status: &Value| status["tamper"]["compared"].is_string();
    let status = watched.daemon.json_until(&["status"], compared).unwrap();
    assert_eq!((watched.kinds(), &status["tamper"]["found"]), (vec![], &Value::from(0)), "{status:#}");
    watched.end();
}

#[test]
fn what_the_monitor_does_itself_and_devices_that_come_and_go_are_none() {
    is_no_tampering("tcx");
}

#[test]
fn nor_by_clsact() {
    is_no_tampering("clsact");
}
