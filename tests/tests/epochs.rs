//! Promise: each packet is counted in exactly one epoch, whole, whatever it is doing when the epoch ends: in the middle
//! of the program, on both CPUs, while a full table is drained.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use egress_monitor::{
    kernel::{Drained, Kernel, Options, resolve},
    policy::Policy,
};
use egress_monitor_tests::{
    corpus::{
        self,
        build::{eth, ip, payload, udp, udp_from},
        policy::{IN, OUT, OUT6, PRIVATE},
    },
    flood::Flood,
    gate::Gate,
    stage::{INTERFACE, PATIENCE, Stage, on_cpu},
    traffic::{Frames, send_each},
};
use monitor_common::wire::Counters;

/// The kernel part in this process, on the host's interface.
fn attach(stage: &Stage, flows: u32, policy: Policy) -> Kernel {
    let options = Options { flows, enforce: false, log_level: 0 };
    let mut kernel = Kernel::load(options, Arc::new(policy)).expect("the kernel part loads: these tests need root");
    stage.near.run(|| kernel.attach(&resolve(&[INTERFACE.into()]).unwrap(), None).unwrap());
    kernel
}

/// What the hook counted in an epoch, after holding it against its parts.
fn hook(drained: &Drained) -> Counters {
    let mut parts: BTreeMap<u32, Counters> = BTreeMap::new();
    for (key, value) in &drained.flows {
        parts.entry(key.flow.ifindex).or_default().add(&value.counters);
    }
    let mut hook = Counters::default();
    for interface in &drained.interfaces {
        let part = parts.entry(interface.ifindex).or_default();
        interface.overflow.values().for_each(|sums| part.add(sums));
        interface.unparsed.values().for_each(|tally| {
            part.add(&tally.passed);
            part.add(&tally.dropped);
        });
        assert_eq!(interface.hook, *part, "{} in epoch {}", interface.name, drained.epoch);
        hook.add(&interface.hook);
    }
    assert!(parts.keys().all(|ifindex| drained.interfaces.iter().any(|known| known.ifindex == *ifindex)));
    hook
}

#[test]
fn an_epoch_is_drained_only_when_no_program_is_in_the_middle_of_one_of_its_packets() {
    /// More allocations than a packet meets on its way.
    const ENOUGH: u64 = 40;
    /// A drain that waits for nobody takes a fraction of this.
    const LONG: Duration = Duration::from_millis(25);
    let stage = Stage::build(false).unwrap();
    for namespace in [&stage.near, &stage.far] {
        namespace.ip(&["link", "set", INTERFACE, "mtu", "9000"]).unwrap();
    }
    let mut kernel = attach(&stage, 1024, corpus::policy::compile("").unwrap());
    // Of its headers only Ethernet's are in the linear part, so that the program must have the kernel allocate memory
    // between the hook total and the flow.
    let frame = (eth() / ip(OUT) / udp(9) / payload(6_000)).bytes();
    let length = frame.len() as u64;
    let (mut held_in_section, mut steps) = (0, 0);
    for tracepoint in ["kmalloc", "kmem_cache_alloc"] {
        let gate = Arc::new(Gate::at(tracepoint).unwrap());
        for skip in 0..ENOUGH {
            let (frame, at) = (frame.clone(), Arc::clone(&gate));
            let work = move || {
                at.arm(skip);
                let left = send_each(INTERFACE, [(frame.as_slice(), Some(14))]).unwrap();
                (left, at.disarm())
            };
            let sender = on_cpu(&stage.near, 1, work).unwrap();
            while !gate.holds() && !sender.is_finished() {
                std::hint::spin_loop();
            }
            let (done, flipped) = mpsc::channel();
            let (first, waited) = std::thread::scope(|scope| {
                let flip = scope.spawn(|| {
                    let drained = kernel.flip().unwrap();
                    done.send(()).unwrap();
                    drained
                });
                let waited = gate.holds() && flipped.recv_timeout(LONG).is_err();
                gate.open();
                (flip.join().unwrap(), waited)
            });
            let (left, was_held) = sender.join().unwrap();
            assert_eq!(left, [true]);
            let second = kernel.flip().unwrap();
            let counted = [hook(&first), hook(&second)];
            let packets = counted.map(|sums| (sums.packets, sums.bytes));
            // Wherever it was held.
            assert!(matches!(packets, [(1, bytes), (0, 0)] | [(0, 0), (1, bytes)] if bytes == length), "{packets:?}");
            held_in_section += u32::from(waited && packets[0].0 == 1);
            steps += 1;
            if !was_held {
                break;
            }
        }
    }
    println!("{steps} places tried, at {held_in_section} of them the epoch waited for its packet");
    assert!(held_in_section > 0, "it was never held where the end of the epoch has to wait");
}

/// A sender on one CPU that goes on until it is told to stop.
struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<(Counters, Duration)>,
}

impl Sender {
    /// Sends `frames` again and again; the longest that a batch took is given at the end.
    fn start(stage: &Stage, cpu: usize, frames: Vec<Vec<u8>>) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (asked, told) = (Arc::clone(&stop), Arc::clone(&sent));
        let work = move || {
            let flood = Flood::open(INTERFACE).unwrap();
            let (mut total, mut longest) = (Counters::default(), Duration::ZERO);
            for batch in frames.chunks(256).cycle() {
                if asked.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                assert_eq!(flood.send(batch).unwrap(), Frames { sent: batch.len() as u64, refused: 0 });
                longest = longest.max(began.elapsed());
                let bytes: usize = batch.iter().map(Vec::len).sum();
                let (packets, bytes) = (batch.len() as u64, bytes as u64);
                total.add(&Counters { packets, segments: packets, bytes, wire_bytes: bytes });
                told.fetch_add(packets, Ordering::Relaxed);
            }
            (total, longest)
        };
        Self { stop, sent, thread: on_cpu(&stage.near, cpu, work).unwrap() }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn stop(self) -> (Counters, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn packets_go_on_and_each_epoch_adds_up_while_a_full_table_is_drained() {
    const PLACES: u32 = 262_144;
    /// Of each sender; no flow is of both.
    const FLOWS: u32 = 150_000;
    const FULL: usize = 4;
    const QUICK: usize = 30;
    let stage = Stage::build(false).unwrap();
    let mut kernel = attach(&stage, PLACES, corpus::policy::compile("").unwrap());
    let frames = |sender: u32| -> Vec<Vec<u8>> {
        let frame = |number: u32| {
            let to = [IN, OUT, OUT6, PRIVATE][number as usize % 4];
            let port = 20_000 + 10 * sender as u16 + (number >> 16) as u16;
            (eth() / ip(to) / udp_from(number as u16, port) / payload(number as usize % 50)).bytes()
        };
        (0..FLOWS).map(frame).collect()
    };
    let senders = [0, 1].map(|cpu| Sender::start(&stage, cpu, frames(cpu as u32)));
    let sent = || senders.iter().map(Sender::sent).collect::<Vec<_>>();
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
            assert_eq!(drained.flows.len(), PLACES as usize);
            assert!(overflow > 0);
            // Neither CPU stood still.
            assert!(before.iter().zip(&after).all(|(before, after)| after > before), "{before:?}, {after:?}");
            let passed: u64 = after.iter().zip(&before).map(|(after, before)| after - before).sum();
            drains.push((took, passed));
        }
    }
    let ended = senders.map(Sender::stop);
    counted.add(&hook(&kernel.flip().unwrap()));
    let mut total = Counters::default();
    ended.iter().for_each(|(sums, _)| total.add(sums));
    assert_eq!(counted, total);
    println!("{} packets; drains of a full table and packets meanwhile: {drains:.1?}", total.packets);
    println!("longest batch of 256: {:.1?}", ended.map(|(_, longest)| longest));
}
