//! `cargo xtask bench`: what a packet costs (`tests/src/bin/bench.rs`).

use anyhow::{Result, bail};

use crate::{build, process};

/// Builds and runs the benchmark.
///
/// # Errors
/// The build failed, or this is not root.
pub fn run() -> Result<()> {
    if !process::is_root() {
        bail!("the benchmark loads BPF programs, which needs root: run `sudo env PATH=\"$PATH\" cargo xtask bench`");
    }
    let workspace = build::run()?;
    process::stage(
        "bench",
        &mut workspace.cargo(&["run", "--release", "--package", "egress-monitor-tests", "--bin", "bench"]),
    )
}
