//! `egress-monitor confirm`: keeps a policy that would return otherwise (`reload --confirm`, `run --confirm`).

use super::{Daemon, reload::as_text};
use crate::{api::client, change::Outcome, failure::Failure, text::print_either};

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
pub fn run(args: Args) -> Result<(), Failure> {
    let outcome: Outcome = client::post(&args.daemon.socket()?, "/api/v1/policy/confirm")?;
    print_either(args.daemon.json, &outcome, as_text)
}
