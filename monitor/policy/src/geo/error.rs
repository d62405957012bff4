//! Why geo data can't be used: what every reader here fails with.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::dataset::MAX_RANGES;

/// Why a dataset can't be used. One line with the file, where it has lines the line, the value and a hint.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The file can't be read.
    #[error("{}: {source}: check the path and the permissions, or use \"embedded\" for the built-in datasets", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {what}", .file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong and what to do about it.
        what: String,
    },
    /// The whole file is wrong.
    #[error("{}: {what}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong and what to do about it.
        what: String,
    },
}

impl GeoError {
    pub(crate) fn file(file: &Path, what: impl Into<String>) -> Self {
        Self::File { file: file.into(), what: what.into() }
    }

    pub(crate) fn line(file: &Path, line: usize, what: impl Into<String>) -> Self {
        Self::Line { file: file.into(), line, what: what.into() }
    }

    /// The first thing that is wrong, as the error of the whole file; `line` where the file has lines.
    pub(crate) fn first(file: &Path, line: Option<usize>, what: &str) -> Self {
        match line {
            Some(line) => Self::line(file, line, what),
            None => Self::file(file, what),
        }
    }

    pub(crate) fn too_many_ranges(file: &Path) -> Self {
        let hint = "use a dataset of countries, not of cities";
        Self::file(file, format!("more than {MAX_RANGES} ranges of one family: {hint}"))
    }

    pub(crate) fn placed_again(file: &Path, address: IpAddr, before: &str) -> Self {
        let hint = "give files that do not overlap, or import them one by one";
        Self::file(file, format!("places {address} again, which {before} does too: {hint}"))
    }
}
