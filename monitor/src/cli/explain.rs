//! `egress-monitor explain`.

use crate::failure::Failure;

/// Says what the policy makes of addresses.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(_args: Args) -> Result<(), Failure> {
    Err(Failure::Unavailable("not built yet".into()))
}
