//! `egress-monitor status`: asks the running daemon through its control socket.

use std::path::PathBuf;

use super::run::prepare::control_socket;
use crate::{
    api::{client, status::Status, text},
    failure::Failure,
};

/// The running monitor: attachments, totals, losses.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  egress-monitor status\n  egress-monitor status --json | jq .losses")]
pub struct Args {
    /// Configuration file that names the daemon's runtime directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's control socket, instead of the configured one.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// One JSON document with stable field names.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or the configuration is bad.
pub fn run(args: Args) -> Result<(), Failure> {
    let socket = control_socket(args.socket, args.config.as_deref())?;
    let status: Status = client::get(&socket, "/api/v1/status?fresh=1").or_else(|failure| {
        // When an epoch can't be closed the last known state is what helps; it says so itself.
        client::get(&socket, "/api/v1/status").map_err(|_| failure)
    })?;
    super::flows::print(args.json, &status, || text::status(&status))
}
