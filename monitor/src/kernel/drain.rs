//! The epoch protocol's kernel half: flip the parity, wait until no packet is counted in the old half any more,
//! then read and clear it alone.

use std::{collections::BTreeMap, os::fd::AsFd as _, sync::Arc};

use aya::{
    maps::{IterableMap as _, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Control, Counters, FlowKey, FlowValue, MAX_INTERFACES, Tally},
};

use super::{Kernel, KernelError, clock, load, sys};
use crate::{epochs::InterfaceCounts, policy::Policy};

/// What one epoch left in the maps.
#[derive(Debug)]
pub struct Drained {
    /// Its number.
    pub epoch: u32,
    /// When it began and when it was closed.
    pub span: (jiff::Timestamp, jiff::Timestamp),
    /// The policy that held.
    pub policy: Arc<Policy>,
    /// Whether denied packets were dropped.
    pub enforce: bool,
    /// Per interface; first the traffic of interfaces that nobody registered, if there was any.
    pub interfaces: Vec<InterfaceCounts>,
    /// Flows.
    pub flows: Vec<(FlowKey, FlowValue)>,
    /// Events that found the ring full.
    pub events_lost: u64,
    /// Jiffies at the close.
    pub jiffies: u64,
    /// Jiffies a second.
    pub hz: u32,
    /// Places in the flow table.
    pub flow_capacity: u32,
}

/// A policy and mode to switch to with the next epoch.
#[derive(Debug)]
pub struct Switch {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Whether denied packets are dropped.
    pub enforce: bool,
    /// Whether, when enforcing, packets that can't be parsed are dropped.
    pub drop_unparsed: bool,
}

impl Kernel {
    /// Closes the epoch and opens the next.
    ///
    /// # Errors
    /// A map that can't be read. What was not read yet stays for the next epoch of the same parity.
    pub fn flip(&mut self) -> Result<Drained, KernelError> {
        let old = self.control;
        let policy = Arc::clone(&self.policy);
        self.advance(old.slot(), old.enforce(), old.drop_unparsed(), &policy)
    }

    /// As [`Kernel::flip`], and the next epoch begins under another policy: every packet is wholly under the old
    /// one and in the old epoch, or wholly under the new one and in the new epoch.
    ///
    /// # Errors
    /// As `flip`; or a policy that does not fit, and then nothing has changed.
    pub fn switch(&mut self, to: &Switch) -> Result<Drained, KernelError> {
        // The other slot: since the last grace period no packet reads it.
        let slot = 1 - self.control.slot();
        self.images.write(slot, &to.policy.image)?;
        self.advance(slot, to.enforce, to.drop_unparsed, &to.policy)
    }

    fn advance(
        &mut self,
        slot: u32,
        enforce: bool,
        drop_unparsed: bool,
        policy: &Arc<Policy>,
    ) -> Result<Drained, KernelError> {
        let old = self.control;
        let old_policy = std::mem::replace(&mut self.policy, Arc::clone(policy));
        self.control = Control::new(old.epoch().wrapping_add(1), slot, enforce, drop_unparsed);
        self.publish();
        self.grace.wait().map_err(KernelError::map("can't wait for a grace period"))?;
        let ended = jiff::Timestamp::now();
        let started = std::mem::replace(&mut self.epoch_started, ended);
        let clock = clock::read(load::program(&mut self.ebpf, "clock")?, &self.maps.clock)?;

        let parity = old.parity();
        let flows = &self.maps.flows[parity as usize];
        let flows = sys::drain_hash(flows.map().fd().as_fd(), self.flow_capacity as usize)
            .map_err(KernelError::map("can't drain the flow table"))?;
        let unregistered = (0..1).map(|slot| (slot, String::new(), 0));
        let registered = self.interfaces.iter().zip(1..).map(|(i, slot)| (slot, i.name.clone(), i.index));
        let slots: Vec<_> = unregistered.chain(registered).collect();
        let mut interfaces = Vec::with_capacity(slots.len());
        for (slot, name, ifindex) in slots {
            let counts = InterfaceCounts {
                name,
                ifindex,
                hook: self.take_hook(parity, slot)?,
                overflow: self.take_overflow(parity, slot),
                unparsed: self.take_unparsed(parity, slot)?,
            };
            if slot != 0 || !counts.hook.is_zero() {
                interfaces.push(counts);
            }
        }
        let events_lost = take_per_cpu(&mut self.maps.events_lost, parity, 0, |sum, value| *sum += value)?;
        Ok(Drained {
            epoch: old.epoch(),
            span: (started, ended),
            policy: old_policy,
            enforce: old.enforce(),
            interfaces,
            flows,
            events_lost,
            jiffies: clock.jiffies,
            hz: self.hz,
            flow_capacity: self.flow_capacity,
        })
    }

    fn take_hook(&mut self, parity: u32, slot: u32) -> Result<Counters, KernelError> {
        take_per_cpu(&mut self.maps.hook, parity * MAX_INTERFACES + slot, Counters::default(), Counters::add)
    }

    fn take_unparsed(&mut self, parity: u32, slot: u32) -> Result<BTreeMap<Reason, Tally>, KernelError> {
        let mut unparsed = BTreeMap::new();
        for reason in Reason::ALL {
            let index = (parity * MAX_INTERFACES + slot) * Reason::COUNT + reason as u32;
            let tally = take_per_cpu(&mut self.maps.unparsed, index, Tally::default(), |sum, value| {
                sum.passed.add(&value.passed);
                sum.dropped.add(&value.dropped);
            })?;
            if tally != Tally::default() {
                unparsed.insert(reason, tally);
            }
        }
        Ok(unparsed)
    }

    fn take_overflow(&mut self, parity: u32, slot: u32) -> BTreeMap<(u16, Verdict), Counters> {
        let classes = self.images.class_capacity();
        let start = (parity * MAX_INTERFACES + slot) * classes * 3;
        let half = self.maps.overflow.part(start as usize, classes as usize * 3);
        let mut overflow = BTreeMap::new();
        for (i, counters) in half.iter_mut().enumerate().filter(|(_, counters)| !counters.is_zero()) {
            let verdict = Verdict::from_wire((i % 3) as u8);
            overflow.insert(((i / 3) as u16, verdict), std::mem::take(counters));
        }
        overflow
    }
}

/// Sums a per-CPU element and clears it. The half is closed, so nobody adds between the two.
fn take_per_cpu<T: aya::Pod + PartialEq + Default>(
    map: &mut PerCpuArray<MapData, T>,
    index: u32,
    zero: T,
    add: impl Fn(&mut T, &T),
) -> Result<T, KernelError> {
    let values = map.get(&index, 0).map_err(KernelError::aya("reading a counter"))?;
    let mut sum = zero;
    for value in values.iter() {
        add(&mut sum, value);
    }
    if sum != T::default() {
        let cpus = nr_cpus().map_err(|(_, error)| KernelError::Map { what: "counting the CPUs", error })?;
        let zeros = PerCpuValues::try_from(vec![T::default(); cpus]).map_err(KernelError::map("clearing a counter"))?;
        map.set(index, zeros, 0).map_err(KernelError::aya("clearing a counter"))?;
    }
    Ok(sum)
}
