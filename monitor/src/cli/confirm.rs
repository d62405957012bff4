//! `egress-monitor confirm`: keeps a policy that would return otherwise (`reload --confirm`, `run --confirm`).

use super::args::Daemon;
use crate::{
    cli::{output::print_either, render},
    error::CliError,
};
use monitor_api::reload::Outcome;

/// Keeps the policy in force, which returns to the one before otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor reload --confirm 5min && egress-monitor status && egress-monitor \
                        confirm")]
pub struct Args {
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers.
pub fn run(args: &Args) -> Result<(), CliError> {
    let outcome: Outcome = args.daemon.client()?.post("/api/v1/policy/confirm")?;
    print_either(args.daemon.json, &outcome, render::outcome)
}
