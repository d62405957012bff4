//! The command line: arguments in, one command's `run` called. One file a command.

pub mod check;
pub mod explain;
pub mod flows;
pub mod geo;
mod inputs;
pub mod run;
pub mod status;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Counts, and where told drops, what leaves this host for networks outside a region.
#[derive(Debug, Parser)]
#[command(name = "egress-monitor", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Explain(explain::Args),
    Status(status::Args),
    Flows(flows::Args),
    Geo(geo::Args),
}

/// Parses the command line and runs it.
///
/// # Errors
/// What the command could not do.
pub fn main() -> Result<(), Failure> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // clap's own text is several lines with the usage and a suggestion; only the code is ours.
            eprint!("{}", error.render());
            std::process::exit(64);
        }
        Err(help) => help.exit(),
    };
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Status(args) => status::run(args),
        Command::Flows(args) => flows::run(args),
        Command::Geo(args) => geo::run(args),
    }
}
