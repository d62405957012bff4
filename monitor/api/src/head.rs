//! Whose counts a document has: with it a file that somebody saved says by itself what it is.

use serde::{Deserialize, Serialize};

/// The host, and what it counted by when the document was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Head {
    /// Host name.
    pub host: String,
    /// Version of the daemon.
    pub version: String,
    /// Boot of the host, as in `status`.
    pub boot_id: String,
    /// `observe` or `enforce`.
    pub mode: String,
    /// `zone.name`.
    pub zone: String,
    /// Digest of the policy in force.
    pub policy: String,
}
