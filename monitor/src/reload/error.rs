//! Why a policy is not in force, or a confirmation not kept.

use std::path::PathBuf;

use monitor_policy::PolicyRef;

/// Why a reload or a confirmation failed. The policy in force stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// Configuration or policy are invalid: what is wrong with them.
    #[error("{0}")]
    Invalid(String),
    /// A file came to less than it was.
    #[error("{0}")]
    Held(String),
    /// There is nothing to confirm, and what was is not in force any more.
    #[error("nothing is on trial: {0}")]
    NothingOnTrial(String),
    /// Another policy is on trial than was to be confirmed.
    #[error("another policy is on trial by now ({0}): look at it, and confirm again")]
    AnotherOnTrial(PolicyRef),
    /// What is on trial can't be kept where a restart would find it, so that a crash would put it in force for good.
    #[error(
        "no trial: it can't be kept in {}, so a crash would have it in force for good: free space there, or set [paths] state",
        .0.display()
    )]
    TrialNotKept(PathBuf),
    /// The engine could not put the policy in force.
    #[error("{0}")]
    Refused(String),
    /// Reading them panicked.
    #[error("reading the configuration failed: {0}: report this defect")]
    Reader(String),
    /// There is no reloader any more.
    #[error("the monitor is stopping")]
    Stopping,
}

/// What could not be kept for a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} can't be written: {why}: mend that, or set [paths] state to another directory", file.display())]
pub struct NotKept {
    /// The file.
    pub file: PathBuf,
    /// Why it can't be written.
    pub why: String,
}
