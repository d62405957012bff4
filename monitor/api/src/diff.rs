//! What another configuration would change: printed by `egress-monitor diff --json`.

use serde::Serialize;

pub use monitor_policy::diff::{Change, Diff, Group, Location, Networks, RuleChange, RuleTerms, Verdict};

use crate::{needs::CutOff, status::Sums};

/// The document.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiffDocument {
    /// The two policies, compared network by network.
    #[serde(flatten)]
    pub diff: Diff,
    /// What left in the last hour, by both; none where no daemon was asked.
    pub traffic: Option<Traffic>,
    /// What this host needs and the new policy drops in its mode, though the old one does not; empty where no daemon was
    /// asked.
    pub cut_off: Vec<CutOff>,
}

/// What left in the last hour, by both policies.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Traffic {
    /// Since when, RFC 3339.
    pub since: String,
    /// What the new policy drops in its mode, and the old one lets through in its own.
    pub starts_dropping: Sums,
    /// The other way round.
    pub stops_dropping: Sums,
    /// What fares otherwise: what starts to be dropped first, then what stops to be, each of most bytes first.
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
    /// What becomes of its packets, by verdict and mode.
    pub fate: Fate,
    /// How many flows.
    pub flows: u64,
    /// Their sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// Destinations, those of most bytes first; at most five.
    pub destinations: Vec<String>,
}

/// What becomes of packets under one policy and the other, each in its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// They pass, and would be dropped.
    StartsDropping,
    /// They are dropped, and would pass.
    StopsDropping,
    /// They pass under both.
    Passes,
    /// They are dropped under both.
    Dropped,
}
