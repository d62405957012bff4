//! `egress-monitor status`.

use crate::failure::Failure;

/// The running monitor: attachments, totals, losses.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(_args: Args) -> Result<(), Failure> {
    Err(Failure::Unavailable("not built yet".into()))
}
