//! `egress-monitor helper`: what the daemon has no privileges for. Started by its socket unit, by nobody else.

use std::path::PathBuf;

use crate::{
    error::CliError,
    helper::{self, Options},
};

/// Answers the daemon what it has no privileges to find out, and mounts where it pins.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Started by egress-monitor-helper.socket. Without a question for 10 s it ends.")]
pub struct Args {
    /// Where it mounts the BPF file system if that is missing: what the daemon has as `[paths] bpffs`.
    #[arg(long, value_name = "DIR")]
    pub bpffs: PathBuf,
    /// In which mount namespace, such as /proc/1/ns/mnt [default: its own]
    #[arg(long, value_name = "FILE")]
    pub mount_namespace: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// What the helper lacks.
pub fn run(args: Args) -> Result<(), CliError> {
    let Args { bpffs, mount_namespace } = args;
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time();
    // Another log in the same process, in tests: that one is used.
    let _ = log.with_target(false).try_init();
    helper::run(Options { bpffs, mount_namespace })
}
