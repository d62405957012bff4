//! An [`Image`] in, the two partitions that it was built from out: for what looks at all of a policy instead of at one
//! address. Called by `diff` and by the check of a policy in the kernel.

use super::{LOW_LIST, LOW_START_BITS, build::Image};

impl Image {
    /// Where each IPv4 interval starts, ascending from 0, and its class; two neighbours differ.
    #[must_use]
    pub fn v4_intervals(&self) -> Vec<(u32, u32)> {
        let mut intervals = Vec::with_capacity(self.v4_entries.len());
        for entry in &self.v4_entries {
            push(&mut intervals, ((entry >> 32) as u32, *entry as u32));
        }
        intervals
    }

    /// The same of IPv6.
    #[must_use]
    pub fn v6_intervals(&self) -> Vec<(u128, u32)> {
        let mut intervals = Vec::with_capacity(8 * self.v6_nodes.len());
        self.walk(0, &mut |high, value| {
            let start = u128::from(high) << 64;
            if value & LOW_LIST == 0 {
                return push(&mut intervals, (start, value));
            }
            let first = (value & ((1 << LOW_START_BITS) - 1)) as usize;
            let length = ((value & !LOW_LIST) >> LOW_START_BITS) as usize;
            for row in self.v6_low.iter().skip(first).take(length) {
                push(&mut intervals, (start | u128::from(row.start), row.class));
            }
        });
        intervals
    }

    /// Keys and values of the tree from a node on, in order.
    fn walk(&self, node: usize, visit: &mut impl FnMut(u64, u32)) {
        let (Some(keys), Some(values)) = (self.v6_nodes.get(node), self.v6_values.get(node)) else { return };
        for (slot, (key, value)) in keys.keys.iter().zip(&values.values).enumerate() {
            self.walk(node * 9 + 1 + slot, visit);
            visit(*key, *value);
        }
        self.walk(node * 9 + 9, visit);
    }
}

/// Adds an interval; one that only goes on, or a key that only fills a node, is none.
fn push<A: Copy + Ord>(intervals: &mut Vec<(A, u32)>, (start, class): (A, u32)) {
    if intervals.last().is_none_or(|last| last.0 < start && last.1 != class) {
        intervals.push((start, class));
    }
}
