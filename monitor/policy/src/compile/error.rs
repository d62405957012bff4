//! Why a checked configuration has no policy.

use monitor_common::{classify::build::BuildError, wire::MAX_RULES_PER_CLASS};

use crate::origin::Origin;

/// Rules are numbered from 1 in 16 bits; one is management's.
pub(super) const MAX_RULES: usize = u16::MAX as usize - 1;

/// Why a checked configuration can't be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// More rule rows cover one network than the kernel looks at.
    #[error(
        "at {at} the rules {rules} come to more than {max} port ranges: merge ranges or leave 'ports' out",
        max = MAX_RULES_PER_CLASS
    )]
    TooManyRules {
        /// Its first address.
        at: String,
        /// Which: id and origin of each.
        rules: String,
    },
    /// A rule names an autonomous system, and nothing says which networks that has.
    #[error("rule '{id}' ({origin}) names AS{asn}, and no dataset says what that is: name one by [geo] asn")]
    NoAsDataset {
        /// The rule.
        id: String,
        /// Where the number stands.
        origin: Origin,
        /// The number.
        asn: u32,
    },
    /// More rules than numbers.
    #[error("{0} rules, at most {MAX_RULES} fit: put networks with equal terms into one rule")]
    TooManyRulesInAll(usize),
    /// A source's ranges overlap or are out of order.
    #[error("geo source '{name}': {family} range {index} overlaps or precedes the one before it: import it anew")]
    BadDataset {
        /// The source.
        name: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Which range, from 0.
        index: usize,
    },
    /// Networks longer than /64 come to more than fits.
    #[error("{origin}: {error}; {name} has {networks} of them here")]
    BelowSixtyFour {
        /// Where the first of them stands, of whoever has most.
        origin: String,
        /// What does not fit.
        error: BuildError,
        /// Whose they are.
        name: String,
        /// How many.
        networks: usize,
    },
    /// The index can't be built.
    #[error("{0}")]
    Build(#[from] BuildError),
}
