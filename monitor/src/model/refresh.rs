//! What became of fresh geo data, file by file: written by `geo stage` and `geo rollback` into `[paths] state`, where the
//! daemon looks. It has to be there for a daemon that starts later, so it is a document and no message.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The document's name.
pub const FILE: &str = "geo.json";

/// All files, by their absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshNotes {
    /// When fresh data was last looked for, seconds since 1970.
    pub looked: Option<i64>,
    /// By file of the configuration.
    #[serde(default)]
    pub files: BTreeMap<PathBuf, RefreshNote>,
}

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshNote {
    /// What was put in its place last.
    #[serde(default)]
    pub taken: Option<Taken>,
    /// What was there before: the SHA-256 by which a copy is kept.
    #[serde(default)]
    pub previous: Option<String>,
    /// What was not taken, or was taken back.
    #[serde(default)]
    pub aside: Option<Aside>,
    /// SHA-256 of what was taken back, the latest last: not taken again by itself.
    #[serde(default)]
    pub taken_back: Vec<String>,
}

/// What was put in the place of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// SHA-256 of the file.
    pub sha256: String,
    /// When, seconds since 1970.
    pub at: i64,
}

/// A file that is kept aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// SHA-256 of it, by which a copy is kept, unless it was refused.
    pub sha256: String,
    /// Why.
    pub kind: AsideKind,
    /// The same in words.
    pub why: String,
    /// When that was first found, seconds since 1970.
    pub at: i64,
}

/// Why a file is kept aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AsideKind {
    /// It is good, and differs too much from what is in place: somebody may take it.
    Held,
    /// It is damaged, or not what was signed: nobody may.
    Refused,
    /// It was in place and was taken back.
    TakenBack,
}

impl RefreshNote {
    /// Why fresh data is not in place, where somebody has to look at it.
    pub fn waits(&self) -> Option<&Aside> {
        self.aside.as_ref().filter(|aside| aside.kind != AsideKind::TakenBack)
    }
}
