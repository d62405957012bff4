//! One finding, as it is raised and resolved.

use super::FindingKind;
use crate::model::severity::Severity;

/// What is known of a finding beside its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// For people.
    pub text: String,
    /// For [`FindingKind::UnaccountedEgress`], what was found where.
    pub unaccounted: Vec<Unaccounted>,
    /// For [`FindingKind::Heartbeat`], how it is.
    pub heartbeat: Option<Heartbeat>,
    /// Who did it, where somebody did: the text ends with it, behind `; by `.
    pub by: String,
    /// How bad this one is, where that is not as bad as its kind.
    pub severity: Option<Severity>,
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

/// What left an interface without passing the hook.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unaccounted {
    /// Interface.
    pub interface: String,
    /// Epoch in which it was found.
    pub epoch: u32,
    /// Packets found in it.
    pub packets: u64,
    /// Their bytes, as far as they are known.
    pub bytes: u64,
    /// Packets since the program was attached.
    pub total_packets: u64,
    /// Their bytes.
    pub total_bytes: u64,
}

/// How a monitor is that says that it works.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Heartbeat {
    /// Seconds since it began.
    pub uptime_seconds: i64,
    /// `observe` or `enforce`.
    pub mode: &'static str,
    /// Digest of the policy in force.
    pub policy: String,
    /// The epoch closed last; none before the first.
    pub epoch: Option<u32>,
    /// Alerts on disk since it began, heartbeats among them.
    pub alerts_kept: u64,
}

/// A finding that was raised or resolved, or a notice of something that is over as it is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingReport {
    /// What.
    pub kind: FindingKind,
    /// Of which thing, where it can hold of several at once; distinguishes it from others of its kind at the same time.
    pub subject: String,
    /// What is known of it.
    pub detail: Detail,
    /// Since when it is open, UTC nanoseconds since 1970.
    pub since: i128,
    /// When it was raised or resolved.
    pub at: i128,
    /// Whether it holds no longer.
    pub resolved: bool,
}

impl FindingReport {
    /// How bad.
    pub const fn severity(&self) -> Severity {
        match self.detail.severity {
            _ if self.resolved => Severity::Informational,
            Some(severity) => severity,
            None => self.kind.severity(),
        }
    }
}
