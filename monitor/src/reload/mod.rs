//! Reloads: what asks for one (a signal, the control socket, files that changed, a wall clock that was set) in, one
//! policy after the other handed to the engine out. One task (`reloader`) reads configuration while the daemon runs,
//! so that no two reloads race.
//!
//! A change may await confirmation (`run --confirm`, `reload --confirm`, `try`): unless somebody confirms it in time, the last
//! *confirmed* policy and mode are put in force again (`pending`). A change on top of an unconfirmed one keeps that
//! fallback. The policy itself is kept, compiled: the files that it came from may hold anything by then. What somebody
//! confirmed, and what nobody did, is kept in the state directory with its sources ([`confirmations`]): a restart with the
//! one needs no second confirmation, does not put the other in force, and has the one where its files are refused.
//!
//! Over all of them stands a mode that was set by hand ([`by_hand`]).

pub mod by_hand;
pub mod confirmations;
mod error;
mod fresh;
mod handle;
pub mod held;
mod pending;
mod reloader;
pub mod stamps;
#[cfg(test)]
mod tests;
pub mod waiting;
pub mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use self::{
    by_hand::ByHand,
    confirmations::{CompiledFrom, ConfirmationStore},
    stamps::FileStamps,
};
use crate::{clock::TrustedClock, model::in_force::PolicyInForce};

pub use self::{
    by_hand::Wanted,
    error::{NotKept, ReloadError},
    handle::ReloadHandle,
    reloader::PolicyReloader,
};

/// Longest time to confirm in: who needs more wants no confirmation.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// What a policy was read from.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The configuration file; `None`: the built-in configuration.
    pub config: Option<PathBuf>,
    /// Every file that it depends on; of a configuration that can't be read, as many as are known.
    pub inputs: Vec<PathBuf>,
    /// These files' stamps from before they were read.
    pub stamps: FileStamps,
    /// Whether files that change are read by themselves (`[policy] reload`); `None`: not known, so as before.
    pub watch: Option<bool>,
    /// What is told of lists that have less in them than before.
    pub shrunk: Vec<String>,
    /// What the configuration file held.
    pub text: Option<Arc<str>>,
    /// That text was handed in, in place of what the file holds.
    pub handed_in: bool,
}

impl Files {
    /// What a policy that was read from them was compiled from.
    pub fn compiled_from(&self) -> CompiledFrom {
        CompiledFrom {
            config: self.config.clone(),
            stamps: self.stamps.clone(),
            text: self.text.clone(),
            handed_in: self.handed_in,
        }
    }
}

/// What reading configuration and policy gave.
pub struct Read {
    /// What was read.
    pub files: Files,
    /// The policy, or what is wrong.
    pub policy: Result<PolicyInForce, ReloadError>,
}

/// Reads configuration and policy anew; a text is taken in place of what the configuration file holds.
pub type Reader = Arc<dyn Fn(Option<Arc<str>>) -> Read + Send + Sync>;

/// What the task needs.
pub struct Setup {
    /// Reads anew.
    pub read: Reader,
    /// What the policy in force was made from.
    pub files: Files,
    /// For rules with times.
    pub clock: TrustedClock,
    /// Each change is to be confirmed within this time (`run --confirm`).
    pub confirm: Option<Duration>,
    /// The policy in force outlives this process: one that nobody has confirmed must not.
    pub outlives: bool,
    /// What was confirmed before this start.
    pub confirmations: ConfirmationStore,
    /// The mode set by hand.
    pub by_hand: ByHand,
    /// What the policy to begin with was, or was not, compiled from.
    pub begin: Beginning,
    /// What was on trial when the daemon before this one ended, and is not in force: what to report.
    pub reverted: Option<String>,
}

/// How a start came to its policy.
#[derive(Clone, Debug)]
pub enum Beginning {
    /// From the files. What comes back where it is to be confirmed and nobody does, if there is something better than
    /// observing by it.
    Files(Option<Box<PolicyInForce>>),
    /// The last good policy, in place of files that were refused.
    LastGood,
    /// The last good policy, in place of one that nobody has confirmed.
    Reverted,
    /// The last good policy, in place of files with a change that nobody has tried: what waits.
    Waits(String),
}
