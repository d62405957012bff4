//! A change of the configuration that waits for somebody who tries it, kept for a restart: a daemon that is killed and started
//! again has decided nothing either. Called by `super::reloader` and by the start.

use std::io;

use monitor_policy::text::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::storage::state::StateDirectory;

/// The file's name.
pub const FILE: &str = "waits.json";

/// As it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Waits {
    /// Of what the configuration file holds.
    sha256: String,
    /// What of it waits, in words.
    what: String,
}

/// Keeps what of this configuration waits; `None`: nothing.
///
/// # Errors
/// It can't be kept: a restart takes the file as it is.
pub(super) fn keep(state: &StateDirectory, text: Option<&str>, what: Option<&str>) -> io::Result<()> {
    match text.zip(what) {
        Some((text, what)) => state.write(FILE, &Waits { sha256: digest(text), what: what.into() }),
        None => state.remove(FILE),
    }
}

/// What of this configuration waits.
pub fn of(state: &StateDirectory, text: &str) -> Option<String> {
    let waits: Waits = state.read(FILE)?;
    (waits.sha256 == digest(text)).then_some(waits.what)
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_waits_after_a_restart_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path());
        keep(&state, Some("mode"), Some("mode = \"observe\"")).unwrap();
        assert_eq!(of(&state, "mode").as_deref(), Some("mode = \"observe\""));
        assert_eq!(of(&state, "another"), None);
        keep(&state, Some("mode"), None).unwrap();
        assert_eq!(of(&state, "mode"), None);
        keep(&state, None, None).unwrap();
    }
}
