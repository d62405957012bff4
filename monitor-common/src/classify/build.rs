//! Interval starts in, [`Image`] out: the build half of the interval index. Called by the policy compiler, and by
//! tests.

use super::{LOW_LIST, LOW_START_BITS, Tables, V4_BUCKETS, V6_NODES};
use crate::wire::{ClassRow, MAX_CLASSES, MAX_RULES_PER_CLASS, RuleRow, V6_KEYS, V6Low, V6Node};

/// A compiled policy, position-independent: the bytes that go into the kernel's maps as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// See [`Tables::v4_bucket`]; two a row, since the elements of a BPF array are multiples of eight bytes.
    pub v4_buckets: Vec<[u32; 2]>,
    /// See [`Tables::v4_entry`]; two a row as well, the last one unused where the number is odd.
    pub v4_entries: Vec<[u32; 2]>,
    /// Both trees, one behind the other.
    pub v6_nodes: Vec<V6Node>,
    /// Where the second begins.
    pub v6_upper: u32,
    /// Lists of low halves.
    pub v6_low: Vec<V6Low>,
    /// Class rows.
    pub classes: Vec<ClassRow>,
    /// Rule rows.
    pub rules: Vec<RuleRow>,
    /// See [`crate::wire::PolicyMeta::drop_reasons`].
    pub drop_reasons: u64,
    /// What [`Tables::boot_ns`] gives on the host.
    pub host_boot_ns: u64,
}

/// Why no image can be built of a list of intervals.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BuildError {
    /// Starts must ascend strictly from 0, so that every address is in exactly one interval.
    #[error("interval starts must begin at 0 and ascend strictly (element {0})")]
    NotAPartition(usize),
    /// A class id has no row.
    #[error("class {0} has no row in the class table")]
    NoSuchClass(u32),
    /// The class table is too long.
    #[error("{0} classes, at most {MAX_CLASSES} fit: merge rules that cover the same networks")]
    TooManyClasses(usize),
    /// A class has too many rule rows, or they are not in the rule table.
    #[error("class {0} has {1} rule rows, at most {MAX_RULES_PER_CLASS} fit: merge port ranges or rules")]
    TooManyRules(usize, u32),
    /// Too much structure below /64.
    #[error("too many IPv6 networks longer than /64: merge some or widen them to /64")]
    TooManyLow,
    /// The tree would be deeper than look-ups go.
    #[error("too many IPv6 networks: {0} interval starts, at most {max} fit", max = V6_NODES * V6_KEYS)]
    TooManyV6(usize),
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
        let (v4_buckets, v4_entries) = index_v4(v4);
        let (v6_nodes, v6_upper, v6_low) = index_v6(v6)?;
        Ok(Self {
            v4_buckets,
            v4_entries,
            v6_nodes,
            v6_upper,
            v6_low,
            classes,
            rules,
            drop_reasons: 0,
            host_boot_ns: 0,
        })
    }

    /// How many IPv4 intervals there are.
    #[must_use]
    pub fn v4_count(&self) -> u32 {
        self.v4_bucket(V4_BUCKETS - 1).unwrap_or(0)
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

fn index_v4(v4: &[(u32, u32)]) -> (Vec<[u32; 2]>, Vec<[u32; 2]>) {
    let entries: Vec<u32> = v4.iter().map(|(start, class_id)| start << 16 | class_id).collect();
    // Only ever forward: both buckets and starts ascend. The first interval starts with the address space.
    let mut next = 1;
    let buckets: Vec<u32> = (0..V4_BUCKETS)
        .map(|bucket| {
            while v4.get(next).is_some_and(|(start, _)| start >> 16 < bucket) {
                next += 1;
            }
            next as u32
        })
        .collect();
    (pairs(&buckets), pairs(&entries))
}

fn pairs(list: &[u32]) -> Vec<[u32; 2]> {
    list.chunks(2).map(|row| [row[0], row.get(1).copied().unwrap_or(0)]).collect()
}

fn at(rows: &[[u32; 2]], index: u32) -> Option<u32> {
    rows.as_flattened().get(index as usize).copied()
}

type V6Index = (Vec<V6Node>, u32, Vec<V6Low>);

fn index_v6(v6: &[(u128, u32)]) -> Result<V6Index, BuildError> {
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
                low.push(V6Low { start: 0, class_id: v6[i - 1].1, _reserved: 0 });
            }
            low.extend(here.iter().map(|(start, class_id)| V6Low {
                start: *start as u64,
                class_id: *class_id,
                _reserved: 0,
            }));
            let length = low.len() - first;
            if length >= 1 << (31 - LOW_START_BITS) || low.len() > 1 << LOW_START_BITS {
                return Err(BuildError::TooManyLow);
            }
            keys.push((high, LOW_LIST | (length as u32) << LOW_START_BITS | first as u32));
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
    // Two trees, one for each first bit, over the bits after it and each from its first address on.
    const UPPER: u64 = 1 << 63;
    let upper = keys.partition_point(|(key, _)| *key < UPPER);
    let (below, above) = keys.split_at(upper);
    let mut above: Vec<(u64, u32)> = above.iter().map(|(key, value)| (key & !UPPER, *value)).collect();
    if above.first().is_none_or(|(key, _)| *key != 0) {
        let before = v6.partition_point(|(start, _)| ((start >> 64) as u64) < UPPER);
        above.insert(0, (0, v6[before - 1].1));
    }
    if below.len().max(above.len()) > V6_NODES * V6_KEYS {
        return Err(BuildError::TooManyV6(keys.len()));
    }
    let mut nodes = tree(below);
    let upper = nodes.len() as u32;
    nodes.extend(tree(&above));
    Ok((nodes, upper, low))
}

/// Lays the sorted keys out as a static B-tree without pointers: node `k` has children `11k + 1 ..= 11k + 11`.
fn tree(keys: &[(u64, u32)]) -> Vec<V6Node> {
    fn fill(node: usize, next: &mut usize, keys: &[(u64, u32)], nodes: &mut [V6Node]) {
        if node >= nodes.len() {
            return;
        }
        for slot in 0..V6_KEYS {
            fill(node * (V6_KEYS + 1) + 1 + slot, next, keys, nodes);
            let last = keys[keys.len() - 1].1;
            let (key, value) = keys.get(*next).copied().unwrap_or((u64::MAX >> 1, last));
            nodes[node].keys[slot] = key;
            nodes[node].values[slot] = value;
            *next += 1;
        }
        fill((node + 1) * (V6_KEYS + 1), next, keys, nodes);
    }
    let mut nodes = vec![V6Node::default(); keys.len().div_ceil(V6_KEYS)];
    fill(0, &mut 0, keys, &mut nodes);
    nodes
}

impl Tables for Image {
    fn v4_bucket(&self, number: u32) -> Option<u32> {
        at(&self.v4_buckets, number)
    }
    fn v4_entry(&self, index: u32) -> Option<u32> {
        at(&self.v4_entries, index)
    }
    fn v6_tree(&self, upper: bool) -> (u32, u32) {
        if upper { (self.v6_upper, self.v6_nodes.len() as u32 - self.v6_upper) } else { (0, self.v6_upper) }
    }
    fn v6_node(&self, index: u32) -> Option<&V6Node> {
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
}
