//! What was compiled held against what is in the maps, a piece at a time, so that no look takes long: small tables whole at
//! each look, large ones one piece after the other. Bytes in, which words differ out; called by `super::watch`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::model::FindingKind;

/// Tables of so many bytes are compared whole at each look.
const SMALL: usize = 256 << 10;

/// Looks that all large tables take, if a piece is not more than [`PIECE`] then.
const LOOKS: usize = 7;

/// Bytes of a look that nobody notices: a millisecond or two.
const PIECE: usize = 4 << 20;

/// Looks that they take in any case.
const MOST_LOOKS: usize = 50;

/// Words that are remembered of a table; where more differ the next rounds find them.
const KNOWN: usize = 64;

/// A table of the policy in force: what is to be there, and what is.
pub(super) struct Table<'a> {
    /// What it is if it differs.
    pub kind: FindingKind,
    /// What one entry is, for people.
    pub name: &'static str,
    /// Bytes of an entry.
    pub entry: usize,
    /// The words that the programs read.
    pub there: &'a [AtomicU64],
    /// The same as compiled.
    pub wanted: Cow<'a, [u8]>,
}

impl Table<'_> {
    fn words(&self) -> usize {
        self.wanted.len() / 8
    }

    /// Those of the words in a range that differ.
    fn differing(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, u64)> {
        let wanted = self.wanted[8 * from..8 * to].chunks_exact(8);
        let there = &self.there[from..to];
        wanted.zip(there).enumerate().filter_map(move |(at, (wanted, there))| {
            let wanted = u64::from_ne_bytes(wanted.try_into().unwrap_or_default());
            (there.load(Ordering::Relaxed) != wanted).then_some((from + at, wanted))
        })
    }

    /// Writes what differs.
    pub fn heal(&self) {
        for (at, wanted) in self.differing(0, self.words()) {
            self.there[at].store(wanted, Ordering::Release);
        }
    }
}

/// How far it is, and what was found.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    /// Slot and policy.
    of: Option<(u32, usize)>,
    /// The word that comes next, counted over all large tables.
    next: usize,
    /// Words that differ, by table.
    differing: BTreeMap<usize, BTreeSet<usize>>,
}

impl Rolling {
    /// Looks at the next piece of these tables; `of` says which they are, and whether they are others than before. Whether a
    /// round is complete with it.
    pub fn step(&mut self, of: (u32, usize), tables: &[Table<'_>]) -> bool {
        if self.of != Some(of) {
            *self = Self { of: Some(of), ..Self::default() };
        }
        for (number, table) in tables.iter().enumerate() {
            let known = self.differing.entry(number).or_default();
            known.retain(|at| table.differing(*at, *at + 1).next().is_some());
        }
        let is_large = |table: &Table<'_>| table.wanted.len() > SMALL;
        for (number, table) in tables.iter().enumerate().filter(|(_, table)| !is_large(table)) {
            self.note(number, table, 0, table.words());
        }
        let all: usize = tables.iter().filter(|table| is_large(table)).map(Table::words).sum();
        let piece = (all / LOOKS).min(PIECE / 8).max(all / MOST_LOOKS) + 1;
        let (from, to) = (self.next, (self.next + piece).min(all));
        let mut begin = 0;
        for (number, table) in tables.iter().enumerate().filter(|(_, table)| is_large(table)) {
            let end = begin + table.words();
            let (first, last) = (from.max(begin), to.min(end));
            if first < last {
                self.note(number, table, first - begin, last - begin);
            }
            begin = end;
        }
        let complete = to == all;
        self.next = if complete { 0 } else { to };
        complete
    }

    fn note(&mut self, number: usize, table: &Table<'_>, from: usize, to: usize) {
        let known = self.differing.entry(number).or_default();
        known.extend(table.differing(from, to).map(|(at, _)| at).take(KNOWN.saturating_sub(known.len())));
    }

    /// The tables that differ, by their place, each with the first word that does.
    pub fn differing(&self) -> impl Iterator<Item = (usize, usize)> {
        self.differing.iter().filter_map(|(number, words)| Some((*number, *words.first()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(there: &[AtomicU64], wanted: Vec<u8>) -> Table<'_> {
        Table { kind: FindingKind::ImageChanged, name: "node", entry: 8, there, wanted: Cow::Owned(wanted) }
    }

    fn zeros(words: usize) -> Vec<AtomicU64> {
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn every_word_is_compared_in_each_round_and_found_until_it_is_right() {
        // Large, small, large, and of odd lengths.
        let sizes = [SMALL / 8 + 9, 5, SMALL / 8 * 3 + 1];
        let there = sizes.map(zeros);
        let tables: Vec<Table<'_>> =
            there.iter().zip(sizes).map(|(there, words)| table(there, vec![0; 8 * words])).collect();
        let round = |rolling: &mut Rolling| {
            let mut looks = 1;
            while !rolling.step((0, 0), &tables) {
                looks += 1;
            }
            looks
        };
        let mut rolling = Rolling::default();
        assert!(round(&mut rolling) <= LOOKS);
        assert_eq!(rolling.differing().count(), 0);
        for (number, words) in sizes.iter().enumerate() {
            for at in [0, 1, words / 2, words - 1] {
                there[number][at].store(7, Ordering::Relaxed);
                // The one that is under way may be past it.
                round(&mut rolling);
                round(&mut rolling);
                assert_eq!(rolling.differing().collect::<Vec<_>>(), [(number, at)]);
                // It stays known while other pieces are looked at.
                rolling.step((0, 0), &tables);
                assert_eq!(rolling.differing().collect::<Vec<_>>(), [(number, at)]);
                tables[number].heal();
                assert_eq!(there[number][at].load(Ordering::Relaxed), 0);
                rolling.step((0, 0), &tables);
                assert_eq!(rolling.differing().count(), 0);
            }
        }
    }

    #[test]
    fn another_policy_begins_anew_and_knows_nothing_of_the_one_before() {
        let there = zeros(4);
        let mut rolling = Rolling::default();
        rolling.step((0, 1), &[table(&there, vec![1; 32])]);
        assert_eq!(rolling.differing().collect::<Vec<_>>(), [(0, 0)]);
        rolling.step((1, 1), &[table(&there, vec![0; 32])]);
        assert_eq!(rolling.differing().count(), 0);
    }

    #[test]
    fn of_much_that_differs_only_so_much_is_remembered_and_all_is_healed() {
        let there = zeros(1000);
        let tables = [table(&there, vec![1; 8000])];
        let mut rolling = Rolling::default();
        rolling.step((0, 0), &tables);
        assert_eq!(rolling.differing[&0].len(), KNOWN);
        tables[0].heal();
        rolling.step((0, 0), &tables);
        assert_eq!(rolling.differing().count(), 0);
    }
}
