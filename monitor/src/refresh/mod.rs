//! Fresh geo data: a file that somebody's fetcher dropped in; that file in the place of one that the configuration names,
//! or a note why not, out. Called by `geo stage` and `geo rollback`; the daemon reads the note, and the file as any that
//! changed. Nothing is downloaded here.
//!
//! What vouches for a file is looked at first (`proof`), then what it changes (`compare`). A file that is good and changes
//! too much is kept aside until somebody looks at it (`stage`). Of what was in place a copy is kept (`rollback`).

mod compare;
mod proof;
mod rollback;
mod stage;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use monitor_api::geo::DestinationsChange;
use monitor_policy::{diff::Side, geo, text::hex};
use sha2::{Digest as _, Sha256};

pub use self::{
    proof::Proof,
    stage::{Fresh, Wanted},
};
use crate::{
    config::{Config, Reload},
    model::refresh::{AsideKind, FILE, RefreshNote, RefreshNotes},
    reload::held,
    storage::{self, Access, blobs::Blobs, state::StateDirectory},
};

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Another one is under way.
    #[error("another `geo stage` or `geo rollback` is under way: wait for it")]
    Busy,
    /// The state can't be used.
    #[error("{path}: {source}: run this as root or as the daemon's user, and see that there is room", path = path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file can't be replaced.
    #[error("{path}: {source}: what was there is as it was; check folder, permissions and room", path = path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing to put back.
    #[error("{path}: nothing from before is kept: `geo stage` keeps what it replaces, and one step back is all", path = .0.display())]
    NothingBefore(PathBuf),
    /// Nothing is kept aside.
    #[error("{path}: nothing is held: name the file to take", path = .0.display())]
    NothingAside(PathBuf),
}

/// Judges the last hour's destinations by two policies; `None`: nobody has told of any.
pub type Judge<'a> = &'a dyn Fn(&Side, &Side) -> Option<DestinationsChange>;

/// Alone at work on the files of a configuration.
pub struct Refresher<'a> {
    config: &'a Config,
    state: StateDirectory,
    notes: RefreshNotes,
    /// Seconds since 1970.
    now: i64,
    judge: Judge<'a>,
    _alone: File,
}

impl<'a> Refresher<'a> {
    /// Begins.
    ///
    /// # Errors
    /// Another one is at work, or the state directory can't be used.
    pub fn open(config: &'a Config, now: i64, judge: Judge<'a>) -> Result<Self, RefreshError> {
        let path = &config.paths.state;
        let failed = |source| RefreshError::State { path: path.clone(), source };
        let state = StateDirectory::open(path);
        state.prepare().map_err(failed)?;
        let alone = storage::only_one(&path.join("geo.lock")).map_err(failed)?.ok_or(RefreshError::Busy)?;
        let mut notes: RefreshNotes = state.read(FILE).unwrap_or_default();
        // Of files that the configuration names no more nobody wants to hear.
        let named: BTreeSet<PathBuf> = config.geo.files().iter().map(|file| absolute(file)).collect();
        notes.files.retain(|file, _| named.contains(file));
        Ok(Self { config, state, notes, now, judge, _alone: alone })
    }

    /// Notes that fresh data was looked for.
    ///
    /// # Errors
    /// That can't be written.
    pub fn looked(&mut self) -> Result<(), RefreshError> {
        self.notes.looked = Some(self.now);
        self.keep()
    }

    fn note(&mut self, file: &Path) -> &mut RefreshNote {
        self.notes.files.entry(absolute(file)).or_default()
    }

    fn keep(&self) -> Result<(), RefreshError> {
        self.state.write(FILE, &self.notes).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> RefreshError {
        RefreshError::State { path: self.state.path().to_owned(), source }
    }

    fn copies(&self) -> Blobs {
        self.state.geo_blobs()
    }

    /// Removes the copies that no note names.
    fn tidy(&self) -> Result<(), RefreshError> {
        let notes = self.notes.files.values();
        let aside = notes.clone().filter_map(|note| note.aside.as_ref());
        let aside = aside.filter(|aside| aside.kind != AsideKind::Refused).map(|aside| aside.sha256.as_str());
        let kept = notes.filter_map(|note| note.previous.as_deref()).chain(aside).collect();
        self.copies().retain(&kept).map_err(|source| self.failed(source))
    }

    /// Puts content in the place of a file, whose owner and permissions stay. The daemon takes it, whatever its length.
    fn put(&self, file: &Path, bytes: &[u8]) -> Result<(), RefreshError> {
        let failed = |source| RefreshError::Place { path: file.to_owned(), source };
        held::accept_content(self.state.path(), file, sha256(bytes)).map_err(|source| self.failed(source))?;
        // Where a link leads: whoever made it wants it to stay.
        let place = fs::canonicalize(file).map_err(failed)?;
        let as_it_is = fs::metadata(&place).map_err(failed)?;
        let written = storage::replace_by(&place, Access::Everybody, |out| {
            let made = out.metadata()?;
            if (made.uid(), made.gid()) != (as_it_is.uid(), as_it_is.gid()) {
                // Only root can, and need not.
                let _ = fchown(&*out, Some(as_it_is.uid()), Some(as_it_is.gid()));
            }
            out.set_permissions(as_it_is.permissions())?;
            out.write_all(bytes)
        });
        written.map_err(failed)
    }

    fn read_by_itself(&self) -> bool {
        self.config.reload == Reload::Auto
    }
}

/// As notes name it.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What is in place, byte for byte.
fn in_place(file: &Path) -> Result<Vec<u8>, String> {
    geo::read_packed(file).map_err(|error| error.to_string())
}
