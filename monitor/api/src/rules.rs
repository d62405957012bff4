//! The rule document: served at `/api/v1/rules`, printed by `egress-monitor rules`.

use serde::{Deserialize, Serialize};

use crate::{head::Head, status::Sums};

/// A rule's daily budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BudgetRow {
    /// What it may let through in a UTC day, in bytes on the wire.
    pub bytes_per_day: u64,
    /// What it has let through today.
    pub used: u64,
    /// Of that, what passed before it could be suspended.
    pub beyond: u64,
    /// Suspended since, RFC 3339; none: it holds.
    pub suspended_since: Option<String>,
    /// The midnight at which the day ends.
    pub until: String,
}

/// A rule, and what it decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleRow {
    /// Its id.
    pub rule: String,
    /// `allow` or `deny`; none for one that is no longer in force.
    pub action: Option<String>,
    /// `holds`, `not_yet`, `expired`, `suspended` (its budget is used up), `former` (not in force any more).
    pub state: String,
    /// `file:line`.
    pub origin: Option<String>,
    /// In force since, as far back as this daemon knows.
    pub since: Option<String>,
    /// Flows that it decided.
    pub flows: u64,
    /// Their sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// First packet that it decided, RFC 3339; none: it was never hit.
    pub first_hit: Option<String>,
    /// Last packet.
    pub last_hit: Option<String>,
    /// Holds from, RFC 3339.
    pub not_before: Option<String>,
    /// Holds until.
    pub expires: Option<String>,
    /// Its daily budget.
    pub budget: Option<BudgetRow>,
    /// Who answers for it; empty where the configuration does not say, as what follows.
    pub owner: String,
    /// Where it was asked for.
    pub ticket: String,
    /// What it rests on.
    pub legal_basis: String,
    /// Why.
    pub reason: String,
}

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rules {
    /// Whose.
    #[serde(flatten)]
    pub head: Head,
    /// Counting since, RFC 3339.
    pub since: String,
    /// Counted until the close of the last epoch.
    pub until: Option<String>,
    /// The policy's rules, in its order.
    pub rules: Vec<RuleRow>,
    /// Of these, the ids of those that decided nothing since they are in force.
    pub never_hit: Vec<String>,
    /// Rules that decided something since the start and are no longer in force.
    pub former: Vec<RuleRow>,
    /// What the kernel's flow table had no place for: which rules decided it is not known.
    pub overflow: Sums,
}
