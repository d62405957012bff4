//! Interval starts in, a root and its nodes out, and back: how a partition of high halves is cut into nodes
//! ([`super::node`] says what is in one). Called by `build` and `intervals`.
//!
//! A range is a leaf if its interval starts are few and on the leaf's steps, and a wide leaf if they are very few. Else
//! it is an inner node: its children are packed one after the other, each as far as a leaf of either kind reaches. Where
//! more interval starts than these have meet within one step, that step is a child of its own, with steps 32,768 times
//! as fine; where there are more children than a node has, neighbours are joined under nodes of their own.

use core::ops::Range;

use super::{
    IS_NODE, LOW_LIST, ROOT_CELLS, ROOT_ROWS,
    build_error::BuildError,
    node::{CHILDREN, INNER, INTERVALS, KINDS, LEAF, LIST, STEPS, UNUSED, WIDE, WIDE_BITS, WIDE_INTERVALS},
};
use crate::wire::Node;

/// The index of one family.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Cells, two a row.
    pub root: Vec<[u32; 2]>,
    /// Nodes; the children of each are side by side.
    pub nodes: Vec<Node>,
}

/// Nodes that a cell can name.
const MAX_NODES: usize = IS_NODE as usize;

/// Children that an inner node is given where there are more to share out: some less than it could have, since they
/// can't be cut evenly.
const FILLED: usize = CHILDREN - 2;

/// Intervals a leaf from which on another cut would hardly save one.
const FULL: usize = INTERVALS - 2;

/// Part of the space: from its first half to its last, the interval starts after its first half, and the value that
/// its first half has.
#[derive(Clone, Debug)]
struct Part {
    first: u64,
    last: u64,
    starts: Range<usize>,
    value: u32,
    /// Leaves that it will come to, roughly; 1 for a leaf.
    leaves: usize,
}

impl Part {
    const fn shift(&self) -> u32 {
        shift(self.first, self.last)
    }

    /// Kind, shift and beginning, as they are in the first two lanes.
    const fn head(&self, kind: u64) -> u64 {
        let shift = self.shift();
        kind | shift as u64 | (self.first >> shift & (STEPS - 1)) << 16
    }

    /// The lane of something that begins at `start`.
    const fn lane(&self, start: u64) -> u64 {
        (start - self.first) >> self.shift()
    }
}

/// The index of a partition: starts, strictly ascending from 0, and values. IPv4 needs no wide leaves, and no lists.
pub(super) fn build(starts: &[(u64, u32)], levels: u32, wide: bool) -> Result<Tree, BuildError> {
    let wide = if wide { WIDE_INTERVALS } else { 0 };
    let mut builder = Builder { starts, levels, wide, nodes: Vec::with_capacity(starts.len() / 8) };
    let mut root = vec![[0; 2]; ROOT_ROWS as usize];
    let (mut next, mut value) = (0, 0);
    for (number, cell) in (0..u64::from(ROOT_CELLS)).zip(root.as_flattened_mut()) {
        let (first, last) = (number << 48, number << 48 | u64::MAX >> 16);
        if let Some((start, here)) = starts.get(next)
            && *start == first
        {
            (value, next) = (*here, next + 1);
        }
        let end = end(starts, next, last);
        *cell = if next == end {
            value
        } else {
            let top = builder.place(1)?;
            builder.fill(top, &Part { first, last, starts: next..end, value, leaves: 0 }, 1)?;
            value = starts[end - 1].1;
            IS_NODE | top as u32
        };
        next = end;
    }
    Ok(Tree { root, nodes: builder.nodes })
}

/// A node in which nothing begins.
const EMPTY: Node = Node { words: [UNUSED * 0x0001_0001_0001_0001; 8] };

struct Builder<'a> {
    starts: &'a [(u64, u32)],
    levels: u32,
    /// Intervals of a wide leaf; 0 for none.
    wide: usize,
    nodes: Vec<Node>,
}

impl Builder<'_> {
    /// Room for nodes side by side, behind all others.
    fn place(&mut self, nodes: usize) -> Result<usize, BuildError> {
        let first = self.nodes.len();
        if first + nodes > MAX_NODES {
            return Err(BuildError::TooManyV6(self.starts.len()));
        }
        self.nodes.resize(first + nodes, Node::default());
        Ok(first)
    }

    fn fill(&mut self, index: usize, part: &Part, level: u32) -> Result<(), BuildError> {
        if self.is_leaf(part) {
            self.check(level)?;
            self.nodes[index] = self.leaf(part);
        } else if part.starts.len() < self.wide && self.lists_fit(part.value, part.starts.clone()) {
            self.check(level)?;
            self.nodes[index] = self.wide_leaf(part);
        } else {
            self.fill_inner(index, part, &self.packed(part), level)?;
        }
        Ok(())
    }

    const fn check(&self, level: u32) -> Result<(), BuildError> {
        if level > self.levels { Err(BuildError::TooDeep(self.levels)) } else { Ok(()) }
    }

    /// An inner node over what `part` is cut in.
    fn fill_inner(&mut self, index: usize, part: &Part, cut: &[Part], level: u32) -> Result<(), BuildError> {
        self.check(level)?;
        let children = joined(cut);
        let first = self.place(children.len())?;
        let node = &mut self.nodes[index];
        *node = EMPTY;
        node.words[0] = part.head(INNER) | (first as u64) << 32;
        for ((child, _), lane) in children.iter().skip(1).zip(4..) {
            set(node, lane, part.lane(child.first));
        }
        for ((child, within), index) in children.into_iter().zip(first..) {
            // Cut anew with steps of its own, unless all of it is leaves, as full as they would be then.
            let leaves = within.len() > 1 && within.len() == child.leaves;
            if leaves && child.starts.len() >= within.len() * FULL {
                self.fill_inner(index, &child, &cut[within], level + 1)?;
            } else {
                self.fill(index, &child, level + 1)?;
            }
        }
        Ok(())
    }

    fn is_leaf(&self, part: &Part) -> bool {
        let between = (1 << part.shift()) - 1;
        part.value & LOW_LIST == 0
            && part.starts.len() < INTERVALS
            && self.starts[part.starts.clone()]
                .iter()
                .all(|(start, value)| start & between == 0 && value & LOW_LIST == 0)
    }

    /// Whether a wide leaf with these can say where each of its lists is: it has the first one's row, and of others how
    /// far they are behind that.
    fn lists_fit(&self, value: u32, starts: Range<usize>) -> bool {
        let values = [value].into_iter().chain(self.starts[starts].iter().map(|(_, value)| *value));
        let mut rows = values.filter(|value| value & LOW_LIST != 0).map(|value| value & !LOW_LIST);
        // They ascend.
        let first = rows.next();
        let last = rows.next_back().or(first);
        first.zip(last).is_none_or(|(first, last)| last - first < LIST)
    }

    fn leaf(&self, part: &Part) -> Node {
        let mut node = EMPTY;
        node.words[0] = part.head(LEAF) | EMPTY.words[0] << 32;
        let starts = &self.starts[part.starts.clone()];
        let mut value = part.value;
        for interval in 0..INTERVALS {
            if interval > 0
                && let Some((start, here)) = starts.get(interval - 1)
            {
                set(&mut node, 1 + interval, part.lane(*start));
                value = *here;
            }
            // Unused ones have the last: no address comes to them.
            set(&mut node, 16 + interval, u64::from(value));
        }
        set(&mut node, 31, 0);
        node
    }

    fn wide_leaf(&self, part: &Part) -> Node {
        let starts = &self.starts[part.starts.clone()];
        let values = [part.value].into_iter().chain(starts.iter().map(|(_, value)| *value));
        let rows = values.clone().find(|value| value & LOW_LIST != 0).map_or(0, |value| value & !LOW_LIST);
        let mut values = values
            .map(|value| u64::from(if value & LOW_LIST == 0 { value } else { LIST | ((value & !LOW_LIST) - rows) }));
        let mut value = values.next().unwrap_or_default();
        let mut node = Node { words: [WIDE | value << 16 | u64::from(rows) << 32; 8] };
        for (number, word) in node.words.iter_mut().enumerate().skip(1) {
            // An unused one has the last value: that an address comes to it changes nothing.
            let start = starts.get(number - 1).map_or(WIDE_BITS, |(start, _)| *start & WIDE_BITS);
            value = values.next().unwrap_or(value);
            *word = start << 16 | value;
        }
        node
    }

    /// Cuts a part in leaves, each as long as can be, and in single steps with more than a leaf has. All begin on the
    /// part's steps.
    fn packed(&self, part: &Part) -> Vec<Part> {
        let between = (1 << part.shift()) - 1;
        let mut packed = Vec::with_capacity(part.starts.len() / 8 + 2);
        let (mut first, mut next, mut value) = (part.first, part.starts.start, part.value);
        loop {
            let (last, starts, heavy) = match self.reach(part, first, next, value) {
                Some((last, end)) => (last, next..end, false),
                None => {
                    let last = (first | between).min(part.last);
                    (last, next..end(&self.starts[..part.starts.end], next, last), true)
                }
            };
            next = starts.end;
            let leaves = if heavy { 1 + starts.len() / 10 } else { 1 };
            packed.push(Part { first, last, starts: starts.clone(), value, leaves });
            if last == part.last {
                return packed;
            }
            if let Some(end) = starts.clone().last() {
                value = self.starts[end].1;
            }
            first = last + 1;
            if next < part.starts.end && self.starts[next].0 == first {
                (value, next) = (self.starts[next].1, next + 1);
            }
        }
    }

    /// How far a leaf reaches that begins at `first`: its last half, and the first interval start past it. It ends
    /// where one of `part`'s steps does. `None` where it is less than a step.
    fn reach(&self, part: &Part, first: u64, next: usize, value: u32) -> Option<(u64, usize)> {
        // What steps the starts before each end are on, as far as one leaf could hold them: none with a list.
        let mut zeros = [u64::BITS; INTERVALS];
        let (mut ends, room) = (1, part.starts.end - next);
        while ends < INTERVALS && ends <= room && self.starts[next + ends - 1].1 & LOW_LIST == 0 {
            zeros[ends] = zeros[ends - 1].min(self.starts[next + ends - 1].0.trailing_zeros());
            ends += 1;
        }
        let leaf = if value & LOW_LIST == 0 { ends } else { 0 };
        let wide = self.wide.min(room + 1);
        let between = (1 << part.shift()) - 1;
        (0..leaf.max(wide)).rev().find_map(|count| {
            let end = next + count;
            let before = if count == 0 { first } else { self.starts[end - 1].0 };
            // Up to the next interval start, or as little as there is behind the last: the less, the finer the steps.
            let far =
                if end == part.starts.end { part.last } else { (self.starts[end].0 & !between).checked_sub(1)? };
            let near = (before | between).min(part.last);
            let wide = count < wide && self.lists_fit(value, next..end);
            let fits = |last: &u64| wide || count < leaf && shift(first, *last) <= zeros[count];
            let last = [far, near].into_iter().find(|last| near <= far && fits(last))?;
            Some((last, end))
        })
    }
}

/// Steps from half to half are `1 << shift` halves, so that there are at most [`STEPS`].
const fn shift(first: u64, last: u64) -> u32 {
    (u64::BITS - (last - first).leading_zeros()).saturating_sub(STEPS.ilog2())
}

/// The first of the starts from `next` on that is past `last`: looked for at growing distances, since it is near.
fn end(starts: &[(u64, u32)], next: usize, last: u64) -> usize {
    let (mut from, mut step) = (next, 1);
    while starts.get(from + step).is_some_and(|(start, _)| *start <= last) {
        (from, step) = (from + step, step * 2);
    }
    let to = (from + step).min(starts.len());
    from + starts[from.min(to)..to].partition_point(|(start, _)| *start <= last)
}

/// Joins neighbours until they are children of one node, each with about as many leaves as fit under one. Gives the
/// children, and which of `parts` each is.
fn joined(parts: &[Part]) -> Vec<(Part, Range<usize>)> {
    let leaves: usize = parts.iter().map(|part| part.leaves).sum();
    let mut most = 1;
    while parts.len() > CHILDREN && most * FILLED < leaves {
        most *= FILLED;
    }
    loop {
        let mut joined: Vec<(Part, Range<usize>)> = Vec::with_capacity(CHILDREN);
        for (number, part) in parts.iter().enumerate() {
            match joined.last_mut() {
                Some((before, within)) if parts.len() > CHILDREN && before.leaves + part.leaves <= most => {
                    before.last = part.last;
                    before.starts.end = part.starts.end;
                    before.leaves += part.leaves;
                    within.end = number + 1;
                }
                _ => joined.push((part.clone(), number..number + 1)),
            }
        }
        if joined.len() <= CHILDREN {
            return joined;
        }
        most += most / 8;
    }
}

/// Every value of an index, in order, each with the first half that has it.
pub(super) fn visit(root: &[[u32; 2]], nodes: &[Node], levels: u32, visit: &mut impl FnMut(u64, u32)) {
    for (cell, number) in root.as_flattened().iter().zip(0_u64..) {
        if cell & IS_NODE == 0 {
            visit(number << 48, *cell);
        } else {
            visit_node(nodes, (cell & !IS_NODE) as usize, number << 48, levels, visit);
        }
    }
}

fn visit_node(nodes: &[Node], index: usize, first: u64, levels: u32, visit: &mut impl FnMut(u64, u32)) {
    let (Some(node), Some(below)) = (nodes.get(index), levels.checked_sub(1)) else { return };
    let head = node.words[0];
    let beginnings = |from: usize| {
        let later = (from..).map(|lane| get(node, lane)).take_while(|lane| *lane != UNUSED);
        [first].into_iter().chain(later.map(move |lane| first + (lane << (head & 63))))
    };
    match head & KINDS {
        WIDE => visit_wide(node, first, visit),
        LEAF => beginnings(2).zip(16..16 + INTERVALS).for_each(|(start, lane)| visit(start, get(node, lane) as u32)),
        INNER => beginnings(4)
            .zip((head >> 32) as usize..)
            .take(CHILDREN)
            .for_each(|(first, child)| visit_node(nodes, child, first, below, visit)),
        _ => {}
    }
}

fn visit_wide(node: &Node, first: u64, visit: &mut impl FnMut(u64, u32)) {
    let rows = (node.words[0] >> 32) as u32;
    let mut before = None;
    let later = node.words.iter().skip(1).map(|word| (first & !WIDE_BITS | word >> 16, *word as u32 & 0xffff));
    for (start, value) in [(first, get(node, 1) as u32)].into_iter().chain(later) {
        if before.replace(value) != Some(value) {
            visit(start, if value & LIST == 0 { value } else { LOW_LIST | rows.wrapping_add(value & !LIST) });
        }
    }
}

fn get(node: &Node, lane: usize) -> u64 {
    node.words.get(lane / 4).map_or(UNUSED, |word| word >> (lane % 4 * 16) & 0xffff)
}

fn set(node: &mut Node, lane: usize, value: u64) {
    let shift = lane % 4 * 16;
    let word = &mut node.words[lane / 4];
    *word = *word & !(0xffff << shift) | value << shift;
}
