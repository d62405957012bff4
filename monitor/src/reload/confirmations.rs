//! Which policy was confirmed last and which one awaited confirmation, kept over restarts: two small files in `[paths]
//! state`. Called by `super::pending` only.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use monitor_policy::PolicyRef;

use super::NotKept;
use crate::storage::{self, Access};

/// What was confirmed.
const CONFIRMED: &str = "confirmed.json";
/// What was not, or not yet.
const PENDING: &str = "trial.json";
/// No such file is longer.
const LONGEST: u64 = 4096;

/// A policy that was to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unconfirmed {
    policy: PolicyRef,
    within_seconds: u64,
}

/// The files, and what they held.
#[derive(Clone, Debug, Default)]
pub struct ConfirmationStore {
    state: PathBuf,
    confirmed: Option<PolicyRef>,
    pending: Option<Unconfirmed>,
}

impl ConfirmationStore {
    /// Reads what was confirmed before. A file that is not there, or is none of ours, says that nothing was.
    pub fn open(state: &Path) -> Self {
        Self { state: state.to_owned(), confirmed: read(&state.join(CONFIRMED)), pending: read(&state.join(PENDING)) }
    }

    /// Whether this is what was confirmed.
    pub fn is_confirmed(&self, policy: &PolicyRef) -> bool {
        self.confirmed.as_ref() == Some(policy)
    }

    /// How long this one was to be confirmed in, where nobody has.
    pub fn pending(&self, policy: &PolicyRef) -> Option<Duration> {
        let pending =
            self.pending.as_ref().filter(|pending| pending.policy == *policy && !self.is_confirmed(policy))?;
        Some(Duration::from_secs(pending.within_seconds))
    }

    /// Notes that a policy is to be confirmed. The note stays when it was not: a restart must not put it in force for
    /// good.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_pending(&mut self, policy: &PolicyRef, within: Duration) -> Result<(), NotKept> {
        let pending = Unconfirmed { policy: policy.clone(), within_seconds: within.as_secs().max(1) };
        if self.pending.as_ref() == Some(&pending) {
            return Ok(());
        }
        self.write(PENDING, &pending)?;
        self.pending = Some(pending);
        Ok(())
    }

    /// Forgets what awaited confirmation: it was confirmed, or another one counts as such.
    pub fn forget_pending(&mut self) {
        if self.pending.take().is_some() {
            // One that stays says something of a policy that is not in force.
            let _ = fs::remove_file(self.state.join(PENDING));
        }
    }

    /// Keeps what was confirmed.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_confirmed(&mut self, policy: &PolicyRef) -> Result<(), NotKept> {
        if self.is_confirmed(policy) {
            return Ok(());
        }
        self.write(CONFIRMED, policy)?;
        self.confirmed = Some(policy.clone());
        Ok(())
    }

    /// Replaces a file in one step.
    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), NotKept> {
        if self.state.as_os_str().is_empty() {
            // Made by default, for tests: nothing outlives the process.
            return Ok(());
        }
        let file = self.state.join(name);
        let write = || -> io::Result<()> {
            storage::create_directory(&self.state)?;
            storage::replace(&file, &serde_json::to_vec(value)?, Access::Owner)
        };
        write().map_err(|error| NotKept { file, why: error.to_string() })
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
        let mut store = ConfirmationStore::open(&state);
        assert!(!store.is_confirmed(&named("", "")));
        assert_eq!(store.keep_confirmed(&named("a", "enforce")), Ok(()));
        let again = ConfirmationStore::open(&state);
        assert!(again.is_confirmed(&named("a", "enforce")));
        let minute = Duration::from_secs(60);
        assert_eq!(store.keep_pending(&named("b", "enforce"), minute), Ok(()));
        assert_eq!(ConfirmationStore::open(&state).pending(&named("b", "enforce")), Some(minute));
        assert_eq!(ConfirmationStore::open(&state).pending(&named("c", "enforce")), None);
        store.forget_pending();
        assert_eq!(ConfirmationStore::open(&state).pending(&named("b", "enforce")), None);
        assert!(!again.is_confirmed(&named("a", "observe")) && !again.is_confirmed(&named("b", "enforce")));
        // Less than a second is one; what was confirmed awaits nothing any more.
        assert_eq!(store.keep_pending(&named("b", "enforce"), Duration::from_millis(150)), Ok(()));
        assert_eq!(ConfirmationStore::open(&state).pending(&named("b", "enforce")), Some(Duration::from_secs(1)));
        assert_eq!(store.keep_confirmed(&named("b", "enforce")), Ok(()));
        assert_eq!(ConfirmationStore::open(&state).pending(&named("b", "enforce")), None);
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_as_good_as_none_and_one_that_cannot_be_written_is_reported() {
        let state = tempfile::tempdir().unwrap();
        for text in [&b"{"[..], b"[1]", &[0xff; 5000]] {
            fs::write(state.path().join(CONFIRMED), text).unwrap();
            assert!(!ConfirmationStore::open(state.path()).is_confirmed(&named("a", "enforce")));
        }
        let mut store = ConfirmationStore::open(&state.path().join(CONFIRMED));
        let why = store.keep_confirmed(&named("a", "enforce")).unwrap_err().to_string();
        assert!(why.contains("confirmed.json can't be written") && why.contains("[paths] state"), "{why}");
        assert!(!store.is_confirmed(&named("a", "enforce")));
    }
}
