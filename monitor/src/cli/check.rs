//! `egress-monitor check`.

use crate::failure::Failure;

/// Reads everything that run would read and says what is wrong.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(_args: Args) -> Result<(), Failure> {
    Err(Failure::Unavailable("not built yet".into()))
}
