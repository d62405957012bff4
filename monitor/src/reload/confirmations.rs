//! Which policy was confirmed last and which one was on trial, kept over restarts: two small files in `[paths] state`.
//! Called by the task of [`super`] only.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use monitor_policy::PolicyRef;

use crate::storage::{self, Access};

/// What was confirmed.
const FILE: &str = "confirmed.json";
/// What was not, or not yet.
const TRIAL: &str = "trial.json";
/// No such file is longer.
const LONGEST: u64 = 4096;

/// A policy that was to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    policy: PolicyRef,
    within_seconds: u64,
}

/// The files, and what they held.
#[derive(Clone, Debug, Default)]
pub struct ConfirmationStore {
    state: PathBuf,
    confirmed: Option<PolicyRef>,
    tried: Option<Tried>,
}

impl ConfirmationStore {
    /// Reads what was confirmed before. A file that is not there, or is none of ours, says that nothing was.
    #[must_use]
    pub fn open(state: &Path) -> Self {
        Self { state: state.to_owned(), confirmed: read(&state.join(FILE)), tried: read(&state.join(TRIAL)) }
    }

    /// Whether this is what was confirmed.
    #[must_use]
    pub fn holds(&self, named: &PolicyRef) -> bool {
        self.confirmed.as_ref() == Some(named)
    }

    /// How long this one was to be confirmed in, where nobody has.
    #[must_use]
    pub fn unconfirmed(&self, named: &PolicyRef) -> Option<Duration> {
        let tried = self.tried.as_ref().filter(|tried| tried.policy == *named && !self.holds(named))?;
        Some(Duration::from_secs(tried.within_seconds))
    }

    /// Notes that a policy is to be confirmed. The note stays when it was not: a restart must not put it in force for
    /// good.
    ///
    /// # Errors
    /// It can't be written, with the mend.
    pub fn try_out(&mut self, named: &PolicyRef, within: Duration) -> Result<(), String> {
        let tried = Tried { policy: named.clone(), within_seconds: within.as_secs().max(1) };
        if self.tried.as_ref() == Some(&tried) {
            return Ok(());
        }
        self.write(TRIAL, &tried)?;
        self.tried = Some(tried);
        Ok(())
    }

    /// Forgets what was on trial: it was confirmed, or another one counts as such.
    pub fn settle(&mut self) {
        if self.tried.take().is_some() {
            // One that stays says something of a policy that is not in force.
            let _ = fs::remove_file(self.state.join(TRIAL));
        }
    }

    /// Keeps what was confirmed.
    ///
    /// # Errors
    /// It can't be written, with the mend.
    pub fn keep(&mut self, named: &PolicyRef) -> Result<(), String> {
        if self.holds(named) {
            return Ok(());
        }
        self.write(FILE, named)?;
        self.confirmed = Some(named.clone());
        Ok(())
    }

    /// Replaces a file in one step.
    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), String> {
        if self.state.as_os_str().is_empty() {
            // Made by default, for tests: nothing outlives the process.
            return Ok(());
        }
        let file = self.state.join(name);
        let write = || -> io::Result<()> {
            storage::create_directory(&self.state)?;
            storage::replace(&file, &serde_json::to_vec(value)?, Access::Owner)
        };
        write().map_err(|error| {
            format!(
                "{} can't be written: {error}: set [paths] state to a directory that can be, or decide again after a \
                 restart",
                file.display()
            )
        })
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    let long = fs::metadata(file).ok()?.len() > LONGEST;
    let text = if long { None } else { fs::read(file).ok() };
    serde_json::from_slice(&text?).ok()
}

#[cfg(test)]
mod tests {
    use monitor_policy::spec::Mode;

    use super::*;

    fn named(digest: &str, mode: &str) -> PolicyRef {
        PolicyRef { digest: digest.into(), mode: Mode::enforcing(mode == "enforce") }
    }

    #[test]
    fn what_was_kept_is_known_after_a_restart_and_nothing_else_is() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("new");
        let mut memory = ConfirmationStore::open(&state);
        assert!(!memory.holds(&named("", "")));
        assert_eq!(memory.keep(&named("a", "enforce")), Ok(()));
        let again = ConfirmationStore::open(&state);
        assert!(again.holds(&named("a", "enforce")));
        let minute = Duration::from_secs(60);
        assert_eq!(memory.try_out(&named("b", "enforce"), minute), Ok(()));
        assert_eq!(ConfirmationStore::open(&state).unconfirmed(&named("b", "enforce")), Some(minute));
        assert_eq!(ConfirmationStore::open(&state).unconfirmed(&named("c", "enforce")), None);
        memory.settle();
        assert_eq!(ConfirmationStore::open(&state).unconfirmed(&named("b", "enforce")), None);
        assert!(!again.holds(&named("a", "observe")) && !again.holds(&named("b", "enforce")));
        // Less than a second is one; what was confirmed is on trial no more.
        assert_eq!(memory.try_out(&named("b", "enforce"), Duration::from_millis(150)), Ok(()));
        assert_eq!(ConfirmationStore::open(&state).unconfirmed(&named("b", "enforce")), Some(Duration::from_secs(1)));
        assert_eq!(memory.keep(&named("b", "enforce")), Ok(()));
        assert_eq!(ConfirmationStore::open(&state).unconfirmed(&named("b", "enforce")), None);
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_as_good_as_none_and_one_that_cannot_be_written_is_told() {
        let state = tempfile::tempdir().unwrap();
        for text in [&b"{"[..], b"[1]", &[0xff; 5000]] {
            fs::write(state.path().join(FILE), text).unwrap();
            assert!(!ConfirmationStore::open(state.path()).holds(&named("a", "enforce")));
        }
        let mut memory = ConfirmationStore::open(&state.path().join(FILE));
        let why = memory.keep(&named("a", "enforce")).unwrap_err();
        assert!(why.contains("confirmed.json can't be written") && why.contains("[paths] state"), "{why}");
        assert!(!memory.holds(&named("a", "enforce")));
    }
}
