//! `cargo xtask test`: the fast tier of the tests, in one go. The kernel tests attach programs and make network
//! namespaces, so this needs root; without it nothing is skipped: it fails and says so. How they share the machine is
//! said in `.config/nextest.toml`; what takes longer is in `prove`.

use anyhow::{Result, bail};

use crate::{
    build::{self, Profile},
    process, setup,
};

/// Builds and runs the tests; `arguments` go to `cargo nextest run`.
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
    setup::nextest()?;
    let profile = Profile::Quick.name();
    let run = ["nextest", "run", "--cargo-profile", profile, "--workspace", "--exclude", "monitor-ebpf"];
    process::stage("build", workspace.cargo(&run).arg("--no-run"))?;
    // nextest runs no examples of the documentation; only this crate has any.
    let examples = ["test", "--doc", "--profile", profile, "--package", "monitor-api"];
    if arguments.is_empty() {
        process::stage("examples", &mut workspace.cargo(&examples))?;
    }
    // Half of the time a test waits: for a daemon, an epoch, a deadline.
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = (cpus + cpus.div_ceil(2)).to_string();
    process::stage("tests", workspace.cargo(&run).env("NEXTEST_TEST_THREADS", threads).args(arguments))
}
