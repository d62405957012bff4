//! Why the daemon can't run, or did not end well: each with the hint what to do.

use std::io;

use super::{
    SHUTDOWN,
    supervisor::{Ended, Shutdown},
};
use crate::error::CliError;

/// Why the daemon can't run, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Nowhere to write alerts to.
    #[error("standard output is closed: {0}: send it to /dev/null")]
    StdoutClosed(io::Error),
    /// No runtime.
    #[error("can't start threads: {0}")]
    Threads(io::Error),
    /// Nobody could end the daemon in order.
    #[error("can't listen for signals: {0}")]
    Signals(io::Error),
    /// A process may have too little of something.
    #[error("{limit} is {is} and has to be {least} at least: raise it (`{setting}=` of the unit, or ulimit)")]
    Limit {
        /// As getrlimit(2) calls it.
        limit: &'static str,
        /// As systemd.exec(5) does.
        setting: &'static str,
        /// What there is.
        is: u64,
        /// What there has to be.
        least: u64,
    },
    /// A part that should never fail to start.
    #[error("can't start {what}: {error}: is the machine out of memory or file descriptors?")]
    Start {
        /// Which.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Tasks ended unasked, badly, or not in time.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Tasks(Vec<TaskError>),
}

/// What is wrong with the end of a task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It ended while nobody asked it to.
    #[error("{name} failed: {why}")]
    Fallen {
        /// Its name.
        name: &'static str,
        /// Its error, or that it has none.
        why: String,
    },
    /// It failed at the end.
    #[error("{name}: {why}")]
    Failed {
        /// Its name.
        name: &'static str,
        /// Its error.
        why: String,
    },
    /// It did not end.
    #[error("{name} did not end in {} s", SHUTDOWN.as_secs())]
    Late {
        /// Its name.
        name: &'static str,
    },
}

impl DaemonError {
    /// Whether the tasks ended well: with none of them `fallen` before the shutdown.
    pub(super) fn check_end(fallen: Option<Ended>, shutdown: Shutdown) -> Result<(), Self> {
        if fallen.is_none() && shutdown.is_clean() {
            return Ok(());
        }
        let fallen = fallen.map(|Ended { name, outcome }| {
            let why = outcome.err().map_or_else(|| "ended unasked".to_owned(), |error| format!("{error:#}"));
            TaskError::Fallen { name, why }
        });
        let failed = shutdown.failed.into_iter().map(|(name, why)| TaskError::Failed { name, why });
        let late = shutdown.late.into_iter().map(|name| TaskError::Late { name });
        Err(Self::Tasks(fallen.into_iter().chain(failed).chain(late).collect()))
    }
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
