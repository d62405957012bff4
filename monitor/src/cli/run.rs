//! `egress-monitor run`.

use crate::failure::Failure;

/// Counts (and with --enforce drops) what leaves, in the foreground.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(_args: Args) -> Result<(), Failure> {
    Err(Failure::Unavailable("not built yet".into()))
}
