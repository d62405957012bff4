//! Any ranges in, canonical ranges out: sorted, disjoint, neighbours of one value joined. Called by the readers of
//! every format; the value is a country or an AS number.
//!
//! Where ranges overlap the narrowest wins, of equally wide ones the one that starts later. A range whose country
//! is unknown wins over a wider one all the same: there the source says that it does not know. The very same
//! range with two values counts as unknown, too: the source contradicts itself (published datasets do, here
//! and there), and neither order in the file nor anything else says which half is right.

use std::{cmp::Reverse, collections::BinaryHeap, net::IpAddr};

use super::{
    about::About,
    compact,
    country::Country,
    dataset::{Dataset, MAX_RANGES, Range, Span, to_ranges},
    space::Space,
};

/// More ranges than [`MAX_RANGES`] in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// A range of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<V> {
    /// IPv4.
    V4(u32, u32, V),
    /// IPv6.
    V6(u128, u128, V),
}

impl<V> Piece<V> {
    /// The same range with another value.
    #[must_use]
    pub fn with<W>(self, value: W) -> Piece<W> {
        match self {
            Self::V4(first, last, _) => Piece::V4(first, last, value),
            Self::V6(first, last, _) => Piece::V6(first, last, value),
        }
    }
}

/// Canonical ranges of both families.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spans<V> {
    pub(crate) v4: Vec<Span<u32, V>>,
    pub(crate) v6: Vec<Span<u128, V>>,
    /// Ranges that had two values.
    pub(crate) contradictions: usize,
}

/// A dataset, from [`Collector::finish`].
#[derive(Debug)]
pub struct Collected {
    /// Ranges and digest; the rest of the metadata is for the caller to fill in.
    pub dataset: Dataset,
    /// Ranges that had two countries, and are therefore unknown.
    pub contradictions: usize,
}

/// Collects ranges in any order.
#[derive(Debug)]
pub struct Collector<V = Country> {
    v4: Vec<Span<u32, V>>,
    v6: Vec<Span<u128, V>>,
}

impl<V> Default for Collector<V> {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }
}

impl<V: Copy + Ord> Collector<V> {
    /// Adds a range.
    ///
    /// # Errors
    /// There are too many of its family.
    pub fn push(&mut self, piece: Piece<V>) -> Result<(), TooMany> {
        let length = match piece {
            Piece::V4(first, last, value) => {
                self.v4.push((first, last, value));
                self.v4.len()
            }
            Piece::V6(first, last, value) => {
                self.v6.push((first, last, value));
                self.v6.len()
            }
        };
        if length <= MAX_RANGES { Ok(()) } else { Err(TooMany) }
    }

    /// Whether two ranges have an address in common. Sorts them.
    pub(crate) fn overlaps(&mut self) -> bool {
        self.v4.sort_unstable();
        self.v6.sort_unstable();
        self.v4.windows(2).any(|pair| pair[1].0 <= pair[0].1) || self.v6.windows(2).any(|pair| pair[1].0 <= pair[0].1)
    }

    /// The canonical ranges, without those of the value `unknown`, which is also what contradictions come to.
    pub(crate) fn canonical(self, unknown: V, keep_unknown: bool) -> Result<Spans<V>, TooMany> {
        let (v4, contradictions_v4) = canonical(self.v4, unknown, keep_unknown);
        let (v6, contradictions_v6) = canonical(self.v6, unknown, keep_unknown);
        if v4.len() > MAX_RANGES || v6.len() > MAX_RANGES {
            return Err(TooMany);
        }
        Ok(Spans { v4, v6, contradictions: contradictions_v4 + contradictions_v6 })
    }
}

impl Collector<Country> {
    /// The canonical ranges of a dataset: without what is unknown or undetermined.
    ///
    /// # Errors
    /// They are too many.
    pub fn finish(mut self) -> Result<Collected, TooMany> {
        self.replace(Country::UNDETERMINED, Country::UNKNOWN);
        let Spans { v4, v6, contradictions } = self.canonical(Country::UNKNOWN, false)?;
        let (v4, v6) = (to_ranges(v4), to_ranges(v6));
        let digest = compact::digest(&v4, &v6);
        let about = About { digest, ..About::default() };
        Ok(Collected { dataset: Dataset { about, v4, v6 }, contradictions })
    }

    /// The canonical ranges of an overlay: what it names without a country is undetermined, and stays.
    pub(crate) fn finish_overlay(mut self) -> Result<Spans<Country>, TooMany> {
        self.replace(Country::UNKNOWN, Country::UNDETERMINED);
        self.canonical(Country::UNDETERMINED, true)
    }

    fn replace(&mut self, from: Country, to: Country) {
        let v4 = self.v4.iter_mut().map(|span| &mut span.2);
        for country in v4.chain(self.v6.iter_mut().map(|span| &mut span.2)).filter(|country| **country == from) {
            *country = to;
        }
    }
}

/// Canonical ranges, and how many had two values: a sweep over all borders; between two of them the narrowest
/// open range is the answer.
fn canonical<A: Space, V: Copy + Ord>(
    mut given: Vec<Span<A, V>>,
    unknown: V,
    keep_unknown: bool,
) -> (Vec<Span<A, V>>, usize) {
    given.sort_unstable();
    given.dedup();
    let mut contradictions = 0;
    let mut counted = false;
    given.dedup_by(|next, kept| {
        let same = (next.0, next.1) == (kept.0, kept.1);
        if same {
            // Several more values for one range are still one contradiction.
            contradictions += usize::from(!counted);
            kept.2 = unknown;
        }
        counted = same;
        same
    });
    let mut out: Vec<Span<A, V>> = Vec::with_capacity(given.len());
    // Open ranges, the narrowest on top; of equals the one that starts later.
    let mut open: BinaryHeap<(Reverse<u128>, A, A, V)> = BinaryHeap::new();
    let mut next = 0;
    let mut at = 0_u128;
    loop {
        // Drop what ended before `at`; if nothing is open jump to the next start.
        while open.peek().is_some_and(|(_, _, last, _)| last.number() < at) {
            open.pop();
        }
        if open.is_empty() {
            let Some(start) = given.get(next) else { break };
            at = start.0.number();
        }
        while let Some(&(first, last, value)) = given.get(next).filter(|range| range.0.number() == at) {
            open.push((Reverse(last.number() - first.number()), first, last, value));
            next += 1;
        }
        let Some(&(_, _, last, value)) = open.peek() else { break };
        let until = match given.get(next) {
            Some(start) if start.0.number() <= last.number() => start.0.number() - 1,
            _ => last.number(),
        };
        if keep_unknown || value != unknown {
            append(&mut out, at, until, value);
        }
        if until == A::LAST.number() {
            break;
        }
        at = until + 1;
    }
    (out, contradictions)
}

/// Adds `first..=last`, joined to the range before where that is its neighbour and of the same value.
pub(crate) fn append<A: Space, V: PartialEq>(out: &mut Vec<Span<A, V>>, first: u128, last: u128, value: V) {
    let (Some(first), Some(last)) = (A::from_number(first), A::from_number(last)) else { return };
    match out.last_mut() {
        Some(before) if before.2 == value && before.1.number() + 1 == first.number() => before.1 = last,
        _ => out.push((first, last, value)),
    }
}

/// The first address that both lists hold; each is sorted and disjoint.
pub(crate) fn overlap<A: Space>(a: &[Range<A>], b: &[Range<A>]) -> Option<A> {
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        if a.first <= b.last && b.first <= a.last {
            return Some(a.first.max(b.first));
        }
        if a.last < b.last {
            left.next()
        } else {
            right.next()
        };
    }
    None
}

/// An address that both have, where there is one.
pub(crate) fn first_overlap(
    v4: (&[Range<u32>], &[Range<u32>]),
    v6: (&[Range<u128>], &[Range<u128>]),
) -> Option<IpAddr> {
    overlap(v4.0, v4.1).map(Space::ip).or_else(|| overlap(v6.0, v6.1).map(Space::ip))
}

#[cfg(test)]
mod tests {
    use super::super::{
        dataset::find,
        testing::{random_country, seed},
    };
    use super::*;

    const DE: Country = Country(*b"DE");
    const SG: Country = Country(*b"SG");

    fn canonical_all<A: Space>(list: &[(A, A, Country)]) -> (Vec<(A, A, Country)>, usize) {
        canonical(list.to_vec(), Country::UNKNOWN, false)
    }

    fn canonical_of<A: Space>(list: &[(A, A, Country)]) -> Vec<(A, A, Country)> {
        canonical_all(list).0
    }

    #[test]
    fn the_narrowest_range_wins_and_neighbours_are_joined() {
        assert_eq!(canonical_of(&[(0_u32, 99, DE), (10, 19, SG)]), [(0, 9, DE), (10, 19, SG), (20, 99, DE)]);
        assert_eq!(canonical_of(&[(0_u32, 9, DE), (10, 19, DE), (30, 39, DE)]), [(0, 19, DE), (30, 39, DE)]);
        assert_eq!(canonical_of(&[(0_u32, 99, DE), (10, 19, Country::UNKNOWN)]), [(0, 9, DE), (20, 99, DE)]);
        // Crossing ranges: narrower first, then the later start.
        assert_eq!(canonical_of(&[(0_u32, 9, DE), (5, 30, SG)]), [(0, 9, DE), (10, 30, SG)]);
        assert_eq!(canonical_of(&[(0_u32, 9, DE), (5, 14, SG)]), [(0, 4, DE), (5, 14, SG)]);
    }

    #[test]
    fn the_ends_of_the_address_space_hold() {
        assert_eq!(canonical_of(&[(0_u32, u32::MAX, DE)]), [(0, u32::MAX, DE)]);
        assert_eq!(
            canonical_of(&[(0_u128, u128::MAX, DE), (u128::MAX, u128::MAX, SG)]),
            [(0, u128::MAX - 1, DE), (u128::MAX, u128::MAX, SG)]
        );
    }

    #[test]
    fn the_same_range_with_two_countries_is_unknown_in_whatever_order() {
        assert_eq!(canonical_all(&[(1_u32, 2, DE), (1, 2, DE)]), (vec![(1, 2, DE)], 0));
        for contradiction in
            [[(3_u32, 4, DE), (3, 4, SG)], [(3, 4, SG), (3, 4, DE)], [(3, 4, Country::UNKNOWN), (3, 4, DE)]]
        {
            let mut list = vec![(0, 9, DE)];
            list.extend(contradiction);
            assert_eq!(canonical_all(&list), (vec![(0, 2, DE), (5, 9, DE)], 1));
        }
        let thrice = [(1_u32, 2, DE), (1, 2, SG), (1, 2, Country(*b"NO")), (5, 6, SG), (5, 6, DE)];
        assert_eq!(canonical_all(&thrice), (vec![], 2));
    }

    #[test]
    fn an_overlay_keeps_what_is_undetermined_and_contradictions_are() {
        let mut collector = Collector::default();
        for (first, last, code) in [(0_u32, 9, b"DE"), (4, 5, b"ZZ"), (20, 21, b"DE"), (20, 21, b"SG"), (22, 22, b"??")]
        {
            collector.push(Piece::V4(first, last, Country(*code))).expect("few");
        }
        let spans = collector.finish_overlay().expect("few");
        let undetermined = Country::UNDETERMINED;
        assert_eq!(spans.v4, [(0, 3, DE), (4, 5, undetermined), (6, 9, DE), (20, 22, undetermined)]);
        assert_eq!((spans.v6, spans.contradictions), (vec![], 1));
    }

    #[test]
    fn a_dataset_has_nothing_that_is_unknown_or_undetermined() {
        let mut collector = Collector::default();
        for (first, last, code) in [(0_u32, 9, b"DE"), (4, 5, b"??"), (7, 7, b"ZZ"), (20, 21, b"??")] {
            collector.push(Piece::V4(first, last, Country(*code))).expect("few");
        }
        let range = |first, last| Range { first, last, country: DE };
        let collected = collector.finish().expect("few");
        assert_eq!((collected.dataset.v4, collected.contradictions), (vec![range(0, 3), range(6, 6), range(8, 9)], 0));
    }

    #[test]
    fn one_address_in_common_is_an_overlap_in_either_family() {
        let overlaps = |pieces: &[Piece<Country>]| {
            let mut collector = Collector::default();
            pieces.iter().for_each(|piece| collector.push(*piece).expect("few"));
            collector.overlaps()
        };
        let (v4, v6) = (|first, last| Piece::V4(first, last, DE), |first, last| Piece::V6(first, last, DE));
        assert!(!overlaps(&[v4(10, 19), v4(0, 9), v6(10, 19), v6(0, 9)]));
        assert!(overlaps(&[v4(10, 19), v4(0, 10)]));
        assert!(overlaps(&[v4(10, 19), v4(0, 9), v6(10, 19), v6(0, 10)]));
    }

    #[test]
    fn the_first_address_of_two_lists_is_the_first_that_both_hold() {
        let list = |ends: &[(u32, u32)]| to_ranges(ends.iter().map(|&(first, last)| (first, last, DE)).collect());
        let one = list(&[(0, 9), (20, 29), (40, 49)]);
        for (ends, expected) in [
            (&[(10, 19), (30, 39), (50, 59)][..], None),
            (&[(9, 9)], Some(9)),
            (&[(10, 20)], Some(20)),
            (&[(10, 19), (25, 45)], Some(25)),
            (&[(30, 31), (32, 33), (49, 60)], Some(49)),
            (&[], None),
        ] {
            let other = list(ends);
            assert_eq!([overlap(&one, &other), overlap(&other, &one)], [expected; 2], "{ends:?}");
        }
    }

    #[test]
    fn canonical_ranges_and_lookups_agree_with_a_linear_scan() {
        let seed = seed();
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..400 {
            // A small space so that overlaps, touching ends and duplicates are common.
            let space = [60_u32, 300, 5_000][round % 3];
            let mut list: Vec<(u32, u32, Country)> = Vec::new();
            for _ in 0..random.usize(0..40) {
                let first = random.u32(0..space);
                let last = (first + random.u32(0..space / 4)).min(space);
                let country = random_country(&mut random);
                list.push((first, last, country));
            }
            let (result, _) = canonical_all(&list);
            let result = to_ranges(result);
            assert!(result.windows(2).all(|w| w[0].last < w[1].first), "seed {seed} round {round}");
            assert!(
                result.windows(2).all(|w| w[0].last + 1 != w[1].first || w[0].country != w[1].country),
                "seed {seed} round {round}: neighbours not joined"
            );
            for address in 0..=space + 1 {
                let holds = |range: &&(u32, u32, Country)| (range.0..=range.1).contains(&address);
                let best = list.iter().filter(holds).min_by_key(|(first, last, _)| (last - first, Reverse(*first)));
                let best = best.map(|best| {
                    let agreed = list.iter().filter(|r| (r.0, r.1) == (best.0, best.1)).all(|r| r.2 == best.2);
                    if agreed { best.2 } else { Country::UNKNOWN }
                });
                let best = best.filter(|country| *country != Country::UNKNOWN);
                let found = find(&result, address).map(|range| range.country);
                assert_eq!(found, best, "seed {seed} round {round} address {address}");
            }
        }
    }
}
