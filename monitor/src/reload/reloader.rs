//! The task: requests, files that changed and deadlines in, one policy after the other handed to the engine out.

use std::{sync::Arc, time::Duration};

use monitor_api::reload::Outcome;
use monitor_policy::spec::Mode;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Clocks, Read, Reader, ReloadError, ReloadHandle, Setup,
    handle::Request,
    pending::{CommitConfirm, retimed},
    watch::{self, Watch},
};
use crate::{
    engine::{EngineHandle, Refusal},
    model::in_force::{PolicyInForce, Trial},
    store::SharedState,
};

/// The task's state.
pub struct PolicyReloader {
    engine: EngineHandle,
    read: Reader,
    clocks: Clocks,
    /// Each change is to be confirmed within this time (`run --confirm`).
    confirm: Option<Duration>,
    outlives: bool,
    commit: CommitConfirm,
    watch: Watch,
    /// What is to be told of lists, once they are in force.
    shrunk: Vec<String>,
    current: PolicyInForce,
    requests: mpsc::Receiver<Request>,
}

impl PolicyReloader {
    /// The task, with what is in force, and the handle to ask it by. An enforcing start that is to be confirmed and was
    /// not before awaits confirmation: it falls back to observing by the same policy.
    pub fn new(
        setup: Setup,
        engine: EngineHandle,
        state: SharedState,
        in_force: PolicyInForce,
    ) -> (Self, ReloadHandle) {
        let (handle, requests) = ReloadHandle::new();
        let Setup { read, mut files, clocks, confirm, outlives, confirmations } = setup;
        let mut commit = CommitConfirm::new(confirmations, state, in_force.clone());
        if let Some(within) = commit.wanted_at_start(&in_force.reference(), confirm) {
            commit.set_fallback(PolicyInForce { mode: Mode::Observe, ..in_force.clone() });
            commit.begin(within);
        }
        let shrunk = std::mem::take(&mut files.shrunk);
        let watch = Watch::new(files);
        let current = in_force;
        (Self { engine, read, clocks, confirm, outlives, commit, watch, shrunk, current, requests }, handle)
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// None.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        self.engine.guard(self.commit.trial()).await;
        self.tell_of_shrunk().await;
        let mut look = interval(watch::EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
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
                    Some(Request::ClockSet) => self.retime().await,
                    None => open = false,
                },
                _ = look.tick() => {
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
        let next = match self.read_anew().await {
            Ok(next) => next,
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
        let answer = self.engine.reload(next.clone(), trial).await;
        self.taken(next, answer)?;
        self.tell_of_shrunk().await;
        if comes_back {
            self.commit.accept(self.current.clone());
        } else if let Some(within) = within {
            self.commit.begin(within);
        } else if self.commit.ends().is_none() {
            self.commit.accept(self.current.clone());
        }
        // Else it awaits confirmation in place of the one before it, with the same fallback and deadline.
        self.commit.remember(&self.current.reference());
        self.engine.decided().await;
        Ok(self.outcome(changed))
    }

    /// Reads configuration and policy anew.
    async fn read_anew(&mut self) -> Result<PolicyInForce, ReloadError> {
        let read = Arc::clone(&self.read);
        let read = tokio::task::spawn_blocking(move || read()).await;
        let Read { mut files, policy } = read.map_err(|error| ReloadError::Reader(error.to_string()))?;
        self.shrunk = std::mem::take(&mut files.shrunk);
        self.watch.taken(files);
        policy
    }

    /// Lists that had more in them: to revoke must work at once, and nobody has to find out by himself.
    async fn tell_of_shrunk(&mut self) {
        for what in std::mem::take(&mut self.shrunk) {
            self.engine.list_shrunk(what).await;
        }
    }

    /// Puts in force again what was, or what is by another clock: no file is read.
    async fn restore(&mut self, next: PolicyInForce, trial: Option<Trial>) -> Result<(), ReloadError> {
        let answer = self.engine.restore(next.clone(), trial).await;
        self.taken(next, answer)
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
        self.commit.forget_pending();
        self.engine.guard(None).await;
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
        let next = retimed(self.commit.fallback(), &(self.clocks)());
        let what = format!("policy {} ({}) was not confirmed {when}", from.digest, from.mode);
        let report = match self.restore(next.clone(), None).await {
            Ok(()) => {
                self.commit.accept(next);
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
        let clock = (self.clocks)();
        self.commit.retime(&clock);
        // Reported there.
        let _ = self.restore(retimed(&self.current, &clock), self.commit.trial()).await;
    }

    fn outcome(&self, changed: bool) -> Outcome {
        Outcome { policy: self.current.reference(), changed, unconfirmed: self.commit.status(), warning: None }
    }
}
