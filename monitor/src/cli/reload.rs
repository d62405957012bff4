//! `egress-monitor reload`: has the running daemon read configuration and policy again, and waits for what comes of it.

use std::{path::PathBuf, time::Duration};

use super::{
    args::{Daemon, confirmation},
    attempt::not_tried,
};
use crate::{cli::render, error::CliError};
use monitor_api::reload::Outcome;

/// Reload the configuration
///
/// Ends when the new policy is in force, or with what is wrong with it; then the old one stays. With --confirm it is an error
/// if there was nothing to try.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor reload\n  egress-monitor reload --confirm 5min\n  egress-monitor \
                        reload --accept \
                        /etc/egress-monitor/allow.d/partner.txt")]
pub struct Args {
    /// Roll back unless confirmed within TIME (30s, 5min).
    #[arg(long, value_name = "TIME", value_parser = confirmation)]
    confirm: Option<Duration>,
    /// Take this file as it is, although it is held: empty, gone, cut, or less than half of what it was; repeatable.
    #[arg(long, value_name = "FILE")]
    accept: Vec<PathBuf>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or it refuses the new policy.
pub fn run(args: &Args) -> Result<(), CliError> {
    for file in &args.accept {
        args.daemon.accept(file)?;
    }
    let within = args.confirm.map(|time| format!("?confirm={}", time.as_secs())).unwrap_or_default();
    // The daemon's own configuration may be what is wrong: then it says so, if its socket can be found.
    let client = args.daemon.client()?;
    let outcome: Outcome = client.post(&format!("/api/v1/policy/reload{within}"))?;
    args.daemon.shape.print(&outcome, |outcome, _| render::outcome(outcome))?;
    if args.confirm.is_some() { not_tried(&outcome) } else { Ok(()) }
}
