//! An alert as data: an incident, or a finding about the monitor. It holds names and not numbers, so that
//! it outlives policy and name tables; a sink encodes it when it writes it.

use super::{finding::FindingReport, incident::IncidentAlert, severity::Severity};

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alert {
    /// Something leaves for a place the policy does not allow out, or may.
    Incident(Box<IncidentAlert>),
    /// Something is wrong with the monitor, or is no longer.
    Finding(FindingReport),
}

impl Alert {
    /// How bad.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Incident(incident) => incident.severity(),
            Self::Finding(finding) => finding.severity(),
        }
    }

    /// The incident's kind, or the finding's name: the metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Incident(alert) => alert.incident.kind.name(),
            Self::Finding(finding) => finding.kind.name(),
        }
    }
}
