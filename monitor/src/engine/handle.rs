//! What others may ask of the engine: a call of [`EngineHandle`]'s in, a [`Request`] in the engine's queue out, and its
//! answer back. API and policy changer call; the engine takes requests and keeps who is [`Waiting`] for its flip.

use tokio::sync::{mpsc, oneshot};

use crate::model::{
    FindingKind,
    finding::Detail,
    in_force::{PolicyInForce, Trial},
};

pub(super) type Answer = oneshot::Sender<Result<(), EpochError>>;

/// What others ask of the engine.
pub(super) enum Request {
    /// Close the epoch.
    Close(Answer),
    /// Put another policy in force.
    Reload(Box<PolicyInForce>, Occasion, Option<Box<Trial>>, ReloadAnswer),
    /// Take what is in force back by this trial, or by none.
    Guard(Option<Box<Trial>>),
    /// A reload failed before it came here: as which finding it is reported, and why.
    Refused(FindingKind, String),
    /// Something that is so until more is said: as which finding it is reported; `None`: it is not so any more.
    Told(FindingKind, Option<String>),
    /// Something that somebody did, or found, and that is over as it is reported.
    Noticed(FindingKind, Detail, oneshot::Sender<()>),
    /// A policy was not confirmed and another took its place, or should have; `None`: somebody has decided what is to
    /// hold.
    Reverted(Option<String>),
}

/// On what occasion a policy comes in force, and so what that says of reloads that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Its files were read: what was wrong with them is not any more.
    Read,
    /// What was in force before, or is by another clock: files are as good or as bad as they were.
    Restored,
    /// The engine's own: budgets, or what the kernel part has done.
    Own,
}

/// Why an epoch is not closed. What it counted comes with a later one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// It could not be drained: what the source said.
    #[error("{0}")]
    NotDrained(String),
    /// There is no engine any more.
    #[error("the monitor is stopping")]
    Stopping,
}

/// Why a policy is not in force, or not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The one before it stays, or is in force again.
    #[error("{0}")]
    Refused(String),
    /// It is in force, but the epoch before it could not be drained yet.
    #[error(transparent)]
    Late(EpochError),
}

pub(super) type ReloadAnswer = oneshot::Sender<Result<(), Refusal>>;

/// The near end of the request queue.
#[derive(Clone, Debug)]
pub struct EngineHandle(pub(super) mpsc::Sender<Request>);

impl EngineHandle {
    /// Closes the epoch, so that [`MonitorState`](crate::store::MonitorState) are exact up to this moment.
    ///
    /// # Errors
    /// Why it could not be closed, or that the monitor is stopping.
    pub async fn close_epoch(&self) -> Result<(), EpochError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Close(answer), answered).await.unwrap_or(Err(EpochError::Stopping))
    }

    /// Puts a policy in force, from the next epoch, which begins at once; with `trial`, the kernel part takes it back when
    /// nobody does otherwise in time.
    ///
    /// # Errors
    /// Why not.
    pub async fn reload(&self, next: PolicyInForce, trial: Option<Trial>) -> Result<(), Refusal> {
        self.put_in_force(next, Occasion::Read, trial).await
    }

    /// The same of what was in force before, or is by another clock. No file was read, so that what was wrong with one stays
    /// a finding.
    ///
    /// # Errors
    /// Why not.
    pub async fn restore(&self, next: PolicyInForce, trial: Option<Trial>) -> Result<(), Refusal> {
        self.put_in_force(next, Occasion::Restored, trial).await
    }

    async fn put_in_force(&self, next: PolicyInForce, on: Occasion, trial: Option<Trial>) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        let answer = self.ask(Request::Reload(Box::new(next), on, trial.map(Box::new), answer), answered).await;
        answer.unwrap_or_else(|| Err(Refusal::Refused(EpochError::Stopping.to_string())))
    }

    /// From now on the kernel part takes what is in force back by this trial; `None`: it does not.
    pub async fn guard(&self, trial: Option<Trial>) {
        // As below.
        let _ = self.0.send(Request::Guard(trial.map(Box::new))).await;
    }

    /// Reports that a policy was not confirmed, and what came of it.
    pub async fn reverted(&self, what: String) {
        // As below.
        let _ = self.0.send(Request::Reverted(Some(what))).await;
    }

    /// Reports that somebody has decided what is to be in force since.
    pub async fn decided(&self) {
        // As below.
        let _ = self.0.send(Request::Reverted(None)).await;
    }

    /// Counts and reports a reload that failed before it came here.
    pub async fn reload_refused(&self, why: String) {
        // A monitor that is stopping reports nothing.
        let _ = self.0.send(Request::Refused(FindingKind::ReloadRefused, why)).await;
    }

    /// The same, because a file came to less than it was.
    pub async fn file_held(&self, why: String) {
        // As above.
        let _ = self.0.send(Request::Refused(FindingKind::FileHeld, why)).await;
    }

    /// Reports something that is so from now on, or is not any more.
    pub async fn report(&self, kind: FindingKind, what: Option<String>) {
        // As above.
        let _ = self.0.send(Request::Told(kind, what)).await;
    }

    /// Has an alert made on something that is over. When this returns it is on record.
    pub async fn noticed(&self, kind: FindingKind, detail: Detail) {
        let (done, is_done) = oneshot::channel();
        // As above.
        let _ = self.ask(Request::Noticed(kind, detail, done), is_done).await;
    }

    /// The answer; `None`: the monitor is stopping.
    async fn ask<T>(&self, request: Request, answered: oneshot::Receiver<T>) -> Option<T> {
        self.0.send(request).await.ok()?;
        answered.await.ok()
    }
}

/// Those whose answer comes with the next flip.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) closes: Vec<Answer>,
    pub(super) reloads: Vec<ReloadAnswer>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.closes.is_empty() && self.reloads.is_empty()
    }

    pub(super) fn answer(&mut self, closed: &Result<(), EpochError>, swapped: &Result<(), Refusal>) {
        // Whoever asked may be gone.
        for answer in self.closes.drain(..) {
            let _ = answer.send(closed.clone());
        }
        for answer in self.reloads.drain(..) {
            let _ = answer.send(swapped.clone());
        }
    }
}
