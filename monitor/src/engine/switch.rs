//! Another policy: staged, in force with the next flip, checked where it is in force, and rolled back where that fails.

use std::sync::Arc;

use monitor_policy::spec::Mode;

use super::{
    Engine,
    handle::{EpochError, Refusal, ReloadAnswer, Waiting},
};
use crate::{
    model::{
        FindingKind, Snapshot,
        flow::Resolver,
        in_force::{Fell, PolicyInForce, Trial},
    },
    store::MonitorState,
};

impl Engine {
    /// Stages a policy. Its answer waits for the flip that puts it in force.
    pub(super) fn stage(
        &mut self,
        mut next: PolicyInForce,
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
        match tokio::task::block_in_place(|| self.source.stage(&next)) {
            Ok(()) => {
                tokio::task::block_in_place(|| self.guard(trial));
                self.staged = Some(next);
                waiting.reloads.push(answer);
            }
            Err(error) => {
                let why = format!("{error:#}");
                self.reload_refused(why.clone());
                // Whoever asked may be gone.
                let _ = answer.send(Err(Refusal::Refused(why)));
            }
        }
    }

    /// Has the kernel part take back what is in force, or staged, when nobody confirms it in time.
    pub(super) fn guard(&mut self, trial: Option<Trial>) {
        let trial = trial.map(|mut trial| {
            trial.fallback.policy = self.pipeline.amend(&trial.fallback.policy);
            trial
        });
        if let Err(error) = self.source.guard(trial.as_ref()) {
            tracing::error!(
                why = format!("{error:#}"),
                "if this daemon is killed, nothing takes back what nobody confirmed"
            );
        }
        self.guarded = trial.map(|trial| trial.fallback);
    }

    /// The kernel part has put something in force by itself: from now on that is what is in force.
    pub(super) fn fell(&mut self, fell: Fell) {
        let state = self.state.clone();
        let mut state = state.write();
        let there = state.in_force.reference();
        let (next, kind, what) = match (fell, self.guarded.take()) {
            (Fell::Unconfirmed, Some(fallback)) => {
                state.reverts += 1;
                let back = fallback.reference();
                let what = format!("policy {there} was not confirmed in time: the kernel part has put {back} in force");
                (fallback, FindingKind::PolicyReverted, what)
            }
            _ => {
                self.alone = Some(state.in_force.clone());
                let what = "this daemon closed no epoch in time: the kernel part let everything pass since ([monitor] \
                            on_daemon_loss), from now on it enforces again";
                (
                    PolicyInForce { mode: Mode::Observe, ..state.in_force.clone() },
                    FindingKind::ObservedAlone,
                    what.to_owned(),
                )
            }
        };
        tracing::error!(what, "the kernel part fell back");
        self.pipeline.report(&mut state, kind, Some(&what));
        self.staged = Some(next);
    }

    pub(super) fn reload_refused(&mut self, why: String) {
        tracing::error!(why, "reload refused, the policy in force stays");
        let state = self.state.clone();
        let mut state = state.write();
        state.reload_failures += 1;
        self.pipeline.report(&mut state, FindingKind::ReloadRefused, Some(&why));
        state.reload_error = Some(why);
    }

    /// Closes the epoch, and says what came of a policy that was staged; and closes the next one at once, where a
    /// budget is used up by now or a new day has begun.
    pub(super) fn close(&mut self) -> (Result<(), EpochError>, Result<(), Refusal>) {
        let answer = self.close_one();
        if answer.0.is_err() {
            return answer;
        }
        let next = {
            let in_force = &self.state.read().in_force;
            let alone = self.alone.take();
            let wanted = alone.as_ref().unwrap_or(in_force);
            let policy = self.pipeline.amend(&wanted.policy);
            let changed = alone.is_some() || !Arc::ptr_eq(&policy, &in_force.policy);
            changed.then(|| PolicyInForce { policy, ..wanted.clone() })
        };
        let Some(next) = next else { return answer };
        match tokio::task::block_in_place(|| self.source.stage(&next)) {
            Ok(()) => {
                self.staged = Some(next);
                // What goes wrong is reported there, and tried again after the next epoch.
                let _ = self.close_one();
            }
            // The same; what passes meanwhile is counted as beyond the budget.
            Err(error) => tracing::error!(why = format!("{error:#}"), "a rule's budget could not be applied"),
        }
        answer
    }

    /// Closes the epoch, and says what came of a policy that was staged.
    pub(super) fn close_one(&mut self) -> (Result<(), EpochError>, Result<(), Refusal>) {
        if self.staged.is_some() && self.unchecked.is_none() {
            self.unchecked = Some(self.state.read().in_force.clone());
        }
        let closed = self.flip();
        let swapped = match &closed {
            Err(why) => Err(Refusal::Late(why.clone())),
            Ok(()) => match self.unchecked.take() {
                Some(before) => tokio::task::block_in_place(|| self.check(before)),
                None => Ok(()),
            },
        };
        (closed, swapped)
    }

    /// Has the policy that was just put in force checked where it is in force, and puts `before` back where it fails.
    fn check(&mut self, before: PolicyInForce) -> Result<(), Refusal> {
        let Err(error) = self.source.verify() else {
            let state = self.state.clone();
            self.pipeline.report(&mut state.write(), FindingKind::PolicyRolledBack, None);
            return Ok(());
        };
        let (failed, old) = (self.state.read().in_force.reference(), before.reference());
        let result = self.source.roll_back().and_then(|()| {
            self.staged = Some(before);
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
        state.reload_error = Some(what.clone());
        Err(Refusal::Refused(what))
    }

    pub(super) fn put_in_force(&mut self, state: &mut MonitorState, mut next: PolicyInForce, closed: &Snapshot) {
        let there = &state.in_force;
        // The same policy, of which other rules are suspended.
        let by_budget = next.policy.digest == there.policy.digest && next.policy.suspended != there.policy.suspended;
        next.since = if by_budget { there.since } else { closed.ended };
        let suspended = next.policy.suspended.len();
        tracing::info!(policy = next.policy.digest, mode = next.mode.name(), suspended, "policy in force");
        let resolver = Resolver::new(&mut state.traffic.identities, &next.policy);
        self.book.push((closed.epoch.wrapping_add(1), resolver));
        let surplus = self.book.len().saturating_sub(4);
        self.book.drain(..surplus);
        state.in_force = next;
        state.note_rules(closed.ended);
        if !by_budget {
            state.reload_error = None;
            self.pipeline.report(state, FindingKind::ReloadRefused, None);
        }
    }
}
