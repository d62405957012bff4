//! Reconciliation against a model of hook, queue, driver and device that knows what truly happened: a file a subject;
//! the model is here.

mod bypass;
mod counting;
mod lifetime;
mod on_the_way;

use std::collections::VecDeque;

use monitor_common::wire::{Counters, HookSums};

use super::*;
use crate::model::{
    interface_account::CountingUnit,
    readings::{Base, Device, Offloads, Presence, Queue},
};

const SECOND: u64 = 1_000_000_000;

/// A packet handed to the hook.
#[derive(Clone, Copy, Debug)]
struct Packet {
    segments: u64,
    bytes: u64,
}

impl Packet {
    const SMALL: Self = Self { segments: 1, bytes: 100 };
    /// TCP: ten segments of a kilobyte.
    const SUPER: Self = Self { segments: 10, bytes: 66 + 10_000 };

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
    sent: Amount,
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
        let mut world = Self { skbs, qdisc: "noqueue", offloads: Offloads::Everything, ..Self::default() };
        world.now = SECOND;
        world.sent = Amount { packets: 1_000, bytes: 100_000 };
        world.attach();
        world
    }

    fn attach(&mut self) {
        let after = self.device();
        self.base = Base { before: self.sent, after, queue: self.queue(), hook: self.hook };
    }

    fn device(&self) -> Device {
        let qdisc = self.qdisc.to_owned();
        let (hardware, holds, offloads) = (self.hardware, self.holds, self.offloads);
        Device { sent: self.sent, hardware, holds, offloads, qdisc }
    }

    fn queue(&self) -> Queue {
        Queue { id: (1, self.qdisc.into()), drops: self.drops, waiting: self.queue.len() as u32 }
    }

    /// Through the hook, into the queue.
    fn pass(&mut self, packet: Packet) {
        self.hook.total.add(&packet.counters());
        self.queue.push_back(packet);
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
            let (packets, bytes) = if self.skbs { skbs } else { (counters.segments, counters.wire_bytes) };
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
        let at = self.now;
        go_on(self);
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
