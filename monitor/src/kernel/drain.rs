//! The epoch protocol's kernel half: flip the parity, wait until no packet is counted in the old half any more,
//! then read and clear it alone. What each step rests on: docs/epochs.md.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    os::fd::AsFd as _,
    sync::{Arc, atomic::Ordering},
};

use aya::{
    maps::{IterableMap as _, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use hashbrown::{HashTable, hash_table::Entry};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Clock, Control, Counters, FlowKey, FlowValue, FullKey, HookSums, MAX_INTERFACES, ProbeQuery, ReasonSums},
};

use super::{Kernel, KernelError, clock, load, sys};
use crate::{
    model::{Fill, InterfaceCounts, Places, Snapshot},
    reconcile::Reading,
};
use monitor_policy::{Policy, spec::Mode};

/// A policy and mode to switch to with the next epoch.
#[derive(Debug)]
pub struct Switch {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Whether denied packets are dropped.
    pub enforce: bool,
}

/// An epoch that packets have left and that is not drained whole yet. It is kept over a failure, so that what was
/// taken from the maps is never lost and nothing is counted under another epoch's policy.
pub(super) struct Closing {
    control: Control,
    policy: Arc<Policy>,
    started: jiff::Timestamp,
    /// When no packet was counted in it any more, and the kernel's clocks then.
    quiet: Option<(jiff::Timestamp, Clock)>,
    interfaces: Vec<InterfaceCounts>,
    flows: Taken,
    fill: Fill,
    events_lost: u64,
}

/// Flows, each once. One may be in several CPUs' caches and in the table: those of the caches come first.
#[derive(Default)]
struct Taken {
    rows: Vec<(FullKey, FlowValue)>,
    /// Where the caches' flows are in `rows`. They are few beside a full table, of which each flow is looked for here.
    cached: HashTable<u32>,
    /// Keyed at random: whoever sends packets chooses the keys.
    state: RandomState,
}

impl Taken {
    /// Adds what a cache has of a flow.
    fn add_cached(&mut self, key: FlowKey, value: &FlowValue) {
        let (rows, state) = (&mut self.rows, &self.state);
        let hash = |key: &FlowKey| state.hash_one(bytemuck::bytes_of(key));
        match self.cached.entry(
            hash(&key),
            |at| rows[*at as usize].0.flow == key,
            |at| hash(&rows[*at as usize].0.flow),
        ) {
            Entry::Occupied(at) => rows[*at.get() as usize].1.add(value),
            Entry::Vacant(place) => {
                place.insert(rows.len() as u32);
                rows.push((key.into(), *value));
            }
        }
    }

    /// Adds what the table has of a flow, all of it.
    fn add(&mut self, key: FlowKey, value: FlowValue) {
        let hash = || self.state.hash_one(bytemuck::bytes_of(&key));
        let at = (!self.cached.is_empty()).then(hash);
        let at = at.and_then(|hash| self.cached.find(hash, |at| self.rows[*at as usize].0.flow == key));
        match at {
            Some(at) => self.rows[*at as usize].1.add(&value),
            None => self.rows.push((key.into(), value)),
        }
    }

    /// Adds what there is of a flow with a further destination, which no cache has.
    fn add_inner(&mut self, key: FullKey, value: FlowValue) {
        self.rows.push((key, value));
    }
}

impl Kernel {
    /// Takes a policy that is to hold, whole, from the next [`Kernel::flip`] on: every packet is wholly under the
    /// old one and in the old epoch, or wholly under the new one and in the new epoch.
    ///
    /// # Errors
    /// A policy that does not fit, or an epoch that is not drained yet; then nothing has changed.
    pub fn stage(&mut self, next: Switch) -> Result<(), KernelError> {
        if self.closing.is_some() {
            return Err(KernelError::Closing);
        }
        // The other slot: since the last grace period no packet reads it.
        let slot = 1 - self.control.slot();
        self.images.write(slot, &next.policy.image)?;
        // What was there is no way back any more, nor can it come into force.
        (self.previous, self.staged) = (None, None);
        self.images.check(slot, &next.policy.image)?;
        self.ask(slot, &next.policy.image)?;
        self.staged = Some(next);
        Ok(())
    }

    /// Whether the policy in force is what it should be: the control word, its bytes in the maps, and what it answers.
    ///
    /// # Errors
    /// What is not.
    pub fn verify(&mut self) -> Result<(), KernelError> {
        if self.maps.control.atomic(0).load(Ordering::Acquire) != self.control.0 {
            return Err(KernelError::Differs { what: "control word", at: "0".into() });
        }
        let policy = Arc::clone(&self.policy);
        self.images.check(self.control.slot(), &policy.image)?;
        self.ask(ProbeQuery::IN_FORCE, &policy.image)
    }

    /// Takes the policy and mode before the last switch, still in the other slot, to hold again from the next
    /// [`Kernel::flip`] on. It is read back first, and written anew if need be.
    ///
    /// # Errors
    /// There is none, or its epoch is not drained yet.
    pub fn roll_back(&mut self) -> Result<(), KernelError> {
        if self.closing.is_some() {
            return Err(KernelError::Closing);
        }
        let previous = self.previous.take().ok_or(KernelError::NothingBefore)?;
        let slot = 1 - self.control.slot();
        if self.images.check(slot, &previous.policy.image).is_err() {
            self.images.write(slot, &previous.policy.image)?;
            self.images.check(slot, &previous.policy.image)?;
        }
        self.staged = Some(previous);
        Ok(())
    }

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
    pub fn table(&self) -> Places {
        let open = self.maps.flows[self.control.parity() as usize].map().fd().as_fd();
        let used = sys::estimate::<FlowKey, FlowValue>(open, self.flow_capacity as usize);
        Places { used, places: self.flow_capacity }
    }

    fn open_next(&mut self) -> Closing {
        let old = self.control;
        let epoch = old.epoch().wrapping_add(1);
        let mut policy = Arc::clone(&self.policy);
        self.control = Control::new(epoch, old.slot(), old.enforce());
        if let Some(next) = self.staged.take() {
            self.control = Control::new(epoch, 1 - old.slot(), next.enforce);
            policy = std::mem::replace(&mut self.policy, next.policy);
            self.previous = Some(Switch { policy: Arc::clone(&policy), enforce: old.enforce() });
        }
        self.publish();
        let interface = |name: &str, ifindex| InterfaceCounts { name: name.into(), ifindex, ..Default::default() };
        let registered = self.interfaces.iter().map(|registered| interface(&registered.name, registered.index));
        Closing {
            control: old,
            policy,
            started: std::mem::replace(&mut self.epoch_started, jiff::Timestamp::now()),
            quiet: None,
            interfaces: std::iter::once(interface("", 0)).chain(registered).collect(),
            flows: Taken::default(),
            fill: Fill {
                cache: Places { used: 0, places: self.cache.places() },
                table: Places { used: 0, places: self.flow_capacity },
            },
            events_lost: 0,
        }
    }

    /// Takes what the closed half holds. Whatever a failed call had taken already is in `closing`.
    fn drain(&mut self, closing: &mut Closing) -> Result<(), KernelError> {
        if closing.quiet.is_none() {
            self.grace.wait().map_err(KernelError::map("can't wait for a grace period"))?;
            let clock = clock::read(load::program(&mut self.ebpf, "clock")?, &self.maps.clock)?;
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
        let plain = self.maps.flows[parity as usize].map().fd().as_fd();
        sys::drain_hash(plain, self.flow_capacity as usize, |key, value| {
            fill.table.used += 1;
            flows.add(key, value);
        })
        .map_err(KernelError::map("can't drain the flow table"))?;
        let inner = self.maps.inner[parity as usize].map().fd().as_fd();
        sys::drain_hash(inner, load::inner_capacity(self.flow_capacity) as usize, |key, value| {
            flows.add_inner(key, value);
        })
        .map_err(KernelError::map("can't drain the table of flows with a further destination"))?;
        for (counts, slot) in closing.interfaces.iter_mut().zip(0..) {
            let taken = self.take_hook(parity, slot)?;
            counts.hook.add(&taken.total);
            counts.dropped.add(&taken.dropped);
            self.hooked[slot as usize].add(&taken);
            for ((class_id, verdict), counters) in self.take_overflow(parity, slot) {
                counts.overflow.entry((class_id, verdict)).or_default().add(&counters);
            }
            self.take_unparsed(parity, slot, &mut counts.unparsed)?;
        }
        closing.events_lost += take_per_cpu(&mut self.maps.events_lost, parity, 0, |sum, value| *sum += value)?;
        Ok(())
    }

    fn snapshot(&self, closing: Closing, readings: Vec<Reading>) -> Snapshot {
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

    fn take_hook(&mut self, parity: u32, slot: u32) -> Result<HookSums, KernelError> {
        take_per_cpu(&mut self.maps.hook, parity * MAX_INTERFACES + slot, HookSums::default(), HookSums::add)
    }

    fn take_unparsed(
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
            let reason_sums = take_per_cpu(&mut self.maps.unparsed, index, ReasonSums::default(), add)?;
            if reason_sums != ReasonSums::default() {
                add(unparsed.entry(reason).or_default(), &reason_sums);
            }
        }
        Ok(())
    }

    fn take_overflow(&mut self, parity: u32, slot: u32) -> BTreeMap<(u16, Verdict), Counters> {
        let classes = self.images.class_capacity();
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

#[cfg(test)]
mod tests {
    use monitor_common::wire::{Address, InnerDestination};

    use super::*;

    /// A flow of few, all alike but for one field.
    fn key(number: u16) -> FlowKey {
        let plain = FlowKey { ip_version: 4, protocol: 6, ifindex: 7, ..FlowKey::default() };
        let more = 1 + number / 8;
        match number % 8 {
            0 => FlowKey { source: Address::v4(more.into()), ..plain },
            1 => FlowKey { destination: Address::v4(more.into()), ..plain },
            2 => FlowKey { source_port: more, ..plain },
            3 => FlowKey { destination_port: more, ..plain },
            4 => FlowKey { class_id: more, ..plain },
            5 => FlowKey { rule: more, ..plain },
            6 => FlowKey { ifindex: 7 + u32::from(more), ..plain },
            _ => FlowKey { verdict: more as u8, ..plain },
        }
    }

    fn value(random: &mut fastrand::Rng) -> FlowValue {
        let mut sum = || random.u64(1..1_000);
        let (first, long) = (sum(), sum());
        let counters = Counters { packets: sum(), segments: sum(), bytes: sum(), wire_bytes: sum() };
        FlowValue { counters, first, last: first + long }
    }

    #[test]
    fn what_caches_and_table_have_of_a_flow_becomes_one_and_nothing_else_does() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..300 {
            let (mut taken, mut expected) = (Taken::default(), BTreeMap::<FullKey, FlowValue>::new());
            let mut note = |key: FullKey, value: FlowValue| {
                expected.entry(key).and_modify(|sum| sum.add(&value)).or_insert(value);
            };
            // Every third round finds no cache, every third one nothing but caches.
            let flows = random.u16(1..200);
            for _ in 0..if round % 3 == 0 { 0 } else { random.usize(0..1_000) } {
                let (key, value) = (key(random.u16(0..flows)), value(&mut random));
                taken.add_cached(key, &value);
                note(key.into(), value);
            }
            let mut table: Vec<u16> = (0..flows).collect();
            random.shuffle(&mut table);
            table.truncate(if round % 3 == 1 { 0 } else { random.usize(0..=table.len()) });
            for number in table {
                let value = value(&mut random);
                taken.add(key(number), value);
                note(key(number).into(), value);
            }
            for number in 0..random.u16(0..20) {
                // The same flows as in cache and table, each with somewhere to go on to.
                let inner = InnerDestination { ip_version: 4, via: 1, port: number, ..InnerDestination::default() };
                let (key, value) = (FullKey { flow: key(number), inner }, value(&mut random));
                taken.add_inner(key, value);
                note(key, value);
            }
            assert_eq!(taken.rows.len(), expected.len(), "seed {seed}, round {round}: each flow once");
            assert_eq!(taken.rows.into_iter().collect::<BTreeMap<_, _>>(), expected, "seed {seed}, round {round}");
        }
    }

    #[test]
    fn flows_of_the_caches_come_first_in_the_order_of_coming() {
        let mut taken = Taken::default();
        let value = FlowValue { counters: Counters { packets: 1, ..Counters::default() }, first: 5, last: 6 };
        for number in [3, 1, 3] {
            taken.add_cached(key(number), &value);
        }
        for number in [2, 1, 0] {
            taken.add(key(number), FlowValue { first: 4, last: 9, ..value });
        }
        let rows: Vec<_> =
            taken.rows.iter().map(|(key, sum)| (*key, sum.counters.packets, sum.first, sum.last)).collect();
        let flow = |number| FullKey::from(key(number));
        assert_eq!(rows, [(flow(3), 2, 5, 6), (flow(1), 2, 4, 9), (flow(2), 1, 4, 9), (flow(0), 1, 4, 9)]);
    }
}
