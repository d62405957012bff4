//! Reconciliation against a model of hook, queue, driver and device that knows what truly happened: a file a subject;
//! the model is here.

mod bypass;
mod counting;
mod cover;
mod lifetime;
mod on_the_way;

use std::collections::VecDeque;

use monitor_common::wire::{Counters, HookSums};

use super::*;
use crate::model::{
    interface_account::CountingUnit,
    readings::{
        Base, Comparison, Device, Discipline, FilterAction, Offloads, Presence, Queue, SuperKind, Supers, Taken,
    },
};

const SECOND: u64 = 1_000_000_000;

/// A packet handed to the hook.
#[derive(Clone, Copy, Debug)]
struct Packet {
    segments: u64,
    bytes: u64,
    kind: SuperKind,
}

impl Packet {
    const SMALL: Self = Self { segments: 1, bytes: 100, kind: SuperKind::Other };
    /// TCP: ten segments of a kilobyte.
    const SUPER: Self = Self { segments: 10, bytes: 66 + 10_000, kind: SuperKind::Tcp4 };
    /// The same by UDP.
    const SUPER_UDP: Self = Self { kind: SuperKind::Udp, ..Self::SUPER };

    fn counters(self) -> Counters {
        let wire_bytes = self.bytes + (self.segments - 1) * 66;
        Counters { packets: 1, segments: self.segments, bytes: self.bytes, wire_bytes }
    }
}

/// A host with hook, queue, driver and device, and what truly happened.
#[derive(Debug, Default)]
struct World {
    now: u64,
    hook: HookSums,
    closed: HookSums,
    queue: VecDeque<Packet>,
    ring: VecDeque<Packet>,
    drops: u32,
    below: Vec<Discipline>,
    filters: Vec<FilterAction>,
    sent: Amount,
    /// Dropped by the device.
    dropped: u64,
    comparison: Comparison,
    /// What passed since the latest reading.
    supers: Supers,
    /// Whether the device counts skbs.
    skbs: bool,
    hardware: bool,
    holds: u64,
    qdisc: &'static str,
    offloads: Offloads,
    base: Base,
    /// What left without passing.
    beside: u64,
    gone: bool,
}

impl World {
    fn new(skbs: bool) -> Self {
        let mut world = Self { skbs, qdisc: "noqueue", offloads: Offloads::EVERYTHING, ..Self::default() };
        world.comparison = Comparison::SentAndDropped;
        world.now = SECOND;
        world.sent = Amount { packets: 1_000, bytes: 100_000 };
        world.attach();
        world
    }

    fn attach(&mut self) {
        let after = self.device();
        let (below, filters) = (self.below.clone(), self.filters.clone());
        self.base = Base { before: self.sent, after, queue: self.queue(), below, filters, hook: self.hook };
    }

    fn device(&self) -> Device {
        let qdisc = self.qdisc.to_owned();
        let Self { sent, dropped, comparison, hardware, holds, offloads, .. } = *self;
        Device { sent, dropped, comparison, hardware, holds, offloads, qdisc }
    }

    fn queue(&self) -> Queue {
        Queue { id: (1, self.qdisc.into()), drops: self.drops, waiting: self.queue.len() as u32 }
    }

    /// Through the hook, into the queue.
    fn pass(&mut self, packet: Packet) {
        self.hook.total.add(&packet.counters());
        self.supers.add(packet.kind, &packet.counters());
        self.queue.push_back(packet);
    }

    /// Through the hook, and dropped before the queue.
    fn lose(&mut self, count: usize, packet: Packet) {
        for _ in 0..count {
            self.pass(packet);
            self.queue.pop_back();
        }
    }

    /// Through the hook, and dropped by the device, which says so.
    fn doom(&mut self, count: usize, packet: Packet) {
        self.lose(count, packet);
        self.dropped += count as u64;
    }

    /// Through the hook, which drops it.
    fn deny(&mut self, packet: Packet) {
        self.hook.total.add(&packet.counters());
        self.hook.dropped.add(&packet.counters());
    }

    /// From the queue into the driver.
    fn dequeue(&mut self) {
        self.ring.extend(self.queue.pop_front());
    }

    fn drop_queued(&mut self) {
        if self.queue.pop_back().is_some() {
            self.drops = self.drops.wrapping_add(1);
        }
    }

    /// The driver is done with one.
    fn complete(&mut self) {
        if let Some(packet) = self.ring.pop_front() {
            let counters = packet.counters();
            let skbs = (counters.packets, counters.bytes);
            let whole = self.skbs && self.offloads.of(packet.kind) != Taken::CutUp;
            let (packets, bytes) = if whole { skbs } else { (counters.segments, counters.wire_bytes) };
            self.sent.packets += packets;
            self.sent.bytes += bytes;
        }
    }

    fn send(&mut self, count: usize, packet: Packet) {
        for _ in 0..count {
            self.pass(packet);
            self.dequeue();
            self.complete();
        }
    }

    fn bypass(&mut self, count: u64, bytes: u64) {
        self.sent.packets += count;
        self.sent.bytes += count * bytes;
        self.beside += count;
    }

    /// A reading with something going on between its steps.
    fn read_while(&mut self, mut go_on: impl FnMut(&mut Self)) -> Reading {
        self.closed = self.hook;
        let (at, supers) = (self.now, std::mem::take(&mut self.supers));
        go_on(self);
        let (below, filters) = (self.below.clone(), self.filters.clone());
        let queue = self.queue();
        go_on(self);
        let device = (!self.gone).then(|| self.device());
        go_on(self);
        let queue_after = self.queue();
        go_on(self);
        Reading {
            attached: 0,
            last: false,
            interface: "eth0".into(),
            ifindex: 7,
            base: self.base.clone(),
            at,
            closed: self.closed,
            supers,
            below,
            filters,
            queue,
            device,
            queue_after,
            open: self.hook,
            presence: Presence::Attached { ahead: Vec::new() },
        }
    }

    fn read(&mut self) -> Reading {
        self.read_while(|_| {})
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }
}

/// A reconciler beside the world.
#[derive(Default)]
struct Desk(Reconciler);

impl Desk {
    fn read(&mut self, reading: &Reading) -> Amount {
        self.0.read(std::slice::from_ref(reading)).first().map(|surplus| surplus.found).unwrap_or_default()
    }

    fn report(&self) -> InterfaceAccount {
        self.0.accounts().pop().expect("an interface")
    }
}

fn amount(packets: u64, bytes: u64) -> Amount {
    Amount { packets, bytes }
}
