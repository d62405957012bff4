//! An [`Image`] in, the two partitions that it was built from out: for whoever looks at all of a policy instead of at
//! one address. Called by `diff` and by the self-test of a policy in the kernel.

use super::{LOW_LIST, V4_LEVELS, V6_LEVELS, build::Image, tree};

impl Image {
    /// Where each IPv4 interval starts, ascending from 0, and its class id; neighbours differ.
    #[must_use]
    pub fn v4_intervals(&self) -> Vec<(u32, u32)> {
        let mut intervals = Vec::with_capacity(12 * self.v4_nodes.len());
        tree::visit(&self.v4_root, &self.v4_nodes, V4_LEVELS, &mut |high, class_id| {
            push(&mut intervals, ((high >> 32) as u32, class_id));
        });
        intervals
    }

    /// The same of IPv6.
    #[must_use]
    pub fn v6_intervals(&self) -> Vec<(u128, u32)> {
        let mut intervals = Vec::with_capacity(12 * self.v6_nodes.len());
        tree::visit(&self.v6_root, &self.v6_nodes, V6_LEVELS, &mut |high, value| {
            let start = u128::from(high) << 64;
            if value & LOW_LIST == 0 {
                return push(&mut intervals, (start, value));
            }
            let first = (value & !LOW_LIST) as usize;
            let rows = self.v6_low.get(first).map_or(0, |row| row.more as usize + 1);
            for row in self.v6_low.iter().skip(first).take(rows) {
                push(&mut intervals, (start | u128::from(row.start), row.class_id));
            }
        });
        intervals
    }
}

/// Adds an interval, unless it only continues the one before.
fn push<A: Copy + Ord>(intervals: &mut Vec<(A, u32)>, (start, class_id): (A, u32)) {
    if intervals.last().is_none_or(|last| last.0 < start && last.1 != class_id) {
        intervals.push((start, class_id));
    }
}
