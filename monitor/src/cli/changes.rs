//! `egress-monitor changes`: asks the running daemon what changed of policy and mode, and who did it.

use std::time::Duration;

use super::args::{Daemon, long};
use crate::{cli::render, error::CliError, model::now};
use monitor_api::changes::{Changes, PAGE};

/// Show what changed of policy and mode, when and by whom
///
/// Each change of policy or mode with both digests, what is otherwise, and who did it by which command; what waits to be
/// tried; the daemon's starts. On record are the last 1,000, over restarts of a service, too.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor changes\n  egress-monitor changes --since 7d\n  egress-monitor changes \
                        --json | jq '.changes[] | select(.severity == \"High\")'"
)]
pub struct Args {
    /// Only the last TIME (30min, 24h, 7d)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = long)]
    since: Duration,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or it refuses.
pub fn run(args: &Args) -> Result<(), CliError> {
    let seconds = u32::try_from(args.since.as_secs()).unwrap_or(u32::MAX);
    let page: Changes = args.daemon.client()?.get(&format!("{PAGE}?since={seconds}"))?;
    args.daemon.shape.print(&page, |page, _| render::changes(page, now()))
}
