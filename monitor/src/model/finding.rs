//! What can be wrong with the monitor: one table of findings, of which alerts, metrics, `status` and the reference in
//! `docs/` have their names. Consumers of an epoch raise and resolve them (see `engine::findings`); what there is to
//! say of one at a time is in `report`, the table in `table`.

mod report;
mod table;

pub use self::{
    report::{Detail, FindingReport, Heartbeat, Unaccounted},
    table::FindingKind,
};

use std::collections::BTreeSet;

use super::severity::Severity;

/// What there is to say of one finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    name: &'static str,
    severity: Severity,
    every_time: bool,
    title: &'static str,
    hint: &'static str,
}

impl FindingKind {
    /// The metric label, the name in `status`, and `unmapped.type` of its alerts.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// How bad.
    pub const fn severity(self) -> Severity {
        self.entry().severity
    }

    /// How bad its alerts can be: as bad as it is, worse where somebody opens what was closed, and nothing once it is
    /// over.
    pub fn severities(self) -> BTreeSet<Severity> {
        let worse = matches!(self, Self::PolicyChanged | Self::ModeChanged).then_some(Severity::High);
        [self.severity(), Severity::Informational].into_iter().chain(worse).collect()
    }

    /// For people, in one line.
    pub const fn title(self) -> &'static str {
        self.entry().title
    }

    /// What an operator is to do about it.
    pub const fn hint(self) -> &'static str {
        self.entry().hint
    }

    /// Whether it says that all is well: for receivers to miss, not for people to read.
    pub const fn is_heartbeat(self) -> bool {
        matches!(self, Self::Heartbeat)
    }

    /// Whether each time counts, and not only that it has begun.
    pub const fn every_time(self) -> bool {
        self.entry().every_time
    }
}

#[cfg(test)]
mod tests;
