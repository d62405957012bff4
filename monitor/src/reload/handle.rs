//! What others may ask of the reloader: a call of [`ReloadHandle`]'s in, a [`Request`] in its queue out, and its answer
//! back. HTTP, signals and the clock watcher call.

use std::time::Duration;

use monitor_api::{clock::ClockStatus, mode::ModeStatus, reload::Outcome};
use tokio::sync::{mpsc, oneshot};

use super::{ReloadError, by_hand::Wanted};

/// Requests that can wait.
const QUEUE: usize = 16;

type Answer<T> = oneshot::Sender<Result<T, ReloadError>>;

pub(super) enum Request {
    Reload {
        confirm: Option<Duration>,
        answer: Answer<Outcome>,
    },
    Confirm(Answer<Outcome>),
    /// `None`: the configuration's.
    Mode(Option<Wanted>, Answer<ModeStatus>),
    ClockSet,
    /// Why.
    ClockReset(String, Answer<ClockStatus>),
}

/// The sending end of the reloader's queue.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<Request>);

impl ReloadHandle {
    pub(super) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, requests) = mpsc::channel(QUEUE);
        (Self(sender), requests)
    }

    /// Reads configuration and policy and puts them in force; with `confirm`, until that time has passed unless
    /// confirmed.
    ///
    /// # Errors
    /// Why not; the policy in force stays.
    pub async fn reload(&self, confirm: Option<Duration>) -> Result<Outcome, ReloadError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Reload { confirm, answer }, answered).await
    }

    /// Confirms what is in force.
    ///
    /// # Errors
    /// The monitor is stopping.
    pub async fn confirm(&self) -> Result<Outcome, ReloadError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Confirm(answer), answered).await
    }

    /// Sets the mode by hand; `None`: to the configuration's.
    ///
    /// # Errors
    /// Why not; the mode stays.
    pub async fn set_mode(&self, wanted: Option<Wanted>) -> Result<ModeStatus, ReloadError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Mode(wanted, answer), answered).await
    }

    /// The wall clock was set: the times of rules fall on other times of the boot clock, by which they are evaluated.
    pub async fn clock_set(&self) {
        // A monitor that is stopping changes nothing more.
        let _ = self.0.send(Request::ClockSet).await;
    }

    /// Has the time that was remembered forgotten, and the wall clock believed as it is.
    ///
    /// # Errors
    /// The monitor is stopping.
    pub async fn reset_clock(&self, reason: String) -> Result<ClockStatus, ReloadError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::ClockReset(reason, answer), answered).await
    }

    async fn ask<T>(
        &self,
        request: Request,
        answered: oneshot::Receiver<Result<T, ReloadError>>,
    ) -> Result<T, ReloadError> {
        self.0.send(request).await.map_err(|_| ReloadError::Stopping)?;
        answered.await.map_err(|_| ReloadError::Stopping)?
    }
}
