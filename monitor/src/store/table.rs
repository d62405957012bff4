//! A hash table for a million rows, by key: rows lie in the order in which they came, in pieces of `CHUNK`, and an
//! index of four bytes a place finds them. Growing copies no row, and the places that a hash table keeps free cost
//! four bytes and not a row. Called by the flow store and by the alerts.
//!
//! Whoever sends packets chooses the keys, so they are hashed with the standard library's keyed SipHash: nobody can
//! make them collide on purpose.

use std::hash::{BuildHasher as _, Hash, RandomState};

use hashbrown::{HashTable, hash_table::Entry};

/// Rows in a piece.
const CHUNK: usize = 4096;

/// Rows by key.
#[derive(Debug)]
pub struct Table<K, V> {
    /// Where each key's row is, by its hash.
    index: HashTable<u32>,
    /// All full but the last.
    chunks: Vec<Vec<(K, V)>>,
    state: RandomState,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { index: HashTable::new(), chunks: Vec::new(), state: RandomState::new() }
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Table<K, V> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// All rows, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.chunks.iter().flatten()
    }

    /// Makes room in the index for so many more, in one step.
    pub fn reserve(&mut self, more: usize) {
        let (chunks, state) = (&self.chunks, &self.state);
        self.index.reserve(more, |row| state.hash_one(at(chunks, *row).0));
    }

    /// What [`look`](Self::look) and [`upsert_hashed`](Self::upsert_hashed) want to have of a key.
    pub fn hash(&self, key: &K) -> u64 {
        self.state.hash_one(key)
    }

    /// Has the processor fetch what `key` needs. In a large table each key's place is far from the others': to look for
    /// several before the first is used is to wait for memory once.
    pub fn look(&self, hash: u64, key: &K) {
        std::hint::black_box(self.index.find(hash, |row| at(&self.chunks, *row).0 == *key));
    }

    /// The value of `key`, and whether it was there before; if not, `new` makes it.
    pub fn upsert(&mut self, key: K, new: impl FnOnce() -> V) -> (&mut V, bool) {
        self.upsert_hashed(self.hash(&key), key, new)
    }

    /// The same with the key's hash.
    pub fn upsert_hashed(&mut self, hash: u64, key: K, new: impl FnOnce() -> V) -> (&mut V, bool) {
        let (chunks, state) = (&self.chunks, &self.state);
        let found = self.index.entry(hash, |row| at(chunks, *row).0 == key, |row| state.hash_one(at(chunks, *row).0));
        let (row, there) = match found {
            Entry::Occupied(entry) => (*entry.get() as usize, true),
            Entry::Vacant(entry) => {
                let row = self.chunks.len().saturating_sub(1) * CHUNK + self.chunks.last().map_or(0, Vec::len);
                // Four billion rows are more memory than a host has.
                entry.insert(row as u32);
                push(&mut self.chunks, (key, new()));
                (row, false)
            }
        };
        (&mut self.chunks[row / CHUNK][row % CHUNK].1, there)
    }

    /// The value of `key`, if it is there.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (chunks, hash) = (&self.chunks, self.state.hash_one(key));
        let row = *self.index.find(hash, |row| at(chunks, *row).0 == *key)? as usize;
        Some(&mut self.chunks[row / CHUNK][row % CHUNK].1)
    }

    /// Drops every row that `keep` does not want, and gives back the memory.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let before = self.len();
        let mut after = 0;
        for row in 0..before {
            let this = self.chunks[row / CHUNK][row % CHUNK];
            if keep(&this.0, &this.1) {
                if after < row {
                    self.chunks[after / CHUNK][after % CHUNK] = this;
                }
                after += 1;
            }
        }
        if after == before {
            return;
        }
        self.chunks.truncate(after.div_ceil(CHUNK));
        self.chunks.shrink_to_fit();
        if let Some(last) = self.chunks.last_mut() {
            last.truncate(after - (after - 1) / CHUNK * CHUNK);
        }
        let (chunks, state) = (&self.chunks, &self.state);
        self.index = HashTable::with_capacity(after);
        for (row, (key, _)) in (0..).zip(chunks.iter().flatten()) {
            self.index.insert_unique(state.hash_one(key), row, |row| state.hash_one(at(chunks, *row).0));
        }
    }
}

impl<K, V> Table<K, V> {
    /// Gives back the room for rows that are not there yet.
    pub fn shrink(&mut self) {
        if let Some(last) = self.chunks.last_mut() {
            last.shrink_to_fit();
        }
    }
}

fn at<K, V>(chunks: &[Vec<(K, V)>], row: u32) -> &(K, V) {
    &chunks[row as usize / CHUNK][row as usize % CHUNK]
}

fn push<T>(chunks: &mut Vec<Vec<T>>, row: T) {
    match chunks.last_mut() {
        Some(last) if last.len() < CHUNK => {
            last.reserve_exact(CHUNK - last.len());
            last.push(row);
        }
        _ => {
            let mut chunk = Vec::with_capacity(CHUNK);
            chunk.push(row);
            chunks.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_holds_what_a_map_holds_and_in_the_order_of_coming() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut table, mut map, mut order) = (Table::default(), BTreeMap::new(), Vec::new());
        for round in 0..6 {
            table.reserve(random.usize(0..5_000));
            for _ in 0..20_000 {
                let key = random.u32(0..30_000);
                let (value, there) = table.upsert(key, || 0_u64);
                *value += 1;
                assert_eq!(there, map.contains_key(&key));
                if !there {
                    order.push(key);
                }
                *map.entry(key).or_insert(0) += 1;
            }
            let divisor = round + 2;
            let keep = |key: &u32| round == 5 || !key.is_multiple_of(divisor);
            table.retain(|key, _| keep(key));
            map.retain(|key, _| keep(key));
            order.retain(keep);
            assert_eq!(table.iter().copied().collect::<BTreeMap<_, _>>(), map);
            assert_eq!(table.iter().map(|(key, _)| *key).collect::<Vec<_>>(), order);
            assert_eq!((table.len(), table.is_empty()), (map.len(), false));
            for key in 0..30_001 {
                assert_eq!(table.get_mut(&key).copied(), map.get(&key).copied(), "{key}");
            }
        }
        table.retain(|_, _| false);
        assert!(table.is_empty());
        assert_eq!(table.chunks.capacity(), 0);
    }

    #[test]
    fn room_for_rows_to_come_is_that_of_one_piece_and_is_given_back() {
        let mut table = Table::default();
        let room = |table: &Table<usize, ()>| table.chunks.iter().map(Vec::capacity).collect::<Vec<_>>();
        for (rows, full) in [(CHUNK - 1, 0), (CHUNK, 0), (CHUNK + 1, 1)] {
            for row in 0..rows {
                table.upsert(row, || ());
            }
            assert_eq!((table.len(), room(&table)), (rows, vec![CHUNK; full + 1]));
            table.shrink();
            assert_eq!(room(&table), [&vec![CHUNK; full][..], &[rows - full * CHUNK]].concat());
        }
        table.retain(|row, ()| *row < CHUNK);
        assert_eq!(room(&table), [CHUNK], "a piece that is full stays as it is");
        assert_eq!((table.len(), table.iter().count()), (CHUNK, CHUNK));
    }
}
