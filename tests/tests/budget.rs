//! Promise: a rule lets through its bytes of the day and then nothing more until midnight, restart or not; what passed
//! beyond, until it was noticed, is known to the byte.

use std::{net::SocketAddr, time::SystemTime};

use egress_monitor_tests::{
    daemon::{Daemon, Home},
    monitor::api::{RuleRow, Rules},
    netns::Count,
    stage::{PATIENCE, RULED, RULED_PORT, Stage, flows, v4},
    traffic::send_udp,
};

/// Payload of a datagram, and its frame.
const PAYLOAD: usize = 958;
const FRAME: u64 = 14 + 20 + 8 + PAYLOAD as u64;

/// Waits for the next day where this one is nearly over: the budgets are those of a day.
fn wait_for_a_day_with_room() {
    let seconds = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() % 86_400;
    while seconds() > 86_400 - 60 {
        std::thread::yield_now();
    }
}

fn ruled(daemon: &Daemon) -> RuleRow {
    let rules: Rules = serde_json::from_value(daemon.json(&["rules"]).unwrap()).unwrap();
    assert_eq!(rules.overflow.packets, 0);
    rules.rules.into_iter().find(|row| row.rule == "ruled").unwrap()
}

/// Bytes used, bytes beyond, state.
fn standing(daemon: &Daemon) -> (u64, u64, String) {
    let row = ruled(daemon);
    let budget = row.budget.unwrap();
    assert_eq!((budget.bytes_per_day, budget.suspended_since.is_some()), (10_000, row.state == "suspended"));
    (budget.used, budget.beyond, row.state)
}

#[test]
fn a_rule_lets_through_its_bytes_of_the_day_and_then_nothing_restart_or_not() {
    wait_for_a_day_with_room();
    let stage = Stage::build(false).unwrap();
    // Epochs end when they are asked to.
    let config = stage.config("mode = \"enforce\"\nepoch = \"5min\"", "") + "max_bytes_per_day = 10000\n";
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let digest = daemon.json(&["status"]).unwrap()["policy"]["digest"].clone();
    let to = SocketAddr::new(v4(RULED).into(), RULED_PORT);
    let before = stage.received().unwrap();
    let arrived = |packets: u64| {
        let received = stage.received().unwrap().since(before);
        assert_eq!(received, Count { packets, bytes: packets * FRAME });
    };
    let send = |packets: usize| {
        stage.near.run(|| send_udp(stage.from(to), to, &vec![PAYLOAD; packets])).unwrap();
    };
    let holds = |used, beyond, state: &str| (used, beyond, state.to_owned());

    send(5);
    assert_eq!(standing(&daemon), holds(5 * FRAME, 0, "holds"));
    send(7);
    assert_eq!(standing(&daemon), holds(12 * FRAME, 2_000, "suspended"));
    arrived(12);
    send(3);
    assert_eq!(standing(&daemon), holds(12 * FRAME, 2_000, "suspended"));
    arrived(12);
    let denied: Vec<_> = flows(&daemon).unwrap().flows.into_iter().filter(|row| row.verdict == "denied").collect();
    assert_eq!(denied.iter().map(|row| (row.sums.packets, row.rule.clone())).collect::<Vec<_>>(), [(3, None)]);
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!((&status["policy"]["digest"], &status["policy"]["suspended"][0]), (&digest, &"ruled".into()));
    assert_eq!(status["findings"][0]["type"], "budget_used_up");
    let reported = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("budget_used_up")).unwrap();
    assert!(
        reported.contains("12000 of 10000 bytes on the wire") && reported.contains("2000 of them beyond"),
        "{reported}"
    );

    let target = format!("{to}/udp");
    let config_file = daemon.home().config();
    let explained = |arguments: &[&str]| {
        let mut command = std::process::Command::new(egress_monitor_tests::daemon::binary().unwrap());
        let output = command.arg("explain").args(arguments).arg("--config").arg(&config_file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stories: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (stories[0]["enforce"].clone(), stories[0]["rules"][0]["why"].as_str().unwrap().to_owned())
    };
    assert_eq!(explained(&[&target, "--json"]).0, "allowed");
    let (enforce, why) = explained(&[&target, "--json", "--running"]);
    assert_eq!(enforce, "denied");
    assert!(why.starts_with("suspended until midnight UTC"), "{why}");

    // Another policy does not begin the day anew, a greater budget gives what is missing.
    let status = daemon.json(&["status"]).unwrap();
    daemon.reconfigure(&config.replace("10000", "13500")).unwrap();
    let next = daemon.json_until(&["status"], |next| next["policy"]["digest"] != status["policy"]["digest"]).unwrap();
    assert_eq!(next["policy"]["suspended"], serde_json::json!([]));
    send(1);
    assert_eq!(ruled(&daemon).budget.map(|budget| budget.used), Some(13 * FRAME));
    arrived(13);

    // As it was left, so it begins: nothing passes, from the first packet on.
    let file = daemon.home().path().join("state/budgets.json");
    let used = format!("{{\"ruled\":{}}}", 13 * FRAME);
    let kept = || std::fs::read_to_string(&file).unwrap();
    // Written at most once a second.
    daemon.json_until(&["status"], |_| kept().contains(&used)).unwrap();
    let kept = kept();
    let ended = daemon.stop().unwrap();
    assert!(ended.status.success(), "{:?}", ended.log);
    let home = Home::new().unwrap();
    home.configure(&config).unwrap();
    std::fs::write(home.path().join("state/budgets.json"), kept).unwrap();
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    send(4);
    assert_eq!(standing(&daemon), holds(13 * FRAME, 3_000, "suspended"));
    arrived(13);
}

#[test]
fn in_observe_mode_what_goes_beyond_is_observed_alerted_and_arrives() {
    wait_for_a_day_with_room();
    let stage = Stage::build(false).unwrap();
    let config = stage.config("epoch = \"5min\"", "") + "max_bytes_per_day = 10000\n";
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let to = SocketAddr::new(v4(RULED).into(), RULED_PORT);
    let before = stage.received().unwrap();
    for (packets, used) in [(12, 12 * FRAME), (3, 12 * FRAME)] {
        stage.near.run(|| send_udp(stage.from(to), to, &vec![PAYLOAD; packets])).unwrap();
        assert_eq!(standing(&daemon), (used, 2_000, "suspended".to_owned()));
    }
    assert_eq!(stage.received().unwrap().since(before).packets, 15);
    let rows = flows(&daemon).unwrap().flows.into_iter().filter(|row| row.destination == to.ip());
    let mut rows: Vec<_> = rows.map(|row| (row.verdict, row.rule, row.sums.packets)).collect();
    rows.sort_unstable();
    let of = |verdict: &str, rule: Option<&str>, packets| (verdict.to_owned(), rule.map(str::to_owned), packets);
    assert_eq!(rows, [of("allowed", Some("ruled"), 12), of("observed", None, 3)]);
    let address = format!("\"ip\":\"{}\"", to.ip());
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"class_uid\":4001") && line.contains(&address)).unwrap();
}
