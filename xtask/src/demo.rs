//! `cargo xtask demo`: builds, then becomes the demonstration (`tests/src/bin/demo.rs`), so that Ctrl-C reaches it
//! alone and it can clean up.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    process,
};

/// Builds and runs the demonstration.
///
/// # Errors
/// The build failed, or this is not root.
pub fn run() -> Result<()> {
    build::run(Profile::Quick)?;
    let program = Profile::Quick.program("demo");
    if !process::is_root() {
        bail!("the demonstration makes network namespaces, which needs root: run `sudo {}`", program.display());
    }
    Err(process::command(&program, &[]).exec()).with_context(|| format!("cannot start {}", program.display()))
}
