//! Flows since the start, bounded: snapshots' flows in, rows for the API out. What no longer fits is not
//! forgotten but moved into sums, so that flows + evicted + overflow + unparsed = hook total at any time.
//!
//! A million flows are to fit: what many flows have in common (interface, country, verdict…) is kept once, under a
//! number, and a flow without an inner destination is its addresses, ports, protocol and that number.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use monitor_common::{
    verdict::Verdict,
    wire::{Address, Counters, Opaque},
};

use crate::{
    model::{
        ClosedEpoch, Snapshot,
        flow::{FlowGroup, FlowId, FlowSums, Group, GroupSums, SummedFlows, Traits},
        identities::{Name, NameSet, RuleName},
    },
    store::{cut::Cut, table::Table},
};

/// Flows kept one by one. IPv4 flows without an inner destination take 74 bytes each, IPv6 ones 98, others 138.
pub const FLOW_LIMIT: usize = 1_048_576;

/// Different [`Traits`] that get a number; flows with others are kept whole.
const TRAITS_LIMIT: usize = 1 << 16;

/// Of these so many are found without hashing.
const LATELY: usize = 64;

/// Flows that are looked for before the first of them is added.
const AHEAD: usize = 16;

/// What the flows of one epoch come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EpochSums {
    /// By place and verdict.
    pub groups: BTreeMap<Group, Counters>,
    /// The same by rule, too, with how many flows they are of.
    pub flows: BTreeMap<FlowGroup, GroupSums>,
    /// What carries something that can't be read.
    pub opaque: BTreeMap<(Name, Opaque, Verdict), Counters>,
    /// What has an inner destination or an embedded address.
    pub inner: BTreeMap<(Name, &'static str, Verdict), Counters>,
    /// What rules decided, by rule.
    pub rules: BTreeMap<RuleName, GroupSums>,
}

impl EpochSums {
    fn add(&mut self, traits: &Traits, via: Option<&'static str>, more: &GroupSums) {
        let (name, verdict, counters) = (traits.interface, traits.verdict, &more.sums.counters);
        self.groups.entry(traits.group()).or_default().add(counters);
        self.flows.entry(traits.flow_group()).and_modify(|sums| sums.add(more)).or_insert(*more);
        if traits.rule != RuleName::NONE {
            self.rules.entry(traits.rule).and_modify(|sums| sums.add(more)).or_insert(*more);
        }
        if traits.opaque != Opaque::None {
            self.opaque.entry((name, traits.opaque, verdict)).or_default().add(counters);
        }
        if let Some(via) = via {
            self.inner.entry((name, via, verdict)).or_default().add(counters);
        }
    }
}

/// An IPv4 flow: from the top source, destination, their ports, protocol, number of its traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plain4(u128);

/// An IPv6 flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plain6 {
    source: Address,
    destination: Address,
    /// As the low half of [`Plain4`].
    rest: u64,
}

/// Ports, protocol and traits.
fn rest(id: &FlowId, traits: u16) -> u64 {
    u64::from(id.source_port) << 48
        | u64::from(id.destination_port) << 32
        | u64::from(id.protocol) << 16
        | u64::from(traits)
}

/// A flow on its way into its table.
struct Coming {
    id: FlowId,
    sums: FlowSums,
    /// Of its traits, where they are kept by number.
    number: Option<u16>,
    key: Key,
    hash: u64,
}

/// By which table it is found.
enum Key {
    V4(Plain4),
    V6(Plain6),
    /// By its id.
    Other,
}

/// Flows since the start.
#[derive(Debug)]
pub struct FlowStore {
    v4: Table<Plain4, FlowSums>,
    v6: Table<Plain6, FlowSums>,
    /// With an inner destination, and those whose traits have no number.
    other: Table<FlowId, FlowSums>,
    traits: Vec<Traits>,
    numbers: HashMap<Traits, u16>,
    /// Numbers of traits that no flow has any more.
    free: Vec<u16>,
    /// Traits asked for lately and their numbers: most often the next are among them.
    lately: [Option<(Traits, u16)>; LATELY],
    evicted: BTreeMap<FlowGroup, SummedFlows>,
    limit: usize,
}

impl Default for FlowStore {
    fn default() -> Self {
        Self::new(FLOW_LIMIT)
    }
}

impl FlowStore {
    /// Keeps at most `limit` flows after each [`merge`](Self::merge).
    pub fn new(limit: usize) -> Self {
        Self {
            v4: Table::default(),
            v6: Table::default(),
            other: Table::default(),
            traits: Vec::new(),
            numbers: HashMap::new(),
            free: Vec::new(),
            lately: [None; LATELY],
            evicted: BTreeMap::new(),
            limit: limit.max(1),
        }
    }

    /// Adds the flows of an epoch, and gives what they come to.
    pub fn merge(&mut self, epoch: &ClosedEpoch<'_>) -> EpochSums {
        let snapshot = epoch.snapshot;
        let mut sums = EpochSums::default();
        let mut by_traits: Vec<Option<GroupSums>> = Vec::new();
        self.reserve(snapshot, usize::MAX);
        let flows = epoch.flows().map(|flow| (flow.id(), FlowSums::of(snapshot, flow.value)));
        self.add(flows, |Coming { id, sums: flow, number, .. }, new| {
            let more = GroupSums { flows: u64::from(new), sums: *flow };
            match number.map(usize::from) {
                Some(number) => {
                    if number >= by_traits.len() {
                        by_traits.resize(number + 1, None);
                    }
                    match &mut by_traits[number] {
                        Some(sums) => sums.add(&more),
                        none => *none = Some(more),
                    }
                }
                None => sums.add(&id.traits(), id.via(), &more),
            }
        });
        for (traits, more) in self.traits.iter().zip(&by_traits) {
            if let Some(more) = more {
                sums.add(traits, traits.embedding.map(super::super::model::inner::Embedding::name), more);
            }
        }
        self.trim();
        sums
    }

    /// Adds the flows of an epoch; of more than `most` only those with most bytes on the wire, and of the others their
    /// sums.
    pub fn merge_largest(&mut self, epoch: &ClosedEpoch<'_>, most: usize) {
        let snapshot = epoch.snapshot;
        let worths = snapshot.flows.iter().map(|(_, value)| value.counters.wire_bytes.cast_signed());
        let mut cut = Cut::of(worths.collect(), most);
        self.reserve(snapshot, most);
        let mut evicted = mem::take(&mut self.evicted);
        let flows = epoch.flows().filter_map(|flow| {
            if cut.keeps(flow.value.counters.wire_bytes.cast_signed()) {
                return Some((flow.id(), FlowSums::of(snapshot, flow.value)));
            }
            evicted.entry(flow.group()).or_default().add(&flow.value.counters);
            None
        });
        self.add(flows, |_, _| ());
        self.evicted = evicted;
    }

    /// Makes room for an epoch's flows, or for so many of them.
    fn reserve(&mut self, snapshot: &Snapshot, most: usize) {
        let six = snapshot.flows.iter().filter(|(key, _)| key.flow.ip_version != 4).count();
        self.v4.reserve((snapshot.flows.len() - six).min(most));
        self.v6.reserve(six.min(most));
    }

    /// Adds to flows. `each` is called with every one, and whether it was not there.
    fn add(&mut self, flows: impl Iterator<Item = (FlowId, FlowSums)>, mut each: impl FnMut(&Coming, bool)) {
        let mut flows = flows.fuse();
        let mut coming = Vec::with_capacity(AHEAD);
        loop {
            coming.extend(flows.by_ref().take(AHEAD).map(|(id, sums)| self.coming(id, sums)));
            if coming.is_empty() {
                return;
            }
            coming.iter().for_each(|one| self.look(one));
            for one in &coming {
                let new = self.put(one);
                each(one, new);
            }
            coming.clear();
        }
    }

    fn coming(&mut self, id: FlowId, sums: FlowSums) -> Coming {
        let number = if id.inner.is_none() { self.number(id.traits()) } else { None };
        let (key, hash) = match number {
            Some(number) if id.ip_version == 4 => {
                let addresses = u128::from(id.source.low as u32) << 96 | u128::from(id.destination.low as u32) << 64;
                let key = Plain4(addresses | u128::from(rest(&id, number)));
                (Key::V4(key), self.v4.hash(&key))
            }
            Some(number) => {
                let key = Plain6 { source: id.source, destination: id.destination, rest: rest(&id, number) };
                (Key::V6(key), self.v6.hash(&key))
            }
            None => (Key::Other, self.other.hash(&id)),
        };
        Coming { id, sums, number, key, hash }
    }

    fn look(&self, Coming { id, key, hash, .. }: &Coming) {
        match key {
            Key::V4(key) => self.v4.look(*hash, key),
            Key::V6(key) => self.v6.look(*hash, key),
            Key::Other => self.other.look(*hash, id),
        }
    }

    /// Adds to the flow. Gives whether it was not there.
    fn put(&mut self, Coming { id, sums, key, hash, .. }: &Coming) -> bool {
        let (entry, there) = match key {
            Key::V4(key) => self.v4.upsert_hashed(*hash, *key, || *sums),
            Key::V6(key) => self.v6.upsert_hashed(*hash, *key, || *sums),
            Key::Other => self.other.upsert_hashed(*hash, *id, || *sums),
        };
        if there {
            entry.add(sums);
        }
        !there
    }

    fn number(&mut self, traits: Traits) -> Option<u16> {
        let place = traits.mixed() % LATELY;
        if let Some((_, number)) = self.lately[place].filter(|(lately, _)| *lately == traits) {
            return Some(number);
        }
        let number = match self.numbers.get(&traits) {
            Some(number) => *number,
            None => {
                let number = self.new_number(traits)?;
                self.numbers.insert(traits, number);
                number
            }
        };
        self.lately[place] = Some((traits, number));
        Some(number)
    }

    fn new_number(&mut self, traits: Traits) -> Option<u16> {
        if let Some(number) = self.free.pop() {
            self.traits[usize::from(number)] = traits;
            return Some(number);
        }
        if self.traits.len() >= TRAITS_LIMIT {
            return None;
        }
        self.traits.push(traits);
        Some((self.traits.len() - 1) as u16)
    }

    /// Adds the names that flows have which are kept one by one; traits that none of them has any more are forgotten.
    pub fn names(&mut self, used: &mut NameSet) {
        let mut has = vec![false; self.traits.len()];
        self.v4.iter().for_each(|(key, _)| has[usize::from(key.0 as u16)] = true);
        self.v6.iter().for_each(|(key, _)| has[usize::from(key.rest as u16)] = true);
        self.numbers.retain(|_, number| has[usize::from(*number)]);
        self.lately = [None; LATELY];
        self.free = (0..=u16::MAX).zip(&has).filter(|(_, has)| !**has).map(|(number, _)| number).collect();
        for traits in self.numbers.keys() {
            used.add(traits.interface, traits.rule);
        }
        for (id, _) in self.other.iter() {
            used.add(id.interface, id.rule);
        }
    }

    /// Names that no flow has are gone: what was evicted under them is summed up under `(other)`.
    pub fn forget(&mut self, released: &NameSet) {
        for (group, more) in mem::take(&mut self.evicted) {
            self.evicted.entry(group.without(released)).or_default().merge(&more);
        }
    }

    fn id4(&self, key: &Plain4) -> FlowId {
        let (source, destination) = ((key.0 >> 96) as u32, (key.0 >> 64) as u32);
        self.id(4, Address::v4(source), Address::v4(destination), key.0 as u64)
    }

    fn id6(&self, key: &Plain6) -> FlowId {
        self.id(6, key.source, key.destination, key.rest)
    }

    fn id(&self, ip_version: u8, source: Address, destination: Address, rest: u64) -> FlowId {
        let Traits { interface, rule, country, opaque, embedding, decider, class, verdict } =
            self.traits[usize::from(rest as u16)];
        FlowId {
            source,
            destination,
            source_port: (rest >> 48) as u16,
            destination_port: (rest >> 32) as u16,
            interface,
            rule,
            country,
            protocol: (rest >> 16) as u8,
            ip_version,
            opaque,
            embedding,
            inner: None,
            decider,
            class,
            verdict,
        }
    }

    /// Brings the store back under its limit. Those that were silent longest go, an eighth of the limit more than
    /// needed, so that the work is rare.
    fn trim(&mut self) {
        if self.len() <= self.limit {
            return;
        }
        self.evict(self.limit - self.limit / 8, |sums| sums.last);
    }

    /// Keeps only so many flows, those with most bytes on the wire.
    pub fn keep_largest(&mut self, keep: usize) {
        self.evict(keep, |sums| sums.counters.wire_bytes.cast_signed());
    }

    /// Sums up the flows of least worth until only `keep` are left.
    fn evict(&mut self, keep: usize, worth: impl Fn(&FlowSums) -> i64) {
        if self.len() <= keep {
            return;
        }
        let mut worths: Vec<i64> = Vec::with_capacity(self.len());
        worths.extend(self.v4.iter().map(|(_, sums)| worth(sums)));
        worths.extend(self.v6.iter().map(|(_, sums)| worth(sums)));
        worths.extend(self.other.iter().map(|(_, sums)| worth(sums)));
        let mut cut = Cut::of(worths, keep);
        let (traits, evicted) = (&self.traits, &mut self.evicted);
        let mut stays = |group: &dyn Fn() -> FlowGroup, sums: &FlowSums| {
            let stays = cut.keeps(worth(sums));
            if !stays {
                evicted.entry(group()).or_default().add(&sums.counters);
            }
            stays
        };
        let group = |rest: u64| traits[usize::from(rest as u16)].flow_group();
        self.v4.retain(|key, sums| stays(&|| group(key.0 as u64), sums));
        self.v6.retain(|key, sums| stays(&|| group(key.rest), sums));
        self.other.retain(|id, sums| stays(&|| id.traits().flow_group(), sums));
    }

    /// Takes in what another store has.
    pub fn absorb(&mut self, other: &Self) {
        self.add(other.iter().map(|(id, sums)| (id, *sums)), |_, _| ());
        for (group, more) in &other.evicted {
            self.evicted.entry(*group).or_default().merge(more);
        }
    }

    /// Takes in flows that it never had, of which only sums are known.
    pub fn absorb_sums(&mut self, of: FlowGroup, sums: &SummedFlows) {
        self.evicted.entry(of).or_default().merge(sums);
    }

    /// Gives back the room for flows that are not there yet.
    pub fn shrink(&mut self) {
        self.v4.shrink();
        self.v6.shrink();
        self.other.shrink();
    }

    /// Every flow, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (FlowId, &FlowSums)> {
        let v4 = self.v4.iter().map(|(key, sums)| (self.id4(key), sums));
        let v6 = self.v6.iter().map(|(key, sums)| (self.id6(key), sums));
        v4.chain(v6).chain(self.other.iter().map(|(id, sums)| (*id, sums)))
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len() + self.other.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was evicted.
    pub fn evicted(&self) -> &BTreeMap<FlowGroup, SummedFlows> {
        &self.evicted
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
