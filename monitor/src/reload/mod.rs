//! Changes of the policy: what asks for one (a signal, the control socket, files that changed, a wall clock that was
//! set) in, one policy after the other handed to the epoch task out. The one task that reads configuration while the
//! daemon runs, so that no two reloads race.
//!
//! A change may have to be confirmed (`run --confirm`, `reload --confirm`): unless somebody does so in time, the last
//! *confirmed* policy and mode come back. A change on top of an unconfirmed one keeps that way back. The policy itself
//! is kept, compiled: the files that it came from may hold anything by then. What was confirmed by hand, and what was
//! not, is remembered in the state directory ([`confirmations`]): a restart with the one needs no second confirmation, and puts
//! the other in force for good no more than the reload did.

pub mod confirmations;
pub mod watch;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    confirmations::ConfirmationStore,
    watch::{Seen, Watch},
};
use crate::{
    engine::{EngineHandle, Refusal},
    model::{
        in_force::{PendingConfirmation, PolicyInForce},
        now, rfc3339,
    },
    store::SharedState,
};
use monitor_api::reload::{Outcome, PendingStatus};
use monitor_policy::{ClockMap, spec::Mode};

/// Longest time to confirm in: who needs more wants no confirmation.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// Requests that can wait.
const REQUESTS: usize = 16;

/// What a policy was read from.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Every file that it depends on; of a configuration that can't be read, as many as are known.
    pub inputs: Vec<PathBuf>,
    /// How these files stood before they were read.
    pub seen: Seen,
    /// Whether files that change are read by themselves (`[policy] reload`); `None`: not known, so as before.
    pub watch: Option<bool>,
}

/// What reading configuration and policy gave.
pub struct Read {
    /// What was read.
    pub files: Files,
    /// The policy, or what is wrong.
    pub policy: Result<PolicyInForce, String>,
}

/// Reads configuration and policy anew.
pub type Reader = Arc<dyn Fn() -> Read + Send + Sync>;

/// Reads wall clock and CLOCK_BOOTTIME together.
pub type Clocks = Arc<dyn Fn() -> ClockMap + Send + Sync>;

/// What the task needs.
pub struct Setup {
    /// Reads anew.
    pub read: Reader,
    /// What the policy in force was made from.
    pub files: Files,
    /// For rules with times.
    pub clocks: Clocks,
    /// Each change is to be confirmed within this time (`run --confirm`).
    pub confirm: Option<Duration>,
    /// What was confirmed before this start.
    pub confirmations: ConfirmationStore,
}

type Answer = oneshot::Sender<Result<Outcome, String>>;

enum Ask {
    Reload { confirm: Option<Duration>, answer: Option<Answer> },
    Confirm(Answer),
    ClockSet,
}

/// The near end of the task's queue.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<Ask>);

impl ReloadHandle {
    /// Reads configuration and policy and puts them in force; with `confirm`, until that time has passed unless
    /// confirmed.
    ///
    /// # Errors
    /// Why not; the policy in force stays.
    pub async fn reload(&self, confirm: Option<Duration>) -> Result<Outcome, String> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Reload { confirm, answer: Some(answer) }, answered).await
    }

    /// The same, for nobody who waits: what comes of it is logged, alerted and in the status.
    pub async fn reload_unheard(&self) {
        // A monitor that is stopping changes nothing more.
        let _ = self.0.send(Ask::Reload { confirm: None, answer: None }).await;
    }

    /// Confirms what is in force.
    ///
    /// # Errors
    /// The monitor is stopping.
    pub async fn confirm(&self) -> Result<Outcome, String> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Confirm(answer), answered).await
    }

    /// The wall clock was set: times of rules come to others of the clock that they are judged by.
    pub async fn clock_set(&self) {
        // As above.
        let _ = self.0.send(Ask::ClockSet).await;
    }

    async fn ask(&self, ask: Ask, answered: oneshot::Receiver<Result<Outcome, String>>) -> Result<Outcome, String> {
        let stopping = || "the monitor is stopping".to_owned();
        self.0.send(ask).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

/// What is on trial.
struct Trial {
    ends: Instant,
    within: Duration,
}

/// The task's state.
pub struct PolicyReloader {
    epochs: EngineHandle,
    facts: SharedState,
    read: Reader,
    clocks: Clocks,
    confirm: Option<Duration>,
    confirmations: ConfirmationStore,
    watch: Watch,
    current: PolicyInForce,
    /// The way back.
    confirmed: PolicyInForce,
    trial: Option<Trial>,
    asks: mpsc::Receiver<Ask>,
}

impl PolicyReloader {
    /// The task, with what is in force, and the handle to ask it by. An enforcing start that is to be confirmed and was
    /// not before is on trial: it falls back to observing by the same policy.
    #[must_use]
    pub fn new(
        setup: Setup,
        epochs: EngineHandle,
        facts: SharedState,
        in_force: PolicyInForce,
    ) -> (Self, ReloadHandle) {
        let (sender, asks) = mpsc::channel(REQUESTS);
        let Setup { read, files, clocks, confirm, confirmations } = setup;
        let mut reloader = Self {
            epochs,
            facts,
            read,
            clocks,
            confirm,
            confirmations,
            watch: Watch::new(files),
            current: in_force.clone(),
            confirmed: in_force,
            trial: None,
            asks,
        };
        let named = reloader.current.reference();
        let confirmed = !reloader.current.mode.enforces() || reloader.confirmations.holds(&named);
        if let Some(within) = confirm.or(reloader.confirmations.unconfirmed(&named)).filter(|_| !confirmed) {
            reloader.confirmed.mode = Mode::Observe;
            reloader.begin_trial(within);
        }
        (reloader, ReloadHandle(sender))
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// None.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut look = interval(watch::EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asks_open = true;
        loop {
            let ends = self.trial.as_ref().map(|trial| trial.ends);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = sleep_until(ends.unwrap_or_else(Instant::now)), if ends.is_some() => self.return_back().await,
                ask = self.asks.recv(), if asks_open => match ask {
                    Some(Ask::Reload { confirm, answer }) => {
                        let outcome = self.reload(confirm).await;
                        if let Some(answer) = answer {
                            // Whoever asked may be gone.
                            let _ = answer.send(outcome);
                        }
                    }
                    Some(Ask::Confirm(answer)) => {
                        let outcome = self.confirm().await;
                        // As above.
                        let _ = answer.send(Ok(outcome));
                    }
                    Some(Ask::ClockSet) => self.retime().await,
                    None => asks_open = false,
                },
                _ = look.tick() => {
                    if self.watch.changed() {
                        tracing::info!("files of the configuration changed: they are read again");
                        // Told there.
                        let _ = self.reload(None).await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self, confirm: Option<Duration>) -> Result<Outcome, String> {
        let read = Arc::clone(&self.read);
        let Read { files, policy } = match tokio::task::spawn_blocking(move || read()).await {
            Ok(read) => read,
            Err(error) => {
                let why = format!("reading the configuration failed: {error}: report this defect");
                self.epochs.reload_refused(why.clone()).await;
                return Err(why);
            }
        };
        self.watch.taken(files);
        let next = match policy {
            Ok(next) => next,
            Err(why) => {
                self.epochs.reload_refused(why.clone()).await;
                return Err(why);
            }
        };
        let changed = next.reference() != self.current.reference();
        self.put(next).await?;
        if self.current.reference() == self.confirmed.reference() {
            // Nothing to go back to: it is what would come back.
            self.confirmed = self.current.clone();
            self.end_trial();
        } else if let Some(within) = confirm.or(self.confirm.filter(|_| changed)) {
            self.begin_trial(within);
        } else if self.trial.is_none() {
            self.confirmed = self.current.clone();
        }
        // Else: the trial goes on, with its way back and its end.
        self.note();
        self.epochs.decided().await;
        Ok(self.outcome(changed))
    }

    /// Puts a policy in force.
    async fn put(&mut self, next: PolicyInForce) -> Result<(), String> {
        match self.epochs.reload(next.clone()).await {
            Ok(()) => {}
            // In force all the same.
            Err(Refusal::Late(why)) => tracing::warn!(why, "the policy is in force, its first epoch comes late"),
            // Counted and told there.
            Err(Refusal::Refused(why)) => return Err(why),
        }
        self.current = next;
        Ok(())
    }

    async fn confirm(&mut self) -> Outcome {
        let named = self.current.reference();
        let was = self.trial.is_some();
        self.confirmed = self.current.clone();
        self.end_trial();
        self.confirmations.settle();
        tracing::info!(policy = named.digest, mode = named.mode.name(), was_on_trial = was, "policy confirmed");
        self.epochs.decided().await;
        let warning = self.confirmations.keep(&named).err();
        if let Some(warning) = &warning {
            tracing::warn!(warning, "the confirmation will not outlive this process");
        }
        Outcome { warning, ..self.outcome(false) }
    }

    /// Nobody confirmed in time.
    async fn return_back(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        let (from, back) = (self.current.reference(), self.confirmed.reference());
        let mut next = self.confirmed.clone();
        next.policy = Arc::new(next.policy.retimed(&(self.clocks)()));
        let result = self.put(next.clone()).await;
        let what =
            format!("policy {} ({}) was not confirmed within {} s", from.digest, from.mode, trial.within.as_secs());
        match result {
            Ok(()) => {
                self.confirmed = next;
                self.end_trial();
                self.epochs.reverted(format!("{what}: {} ({}) is in force again", back.digest, back.mode)).await;
            }
            Err(why) => {
                // Once more, soon: what is in force is what nobody wanted.
                self.trial = Some(Trial { ends: Instant::now() + Duration::from_secs(1), ..trial });
                let told = format!("{what}, but {} ({}) can't come back: {why}", back.digest, back.mode);
                self.epochs.reverted(told).await;
            }
        }
    }

    /// The times of rules by the clocks as they are now, of what is in force and of the way back. No file is read: they
    /// may hold what nobody asked to be in force.
    async fn retime(&mut self) {
        let clock = (self.clocks)();
        let anew = |of: &PolicyInForce| PolicyInForce { policy: Arc::new(of.policy.retimed(&clock)), ..of.clone() };
        let next = anew(&self.current);
        self.confirmed = anew(&self.confirmed);
        // Told there.
        let _ = self.put(next).await;
    }

    fn begin_trial(&mut self, within: Duration) {
        let within = within.min(LONGEST);
        self.trial = Some(Trial { ends: Instant::now() + within, within });
        let back = self.confirmed.reference();
        tracing::info!(seconds = within.as_secs(), back_to = back.digest, mode = back.mode.name(), "to be confirmed");
        let until = now() + i128::try_from(within.as_nanos()).unwrap_or(0);
        self.facts.write().unconfirmed = Some(PendingConfirmation { until, back_to: back });
    }

    /// For a restart.
    fn note(&mut self) {
        let Some(trial) = &self.trial else { return self.confirmations.settle() };
        if let Err(warning) = self.confirmations.try_out(&self.current.reference(), trial.within) {
            tracing::warn!(warning, "a restart will not know that this policy is to be confirmed");
        }
    }

    fn end_trial(&mut self) {
        self.trial = None;
        self.facts.write().unconfirmed = None;
    }

    fn outcome(&self, changed: bool) -> Outcome {
        let unconfirmed = self.facts.read().unconfirmed.as_ref().map(|one| one.status(now()));
        Outcome { policy: self.current.reference(), changed, unconfirmed, warning: None }
    }
}

impl PendingConfirmation {
    /// As it is shown at `now` (UTC nanoseconds since 1970).
    #[must_use]
    pub fn status(&self, now: i128) -> PendingStatus {
        PendingStatus {
            until: rfc3339(self.until),
            seconds_left: i64::try_from((self.until - now).max(0) / 1_000_000_000).unwrap_or(i64::MAX),
            back_to: self.back_to.clone(),
        }
    }
}
