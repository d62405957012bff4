//! The document of sinks: served at `/api/v1/sinks`, printed by `egress-monitor sinks`.

use serde::{Deserialize, Serialize};

/// One sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SinkRow {
    /// Its name.
    pub name: String,
    /// `stdout`, `file`, `webhook`, `alertmanager`, `syslog` or `journal`.
    pub kind: String,
    /// What it promises of what it has taken: `durable`, `at least once` or `handed over`.
    pub promise: String,
    /// The sequence that it is to take next.
    pub next: u64,
    /// Alerts that are kept and that it has not taken.
    pub backlog: u64,
    /// For how long the oldest of these has waited.
    pub oldest_seconds: u64,
    /// Alerts that it took since the start.
    pub delivered: u64,
    /// Times that it was tried again.
    pub retried: u64,
    /// Alerts that its receiver refused for good.
    pub rejected: u64,
    /// When it took one last, RFC 3339; none: not since the start.
    pub last_success: Option<String>,
    /// What it, or its receiver, said last.
    pub answer: String,
}

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sinks {
    /// The sequence that the next alert gets.
    pub next: u64,
    /// Alerts that wait to be written to disk.
    pub queued: u64,
    /// Why alerts can't be kept on disk, while that is so.
    pub unwritable: Option<String>,
    /// Alerts that found no room to wait, since the start.
    pub lost: u64,
    /// Alerts that went before a sink had taken them, counted for each such sink, since the start.
    pub gone: u64,
    /// Where alerts go.
    pub sinks: Vec<SinkRow>,
}
