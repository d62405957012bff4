//! `egress-monitor geo`: what the datasets are, a file into the compact form, an address looked up, fresh data.

mod import;
mod info;
mod lookup;
mod stage;

use crate::error::CliError;

/// Show, build, look up and renew geo datasets
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
    Stage(stage::Args),
    Rollback(stage::Rollback),
}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Info(args) => info::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Lookup(args) => lookup::run(&args),
        Command::Stage(args) => stage::run(&args),
        Command::Rollback(args) => stage::roll_back(&args),
    }
}
