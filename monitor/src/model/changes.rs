//! What changed of policy, mode and the daemon itself, by whom: alerts in, the record of the latest of them out, for
//! `egress-monitor changes`. Bounded: what is oldest is forgotten.

use std::collections::VecDeque;

use monitor_api::changes::Change;

use super::{Alert, FindingKind, rfc3339};

/// Changes on record.
pub const MOST: usize = 1_000;

/// Alerts that are changes.
const KINDS: [FindingKind; 10] = [
    FindingKind::PolicyChanged,
    FindingKind::ModeChanged,
    FindingKind::PolicyReverted,
    FindingKind::PolicyRolledBack,
    FindingKind::ChangeWaits,
    FindingKind::LastGoodPolicy,
    FindingKind::ObservedAlone,
    FindingKind::ClockReset,
    FindingKind::Started,
    FindingKind::Killed,
];

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeRecord {
    latest: VecDeque<Change>,
    forgotten: bool,
    noted: u64,
}

impl ChangeRecord {
    /// As it was kept.
    pub fn of(kept: Vec<Change>, forgotten: bool) -> Self {
        Self { latest: kept.into(), forgotten, noted: 0 }
    }

    /// Goes on from what an earlier daemon had.
    pub fn follow(&mut self, before: Self) {
        let own = std::mem::replace(&mut self.latest, before.latest);
        self.forgotten |= before.forgotten;
        self.latest.extend(own);
        self.limit();
    }

    /// Puts an alert on record that is a change.
    pub fn note(&mut self, alert: &Alert) {
        let Alert::Finding(finding) = alert else { return };
        if finding.resolved || !KINDS.contains(&finding.kind) {
            return;
        }
        let by = &finding.detail.by;
        self.latest.push_back(Change {
            time: rfc3339(finding.at),
            kind: finding.kind.name().into(),
            severity: finding.severity().name().into(),
            what: finding.detail.text.strip_suffix(&format!("; by {by}")).unwrap_or(&finding.detail.text).into(),
            by: (!by.is_empty()).then(|| by.clone()),
        });
        self.noted += 1;
        self.limit();
    }

    fn limit(&mut self) {
        while self.latest.len() > MOST {
            self.latest.pop_front();
            self.forgotten = true;
        }
    }

    /// What is on record, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Change> {
        self.latest.iter()
    }

    /// Whether there was more.
    pub const fn forgotten(&self) -> bool {
        self.forgotten
    }

    /// How many this daemon has put on record: whether there are new ones.
    pub const fn noted(&self) -> u64 {
        self.noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{Detail, FindingReport};

    fn alert(kind: FindingKind, text: &str, by: &str, at: i128) -> Alert {
        let detail = Detail { by: by.into(), ..text.into() };
        Alert::Finding(FindingReport { kind, subject: String::new(), detail, since: at, at, resolved: false })
    }

    #[test]
    fn changes_are_on_record_with_who_made_them_and_other_alerts_are_not() {
        let mut record = ChangeRecord::default();
        record.note(&alert(FindingKind::ModeChanged, "observe → enforce; by uid 0, `x; by y`", "uid 0, `x; by y`", 0));
        record.note(&alert(FindingKind::StaleGeoData, "old", "", 1));
        record.note(&alert(FindingKind::Started, "version 1", "", 2_000_000_000));
        let mut over = alert(FindingKind::ChangeWaits, "resolved", "", 3);
        let Alert::Finding(finding) = &mut over else { panic!("a finding") };
        finding.resolved = true;
        record.note(&over);
        let told: Vec<_> = record.all().map(|of| (of.kind.as_str(), of.what.as_str(), of.by.as_deref())).collect();
        let mode = ("mode_changed", "observe → enforce", Some("uid 0, `x; by y`"));
        assert_eq!(told, [mode, ("started", "version 1", None)]);
        assert_eq!(record.all().last().map(|of| of.time.as_str()), Some("1970-01-01T00:00:02.000Z"));
    }

    #[test]
    fn what_is_oldest_is_forgotten_and_that_is_known() {
        let mut record = ChangeRecord::default();
        for number in 0..MOST {
            record.note(&alert(FindingKind::Started, &number.to_string(), "", 0));
        }
        assert!(!record.forgotten());
        let kept = ChangeRecord::of(record.all().cloned().collect(), record.forgotten());
        let mut next = ChangeRecord::default();
        next.note(&alert(FindingKind::Killed, "one more", "", 0));
        next.follow(kept);
        assert_eq!((next.all().count(), next.forgotten(), next.noted()), (MOST, true, 1));
        assert_eq!(next.all().next().map(|of| of.what.as_str()), Some("1"));
        assert_eq!(next.all().last().map(|of| of.what.as_str()), Some("one more"));
    }
}
