//! Which findings are open: raised and resolved by whoever finds out, an alert out when one begins and one when it
//! ends, so that a loss is never silent and never floods either.

use std::collections::BTreeMap;

use crate::model::{
    Alert,
    finding::{Detail, FindingKind, FindingReport},
};

/// The findings that are open.
#[derive(Debug, Default)]
pub struct OpenFindings {
    /// Since when, UTC nanoseconds since 1970; of some kinds there are several, each of its own subject.
    open: BTreeMap<(FindingKind, String), i128>,
}

impl OpenFindings {
    /// Raises the finding while there is something to say of it, resolves it while not. An alert comes out when that
    /// changes; one that counts [every time](FindingKind::every_time) alerts whenever it is raised.
    pub fn report(&mut self, kind: FindingKind, detail: Option<Detail>, now: i128) -> Option<Alert> {
        self.report_of((kind, ""), detail, now)
    }

    /// The same of a finding that can hold of several things at once, of one of them.
    pub fn report_of(
        &mut self,
        (kind, subject): (FindingKind, &str),
        detail: Option<Detail>,
        now: i128,
    ) -> Option<Alert> {
        match detail {
            Some(detail) => self.raise((kind, subject), detail, now),
            None => self.resolve((kind, subject), now),
        }
    }

    fn raise(&mut self, (kind, subject): (FindingKind, &str), detail: Detail, now: i128) -> Option<Alert> {
        let key = (kind, subject.to_owned());
        if self.open.contains_key(&key) && !kind.every_time() {
            return None;
        }
        self.open.insert(key, now);
        let subject = subject.to_owned();
        Some(Alert::Finding(FindingReport { kind, subject, detail, since: now, at: now, resolved: false }))
    }

    fn resolve(&mut self, (kind, subject): (FindingKind, &str), now: i128) -> Option<Alert> {
        let since = self.open.remove(&(kind, subject.to_owned()))?;
        let text = if subject.is_empty() { "resolved".into() } else { format!("'{subject}': resolved") };
        let (subject, detail) = (subject.to_owned(), text.into());
        Some(Alert::Finding(FindingReport { kind, subject, detail, since, at: now, resolved: true }))
    }

    /// The things of which a finding is open.
    pub fn subjects(&self, kind: FindingKind) -> impl Iterator<Item = &str> {
        self.open.keys().filter(move |(other, _)| *other == kind).map(|(_, subject)| subject.as_str())
    }

    /// The findings that are open, each with since when it first is.
    pub fn open(&self) -> impl Iterator<Item = (FindingKind, i128)> {
        let mut first: BTreeMap<FindingKind, i128> = BTreeMap::new();
        for ((kind, _), since) in &self.open {
            first.entry(*kind).and_modify(|there| *there = (*there).min(*since)).or_insert(*since);
        }
        first.into_iter()
    }
}

/// An alert on something that happens and is over: nothing that is raised and resolved. The text distinguishes it from
/// others of its kind at the same time.
pub fn notice(kind: FindingKind, detail: impl Into<Detail>, now: i128) -> Alert {
    let detail = detail.into();
    Alert::Finding(FindingReport { kind, subject: detail.text.clone(), detail, since: now, at: now, resolved: false })
}
