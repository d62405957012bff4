//! The traffic of the last hour, flow by flow: snapshots in, a [`Window`] of any length up to [`KEPT_NS`] out, for
//! `flows --since`. Written by the engine, read by the API.
//!
//! Time is cut into slices of a minute or an epoch, whichever is longer; each has the flows of that time with what they
//! sent in it. All slices together hold at most [`LIMIT`] flows: beyond that the fullest slices sum up their smallest
//! flows, by place and verdict as the flow store does, so that flows + evicted + overflow + unparsed = hook in each.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    model::{
        ClosedEpoch,
        flow::{FlowGroup, GroupSums},
        identities::NameSet,
    },
    store::{flows::FlowStore, totals::Totals},
};

/// Flows in all slices together, at the same size as in the flow store.
pub const LIMIT: usize = 262_144;

/// How far back it goes, in nanoseconds.
pub const KEPT_NS: i128 = 3_600_000_000_000;

/// A slice is full when it is so long.
const SLICE_NS: i128 = 60_000_000_000;

/// Slices at most: those of the last hour, the one that it begins in, and those of a clock that was set back.
const SLICES: usize = 64;

#[derive(Debug)]
struct Slice {
    began: i128,
    ended: i128,
    flows: FlowStore,
    totals: Totals,
}

/// What was counted between two moments, UTC nanoseconds since 1970.
#[derive(Debug)]
pub struct Window {
    /// Where it begins: at a slice's beginning, so a minute too early at most.
    pub began: i128,
    /// Where it ends: at a slice's end, so a minute too late at most.
    pub ended: i128,
    /// The end of the latest epoch, to which times are.
    pub latest: i128,
    /// Flow by flow. A flow that is here may have sent more: what was evicted may be of it.
    pub flows: FlowStore,
    /// Everything else.
    pub totals: Totals,
}

impl Window {
    /// What flows come to in it. Counted are those that are kept one by one and those that were summed up: a flow that
    /// was summed up in one slice and not in another counts twice.
    pub fn groups(&self) -> BTreeMap<FlowGroup, GroupSums> {
        let mut numbers: BTreeMap<FlowGroup, u64> = BTreeMap::new();
        for (id, _) in self.flows.iter() {
            *numbers.entry(id.traits().flow_group()).or_default() += 1;
        }
        for (group, evicted) in self.flows.evicted() {
            *numbers.entry(*group).or_default() += evicted.flows;
        }
        let number = |group: &FlowGroup| numbers.get(group).copied().unwrap_or(0);
        self.totals.flows.iter().map(|(group, of)| (*group, GroupSums { flows: number(group), ..*of })).collect()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Recent {
    slices: VecDeque<Slice>,
    limit: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Recent {
    /// Holds at most `limit` flows.
    pub const fn new(limit: usize) -> Self {
        Self { slices: VecDeque::new(), limit }
    }

    /// Adds an epoch's flows; what it came to is to be added before anybody looks.
    pub fn merge(&mut self, epoch: &ClosedEpoch<'_>) {
        let snapshot = epoch.snapshot;
        let fits = |slice: &Slice| (0..=SLICE_NS).contains(&(snapshot.ended - slice.began));
        if !self.slices.back().is_some_and(fits) {
            if let Some(full) = self.slices.back_mut() {
                full.flows.shrink();
            }
            let flows = FlowStore::new(usize::MAX);
            self.slices.push_back(Slice { began: snapshot.started, ended: 0, flows, totals: Totals::default() });
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.ended = snapshot.ended;
            slice.flows.merge_largest(epoch, self.limit);
        }
        while self.slices.front().is_some_and(|first| first.ended <= snapshot.ended - KEPT_NS)
            || self.slices.len() > SLICES
        {
            self.slices.pop_front();
        }
        self.shrink();
    }

    /// Adds what the epoch merged last came to.
    pub fn add(&mut self, totals: &Totals) {
        if let Some(slice) = self.slices.back_mut() {
            slice.totals.add(totals);
        }
    }

    /// As [`FlowStore::names`].
    pub fn names(&mut self, used: &mut NameSet) {
        self.slices.iter_mut().for_each(|slice| slice.flows.names(used));
    }

    /// As [`FlowStore::forget`], of all sums.
    pub fn forget(&mut self, released: &NameSet) {
        for slice in &mut self.slices {
            slice.flows.forget(released);
            slice.totals.forget(released);
        }
    }

    fn shrink(&mut self) {
        if self.len() <= self.limit {
            return;
        }
        // More than asked for, so that the work is rare. What the shorter ones leave is shared by the longer ones.
        let mut room = self.limit - self.limit / 8;
        let mut lengths: Vec<usize> = self.slices.iter().map(|slice| slice.flows.len()).collect();
        lengths.sort_unstable();
        let mut share = 0;
        for (length, sharers) in lengths.iter().zip((1..=lengths.len()).rev()) {
            share = room / sharers;
            if *length > share {
                break;
            }
            room -= length;
        }
        for slice in &mut self.slices {
            slice.flows.keep_largest(share);
        }
    }

    /// Flows held.
    pub fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.flows.len()).sum()
    }

    /// Whether nothing was counted yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was counted from so many nanoseconds before the end of the latest epoch until so many, in whole slices: what is
    /// of the window and what shares a slice with it. `None` before the first epoch.
    pub fn window(&self, since: i128, until: i128) -> Option<Window> {
        let latest = self.slices.back()?.ended;
        let (since, until) = (latest - since, latest - until);
        let (flows, totals) = (FlowStore::new(usize::MAX), Totals::default());
        let mut window = Window { began: until, ended: until, latest, flows, totals };
        for slice in self.slices.iter().filter(|slice| slice.ended > since && slice.began < until) {
            window.began = window.began.min(slice.began);
            window.ended = window.ended.max(slice.ended);
            window.flows.absorb(&slice.flows);
            window.totals.add(&slice.totals);
        }
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::wire::Counters;

    use super::*;
    use crate::{fake, model::Snapshot, store::Traffic};

    const SECOND: i128 = 1_000_000_000;

    /// Epoch `number` of ten seconds.
    fn merge(recent: &mut Recent, traffic: &mut Traffic, store: &mut FlowStore, snapshot: &Snapshot) {
        fake::merge(traffic, store, snapshot);
        fake::remember(recent, traffic, snapshot);
    }

    fn sum<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Counters {
        counters.into_iter().fold(Counters::default(), |mut sum, next| {
            sum.add(next);
            sum
        })
    }

    #[test]
    fn a_window_has_what_was_sent_in_it_and_begins_at_most_a_minute_too_early() {
        let (mut recent, mut traffic, mut store) = (Recent::default(), Traffic::default(), FlowStore::default());
        assert!(recent.window(SECOND, 0).is_none());
        // Two hours of ten-second epochs; in each the one flow sends its number in packets.
        for epoch in 0..720 {
            let mut snapshot = fake::snapshot(epoch);
            fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, u64::from(epoch));
            merge(&mut recent, &mut traffic, &mut store, &snapshot);
        }
        for seconds in [1, 60, 61, 599, 1_800, 3_600] {
            let window = recent.window(seconds * SECOND, 0).expect("there are epochs");
            let long = window.ended - window.began;
            assert_eq!(window.ended, fake::START + 7_200 * SECOND);
            assert!((seconds * SECOND..(seconds + 60) * SECOND).contains(&long), "{seconds} s: {long} ns");
            let first = 720 - u64::try_from(long / SECOND / 10).expect("a number");
            let packets: u64 = (first..720).sum();
            let flows: Vec<_> = window.flows.iter().map(|(_, sums)| sums.counters.packets).collect();
            assert_eq!((flows, window.totals.hook.values().map(|hook| hook.packets).sum()), (vec![packets], packets));
        }
        assert_eq!(recent.len(), 60);
    }

    #[test]
    fn a_window_that_is_over_has_the_slices_that_it_touches_and_two_that_meet_in_a_slice_both_have_that() {
        let (mut recent, mut traffic, mut store) = (Recent::default(), Traffic::default(), FlowStore::default());
        for epoch in 0..60 {
            let mut snapshot = fake::snapshot(epoch);
            fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 1);
            merge(&mut recent, &mut traffic, &mut store, &snapshot);
        }
        // Ten minutes of ten-second epochs, so ten slices of six.
        let window = |since: i128, until: i128| {
            let window = recent.window(since * SECOND, until * SECOND).expect("there are epochs");
            let packets: u64 = window.totals.hook.values().map(|hook| hook.packets).sum();
            assert_eq!(window.latest, fake::START + 600 * SECOND);
            let ago = |at: i128| (window.latest - at) / SECOND;
            (ago(window.began), ago(window.ended), packets)
        };
        assert_eq!(window(600, 0), (600, 0, 60));
        assert_eq!(window(600, 300), (600, 300, 30));
        assert_eq!(window(300, 0), (300, 0, 30));
        // Half a slice on each side.
        assert_eq!(window(570, 510), (600, 480, 12));
        assert_eq!(window(510, 0), (540, 0, 54));
        assert_eq!(window(3_600, 540), (600, 540, 6));
        assert_eq!(window(3_600, 1_800), (1_800, 1_800, 0), "before there was anything");
    }

    #[test]
    fn what_is_no_longer_told_apart_is_summed_up_and_every_window_adds_up() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut recent, mut traffic, mut store) = (Recent::new(1_000), Traffic::default(), FlowStore::default());
        for epoch in 0..200 {
            let snapshot = fake::random_snapshot(&mut random, epoch, 300);
            merge(&mut recent, &mut traffic, &mut store, &snapshot);
            assert!(recent.len() <= 1_000, "{}", recent.len());
            if epoch % 20 == 19 {
                let window = recent.window(i128::from(random.i32(1..3_600)) * SECOND, 0).expect("there are epochs");
                let mut parts: Vec<Counters> = window.flows.iter().map(|(_, sums)| sums.counters).collect();
                parts.extend(window.flows.evicted().values().map(|evicted| evicted.counters));
                parts.extend(window.totals.overflow.values());
                parts.extend(
                    window.totals.unparsed.values().flat_map(|reason_sums| [reason_sums.passed, reason_sums.dropped]),
                );
                assert_eq!(sum(&parts), sum(window.totals.hook.values()));
            }
        }
        let window = recent.window(KEPT_NS, 0).expect("there are epochs");
        assert!(!window.flows.evicted().is_empty(), "the test must evict to mean something");
        assert!(recent.slices.iter().all(|slice| slice.flows.len() >= 1_000 / SLICES), "none is left empty");
    }

    #[test]
    fn as_many_flows_as_fit_stay_and_what_is_too_much_is_taken_from_the_longest_slices_alike() {
        let (mut recent, mut traffic, mut store) = (Recent::new(640), Traffic::default(), FlowStore::default());
        let mut epoch = |recent: &mut Recent, number: u32, flows: u16| {
            let mut snapshot = fake::snapshot(number);
            for port in 0..flows {
                fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, port, 1 + u64::from(port));
            }
            merge(recent, &mut traffic, &mut store, &snapshot);
            let evicted = |slice: &Slice| slice.flows.evicted().values().map(|sum| sum.flows).sum();
            recent.slices.iter().map(|slice| (slice.flows.len(), evicted(slice))).collect::<Vec<(usize, u64)>>()
        };
        // Ten minutes apart, so that each has a slice of its own.
        assert_eq!(epoch(&mut recent, 0, 700), [(640, 60)], "of one epoch alone as many as fit");
        let mut recent = Recent::new(640);
        assert_eq!(epoch(&mut recent, 60, 400), [(400, 0)]);
        assert_eq!(epoch(&mut recent, 120, 240), [(400, 0), (240, 0)]);
        // Down to an eighth less than fit.
        assert_eq!(epoch(&mut recent, 180, 1), [(319, 81), (240, 0), (1, 0)]);
        let largest: Vec<u16> = recent.slices[0].flows.iter().map(|(id, _)| id.destination_port).collect();
        assert_eq!(largest, (81..400).collect::<Vec<_>>());
        assert_eq!(epoch(&mut recent, 240, 240), [(186, 214), (186, 54), (1, 0), (186, 54)]);
    }

    #[test]
    fn a_slice_ends_after_a_minute_and_goes_an_hour_after_its_end() {
        let (mut recent, mut traffic, mut store) = (Recent::default(), Traffic::default(), FlowStore::default());
        let mut epoch = |recent: &mut Recent, began: i128, ended: i128| {
            let mut snapshot = fake::snapshot(0);
            (snapshot.started, snapshot.ended) = (began, ended);
            fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 1);
            merge(recent, &mut traffic, &mut store, &snapshot);
            recent.slices.iter().map(|slice| (slice.began, slice.ended)).collect::<Vec<_>>()
        };
        let end = 60 * SECOND;
        assert_eq!(epoch(&mut recent, 0, SECOND), [(0, SECOND)]);
        assert_eq!(epoch(&mut recent, SECOND, end), [(0, end)], "just a minute");
        assert_eq!(epoch(&mut recent, end, end + 1), [(0, end), (end, end + 1)]);
        assert_eq!(recent.window(1, 0).map(|window| (window.began, window.ended)), Some((end, end + 1)));
        assert_eq!(recent.window(2, 0).map(|window| (window.began, window.ended)), Some((0, end + 1)));
        let late = end + KEPT_NS;
        assert_eq!(epoch(&mut recent, late - 2, late - 1), [(0, end), (end, end + 1), (late - 2, late - 1)]);
        assert_eq!(epoch(&mut recent, late - 1, late), [(end, end + 1), (late - 2, late)]);
    }

    #[test]
    fn a_clock_that_is_set_back_or_forward_costs_detail_and_never_memory() {
        let (mut recent, mut traffic, mut store) = (Recent::default(), Traffic::default(), FlowStore::default());
        for epoch in 0..200_u32 {
            let back = i128::from(epoch) * 3_600 * SECOND;
            let mut snapshot = fake::snapshot(0);
            (snapshot.started, snapshot.ended) = (snapshot.started - back, snapshot.ended - back);
            fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 1);
            merge(&mut recent, &mut traffic, &mut store, &snapshot);
        }
        assert_eq!(recent.slices.len(), SLICES);
        let snapshot = fake::snapshot(10_000);
        merge(&mut recent, &mut traffic, &mut store, &snapshot);
        assert_eq!(recent.slices.len(), 1);
    }
}
