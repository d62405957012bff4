//! A fresh file in; in the place of the one that it is for, or kept aside with why, out. Called by `geo stage`.
//!
//! Whatever happens between, each file is there whole: a copy of what is in place is kept, then noted, then the file is
//! replaced in one step, then that is noted. A crash leaves at worst a note of a copy of what is in place still.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use monitor_api::geo::{DataChange, Staged};
use monitor_policy::{
    ClockMap, compile,
    diff::{Side, border},
    geo::{self, GeoError},
    text::time,
};

use super::{Proof, RefreshError, Refresher, compare, in_place, sha256};
use crate::{
    config::inputs,
    error::CliError,
    model::refresh::{Aside, AsideKind, Taken},
};

/// Where a fresh file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// Here.
    Dropped(PathBuf),
    /// It was kept aside.
    Aside,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The file that it is to replace, as the configuration names it.
    pub file: PathBuf,
    /// The fresh one.
    pub fresh: Fresh,
    /// What has to vouch for it.
    pub proof: Proof,
    /// It is taken, whatever it changes.
    pub accept: bool,
}

/// What a fresh file comes to.
#[derive(Default)]
struct Found {
    built: Option<i64>,
    built_before: Option<i64>,
    change: Option<DataChange>,
    /// What speaks against it.
    reasons: Vec<String>,
}

impl Refresher<'_> {
    /// Does what is wanted, and notes what came of it.
    ///
    /// # Errors
    /// It could be neither taken nor kept aside.
    pub fn stage(&mut self, wanted: &Wanted) -> Result<Staged, RefreshError> {
        let file = &wanted.file;
        let mut staged =
            Staged { file: file.display().to_string(), read_by_itself: self.read_by_itself(), ..Staged::default() };
        let bytes = match &wanted.fresh {
            Fresh::Dropped(dropped) if !is_there(dropped) => return Ok(Staged { outcome: "nothing", ..staged }),
            Fresh::Dropped(dropped) => match geo::read_packed(dropped) {
                Ok(bytes) => bytes,
                Err(error) => return self.refuse(file, staged, error.to_string()),
            },
            Fresh::Aside => self.aside(file)?,
        };
        let sha256_of_it = sha256(&bytes);
        staged.sha256 = Some(sha256_of_it.clone());
        if let Fresh::Dropped(dropped) = &wanted.fresh {
            match wanted.proof.check(dropped, &bytes, self.state.path()) {
                Ok(proof) => staged.proof = proof,
                Err(why) => return self.refuse(file, staged, format!("{}: {why}", dropped.display())),
            }
        }
        let before = in_place(file);
        if before.as_ref().is_ok_and(|before| sha256(before) == sha256_of_it) {
            if self.note(file).waits().is_some() {
                self.note(file).aside = None;
                self.keep()?;
                self.tidy()?;
            }
            return Ok(Staged { outcome: "in_place", ..staged });
        }
        if self.note(file).taken_back.contains(&sha256_of_it) && !wanted.accept {
            return Ok(Staged { outcome: "taken_back", ..staged });
        }
        let found = match self.look(file, &before, &bytes) {
            Ok(found) => found,
            Err(why) => return self.refuse(file, staged, why),
        };
        staged.built = found.built.map(time);
        staged.built_before = found.built_before.map(time);
        staged.change = found.change;
        staged.reasons = found.reasons;
        if staged.reasons.is_empty() || wanted.accept {
            self.take(file, before.ok().as_deref(), &bytes)?;
            return Ok(Staged { outcome: "taken", ..staged });
        }
        self.copies().add_bytes(&bytes).map_err(|source| self.failed(source))?;
        self.set_aside(file, sha256_of_it, AsideKind::Held, staged.reasons.join("; "))?;
        Ok(Staged { outcome: "held", ..staged })
    }

    /// What a fresh file comes to; or why it is no good, whoever would take it.
    fn look(&self, file: &Path, before: &Result<Vec<u8>, String>, bytes: &[u8]) -> Result<Found, String> {
        let name = file.display().to_string();
        // It is read by the name of the file that it replaces, which may say what it is.
        let of_it = |why: String| match why.strip_prefix(&name) {
            Some(rest) => format!("the fresh file{rest}"),
            None => why,
        };
        let text = |error: GeoError| error.to_string();
        let unpacked = geo::unpacked(file, bytes.to_owned()).map_err(text).map_err(of_it)?;
        let fresh = compare::content(self.config, file, &unpacked).map_err(text).map_err(of_it)?;
        // The rest of the configuration may be what can't be read: that is no fault of this file.
        let side = |content: &[u8]| self.side(file, content).map_err(|error| error.to_string());
        let new = side(&unpacked).map_err(of_it)?;
        let old = before.clone().and_then(|before| {
            let before = geo::unpacked(file, before).map_err(text)?;
            let content = compare::content(self.config, file, &before).map_err(text)?;
            Ok((content, side(&before)?))
        });
        let mut found = Found { built: fresh.built, ..Found::default() };
        match old {
            Ok((before, old)) => {
                let (border, traffic) = (border(&old, &new), (self.judge)(&old, &new));
                found.reasons = compare::by_itself(self.now, &before, &fresh);
                found.reasons.extend(compare::by_border(&border, traffic.as_ref()));
                found.built_before = before.built;
                found.change = Some(compare::change((&before, &fresh), &border, traffic));
            }
            Err(why) => {
                found
                    .reasons
                    .push(format!("what is in place can't be read, so that nothing is known of what changes: {why}"));
            }
        }
        Ok(found)
    }

    /// The policy, with other content of one file.
    fn side(&self, file: &Path, content: &[u8]) -> Result<Side, CliError> {
        let knowledge = inputs::knowledge_of(self.config, |other| {
            if other == file { Ok(content.to_owned()) } else { geo::read_bounded(self.config.sources.at(other)) }
        })?;
        Ok(Side::of(&compile(&self.config.spec, &knowledge, &ClockMap::wall(self.now))?, self.config.mode))
    }

    /// What was kept aside.
    fn aside(&mut self, file: &Path) -> Result<Vec<u8>, RefreshError> {
        let aside = self.note(file).aside.clone().filter(|aside| aside.kind != AsideKind::Refused);
        let aside = aside.ok_or_else(|| RefreshError::NothingAside(file.to_owned()))?;
        self.copies().verified(&aside.sha256).and_then(fs::read).map_err(|source| self.failed(source))
    }

    fn refuse(&mut self, file: &Path, staged: Staged, why: String) -> Result<Staged, RefreshError> {
        self.set_aside(file, staged.sha256.clone().unwrap_or_default(), AsideKind::Refused, why.clone())?;
        Ok(Staged { outcome: "refused", reasons: vec![why], ..staged })
    }

    fn set_aside(&mut self, file: &Path, sha256: String, kind: AsideKind, why: String) -> Result<(), RefreshError> {
        let now = self.now;
        let aside = &mut self.note(file).aside;
        let at =
            aside.as_ref().filter(|aside| aside.sha256 == sha256 && aside.kind == kind).map_or(now, |aside| aside.at);
        *aside = Some(Aside { sha256, kind, why, at });
        self.keep()?;
        self.tidy()
    }

    /// Puts a file in place; of what is there a copy is kept.
    fn take(&mut self, file: &Path, before: Option<&[u8]>, bytes: &[u8]) -> Result<(), RefreshError> {
        let as_it_was = self.notes.clone();
        if let Some(before) = before {
            let copy = self.copies().add_bytes(before).map_err(|source| self.failed(source))?;
            self.note(file).previous = Some(copy);
            self.keep()?;
        }
        if let Err(error) = self.put(file, bytes) {
            self.notes = as_it_was;
            // It is known by what is in place that nothing came of it.
            let _ = self.keep();
            return Err(error);
        }
        let (sha256, at) = (sha256(bytes), self.now);
        let note = self.note(file);
        note.taken_back.retain(|other| *other != sha256);
        note.taken = Some(Taken { sha256, at });
        note.aside = None;
        self.keep()?;
        self.tidy()
    }
}

/// Whether there is anything, be it a link to nowhere.
fn is_there(file: &Path) -> bool {
    fs::symlink_metadata(file).map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
}
