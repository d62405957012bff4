//! Where alerts go: the outbox that keeps them, and the sinks that get them from there. Alerts in, from the engine, which
//! never waits; lines out, to standard output, files and receivers.
//!
//! An alert waits in `queue` for the thread of [`outbox`], which gives it a sequence, encodes it and commits it to
//! segments on disk. Only then sinks get it: each has a thread, a position of its own and all the time that it needs
//! (`runner`). What a sink does with lines is in its file, when it is tried again in [`backoff`], what a receiver refuses
//! for good in `rejected`.

pub mod alertmanager;
pub mod backoff;
mod facts;
pub mod file;
pub mod http;
pub mod journal;
pub mod outbox;
mod queue;
mod rejected;
mod runner;
mod secret;
pub mod stream;
pub mod syslog;
mod terminal;
mod tls;
pub mod webhook;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{
    model::{
        delivery::Promise,
        receiver::{SinkKind, SinkSpec},
    },
    storage::segments::line::Stamp,
};

pub use self::{
    outbox::{Ended, Outbox, Store},
    queue::QUEUE,
};

/// A line with its end, and what it says of itself.
pub type Line<'a> = (Stamp, &'a [u8]);

/// What a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name among the sinks: letters, digits, `-`.
    pub name: String,
    /// What kind of sink it is.
    pub kind: &'static str,
    /// What it promises of lines that it has taken.
    pub promise: Promise,
    /// For how long at most it is left alone after a failure.
    pub patience: Duration,
    /// Whether it writes where somebody else may own the directory, for which root needs a capability.
    pub writes_anywhere: bool,
}

impl About {
    /// A receiver elsewhere.
    fn receiver(name: &str, kind: &'static str, promise: Promise) -> Self {
        Self { name: name.to_owned(), kind, promise, patience: backoff::LONGEST, writes_anywhere: false }
    }

    /// Something on this host, which is tried again sooner.
    fn local(name: &str, kind: &'static str, promise: Promise) -> Self {
        Self { patience: backoff::LOCAL, ..Self::receiver(name, kind, promise) }
    }
}

/// Lines that a sink takes at once.
const LINES: usize = 256;

/// Something that takes lines.
pub trait Sink: Send {
    /// What it is.
    fn about(&self) -> &About;

    /// Takes lines, in order: all of them, or as many as the failure says.
    ///
    /// # Errors
    /// It did not take them all.
    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure>;

    /// Opens and reads anew what it has: it may be another one.
    fn reopen(&mut self) {}

    /// How often it wants to [`repeat`](Self::repeat) something, where it does.
    fn again(&self) -> Option<Duration> {
        None
    }

    /// Says again what still holds.
    fn repeat(&mut self) {}
}

/// The sink of a configuration.
pub fn of(spec: SinkSpec) -> Box<dyn Sink> {
    let name = &spec.name;
    match spec.to {
        SinkKind::Webhook { at, ndjson, secret } => Box::new(webhook::Webhook::new(name, at, ndjson, secret)),
        SinkKind::Alertmanager(at) => Box::new(alertmanager::Alertmanager::new(name, at)),
        SinkKind::Syslog { to, peers } => Box::new(syslog::Syslog::new(name, to, peers)),
        SinkKind::Journal(socket) => Box::new(journal::Journal::new(name, &socket)),
    }
}

/// Why lines were not taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// How many were, before the first that was not.
    pub taken: usize,
    /// What was said.
    pub why: String,
    /// The receiver will never take this one.
    pub for_good: bool,
    /// In how many seconds it wants to be asked again, where it says so.
    pub after: Option<u64>,
}

impl Failure {
    /// It is to be tried again.
    pub fn later(taken: usize, why: impl ToString) -> Self {
        Self { taken, why: why.to_string(), for_good: false, after: None }
    }
}
