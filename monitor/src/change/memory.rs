//! Which policy was confirmed last, kept over restarts: one small file in `[paths] state`. Called by the task of
//! [`super`] only.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::Named;

/// The file's name.
const FILE: &str = "confirmed.json";
/// No such file is longer.
const LONGEST: u64 = 4096;

/// The file, and what it held.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    file: PathBuf,
    confirmed: Option<Named>,
}

impl Memory {
    /// Reads what was confirmed before. A file that is not there, or is none of ours, says that nothing was.
    #[must_use]
    pub fn open(state: &Path) -> Self {
        let file = state.join(FILE);
        let read = || {
            let long = fs::metadata(&file).ok()?.len() > LONGEST;
            let text = if long { None } else { fs::read(&file).ok() };
            serde_json::from_slice(&text?).ok()
        };
        let confirmed = read();
        Self { file, confirmed }
    }

    /// Whether this is what was confirmed.
    #[must_use]
    pub fn holds(&self, named: &Named) -> bool {
        self.confirmed.as_ref() == Some(named)
    }

    /// Keeps what was confirmed. The file is replaced in one step.
    ///
    /// # Errors
    /// It can't be written, with the mend.
    pub fn keep(&mut self, named: &Named) -> Result<(), String> {
        if self.holds(named) {
            return Ok(());
        }
        let draft = self.file.with_extension("draft");
        let write = || -> io::Result<()> {
            if let Some(directory) = self.file.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            let text = serde_json::to_vec(named)?;
            fs::write(&draft, text)?;
            fs::File::open(&draft)?.sync_all()?;
            fs::rename(&draft, &self.file)
        };
        write().map_err(|error| {
            format!(
                "{} can't be written: {error}: set [paths] state to a directory that can be, or confirm again after a \
                 restart",
                self.file.display()
            )
        })?;
        self.confirmed = Some(named.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(digest: &str, mode: &str) -> Named {
        Named { digest: digest.into(), mode: mode.into() }
    }

    #[test]
    fn what_was_kept_is_known_after_a_restart_and_nothing_else_is() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("new");
        let mut memory = Memory::open(&state);
        assert!(!memory.holds(&named("", "")));
        assert_eq!(memory.keep(&named("a", "enforce")), Ok(()));
        let again = Memory::open(&state);
        assert!(again.holds(&named("a", "enforce")));
        assert!(!again.holds(&named("a", "observe")) && !again.holds(&named("b", "enforce")));
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_as_good_as_none_and_one_that_cannot_be_written_is_told() {
        let state = tempfile::tempdir().unwrap();
        for text in [&b"{"[..], b"[1]", &[0xff; 5000]] {
            fs::write(state.path().join(FILE), text).unwrap();
            assert!(!Memory::open(state.path()).holds(&named("a", "enforce")));
        }
        let mut memory = Memory::open(&state.path().join(FILE));
        let why = memory.keep(&named("a", "enforce")).unwrap_err();
        assert!(why.contains("confirmed.json can't be written") && why.contains("[paths] state"), "{why}");
        assert!(!memory.holds(&named("a", "enforce")));
    }
}
