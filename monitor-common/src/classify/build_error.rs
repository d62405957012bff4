//! Why there is no image: for the builder and its trees.

use core::net::Ipv6Addr;

use super::{LOW_LIST_ROWS, LOW_ROWS};
use crate::wire::{MAX_CLASSES, MAX_RULES_PER_CLASS};

/// IPv6 high halves at which something starts.
pub(super) const MAX_V6_STARTS: usize = 19_000_000;

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
    /// Too much structure in one /64.
    #[error(
        "networks longer than /64 cut {}/64 into {rows} intervals, at most {LOW_LIST_ROWS} fit: merge some, or widen them \
         to /64",
        Ipv6Addr::from_bits(u128::from(*at) << 64)
    )]
    TooManyInOne64 {
        /// Its high half.
        at: u64,
        /// Intervals.
        rows: usize,
    },
    /// Too much structure below /64 in all.
    #[error(
        "networks longer than /64 come to {0} intervals or more, at most {LOW_ROWS} fit: merge some, or widen them to /64"
    )]
    TooManyLow(usize),
    /// A tree would have more nodes than their numbers.
    #[error("too many IPv6 networks: {0} interval starts, at most {MAX_V6_STARTS} fit")]
    TooManyV6(usize),
    /// The tree would be deeper than look-ups go.
    #[error("networks too unevenly spread for look-ups of {0} steps: merge some of those next to each other")]
    TooDeep(u32),
}
