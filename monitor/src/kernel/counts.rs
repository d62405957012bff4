//! Everything that packets are counted in, of this start's programs or of an earlier one's: emptied the same way.

use std::collections::BTreeMap;

use aya::{
    maps::{HashMap, IterableMap as _, Map, MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Counters, CpuHalf, FlowKey, FlowRecord, FlowValue, FullKey, MAX_INTERFACES, ReasonSums},
};

use super::{
    KernelError,
    cache::Cache,
    closing::ClosingEpoch,
    halves::{Halves, hook_sums},
    object,
    sys::{self, MappedArray},
};
use crate::model::{Fill, InterfaceCounts, Occupancy};

/// How large the maps are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Places in each half of the flow table.
    pub flows: u32,
    /// Class rows of a policy: the stride of the overflow counters.
    pub classes: u32,
    /// Elements of these.
    pub overflow: u32,
}

impl Shape {
    /// Interfaces that there are overflow counters for, the unregistered among them.
    pub const fn slots(self) -> u32 {
        let all = self.overflow / (2 * 3 * self.classes);
        if all < MAX_INTERFACES { all } else { MAX_INTERFACES }
    }
}

/// The maps that packets are counted in. What each holds: `monitor-ebpf/src/maps.rs`.
pub(super) struct Counts {
    pub halves: Halves,
    unparsed: PerCpuArray<MapData, ReasonSums>,
    flow_cache: MapData,
    log: MapData,
    pub flows: [HashMap<MapData, FlowKey, FlowValue>; 2],
    inner: [HashMap<MapData, FullKey, FlowValue>; 2],
    overflow: MappedArray<Counters>,
    events_lost: PerCpuArray<MapData, u64>,
    // Kept open: the mapping alone would keep it too, but names it nowhere.
    _overflow: MapData,
    /// Where each CPU's flows are.
    pub cache: Cache,
    /// Places in each half of the flow table.
    pub flow_capacity: u32,
    class_capacity: u32,
}

impl Counts {
    /// Their names.
    pub const MAPS: [&str; 10] = [
        "HALVES",
        "UNPARSED",
        "CACHE",
        "LOG",
        "FLOWS_EVEN",
        "FLOWS_ODD",
        "INNER_EVEN",
        "INNER_ODD",
        "OVERFLOW",
        "EVENTS_LOST",
    ];

    /// Of the maps that `data` gives by name.
    pub fn of(
        mut data: impl FnMut(&str) -> Result<MapData, KernelError>,
        cache: Cache,
        shape: Shape,
    ) -> Result<Self, KernelError> {
        let refused = |error: MapError| KernelError::Load(format!("a map that packets are counted in: {error}"));
        let overflow = data("OVERFLOW")?;
        Ok(Self {
            halves: Halves::of(data("HALVES")?).map_err(refused)?,
            unparsed: Map::PerCpuArray(data("UNPARSED")?).try_into().map_err(refused)?,
            flow_cache: data("CACHE")?,
            log: data("LOG")?,
            flows: [
                Map::HashMap(data("FLOWS_EVEN")?).try_into().map_err(refused)?,
                Map::HashMap(data("FLOWS_ODD")?).try_into().map_err(refused)?,
            ],
            inner: [
                Map::HashMap(data("INNER_EVEN")?).try_into().map_err(refused)?,
                Map::HashMap(data("INNER_ODD")?).try_into().map_err(refused)?,
            ],
            overflow: MappedArray::new(object::fd(&overflow), shape.overflow as usize)
                .map_err(KernelError::map("can't map the overflow counters"))?,
            events_lost: Map::PerCpuArray(data("EVENTS_LOST")?).try_into().map_err(refused)?,
            _overflow: overflow,
            cache,
            flow_capacity: shape.flows,
            class_capacity: shape.classes,
        })
    }

    /// How much there is room for in the half of this parity, of which nothing is in use.
    pub fn empty_fill(&self, parity: u32) -> Fill {
        let of = |capacity| Occupancy { used: 0, capacity };
        Fill {
            cache: of(self.cache.places(parity)),
            log: of(self.cache.log_places()),
            table: of(self.flow_capacity),
            crowded: false,
        }
    }

    /// Drains what a closed half holds, of which the CPUs' own was [taken](Self::take_halves) before. Whatever a failed call
    /// had drained already is in `closing`.
    pub fn drain(&mut self, closing: &mut ClosingEpoch) -> Result<(), KernelError> {
        let parity = closing.control.parity();
        let halves = closing.halves.as_deref().unwrap_or_default();
        let (flows, fill) = (&mut closing.flows, &mut closing.fill);
        let ifindexes: Vec<u32> = closing.interfaces.iter().map(|counts| counts.ifindex).collect();
        let now = closing.quiet.map_or(0, |(_, clock)| clock.jiffies);
        let mut add = |record: &FlowRecord| {
            let ifindex = ifindexes.get(record.key.endpoints.slot() as usize).copied().unwrap_or(0);
            flows.add_cached(record.key.flow(ifindex, record.decision), &record.value(now));
        };
        if !closing.log_read {
            let mut used = 0;
            self.cache
                .read_log(&self.log, parity, halves, |record| {
                    used += 1;
                    add(record);
                })
                .map_err(KernelError::map("can't read the log of flows that left the cache"))?;
            fill.log.used = used;
            closing.log_read = true;
        }
        self.cache
            .drain(&self.flow_cache, parity, halves, |record| {
                fill.cache.used += 1;
                add(record);
            })
            .map_err(KernelError::map("can't drain the flow cache"))?;
        let table = self.flows[parity as usize].map();
        sys::drain_hash(object::fd(table), self.flow_capacity as usize, |key, value| {
            fill.table.used += 1;
            flows.add(key, value);
        })
        .map_err(KernelError::map("can't drain the flow table"))?;
        let inner = self.inner[parity as usize].map();
        sys::drain_hash(object::fd(inner), inner_capacity(self.flow_capacity) as usize, |key, value| {
            flows.add_inner(key, value);
        })
        .map_err(KernelError::map("can't drain the table of flows with a further destination"))?;
        for (counts, slot) in closing.interfaces.iter_mut().zip(0..) {
            for ((class_id, verdict), counters) in self.drain_overflow(parity, slot) {
                counts.overflow.entry((class_id, verdict)).or_default().add(&counters);
            }
            self.drain_unparsed(parity, slot, &mut counts.unparsed)?;
        }
        closing.events_lost += drain_per_cpu(&mut self.events_lost, parity, 0, |sum, value| *sum += value)?;
        Ok(())
    }

    /// What the CPUs have of a half.
    pub fn read_halves(&self, parity: u32) -> Result<Vec<CpuHalf>, KernelError> {
        self.halves.get(parity).map_err(KernelError::aya("reading what the CPUs have counted"))
    }

    /// Gives the CPUs what they begin an epoch of this parity with: to the half that is closed and drained.
    pub fn give_halves(&mut self, parity: u32) -> Result<(), KernelError> {
        let fresh = self.cache.fresh(parity);
        self.halves.set(parity, fresh).map_err(KernelError::aya("clearing what the CPUs have counted"))
    }

    /// Takes what the CPUs have of a closed half. It stays there until the half is drained, so that of an epoch whose drain is
    /// interrupted it is known how much was in it.
    pub fn take_halves(&self, parity: u32, interfaces: &mut [InterfaceCounts]) -> Result<Vec<CpuHalf>, KernelError> {
        let halves = self.read_halves(parity)?;
        for (slot, counts) in interfaces.iter_mut().enumerate() {
            let sums = hook_sums(&halves, slot);
            counts.hook.add(&sums.total);
            counts.dropped.add(&sums.dropped);
        }
        Ok(halves)
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
            let index = self.halves.unparsed(parity, slot) * Reason::COUNT + reason as u32;
            let reason_sums = drain_per_cpu(&mut self.unparsed, index, ReasonSums::default(), add)?;
            if reason_sums != ReasonSums::default() {
                add(unparsed.entry(reason).or_default(), &reason_sums);
            }
        }
        Ok(())
    }

    fn drain_overflow(&mut self, parity: u32, slot: u32) -> BTreeMap<(u16, Verdict), Counters> {
        let classes = self.class_capacity;
        let start = (2 * slot + parity) * classes * 3;
        let half = self.overflow.part(start as usize, classes as usize * 3);
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

/// Places in each half of the table of flows with an inner destination, beside so many without: few hosts have many.
pub(super) const fn inner_capacity(flows: u32) -> u32 {
    if flows / 8 > 1024 { flows / 8 } else { 1024 }
}
