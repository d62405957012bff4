//! Any ranges in, a dataset's canonical ranges out: sorted, disjoint, without unknown countries, neighbours of
//! one country joined. Called by the CSV and MMDB readers.
//!
//! Where ranges overlap the narrowest wins, of equally wide ones the one that starts later. A range whose country
//! is unknown wins over a wider one all the same: there the source says that it does not know. The very same
//! range with two countries counts as unknown, too: the source contradicts itself (published datasets do, here
//! and there), and neither order in the file nor anything else says which half is right.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Country, Dataset, MAX_RANGES, Range, compact};

/// The addresses of one family as numbers.
pub trait Space: Copy + Ord + std::fmt::Debug + 'static {
    /// Address length.
    const BITS: u32;
    /// The last address.
    const LAST: Self;

    /// As a number.
    fn number(self) -> u128;
    /// From a number; `None` past the last address.
    fn from_number(number: u128) -> Option<Self>;
}

impl Space for u32 {
    const BITS: u32 = 32;
    const LAST: Self = Self::MAX;

    fn number(self) -> u128 {
        u128::from(self)
    }

    fn from_number(number: u128) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Space for u128 {
    const BITS: u32 = 128;
    const LAST: Self = Self::MAX;

    fn number(self) -> u128 {
        self
    }

    fn from_number(number: u128) -> Option<Self> {
        Some(number)
    }
}

/// The range that holds `address`, by binary search.
pub(super) fn find<A: Space>(ranges: &[Range<A>], address: A) -> Option<&Range<A>> {
    find_by(ranges, address, |range| (range.first, range.last))
}

/// As [`find`], in ranges of any kind: `ends` says a range's first and last address.
pub(super) fn find_by<A: Space, R>(ranges: &[R], address: A, ends: impl Fn(&R) -> (A, A)) -> Option<&R> {
    let after = ranges.partition_point(|range| ends(range).0 <= address);
    let range = &ranges[after.checked_sub(1)?];
    (address <= ends(range).1).then_some(range)
}

/// More ranges than [`MAX_RANGES`] in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// What [`Collector::finish`] made of the ranges.
#[derive(Debug)]
pub struct Settled {
    /// Ranges and digest; name, version, date and attribution are the caller's to fill in.
    pub dataset: Dataset,
    /// Ranges that were given with two countries and are therefore unknown.
    pub contradictions: usize,
}

/// Gathers ranges in any order.
#[derive(Debug, Default)]
pub struct Collector {
    v4: Vec<Range<u32>>,
    v6: Vec<Range<u128>>,
}

impl Collector {
    /// Takes an IPv4 range. `false` when there are too many.
    #[must_use]
    pub fn push_v4(&mut self, range: Range<u32>) -> bool {
        self.v4.push(range);
        self.v4.len() <= MAX_RANGES
    }

    /// Takes an IPv6 range. `false` when there are too many.
    #[must_use]
    pub fn push_v6(&mut self, range: Range<u128>) -> bool {
        self.v6.push(range);
        self.v6.len() <= MAX_RANGES
    }

    /// Whether nothing was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The canonical ranges.
    ///
    /// # Errors
    /// They are too many.
    pub fn finish(self) -> Result<Settled, TooMany> {
        let (v4, contradictions_v4) = settle(self.v4);
        let (v6, contradictions_v6) = settle(self.v6);
        if v4.len() > MAX_RANGES || v6.len() > MAX_RANGES {
            return Err(TooMany);
        }
        let digest = compact::digest(&v4, &v6);
        let contradictions = contradictions_v4 + contradictions_v6;
        Ok(Settled { dataset: Dataset { digest, v4, v6, ..Dataset::default() }, contradictions })
    }
}

/// Canonical ranges, and how many had two countries: a sweep over all borders; between two of them the narrowest
/// open range is the answer.
fn settle<A: Space>(mut given: Vec<Range<A>>) -> (Vec<Range<A>>, usize) {
    given.sort_by_key(|range| (range.first, range.last, range.country));
    given.dedup();
    let mut contradictions = 0;
    let mut counted = false;
    given.dedup_by(|next, kept| {
        let same = (next.first, next.last) == (kept.first, kept.last);
        if same {
            // Several more countries for one range are still one contradiction.
            contradictions += usize::from(!counted);
            kept.country = Country::UNKNOWN;
        }
        counted = same;
        same
    });
    let mut out: Vec<Range<A>> = Vec::with_capacity(given.len());
    // Open ranges, the narrowest on top; of equals the one that starts later.
    let mut open: BinaryHeap<(Reverse<u128>, A, A, Country)> = BinaryHeap::new();
    let mut next = 0;
    let mut at = 0_u128;
    loop {
        // Drop what ended before `at`; if nothing is open jump to the next start.
        while open.peek().is_some_and(|(_, _, last, _)| last.number() < at) {
            open.pop();
        }
        if open.is_empty() {
            let Some(start) = given.get(next) else { break };
            at = start.first.number();
        }
        while let Some(&Range { first, last, country }) = given.get(next).filter(|range| range.first.number() == at) {
            open.push((Reverse(last.number() - first.number()), first, last, country));
            next += 1;
        }
        let Some(&(_, _, last, country)) = open.peek() else { break };
        let until = match given.get(next) {
            Some(start) if start.first.number() <= last.number() => start.first.number() - 1,
            _ => last.number(),
        };
        if country != Country::UNKNOWN {
            append(&mut out, at, until, country);
        }
        if until == A::LAST.number() {
            break;
        }
        at = until + 1;
    }
    (out, contradictions)
}

/// Adds `first..=last`, joined to the range before where that is its neighbour and of the same country.
pub(super) fn append<A: Space>(out: &mut Vec<Range<A>>, first: u128, last: u128, country: Country) {
    let (Some(first), Some(last)) = (A::from_number(first), A::from_number(last)) else { return };
    match out.last_mut() {
        Some(before) if before.country == country && before.last.number() + 1 == first.number() => before.last = last,
        _ => out.push(Range { first, last, country }),
    }
}

/// The first address that both lists hold; each is sorted and disjoint.
pub(super) fn overlap<A: Space>(a: &[Range<A>], b: &[Range<A>]) -> Option<A> {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{random_country, seed};
    use super::*;

    const DE: Country = Country(*b"DE");
    const SG: Country = Country(*b"SG");

    fn given<A: Space>(list: &[(A, A, Country)]) -> Vec<Range<A>> {
        list.iter().map(|&(first, last, country)| Range { first, last, country }).collect()
    }

    fn settled<A: Space>(list: &[(A, A, Country)]) -> Vec<(A, A, Country)> {
        settle(given(list)).0.into_iter().map(|r| (r.first, r.last, r.country)).collect()
    }

    #[test]
    fn the_narrowest_range_wins_and_neighbours_are_joined() {
        assert_eq!(settled(&[(0_u32, 99, DE), (10, 19, SG)]), [(0, 9, DE), (10, 19, SG), (20, 99, DE)]);
        assert_eq!(settled(&[(0_u32, 9, DE), (10, 19, DE), (30, 39, DE)]), [(0, 19, DE), (30, 39, DE)]);
        assert_eq!(settled(&[(0_u32, 99, DE), (10, 19, Country::UNKNOWN)]), [(0, 9, DE), (20, 99, DE)]);
        // Crossing ranges: narrower first, then the later start.
        assert_eq!(settled(&[(0_u32, 9, DE), (5, 30, SG)]), [(0, 9, DE), (10, 30, SG)]);
        assert_eq!(settled(&[(0_u32, 9, DE), (5, 14, SG)]), [(0, 4, DE), (5, 14, SG)]);
    }

    #[test]
    fn the_ends_of_the_address_space_hold() {
        assert_eq!(settled(&[(0_u32, u32::MAX, DE)]), [(0, u32::MAX, DE)]);
        assert_eq!(
            settled(&[(0_u128, u128::MAX, DE), (u128::MAX, u128::MAX, SG)]),
            [(0, u128::MAX - 1, DE), (u128::MAX, u128::MAX, SG)]
        );
    }

    #[test]
    fn the_same_range_with_two_countries_is_unknown_in_whatever_order() {
        assert_eq!(settle(given(&[(1_u32, 2, DE), (1, 2, DE)])), (given(&[(1, 2, DE)]), 0));
        for contradiction in
            [[(3_u32, 4, DE), (3, 4, SG)], [(3, 4, SG), (3, 4, DE)], [(3, 4, Country::UNKNOWN), (3, 4, DE)]]
        {
            let mut list = vec![(0, 9, DE)];
            list.extend(contradiction);
            assert_eq!(settle(given(&list)), (given(&[(0, 2, DE), (5, 9, DE)]), 1));
        }
        let thrice = [(1_u32, 2, DE), (1, 2, SG), (1, 2, Country(*b"NO")), (5, 6, SG), (5, 6, DE)];
        assert_eq!(settle(given(&thrice)), (vec![], 2));
    }

    #[test]
    fn settled_ranges_and_lookups_agree_with_a_linear_scan() {
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
            let (result, _) = settle(given(&list));
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
