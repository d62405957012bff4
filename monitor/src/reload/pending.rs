//! Commit-confirm: whether what is in force awaits confirmation, until when, what comes back if nobody confirms, and what of
//! that is kept for a restart. Called by `super::reloader`, which swaps the policies.

use std::{sync::Arc, time::Duration};

use monitor_api::reload::PendingStatus;
use monitor_policy::{ClockMap, PolicyRef};
use tokio::time::Instant;

use super::{
    LONGEST, NotKept,
    confirmations::{CompiledFrom, ConfirmationStore},
    stamps::FileStamps,
};
use crate::{
    model::{
        in_force::{PendingConfirmation, PolicyInForce, Trial},
        now, rfc3339, seconds,
    },
    storage::state::StateDirectory,
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
    /// What the policy in force was compiled from; `None`: from what is kept.
    from: Option<CompiledFrom>,
    /// The same of what comes back.
    fallback_from: Option<CompiledFrom>,
    /// What is in force for good is kept, also without a confirmation: the daemon is nobody's that looks at it.
    keeps: bool,
    unkept: bool,
}

impl CommitConfirm {
    /// With nothing pending: `in_force` counts as confirmed.
    pub(super) fn new(
        store: ConfirmationStore,
        state: SharedState,
        (in_force, from): (PolicyInForce, Option<CompiledFrom>),
        keeps: bool,
    ) -> Self {
        let fallback_from = from.clone();
        Self { store, state, fallback: in_force, deadline: None, from, fallback_from, keeps, unkept: false }
    }

    /// What is in force was compiled from other files.
    pub(super) fn compiled_from(&mut self, from: CompiledFrom) {
        self.from = Some(from);
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
    pub(super) fn set_fallback(&mut self, fallback: PolicyInForce, from: Option<CompiledFrom>) {
        (self.fallback, self.fallback_from) = (fallback, from);
    }

    pub(super) fn ends(&self) -> Option<Instant> {
        self.deadline.as_ref().map(|deadline| deadline.at)
    }

    /// What the configuration says that is in force, where that is in no file: it is on trial, or the file is as it was when
    /// it was handed in.
    pub(super) fn handed_in(&self) -> Option<Arc<str>> {
        let from = self.from.as_ref().filter(|from| from.handed_in)?;
        let file = from.config.as_ref()?;
        let is_as_it_was = || FileStamps::look(std::slice::from_ref(file)).0.get(file) == from.stamps.0.get(file);
        // A file system that hangs holds up nobody else.
        if self.ends().is_some() || tokio::task::block_in_place(is_as_it_was) { from.text.clone() } else { None }
    }

    /// Whether what is in force was handed in, and not read from its file.
    pub(super) fn was_handed_in(&self) -> bool {
        self.from.as_ref().is_some_and(|from| from.handed_in)
    }

    /// What the configuration says that is in force; `None`: not known.
    pub(super) fn text(&self) -> Option<Arc<str>> {
        self.from.as_ref()?.text.clone()
    }

    /// Where all that is kept.
    pub(super) const fn state_directory(&self) -> &StateDirectory {
        self.store.state()
    }

    /// What was confirmed before this process began.
    pub(super) fn confirmed_before(&self) -> Option<&PolicyRef> {
        self.store.confirmed().map(|confirmed| &confirmed.policy)
    }

    /// What is to come back, and in what time, where something awaits confirmation.
    pub(super) fn trial(&self) -> Option<Trial> {
        Some(self.trial_within(self.ends()?.saturating_duration_since(Instant::now())))
    }

    /// The same for what is about to.
    pub(super) fn trial_within(&self, within: Duration) -> Trial {
        Trial { fallback: self.fallback.clone(), within: within.min(LONGEST), mode_ends: false }
    }

    /// From now on, for `within`, what is in force awaits confirmation.
    pub(super) fn begin(&mut self, within: Duration) {
        let from = self.from.as_ref().filter(|from| from.handed_in);
        let candidate = from.and_then(|from| Some((from.config.clone()?, from.text.clone()?)));
        let within = within.min(LONGEST);
        let ends = Instant::now() + within;
        self.deadline = Some(Deadline { at: ends, within });
        let back = self.fallback.reference();
        tracing::info!(seconds = within.as_secs(), back_to = back.digest, mode = back.mode.name(), "to be confirmed");
        self.state.write().unconfirmed = Some(PendingConfirmation { ends: ends.into_std(), back_to: back, candidate });
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
        self.set_fallback(policy, self.from.clone());
        self.deadline = None;
        self.state.write().unconfirmed = None;
    }

    /// The times of rules in what comes back, by another clock.
    pub(super) fn retime(&mut self, clock: &ClockMap) {
        self.fallback = retimed(&self.fallback, clock);
    }

    /// What comes back is in force again.
    pub(super) fn reverted(&mut self, policy: PolicyInForce) {
        self.from = self.fallback_from.clone();
        self.accept(policy);
    }

    /// Keeps for a restart that `policy` is about to await confirmation, in this time or in what there is already. Whether
    /// it is kept.
    pub(super) fn note(&mut self, policy: &PolicyRef, within: Option<Duration>, from: &CompiledFrom) -> bool {
        let Some(within) = within.or(self.deadline.as_ref().map(|deadline| deadline.within)) else { return false };
        let store = &mut self.store;
        // As below.
        let kept = tokio::task::block_in_place(|| store.keep_pending(policy, within, from));
        self.report(kept).is_ok()
    }

    /// Keeps for a restart that `policy` is in force, and whether it awaits confirmation.
    pub(super) fn remember(&mut self, policy: &PolicyRef) {
        let Some(from) = &self.from else { return };
        let store = &mut self.store;
        // A file system that hangs holds up nobody else.
        let kept = tokio::task::block_in_place(|| match &self.deadline {
            Some(deadline) => store.keep_pending(policy, deadline.within, from),
            None => {
                let kept = if self.keeps { store.keep_confirmed(policy, from) } else { Ok(()) };
                store.forget_pending();
                kept
            }
        });
        // Reported there.
        let _ = self.report(kept);
    }

    /// The same again, where it could not be.
    pub(super) fn remember_at_last(&mut self, policy: &PolicyRef) {
        if self.unkept {
            self.remember(policy);
        }
    }

    /// Keeps that somebody confirmed `policy`.
    pub(super) fn keep(&mut self, policy: &PolicyRef) -> Result<(), NotKept> {
        let store = &mut self.store;
        let kept = tokio::task::block_in_place(|| match &self.from {
            None if store.is_confirmed(policy) => Ok(()),
            from => store.keep_confirmed(policy, &from.clone().unwrap_or_default()),
        });
        store.forget_pending();
        self.report(kept)
    }

    fn report(&mut self, kept: Result<(), NotKept>) -> Result<(), NotKept> {
        let error = kept.as_ref().err().map(ToString::to_string);
        if let Some(error) = error.as_ref().filter(|_| !self.unkept) {
            tracing::warn!(error, "a restart will not know which policy holds");
        }
        self.unkept = error.is_some();
        self.state.write().state_error = error;
        kept
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
