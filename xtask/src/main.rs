//! `cargo xtask COMMAND`: everything a developer, an operator trying the monitor out, or CI does with this
//! repository. One file a command; each command that builds first makes sure that the tools are there.

mod bench;
mod build;
mod debian;
mod demo;
mod geo;
mod kernel_object;
mod lint;
mod process;
mod prove;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::build::Profile;

/// Development tasks of egress-monitor.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Find what building and testing need, and install what is missing.
    Setup,
    /// Build everything, the kernel part included, in release mode.
    Build,
    /// Build, then run the monitor on this host (root).
    #[command(after_help = "Example: cargo xtask run --duration 1m\n         cargo xtask run -- --help")]
    Run {
        /// Arguments of `egress-monitor run`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Show the monitor at work between three network namespaces (root, under a minute).
    Demo,
    /// Formatting, clippy on the host and on the kernel part, documentation, rooms, dependencies.
    Lint {
        /// First write docs/rooms.toml from what the sources use.
        #[arg(long)]
        bless_rooms: bool,
    },
    /// Build and run the fast tier of the tests, the kernel ones included (root).
    #[command(
        after_help = "Example: cargo xtask test\n         cargo xtask test parser   # only tests with this in the name"
    )]
    Test {
        /// Arguments of `cargo nextest run`: a filter, or `--no-capture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What the monitor costs, beside what it is compared with (root, ten minutes).
    #[command(
        after_help = "Example: cargo xtask bench --markdown\n         cargo xtask bench --only veth --json figures.json\n         \
                      cargo xtask bench -- --help"
    )]
    Bench {
        /// Arguments of the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What takes too long for every change: one command a proof, written down in docs/proofs (root).
    Prove {
        #[command(subcommand)]
        proof: prove::Proof,
    },
    /// Regenerate the embedded geo datasets.
    Geo {
        /// Only compare with what is committed.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup => setup::run().map(drop),
        Task::Build => build::run(Profile::Release).map(drop),
        Task::Run { arguments } => run::run(&arguments),
        Task::Demo => demo::run(),
        Task::Lint { bless_rooms } => lint::run(bless_rooms),
        Task::Test { arguments } => test::run(&arguments),
        Task::Bench { arguments } => bench::run(&arguments),
        Task::Prove { proof } => prove::run(&proof),
        Task::Geo { check } => geo::run(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
