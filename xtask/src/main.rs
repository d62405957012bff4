//! `cargo xtask COMMAND`: everything a developer, an operator trying the monitor out, or CI does with this
//! repository. One file a command; each command that builds first makes sure that the tools are there.

mod bench;
mod build;
mod debian;
mod demo;
mod fuzz;
mod geo;
mod initramfs;
mod kernels;
mod lint;
mod process;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Formatting, clippy on the host and on the kernel part, cargo-deny.
    Lint,
    /// Build and run every test, the kernel ones included (root).
    #[command(
        after_help = "Example: cargo xtask test\n         cargo xtask test parser   # only tests with this in the name"
    )]
    Test {
        /// Arguments of `cargo test`: a filter, or `-- --nocapture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What the monitor costs, beside what it is compared with (root, under ten minutes).
    #[command(
        after_help = "Example: cargo xtask bench --markdown\n         cargo xtask bench --only veth --json figures.json\n         \
                      cargo xtask bench -- --help"
    )]
    Bench {
        /// Arguments of the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the kernel tests on other kernels than this machine's, in an emulator (Debian, x86-64).
    #[command(
        after_help = "Example: cargo xtask kernels\n         cargo xtask kernels 6.1 --frames 200000 --minutes 30"
    )]
    Kernels {
        /// Which of 6.1 and 6.12; without any, all.
        kernels: Vec<String>,
        /// Random frames in each random test: emulation is slow.
        #[arg(long, default_value_t = 20_000)]
        frames: u32,
        /// How long one kernel may take.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Coverage-guided fuzzing of the packet parser (cargo-fuzz).
    #[command(
        after_help = "Example: cargo xtask fuzz --minutes 10\n         cargo xtask fuzz --kernel   # kernel and host on ten million random frames (root)"
    )]
    Fuzz {
        /// How long each of the two targets runs.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
        /// Only write the tests' packet corpus into fuzz/corpus.
        #[arg(long)]
        seed: bool,
        /// Instead: kernel and host on ten million random and mutated frames (root).
        #[arg(long, conflicts_with = "seed")]
        kernel: bool,
        /// Instead: the unit tests of the pure core under Miri.
        #[arg(long, conflicts_with_all = ["seed", "kernel"])]
        miri: bool,
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
        Task::Build => build::run().map(drop),
        Task::Run { arguments } => run::run(&arguments),
        Task::Demo => demo::run(),
        Task::Lint => lint::run(),
        Task::Test { arguments } => test::run(&arguments),
        Task::Bench { arguments } => bench::run(&arguments),
        Task::Kernels { kernels, frames, minutes } => kernels::run(&kernels, frames, minutes),
        Task::Fuzz { minutes, seed, kernel, miri } => fuzz::run(fuzz::Wanted { minutes, seed, kernel, miri }),
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
