//! The task: requests, files that changed and deadlines in, one policy after the other handed to the engine out.

use std::{sync::Arc, time::Duration};

use monitor_api::{clock::ClockStatus, mode::ModeStatus, reload::Outcome};
use monitor_policy::{PolicyRef, spec::Mode};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Beginning, Read, Reader, ReloadError, ReloadHandle, Setup,
    by_hand::{ByHand, Wanted},
    confirmations::CompiledFrom,
    fresh::FreshData,
    handle::Request,
    pending::{CommitConfirm, retimed},
    watch::{self, Watch},
};
use crate::{
    clock::TrustedClock,
    engine::{EngineHandle, Refusal},
    model::{
        FindingKind,
        in_force::{PolicyInForce, Trial},
        now, rfc3339,
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
    /// What to report as soon as somebody listens.
    reverted: Option<String>,
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
        let Setup { read, mut files, clock, confirm, outlives, confirmations, by_hand, begin } = setup;
        let refused = matches!(begin, Beginning::LastGood);
        let from = matches!(begin, Beginning::Files(_)).then(|| files.compiled_from());
        let fresh = FreshData::new(confirmations.state().clone());
        let mut commit = CommitConfirm::new(confirmations, state.clone(), (in_force.clone(), from.clone()), outlives);
        let mut reverted = None;
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
            Beginning::LastGood => {}
            Beginning::Reverted(what) => reverted = Some(what),
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
        if let Some(what) = self.reverted.take() {
            self.engine.reverted(what).await;
        }
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
                    Some(Request::Reload { confirm, answer }) => {
                        let outcome = self.reload(confirm).await;
                        // Whoever asked may be gone.
                        let _ = answer.send(outcome);
                    }
                    Some(Request::Confirm(answer)) => {
                        let outcome = self.confirm().await;
                        // As above.
                        let _ = answer.send(Ok(outcome));
                    }
                    Some(Request::Mode(wanted, answer)) => {
                        let outcome = self.set_mode(wanted).await;
                        // As above.
                        let _ = answer.send(outcome);
                    }
                    Some(Request::ClockSet) => self.retime().await,
                    Some(Request::ClockReset(reason, answer)) => {
                        let outcome = self.reset_clock(&reason).await;
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

    /// Reads files that changed, unless one is gone that the policy was read from.
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
        // Reported there.
        let _ = self.reload(None).await;
    }

    async fn reload(&mut self, confirm: Option<Duration>) -> Result<Outcome, ReloadError> {
        let (next, from) = match self.read_anew().await {
            Ok(read) => read,
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

    /// Reads configuration and policy anew.
    async fn read_anew(&mut self) -> Result<(PolicyInForce, CompiledFrom), ReloadError> {
        let read = Arc::clone(&self.read);
        let read = tokio::task::spawn_blocking(move || read()).await;
        let Read { mut files, policy } = read.map_err(|error| ReloadError::Reader(error.to_string()))?;
        self.shrunk = std::mem::take(&mut files.shrunk);
        let from = files.compiled_from();
        let policy = policy.and_then(|next| match self.by_hand.refuses(&next) {
            Some(why) => Err(ReloadError::Invalid(why)),
            None => Ok(next),
        });
        self.watch.taken(files, policy.is_err());
        Ok((policy?, from))
    }

    /// Lists that had more in them: to revoke must work at once, and nobody has to find out by himself.
    async fn tell_of_shrunk(&mut self) {
        for what in std::mem::take(&mut self.shrunk) {
            self.engine.told(FindingKind::ListShrunk, what).await;
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

    async fn confirm(&mut self) -> Outcome {
        let policy = self.current.reference();
        let was_pending = self.commit.ends().is_some();
        self.commit.accept(self.current.clone());
        self.guard().await;
        tracing::info!(
            policy = policy.digest,
            mode = policy.mode.name(),
            was_on_trial = was_pending,
            "policy confirmed"
        );
        self.engine.decided().await;
        let warning = self.commit.keep(&policy).err().map(|error| error.to_string());
        if let Some(warning) = &warning {
            tracing::warn!(warning, "the confirmation will not outlive this process");
        }
        Outcome { warning, ..self.outcome(false) }
    }

    /// Nobody confirmed in time, or before the end.
    async fn revert(&mut self, stopped: bool) {
        let Some(expired) = self.commit.expire() else { return };
        let when = if stopped {
            "before the daemon was stopped".to_owned()
        } else {
            format!("within {} s", expired.within.as_secs())
        };
        let (from, back) = (self.current.reference(), self.commit.fallback().reference());
        let next = retimed(self.commit.fallback(), &self.clock.map());
        let what = format!("policy {} ({}) was not confirmed {when}", from.digest, from.mode);
        let report = match self.restore(next.clone(), None).await {
            Ok(()) => {
                self.commit.reverted(next);
                format!("{what}: {} ({}) is in force again", back.digest, back.mode)
            }
            Err(why) => {
                self.commit.retry(&expired);
                format!("{what}, but {} ({}) can't come back: {why}", back.digest, back.mode)
            }
        };
        self.engine.reverted(report).await;
    }

    /// Computes the times of rules by the clocks as they are now, of what is in force and of what may come back.
    async fn retime(&mut self) {
        let clock = self.clock.map();
        self.commit.retime(&clock);
        // Reported there.
        let _ = self.restore(retimed(&self.current, &clock), self.commit.trial()).await;
    }

    /// Has the time that was remembered forgotten: rules go by the wall clock as it is.
    async fn reset_clock(&mut self, reason: &str) -> ClockStatus {
        let forgotten = self.clock.reset().map_or_else(|| "nothing was".to_owned(), rfc3339);
        let now = self.clock.map().realtime_ns;
        tracing::warn!(forgotten, reason, "the remembered time was forgotten");
        let what = format!("remembered: {forgotten}; the wall clock says {}: {reason}", rfc3339(now.into()));
        self.engine.told(FindingKind::ClockReset, what).await;
        self.retime().await;
        self.clock.status()
    }

    /// Sets the mode by hand, or gives it back to the configuration.
    async fn set_mode(&mut self, wanted: Option<Wanted>) -> Result<ModeStatus, ReloadError> {
        let next = self.by_hand.with(wanted, &self.clock.map());
        let policies = [Some(&self.current), self.commit.ends().map(|_| self.commit.fallback())];
        if let Some(why) = policies.into_iter().flatten().find_map(|policy| next.refuses(policy)) {
            return Err(ReloadError::Invalid(why));
        }
        let before = std::mem::replace(&mut self.by_hand, next);
        if let Err(why) = self.restore(self.current.clone(), self.commit.trial()).await {
            self.by_hand = before;
            return Err(why);
        }
        let warning = self.by_hand.keep().err().map(|error| error.to_string());
        if let Some(warning) = &warning {
            tracing::warn!(warning, "a restart will not know the mode that was set by hand");
        }
        Ok(ModeStatus { warning, ..self.state.read().in_force.mode_status(now()) })
    }

    /// The time of a mode set by hand is over. Where the configuration's can't be put in force it is tried again.
    async fn end_by_hand(&mut self) {
        tracing::info!("the time of the mode that was set by hand is over");
        // What goes wrong is reported there.
        let _ = self.set_mode(None).await;
    }

    fn outcome(&self, changed: bool) -> Outcome {
        let mode = self.by_hand.mode().unwrap_or(self.current.mode);
        let policy = PolicyRef { mode, ..self.current.reference() };
        Outcome { policy, changed, unconfirmed: self.commit.status(), warning: None }
    }
}
