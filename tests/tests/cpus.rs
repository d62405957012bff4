//! Promise: CPUs may come and go. What one counted before it went is in its epoch, and it counts again when it is back.
//! This takes a CPU from the machine, so it is left to machines that are nobody's: `cargo xtask prove kernels` runs it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    corpus::{
        build::{eth, ether, ip, payload, udp_from},
        policy::{self, IN, OUT, OUT6},
    },
    flood::{Flood, Sender, total},
    netns::Count,
    stage::{INTERFACE, Stage, on_cpu},
    traffic::Frames,
};
use monitor_common::wire::Counters;

use crate::support::attached::{attach, hook};

/// CPU 1's switch.
const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";
const PATIENCE: Duration = Duration::from_mins(2);

/// While it lives, CPU 1 is away.
struct Away;

impl Away {
    fn now() -> Self {
        std::fs::write(SWITCH, "0").expect("CPU 1 can be taken away");
        Self
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        std::fs::write(SWITCH, "1").expect("CPU 1 comes back");
    }
}

/// Flows, and every fourth frame one that has none.
fn frames() -> Vec<Vec<u8>> {
    let frame = |number: u16| {
        let to = match number % 4 {
            0 => return (eth() / payload(40).ether(ether::ARP)).bytes(),
            1 => IN,
            2 => OUT,
            _ => OUT6,
        };
        (eth() / ip(to) / udp_from(number, 20_000) / payload(usize::from(number) % 100)).bytes()
    };
    (1..=500).map(frame).collect()
}

fn counters(Count { packets, bytes }: Count) -> Counters {
    Counters { packets, segments: packets, bytes, wire_bytes: bytes }
}

#[test]
#[ignore = "takes a CPU away: `cargo xtask prove kernels` runs it in an emulator"]
fn what_a_cpu_counted_is_in_its_epoch_when_it_is_offline_and_when_it_is_back() {
    assert!(Path::new(SWITCH).exists(), "there is no CPU 1 that can be taken away");
    let stage = Stage::build(false).unwrap();
    let mut kernel = attach(&stage, 4096, false, Arc::new(policy::compile("").unwrap()));
    let (frames, once) = (frames(), total(&frames()));
    let send = |cpu| {
        let frames = frames.clone();
        let work = move || Flood::open(INTERFACE).unwrap().send(&frames).unwrap();
        let sent = on_cpu(&stage.near, cpu, work).unwrap().join().unwrap();
        assert_eq!(sent, Frames { sent: once.packets, refused: 0 });
    };
    for _ in 0..3 {
        send(0);
        send(1);
        let away = Away::now();
        // Counted by a CPU that is not there any more.
        assert_eq!(hook(&kernel.flip().unwrap()), counters(once.plus(once)));
        send(0);
        assert_eq!(hook(&kernel.flip().unwrap()), counters(once));
        drop(away);
        send(1);
        assert_eq!(hook(&kernel.flip().unwrap()), counters(once));
    }

    // It goes while its sender is at work, which the kernel then moves, and comes back.
    let sender = Sender::start(&stage.near, INTERFACE, 1, frames.clone()).unwrap();
    let mut counted = Counters::default();
    for _ in 0..3 {
        let more = |packets: u64| {
            let (before, deadline) = (sender.offered(), Instant::now() + PATIENCE);
            while sender.offered() < before + packets {
                assert!(Instant::now() < deadline, "the sender stands still");
                std::thread::yield_now();
            }
        };
        more(1_000);
        let away = Away::now();
        counted.add(&hook(&kernel.flip().unwrap()));
        more(1_000);
        counted.add(&hook(&kernel.flip().unwrap()));
        drop(away);
        more(1_000);
        counted.add(&hook(&kernel.flip().unwrap()));
    }
    let ended = sender.stop().unwrap();
    counted.add(&hook(&kernel.flip().unwrap()));
    assert_eq!(counted, counters(ended.offered));
}
