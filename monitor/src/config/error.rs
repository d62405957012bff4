//! What is wrong with a configuration: every problem with file, line, value and hint.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use monitor_policy::{
    region,
    text::{is_unsafe, plain},
};

use crate::error::CliError;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which file.
    pub file: PathBuf,
    /// On which line, from 1; `None` when it is the file itself.
    pub line: Option<usize>,
    /// At which character of the line, from 1.
    pub column: Option<usize>,
    /// What is wrong with which value, and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem of a file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, column: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file name may hold what would break the line or a terminal.
        for character in self.file.to_string_lossy().chars() {
            if is_unsafe(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{place}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why a value is refused: quotes it and says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ValueError(pub(super) String);

impl From<region::RegionError> for ValueError {
    fn from(error: region::RegionError) -> Self {
        Self(error.to_string())
    }
}

/// Everything that is wrong with a configuration, in the order of the files; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// The files in which something is wrong.
    pub fn files(&self) -> Vec<PathBuf> {
        self.problems.iter().map(|problem| problem.file.clone()).collect()
    }

    /// For a command: prints all problems but the last to standard error, one a line, and hands back the last as the
    /// failure that `main` prints.
    #[must_use]
    pub fn into_failure(self) -> CliError {
        let mut problems = self.problems.into_iter();
        let last = problems.next_back().map_or_else(String::new, |problem| problem.to_string());
        for problem in problems {
            eprintln!("egress-monitor: {}", plain(&problem.to_string()));
        }
        CliError::Usage(last)
    }
}
