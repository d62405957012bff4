//! The task: requests, files that changed and deadlines in, one policy after the other handed to the engine out.

mod decisions;

use std::{sync::Arc, time::Duration};

use monitor_api::reload::Outcome;
use monitor_policy::{PolicyRef, spec::Mode};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Beginning, Files, Read, Reader, ReloadError, ReloadHandle, Setup,
    by_hand::ByHand,
    fresh::FreshData,
    handle::Request,
    pending::CommitConfirm,
    waiting,
    watch::{self, Watch},
};
use crate::{
    clock::TrustedClock,
    engine::{EngineHandle, Refusal},
    model::{
        FindingKind,
        finding::Detail,
        in_force::{PolicyInForce, Trial},
        severity::Severity,
    },
    store::SharedState,
};

/// Looks at the files until what could not be kept is tried again.
const KEEP_AGAIN: u32 = 60;

/// The task's state.
pub struct PolicyReloader {
    engine: EngineHandle,
    read: Reader,
    clock: TrustedClock,
    /// Each change is to be confirmed within this time (`run --confirm`).
    confirm: Option<Duration>,
    outlives: bool,
    commit: CommitConfirm,
    watch: Watch,
    fresh: FreshData,
    /// What is to be told of lists, once they are in force.
    shrunk: Vec<String>,
    /// What is in force, but for a mode set by hand.
    current: PolicyInForce,
    by_hand: ByHand,
    /// What was on trial and is not in force any more, and why: whoever confirms it now comes too late.
    reverted: Option<String>,
    /// What waits since before this start: to be reported as soon as somebody listens.
    waits: Option<String>,
    state: SharedState,
    requests: mpsc::Receiver<Request>,
}

impl PolicyReloader {
    /// The task, with what is in force but for a mode set by hand, and the handle to ask it by. An enforcing start that is
    /// to be confirmed and was not before awaits confirmation: it falls back to what was confirmed last, or else to
    /// observing by the same policy.
    pub fn new(
        setup: Setup,
        engine: EngineHandle,
        state: SharedState,
        in_force: PolicyInForce,
    ) -> (Self, ReloadHandle) {
        let (handle, requests) = ReloadHandle::new();
        let Setup { read, mut files, clock, confirm, outlives, confirmations, by_hand, begin, reverted } = setup;
        let refused = matches!(begin, Beginning::LastGood);
        let from = matches!(begin, Beginning::Files(_)).then(|| files.compiled_from());
        let fresh = FreshData::new(confirmations.state().clone());
        let mut commit = CommitConfirm::new(confirmations, state.clone(), (in_force.clone(), from.clone()), outlives);
        let mut waits = None;
        match begin {
            Beginning::Files(fallback) => {
                if let Some(within) = commit.wanted_at_start(&in_force.reference(), confirm) {
                    match fallback {
                        Some(fallback) => commit.set_fallback(*fallback, None),
                        None => commit.set_fallback(PolicyInForce { mode: Mode::Observe, ..in_force.clone() }, from),
                    }
                    commit.begin(within);
                }
            }
            Beginning::LastGood | Beginning::Reverted => {}
            Beginning::Waits(what) => waits = Some(what),
        }
        let shrunk = std::mem::take(&mut files.shrunk);
        let watch = Watch::new(files, refused);
        let current = in_force;
        let task = Self {
            engine,
            read,
            clock,
            confirm,
            outlives,
            commit,
            watch,
            fresh,
            shrunk,
            current,
            by_hand,
            reverted,
            waits,
            state,
            requests,
        };
        (task, handle)
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// None.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        self.guard().await;
        self.tell_of_shrunk().await;
        let mut look = interval(watch::EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut open, mut looks) = (true, 0_u32);
        if let Some(what) = self.reverted.clone() {
            self.engine.reverted(what).await;
        }
        if let Some(what) = self.waits.take() {
            self.engine.report(FindingKind::ChangeWaits, Some(what)).await;
        }
        self.tell_of_start().await;
        // Of a start that somebody watches only what is on trial is kept, and what is confirmed.
        if self.outlives || self.commit.ends().is_some() {
            self.commit.remember(&self.current.reference());
        }
        loop {
            let ends = self.commit.ends();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    if self.outlives && self.commit.ends().is_some() {
                        self.revert(true).await;
                    }
                    return Ok(());
                }
                () = sleep_until(ends.unwrap_or_else(Instant::now)), if ends.is_some() => {
                    self.revert(false).await;
                }
                request = self.requests.recv(), if open => match request {
                    Some(Request::Reload { confirm, by, answer }) => {
                        let outcome = self.reload(None, confirm, by).await;
                        // Whoever asked may be gone.
                        let _ = answer.send(outcome);
                    }
                    Some(Request::Try { text, within, by, answer }) => {
                        let outcome = self.reload(Some(text), Some(within), by).await;
                        // As above.
                        let _ = answer.send(outcome);
                    }
                    Some(Request::Confirm { policy, by, answer }) => {
                        let outcome = self.confirm(policy.as_deref(), &by).await;
                        // As above.
                        let _ = answer.send(outcome);
                    }
                    Some(Request::Mode { wanted, by, answer }) => {
                        let outcome = self.set_mode(wanted, by).await;
                        // As above.
                        let _ = answer.send(outcome);
                    }
                    Some(Request::ClockSet) => self.retime().await,
                    Some(Request::ClockReset { reason, by, answer }) => {
                        let outcome = self.reset_clock(&reason, &by).await;
                        // As above.
                        let _ = answer.send(Ok(outcome));
                    }
                    None => open = false,
                },
                _ = look.tick() => {
                    looks = looks.wrapping_add(1);
                    if looks.is_multiple_of(KEEP_AGAIN) {
                        self.commit.remember_at_last(&self.current.reference());
                    }
                    if self.by_hand.is_over(&self.clock.map()) {
                        self.end_by_hand().await;
                    }
                    // As when it looks at the files.
                    if let Some(notes) = tokio::task::block_in_place(|| self.fresh.look()) {
                        self.state.write().refresh = notes;
                    }
                    if self.watch.changed() {
                        self.reload_changed().await;
                    }
                }
            }
        }
    }

    /// Another policy than the life before had confirmed is told like any other change.
    async fn tell_of_start(&self) {
        let now = self.current.reference();
        let Some(before) = self.commit.confirmed_before().filter(|before| self.outlives && **before != now) else {
            return;
        };
        let by = "the start of the daemon";
        let text = format!("{before} → {now}; by {by}");
        let detail = |severity| Detail { severity, by: by.into(), ..text.clone().into() };
        if before.digest != now.digest {
            self.engine.noticed(FindingKind::PolicyChanged, detail(None)).await;
        }
        if before.mode != now.mode {
            let severity = before.mode.enforces().then_some(Severity::High);
            self.engine.noticed(FindingKind::ModeChanged, detail(severity)).await;
        }
    }

    /// Reads files that changed, unless one is gone that the policy was read from. What nobody should find changed without
    /// having tried it waits; the rest of what changed is in force all the same.
    async fn reload_changed(&mut self) {
        if let Some(file) = self.watch.leave_for_gone() {
            let why = format!(
                "{}: no such file any more: put it back, or run `egress-monitor reload` to have a policy without it",
                file.display()
            );
            self.engine.file_held(why).await;
            return;
        }
        tracing::info!("files of the configuration changed: they are read again");
        let by: Arc<str> = "files that changed".into();
        if let Some(text) = self.commit.handed_in() {
            let read = self.read_anew(Some(text)).await;
            // Reported there.
            let _ = self.take(read, None, by).await;
            return;
        }
        let mut read = self.read_anew(None).await;
        let waits = read.policy.as_ref().ok().and_then(|next| self.untried(next));
        let says = read.files.text.clone();
        if waits.is_some() {
            let Some(text) = self.commit.text() else {
                // Of the last good policy, or one that was kept, it is not known: nothing of what changed is in force.
                self.watch.taken(read.files, false);
                return self.waits_for_somebody(says, waits).await;
            };
            read = self.read_anew(Some(text)).await;
        }
        // As above.
        if self.take(read, None, by).await.is_ok() {
            self.waits_for_somebody(says, waits).await;
        }
    }

    /// Tells, and keeps for a restart, what of the configuration waits; `None`: nothing does.
    async fn waits_for_somebody(&self, says: Option<Arc<str>>, what: Option<String>) {
        let state = self.commit.state_directory();
        let kept = tokio::task::block_in_place(|| waiting::keep(state, says.as_deref(), what.as_deref()));
        let what = what.map(|what| match kept {
            Ok(()) => what,
            Err(error) => format!("{what}; a restart takes the file as it is, since that can't be kept: {error}"),
        });
        self.engine.report(FindingKind::ChangeWaits, what).await;
    }

    /// What of a policy that is read by itself nobody should find changed; `None`: nothing, or it has to be confirmed anyway.
    fn untried(&self, next: &PolicyInForce) -> Option<String> {
        if self.confirm.is_some() || self.commit.ends().is_some() {
            return None;
        }
        let mut what = self.current.perimeter.change(&next.perimeter).untried;
        if next.mode != self.current.mode {
            what.insert(0, format!("mode = \"{}\"", next.mode.name()));
        }
        (!what.is_empty()).then(|| what.join("; "))
    }

    /// Reads the files, or `handed_in` in place of the configuration's, because somebody wants that.
    async fn reload(
        &mut self,
        handed_in: Option<Arc<str>>,
        confirm: Option<Duration>,
        by: Arc<str>,
    ) -> Result<Outcome, ReloadError> {
        let is_file = handed_in.is_none();
        let read = self.read_anew(handed_in).await;
        if let (false, Err(error)) = (is_file, &read.policy) {
            // The files are as good as they were.
            return Err(error.clone());
        }
        let outcome = self.take(read, confirm, by).await?;
        self.reverted = None;
        self.waits_for_somebody(None, None).await;
        Ok(outcome)
    }

    /// Puts in force what was read.
    async fn take(&mut self, read: Read, confirm: Option<Duration>, by: Arc<str>) -> Result<Outcome, ReloadError> {
        let Read { mut files, policy } = read;
        let from = files.compiled_from();
        self.shrunk = std::mem::take(&mut files.shrunk);
        self.watch.taken(files, policy.is_err());
        let next = match policy {
            Ok(next) => PolicyInForce { by, ..next },
            Err(error) => {
                match &error {
                    ReloadError::Held(why) => self.engine.file_held(why.clone()).await,
                    error => self.engine.reload_refused(error.to_string()).await,
                }
                return Err(error);
            }
        };
        let changed = next.reference() != self.current.reference();
        let comes_back = next.reference() == self.commit.fallback().reference();
        let within = confirm.or(self.confirm.filter(|_| changed)).filter(|_| !comes_back);
        let trial = match within {
            Some(within) => Some(self.commit.trial_within(within)),
            None => self.commit.trial().filter(|_| !comes_back),
        };
        // Before it is in force: a crash must not have a restart put it in force for good.
        let noted = trial.is_some() && self.commit.note(&next.reference(), within, &from);
        if trial.is_some() && !noted {
            let error = ReloadError::TrialNotKept(self.commit.state_directory().path().to_owned());
            self.engine.reload_refused(error.to_string()).await;
            return Err(error);
        }
        let guard = self.by_hand.guard(trial, &next, &self.clock.map());
        let answer = self.engine.reload(self.by_hand.over(&next), guard).await;
        if let Err(error) = self.taken(next, answer) {
            if noted {
                self.commit.remember(&self.current.reference());
            }
            return Err(error);
        }
        self.tell_of_shrunk().await;
        self.commit.compiled_from(from);
        if comes_back {
            self.commit.accept(self.current.clone());
        } else if let Some(within) = within {
            self.commit.begin(within);
        } else if self.commit.ends().is_none() {
            self.commit.accept(self.current.clone());
        }
        // Else it awaits confirmation in place of the one before it, with the same fallback and deadline.
        if !noted {
            self.commit.remember(&self.current.reference());
        }
        self.engine.decided().await;
        Ok(self.outcome(changed))
    }

    /// Reads configuration and policy anew, with what was handed in in place of the configuration file.
    async fn read_anew(&self, handed_in: Option<Arc<str>>) -> Read {
        let read = Arc::clone(&self.read);
        let read = tokio::task::spawn_blocking(move || read(handed_in)).await;
        let failed = |error: tokio::task::JoinError| Read {
            files: Files::default(),
            policy: Err(ReloadError::Reader(error.to_string())),
        };
        let Read { files, policy } = read.unwrap_or_else(failed);
        let policy = policy.and_then(|next| match self.by_hand.refuses(&next) {
            Some(why) => Err(ReloadError::Invalid(why)),
            None => Ok(next),
        });
        Read { files, policy }
    }

    /// Lists that had more in them: to revoke must work at once, and nobody has to find out by himself.
    async fn tell_of_shrunk(&mut self) {
        for what in std::mem::take(&mut self.shrunk) {
            self.engine.noticed(FindingKind::ListShrunk, what.into()).await;
        }
    }

    /// Puts in force again what was, or what is by another clock or in another mode: no file is read.
    async fn restore(&mut self, next: PolicyInForce, trial: Option<Trial>) -> Result<(), ReloadError> {
        let guard = self.by_hand.guard(trial, &next, &self.clock.map());
        let answer = self.engine.restore(self.by_hand.over(&next), guard).await;
        self.taken(next, answer)
    }

    /// Has the kernel part put in force by itself what is to be, where no daemon is there.
    async fn guard(&self) {
        self.engine.guard(self.by_hand.guard(self.commit.trial(), &self.current, &self.clock.map())).await;
    }

    /// What the engine has made of it.
    fn taken(&mut self, next: PolicyInForce, answer: Result<(), Refusal>) -> Result<(), ReloadError> {
        match answer {
            Ok(()) => {}
            // In force all the same.
            Err(Refusal::Late(error)) => {
                tracing::warn!(why = error.to_string(), "the policy is in force, its first epoch comes late");
            }
            // Counted and reported there.
            Err(Refusal::Refused(why)) => return Err(ReloadError::Refused(why)),
        }
        self.current = next;
        Ok(())
    }

    fn outcome(&self, changed: bool) -> Outcome {
        let mode = self.by_hand.mode().unwrap_or(self.current.mode);
        let policy = PolicyRef { mode, ..self.current.reference() };
        Outcome { policy, changed, unconfirmed: self.commit.status(), warning: None }
    }
}
