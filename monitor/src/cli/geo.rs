//! `egress-monitor geo`: what the datasets are, a file into the compact form, an address looked up.

mod import;
mod info;
mod lookup;

use crate::{failure::Failure, geo::GeoError};

/// Geo datasets: what is loaded, build the compact form, look up addresses.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Info(info::Args),
    Import(import::Args),
    Lookup(lookup::Args),
}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Info(args) => info::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Lookup(args) => lookup::run(&args),
    }
}

impl From<GeoError> for Failure {
    fn from(error: GeoError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Writes to stdout in one piece. A reader that has gone (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Unavailable(format!("stdout: {error}: free space on the disk or write elsewhere")))
        }
        _ => Ok(()),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::Internal(format!("JSON output: {error}")))
}

/// RFC 3339 in UTC, or `None` for a date that has none.
fn rfc3339(seconds: i64) -> Option<String> {
    Some(jiff::Timestamp::from_second(seconds).ok()?.to_string())
}
