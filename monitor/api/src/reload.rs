//! What came of a reload or a confirmation: the answer of `POST /api/v1/policy/reload` and `/confirm`, printed by the
//! commands of the same names.

use monitor_policy::PolicyRef;
use serde::{Deserialize, Serialize};

/// That a policy is yet to be confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PendingStatus {
    /// Until when, RFC 3339.
    pub until: String,
    /// The same in seconds from now.
    pub seconds_left: i64,
    /// What comes back then.
    pub back_to: PolicyRef,
}

/// What came of a reload or a confirmation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// What is in force now.
    pub policy: PolicyRef,
    /// Whether that is another policy or mode than before.
    pub changed: bool,
    /// Until when it is to be confirmed; `None`: it stays.
    pub unconfirmed: Option<PendingStatus>,
    /// What did not go as it should all the same.
    pub warning: Option<String>,
}
