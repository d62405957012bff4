//! The flows of an epoch as they come out of the kernel's maps: each once, wherever parts of it were.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::{HashTable, hash_table::Entry};
use monitor_common::wire::{FlowKey, FlowValue, FullKey};

/// Flows, each once. One may be in several CPUs' caches and in the table: those of the caches come first.
#[derive(Default)]
pub(super) struct DrainedFlows {
    pub rows: Vec<(FullKey, FlowValue)>,
    /// Where the caches' flows are in `rows`. They are few beside a full table, of which each flow is looked for here.
    cached: HashTable<u32>,
    /// Keyed at random: whoever sends packets chooses the keys.
    state: RandomState,
}

impl DrainedFlows {
    /// Adds what a cache has of a flow.
    pub fn add_cached(&mut self, key: FlowKey, value: &FlowValue) {
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
    pub fn add(&mut self, key: FlowKey, value: FlowValue) {
        let hash = || self.state.hash_one(bytemuck::bytes_of(&key));
        let at = (!self.cached.is_empty()).then(hash);
        let at = at.and_then(|hash| self.cached.find(hash, |at| self.rows[*at as usize].0.flow == key));
        match at {
            Some(at) => self.rows[*at as usize].1.add(&value),
            None => self.rows.push((key.into(), value)),
        }
    }

    /// Adds what there is of a flow with a further destination, which no cache has.
    pub fn add_inner(&mut self, key: FullKey, value: FlowValue) {
        self.rows.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use monitor_common::wire::{Address, Counters, InnerDestination};

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
            let (mut drained, mut expected) = (DrainedFlows::default(), BTreeMap::<FullKey, FlowValue>::new());
            let mut note = |key: FullKey, value: FlowValue| {
                expected.entry(key).and_modify(|sum| sum.add(&value)).or_insert(value);
            };
            // Every third round finds no cache, every third one nothing but caches.
            let flows = random.u16(1..200);
            for _ in 0..if round % 3 == 0 { 0 } else { random.usize(0..1_000) } {
                let (key, value) = (key(random.u16(0..flows)), value(&mut random));
                drained.add_cached(key, &value);
                note(key.into(), value);
            }
            let mut table: Vec<u16> = (0..flows).collect();
            random.shuffle(&mut table);
            table.truncate(if round % 3 == 1 { 0 } else { random.usize(0..=table.len()) });
            for number in table {
                let value = value(&mut random);
                drained.add(key(number), value);
                note(key(number).into(), value);
            }
            for number in 0..random.u16(0..20) {
                // The same flows as in cache and table, each with somewhere to go on to.
                let inner = InnerDestination { ip_version: 4, via: 1, port: number, ..InnerDestination::default() };
                let (key, value) = (FullKey { flow: key(number), inner }, value(&mut random));
                drained.add_inner(key, value);
                note(key, value);
            }
            assert_eq!(drained.rows.len(), expected.len(), "seed {seed}, round {round}: each flow once");
            assert_eq!(drained.rows.into_iter().collect::<BTreeMap<_, _>>(), expected, "seed {seed}, round {round}");
        }
    }

    #[test]
    fn flows_of_the_caches_come_first_in_the_order_of_coming() {
        let mut drained = DrainedFlows::default();
        let value = FlowValue { counters: Counters { packets: 1, ..Counters::default() }, first: 5, last: 6 };
        for number in [3, 1, 3] {
            drained.add_cached(key(number), &value);
        }
        for number in [2, 1, 0] {
            drained.add(key(number), FlowValue { first: 4, last: 9, ..value });
        }
        let rows: Vec<_> =
            drained.rows.iter().map(|(key, sum)| (*key, sum.counters.packets, sum.first, sum.last)).collect();
        let flow = |number| FullKey::from(key(number));
        assert_eq!(rows, [(flow(3), 2, 5, 6), (flow(1), 2, 4, 9), (flow(2), 1, 4, 9), (flow(0), 1, 4, 9)]);
    }
}
