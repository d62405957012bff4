//! What is in which segment, how far every reader has come, and so which segment goes at the bound and who loses what by
//! it. Decisions only: no file, no lock, no clock.

use std::{collections::BTreeMap, ops::RangeInclusive};

/// A segment, as far as it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its bytes.
    pub bytes: u64,
    /// The sequence after its last line.
    pub next: u64,
}

/// A segment that has to go before every reader has taken what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Who has not.
    pub reader: String,
    /// What.
    pub sequences: RangeInclusive<u64>,
}

/// The segments by their first sequence, and the readers by name.
#[derive(Debug, Default)]
pub(super) struct Index {
    segments: BTreeMap<u64, Extent>,
    /// The sequence that each is to have next.
    readers: BTreeMap<String, u64>,
}

impl Index {
    /// A segment is durable so far.
    pub fn grow(&mut self, first: u64, extent: Extent) {
        self.segments.insert(first, extent);
    }

    /// The sequence after the last line that is durable.
    pub fn next(&self) -> u64 {
        self.segments.last_key_value().map_or(1, |(first, extent)| extent.next.max(*first))
    }

    /// The first sequence that is still there.
    pub fn oldest(&self) -> u64 {
        self.segments.first_key_value().map_or_else(|| self.next(), |(first, _)| *first)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|extent| extent.bytes).sum()
    }

    /// The segment in which a sequence is, or the first after it; `None` where all durable lines are before it.
    pub fn find(&self, sequence: u64) -> Option<(u64, Extent)> {
        let before = self.segments.range(..=sequence).next_back().filter(|(_, extent)| extent.next > sequence);
        let found = before.or_else(|| self.segments.range(sequence..).find(|(first, extent)| extent.next > **first));
        found.map(|(first, extent)| (*first, *extent))
    }

    /// A reader is to have this sequence next. It never goes back: what it was told is lost stays lost.
    pub fn advance(&mut self, reader: &str, next: u64) {
        match self.readers.get_mut(reader) {
            Some(at) => *at = next.max(*at),
            None => drop(self.readers.insert(reader.to_owned(), next)),
        }
    }

    /// The oldest segment, if `more` bytes would exceed `keep`. The newest stays.
    pub fn surplus(&self, keep: u64, more: u64) -> Option<u64> {
        (self.bytes() + more > keep).then(|| self.oldest_closed()).flatten()
    }

    /// The oldest segment, if every reader has taken all of it. The newest stays.
    pub fn spare(&self) -> Option<u64> {
        let first = self.oldest_closed()?;
        let next = self.segments[&first].next;
        self.readers.values().all(|reader| *reader >= next).then_some(first)
    }

    /// A segment is gone: who loses what.
    pub fn remove(&mut self, first: u64) -> Vec<Loss> {
        let Some(gone) = self.segments.remove(&first).filter(|gone| gone.next > first) else { return Vec::new() };
        let behind = self.readers.iter_mut().filter(|(_, next)| **next < gone.next);
        let of = |(reader, next): (&String, &mut u64)| {
            let sequences = (*next).max(first)..=gone.next - 1;
            *next = gone.next;
            Loss { reader: reader.clone(), sequences }
        };
        behind.map(of).collect()
    }

    fn oldest_closed(&self) -> Option<u64> {
        (self.segments.len() > 1).then(|| self.oldest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(readers: &[(&str, u64)]) -> Index {
        let mut index = Index::default();
        for (first, next) in [(1, 11), (11, 21), (21, 25)] {
            index.grow(first, Extent { bytes: 100, next });
        }
        readers.iter().for_each(|(name, next)| index.advance(name, *next));
        index
    }

    fn loss(reader: &str, sequences: RangeInclusive<u64>) -> Loss {
        Loss { reader: reader.into(), sequences }
    }

    #[test]
    fn a_segment_goes_at_the_bound_and_whoever_has_not_taken_it_loses_exactly_the_rest_of_it() {
        let mut index = index(&[("a", 11), ("b", 4), ("c", 30)]);
        assert_eq!((index.surplus(400, 100), index.surplus(399, 100)), (None, Some(1)));
        assert_eq!(index.remove(1), [loss("b", 4..=10)]);
        assert_eq!((index.oldest(), index.bytes()), (11, 200));
        assert_eq!(index.remove(11), [loss("a", 11..=20), loss("b", 11..=20)]);
        // The newest stays, however large.
        assert_eq!(index.surplus(0, 100), None);
        assert_eq!((index.next(), index.oldest()), (25, 21));
    }

    #[test]
    fn a_segment_is_spare_when_every_reader_has_taken_all_of_it() {
        assert_eq!(index(&[]).spare(), Some(1));
        assert_eq!(index(&[("a", 11), ("b", 11)]).spare(), Some(1));
        assert_eq!(index(&[("a", 11), ("b", 10)]).spare(), None);
        let mut last = Index::default();
        last.grow(1, Extent { bytes: 100, next: 11 });
        assert_eq!(last.spare(), None);
    }

    #[test]
    fn a_sequence_is_found_in_its_segment_and_a_hole_leads_to_what_comes_after_it() {
        let mut index = index(&[]);
        let first = |index: &Index, sequence| index.find(sequence).map(|(first, _)| first);
        assert_eq!([1, 10, 11, 24].map(|sequence| first(&index, sequence)), [Some(1), Some(1), Some(11), Some(21)]);
        assert_eq!((first(&index, 25), first(&index, 99)), (None, None));
        index.remove(11);
        assert_eq!(first(&index, 15), Some(21));
        // One that is made and empty has nothing.
        index.grow(25, Extent { bytes: 0, next: 25 });
        assert_eq!(first(&index, 25), None);
    }

    #[test]
    fn who_loses_an_empty_segment_loses_nothing() {
        let mut index = index(&[("a", 3)]);
        index.grow(25, Extent { bytes: 0, next: 25 });
        assert_eq!(index.remove(25), []);
        assert_eq!(index.remove(1), [loss("a", 3..=10)]);
    }

    #[test]
    fn a_reader_never_goes_back() {
        let mut index = index(&[("a", 5)]);
        index.remove(1);
        index.advance("a", 7);
        assert_eq!(index.remove(11), [loss("a", 11..=20)]);
    }
}
