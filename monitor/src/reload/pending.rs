//! Commit-confirm: whether what is in force awaits confirmation, until when, and what comes back if nobody confirms.
//! Called by `super::reloader`, which swaps the policies.

use std::{sync::Arc, time::Duration};

use monitor_api::reload::PendingStatus;
use monitor_policy::{ClockMap, PolicyRef};
use tokio::time::Instant;

use super::{LONGEST, NotKept, confirmations::ConfirmationStore};
use crate::{
    model::{
        in_force::{PendingConfirmation, PolicyInForce, Trial},
        now, rfc3339, seconds,
    },
    store::SharedState,
};

/// How long to wait before a revert that failed is tried again: what is in force is what nobody wanted.
const RETRY: Duration = Duration::from_secs(1);

/// A confirmation that is awaited.
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// The whole time there was to confirm in.
    pub(super) within: Duration,
}

pub(super) struct CommitConfirm {
    store: ConfirmationStore,
    state: SharedState,
    /// What was confirmed last, or counts as such: what a revert puts in force.
    fallback: PolicyInForce,
    deadline: Option<Deadline>,
}

impl CommitConfirm {
    /// With nothing pending: `in_force` counts as confirmed.
    pub(super) const fn new(store: ConfirmationStore, state: SharedState, in_force: PolicyInForce) -> Self {
        Self { store, state, fallback: in_force, deadline: None }
    }

    /// Within what time a start with `policy` is to be confirmed, where `asked` or an earlier run wants that.
    pub(super) fn wanted_at_start(&self, policy: &PolicyRef, asked: Option<Duration>) -> Option<Duration> {
        let confirmed = !policy.mode.enforces() || self.store.is_confirmed(policy);
        asked.or(self.store.pending(policy)).filter(|_| !confirmed)
    }

    pub(super) const fn fallback(&self) -> &PolicyInForce {
        &self.fallback
    }

    /// What a revert puts in force, from now on; what is pending stays so.
    pub(super) fn set_fallback(&mut self, fallback: PolicyInForce) {
        self.fallback = fallback;
    }

    pub(super) fn ends(&self) -> Option<Instant> {
        self.deadline.as_ref().map(|deadline| deadline.at)
    }

    /// What is to come back, and in what time, where something awaits confirmation.
    pub(super) fn trial(&self) -> Option<Trial> {
        Some(self.trial_within(self.ends()?.saturating_duration_since(Instant::now())))
    }

    /// The same for what is about to.
    pub(super) fn trial_within(&self, within: Duration) -> Trial {
        Trial { fallback: self.fallback.clone(), within: within.min(LONGEST) }
    }

    /// From now on, for `within`, what is in force awaits confirmation.
    pub(super) fn begin(&mut self, within: Duration) {
        let within = within.min(LONGEST);
        let ends = Instant::now() + within;
        self.deadline = Some(Deadline { at: ends, within });
        let back = self.fallback.reference();
        tracing::info!(seconds = within.as_secs(), back_to = back.digest, mode = back.mode.name(), "to be confirmed");
        self.state.write().unconfirmed = Some(PendingConfirmation { ends: ends.into_std(), back_to: back });
    }

    /// The time is over: nothing is pending for the reloader, and the status says so only after the revert.
    pub(super) fn expire(&mut self) -> Option<Deadline> {
        self.deadline.take()
    }

    /// The revert failed: it is tried again soon.
    pub(super) fn retry(&mut self, expired: &Deadline) {
        self.deadline = Some(Deadline { at: Instant::now() + RETRY, within: expired.within });
    }

    /// `policy` counts as confirmed: nothing is pending, and it is what comes back from now on.
    pub(super) fn accept(&mut self, policy: PolicyInForce) {
        self.fallback = policy;
        self.deadline = None;
        self.state.write().unconfirmed = None;
    }

    /// The times of rules in what comes back, by another clock.
    pub(super) fn retime(&mut self, clock: &ClockMap) {
        self.fallback = retimed(&self.fallback, clock);
    }

    /// Notes for a restart that `policy` is in force, and whether it awaits confirmation.
    pub(super) fn remember(&mut self, policy: &PolicyRef) {
        let Some(deadline) = &self.deadline else { return self.store.forget_pending() };
        if let Err(error) = self.store.keep_pending(policy, deadline.within) {
            let warning = error.to_string();
            tracing::warn!(warning, "a restart will not know that this policy is to be confirmed");
        }
    }

    /// Nothing is pending any more, for a restart too.
    pub(super) fn forget_pending(&mut self) {
        self.store.forget_pending();
    }

    /// Keeps that somebody confirmed `policy`.
    pub(super) fn keep(&mut self, policy: &PolicyRef) -> Result<(), NotKept> {
        self.store.keep_confirmed(policy)
    }

    /// As it is shown.
    pub(super) fn status(&self) -> Option<PendingStatus> {
        self.state.read().unconfirmed.as_ref().map(|pending| pending.status(now()))
    }
}

/// The same with the times of its rules by another clock. No file is read: it may hold what nobody asked to be in force.
pub(super) fn retimed(of: &PolicyInForce, clock: &ClockMap) -> PolicyInForce {
    PolicyInForce { policy: Arc::new(of.policy.retimed(clock)), ..of.clone() }
}

impl PendingConfirmation {
    /// As it is shown when the wall clock says `now` (UTC nanoseconds since 1970), whatever it said before.
    pub fn status(&self, now: i128) -> PendingStatus {
        let left =
            i128::try_from(self.ends.saturating_duration_since(Instant::now().into_std()).as_nanos()).unwrap_or(0);
        PendingStatus { until: rfc3339(now + left), seconds_left: seconds(left), back_to: self.back_to.clone() }
    }
}
