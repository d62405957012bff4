//! What others may ask of the reloader: a call of [`ReloadHandle`]'s in, a [`Request`] in its queue out, and its answer
//! back. HTTP, signals and the clock watcher call.

use std::{sync::Arc, time::Duration};

use monitor_api::{clock::ClockStatus, mode::ModeStatus, reload::Outcome};
use tokio::sync::{mpsc, oneshot};

use super::{ReloadError, by_hand::Wanted};

/// Requests that can wait.
const QUEUE: usize = 16;

type Answer<T> = oneshot::Sender<Result<T, ReloadError>>;

/// With each change, who asks for it.
pub(super) enum Request {
    Reload {
        confirm: Option<Duration>,
        by: Arc<str>,
        answer: Answer<Outcome>,
    },
    /// A configuration that is in no file yet.
    Try {
        text: Arc<str>,
        within: Duration,
        by: Arc<str>,
        answer: Answer<Outcome>,
    },
    /// Only this policy, if one is named.
    Confirm {
        policy: Option<String>,
        by: Arc<str>,
        answer: Answer<Outcome>,
    },
    /// `None`: the configuration's.
    Mode {
        wanted: Option<Wanted>,
        by: Arc<str>,
        answer: Answer<ModeStatus>,
    },
    ClockSet,
    ClockReset {
        reason: String,
        by: Arc<str>,
        answer: Answer<ClockStatus>,
    },
}

/// The sending end of the reloader's queue.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
    by: Arc<str>,
}

impl ReloadHandle {
    pub(super) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, requests) = mpsc::channel(QUEUE);
        (Self { requests: sender, by: "somebody".into() }, requests)
    }

    /// The same for somebody else: what he changes is told with his name.
    #[must_use]
    pub fn by(&self, by: impl Into<Arc<str>>) -> Self {
        Self { by: by.into(), ..self.clone() }
    }

    /// Reads configuration and policy and puts them in force; with `confirm`, until that time has passed unless
    /// confirmed.
    ///
    /// # Errors
    /// Why not; the policy in force stays.
    pub async fn reload(&self, confirm: Option<Duration>) -> Result<Outcome, ReloadError> {
        let by = Arc::clone(&self.by);
        self.ask(|answer| Request::Reload { confirm, by, answer }).await
    }

    /// Puts a configuration in force that is in no file yet, as if it were in the configuration's, until that time has passed
    /// unless confirmed.
    ///
    /// # Errors
    /// Why not; the policy in force stays.
    pub async fn attempt(&self, text: Arc<str>, within: Duration) -> Result<Outcome, ReloadError> {
        let by = Arc::clone(&self.by);
        self.ask(|answer| Request::Try { text, within, by, answer }).await
    }

    /// Confirms what is in force, if it is `policy` (a digest), where one is named.
    ///
    /// # Errors
    /// It is another policy, what was on trial is not in force any more, or the monitor is stopping.
    pub async fn confirm(&self, policy: Option<String>) -> Result<Outcome, ReloadError> {
        let by = Arc::clone(&self.by);
        self.ask(|answer| Request::Confirm { policy, by, answer }).await
    }

    /// Sets the mode by hand; `None`: to the configuration's.
    ///
    /// # Errors
    /// Why not; the mode stays.
    pub async fn set_mode(&self, wanted: Option<Wanted>) -> Result<ModeStatus, ReloadError> {
        let by = Arc::clone(&self.by);
        self.ask(|answer| Request::Mode { wanted, by, answer }).await
    }

    /// The wall clock was set: the times of rules fall on other times of the boot clock, by which they are evaluated.
    pub async fn clock_set(&self) {
        // A monitor that is stopping changes nothing more.
        let _ = self.requests.send(Request::ClockSet).await;
    }

    /// Has the time that was remembered forgotten, and the wall clock believed as it is.
    ///
    /// # Errors
    /// The monitor is stopping.
    pub async fn reset_clock(&self, reason: String) -> Result<ClockStatus, ReloadError> {
        let by = Arc::clone(&self.by);
        self.ask(|answer| Request::ClockReset { reason, by, answer }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, ReloadError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| ReloadError::Stopping)?;
        answered.await.map_err(|_| ReloadError::Stopping)?
    }
}
