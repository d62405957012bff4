//! `cargo xtask run`: builds the monitor and becomes it.

use std::{os::unix::process::CommandExt as _, process::Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    process,
};

/// Builds, then runs `egress-monitor run` with `arguments` in place of this process.
///
/// # Errors
/// The build failed, or this is not root.
pub fn run(arguments: &[String]) -> Result<()> {
    let workspace = build::prepare()?;
    eprintln!("xtask: building egress-monitor (profile quick; the first time it takes some minutes)");
    let mut build = workspace.cargo(&["build", "--profile", Profile::Quick.name(), "--package", "egress-monitor"]);
    process::stage("build", &mut build)?;
    let program = Profile::Quick.program("egress-monitor");
    if !process::is_root() {
        bail!("attaching to interfaces needs root: run `sudo {} run {}`", program.display(), arguments.join(" "));
    }
    let mut monitor = process::command(&program, &["run"]);
    // The caller's own standard input and folder: paths among the arguments are the caller's.
    monitor.args(arguments).stdin(Stdio::inherit());
    // Somebody who wants to see it, and wants it over with its end.
    if !arguments.iter().any(|argument| argument == "--ephemeral") {
        monitor.arg("--ephemeral");
    }
    if let Ok(folder) = std::env::current_dir() {
        monitor.current_dir(folder);
    }
    Err(monitor.exec()).with_context(|| format!("cannot start {}", program.display()))
}
