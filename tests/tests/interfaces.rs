//! Promise: an interface may go while packets leave by it: what was counted until then adds up, the monitor goes on and
//! says which one is lost, and never takes another one of the same name for it.

use std::net::SocketAddr;

use egress_monitor_tests::{
    corpus::build::{eth, ip, payload, udp_from},
    daemon::Daemon,
    flood::{Flood, Sender, total},
    monitor::api::{Flows, Status, Sums},
    netns::{Count, Namespace},
    stage::{INSIDE, INTERFACE, OUTSIDE, PATIENCE, Stage, accounted, count, flows, status, v4, v6},
    traffic::{Frames, send_udp},
    wire::{Networks, Wire},
};

fn frames() -> Vec<Vec<u8>> {
    let frame = |number: u16| {
        let to = if number.is_multiple_of(2) { v4(INSIDE).into() } else { v6(OUTSIDE).into() };
        (eth() / ip(to) / udp_from(number, 20_000) / payload(usize::from(number) % 100)).bytes()
    };
    (1..=2_000).map(frame).collect()
}

/// Waits until the monitor says that it lost the interface; gives what it says then.
fn lost(daemon: &Daemon) -> Status {
    let said = |status: &serde_json::Value| {
        let open = status["conditions"].as_array().unwrap();
        open.iter().any(|condition| condition["type"] == "interface_lost")
    };
    daemon.json_until(&["status"], said).unwrap();
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"interface_lost\"")).unwrap();
    assert!(line.contains(INTERFACE), "{line}");
    let status = status(daemon).unwrap();
    // Nothing else was attached to.
    assert!(status.not_ready.as_ref().is_some_and(|why| why.starts_with("nothing is attached")), "{status:#?}");
    assert!(status.interfaces.iter().all(|interface| interface.hook.is_none()), "{:#?}", status.interfaces);
    assert!(status.interfaces.iter().all(|interface| interface.residual == Sums::default()));
    status
}

fn ends_well(daemon: Daemon) {
    let ended = daemon.stop().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    assert!(!ended.alerts.iter().any(|line| line.contains("conservation_breach")));
}

fn removed(hook: &str) {
    let stage = Stage::build(false).unwrap();
    let config = stage.config("epoch = \"100ms\"", "");
    let daemon = Daemon::start(&stage.near, &config, &["--hook", hook]).unwrap();
    let senders = [0, 1].map(|cpu| Sender::start(&stage.near, INTERFACE, cpu, frames()).unwrap());
    while senders.iter().any(|sender| sender.offered() < 20_000) {
        std::thread::yield_now();
    }
    stage.near.ip(&["link", "delete", INTERFACE]).unwrap();
    let mut frames = Frames::default();
    for sender in senders {
        let ended = sender.failed().unwrap();
        frames.sent += ended.frames.sent;
        frames.refused += ended.frames.refused;
    }
    let reported = lost(&daemon);
    let counted: Flows = flows(&daemon).unwrap();
    assert_eq!(accounted(&counted), counted.hook);
    // A frame that failed, each sender's last one among them, may have passed the hook and met a device that was closed
    // behind it. Nothing else is between the two numbers.
    let most = frames.sent + frames.refused + 2;
    assert!((frames.sent..=most).contains(&counted.hook.packets), "{frames:?}, {:?} counted", counted.hook);
    assert_eq!(reported.interfaces.len(), 1);
    assert_eq!(reported.interfaces[0].interface, INTERFACE);

    // Another one with its name is not taken for it: nothing is attached to it, nothing of it is counted.
    Wire::lay(&stage.near, INTERFACE, &stage.far, INTERFACE, Networks::number(7)).unwrap();
    let to = SocketAddr::new(v4(INSIDE).into(), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &[10; 100])).unwrap();
    assert!(stage.sent().unwrap().packets >= 100);
    assert_eq!(flows(&daemon).unwrap().hook, counted.hook);
    lost(&daemon);
    ends_well(daemon);
}

#[test]
fn an_interface_that_is_removed_while_packets_leave_is_reported_and_its_counts_add_up() {
    removed("tcx");
}

#[test]
fn the_same_by_clsact() {
    removed("clsact");
}

/// Moves the interface to another namespace, where its index is free or `taken`, and sends by it there.
fn moved(taken: bool) {
    let stage = Stage::build(false).unwrap();
    let elsewhere = Namespace::new("elsewhere").unwrap();
    if taken {
        // Indices are given in order, and the host's interface was the first one, too.
        Wire::lay(&elsewhere, "first", &stage.far, "first", Networks::number(8)).unwrap();
    }
    let config = stage.config("epoch = \"100ms\"", "");
    let daemon = Daemon::start(&stage.near, &config, &["--hook", "tcx"]).unwrap();
    let frames = frames();
    let send = |namespace: &Namespace| {
        let sent = namespace.run(|| Flood::open(INTERFACE).unwrap().send(&frames)).unwrap();
        assert_eq!(sent, Frames { sent: frames.len() as u64, refused: 0 });
    };
    let once = total(&frames);
    let twice = once.plus(once);
    send(&stage.near);
    assert_eq!(count(&flows(&daemon).unwrap().hook), once);
    stage.near.ip(&["link", "set", INTERFACE, "netns", elsewhere.name()]).unwrap();
    elsewhere.ip(&["link", "set", INTERFACE, "arp", "off", "up"]).unwrap();
    lost(&daemon);
    // A TCX link goes with its device.
    send(&elsewhere);
    let counted = flows(&daemon).unwrap();
    assert_eq!(count(&counted.hook), twice);
    assert_eq!(accounted(&counted), counted.hook);
    let reported = lost(&daemon);
    let sums: Vec<(&str, Count)> =
        reported.interfaces.iter().map(|interface| (interface.interface.as_str(), count(&interface.total))).collect();
    if taken {
        // Under an index that nobody registered.
        assert_eq!(sums, [(INTERFACE, once), ("(unregistered)", once)]);
    } else {
        assert_eq!(sums, [(INTERFACE, twice)]);
    }
    ends_well(daemon);
}

#[test]
fn an_interface_that_is_moved_away_is_reported_and_counted_on() {
    moved(false);
}

#[test]
fn an_interface_that_gets_another_index_is_counted_as_unregistered() {
    moved(true);
}
