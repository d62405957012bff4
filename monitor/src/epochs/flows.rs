//! Flows since the start, bounded: snapshots' flows in, rows for the API out. What no longer fits is not
//! forgotten but moved into sums, so that flows + evicted + overflow + unparsed = hook total at any time.

use std::collections::{BTreeMap, HashMap};

use monitor_common::wire::Counters;

use super::names::{FlowId, Group};

/// Flows kept one by one: about 130 bytes each.
pub const FLOW_LIMIT: usize = 1_048_576;

/// Sums of one flow since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSums {
    /// The sums.
    pub counters: Counters,
    /// First packet, UTC nanoseconds since 1970.
    pub first: i64,
    /// Last packet.
    pub last: i64,
}

/// Flows evicted, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// How many flows went in here. One that came back and went again counts twice.
    pub flows: u64,
    /// Their sums.
    pub counters: Counters,
}

/// Flows since the start.
#[derive(Debug)]
pub struct FlowStore {
    flows: HashMap<FlowId, FlowSums>,
    evicted: BTreeMap<Group, Evicted>,
    limit: usize,
}

impl Default for FlowStore {
    fn default() -> Self {
        Self::new(FLOW_LIMIT)
    }
}

impl FlowStore {
    /// Keeps at most `limit` flows after each [`trim`](Self::trim).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { flows: HashMap::new(), evicted: BTreeMap::new(), limit: limit.max(1) }
    }

    /// Adds one flow of an epoch.
    pub fn add(&mut self, id: FlowId, sums: &FlowSums) {
        let entry = self.flows.entry(id).or_insert(FlowSums { counters: Counters::default(), ..*sums });
        entry.counters.add(&sums.counters);
        entry.first = entry.first.min(sums.first);
        entry.last = entry.last.max(sums.last);
    }

    /// Brings the store back under its limit, at the end of each merge. Those that were silent longest go, an
    /// eighth of the limit more than needed, so that the work is rare.
    pub fn trim(&mut self) {
        if self.flows.len() <= self.limit {
            return;
        }
        let mut surplus = self.flows.len() - (self.limit - self.limit / 8);
        let mut times: Vec<i64> = self.flows.values().map(|sums| sums.last).collect();
        let (earlier, &mut cut, _) = times.select_nth_unstable(surplus - 1);
        let older = earlier.iter().filter(|time| **time < cut).count();
        // Of those at the very cut only as many as needed: a burst ends in one jiffy, and must not all go.
        let mut at_cut = surplus - older;
        let evicted = &mut self.evicted;
        self.flows.retain(|id, sums| {
            let goes = sums.last < cut || (sums.last == cut && at_cut > 0);
            if goes {
                at_cut -= usize::from(sums.last == cut);
                surplus -= 1;
                let sum = evicted.entry(id.group()).or_default();
                sum.flows += 1;
                sum.counters.add(&sums.counters);
            }
            !goes
        });
        debug_assert_eq!(surplus, 0);
        self.flows.shrink_to(self.limit);
    }

    /// Every flow, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowId, &FlowSums)> {
        self.flows.iter()
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// What was evicted.
    #[must_use]
    pub fn evicted(&self) -> &BTreeMap<Group, Evicted> {
        &self.evicted
    }
}
