//! `egress-monitor geo`.

use crate::failure::Failure;

/// Geo datasets: what is loaded, look-ups.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(_args: Args) -> Result<(), Failure> {
    Err(Failure::Unavailable("not built yet".into()))
}
