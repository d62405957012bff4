//! Promise: a policy is checked where packets find it and taken back if it is not what was written; one that nobody
//! confirms goes by itself; files that change are read without being told to; `diff --running` says beforehand what
//! becomes of real traffic.

use std::{net::SocketAddr, sync::Arc};

use aya::maps::{Array, Map, MapData};
use egress_monitor_tests::{
    daemon::Daemon,
    monitor::{
        kernel::{Kernel, Mode, Switch},
        policy::Policy,
        policy_of,
    },
    stage::{OUTSIDE, PATIENCE, Stage, v4},
    traffic::send_udp,
};

use monitor_common::wire::{Hot, PolicyMeta};

use crate::support::attached::{attach, hook};

/// A policy that says this of what is outside.
fn policy(on_outside: &str) -> Arc<Policy> {
    let text = format!("[zone]\nname = \"test\"\ninside = \"EEA\"\non_outside = \"{on_outside}\"\n");
    Arc::new(policy_of(&text).unwrap())
}

/// The map of that name that the kernel part of this process uses: other tests load theirs.
fn map(kernel: &mut Kernel, name: &str) -> (MapData, u32) {
    let ids = kernel.program("egress").unwrap().info().unwrap().map_ids().unwrap().expect("the kernel gives map ids");
    let mut own = ids.into_iter().map(|id| MapData::from_id(id).unwrap());
    let map = own.find(|map| map.info().unwrap().name_as_str() == Some(name)).expect("the program uses the map");
    let entries = map.info().unwrap().max_entries();
    (map, entries)
}

/// Changes a byte of an element, as a program of somebody else's might.
fn damage<const N: usize>(kernel: &mut Kernel, name: &str, element: impl FnOnce(u32) -> u32) {
    let (map, entries) = map(kernel, name);
    let mut array: Array<_, [u8; N]> = Array::try_from(Map::Array(map)).unwrap();
    let at = element(entries);
    let mut value = array.get(&at, 0).unwrap();
    value[0] ^= 1;
    array.set(at, value, 0).unwrap();
}

type Fault = fn(&mut Kernel);

const fn second_half(entries: u32) -> u32 {
    entries / 2
}

#[test]
fn a_policy_that_is_not_in_the_maps_as_it_was_written_is_found_and_the_one_before_comes_back() {
    let stage = Stage::build(false).unwrap();
    let (old, new) = (policy("deny"), policy("allow"));
    let mut kernel = attach(&stage, 4_096, false, Arc::clone(&old));
    kernel.verify().unwrap();
    let to = |policy: &Arc<Policy>| Switch { policy: Arc::clone(policy), mode: Mode::Observe };
    // A class, and the word in which the tables' places begin: both of the slot that is switched to.
    let faults = [
        ("class 0", (|kernel| damage::<16>(kernel, "CLASSES", second_half)) as Fault),
        ("policy header 1", |kernel| damage::<{ size_of::<PolicyMeta>() }>(kernel, "POLICY", |_| 1)),
    ];
    for (what, fault) in faults {
        kernel.stage(to(&new)).unwrap();
        fault(&mut kernel);
        let closed = kernel.flip().unwrap();
        hook(&closed);
        assert!(Arc::ptr_eq(&closed.policy, &old));
        let error = kernel.verify().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{what} is not what was written")), "{error}");
        kernel.roll_back().unwrap();
        assert!(Arc::ptr_eq(&kernel.flip().unwrap().policy, &new));
        assert!(Arc::ptr_eq(kernel.policy(), &old));
        kernel.verify().unwrap();
        // It is in the first slot again, and the second is written anew.
        kernel.stage(to(&new)).unwrap();
        kernel.flip().unwrap();
        kernel.verify().unwrap();
        kernel.stage(to(&old)).unwrap();
        kernel.flip().unwrap();
        kernel.verify().unwrap();
    }
    // The control word: packets would go by the other slot.
    damage::<{ size_of::<Hot>() }>(&mut kernel, "HOT", |_| 0);
    let error = kernel.verify().unwrap_err().to_string();
    assert!(error.starts_with("control word"), "{error}");
}

fn send(stage: &Stage, count: usize) {
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &vec![1; count])).unwrap();
}

#[test]
fn a_policy_that_nobody_confirms_goes_by_itself_and_one_that_is_confirmed_stays() {
    let stage = Stage::build(false).unwrap();
    let text = |mode: &str| {
        format!("{}[policy]\nreload = \"signal\"\n", stage.config(&format!("mode = \"{mode}\"\nepoch = \"100ms\""), ""))
    };
    let daemon = Daemon::start(&stage.near, &text("observe"), &[]).unwrap();
    let back = daemon.json(&["status"]).unwrap()["policy"]["digest"].clone();
    daemon.home().configure(&text("enforce")).unwrap();

    let outcome = daemon.json(&["reload", "--confirm", "3s"]).unwrap();
    assert_eq!(outcome["policy"]["mode"], "enforce");
    assert_eq!((&outcome["unconfirmed"]["back_to"]["digest"], outcome["changed"].as_bool()), (&back, Some(true)));
    let before = stage.sent().unwrap();
    send(&stage, 5);
    assert_eq!(stage.sent().unwrap(), before, "it is enforced meanwhile");
    let reported = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"policy_reverted\"")).unwrap();
    assert!(reported.contains("(enforce) was not confirmed within 3 s"), "{reported}");
    let status = daemon.json_until(&["status"], |status| status["mode"] == "observe").unwrap();
    assert_eq!((&status["policy"]["digest"], &status["unconfirmed"]), (&back, &serde_json::Value::Null));
    assert_eq!(status["losses"]["policies_reverted"], 1);
    let before = stage.sent().unwrap();
    send(&stage, 5);
    assert_eq!(stage.sent().unwrap().since(before).packets, 5);

    daemon.json(&["reload", "--confirm", "1h"]).unwrap();
    let status = String::from_utf8(daemon.ask(&["status"]).unwrap().stdout).unwrap();
    assert!(status.contains("UNCONFIRMED, rolls back in"), "{status}");
    let outcome = daemon.json(&["confirm"]).unwrap();
    assert_eq!((&outcome["unconfirmed"], &outcome["warning"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!((status["mode"].as_str(), &status["unconfirmed"]), (Some("enforce"), &serde_json::Value::Null));
    assert!(daemon.home().path().join("state/confirmed.json").is_file());
    assert_eq!(daemon.stop().unwrap().status.code(), Some(0));
}

#[test]
fn files_that_change_are_read_by_themselves_and_one_that_is_gone_changes_nothing() {
    let stage = Stage::build(false).unwrap();
    let text = |mode: &str| stage.config(&format!("mode = \"{mode}\"\nepoch = \"100ms\""), "");
    let named = |zone: &str| text("enforce").replace("name = \"test\"", &format!("name = \"{zone}\""));
    let daemon = Daemon::start(&stage.near, &text("enforce"), &[]).unwrap();
    let digest = |status: &serde_json::Value| status["policy"]["digest"].clone();
    let first = digest(&daemon.json(&["status"]).unwrap());
    daemon.home().configure(&named("other")).unwrap();
    let other = digest(&daemon.json_until(&["status"], |status| digest(status) != first).unwrap());
    std::fs::remove_file(daemon.home().config()).unwrap();
    let status = daemon.json_until(&["status"], |status| status["losses"]["reloads_refused"] == 1).unwrap();
    assert_eq!(status["mode"], "enforce");
    assert!(status["reload_error"].as_str().unwrap().contains("config.toml: no such file any more"), "{status:#}");
    assert_eq!(digest(&status), other);
    daemon.home().configure(&text("enforce")).unwrap();
    let status = daemon.json_until(&["status"], |status| digest(status) == first).unwrap();
    assert_eq!(
        (status["losses"]["reloads_refused"].as_u64(), &status["reload_error"]),
        (Some(1), &serde_json::Value::Null)
    );
}

#[test]
fn rules_whose_file_is_gone_stay_until_somebody_says_otherwise() {
    let stage = Stage::build(false).unwrap();
    let text = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
    let daemon = Daemon::start(&stage.near, &text, &[]).unwrap();
    let folder = daemon.home().path().join("config/rules.d");
    let file = folder.join("more.toml");
    std::fs::create_dir(&folder).unwrap();
    let rule = format!("[[allow]]\nid = \"more\"\nto = [\"{}/32\"]\nreason = \"a test\"\n", v4(OUTSIDE));
    std::fs::write(&file, rule).unwrap();
    daemon.home().configure(&(text + "[policy]\nallowlists = [\"rules.d/*.toml\"]\n")).unwrap();
    let passes = || {
        let before = stage.sent().unwrap();
        send(&stage, 5);
        stage.sent().unwrap().since(before).packets == 5
    };
    let rules = |status: &serde_json::Value| status["policy"]["rules"].as_u64();
    let before = daemon.json(&["status"]).unwrap();
    let with =
        daemon.json_until(&["status"], |status| status["policy"]["digest"] != before["policy"]["digest"]).unwrap();
    assert!(passes(), "{with:#}");
    std::fs::remove_file(&file).unwrap();
    let status = daemon.json_until(&["status"], |status| status["losses"]["reloads_refused"] == 1).unwrap();
    assert!(status["reload_error"].as_str().unwrap().contains("more.toml: no such file any more"), "{status:#}");
    assert_eq!((&status["policy"]["digest"], rules(&status)), (&with["policy"]["digest"], rules(&with)));
    assert!(passes());
    // Said by somebody.
    assert_eq!(daemon.json(&["reload"]).unwrap()["changed"], true);
    assert!(!passes());
}

#[test]
fn a_list_that_a_full_disk_cut_takes_nothing_away_until_somebody_accepts_it_and_revoking_works_at_once() {
    let stage = Stage::build(false).unwrap();
    let text = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
    let lists = "[policy]\nallowlists = [\"rules.d/*.txt\"]\n";
    let daemon = Daemon::start(&stage.near, &text, &[]).unwrap();
    let folder = daemon.home().path().join("config/rules.d");
    let file = folder.join("partners.txt");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&file, format!("{}/32\n203.0.113.0/24\n", v4(OUTSIDE))).unwrap();
    let without = daemon.json(&["status"]).unwrap()["policy"]["digest"].clone();
    daemon.home().configure(&(text + lists)).unwrap();
    let passes = || {
        let before = stage.sent().unwrap();
        send(&stage, 5);
        stage.sent().unwrap().since(before).packets == 5
    };
    let digest = |status: &serde_json::Value| status["policy"]["digest"].clone();
    let with = daemon.json_until(&["status"], |status| digest(status) != without).unwrap();
    assert!(passes(), "{with:#}");
    for (refused, cut) in [(1, ""), (2, "203.0.113")] {
        std::fs::write(&file, cut).unwrap();
        let status = daemon.json_until(&["status"], |status| status["losses"]["reloads_refused"] == refused).unwrap();
        assert!(status["reload_error"].as_str().unwrap().contains("partners.txt is held: "), "{status:#}");
        let held = status["findings"].as_array().unwrap().iter().find(|finding| finding["type"] == "file_held");
        assert_eq!(held.map(|finding| finding["severity"].as_str()), Some(Some("High")), "{status:#}");
        assert!(passes());
    }
    // Whole lines: somebody revoked. It is taken at once, and told.
    std::fs::write(&file, "203.0.113.0/24\n").unwrap();
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"list_shrunk\"")).unwrap();
    assert!(!passes());
    std::fs::write(&file, "").unwrap();
    daemon.json_until(&["status"], |status| status["losses"]["reloads_refused"] == 3).unwrap();
    let outcome = daemon.json(&["reload", "--accept", file.to_str().unwrap()]).unwrap();
    assert_eq!(outcome["changed"], true);
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!((digest(&status), &status["reload_error"]), (without, &serde_json::Value::Null), "{status:#}");
}

#[test]
fn a_diff_with_what_runs_shows_what_becomes_of_the_traffic_of_the_last_hour() {
    let stage = Stage::build(false).unwrap();
    let text = stage.config("epoch = \"100ms\"", "");
    let daemon = Daemon::start(&stage.near, &text, &[]).unwrap();
    send(&stage, 7);
    let new = daemon.home().path().join("new.toml");
    let rule = format!(
        "[[allow]]\nid = \"backup\"\nto = [\"{}/32\"]\nports = [\"udp/9\"]\nreason = \"a test\"\n",
        v4(OUTSIDE)
    );
    std::fs::write(&new, text + &rule).unwrap();
    let diff = daemon.json(&["diff", "--running", new.to_str().unwrap()]).unwrap();
    let changes = diff["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{diff:#}");
    let network = format!("{}/32", v4(OUTSIDE));
    assert_eq!(changes[0]["ipv4"]["largest"], serde_json::json!([network]));
    assert_eq!(changes[0]["only"], serde_json::json!(["udp/9"]));
    assert_eq!(changes[0]["old"]["verdict"], "denied");
    assert_eq!((&changes[0]["new"]["verdict"], &changes[0]["new"]["rule"]), (&"allowed".into(), &"backup".into()));
    let traffic = diff["traffic"]["changes"].as_array().unwrap();
    assert_eq!(traffic.len(), 1, "{diff:#}");
    assert_eq!((traffic[0]["packets"].as_u64(), traffic[0]["flows"].as_u64()), (Some(7), Some(1)));
    assert_eq!(traffic[0]["destinations"], serde_json::json!([v4(OUTSIDE).to_string()]));
    let flows = daemon.json(&["flows"]).unwrap();
    let row = flows["flows"].as_array().unwrap().iter().find(|row| row["destination_port"] == 9).unwrap();
    assert_eq!(traffic[0]["bytes"], row["bytes"]);
    // The same file as runs: nothing.
    let same = daemon.json(&["diff", "--running", daemon.home().config().to_str().unwrap()]).unwrap();
    assert_eq!(
        (same["changes"].as_array().unwrap().len(), same["traffic"]["changes"].as_array().unwrap().len()),
        (0, 0)
    );
}
