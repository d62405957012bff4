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
    wire::{Clock, Control, Counters, CpuHalf, FlowKey, FlowRecord, FlowValue, MAX_INTERFACES, ReasonSums},
};
use monitor_policy::spec::Mode;

use super::{
    Kernel, KernelError, Switch, clock, closing::ClosingEpoch, flows::DrainedFlows, halves::hook_sums, load, object,
    sys,
};
use crate::model::{Fill, InterfaceCounts, Occupancy, Snapshot, readings::Reading};

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

    /// How full the half of the epoch is that is open; the table's, about.
    #[must_use]
    pub fn fill(&self) -> Fill {
        let parity = self.control.parity();
        let open = self.maps.flows[parity as usize].map();
        let used = sys::estimate_entries::<FlowKey, FlowValue>(object::fd(open), self.flow_capacity as usize);
        let mut fill = self.empty_fill(parity);
        fill.table.used = used;
        if let Ok(halves) = self.halves(parity) {
            (fill.log.used, fill.crowded) = self.cache.pressure(&halves);
        }
        fill
    }

    fn empty_fill(&self, parity: u32) -> Fill {
        let of = |capacity| Occupancy { used: 0, capacity };
        Fill {
            cache: of(self.cache.places(parity)),
            log: of(self.cache.log_places()),
            table: of(self.flow_capacity),
            crowded: false,
        }
    }

    /// Sizes the flow cache for the next epoch. Whatever fails leaves it as it was, which is whole.
    fn plan_cache(&mut self, parity: u32) {
        let Ok(open) = self.halves(1 - parity) else { return };
        if let Some(before) = self.cache.plan(parity, &open)
            && let Err(error) = self.give_halves(parity)
        {
            tracing::warn!(%error, "the flow cache keeps its size");
            self.cache.keep(parity, before);
        }
    }

    fn open_next(&mut self) -> ClosingEpoch {
        let old = self.control;
        let epoch = old.epoch().wrapping_add(1);
        self.plan_cache(1 - old.parity());
        let mut policy = Arc::clone(&self.policy);
        self.control = Control::new(epoch, old.slot(), old.enforce());
        if let Some(next) = self.staged.take() {
            self.control = Control::new(epoch, 1 - old.slot(), next.mode.enforces());
            policy = std::mem::replace(&mut self.policy, next.policy);
            self.previous = Some(Switch { policy: Arc::clone(&policy), mode: Mode::enforcing(old.enforce()) });
        }
        // The other half was taken before; a packet that reads the next word must not have looked into it until then.
        if let Err(error) = self.order_reads() {
            tracing::warn!(%error, "no grace period before the next epoch");
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
            halves: None,
            log_read: false,
            flows: DrainedFlows::default(),
            fill: self.empty_fill(old.parity()),
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
        if closing.halves.is_none() {
            closing.halves = Some(self.take_halves(parity, &mut closing.interfaces)?);
        }
        let halves = closing.halves.as_deref().unwrap_or_default();
        let (flows, fill) = (&mut closing.flows, &mut closing.fill);
        let now = closing.quiet.map_or(0, |(_, clock)| clock.jiffies);
        let interfaces = &self.interfaces;
        let mut add = |record: &FlowRecord| {
            let slot = record.key.endpoints.slot() as usize;
            let ifindex = slot.checked_sub(1).and_then(|number| interfaces.get(number)).map_or(0, |of| of.index);
            flows.add_cached(record.key.flow(ifindex, record.decision), &record.value(now));
        };
        if !closing.log_read {
            let mut used = 0;
            self.cache
                .read_log(&self.maps.log, parity, halves, |record| {
                    used += 1;
                    add(record);
                })
                .map_err(KernelError::map("can't read the log of flows that left the cache"))?;
            fill.log.used = used;
            closing.log_read = true;
        }
        self.cache
            .drain(&self.maps.cache, parity, halves, |record| {
                fill.cache.used += 1;
                add(record);
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

    /// Takes what the CPUs have of a closed half, and clears it.
    fn take_halves(&mut self, parity: u32, interfaces: &mut [InterfaceCounts]) -> Result<Vec<CpuHalf>, KernelError> {
        let halves = self.halves(parity)?;
        self.give_halves(parity)?;
        for (slot, counts) in interfaces.iter_mut().enumerate() {
            let sums = hook_sums(&halves, slot);
            counts.hook.add(&sums.total);
            counts.dropped.add(&sums.dropped);
            self.hook_drained[slot].add(&sums);
        }
        Ok(halves.to_vec())
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
