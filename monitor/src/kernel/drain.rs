//! The epoch protocol's kernel half: flip the parity, wait until no packet is counted in the old half any more,
//! then read and clear it alone. What each step rests on: docs/epochs.md.

use std::{collections::BTreeMap, sync::Arc};

use aya::{
    maps::{IterableMap as _, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Clock, Control, Counters, FlowKey, FlowValue, HookSums, MAX_INTERFACES, ReasonSums},
};
use monitor_policy::{Policy, spec::Mode};

use super::{Kernel, KernelError, Switch, clock, flows::DrainedFlows, load, object, sys};
use crate::model::{Fill, InterfaceCounts, Occupancy, Snapshot, readings::Reading};

/// An epoch that packets have left and that is not drained whole yet. It is kept over a failure, so that what was
/// taken from the maps is never lost and nothing is counted under another epoch's policy.
pub(super) struct ClosingEpoch {
    control: Control,
    policy: Arc<Policy>,
    started: jiff::Timestamp,
    /// When no packet was counted in it any more, and the kernel's clocks then.
    quiet: Option<(jiff::Timestamp, Clock)>,
    interfaces: Vec<InterfaceCounts>,
    flows: DrainedFlows,
    fill: Fill,
    events_lost: u64,
}

impl Kernel {
    /// Closes the epoch and opens the next, under the staged policy if there is one; or drains the one that an
    /// earlier call closed and could not drain.
    ///
    /// # Errors
    /// A map that can't be read. The next epoch has begun, the closed one comes with a later call.
    pub fn flip(&mut self) -> Result<Snapshot, KernelError> {
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            None => self.open_next(),
        };
        match self.drain(&mut closing) {
            Ok(()) => {
                let readings = self.readings();
                Ok(self.snapshot(closing, readings))
            }
            Err(error) => {
                self.closing = Some(closing);
                Err(error)
            }
        }
    }

    /// About how many flows the table of the epoch holds that is open.
    #[must_use]
    pub fn table(&self) -> Occupancy {
        let open = self.maps.flows[self.control.parity() as usize].map();
        let used = sys::estimate_entries::<FlowKey, FlowValue>(object::fd(open), self.flow_capacity as usize);
        Occupancy { used, capacity: self.flow_capacity }
    }

    fn open_next(&mut self) -> ClosingEpoch {
        let old = self.control;
        let epoch = old.epoch().wrapping_add(1);
        let mut policy = Arc::clone(&self.policy);
        self.control = Control::new(epoch, old.slot(), old.enforce());
        if let Some(next) = self.staged.take() {
            self.control = Control::new(epoch, 1 - old.slot(), next.mode.enforces());
            policy = std::mem::replace(&mut self.policy, next.policy);
            self.previous = Some(Switch { policy: Arc::clone(&policy), mode: Mode::enforcing(old.enforce()) });
        }
        self.publish();
        let interface = |name: &str, ifindex| InterfaceCounts { name: name.into(), ifindex, ..Default::default() };
        let registered = self.interfaces.iter().map(|registered| interface(&registered.name, registered.index));
        ClosingEpoch {
            control: old,
            policy,
            started: std::mem::replace(&mut self.epoch_started, jiff::Timestamp::now()),
            quiet: None,
            interfaces: std::iter::once(interface("", 0)).chain(registered).collect(),
            flows: DrainedFlows::default(),
            fill: Fill {
                cache: Occupancy { used: 0, capacity: self.cache.places() },
                table: Occupancy { used: 0, capacity: self.flow_capacity },
            },
            events_lost: 0,
        }
    }

    /// Drains what the closed half holds. Whatever a failed call had drained already is in `closing`.
    fn drain(&mut self, closing: &mut ClosingEpoch) -> Result<(), KernelError> {
        if closing.quiet.is_none() {
            self.grace_period.wait().map_err(KernelError::map("can't wait for a grace period"))?;
            let clock = clock::read(object::program(&mut self.ebpf, object::CLOCK)?, &self.maps.clock)?;
            closing.quiet = Some((jiff::Timestamp::now(), clock));
        }
        let parity = closing.control.parity();
        let (flows, fill) = (&mut closing.flows, &mut closing.fill);
        let now = closing.quiet.map_or(0, |(_, clock)| clock.jiffies);
        self.cache
            .drain(&self.maps.cache, parity, |entry| {
                fill.cache.used += 1;
                flows.add_cached(FlowKey::from(&entry.key), &entry.value(now));
            })
            .map_err(KernelError::map("can't drain the flow cache"))?;
        let table = self.maps.flows[parity as usize].map();
        sys::drain_hash(object::fd(table), self.flow_capacity as usize, |key, value| {
            fill.table.used += 1;
            flows.add(key, value);
        })
        .map_err(KernelError::map("can't drain the flow table"))?;
        let inner = self.maps.inner[parity as usize].map();
        sys::drain_hash(object::fd(inner), load::inner_capacity(self.flow_capacity) as usize, |key, value| {
            flows.add_inner(key, value);
        })
        .map_err(KernelError::map("can't drain the table of flows with a further destination"))?;
        for (counts, slot) in closing.interfaces.iter_mut().zip(0..) {
            let sums = self.drain_hook(parity, slot)?;
            counts.hook.add(&sums.total);
            counts.dropped.add(&sums.dropped);
            self.hook_drained[slot as usize].add(&sums);
            for ((class_id, verdict), counters) in self.drain_overflow(parity, slot) {
                counts.overflow.entry((class_id, verdict)).or_default().add(&counters);
            }
            self.drain_unparsed(parity, slot, &mut counts.unparsed)?;
        }
        closing.events_lost += drain_per_cpu(&mut self.maps.events_lost, parity, 0, |sum, value| *sum += value)?;
        Ok(())
    }

    fn snapshot(&self, closing: ClosingEpoch, readings: Vec<Reading>) -> Snapshot {
        let (ended, clock) = closing.quiet.unwrap_or((self.epoch_started, Clock::default()));
        let mut interfaces = closing.interfaces;
        interfaces.retain(|counts| counts.ifindex != 0 || !counts.hook.is_zero());
        Snapshot {
            epoch: closing.control.epoch(),
            started: closing.started.as_nanosecond(),
            ended: ended.as_nanosecond(),
            policy: closing.policy,
            mode: Mode::enforcing(closing.control.enforce()),
            interfaces,
            flows: closing.flows.rows,
            fill: closing.fill,
            events_lost: closing.events_lost,
            jiffies: clock.jiffies,
            hz: self.hz,
            readings,
        }
    }

    fn drain_hook(&mut self, parity: u32, slot: u32) -> Result<HookSums, KernelError> {
        drain_per_cpu(&mut self.maps.hook, parity * MAX_INTERFACES + slot, HookSums::default(), HookSums::add)
    }

    fn drain_unparsed(
        &mut self,
        parity: u32,
        slot: u32,
        unparsed: &mut BTreeMap<Reason, ReasonSums>,
    ) -> Result<(), KernelError> {
        let add = |sum: &mut ReasonSums, value: &ReasonSums| {
            sum.passed.add(&value.passed);
            sum.dropped.add(&value.dropped);
        };
        for reason in Reason::ALL {
            let index = (parity * MAX_INTERFACES + slot) * Reason::COUNT + reason as u32;
            let reason_sums = drain_per_cpu(&mut self.maps.unparsed, index, ReasonSums::default(), add)?;
            if reason_sums != ReasonSums::default() {
                add(unparsed.entry(reason).or_default(), &reason_sums);
            }
        }
        Ok(())
    }

    fn drain_overflow(&mut self, parity: u32, slot: u32) -> BTreeMap<(u16, Verdict), Counters> {
        let classes = self.policy_slots.class_capacity();
        let start = (2 * slot + parity) * classes * 3;
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
fn drain_per_cpu<T: aya::Pod + PartialEq + Default>(
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
