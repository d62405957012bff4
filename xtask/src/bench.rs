//! `cargo xtask bench`: what the monitor costs (`tests/src/bin/bench`).

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    debian,
    process::{self, look},
};

/// Builds, then becomes the benchmark with `arguments`, so that Ctrl-C reaches it alone and it can clean up.
///
/// # Errors
/// The build failed, or this is not root.
pub fn run(arguments: &[String]) -> Result<()> {
    build::run(Profile::Release)?;
    let program = Profile::Release.program("bench");
    // What only names things needs no more than the program.
    let asks = arguments.iter().any(|argument| ["--help", "-h", "--list"].contains(&argument.as_str()));
    if !asks && !process::is_root() {
        bail!(
            "the benchmark loads BPF programs and makes network namespaces, which needs root: run `sudo {} {}`",
            program.display(),
            arguments.join(" ")
        );
    }
    // One of the things to compare with; without it the others are measured all the same.
    if !asks
        && look("nft", &["--version"]).is_none()
        && let Err(error) = debian::install("nftables to compare with", &["nftables"])
    {
        eprintln!("xtask: going on without nftables: {error:#}");
    }
    let mut bench = process::command(&program, &[]);
    bench.args(arguments);
    // Files among the arguments are the caller's.
    if let Ok(folder) = std::env::current_dir() {
        bench.current_dir(folder);
    }
    Err(bench.exec()).with_context(|| format!("cannot start {}", program.display()))
}
