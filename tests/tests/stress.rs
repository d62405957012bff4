//! Promise: under everything at once nothing is lost. Both CPUs send, hundreds of thousands of flows meet a flow table
//! of the fewest places, epochs end all the time, the policy changes, people ask, the daemon stands still for a while:
//! what was sent is what the hook counted, is the sum of its parts, is what the interface sent, to the packet and the
//! byte, and by class.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    corpus::build::{eth, ether, ip, payload, udp_from},
    daemon::Daemon,
    flood,
    monitor::api::{Flows, Status, Sums},
    netns::Count,
    stage::{
        self, INSIDE, INTERFACE, NEIGHBOUR, OUTSIDE, PATIENCE, RULED, RULED_PORT, Stage, UNPLACED, accounted, v4, v6,
    },
};
use serde_json::Value;

/// The fewest places that there can be.
const PLACES: u32 = 1024;
/// Different flows, and frames without one, in a round.
const FLOWS: u32 = 200_000;
/// Of these, sent by both CPUs.
const SHARED: u32 = 40_000;

/// What the policy makes of frame `number`.
const fn class(number: u32) -> &'static str {
    match number % 16 {
        0..7 => "inside",
        7..11 => "unknown",
        11 | 12 => "outside",
        13 => "neighbour",
        14 => "ruled",
        _ => "unparsed",
    }
}

/// The frame with that number; no two are of one flow.
fn frame(number: u32) -> Vec<u8> {
    let to = match class(number) {
        "inside" if number % 16 < 3 => v6(INSIDE).into(),
        "inside" => v4(INSIDE).into(),
        "unknown" if number % 16 < 9 => v6(UNPLACED).into(),
        "unknown" => v4(UNPLACED).into(),
        "outside" => v4(OUTSIDE).into(),
        "neighbour" => v6(NEIGHBOUR).into(),
        "ruled" => {
            let head = eth() / ip(v4(RULED).into()) / udp_from((number / 16) as u16, RULED_PORT);
            return (head / payload(number as usize % 600)).bytes();
        }
        _ => return (eth() / payload(28 + number as usize % 600).ether(ether::ARP)).bytes(),
    };
    // Above every port at which a tunnel is looked for.
    let port = 20_000 + (number >> 16) as u16;
    (eth() / ip(to) / udp_from(number as u16, port) / payload(number as usize % 600)).bytes()
}

/// What either CPU sends in a round, and what that comes to by class.
struct Load {
    frames: [Arc<Vec<Vec<u8>>>; 2],
    sums: BTreeMap<&'static str, Count>,
}

impl Load {
    fn new() -> Self {
        let half = (FLOWS - SHARED) / 2;
        let numbers = [0, 1].map(|sender: u32| {
            // What both send comes in another order from each, among what only one does.
            let own = SHARED + sender * half..SHARED + (sender + 1) * half;
            let shared: Vec<u32> = if sender == 0 { (0..SHARED).collect() } else { (0..SHARED).rev().collect() };
            let mut all = Vec::with_capacity((half + SHARED) as usize);
            for (number, own) in own.enumerate() {
                all.push(own);
                if number % 2 == 0 {
                    all.push(shared[number / 2]);
                }
            }
            all
        });
        let mut sums: BTreeMap<&'static str, Count> = BTreeMap::new();
        let frames = numbers.map(|numbers| {
            let frames: Vec<Vec<u8>> = numbers.iter().map(|number| frame(*number)).collect();
            for (number, frame) in numbers.iter().zip(&frames) {
                sums.entry(class(*number)).or_default().packet(frame.len() as u64);
            }
            Arc::new(frames)
        });
        Self { frames, sums }
    }

    /// Both CPUs send it once.
    fn send(&self, stage: &Stage) -> Vec<JoinHandle<anyhow::Result<()>>> {
        let sender = |cpu| flood::from_cpu(&stage.near, INTERFACE, cpu, Arc::clone(&self.frames[cpu])).unwrap();
        vec![sender(0), sender(1)]
    }

    /// What it comes to after so many rounds, of these classes.
    fn sum(&self, rounds: u64, wanted: impl Fn(&str) -> bool) -> Count {
        let sum = self.sums.iter().filter(|(class, _)| wanted(class));
        let sum = sum.fold(Count::default(), |sum, (_, count)| sum.plus(*count));
        Count { packets: sum.packets * rounds, bytes: sum.bytes * rounds }
    }
}

/// The sums alone: no row of the million.
fn sums(daemon: &Daemon) -> Flows {
    serde_json::from_value(daemon.json(&["flows", "--top", "1"]).unwrap()).unwrap()
}

/// What the status says that went to a class.
fn of_class(status: &Status, class: &str) -> Count {
    let rows = status.totals.iter().filter(|row| row.class == class);
    rows.fold(Count::default(), |sum, row| sum.plus(Count { packets: row.sums.packets, bytes: row.sums.bytes }))
}

/// Holds everything that was sent in `rounds` rounds against everything that was counted.
fn adds_up(stage: &Stage, daemon: &Daemon, load: &Load, rounds: u64, before: Count) -> Status {
    let all = load.sum(rounds, |_| true);
    // The senders are done, and a veth pair has no queue: this question closes the epoch that has the last packet.
    let flows = sums(daemon);
    assert_eq!(Count { packets: flows.hook.packets, bytes: flows.hook.bytes }, all, "hook, round {rounds}");
    assert_eq!((flows.hook.segments, flows.hook.wire_bytes), (all.packets, all.bytes), "segments, round {rounds}");
    assert_eq!(accounted(&flows), flows.hook, "the parts, round {rounds}");
    let interface = stage.near.statistics(INTERFACE).unwrap();
    assert_eq!((interface.sent.since(before), interface.sent_dropped), (all, 0), "interface, round {rounds}");

    let status = stage::status(daemon).unwrap();
    assert_eq!(of_class(&status, "inside"), load.sum(rounds, |class| class == "inside"), "round {rounds}");
    // Whatever the policy of the moment made of the neighbour.
    let (unknown, outside) = (of_class(&status, "unknown"), of_class(&status, "outside"));
    let elsewhere = |class: &str| matches!(class, "unknown" | "outside" | "neighbour" | "ruled");
    assert_eq!(unknown.plus(outside), load.sum(rounds, elsewhere), "round {rounds}");
    assert!(unknown.packets >= load.sum(rounds, |class| class == "unknown").packets);
    assert!(outside.packets >= load.sum(rounds, |class| matches!(class, "outside" | "ruled")).packets);
    let unparsed = Count { packets: flows.unparsed.packets, bytes: flows.unparsed.bytes };
    assert_eq!(unparsed, load.sum(rounds, |class| class == "unparsed"), "round {rounds}");
    assert_eq!(status.interfaces[0].residual, Sums::default(), "round {rounds}");
    assert!(!status.alerts.iter().any(|alert| alert.kind == "conservation_breach"), "{:?}", status.alerts);
    status
}

/// Three policies that differ in what they make of the same packets.
fn policies(stage: &Stage, monitor: &str) -> [String; 3] {
    let plain = stage.config(monitor, "");
    let neighbour = format!(", \"{}/32\", \"{}/128\"]", v4(NEIGHBOUR), v6(NEIGHBOUR));
    assert!(plain.contains(&neighbour));
    [plain.clone(), plain.replace(&neighbour, "]"), stage.config(monitor, "on_outside = \"allow\"")]
}

/// More in `cargo xtask prove scale`.
fn rounds() -> u64 {
    std::env::var("ROUNDS").map_or(6, |rounds| rounds.parse().expect("ROUNDS is a number"))
}

#[test]
fn rounds_of_two_hundred_thousand_flows_add_up_to_the_byte() {
    let load = Load::new();
    let stage = Stage::build(false).unwrap();
    let before = stage.sent().unwrap();
    let policies = policies(&stage, &format!("epoch = \"100ms\"\nflows = {PLACES}\ncache = 128"));
    let daemon = Daemon::start(&stage.near, &policies[0], &[]).unwrap();
    let begun = Instant::now();
    let (mut asked, mut switched, mut sending) = (0, 0, Duration::ZERO);
    let mut status = Status::default();
    let rounds = rounds();
    for round in 1..=rounds {
        let began = Instant::now();
        let senders = load.send(&stage);
        while !senders.iter().all(JoinHandle::is_finished) {
            // Every second round the policy changes as fast as it can be read.
            if round % 2 == 0 {
                switched += 1;
                daemon.reconfigure(&policies[switched % policies.len()]).unwrap();
            }
            let question = if asked % 2 == 0 { &["flows", "--top", "1"][..] } else { &["status"] };
            daemon.json(question).unwrap();
            asked += 1;
        }
        sending += began.elapsed();
        for sender in senders {
            sender.join().unwrap().unwrap();
        }
        status = adds_up(&stage, &daemon, &load, round, before);
    }
    let packets = load.sum(rounds, |_| true).packets;
    println!(
        "{packets} packets in {:.1?}, of that {sending:.1?} of sending; {} epochs, {switched} signals, {asked} \
         questions, {} packets overflowed",
        begun.elapsed(),
        status.epoch.as_ref().unwrap().count,
        status.losses.overflow_packets,
    );
    // It was what it was to be: full tables, many epochs, each policy in force at some time.
    assert!(status.losses.overflow_packets > packets / 2);
    assert!(status.epoch.unwrap().count >= 2 * rounds);
    assert!(status.totals.iter().any(|row| row.class == "outside" && row.verdict == "observed"));
    assert!(
        of_class(&stage::status(&daemon).unwrap(), "unknown").packets
            > load.sum(rounds, |class| class == "unknown").packets
    );
    assert_eq!(daemon.stop().unwrap().status.code(), Some(0));
}

#[test]
fn a_daemon_that_was_away_finds_every_byte_and_says_what_it_can_not_tell_apart() {
    const TIMES: u64 = 3;
    let load = Load::new();
    let stage = Stage::build(false).unwrap();
    let before = stage.sent().unwrap();
    let config = stage.config(&format!("epoch = \"100ms\"\nflows = {PLACES}\ncache = 128"), "");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let finding = |line: &str, activity: u64| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["unmapped"]["type"] == "flow_table_overflow" && line["activity_id"] == activity
    };
    for time in 1..=TIMES {
        let first = daemon.alerts.count();
        let epochs = stage::status(&daemon).unwrap().epoch.map_or(0, |epoch| epoch.count);
        // It stands still in the middle of whatever it is doing: packets come before, and it ends an epoch each 100 ms.
        let senders = load.send(&stage);
        daemon.stand_still().unwrap();
        for sender in senders {
            sender.join().unwrap().unwrap();
        }
        daemon.signal(libc::SIGCONT).unwrap();
        let status = adds_up(&stage, &daemon, &load, time, before);
        assert!(status.epoch.unwrap().count > epochs);
        daemon.alerts.wait_for(first, PATIENCE, |line| finding(line, 1)).unwrap();
        // Over, so that the next time is reported anew.
        daemon.alerts.wait_for(first, PATIENCE, |line| finding(line, 3)).unwrap();
    }
    let status = stage::status(&daemon).unwrap();
    // All but what fitted into the few epochs that there were.
    let all = load.sum(TIMES, |_| true).packets;
    assert!(status.losses.overflow_packets > all / 2, "{} of {all}", status.losses.overflow_packets);
    assert_eq!(status.losses.epochs_failed, 0);
    assert_eq!(daemon.stop().unwrap().status.code(), Some(0));
}
