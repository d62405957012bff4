//! `cargo xtask prove docs`: the procedures in `docs/operating.md`, line by line as they stand, and the first five minutes of
//! `docs/first-minutes.md`. Lines that need systemd are named as not run.

use anyhow::{Result, bail};

use super::{Counts, Tests};
use crate::{
    build::{Profile, Workspace},
    process, setup,
};

pub const PROMISE: &str = "Each line of the procedures in docs/operating.md is run as it stands, on a host of its own, or named \
                           here with what it needs instead; the first five minutes are as docs/first-minutes.md has them.";

/// Builds and runs them.
///
/// # Errors
/// The build failed, or a line does not do what it says.
pub fn run(workspace: &Workspace) -> Result<Counts> {
    setup::nextest()?;
    // What is proven is what commands do, and not how fast.
    let quick = ["--cargo-profile", Profile::Quick.name(), "--workspace", "--exclude", "monitor-ebpf"];
    process::stage("build", workspace.cargo(&["nextest", "run", "--no-run"]).args(quick))?;
    let mut run = workspace.cargo(&["nextest", "run", "--no-tests", "fail", "--success-output", "immediate"]);
    run.args(quick).args(["--filterset", "binary(suite) & test(/^(documented|first_minutes)::/)"]);
    let (mut tests, mut counts, mut ran) = (Tests::default(), Counts::default(), 0);
    process::watched("documented procedures", &mut run, |line| {
        // Not what each test says of itself.
        if line.contains("Summary [") {
            tests.read(line);
        }
        let line = line.trim_start();
        if let Some(command) = line.strip_prefix("ran: ") {
            ran += 1;
            counts.add(format!("`{command}`"), "ran");
        } else if let Some((why, command)) = line.strip_prefix("not run: ").and_then(|line| line.split_once(": ")) {
            counts.add(format!("`{command}`"), format!("NOT RUN: {why}"));
        }
    })?;
    if ran == 0 {
        bail!("no line of a procedure was run");
    }
    counts.add("tests", tests.count()?);
    Ok(counts)
}
