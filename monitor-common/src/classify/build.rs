//! Interval starts in, [`Image`] out: the build half of the interval index. Called by the policy compiler, and by
//! tests.

pub use super::build_error::BuildError;
use super::{
    LOW_LIST, LOW_LIST_ROWS, LOW_ROWS, Tables, V4_LEVELS, V6_LEVELS,
    build_error::MAX_V6_STARTS,
    tree::{self, Tree},
};
use crate::wire::{Class, ClassRow, MAX_CLASSES, MAX_RULES_PER_CLASS, Node, RuleRow, V6Low};

/// A compiled policy, position-independent: the bytes that go into the kernel's maps as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// See [`Tables::v4_cell`]; two a row, since the elements of a BPF array are multiples of eight bytes.
    pub v4_root: Vec<[u32; 2]>,
    /// Nodes that its cells lead to.
    pub v4_nodes: Vec<Node>,
    /// See [`Tables::v6_cell`].
    pub v6_root: Vec<[u32; 2]>,
    /// Nodes that its cells lead to.
    pub v6_nodes: Vec<Node>,
    /// Lists of low halves.
    pub v6_low: Vec<V6Low>,
    /// Class rows.
    pub classes: Vec<ClassRow>,
    /// Rule rows.
    pub rules: Vec<RuleRow>,
    /// See [`crate::wire::PolicyMeta::drop_reasons`].
    pub drop_reasons: u64,
    /// See [`Tables::local_class`].
    pub local_class: u32,
    /// See [`Tables::opaque_denied`].
    pub opaque_denied: u32,
    /// What [`Tables::boot_ns`] gives on the host.
    pub host_boot_ns: u64,
}

impl Image {
    /// Builds the index over two partitions of the address spaces: `(start, class id)`, ascending, from 0.
    ///
    /// # Errors
    /// [`BuildError`] when the input is not a partition or does not fit.
    pub fn build(
        v4: &[(u32, u32)],
        v6: &[(u128, u32)],
        classes: Vec<ClassRow>,
        rules: Vec<RuleRow>,
    ) -> Result<Self, BuildError> {
        partition(v4.iter().map(|(s, c)| (u128::from(*s), *c)), classes.len())?;
        partition(v6.iter().copied(), classes.len())?;
        if classes.len() > MAX_CLASSES as usize {
            return Err(BuildError::TooManyClasses(classes.len()));
        }
        for (i, class) in classes.iter().enumerate() {
            let end = class.rules_start.checked_add(class.rules_len);
            if class.rules_len > MAX_RULES_PER_CLASS || end.is_none_or(|end| end as usize > rules.len()) {
                return Err(BuildError::TooManyRules(i, class.rules_len));
            }
        }
        let is_local = |row: &ClassRow| row.class == Class::Local as u8 && row.rules_len == 0;
        let local_class = classes.iter().position(is_local).map_or(u32::MAX, |row| row as u32);
        let v4 = index_v4(v4)?;
        let (v6, v6_low) = index_v6(v6, LOW_ROWS as usize)?;
        Ok(Self {
            v4_root: v4.root,
            v4_nodes: v4.nodes,
            v6_root: v6.root,
            v6_nodes: v6.nodes,
            v6_low,
            classes,
            rules,
            drop_reasons: 0,
            local_class,
            opaque_denied: 0,
            host_boot_ns: 0,
        })
    }

    /// How many IPv4 intervals there are.
    #[must_use]
    pub fn v4_count(&self) -> u32 {
        self.v4_intervals().len() as u32
    }
}

fn partition(intervals: impl Iterator<Item = (u128, u32)>, classes: usize) -> Result<(), BuildError> {
    let mut previous = None;
    for (i, (start, class_id)) in intervals.enumerate() {
        match previous {
            None if start != 0 => return Err(BuildError::NotAPartition(i)),
            Some(previous) if start <= previous => return Err(BuildError::NotAPartition(i)),
            _ => previous = Some(start),
        }
        if class_id as usize >= classes {
            return Err(BuildError::NoSuchClass(class_id));
        }
    }
    if previous.is_none() { Err(BuildError::NotAPartition(0)) } else { Ok(()) }
}

fn index_v4(v4: &[(u32, u32)]) -> Result<Tree, BuildError> {
    let starts: Vec<(u64, u32)> = v4.iter().map(|(start, class_id)| (u64::from(*start) << 32, *class_id)).collect();
    tree::build(&starts, V4_LEVELS, false)
}

/// The index of a partition with at most so many rows below /64.
pub(super) fn index_v6(v6: &[(u128, u32)], most: usize) -> Result<(Tree, Vec<V6Low>), BuildError> {
    // One key per high half at which something starts; a half with more than one interval gets a list.
    let mut keys: Vec<(u64, u32)> = Vec::with_capacity(v6.len());
    let mut low = Vec::new();
    let mut i = 0;
    while i < v6.len() {
        let high = (v6[i].0 >> 64) as u64;
        let end = i + v6[i..].partition_point(|(start, _)| (*start >> 64) as u64 == high);
        let here = &v6[i..end];
        if here.len() == 1 && here[0].0 as u64 == 0 {
            keys.push((high, here[0].1));
        } else {
            let first = low.len();
            if here[0].0 as u64 != 0 {
                low.push(V6Low { start: 0, class_id: v6[i - 1].1, more: 0 });
            }
            low.extend(here.iter().map(|(start, class_id)| V6Low {
                start: *start as u64,
                class_id: *class_id,
                more: 0,
            }));
            let length = low.len() - first;
            if length > LOW_LIST_ROWS as usize {
                return Err(BuildError::TooManyInOne64 { at: high, rows: length });
            }
            if low.len() > most {
                return Err(BuildError::TooManyLow(low.len()));
            }
            low[first].more = length as u32 - 1;
            keys.push((high, LOW_LIST | first as u32));
            // Past this half the last interval goes on, unless the next half has a start, too: that one gets a key of
            // its own, with a list that begins with this interval's class where the start is not its first address.
            let next_has_key = |next| v6.get(end).is_some_and(|(start, _)| (*start >> 64) as u64 == next);
            if let Some(next) = high.checked_add(1)
                && !next_has_key(next)
            {
                keys.push((next, here[here.len() - 1].1));
            }
        }
        i = end;
    }
    if keys.len() > MAX_V6_STARTS {
        return Err(BuildError::TooManyV6(keys.len()));
    }
    Ok((tree::build(&keys, V6_LEVELS, true)?, low))
}

fn cell(root: &[[u32; 2]], number: u32) -> Option<u32> {
    root.as_flattened().get(number as usize).copied()
}

impl Tables for Image {
    fn v4_cell(&self, number: u32) -> Option<u32> {
        cell(&self.v4_root, number)
    }
    fn v4_node(&self, index: u32) -> Option<&Node> {
        self.v4_nodes.get(index as usize)
    }
    fn v6_cell(&self, number: u32) -> Option<u32> {
        cell(&self.v6_root, number)
    }
    fn v6_node(&self, index: u32) -> Option<&Node> {
        self.v6_nodes.get(index as usize)
    }
    fn v6_low(&self, index: u32) -> Option<&V6Low> {
        self.v6_low.get(index as usize)
    }
    fn class_row(&self, class_id: u32) -> Option<&ClassRow> {
        self.classes.get(class_id as usize)
    }
    fn rule_row(&self, index: u32) -> Option<&RuleRow> {
        self.rules.get(index as usize)
    }
    fn boot_ns(&self) -> u64 {
        self.host_boot_ns
    }
    fn local_class(&self) -> u32 {
        self.local_class
    }
    fn opaque_denied(&self) -> u32 {
        self.opaque_denied
    }
}
