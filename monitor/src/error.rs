//! How a command fails: one line for a person and an exit code for a script.

use std::process::ExitCode;

use monitor_api::client::ClientError;
use monitor_policy::geo::GeoError;

/// Why a command could not do its work. Shown as one line that names the thing and the hint.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Bad usage or configuration: exit code 64.
    #[error("{0}")]
    Usage(String),
    /// Geo data that can't be read: exit code 64.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// Fresh data that is not taken, of which all is said: exit code 65.
    #[error("{0}")]
    Held(String),
    /// The kernel, the machine or the daemon refuses: exit code 69.
    #[error("{0}")]
    Unavailable(String),
    /// The running daemon does not answer, or refuses: exit code 69.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// Said already, where answers belong; the exit code is for scripts.
    #[error("")]
    Answered(u8),
    /// A defect of ours: exit code 70.
    #[error("{0} (a defect of egress-monitor: please report it)")]
    Internal(String),
}

impl CliError {
    /// The process exit code (sysexits: EX_USAGE, EX_DATAERR, EX_UNAVAILABLE, EX_SOFTWARE).
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::Geo(_) => 64,
            Self::Held(_) => 65,
            Self::Unavailable(_) | Self::Daemon(_) => 69,
            Self::Answered(code) => *code,
            Self::Internal(_) => 70,
        })
    }
}
