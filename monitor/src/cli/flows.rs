//! `egress-monitor flows`: asks the running daemon through its control socket.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::ValueEnum;

use super::run::prepare::control_socket;
use crate::{
    api::{
        client,
        flows::{By, Flows},
        text,
    },
    failure::Failure,
};

/// Flow counters of the running monitor.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  egress-monitor flows --by country --verdict observed\n  \
                        egress-monitor flows --top 1000 --json")]
pub struct Args {
    /// Rows, those with most bytes on the wire first.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    top: u32,
    /// Sum flows by what they have in common.
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only flows with this verdict.
    #[arg(long, value_name = "VERDICT", value_parser = ["allowed", "observed", "denied"])]
    verdict: Option<String>,
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
    let by = args.by.and_then(|by| by.to_possible_value()).map(|by| by.get_name().to_owned());
    let mut path = format!("/api/v1/flows?fresh=1&top={}", args.top);
    for (key, value) in [("by", &by), ("verdict", &args.verdict)] {
        if let Some(value) = value {
            path += &format!("&{key}={value}");
        }
    }
    let reply: Flows = client::get(&socket, &path)?;
    print(args.json, &reply, || text::flows(&reply, by.as_deref()))
}

/// Prints a document as JSON or as text. A reader that hangs up (`| head`) is no failure.
///
/// # Errors
/// Standard output can't be written.
pub(super) fn print<T: serde::Serialize>(json: bool, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let mut page = if json {
        serde_json::to_string_pretty(value).map_err(|error| Failure::Internal(error.to_string()))?
    } else {
        text()
    };
    if !page.ends_with('\n') {
        page.push('\n');
    }
    let mut out = io::stdout().lock();
    match out.write_all(page.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Unavailable(format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
