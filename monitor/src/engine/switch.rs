//! Another policy: staged, in force with the next flip, checked where it is in force, and rolled back where that fails.

use std::sync::Arc;

use monitor_policy::spec::Mode;

use super::{
    Engine,
    handle::{EpochError, Occasion, Refusal, ReloadAnswer, Waiting},
};
use crate::{
    model::{
        FindingKind, Snapshot,
        flow::Resolver,
        in_force::{Fell, PolicyInForce, Trial},
        policy_change,
    },
    store::MonitorState,
};

/// Why what was to be in force is not, until it is.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Files that were read, or could not be.
    files: Option<String>,
    /// They are held, since one came to less than it was: a finding of its own.
    pub(super) held: bool,
    /// What was in force before, or is by another clock.
    restored: Option<String>,
    /// What failed its check in the kernel, and on what occasion; a finding of its own.
    rolled_back: Option<(Occasion, String)>,
}

impl Refused {
    fn of(&mut self, on: Occasion) -> Option<&mut Option<String>> {
        match on {
            Occasion::Read => Some(&mut self.files),
            Occasion::Restored => Some(&mut self.restored),
            Occasion::Own => None,
        }
    }

    /// What is to be said.
    fn why(&self) -> Option<&str> {
        self.files.as_deref().or(self.restored.as_deref())
    }
}

impl Engine {
    /// Stages a policy. Its answer waits for the flip that puts it in force.
    pub(super) fn stage(
        &mut self,
        (mut next, on): (PolicyInForce, Occasion),
        trial: Option<Trial>,
        answer: ReloadAnswer,
        waiting: &mut Waiting,
    ) {
        if self.behind {
            // It would be counted with what is not drained yet. What goes wrong is reported there.
            let _ = self.close();
        }
        self.make_room_for_rules(next.policy.rules.len());
        next.policy = self.pipeline.amend(&next.policy);
        match self.stage_with_room(&next) {
            Ok(()) => {
                tokio::task::block_in_place(|| self.guard(trial));
                self.staged = Some((next, on));
                waiting.reloads.push(answer);
            }
            Err(error) => {
                let why = format!("{error:#}");
                self.refused.held &= on != Occasion::Read;
                self.reload_refused(why.clone(), on);
                // Whoever asked may be gone.
                let _ = answer.send(Err(Refusal::Refused(why)));
            }
        }
    }

    /// Stages a policy; where it has no room, after making some.
    fn stage_with_room(&mut self, next: &PolicyInForce) -> anyhow::Result<()> {
        if !self.source.has_room(next) {
            if self.staged.is_some() {
                // What was to hold until now does, for a moment: it stands in what is replaced. What goes wrong is reported.
                let _ = self.close_one();
            }
            tokio::task::block_in_place(|| self.source.make_room(next))?;
            // What was counted until now is whole, whether it can be drained at once or not.
            let _ = self.close_one();
            self.state.write().kernel_memory = self.source.kernel_memory();
        }
        tokio::task::block_in_place(|| self.source.stage(next))
    }

    /// Has the kernel part take back what is in force, or staged, when nobody confirms it in time.
    pub(super) fn guard(&mut self, trial: Option<Trial>) {
        let trial = trial.map(|mut trial| {
            trial.fallback.policy = self.pipeline.amend(&trial.fallback.policy);
            trial
        });
        match self.source.guard(trial.as_ref()) {
            Ok(()) => self.guarded = trial,
            // It may have fallen back already, to what is guarded: the next epoch tells.
            Err(error) => tracing::error!(
                why = format!("{error:#}"),
                "if this daemon is killed, nothing takes back what nobody confirmed"
            ),
        }
    }

    /// The kernel part has put something in force by itself: from now on that is what is in force.
    pub(super) fn fell(&mut self, fell: Fell) {
        let state = self.state.clone();
        let mut state = state.write();
        let there = state.in_force.reference();
        // What the daemon's absence has put in force does not end a mode: its time is not over.
        let guarded = self.guarded.take().filter(|trial| !trial.mode_ends || fell == Fell::InTime);
        let wanted = guarded.as_ref().map_or_else(|| state.in_force.clone(), |trial| trial.fallback.clone());
        let wanted = PolicyInForce { by: "the kernel part, in time".into(), ..wanted };
        let back = wanted.reference();
        if let Some(Trial { mode_ends: true, .. }) = guarded {
            tracing::warn!(%back, "the time of the mode that was set by hand is over: the kernel part has ended it");
        } else if guarded.is_some() {
            state.reverts += 1;
            let what = format!("policy {there} was not confirmed in time: the kernel part has put {back} in force");
            tracing::error!(what, "the kernel part fell back");
            self.pipeline.report(&mut state, FindingKind::PolicyReverted, Some(&what));
        }
        let next = match fell {
            Fell::InTime => wanted,
            Fell::Alone => {
                let what = "this daemon closed no epoch in time: the kernel part let everything pass since ([monitor] \
                            on_daemon_loss), from now on it enforces again";
                tracing::error!(what, "the kernel part fell back");
                self.pipeline.notice(&mut state, FindingKind::ObservedAlone, what.to_owned().into());
                self.alone = Some(wanted.clone());
                PolicyInForce { mode: Mode::Observe, ..wanted }
            }
        };
        self.staged = Some((next, Occasion::Own));
    }

    pub(super) fn reload_refused(&mut self, why: String, on: Occasion) {
        tracing::error!(why, "reload refused, the policy in force stays");
        let state = self.state.clone();
        let mut state = state.write();
        state.reload_failures += 1;
        if let Some(refused) = self.refused.of(on) {
            *refused = Some(why);
        }
        self.report_refused(&mut state);
    }

    fn report_refused(&mut self, state: &mut MonitorState) {
        let why = self.refused.why();
        let held = self.refused.files.as_deref().filter(|_| self.refused.held);
        self.pipeline.report(state, FindingKind::FileHeld, held);
        let invalid = if held.is_some() { self.refused.restored.as_deref() } else { why };
        self.pipeline.report(state, FindingKind::ReloadRefused, invalid);
        let rolled_back = self.refused.rolled_back.as_ref().map(|(_, why)| why.as_str());
        state.reload_error = why.or(rolled_back).map(str::to_owned);
    }

    /// Closes the epoch, and says what came of a policy that was staged; and closes the next one at once, where a
    /// budget is used up by now or a new day has begun.
    pub(super) fn close(&mut self) -> (Result<(), EpochError>, Result<(), Refusal>) {
        let answer = self.close_one();
        if answer.0.is_err() {
            return answer;
        }
        let alone = self.alone.take();
        let next = {
            let in_force = &self.state.read().in_force;
            let wanted = alone.as_ref().unwrap_or(in_force);
            let policy = self.pipeline.amend(&wanted.policy);
            let changed = alone.is_some() || !Arc::ptr_eq(&policy, &in_force.policy);
            changed.then(|| PolicyInForce { policy, ..wanted.clone() })
        };
        let Some(next) = next else { return answer };
        match self.stage_with_room(&next) {
            Ok(()) => {
                self.staged = Some((next, Occasion::Own));
                // What goes wrong is reported there, and tried again after the next epoch.
                let _ = self.close_one();
            }
            // The same; what passes meanwhile is counted as beyond the budget.
            Err(error) => {
                self.alone = alone;
                tracing::error!(why = format!("{error:#}"), "a rule's budget could not be applied");
            }
        }
        answer
    }

    /// Closes the epoch, and says what came of a policy that was staged.
    pub(super) fn close_one(&mut self) -> (Result<(), EpochError>, Result<(), Refusal>) {
        if let (Some((_, on)), None) = (&self.staged, &self.unchecked) {
            self.unchecked = Some((self.state.read().in_force.clone(), *on));
        }
        let closed = self.flip();
        let swapped = match &closed {
            Err(why) => Err(Refusal::Late(why.clone())),
            Ok(()) => match self.unchecked.take() {
                Some((before, on)) => tokio::task::block_in_place(|| self.check(before, on)),
                None => Ok(()),
            },
        };
        (closed, swapped)
    }

    /// Has the policy that was just put in force checked where it is in force, and puts `before` back where it fails.
    fn check(&mut self, before: PolicyInForce, on: Occasion) -> Result<(), Refusal> {
        let Err(error) = self.source.verify() else {
            // What failed is not in force because a rule's budget is used up since.
            let again = |failed: &(Occasion, String)| failed.0 == on || on == Occasion::Read;
            if self.refused.rolled_back.take_if(|failed| again(failed)).is_some() {
                let state = self.state.clone();
                let mut state = state.write();
                self.pipeline.report(&mut state, FindingKind::PolicyRolledBack, None);
                self.report_refused(&mut state);
            }
            return Ok(());
        };
        let (failed, old) = (self.state.read().in_force.reference(), before.reference());
        let result = self.source.roll_back().and_then(|()| {
            self.staged = Some((before, Occasion::Own));
            Ok(self.flip()?)
        });
        let what = match result {
            Ok(()) => format!("policy {failed} failed its check in the kernel: {error:#}: {old} is in force again"),
            Err(why) => format!(
                "policy {failed} failed its check in the kernel: {error:#}: {old} could not be put back ({why:#}): restart"
            ),
        };
        tracing::error!(what, "policy rolled back");
        let state = self.state.clone();
        let mut state = state.write();
        state.rollbacks += 1;
        state.reload_failures += 1;
        self.pipeline.report(&mut state, FindingKind::PolicyRolledBack, Some(&what));
        self.refused.rolled_back = Some((on, what.clone()));
        self.report_refused(&mut state);
        Err(Refusal::Refused(what))
    }

    pub(super) fn put_in_force(
        &mut self,
        state: &mut MonitorState,
        (mut next, on): (PolicyInForce, Occasion),
        closed: &Snapshot,
    ) {
        // The same policy, by another clock, or of which other rules are suspended.
        let there = &state.in_force;
        next.since = if next.reference() == there.reference() { there.since } else { closed.ended };
        let suspended = next.policy.suspended.len();
        tracing::info!(policy = next.policy.digest, mode = next.mode.name(), suspended, "policy in force");
        let told = policy_change::told(there, &next);
        let resolver = Resolver::new(&mut state.traffic.identities, &next.policy);
        self.book.push((closed.epoch.wrapping_add(1), resolver));
        let surplus = self.book.len().saturating_sub(4);
        self.book.drain(..surplus);
        state.put_in_force(next, closed.ended);
        for (kind, detail) in told {
            self.pipeline.notice(state, kind, detail);
        }
        match on {
            Occasion::Read => (self.refused.files, self.refused.restored) = (None, None),
            Occasion::Restored => self.refused.restored = None,
            Occasion::Own => return,
        }
        self.report_refused(state);
    }
}
