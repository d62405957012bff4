//! `cargo xtask test`: every test there is, in one go. The kernel tests attach programs and make network
//! namespaces, so this needs root; without it nothing is skipped: it fails and says so.

use anyhow::{Result, bail};

use crate::{build, process};

/// Builds and runs the tests; `arguments` go to `cargo test`.
///
/// # Errors
/// Not root, or the set-up, the build or a test failed.
pub fn run(arguments: &[String]) -> Result<()> {
    if !process::is_root() {
        bail!(
            "the kernel tests load BPF programs and make network namespaces, which needs root: run \
             `sudo env PATH=\"$PATH\" cargo xtask test`"
        );
    }
    // One build with the tests' dependencies: `cargo build` before it would compile many crates with other features
    // once more. The monitor itself, which the tests start, is built too, for its own package's tests.
    let workspace = build::prepare()?;
    let test = ["test", "--release", "--workspace", "--exclude", "monitor-ebpf"];
    process::stage("build", workspace.cargo(&test).arg("--no-run"))?;
    process::stage("tests", workspace.cargo(&test).args(arguments))
}
