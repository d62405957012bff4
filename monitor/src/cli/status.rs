//! `egress-monitor status`: asks the running daemon through its control socket.

use super::args::Daemon;
use crate::{
    cli::{output::print_either, render},
    error::CliError,
};
use monitor_api::status::Status;

/// The running monitor: attachments, totals, losses.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor status\n  egress-monitor status --json | jq .losses")]
pub struct Args {
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or the configuration is bad.
pub fn run(args: &Args) -> Result<(), CliError> {
    let client = args.daemon.client()?;
    let status: Status = client.get("/api/v1/status?fresh=1").or_else(|failure| {
        // When an epoch can't be closed the last known state is what helps; it says so itself.
        client.get("/api/v1/status").map_err(|_| failure)
    })?;
    print_either(args.daemon.json, &status, render::status)
}
