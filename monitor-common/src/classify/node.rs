//! A node of the address index, and what a look-up does in one. Called by the look-up, and by the builder, which fills
//! nodes.
//!
//! A node stands for a range of high halves (of IPv4: addresses, as the upper half of a high half), and cuts it in
//! parts. Where a part begins is a lane of 16 bits: so many steps from the beginning of the range, and a step is
//! `1 << shift` halves. In lanes, from the lowest:
//!
//! ```text
//! inner  0: shift, bits 0 to 5, and kind, bits 8 and 9   1: beginning of the range in steps, last 15 bits
//!        2, 3: number of its first child   4 to 31: beginnings of the children after the first
//! leaf   0, 1: as above   2 to 15: beginnings of the intervals after the first   16 to 30: their class ids   31: 0
//! wide   0: kind   1: value of the first interval   2, 3: first row of its first list of low halves
//!        words 1 to 7: an interval each after the first; last 48 bits of its beginning, and its value
//! ```
//!
//! Beginnings on steps are of 15 bits. In an unused lane only the first bit is set: no place is so far. A wide leaf has
//! half as many intervals as a leaf, wherever they begin. A value is a class id, or with the first bit set a list of low
//! halves: how many rows it is behind the leaf's first.

use super::LOW_LIST;
use crate::wire::Node;

/// Children of an inner node.
pub const CHILDREN: usize = 29;
/// Intervals of a leaf.
pub const INTERVALS: usize = 15;
/// Intervals of a wide leaf.
pub const WIDE_INTERVALS: usize = 8;

/// Kind of a node, in its first lane. A node of zeros is none.
pub(super) const KINDS: u64 = 3 << 8;
pub(super) const INNER: u64 = 1 << 8;
pub(super) const LEAF: u64 = 2 << 8;
pub(super) const WIDE: u64 = 3 << 8;

/// In a value: a list of low halves.
pub(super) const LIST: u32 = 1 << 15;
/// The part of a high half that a wide leaf has.
pub(super) const WIDE_BITS: u64 = u64::MAX >> 16;

/// Steps that a range has at most.
pub(super) const STEPS: u64 = 1 << 15;
/// In a lane for a beginning that there is none.
#[cfg(feature = "user")]
pub(super) const UNUSED: u64 = STEPS;

/// One in each lane.
const ONES: u64 = 0x0001_0001_0001_0001;
/// The first bit of each lane.
const TOPS: u64 = ONES << 15;

/// A place in a node's range, in each lane, under a first bit that is set.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    #[inline(always)]
    const fn new(head: u64, high: u64) -> Self {
        let place = (high >> (head & 63)).wrapping_sub(head >> 16) & (STEPS - 1);
        Self((place * ONES) | TOPS)
    }

    /// 1 in each lane that begins at the place or before: the subtraction leaves its first bit. The BPF target has no
    /// compare-and-set, and a branch for each lane would double the paths that the verifier has to follow.
    #[inline(always)]
    const fn begun(self, lanes: u64) -> u64 {
        self.0.wrapping_sub(lanes) >> 15 & ONES
    }
}

/// The sum of all lanes.
#[inline(always)]
const fn sum(lanes: u64) -> u32 {
    (lanes.wrapping_mul(ONES) >> 48) as u32
}

impl Node {
    #[inline(always)]
    pub(super) const fn is_inner(&self) -> bool {
        self.words[0] & KINDS == INNER
    }

    /// The child of this inner node that `high` is in.
    #[inline(always)]
    pub(super) const fn child(&self, high: u64) -> u32 {
        let [head, first, second, third, fourth, fifth, sixth, seventh] = self.words;
        let place = Place::new(head, high);
        let begun = (place.begun(first) + place.begun(second))
            + (place.begun(third) + place.begun(fourth))
            + (place.begun(fifth) + place.begun(sixth))
            + place.begun(seventh);
        ((head >> 32) as u32).wrapping_add(sum(begun))
    }

    /// What this leaf has for `high`: a class id, or [`LOW_LIST`] and the first row of a list of low halves.
    #[inline(always)]
    pub(super) const fn value<const OR_WIDE: bool>(&self, high: u64) -> Option<u32> {
        let [head, first, second, third, ..] = self.words;
        if OR_WIDE && head & KINDS == WIDE {
            return Some(self.wide_value(high));
        }
        if head & KINDS != LEAF {
            return None;
        }
        let place = Place::new(head, high);
        let begun = (place.begun(head) & ONES << 32) + place.begun(first) + (place.begun(second) + place.begun(third));
        let interval = sum(begun);
        let classes = self.words[4 + (interval >> 2 & 3) as usize];
        Some((classes >> (16 * (interval & 3))) as u32 & 0xffff)
    }

    #[inline(always)]
    const fn wide_value(&self, high: u64) -> u32 {
        let [head, first, second, third, fourth, fifth, sixth, seventh] = self.words;
        let high = high & WIDE_BITS;
        let later = (later(high, first) + later(high, second))
            + (later(high, third) + later(high, fourth))
            + (later(high, fifth) + later(high, sixth))
            + later(high, seventh);
        let interval = WIDE_INTERVALS as u32 - 1 - later;
        // The first one's is a lane further up.
        let shift = interval.wrapping_sub(1) >> 16 & 16;
        let value = (self.words[(interval & 7) as usize] >> shift) as u32 & 0xffff;
        if value & LIST == 0 { value } else { LOW_LIST | ((head >> 32) as u32).wrapping_add(value & !LIST) }
    }
}

/// 1 if an interval of a wide leaf begins after `high`: the borrow, which shows in the first bit, as both lack it.
#[inline(always)]
const fn later(high: u64, interval: u64) -> u32 {
    (high.wrapping_sub(interval >> 16) >> 63) as u32
}
