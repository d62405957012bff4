//! Promise: an interface may go while packets leave by it: what was counted until then adds up, the monitor goes on and
//! says which one is not there, and watches the next one of that name as soon as it is.

use std::net::SocketAddr;

use egress_monitor_tests::{
    corpus::build::{eth, ip, payload, udp_from},
    daemon::Daemon,
    flood::{Flood, Sender, total},
    monitor::api::{Flows, InterfaceStatus, Status, Sums},
    netns::Namespace,
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

/// Waits until the monitor says that the interface is not there; gives what it says then.
fn lost(daemon: &Daemon) -> Status {
    daemon.json_until(&["status"], is_unavailable).unwrap();
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"interface_unavailable\"")).unwrap();
    assert!(line.contains(INTERFACE), "{line}");
    let status = status(daemon).unwrap();
    // Nothing else was attached to.
    assert!(status.not_ready.as_ref().is_some_and(|why| why.starts_with("nothing is attached")), "{status:#?}");
    assert!(status.interfaces.iter().all(|interface| interface.hook.is_none()), "{:#?}", status.interfaces);
    assert!(status.interfaces.iter().all(|interface| interface.residual == Sums::default()));
    status
}

fn is_unavailable(status: &serde_json::Value) -> bool {
    let open = status["findings"].as_array().unwrap();
    open.iter().any(|condition| condition["type"] == "interface_unavailable")
}

/// Waits until the interface is watched.
fn watched(daemon: &Daemon) {
    let is_watched = |status: &serde_json::Value| status["interfaces"][0]["hook"].is_string();
    let status = daemon.json_until(&["status"], |status| is_watched(status) && !is_unavailable(status)).unwrap();
    assert_eq!(status["interfaces"][0]["interface"], INTERFACE);
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

    // Another one with its name is watched as soon as it is there, and what it sends comes to what was counted under it.
    Wire::lay(&stage.near, INTERFACE, &stage.far, INTERFACE, Networks::number(7)).unwrap();
    watched(&daemon);
    let to = SocketAddr::new(v4(INSIDE).into(), 9);
    stage.near.run(|| send_udp(stage.from(to), to, &[10; 100])).unwrap();
    assert!(stage.sent().unwrap().packets >= 100);
    assert_eq!(flows(&daemon).unwrap().hook.packets, counted.hook.packets + 100);
    let now = status(&daemon).unwrap();
    assert_eq!((now.interfaces.len(), now.interfaces[0].residual), (1, Sums::default()));
    let nic = now.interfaces[0].nic.as_ref().unwrap();
    assert_eq!(nic.unaccounted.packets, 0);
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

/// Moves the interface to another namespace, where its index is free or `taken`, sends by it there, and brings it back.
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
    send(&stage.near);
    assert_eq!(count(&flows(&daemon).unwrap().hook), once);
    stage.near.ip(&["link", "set", INTERFACE, "netns", elsewhere.name()]).unwrap();
    elsewhere.ip(&["link", "set", INTERFACE, "arp", "off", "up"]).unwrap();
    let reported = lost(&daemon);
    // What it sends there is another monitor's.
    send(&elsewhere);
    let sums = |status: &Status| {
        let of = |interface: &InterfaceStatus| (interface.interface.clone(), count(&interface.total));
        status.interfaces.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(sums(&reported), [(INTERFACE.to_owned(), once)]);
    assert_eq!(sums(&lost(&daemon)), [(INTERFACE.to_owned(), once)]);
    elsewhere.ip(&["link", "set", INTERFACE, "netns", stage.near.name()]).unwrap();
    stage.near.ip(&["link", "set", INTERFACE, "arp", "off", "up"]).unwrap();
    watched(&daemon);
    send(&stage.near);
    let counted = flows(&daemon).unwrap();
    assert_eq!(count(&counted.hook), once.plus(once));
    assert_eq!(accounted(&counted), counted.hook);
    assert_eq!(sums(&status(&daemon).unwrap()), [(INTERFACE.to_owned(), once.plus(once))]);
    ends_well(daemon);
}

/// Waits until this interface is watched; nothing of what is sent by it reaches the peer.
fn drops(stage: &Stage, daemon: &Daemon, name: &str) {
    let watched = |status: &serde_json::Value| {
        let rows = status["coverage"].as_array().unwrap();
        rows.iter().any(|row| row["name"] == name && row["since"].is_string())
    };
    daemon.json_until(&["status"], watched).unwrap();
    // Those of odd numbers go outside.
    let outside: Vec<Vec<u8>> = frames().into_iter().step_by(2).collect();
    let before = [stage.received().unwrap().packets, flows(daemon).unwrap().hook.packets];
    let sent = stage.near.run(|| Flood::open(name).unwrap().send(&outside)).unwrap();
    assert_eq!(sent, Frames { sent: 0, refused: outside.len() as u64 }, "{name}");
    let after = [stage.received().unwrap().packets, flows(daemon).unwrap().hook.packets];
    assert_eq!(after, [before[0], before[1] + outside.len() as u64], "{name}");
}

#[test]
fn what_is_denied_does_not_leave_by_an_interface_that_was_renamed_moved_away_and_back_or_made_again() {
    let stage = Stage::build(false).unwrap();
    let elsewhere = Namespace::new("elsewhere").unwrap();
    let config = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
    let config = config.replace(&format!("[\"{INTERFACE}\"]"), "[\"auto\"]");
    for hook in ["tcx", "clsact"] {
        let daemon = Daemon::start(&stage.near, &config, &["--hook", hook]).unwrap();
        drops(&stage, &daemon, INTERFACE);
        let up = |name: &str| stage.near.ip(&["link", "set", name, "arp", "off", "up"]).unwrap();
        stage.near.ip(&["link", "set", INTERFACE, "down"]).unwrap();
        stage.near.ip(&["link", "set", INTERFACE, "name", "other"]).unwrap();
        up("other");
        drops(&stage, &daemon, "other");
        stage.near.ip(&["link", "set", "other", "netns", elsewhere.name()]).unwrap();
        elsewhere.ip(&["link", "set", "other", "netns", stage.near.name()]).unwrap();
        up("other");
        drops(&stage, &daemon, "other");
        stage.near.ip(&["link", "delete", "other"]).unwrap();
        Wire::lay(&stage.near, INTERFACE, &stage.far, INTERFACE, Networks::number(7)).unwrap();
        drops(&stage, &daemon, INTERFACE);
        ends_well(daemon);
    }
}

#[test]
fn an_interface_that_is_moved_away_is_let_go_of_and_watched_when_it_is_back() {
    moved(false);
}

#[test]
fn the_same_where_its_index_is_taken() {
    moved(true);
}
