//! The kernel program and the host's way of the same, side by side. Shared by the tests that hold one against the other
//! with very many frames.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use egress_monitor_tests::{
    host::{Host, PacketOutcome},
    monitor::{kernel::boot_ns, policy::Policy},
};
use monitor_common::{
    parse::Reason,
    wire::{Counters, FullKey, Link, ReasonSums},
};

use super::machine::{DROP, LOOPBACK, Machine, NEXT, can_be_run, run};

/// As many frames as flow table and ring hold in one epoch.
const BATCH: usize = 8_000;

/// What the maps should hold after some packets.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    hook: Counters,
    flows: HashMap<FullKey, Counters>,
    unparsed: BTreeMap<Reason, ReasonSums>,
    events: HashSet<FullKey>,
}

impl Expected {
    fn add(&mut self, by_host: &PacketOutcome, size: &Counters) {
        self.hook.add(size);
        match by_host {
            PacketOutcome::Flow { key, alert } => {
                self.flows.entry(*key).or_default().add(size);
                if *alert {
                    self.events.insert(*key);
                }
            }
            PacketOutcome::Unparsed { reason, dropped } => {
                let reason_sums = self.unparsed.entry(*reason).or_default();
                (if *dropped { &mut reason_sums.dropped } else { &mut reason_sums.passed }).add(size);
            }
        }
    }

    fn of(machine: &mut Machine) -> Self {
        let drained = machine.kernel.flip().expect("the maps can be drained");
        assert_eq!(drained.events_lost, 0);
        let interface = drained.interfaces.iter().find(|i| i.name == "lo").expect("the interface was counted");
        assert!(interface.overflow.is_empty());
        Self {
            hook: interface.hook,
            flows: drained.flows.iter().map(|(key, value)| (*key, value.counters)).collect(),
            unparsed: interface.unparsed.clone(),
            events: std::iter::from_fn(|| machine.events.ready())
                .filter_map(|event| event.flow().map(|event| event.flow))
                .collect(),
        }
    }
}

/// The kernel and the host, each with what it remembers of fragments.
pub struct Both {
    machine: Machine,
    host: Host<'static>,
    expected: Expected,
    batch: usize,
    /// Frames that went through both.
    pub count: usize,
    /// Of all that the kernel made of them, so that two builds can be held against each other: flows, sums, reasons,
    /// events, verdicts. In no order: a sum, so that equal batches are not lost in it.
    pub fingerprint: u64,
}

/// FNV-1a: the same in every build, which the standard library's hash need not be.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

impl Both {
    pub fn new(policy: &'static Arc<Policy>, enforce: bool, link: Link) -> Self {
        Self {
            machine: Machine::new(Arc::clone(policy), enforce, link),
            host: Host::new(policy, enforce, link, LOOPBACK),
            expected: Expected::default(),
            batch: 0,
            count: 0,
            fingerprint: 0,
        }
    }

    /// Sends a frame through both, and gives the host's opinion; `None`: it can't be run. What they counted is compared
    /// by [`Both::compare`], after each batch by itself.
    pub fn send(&mut self, frame: &[u8]) -> Option<PacketOutcome> {
        if !can_be_run(frame) {
            return None;
        }
        // Sizes that differ from each other and from packet to packet, so that no counter can stand in for another.
        let segments = (self.count % 5) as u32;
        let wire_len = frame.len() as u32 + 13 * segments;
        let size = Counters {
            packets: 1,
            segments: u64::from(segments.max(1)),
            bytes: frame.len() as u64,
            wire_bytes: u64::from(wire_len),
        };
        let by_host = self.host.packet(frame, boot_ns());
        self.expected.add(&by_host, &size);
        let kernel = run(&mut self.machine.kernel, frame, wire_len, segments);
        assert_eq!(kernel, if by_host.dropped() { DROP } else { NEXT }, "verdict on {frame:02x?}");
        self.note(&(self.count, kernel));
        self.count += 1;
        self.batch += 1;
        if self.batch == BATCH {
            self.compare();
        }
        Some(by_host)
    }

    fn note(&mut self, what: &impl std::fmt::Debug) {
        self.fingerprint = self.fingerprint.wrapping_add(fingerprint(format!("{what:?}").as_bytes()));
    }

    /// Compares everything that both counted.
    pub fn compare(&mut self) {
        if self.batch == 0 {
            return;
        }
        let counted = Expected::of(&mut self.machine);
        for (key, counters) in &self.expected.flows {
            assert_eq!(counted.flows.get(key), Some(counters), "{key:x?}");
        }
        assert_eq!(counted, self.expected);
        self.note(&counted.hook);
        counted.flows.iter().for_each(|flow| self.note(&flow));
        counted.unparsed.iter().for_each(|reason| self.note(&reason));
        counted.events.iter().for_each(|event| self.note(&event));
        self.expected = Expected::default();
        self.batch = 0;
    }
}
