//! What changed of policy, mode and the daemon, when and by whom: served at `/api/v1/changes`, printed by `egress-monitor
//! changes`.

use serde::{Deserialize, Serialize};

use crate::head::Head;

/// The page.
pub const PAGE: &str = "/api/v1/changes";

/// Its parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesQuery {
    /// Only the last so many seconds; none: all that is on record.
    pub since: Option<u32>,
}

/// Something that changed, as its alert told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// When, RFC 3339.
    pub time: String,
    /// The alert's type: `policy_changed`, `mode_changed`…
    #[serde(rename = "type")]
    pub kind: String,
    /// How bad: High where more passes than before.
    pub severity: String,
    /// What, with the digests of both policies.
    pub what: String,
    /// Who, by which command; none where nobody did.
    pub by: Option<String>,
}

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Changes {
    /// Whose.
    #[serde(flatten)]
    pub head: Head,
    /// What happened since then is here, RFC 3339; none: all that is on record.
    pub since: Option<String>,
    /// Whether something is not: the record is full, and forgets what is oldest.
    pub truncated: bool,
    /// Oldest first.
    pub changes: Vec<Change>,
}
