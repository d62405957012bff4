//! Arguments that several commands take: which daemon to ask, and times.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use super::output::Shape;
use crate::{
    config,
    error::CliError,
    kernel,
    reload::{self, held::accept},
};
use monitor_api::client::Client;
use monitor_policy::duration;

/// Which daemon to ask, and how to show what it says.
#[derive(Debug, clap::Args)]
pub(super) struct Daemon {
    /// Configuration file that names the daemon's runtime directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's control socket, instead of the configured one.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    pub(super) shape: Shape,
}

impl Daemon {
    /// The daemon behind its control socket.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        if let Some(socket) = &self.socket {
            return Ok(Client::new(socket));
        }
        // Whatever else is wrong in the file: the daemon runs, and is asked.
        let paths = config::paths(self.config.as_deref());
        let meanwhile = match fs::read_dir(&paths.bpffs) {
            Ok(_) if !kernel::beside(&paths.bpffs, false).is_empty() => {
                "; what an earlier one left in the kernel goes on counting, and enforcing if it did"
            }
            Ok(_) => "; nothing is counted or dropped now",
            Err(error) if error.kind() == ErrorKind::NotFound => "; nothing is counted or dropped now",
            // Not for this user.
            Err(_) => "",
        };
        Ok(Client::new(paths.runtime.join("control.sock")).otherwise(meanwhile))
    }

    /// `[paths] state`; `None`: only its socket is known.
    pub(super) fn state(&self) -> Option<PathBuf> {
        self.socket.is_none().then(|| config::paths(self.config.as_deref()).state)
    }

    /// The configuration file of the daemon.
    pub(super) fn place(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| config::DEFAULT_FILE.into())
    }

    /// Has the next reading of the configuration take a file as it is now, although it is held.
    pub(super) fn accept(&self, file: &Path) -> Result<(), CliError> {
        // A daemon that refuses to start is told as well as one that runs.
        let directory = match self.socket.as_deref().and_then(Path::parent) {
            Some(runtime) => runtime.to_owned(),
            None => config::paths(self.config.as_deref()).state,
        };
        accept(&directory, file).map_err(|error| {
            CliError::Unavailable(format!("{}: {error}: run this as the daemon's user", directory.display()))
        })
    }
}

/// A time that may be days.
pub(super) fn long(text: &str) -> anyhow::Result<Duration> {
    const DAY: u64 = 86_400;
    match text.strip_suffix('d').and_then(|days| days.trim().parse::<u64>().ok()) {
        Some(days) => Ok(Duration::from_secs(days.saturating_mul(DAY))),
        None => Ok(duration::parse(text)?),
    }
}

/// A time to confirm in.
pub(super) fn confirmation(text: &str) -> anyhow::Result<Duration> {
    let time = duration::parse(text)?;
    anyhow::ensure!((Duration::from_secs(1)..=reload::LONGEST).contains(&time), "from 1s to 24h");
    Ok(time)
}
