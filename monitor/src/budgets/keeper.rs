//! The running day's sums and the file that they are kept in, for the epoch task: epochs in, the policy without the rules
//! that are used up out.

use std::{path::Path, sync::Arc};

use super::{Budgets, Day, has_any, store::Store};
use crate::{epochs::Snapshot, policy::Policy};

/// The file is written at most so often (nanoseconds): `status` may end an epoch twenty times a second.
const SAVE_EVERY: i128 = 1_000_000_000;

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    sums: Budgets,
    store: Option<Store>,
    unsaved: bool,
    saved: i128,
    problem: Option<String>,
    /// Whether there has been a rule with a budget.
    needed: bool,
}

impl Keeper {
    /// With the sums that `directory` has of the day of `now` (UTC nanoseconds since 1970).
    #[must_use]
    pub fn open(directory: &Path, now: i128) -> Self {
        let (store, today) = (Store::new(directory), Day::of(now));
        let (sums, problem) = match store.load(today) {
            Ok(sums) => (sums, None),
            Err(why) => (Budgets::new(today), Some(why)),
        };
        // A file that is no good is replaced.
        Self { sums, store: Some(store), unsaved: problem.is_some(), saved: 0, problem, needed: false }
    }

    /// One that keeps nothing over a restart.
    #[must_use]
    pub const fn in_memory() -> Self {
        Self { sums: Budgets::new(Day(0)), store: None, unsaved: false, saved: 0, problem: None, needed: false }
    }

    /// The sums.
    #[must_use]
    pub const fn sums(&self) -> &Budgets {
        &self.sums
    }

    /// What is wrong with the file, if that matters to this policy.
    #[must_use]
    pub fn problem(&self, policy: &Policy) -> Option<&str> {
        self.problem.as_deref().filter(|_| has_any(policy))
    }

    /// Counts an epoch, and writes the file if it is time.
    pub fn count(&mut self, snapshot: &Snapshot) {
        self.unsaved |= self.sums.count(snapshot);
        // Without budgets the directory is none of our business.
        self.needed |= has_any(&snapshot.policy);
        if (snapshot.ended - self.saved).abs() >= SAVE_EVERY {
            self.save(snapshot.ended);
        }
    }

    /// Writes what is not written yet.
    pub fn save(&mut self, now: i128) {
        let Some(store) = self.store.as_ref().filter(|_| self.unsaved && self.needed) else { return };
        // A day on which no rule with a budget has sent anything needs no file, but replaces one.
        if self.sums.used.is_empty() && self.problem.is_none() && !store.path().exists() {
            self.unsaved = false;
            return;
        }
        self.saved = now;
        match store.save(&self.sums) {
            Ok(()) => (self.unsaved, self.problem) = (false, None),
            Err(why) => self.problem = Some(why),
        }
    }

    /// The policy without the rules that have nothing left; the same where nothing changes.
    #[must_use]
    pub fn hold(&self, policy: &Arc<Policy>) -> Arc<Policy> {
        policy.suspending(&self.sums.used_up(policy))
    }
}
