//! What is done about tampering. What each look at the kernel saw in; what is to be put right, and what there is to tell,
//! out. Pure: the kernel part looks and mends (`kernel/watch`), the daemon's source asks here in between.
//!
//! What is seen in one look and the next is one and the same, unless it was put right in between. It is put right at most
//! three times in ten minutes for each thing of each kind: after that somebody else wants it otherwise, and two programs that
//! undo each other's work cost more packets than they save.

mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

pub use report::TamperFindings;

use crate::model::{
    FindingKind, TamperReport,
    tamper::{Healing, Sighting, Tampering},
};

/// How often something is put right within [`WINDOW`].
pub const MOST: usize = 3;

/// For how long that counts.
pub const WINDOW: Duration = Duration::from_mins(10);

/// Before what could not be put right is tried again.
const RETRY: Duration = Duration::from_mins(1);

/// `[monitor] heal` and `heal_order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// When something is put right.
    pub heal: When,
    /// Whether programs ahead of ours are overtaken, too.
    pub order: bool,
}

/// In which modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// In enforce mode.
    #[default]
    Enforcing,
    /// In both.
    Always,
    /// In none.
    Never,
}

type Of = (FindingKind, String);

/// What is known of tampering.
#[derive(Debug)]
pub struct Warden {
    wanted: Wanted,
    report: TamperReport,
    /// Seen once, with the number that it is to be seen with again.
    suspected: BTreeMap<Of, i128>,
    /// When each was put right.
    healed: BTreeMap<Of, VecDeque<Instant>>,
    /// When each could not be.
    failed: BTreeMap<Of, (Instant, String)>,
    contended: BTreeSet<Of>,
}

/// What came of a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Places in [`TamperReport::open`] of what is to be put right.
    pub heal: Vec<usize>,
    /// Something is to be looked at again soon.
    pub soon: bool,
}

impl Warden {
    /// One that has seen nothing.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            report: TamperReport::default(),
            suspected: BTreeMap::new(),
            healed: BTreeMap::new(),
            failed: BTreeMap::new(),
            contended: BTreeSet::new(),
        }
    }

    /// Takes what a look saw; `at` by both clocks.
    pub fn look(&mut self, seen: Vec<Sighting>, enforces: bool, at: (Instant, i128)) -> Decided {
        let mut decided = Decided::default();
        let before = std::mem::take(&mut self.report.open);
        let suspected = std::mem::take(&mut self.suspected);
        self.report.looked = at.1;
        for sighting in seen {
            let of = (sighting.kind, sighting.subject.clone());
            if let Some(number) = sighting.again
                && suspected.get(&of) != Some(&number)
            {
                self.suspected.insert(of, number);
                decided.soon = true;
                continue;
            }
            let known = before.iter().find(|one| is(one, &of) && !matches!(one.healing, Healing::Done(_)));
            let since = known.map_or(at.1, |known| known.since);
            if known.is_none() {
                tracing::error!(kind = of.0.name(), of = of.1, what = sighting.what, "tampering");
                self.report.times.entry(of.0).or_default().found += 1;
            }
            let healing = self.decide(&of, enforces, at.0);
            let tampering = Tampering { sighting, since, healing: healing.unwrap_or(Healing::NotWanted) };
            if known.is_none() {
                self.report.last = Some(tampering.clone());
            }
            if self.is_due(&tampering, enforces) {
                decided.heal.push(self.report.open.len());
            }
            self.report.open.push(tampering);
        }
        self.forget(at.0);
        self.report.contended = self.contended.iter().cloned().collect();
        decided
    }

    /// What became of what was to be put right.
    pub fn healed(&mut self, place: usize, result: Result<(), String>, now: Instant) {
        let Some(tampering) = self.report.open.get_mut(place) else { return };
        let of = (tampering.sighting.kind, tampering.sighting.subject.clone());
        match result {
            Ok(()) => {
                let times = self.healed.entry(of.clone()).or_default();
                times.push_back(now);
                tampering.healing = Healing::Done(times.len());
                self.failed.remove(&of);
                self.report.times.entry(of.0).or_default().healed += 1;
                tracing::warn!(kind = of.0.name(), of = of.1, "put right");
            }
            Err(why) => {
                tracing::error!(kind = of.0.name(), of = of.1, why, "could not be put right");
                tampering.healing = Healing::Failed(why.clone());
                self.failed.insert(of, (now, why));
            }
        }
        if let Some(last) = self.report.last.as_mut().filter(|last| last.sighting == tampering.sighting) {
            last.healing = tampering.healing.clone();
        }
    }

    /// When all bytes had been compared.
    pub fn compared(&mut self, at: i128) {
        self.report.compared = Some(at);
    }

    /// What there is to tell.
    pub const fn report(&self) -> &TamperReport {
        &self.report
    }

    /// Whether such a thing is put right in this mode.
    fn wants(&self, kind: FindingKind, enforces: bool) -> bool {
        let in_mode = match self.wanted.heal {
            When::Enforcing => enforces,
            When::Always => true,
            When::Never => false,
        };
        match kind {
            FindingKind::ChangedOnDisk => false,
            FindingKind::ProgramAhead => in_mode && self.wanted.order,
            _ => in_mode,
        }
    }

    /// What is known before anything is done; `None`: it is to be put right, or nobody wants it.
    fn decide(&mut self, of: &Of, enforces: bool, now: Instant) -> Option<Healing> {
        if !self.wants(of.0, enforces) {
            self.contended.remove(of);
            return None;
        }
        if let Some((at, why)) = self.failed.get(of)
            && now.saturating_duration_since(*at) < RETRY
        {
            return Some(Healing::Failed(why.clone()));
        }
        let recent = self.healed.get_mut(of).map_or(0, |times| {
            times.retain(|time| now.saturating_duration_since(*time) < WINDOW);
            times.len()
        });
        if recent < MOST {
            self.contended.remove(of);
            return None;
        }
        self.contended.insert(of.clone());
        Some(Healing::Contended)
    }

    fn is_due(&self, tampering: &Tampering, enforces: bool) -> bool {
        tampering.healing == Healing::NotWanted && self.wants(tampering.sighting.kind, enforces)
    }

    /// Of what is over, nothing is kept for longer than it counts. What was contended and is right again by other means is
    /// contended until then.
    fn forget(&mut self, now: Instant) {
        self.healed.retain(|_, times| {
            times.retain(|time| now.saturating_duration_since(*time) < WINDOW);
            !times.is_empty()
        });
        let open = &self.report.open;
        self.failed.retain(|of, _| open.iter().any(|one| is(one, of)));
        self.contended.retain(|of| self.healed.contains_key(of));
    }
}

fn is(tampering: &Tampering, (kind, subject): &Of) -> bool {
    tampering.sighting.kind == *kind && tampering.sighting.subject == *subject
}
