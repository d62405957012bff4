//! All traffic since the start: snapshots in; sums by interface, country, kind and verdict, by reason, and flow
//! by flow out. Class and rule numbers mean something only with the snapshot's own policy, so they are turned
//! into country, kind and rule id here, when merging.

use std::collections::{BTreeMap, HashMap};

use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Counters, Opaque, Tally},
};

use super::{
    Snapshot,
    flows::{FlowStore, FlowSums},
    names::{Group, Identities, Name, place},
};

/// Sums since the start.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Everything that was classified: flows, and what overflowed.
    pub groups: BTreeMap<Group, Counters>,
    /// Of that, what found no place in the kernel's flow table.
    pub overflow: BTreeMap<Group, Counters>,
    /// Of flows, what carries something that cannot be read, by interface, form and verdict.
    pub opaque: BTreeMap<(Name, Opaque, Verdict), Counters>,
    /// Of flows, what goes on from its destination, by interface, way (see [`super::names::FlowId::via`]) and verdict.
    pub onward: BTreeMap<(Name, &'static str, Verdict), Counters>,
    /// What has no flow, by interface and reason.
    pub unparsed: BTreeMap<(Name, Reason), Tally>,
    /// Hook totals.
    pub hook: BTreeMap<Name, Counters>,
    /// Of these, what we dropped.
    pub dropped: BTreeMap<Name, Counters>,
    /// Sum over epochs of the absolute residuals: all zero, or a defect. See [`Snapshot::residual`].
    pub residual: BTreeMap<Name, Counters>,
    /// Ring-buffer losses.
    pub events_lost: u64,
    /// Epochs merged.
    pub epochs: u64,
}

/// All traffic since the start.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Names that everything below is kept under.
    pub identities: Identities,
    /// Sums.
    pub totals: Totals,
    /// Flow by flow.
    pub flows: FlowStore,
}

impl Traffic {
    /// An empty one that keeps at most `limit` flows.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { flows: FlowStore::new(limit), ..Self::default() }
    }

    /// The name of each interface of the snapshot by index; flows of others go to index 0.
    pub fn interfaces(&mut self, snapshot: &Snapshot) -> HashMap<u32, Name> {
        let mut names: HashMap<u32, Name> = snapshot
            .interfaces
            .iter()
            .map(|interface| (interface.ifindex, self.identities.interface(&interface.name)))
            .collect();
        let unregistered = self.identities.interface("");
        names.entry(0).or_insert(unregistered);
        names
    }

    /// Adds an epoch. Returns the interfaces whose residual is not zero: a conservation breach.
    pub fn merge(&mut self, snapshot: &Snapshot) -> Vec<(Name, Counters)> {
        let names = self.interfaces(snapshot);
        let unregistered = names[&0];
        self.totals.epochs += 1;
        self.totals.events_lost += snapshot.events_lost;
        for interface in &snapshot.interfaces {
            let name = names[&interface.ifindex];
            self.totals.hook.entry(name).or_default().add(&interface.hook);
            self.totals.dropped.entry(name).or_default().add(&interface.dropped);
            for ((class, verdict), counters) in &interface.overflow {
                let (country, kind) = place(&snapshot.policy, *class);
                let group = Group { interface: name, country, kind, verdict: *verdict };
                self.totals.groups.entry(group).or_default().add(counters);
                self.totals.overflow.entry(group).or_default().add(counters);
            }
            for (reason, tally) in &interface.unparsed {
                let sum = self.totals.unparsed.entry((name, *reason)).or_default();
                sum.passed.add(&tally.passed);
                sum.dropped.add(&tally.dropped);
            }
        }
        for (key, value) in &snapshot.flows {
            let name = names.get(&key.flow.ifindex).copied().unwrap_or(unregistered);
            let id = self.identities.resolve(key, name, &snapshot.policy);
            self.totals.groups.entry(id.group()).or_default().add(&value.counters);
            if id.opaque != Opaque::None {
                self.totals.opaque.entry((name, id.opaque, id.verdict)).or_default().add(&value.counters);
            }
            if let Some(via) = id.via() {
                self.totals.onward.entry((name, via, id.verdict)).or_default().add(&value.counters);
            }
            let (first, last) = (snapshot.wall_time(value.first), snapshot.wall_time(value.last));
            self.flows.add(id, &FlowSums { counters: value.counters, first: clamp(first), last: clamp(last) });
        }
        self.flows.trim();
        let mut breaches = Vec::new();
        for (ifindex, residual) in snapshot.residual().into_iter().chain(snapshot.dropped_residual()) {
            let name = names.get(&ifindex).copied().unwrap_or(unregistered);
            let sum = self.totals.residual.entry(name).or_default();
            sum.add(&Counters {
                packets: (residual.packets.cast_signed()).unsigned_abs(),
                segments: (residual.segments.cast_signed()).unsigned_abs(),
                bytes: (residual.bytes.cast_signed()).unsigned_abs(),
                wire_bytes: (residual.wire_bytes.cast_signed()).unsigned_abs(),
            });
            if !residual.is_zero() {
                breaches.push((name, residual));
            }
        }
        breaches
    }
}

/// Nanoseconds in 64 bits: good until 2262.
fn clamp(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epochs::fake;

    fn sum<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Counters {
        counters.into_iter().fold(Counters::default(), |mut sum, next| {
            sum.add(next);
            sum
        })
    }

    /// flows + evicted + overflow + unparsed = hook, and groups + unparsed = hook.
    fn assert_adds_up(traffic: &Traffic) {
        let hook = sum(traffic.totals.hook.values());
        let unparsed = sum(traffic.totals.unparsed.values().flat_map(|tally| [&tally.passed, &tally.dropped]));
        let flows = sum(traffic.flows.iter().map(|(_, sums)| &sums.counters));
        let evicted = sum(traffic.flows.evicted().values().map(|evicted| &evicted.counters));
        let overflow = sum(traffic.totals.overflow.values());
        assert_eq!(sum([&flows, &evicted, &overflow, &unparsed]), hook);
        assert_eq!(sum(traffic.totals.groups.values().chain([&unparsed])), hook);
    }

    #[test]
    fn flows_evicted_overflow_and_unparsed_always_add_up_to_the_hook() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut traffic = Traffic::new(100);
        for epoch in 0..60 {
            let snapshot = fake::random_snapshot(&mut random, epoch, 40);
            assert_eq!(traffic.merge(&snapshot), [], "epoch {epoch}");
            assert!(traffic.flows.len() <= 100);
            assert_adds_up(&traffic);
        }
        let evicted: u64 = traffic.flows.evicted().values().map(|evicted| evicted.flows).sum();
        assert!(evicted > 0, "the test must evict to mean something");
        assert_eq!(traffic.totals.epochs, 60);
    }

    #[test]
    fn a_burst_that_ends_in_one_jiffy_is_not_evicted_whole() {
        let mut traffic = Traffic::new(80);
        let mut snapshot = fake::snapshot(1);
        for port in 1..=100 {
            fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, port, 2);
        }
        traffic.merge(&snapshot);
        assert_eq!(traffic.flows.len(), 70);
        assert_eq!(traffic.flows.evicted().values().map(|evicted| evicted.flows).sum::<u64>(), 30);
        assert_adds_up(&traffic);
    }

    #[test]
    fn a_renumbered_policy_does_not_change_what_earlier_flows_were() {
        let mut traffic = Traffic::new(100);
        let mut first = fake::snapshot(1);
        fake::add_flow(&mut first, 7, fake::OUTSIDE, 443, 3);
        traffic.merge(&first);
        let mut second = fake::snapshot(2);
        let mut renumbered = fake::policy();
        renumbered.classes.swap(usize::from(fake::OUTSIDE), usize::from(fake::INSIDE));
        renumbered.image.classes.swap(usize::from(fake::OUTSIDE), usize::from(fake::INSIDE));
        second.policy = std::sync::Arc::new(renumbered);
        let renumbered = fake::key(7, fake::OUTSIDE, 443);
        fake::add(&mut second, monitor_common::wire::FlowKey { class: fake::INSIDE, ..renumbered }, 4);
        traffic.merge(&second);
        // The class numbers differ, the flow is the same.
        let flows: Vec<_> = traffic.flows.iter().collect();
        assert_eq!(flows.len(), 1);
        assert_eq!(flows[0].1.counters.packets, 7);
        assert_eq!(flows[0].0.country.to_string(), "SG");
    }

    #[test]
    fn a_breach_is_returned_and_its_absolute_size_is_kept() {
        let mut traffic = Traffic::new(100);
        let mut snapshot = fake::snapshot(1);
        fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
        snapshot.interfaces[0].hook.packets += 2;
        let breaches = traffic.merge(&snapshot);
        assert_eq!(breaches.len(), 1);
        assert_eq!(breaches[0].1, Counters { packets: 2, ..Counters::default() });
        snapshot.interfaces[0].hook.packets -= 3;
        traffic.merge(&snapshot);
        let name = breaches[0].0;
        // +2 and -1 must not cancel out.
        assert_eq!(traffic.totals.residual[&name], Counters { packets: 3, ..Counters::default() });
    }

    #[test]
    fn overflow_is_counted_under_its_class_and_verdict() {
        let mut traffic = Traffic::new(100);
        for _ in 0..2 {
            let mut snapshot = fake::snapshot(1);
            fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 5);
            fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Denied, 9);
            fake::add_overflow(&mut snapshot, fake::INSIDE, Verdict::Allowed, 2);
            traffic.merge(&snapshot);
        }
        let packets: Vec<_> = traffic
            .totals
            .overflow
            .iter()
            .map(|(group, counters)| (group.country.to_string(), group.verdict.name(), counters.packets))
            .collect();
        let expected = [("IE", "allowed", 4), ("SG", "observed", 10), ("SG", "denied", 18)];
        assert_eq!(packets, expected.map(|(country, verdict, packets)| (country.to_owned(), verdict, packets)));
        assert_adds_up(&traffic);
    }
}
