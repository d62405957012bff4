//! `egress-monitor mode`: shows the mode, or sets it by hand.

use std::time::Duration;

use super::args::Daemon;
use crate::{cli::render, error::CliError, model::now};
use monitor_api::mode::{ModeChange, ModeStatus, PAGE, To};
use monitor_policy::duration;

/// Show the mode, or set it by hand
///
/// A mode that is set by hand outranks the configuration, whatever is reloaded, until its time is over or `mode file` gives
/// it back. It survives restarts, and is an alert.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor mode\n  egress-monitor mode observe --for 2h --reason \"CHG-4711: \
                        payments are blocked\"\n  egress-monitor mode file"
)]
pub struct Args {
    /// The mode; `file`: what the configuration says. Without one it is shown
    #[arg(value_enum)]
    mode: Option<To>,
    /// How long (30min, 2h); without it until `mode file`
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, requires = "mode")]
    lasts: Option<Duration>,
    /// Why; it is part of the alert
    #[arg(long, value_name = "TEXT", requires = "mode")]
    reason: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or it refuses.
pub fn run(args: &Args) -> Result<(), CliError> {
    let client = args.daemon.client()?;
    let status: ModeStatus = match args.mode {
        None => client.get(PAGE)?,
        Some(mode) => {
            // Less than a second is one.
            let seconds = args.lasts.map(|lasts| lasts.as_secs().max(1));
            let change = ModeChange { mode, seconds, reason: args.reason.clone() };
            change.check().map_err(|error| CliError::Usage(error.to_string()))?;
            client.post(&change.path())?
        }
    };
    args.daemon.shape.print(&status, |status, _| render::mode(status, now()))
}
