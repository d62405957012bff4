//! What another configuration would change: printed by `egress-monitor diff --json`.

use serde::Serialize;

pub use monitor_policy::diff::{Change, Diff, Group, Location, Networks, RuleChange, RuleTerms, Verdict};

use crate::status::Sums;

/// The document.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiffDocument {
    /// The two policies, compared network by network.
    #[serde(flatten)]
    pub diff: Diff,
    /// What left in the last hour, by both; none where no daemon was asked.
    pub traffic: Option<Traffic>,
}

/// What left in the last hour, by both policies.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Traffic {
    /// Since when, RFC 3339.
    pub since: String,
    /// What fares otherwise, of most bytes first.
    pub changes: Vec<TrafficChange>,
    /// What fares the same.
    pub same: Sums,
    /// What is not told apart by flow any more and was not evaluated.
    pub not_judged: Sums,
}

/// Traffic that fares otherwise.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrafficChange {
    /// Where it went, by the new policy.
    pub place: Location,
    /// What the old policy does.
    pub old: Verdict,
    /// What the new one does.
    pub new: Verdict,
    /// How many flows.
    pub flows: u64,
    /// Their sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// Destinations, those of most bytes first; at most five.
    pub destinations: Vec<String>,
}
