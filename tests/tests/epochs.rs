//! Promise: a drain takes nothing from packets. While a full table is drained, both CPUs go on sending, and every epoch
//! adds up.

use std::{sync::Arc, time::Instant};

use egress_monitor_tests::{
    corpus::{
        build::{eth, ip, payload, udp_from},
        policy::{self, IN, OUT, OUT6, UNPLACED},
    },
    flood::Sender,
    netns::Count,
    stage::{INTERFACE, PATIENCE, Stage},
};
use monitor_common::wire::Counters;

use crate::support::attached::{attach, hook};

#[test]
fn packets_go_on_and_each_epoch_adds_up_while_a_full_table_is_drained() {
    const PLACES: u32 = 262_144;
    /// Of each sender; no flow is of both.
    const FLOWS: u32 = 150_000;
    const FULL: usize = 3;
    const QUICK: usize = 20;
    let stage = Stage::build(false).unwrap();
    let mut kernel = attach(&stage, PLACES, false, Arc::new(policy::compile("").unwrap()));
    let frames = |sender: u32| -> Vec<Vec<u8>> {
        let frame = |number: u32| {
            let to = [IN, OUT, OUT6, UNPLACED][number as usize % 4];
            let port = 20_000 + 10 * sender as u16 + (number >> 16) as u16;
            (eth() / ip(to) / udp_from(number as u16, port) / payload(number as usize % 50)).bytes()
        };
        (0..FLOWS).map(frame).collect()
    };
    let senders = [0, 1].map(|cpu| Sender::start(&stage.near, INTERFACE, cpu, frames(cpu as u32)).unwrap());
    let sent = || senders.iter().map(Sender::offered).collect::<Vec<_>>();
    let mut counted = Counters::default();
    let mut drains = Vec::new();
    for number in 0..FULL + QUICK {
        if number < FULL {
            // Until there were more flows than there are places.
            let (before, deadline) = (sent(), Instant::now() + PATIENCE);
            while sent().iter().zip(&before).any(|(now, before)| now - before < u64::from(FLOWS)) {
                assert!(Instant::now() < deadline, "too slow: {:?} since {before:?}", sent());
                std::thread::yield_now();
            }
        }
        let (before, began) = (sent(), Instant::now());
        let drained = kernel.flip().unwrap();
        let (took, after) = (began.elapsed(), sent());
        counted.add(&hook(&drained));
        if number < FULL {
            let overflow: u64 =
                drained.interfaces.iter().flat_map(|i| i.overflow.values()).map(|sums| sums.packets).sum();
            assert_eq!(drained.fill.table.used, PLACES as usize);
            assert!(overflow > 0);
            // Neither CPU stood still.
            assert!(before.iter().zip(&after).all(|(before, after)| after > before), "{before:?}, {after:?}");
            let passed: u64 = after.iter().zip(&before).map(|(after, before)| after - before).sum();
            drains.push((took, passed));
        }
    }
    let ended = senders.map(|sender| sender.stop().unwrap());
    counted.add(&hook(&kernel.flip().unwrap()));
    let sum = ended.iter().fold(Count::default(), |sum, ended| sum.plus(ended.offered));
    assert_eq!(ended.map(|ended| ended.frames.refused), [0; 2]);
    let Count { packets, bytes } = sum;
    assert_eq!(counted, Counters { packets, segments: packets, bytes, wire_bytes: bytes });
    println!("{packets} packets; drains of a full table and packets meanwhile: {drains:.1?}");
    println!("longest batch of 256: {:.1?}", ended.map(|ended| ended.longest));
}
