//! An [`Image`] in, the two partitions that it was built from out: for whoever looks at all of a policy instead of at
//! one address. Called by `diff` and by the self-test of a policy in the kernel.

use super::{LOW_LIST, LOW_START_BITS, Tables as _, build::Image};
use crate::wire::{V6_KEYS, V6Node};

impl Image {
    /// Where each IPv4 interval starts, ascending from 0, and its class id; neighbours differ.
    #[must_use]
    pub fn v4_intervals(&self) -> Vec<(u32, u32)> {
        let (mut intervals, mut bucket) = (Vec::with_capacity(2 * self.v4_entries.len()), 0);
        for (entry, index) in self.v4_entries.as_flattened().iter().zip(0..self.v4_count()) {
            // The first interval starts with the address space and is in no bucket's count.
            while index > 0 && self.v4_bucket(bucket + 1).is_some_and(|first| first <= index) {
                bucket += 1;
            }
            push(&mut intervals, (bucket << 16 | entry >> 16, entry & 0xffff));
        }
        intervals
    }

    /// The same of IPv6.
    #[must_use]
    pub fn v6_intervals(&self) -> Vec<(u128, u32)> {
        let mut intervals = Vec::with_capacity(V6_KEYS * self.v6_nodes.len());
        let (lower, upper) = self.v6_nodes.split_at((self.v6_upper as usize).min(self.v6_nodes.len()));
        for (tree, first_bit) in [(lower, 0), (upper, 1 << 127)] {
            visit_in_order(tree, 0, &mut |high, value| {
                let start = first_bit | u128::from(high) << 64;
                if value & LOW_LIST == 0 {
                    return push(&mut intervals, (start, value));
                }
                let first = (value & ((1 << LOW_START_BITS) - 1)) as usize;
                let length = ((value & !LOW_LIST) >> LOW_START_BITS) as usize;
                for row in self.v6_low.iter().skip(first).take(length) {
                    push(&mut intervals, (start | u128::from(row.start), row.class_id));
                }
            });
        }
        intervals
    }
}

/// Keys and values of a tree from a node on, in order.
fn visit_in_order(tree: &[V6Node], node: usize, visit: &mut impl FnMut(u64, u32)) {
    let Some(V6Node { keys, values, .. }) = tree.get(node) else { return };
    for (slot, (key, value)) in keys.iter().zip(values).enumerate() {
        visit_in_order(tree, node * (V6_KEYS + 1) + 1 + slot, visit);
        visit(*key, *value);
    }
    visit_in_order(tree, (node + 1) * (V6_KEYS + 1), visit);
}

/// Adds an interval, unless it only continues the one before, or its key only fills a node.
fn push<A: Copy + Ord>(intervals: &mut Vec<(A, u32)>, (start, class_id): (A, u32)) {
    if intervals.last().is_none_or(|last| last.0 < start && last.1 != class_id) {
        intervals.push((start, class_id));
    }
}
