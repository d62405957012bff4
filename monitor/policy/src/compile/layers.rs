//! Ranges in, partitions of an address space out, and several partitions merged into one by a single sweep over
//! all their boundaries. Called by the policy compiler.

use std::collections::BTreeMap;

use crate::geo::{Range, Space};

/// `(first, last, number)`: an inclusive range that something numbered covers.
pub(crate) type NumberedRange<A> = (A, A, u32);

/// A whole address space as `(start, value)`, ascending from 0, adjacent values different.
pub(crate) type Partition<A> = Vec<(A, u32)>;

/// Cuts the address space where any range starts or ends, and asks `value` what holds between, given the numbers
/// (ascending) that cover it.
pub(crate) fn overlay<A: Space, E>(
    ranges: &[NumberedRange<A>],
    mut value: impl FnMut(A, &BTreeMap<u32, u32>) -> Result<u32, E>,
) -> Result<Partition<A>, E> {
    let mut events: Vec<(A, u32, bool)> = Vec::with_capacity(ranges.len() * 2);
    for &(first, last, number) in ranges {
        events.push((first, number, true));
        if let Some(after) = last.successor() {
            events.push((after, number, false));
        }
    }
    events.sort_unstable();
    let mut active: BTreeMap<u32, u32> = BTreeMap::new();
    let mut partition = Vec::new();
    if events.first().is_none_or(|event| event.0 != A::ZERO) {
        partition.push((A::ZERO, value(A::ZERO, &active)?));
    }
    let mut at = 0;
    while at < events.len() {
        let position = events[at].0;
        // Starts before ends, so that no count falls below zero; nobody looks in between.
        let end = at + events[at..].partition_point(|event| event.0 == position);
        for &(_, number, _) in events[at..end].iter().filter(|event| event.2) {
            *active.entry(number).or_insert(0) += 1;
        }
        for &(_, number, _) in events[at..end].iter().filter(|event| !event.2) {
            if let Some(count) = active.get_mut(&number) {
                *count -= 1;
                if *count == 0 {
                    active.remove(&number);
                }
            }
        }
        let here = value(position, &active)?;
        if partition.last().is_none_or(|last| last.1 != here) {
            partition.push((position, here));
        }
        at = end;
    }
    Ok(partition)
}

/// Where a sorted, disjoint list of country ranges stands during a sweep.
struct SourceCursor<'a, A> {
    ranges: &'a [Range<A>],
    at: usize,
    next: Option<A>,
}

impl<A: Space> SourceCursor<'_, A> {
    /// Moves on to `position` and returns the country there.
    fn advance(&mut self, position: A) -> Option<[u8; 2]> {
        while self.ranges.get(self.at).is_some_and(|range| range.last < position) {
            self.at += 1;
        }
        match self.ranges.get(self.at) {
            Some(range) if range.first <= position => {
                self.next = range.last.successor();
                Some(range.country.0)
            }
            Some(range) => {
                self.next = Some(range.first);
                None
            }
            None => {
                self.next = None;
                None
            }
        }
    }
}

/// Where a partition stands during a sweep.
struct PartitionCursor<'a, A> {
    partition: &'a [(A, u32)],
    at: usize,
}

impl<A: Space> PartitionCursor<'_, A> {
    fn value(&self) -> u32 {
        self.partition[self.at].1
    }
    fn next(&self) -> Option<A> {
        self.partition.get(self.at + 1).map(|step| step.0)
    }
}

/// Merges sources and partitions: `class` says what holds between two neighbouring boundaries, given each source's
/// country and each partition's value.
pub(crate) fn sweep<A: Space, const N: usize>(
    sources: &[&[Range<A>]],
    partitions: [&[(A, u32)]; N],
    mut class: impl FnMut(&[Option<[u8; 2]>], [u32; N]) -> u32,
) -> Partition<A> {
    let mut sources: Vec<_> =
        sources.iter().map(|ranges| SourceCursor { ranges, at: 0, next: Some(A::ZERO) }).collect();
    let mut countries = vec![None; sources.len()];
    let mut partitions = partitions.map(|partition| PartitionCursor { partition, at: 0 });
    let mut merged: Partition<A> =
        Vec::with_capacity(sources.iter().map(|source| source.ranges.len()).max().unwrap_or(0));
    let mut position = A::ZERO;
    loop {
        for (source, country) in sources.iter_mut().zip(&mut countries) {
            if source.next == Some(position) {
                *country = source.advance(position);
            }
        }
        let mut values = [0; N];
        for (cursor, value) in partitions.iter_mut().zip(&mut values) {
            if cursor.next() == Some(position) {
                cursor.at += 1;
            }
            *value = cursor.value();
        }
        let here = class(&countries, values);
        if merged.last().is_none_or(|last| last.1 != here) {
            merged.push((position, here));
        }
        let next = sources
            .iter()
            .filter_map(|source| source.next)
            .chain(partitions.iter().filter_map(PartitionCursor::next))
            .min();
        match next {
            Some(next) => position = next,
            None => return merged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Country;

    fn bits(active: &BTreeMap<u32, u32>) -> u32 {
        active.keys().fold(0, |bits, number| bits | 1 << number)
    }

    fn covered(ranges: &[NumberedRange<u32>]) -> Partition<u32> {
        overlay(ranges, |_, active| Ok::<_, ()>(bits(active))).expect("the callback never fails")
    }

    #[test]
    fn an_overlay_of_nothing_is_the_whole_space() {
        assert_eq!(covered(&[]), [(0, 0)]);
    }

    #[test]
    fn an_overlay_cuts_at_every_start_and_end_and_reaches_both_ends() {
        assert_eq!(covered(&[(0, 9, 0), (5, 20, 1), (20, u32::MAX, 2)]), [(0, 1), (5, 3), (10, 2), (20, 6), (21, 4)]);
    }

    #[test]
    fn a_number_that_covers_twice_stays_until_its_last_range_ends_and_touching_ranges_merge() {
        assert_eq!(covered(&[(10, 20, 0), (12, 15, 0), (21, 30, 0)]), [(0, 0), (10, 1), (31, 0)]);
    }

    #[test]
    fn an_overlay_agrees_with_a_scan_of_all_ranges() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let ranges: Vec<NumberedRange<u32>> = (0..random.u32(0..12))
                .map(|i| {
                    let (a, b) = (random.u32(0..64), random.u32(0..64));
                    (a.min(b), a.max(b), i)
                })
                .collect();
            let partition = covered(&ranges);
            for address in 0..70 {
                let scanned = ranges
                    .iter()
                    .filter(|(first, last, _)| (*first..=*last).contains(&address))
                    .fold(0, |bits, (_, _, number)| bits | 1 << number);
                let at = partition.partition_point(|step| step.0 <= address) - 1;
                assert_eq!(partition[at].1, scanned, "address {address}, ranges {ranges:?}, seed {seed}");
            }
            assert!(partition.windows(2).all(|pair| pair[0].1 != pair[1].1), "not merged, seed {seed}");
        }
    }

    #[test]
    fn a_sweep_sees_every_source_and_partition_at_every_address() {
        let at = |first, last, code: &[u8; 2]| Range { first, last, country: Country(*code) };
        let one = [at(0_u32, 9, b"DE"), at(10, 19, b"FR"), at(40, u32::MAX, b"SG")];
        let two = [at(5_u32, 14, b"DE")];
        let mut seen = Vec::new();
        let merged = sweep(&[&one, &two], [&[(0, 0), (12, 7)][..]], |countries, values| {
            seen.push((countries.to_vec(), values));
            seen.len() as u32
        });
        assert_eq!(merged.iter().map(|step| step.0).collect::<Vec<_>>(), [0, 5, 10, 12, 15, 20, 40]);
        let de = Some(*b"DE");
        let fr = Some(*b"FR");
        assert_eq!(
            seen,
            [
                (vec![de, None], [0]),
                (vec![de, de], [0]),
                (vec![fr, de], [0]),
                (vec![fr, de], [7]),
                (vec![fr, None], [7]),
                (vec![None, None], [7]),
                (vec![Some(*b"SG"), None], [7]),
            ]
        );
    }
}
