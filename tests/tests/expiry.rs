//! Promise: a rule that ends does so for flows that are under way, within 256 jiffies, also when the daemon hangs.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant, SystemTime},
};

use egress_monitor_tests::{
    daemon::Daemon,
    monitor::time,
    stage::{OUTSIDE, PATIENCE, Stage, accounted, flows, v4},
};

/// Between two packets of the flow.
const PACE: Duration = Duration::from_millis(5);
/// 256 jiffies of the slowest kernel (100 Hz), and a packet and a tick on either side.
const BOUND: Duration = Duration::from_millis(2_560 + 50);

#[test]
fn an_established_flow_stops_when_its_rule_ends_while_the_daemon_stands_still() {
    let stage = Stage::build(false).unwrap();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let ends = Duration::from_secs(now().as_secs() + 15);
    let rule = format!(
        "[[allow]]\nid = \"short\"\nto = [\"{}/32\"]\nreason = \"a test\"\nexpires = {}\n",
        v4(OUTSIDE),
        time(ends.as_secs() as i64)
    );
    let text = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "") + &rule;
    let daemon = Daemon::start(&stage.near, &text, &[]).unwrap();
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"rule_expiring\"")).unwrap();
    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let socket = stage.near.run(|| UdpSocket::bind(stage.from(to))).unwrap();
    let start = stage.sent().unwrap();
    let (mut offered, mut passed) = (0, 0);
    let mut last = Duration::ZERO;
    let mut stopped_at = None;
    // Until the end is long past, each packet: did it leave?
    let deadline = Instant::now() + 3 * PATIENCE;
    while now() < ends + 2 * BOUND {
        assert!(Instant::now() < deadline, "the clock stands still");
        if stopped_at.is_none() && offered > 20 {
            // The flow is known by now; from here on nobody in userspace does anything.
            daemon.stand_still().unwrap();
            stopped_at = Some(now());
        }
        let before = stage.sent().unwrap();
        socket.send_to(&[1; 100], to).unwrap();
        offered += 1;
        if stage.sent().unwrap().since(before).packets > 0 {
            passed += 1;
            last = now();
        }
        std::thread::sleep(PACE);
    }
    assert!(stopped_at.is_some_and(|at| at < ends), "the daemon has to be stopped before the rule ends");
    assert!(last + Duration::from_millis(200) >= ends, "it passed until the rule ended");
    println!("the last packet passed {:?} after the end of its rule", last.saturating_sub(ends));
    assert!(last <= ends + BOUND, "packets passed until {:?} after the end", last.saturating_sub(ends));
    assert_eq!(stage.sent().unwrap().since(start).packets, passed);
    assert!(passed < offered);

    daemon.signal(libc::SIGCONT).unwrap();
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"rule_expired\"")).unwrap();
    let flows = flows(&daemon).unwrap();
    let of = |verdict: &str, rule: Option<&str>| -> u64 {
        let rows = flows.flows.iter().filter(|row| row.destination_port == 9);
        rows.filter(|row| row.verdict == verdict && row.rule.as_deref() == rule).map(|row| row.sums.packets).sum()
    };
    assert_eq!((of("allowed", Some("short")), of("denied", None)), (passed, offered - passed));
    assert_eq!(accounted(&flows), flows.hook);
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(
        (&status["rule_times"][0]["rule"], &status["rule_times"][0]["what"]),
        (&"short".into(), &"expired".into())
    );
}
