//! Arguments that several commands take: which daemon to ask, and times.

use std::{path::PathBuf, time::Duration};

use crate::{config::inputs, error::CliError, reload};
use monitor_api::client::Client;

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
            None => Ok(Client::new(inputs::load(self.config.as_deref())?.paths.runtime.join("control.sock"))),
        }
    }
}

/// A time above zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let parsed = parsed.ok().and_then(|time| Duration::try_from(time).ok()).filter(|time| !time.is_zero());
    parsed.ok_or_else(|| "not a time above zero, such as 30s, 10min or 1h".to_owned())
}

/// A time to confirm in.
pub(super) fn confirmation(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < Duration::from_secs(1) || time > reload::LONGEST => Err("from 1s to 24h".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_positive_times() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h 30min"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "0s", "-5s", "10", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
