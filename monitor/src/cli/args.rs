//! Arguments that several commands take: which daemon to ask, and times.

use std::{path::PathBuf, time::Duration};

use crate::{config, error::CliError, reload};
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
    /// One JSON document with stable field names.
    #[arg(long)]
    pub(super) json: bool,
}

impl Daemon {
    /// The daemon behind its control socket.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        match &self.socket {
            Some(socket) => Ok(Client::new(socket)),
            // Whatever else is wrong in the file: the daemon runs, and is asked.
            None => Ok(Client::new(config::paths(self.config.as_deref()).runtime.join("control.sock"))),
        }
    }
}

/// A time to confirm in.
pub(super) fn confirmation(text: &str) -> anyhow::Result<Duration> {
    let time = duration::parse(text)?;
    anyhow::ensure!((Duration::from_secs(1)..=reload::LONGEST).contains(&time), "from 1s to 24h");
    Ok(time)
}
