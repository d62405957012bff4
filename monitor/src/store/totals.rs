//! All traffic since the start: snapshots in; sums by interface, country, class and verdict, and by reason out; flow
//! by flow it is in the [`FlowStore`]. Class and rule numbers mean something only with the snapshot's own policy, so
//! they are turned into country, class and rule id when merging.
//!
//! A merge is in three steps, so that nobody who reads these sums waits for the flows: [`Traffic::names`],
//! [`FlowStore::merge`], [`Traffic::merge`].

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    mem,
    sync::Arc,
};

use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Counters, Opaque, ReasonSums},
};

use crate::{
    model::{
        ClosedEpoch, Snapshot,
        coverage::Role,
        flow::{FlowGroup, Group, GroupSums, SummedFlows, place},
        identities::{Identities, Interfaces, Name, NameSet, RuleName},
    },
    store::flows::{EpochSums, FlowStore},
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
    /// Of flows, what has an inner destination or an embedded address, by interface, how it is carried (see
    /// [`crate::model::flow::FlowId::via`]) and verdict.
    pub inner: BTreeMap<(Name, &'static str, Verdict), Counters>,
    /// Flows: how many, what they sent, when they were first and last seen. Flows are those that the store did not have
    /// when they came.
    pub flows: BTreeMap<FlowGroup, GroupSums>,
    /// Of flows, what a rule decided, by rule.
    pub rules: BTreeMap<RuleName, GroupSums>,
    /// What has no flow, by interface and reason.
    pub unparsed: BTreeMap<(Name, Reason), ReasonSums>,
    /// Hook totals.
    pub hook: BTreeMap<Name, Counters>,
    /// Of these, what we dropped.
    pub dropped: BTreeMap<Name, Counters>,
    /// What each interface is, or was when it counted last.
    pub roles: BTreeMap<Name, Role>,
    /// Sum over epochs of the absolute residuals: all zero, or a defect. See [`Snapshot::residual`].
    pub residual: BTreeMap<Name, Counters>,
    /// Ring-buffer losses.
    pub events_lost: u64,
    /// Epochs merged.
    pub epochs: u64,
}

impl Totals {
    /// Adds those of an epoch.
    pub fn add(&mut self, epoch: &Self) {
        fn add<K: Copy + Ord>(sums: &mut BTreeMap<K, Counters>, more: &BTreeMap<K, Counters>) {
            for (key, counters) in more {
                sums.entry(*key).or_default().add(counters);
            }
        }
        add(&mut self.groups, &epoch.groups);
        add(&mut self.overflow, &epoch.overflow);
        add(&mut self.opaque, &epoch.opaque);
        add(&mut self.inner, &epoch.inner);
        add(&mut self.hook, &epoch.hook);
        add(&mut self.dropped, &epoch.dropped);
        add(&mut self.residual, &epoch.residual);
        self.roles.extend(&epoch.roles);
        for (group, sums) in &epoch.flows {
            self.flows.entry(*group).and_modify(|there| there.add(sums)).or_insert(*sums);
        }
        for (rule, sums) in &epoch.rules {
            self.rules.entry(*rule).and_modify(|there| there.add(sums)).or_insert(*sums);
        }
        for (key, reason_sums) in &epoch.unparsed {
            add_reason_sums(self.unparsed.entry(*key).or_default(), reason_sums);
        }
        self.events_lost += epoch.events_lost;
        self.epochs += epoch.epochs;
    }

    /// Names are gone: what was counted under them is summed up under `(other)`.
    pub fn forget(&mut self, released: &NameSet) {
        fn rename<K: Ord, V>(sums: &mut BTreeMap<K, V>, new: impl Fn(&K) -> K, add: impl Fn(&mut V, V)) {
            for (key, more) in mem::take(sums) {
                match sums.entry(new(&key)) {
                    Entry::Vacant(place) => drop(place.insert(more)),
                    Entry::Occupied(mut there) => add(there.get_mut(), more),
                }
            }
        }
        let add = |sums: &mut Counters, more: Counters| sums.add(&more);
        let add_group = |sums: &mut GroupSums, more: GroupSums| sums.add(&more);
        let interface = |name| released.interface(name);
        for sums in [&mut self.groups, &mut self.overflow] {
            rename(sums, |group| group.without(released), add);
        }
        rename(&mut self.opaque, |(name, form, verdict)| (interface(*name), *form, *verdict), add);
        rename(&mut self.inner, |(name, via, verdict)| (interface(*name), *via, *verdict), add);
        for sums in [&mut self.hook, &mut self.dropped, &mut self.residual] {
            rename(sums, |name| interface(*name), add);
        }
        self.roles.retain(|name, _| interface(*name) == *name);
        rename(
            &mut self.unparsed,
            |(name, reason)| (interface(*name), *reason),
            |sums, more| add_reason_sums(sums, &more),
        );
        rename(&mut self.flows, |group| group.without(released), add_group);
        rename(&mut self.rules, |rule| released.rule(*rule), add_group);
    }
}

/// How much the flow store holds, beside the store itself, for those who only want to know that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Flows kept one by one.
    pub flows: usize,
    /// Flows evicted.
    pub evicted: SummedFlows,
}

impl Kept {
    /// Of this store.
    pub fn of(store: &FlowStore) -> Self {
        let mut kept = Self { flows: store.len(), evicted: SummedFlows::default() };
        for evicted in store.evicted().values() {
            kept.evicted.flows += evicted.flows;
            kept.evicted.counters.add(&evicted.counters);
        }
        kept
    }
}

/// All traffic since the start.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Names that everything below, and the flow store, is kept under.
    pub identities: Arc<Identities>,
    /// Sums since the start.
    pub totals: Totals,
    /// The same of the epoch merged last alone.
    pub latest: Totals,
    /// Flow by flow.
    pub kept: Kept,
}

impl Traffic {
    /// The name of each interface of the snapshot.
    pub fn names(&mut self, snapshot: &Snapshot) -> Interfaces {
        let named = snapshot.interfaces.iter();
        let names: HashMap<u32, Name> =
            named.map(|interface| (interface.ifindex, self.identities.interface(&interface.name))).collect();
        Interfaces::new(names, self.identities.interface(""))
    }

    /// Adds an epoch of which the flows are in the store already, and come to `sums`.
    pub fn merge(&mut self, closed: &ClosedEpoch<'_>, sums: EpochSums) {
        let ClosedEpoch { snapshot, interfaces, residual, .. } = closed;
        let EpochSums { groups, flows, opaque, inner, rules } = sums;
        let mut epoch = Totals {
            groups,
            flows,
            opaque,
            inner,
            rules,
            events_lost: snapshot.events_lost,
            epochs: 1,
            ..Totals::default()
        };
        for interface in &snapshot.interfaces {
            let name = interfaces.name(interface.ifindex);
            epoch.roles.insert(name, interface.role);
            epoch.hook.entry(name).or_default().add(&interface.hook);
            epoch.dropped.entry(name).or_default().add(&interface.dropped);
            for ((class_id, verdict), counters) in &interface.overflow {
                let (country, class) = place(&snapshot.policy, *class_id);
                let group = Group { interface: name, country, class, verdict: *verdict };
                epoch.groups.entry(group).or_default().add(counters);
                epoch.overflow.entry(group).or_default().add(counters);
            }
            for (reason, reason_sums) in &interface.unparsed {
                add_reason_sums(epoch.unparsed.entry((name, *reason)).or_default(), reason_sums);
            }
        }
        for (ifindex, residual) in residual {
            let name = interfaces.name(*ifindex);
            epoch.residual.entry(name).or_default().add(&Counters {
                packets: residual.packets.cast_signed().unsigned_abs(),
                segments: residual.segments.cast_signed().unsigned_abs(),
                bytes: residual.bytes.cast_signed().unsigned_abs(),
                wire_bytes: residual.wire_bytes.cast_signed().unsigned_abs(),
            });
        }
        self.totals.add(&epoch);
        self.latest = epoch;
    }
}

fn add_reason_sums(sum: &mut ReasonSums, more: &ReasonSums) {
    sum.passed.add(&more.passed);
    sum.dropped.add(&more.dropped);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fake, model::flow::FlowId, store::last_hour::Recent};

    fn sum<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Counters {
        counters.into_iter().fold(Counters::default(), |mut sum, next| {
            sum.add(next);
            sum
        })
    }

    /// flows + evicted + overflow + unparsed = hook, and groups + unparsed = hook.
    fn assert_adds_up(traffic: &Traffic, store: &FlowStore) {
        let hook = sum(traffic.totals.hook.values());
        let unparsed =
            sum(traffic.totals.unparsed.values().flat_map(|reason_sums| [&reason_sums.passed, &reason_sums.dropped]));
        let flows = sum(store.iter().map(|(_, sums)| &sums.counters));
        let evicted = traffic.kept.evicted.counters;
        let overflow = sum(traffic.totals.overflow.values());
        assert_eq!(sum([&flows, &evicted, &overflow, &unparsed]), hook);
        assert_eq!(sum(traffic.totals.groups.values().chain([&unparsed])), hook);
    }

    #[test]
    fn flows_evicted_overflow_and_unparsed_always_add_up_to_the_hook() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(100));
        for epoch in 0..60 {
            let snapshot = fake::random_snapshot(&mut random, epoch, 40);
            assert_eq!(fake::merge(&mut traffic, &mut store, &snapshot), [], "epoch {epoch}");
            assert!(store.len() <= 100);
            assert_adds_up(&traffic, &store);
        }
        assert!(traffic.kept.evicted.flows > 0, "the test must evict to mean something");
        assert_eq!(traffic.totals.epochs, 60);
    }

    #[test]
    fn a_burst_that_ends_in_one_jiffy_is_not_evicted_whole() {
        let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(80));
        let mut snapshot = fake::snapshot(1);
        for port in 1..=100 {
            fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, port, 2);
        }
        fake::merge(&mut traffic, &mut store, &snapshot);
        assert_eq!(store.len(), 70);
        assert_eq!(traffic.kept.evicted.flows, 30);
        assert_adds_up(&traffic, &store);
    }

    #[test]
    fn a_renumbered_policy_does_not_change_what_earlier_flows_were() {
        let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(100));
        let mut first = fake::snapshot(1);
        fake::add_flow(&mut first, 7, fake::OUTSIDE, 443, 3);
        fake::merge(&mut traffic, &mut store, &first);
        let mut second = fake::snapshot(2);
        let mut renumbered = fake::policy();
        renumbered.classes.swap(usize::from(fake::OUTSIDE), usize::from(fake::INSIDE));
        renumbered.image.classes.swap(usize::from(fake::OUTSIDE), usize::from(fake::INSIDE));
        second.policy = std::sync::Arc::new(renumbered);
        let renumbered = fake::key(7, fake::OUTSIDE, 443);
        fake::add(&mut second, monitor_common::wire::FlowKey { class_id: fake::INSIDE, ..renumbered }, 4);
        fake::merge(&mut traffic, &mut store, &second);
        // The class numbers differ, the flow is the same.
        let flows: Vec<_> = store.iter().collect();
        assert_eq!(flows.len(), 1);
        assert_eq!(flows[0].1.counters.packets, 7);
        assert_eq!(flows[0].0.country.to_string(), "SG");
    }

    #[test]
    fn what_a_rule_decided_is_counted_by_rule_and_a_flow_of_two_epochs_once() {
        let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(100));
        let of_rule = |port| monitor_common::wire::FlowKey {
            rule: 1,
            verdict: Verdict::Allowed as u8,
            ..fake::key(7, fake::OUTSIDE, port)
        };
        let mut first = fake::snapshot(1);
        fake::add(&mut first, of_rule(443), 3);
        fake::add_flow(&mut first, 7, fake::OUTSIDE, 443, 9);
        fake::merge(&mut traffic, &mut store, &first);
        let mut second = fake::snapshot(2);
        fake::add(&mut second, of_rule(443), 4);
        fake::add(&mut second, of_rule(444), 5);
        fake::merge(&mut traffic, &mut store, &second);
        let rule = traffic.identities.rules.find("migration-sg").expect("known");
        let (began, ended) = (first.wall_time(first.jiffies - 250), second.wall_time(second.jiffies - 125));
        let sums = crate::model::flow::FlowSums {
            counters: fake::sums(12),
            first: crate::model::clock::clamp(began),
            last: crate::model::clock::clamp(ended),
        };
        assert_eq!(traffic.totals.rules, [(rule, GroupSums { flows: 2, sums })].into());
        assert_eq!(traffic.latest.rules[&rule].sums.counters, fake::sums(9));
        assert_eq!(traffic.latest.rules[&rule].flows, 1);
    }

    #[test]
    fn what_is_kept_under_names_that_are_gone_adds_up_under_other() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut traffic, mut store, mut recent) = (Traffic::default(), FlowStore::new(100), Recent::new(100));
        for epoch in 0..20 {
            let mut snapshot = fake::random_snapshot(&mut random, epoch, 40);
            let mut policy = fake::policy();
            // Of this epoch alone, as is the interface.
            policy.rules[0].id = format!("rule-{epoch}");
            (snapshot.policy, snapshot.interfaces[0].name) = (policy.into(), format!("veth{epoch}"));
            fake::merge(&mut traffic, &mut store, &snapshot);
            fake::remember(&mut recent, &mut traffic, &snapshot);
        }
        let totals = traffic.totals.clone();
        let named = |traffic: &Traffic, store: &FlowStore| -> Vec<_> {
            let names = &traffic.identities;
            let text =
                |id: FlowId| (names.interfaces.get(id.interface).to_owned(), names.rules.get(id.rule).to_owned());
            let mut flows: Vec<_> = store.iter().map(|(id, sums)| (text(id), id.destination_port, *sums)).collect();
            flows.sort_unstable_by_key(|(names, port, sums)| (names.clone(), *port, sums.first, sums.counters.bytes));
            flows
        };
        let flows = named(&traffic, &store);
        let mut used = NameSet::default();
        store.names(&mut used);
        recent.names(&mut used);
        let released = traffic.identities.release(&used);
        assert!(!released.rules.is_empty(), "the test must release something to mean something");
        store.forget(&released);
        recent.forget(&released);
        traffic.totals.forget(&released);
        traffic.latest.forget(&released);
        // Others have their numbers.
        for number in 0..40 {
            traffic.identities.rule(&format!("new-{number}"));
            traffic.identities.interface(&format!("new{number}"));
        }
        assert_adds_up(&traffic, &store);
        assert_eq!(named(&traffic, &store), flows);
        let whole = |totals: &Totals| {
            let rules = totals.rules.values().map(|rule| (rule.flows, rule.sums.counters.packets));
            let rules = rules.fold((0, 0), |(flows, packets), of| (flows + of.0, packets + of.1));
            (
                sum(totals.hook.values()),
                sum(totals.groups.values()),
                rules,
                totals.flows.values().map(|of| of.flows).sum::<u64>(),
            )
        };
        assert_eq!(whole(&traffic.totals), whole(&totals));
        let names = &traffic.identities.rules;
        assert!(traffic.totals.rules.keys().all(|name| !names.get(*name).starts_with("new-")));
        // And so does a window of the last hour.
        let window = recent.window(3_600_000_000_000, 0).expect("there are epochs");
        let flows = sum(window.groups().values().map(|of| &of.sums.counters));
        let overflow = sum(window.totals.overflow.values());
        assert_eq!(sum([&flows, &overflow]), sum(window.totals.groups.values()));
        // Traits that no flow has any more are not kept either; what comes finds its place all the same.
        fake::merge(&mut traffic, &mut store, &fake::random_snapshot(&mut random, 21, 40));
        assert_adds_up(&traffic, &store);
    }

    #[test]
    fn a_breach_is_returned_and_its_absolute_size_is_kept() {
        let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(100));
        let mut snapshot = fake::snapshot(1);
        fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
        snapshot.interfaces[0].hook.packets += 2;
        let breaches = fake::merge(&mut traffic, &mut store, &snapshot);
        assert_eq!(breaches.len(), 1);
        assert_eq!(breaches[0].1, Counters { packets: 2, ..Counters::default() });
        snapshot.interfaces[0].hook.packets -= 3;
        fake::merge(&mut traffic, &mut store, &snapshot);
        let name = breaches[0].0;
        // +2 and -1 must not cancel out.
        assert_eq!(traffic.totals.residual[&name], Counters { packets: 3, ..Counters::default() });
    }

    #[test]
    fn overflow_is_counted_under_its_class_and_verdict() {
        let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(100));
        for _ in 0..2 {
            let mut snapshot = fake::snapshot(1);
            fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 5);
            fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Denied, 9);
            fake::add_overflow(&mut snapshot, fake::INSIDE, Verdict::Allowed, 2);
            fake::merge(&mut traffic, &mut store, &snapshot);
        }
        let packets: Vec<_> = traffic
            .totals
            .overflow
            .iter()
            .map(|(group, counters)| (group.country.to_string(), group.verdict.name(), counters.packets))
            .collect();
        let expected = [("IE", "allowed", 4), ("SG", "observed", 10), ("SG", "denied", 18)];
        assert_eq!(packets, expected.map(|(country, verdict, packets)| (country.to_owned(), verdict, packets)));
        assert_adds_up(&traffic, &store);
    }
}
