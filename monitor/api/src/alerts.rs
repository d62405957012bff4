//! The alert document, served at `/api/v1/alerts`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Alerts {
    /// The latest alerts, oldest first, as they were written; each follows `docs/alert.schema.json`.
    pub alerts: Vec<Value>,
    /// Lines that some output did not take, or that found the queue full.
    pub lost: u64,
    /// Lines that every output took.
    pub written: u64,
}
