//! A policy by digest and mode.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::Mode;

/// Which policy, and whether it is enforced: in confirmations, status, alerts and reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyRef {
    /// The policy's digest: SHA-256 in hexadecimal.
    pub digest: String,
    /// Whether denied packets are dropped.
    pub mode: Mode,
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.digest, self.mode)
    }
}
