//! `egress-monitor reload`: has the running daemon read configuration and policy again, and waits for what comes of it.

use std::time::Duration;

use super::{Daemon, run::confirmation};
use crate::{cli::output::print_either, error::CliError};
use monitor_api::{client, reload::Outcome};
use monitor_policy::text::span;

/// Has the running monitor read configuration and policy again.
///
/// Ends when the new policy is in force, or with what is wrong with it; then the old one stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor reload\n  egress-monitor reload --confirm 5min && egress-monitor \
                        status && egress-monitor confirm")]
pub struct Args {
    /// Return to the policy confirmed last unless `egress-monitor confirm` follows in this time (30s, 5min).
    #[arg(long, value_name = "TIME", value_parser = confirmation)]
    confirm: Option<Duration>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or it refuses the new policy.
pub fn run(args: Args) -> Result<(), CliError> {
    let within = args.confirm.map(|time| format!("?confirm={}", time.as_secs())).unwrap_or_default();
    // The daemon's own configuration may be what is wrong: then it says so, if its socket can be found.
    let socket = args.daemon.socket()?;
    let outcome: Outcome = client::post(&socket, &format!("/api/v1/policy/reload{within}"))?;
    print_either(args.daemon.json, &outcome, as_text)
}

/// For people.
pub(super) fn as_text(outcome: &Outcome) -> String {
    let Outcome { policy, changed, unconfirmed, warning } = outcome;
    let what = if *changed { "in force now" } else { "in force, as before" };
    let mut text = format!("policy {} ({}) is {what}\n", policy.digest, policy.mode);
    if let Some(trial) = unconfirmed {
        text += &format!(
            "UNCONFIRMED: returns to {} ({}) in {}; `egress-monitor confirm` keeps it\n",
            trial.back_to.digest,
            trial.back_to.mode,
            span(trial.seconds_left)
        );
    }
    if let Some(warning) = warning {
        text += &format!("warning: {warning}\n");
    }
    text
}
