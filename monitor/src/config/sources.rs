//! Where the files of a configuration are: on the disk under their own names, or copies of them that were kept. Called
//! by whatever reads one that the configuration names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use glob::{GlobError, MatchOptions, Pattern, PatternError};

/// As `glob::glob` matches: a wildcard ends at a directory's name.
const AS_ON_DISK: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// See the module.
#[derive(Clone, Debug, Default)]
pub enum Sources {
    /// On the disk.
    #[default]
    Disk,
    /// The copy of each file.
    Kept(Arc<BTreeMap<PathBuf, PathBuf>>),
}

impl Sources {
    /// Where to read a file. One of which there is no copy is nowhere, whatever the disk has by now.
    pub fn at<'a>(&'a self, file: &'a Path) -> &'a Path {
        match self {
            Self::Disk => file,
            Self::Kept(copies) => copies.get(file).map_or(Path::new(""), PathBuf::as_path),
        }
    }

    pub(super) fn has_file(&self, file: &Path) -> bool {
        self.at(file).is_file()
    }

    pub(super) fn exists(&self, file: &Path) -> bool {
        self.at(file).exists()
    }

    /// The files that a pattern names, in the order of the alphabet.
    pub(super) fn glob(&self, pattern: &str) -> Result<Vec<Result<PathBuf, GlobError>>, PatternError> {
        match self {
            Self::Disk => Ok(glob::glob(pattern)?.collect()),
            Self::Kept(copies) => {
                let pattern = Pattern::new(pattern)?;
                let named = copies.keys().filter(|file| pattern.matches_path_with(file, AS_ON_DISK));
                Ok(named.cloned().map(Ok).collect())
            }
        }
    }
}
