//! What was in place before is put there again, and what is there is not taken again by itself. Called by `geo rollback`.

use std::{fs, path::Path};

use monitor_api::geo::RolledBack;

use super::{RefreshError, Refresher, in_place, sha256};
use crate::model::refresh::{Aside, AsideKind};

/// How many files that were taken back are remembered.
const REMEMBERED: usize = 32;

impl Refresher<'_> {
    /// Puts what a file was before in place again.
    ///
    /// # Errors
    /// Nothing is kept, or it can't be put there.
    pub fn roll_back(&mut self, file: &Path) -> Result<RolledBack, RefreshError> {
        let nothing = || RefreshError::NothingBefore(file.to_owned());
        let previous = self.note(file).previous.clone().ok_or_else(nothing)?;
        let kept = self.copies().verified(&previous).and_then(fs::read).map_err(|source| self.failed(source))?;
        // What is damaged is no reason not to put something better there.
        let now = in_place(file).unwrap_or_default();
        let taken_back = sha256(&now);
        let at = self.now;
        if taken_back == previous {
            // A staging that ended between its note and its file.
            self.note(file).previous = None;
            self.keep()?;
            return Err(nothing());
        }
        self.copies().add_bytes(&now).map_err(|source| self.failed(source))?;
        let note = self.note(file);
        note.taken_back.retain(|sha256| *sha256 != taken_back);
        note.taken_back.push(taken_back.clone());
        let surplus = note.taken_back.len().saturating_sub(REMEMBERED);
        note.taken_back.drain(..surplus);
        note.aside = Some(Aside {
            sha256: taken_back.clone(),
            kind: AsideKind::TakenBack,
            why: "it was in place and was taken back".into(),
            at,
        });
        // Before it is in place: else a timer that comes between takes it again.
        self.keep()?;
        self.put(file, &kept)?;
        let note = self.note(file);
        note.previous = None;
        note.taken = None;
        self.keep()?;
        self.tidy()?;
        let file = file.display().to_string();
        Ok(RolledBack { file, sha256: previous, taken_back, read_by_itself: self.read_by_itself() })
    }
}
