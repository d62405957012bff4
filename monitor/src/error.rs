//! How a command fails: one line for a person and an exit code for a script.

use std::{fmt, process::ExitCode};

/// Why a command could not do its work. Shown as one line that names the thing and the mend.
#[derive(Debug)]
pub enum CliError {
    /// Bad usage or configuration: exit code 64.
    Usage(String),
    /// The kernel, the machine or the daemon refuses: exit code 69.
    Unavailable(String),
    /// A defect of ours: exit code 70.
    Internal(String),
}

impl CliError {
    /// The process exit code (sysexits: EX_USAGE, EX_UNAVAILABLE, EX_SOFTWARE).
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Internal(_) => 70,
        })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Unavailable(text) => f.write_str(text),
            Self::Internal(text) => write!(f, "{text} (a defect of egress-monitor: please report it)"),
        }
    }
}

impl std::error::Error for CliError {}

impl From<monitor_api::client::ClientError> for CliError {
    fn from(error: monitor_api::client::ClientError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
