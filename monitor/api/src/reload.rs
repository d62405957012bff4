//! What came of a reload, a trial or a confirmation: the answer of `POST /api/v1/policy/reload`, `/try` and `/confirm`,
//! printed by the commands of the same names; and what is on trial.

use std::path::PathBuf;

use monitor_policy::PolicyRef;
use serde::{Deserialize, Serialize};

/// Where a configuration is put on trial.
pub const TRY: &str = "/api/v1/policy/try";

/// What is on trial.
pub const TRIAL: &str = "/api/v1/policy/trial";

/// Longest configuration that is put on trial, in bytes.
pub const MAX_CANDIDATE: usize = 16 << 20;

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

/// What is on trial: the answer of `GET /api/v1/policy/trial`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trial {
    /// What is in force now.
    pub policy: PolicyRef,
    /// Until when it is to be confirmed; `None`: nothing is on trial.
    pub unconfirmed: Option<PendingStatus>,
    /// What was put on trial by `egress-monitor try`, and is in no file yet; `None`: it was read from its file.
    pub candidate: Option<Candidate>,
}

/// A configuration that was put on trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Candidate {
    /// The file that it is to be in.
    pub file: PathBuf,
    /// What it says.
    pub text: String,
}
