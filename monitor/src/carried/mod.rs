//! Totals that go on from one life of the daemon to the next: written to a file of `[paths] state` after each epoch, read by
//! a start that takes over what the one before left in the kernel. Called by the daemon's start, and by the engine as a
//! consumer.
//!
//! They are of one boot and of programs that went on: after a reboot, and where the programs were taken off in between,
//! something left that nobody counted, and totals begin anew.

mod document;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::document::Document;
use crate::{
    engine::pipeline::{Consumer, Findings},
    model::{ClosedEpoch, FindingKind, Succession, identities::Identities},
    storage::state::StateDirectory,
    store::{MonitorState, totals::Totals},
};

/// The file's name.
pub const FILE: &str = "totals.json";

/// How long it rests for each byte: a megabyte is written once in a second.
const REST: Duration = Duration::from_micros(1);

/// Totals of the lives before.
#[derive(Debug, Default)]
pub struct Before {
    /// The names in them.
    pub identities: Arc<Identities>,
    /// The totals.
    pub totals: Totals,
    /// Since when they count, UTC nanoseconds since 1970; `None`: there were none.
    pub since: Option<i128>,
}

/// Writes them down.
#[derive(Debug)]
pub struct Carried {
    state: StateDirectory,
    boot_id: String,
    /// When it is to be written again.
    rested: Instant,
    /// The last epoch that is not in the file.
    unsaved: Option<u32>,
    problem: Option<String>,
}

impl Carried {
    /// Of this boot; and what the life before has left, if this one goes on where it ended. What is missing between them is
    /// added to what the start found.
    pub fn open(state: StateDirectory, boot_id: &str, succession: &mut Succession) -> (Self, Before) {
        let before = read(&state, boot_id, succession);
        if before.is_none() && succession.adopts {
            let file = state.path().join(FILE);
            succession.unreadable.push(format!(
                "{} is not there, is damaged, or ends elsewhere than what was taken over: the totals begin anew",
                file.display()
            ));
        }
        let before = before.unwrap_or_default();
        let own = Self { state, boot_id: boot_id.to_owned(), rested: Instant::now(), unsaved: None, problem: None };
        (own, before)
    }

    fn save(&mut self, state: &MonitorState, epoch: u32) {
        let document = Document::of(&state.traffic, &self.boot_id, state.since, epoch);
        let written = self.state.write_for_this_boot(FILE, &document);
        let length = written.as_ref().map_or(0, |length| u32::try_from(*length).unwrap_or(u32::MAX));
        self.rested = Instant::now() + REST * length;
        self.problem = written.err().map(|error| {
            let file = self.state.path().join(FILE);
            let file = file.display();
            format!("{file}: {error}: make room, or set [paths] state to a directory that can be written")
        });
        self.unsaved = self.problem.is_some().then_some(epoch);
    }
}

impl Consumer for Carried {
    fn publish(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let number = epoch.snapshot.epoch;
        if Instant::now() < self.rested {
            self.unsaved = Some(number);
            return;
        }
        self.save(state, number);
        findings.report(FindingKind::TotalsState, self.problem.clone());
    }

    fn stopped(&mut self, _: i128, state: &mut MonitorState, _: &mut Findings<'_>) {
        if let Some(epoch) = self.unsaved {
            self.save(state, epoch);
        }
    }
}

/// What the life before left, if this one goes on where it ended.
fn read(state: &StateDirectory, boot_id: &str, succession: &mut Succession) -> Option<Before> {
    // The first epoch of this life; those before it are the ones that were left.
    let first = succession.first_epoch?;
    let document: Document = state.read(FILE)?;
    if !succession.adopts || document.boot_id != boot_id {
        return None;
    }
    let (saved, since) = (document.epoch, document.since);
    // One is open when a life ends, and one before it may be on its way. Any other that is in neither was taken, and not
    // written down any more.
    let open = first.wrapping_sub(1);
    let ahead = open.wrapping_sub(saved).cast_signed();
    if ahead < 0 {
        return None;
    }
    let mut identities = Arc::default();
    let totals = document.totals(&mut identities)?;
    let lost = (saved.wrapping_add(1)..open).filter(|epoch| !succession.left.contains(epoch)).count();
    if lost > 0 {
        succession.unreadable.push(format!(
            "{lost} epochs between {} and {open} were taken and not written down before it ended",
            saved.wrapping_add(1)
        ));
    }
    Some(Before { identities, totals, since: Some(since.into()) })
}

#[cfg(test)]
mod tests;
