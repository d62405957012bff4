//! `cargo xtask prove never-open`: daemons that are killed, stopped and started again under load from both cores, a thousand
//! times, as the product is shipped.

use anyhow::Result;

use super::{Counts, Tests};
use crate::{
    build::{Profile, Workspace},
    process, setup,
};

pub const PROMISE: &str = "In enforce mode, under load from both cores, no forbidden packet leaves while daemons are \
                           killed, stopped and started again, and every packet is in the totals of one of those that \
                           were stopped and of no other. By TCX and by clsact.";

/// Lives of a daemon by each hook, in each of two tests.
const LIVES: &str = "250";

/// What the tests begin lines with that belong into the proof.
const PROVEN: &str = "proven: ";

/// Builds and runs them.
///
/// # Errors
/// The build or a test failed.
pub fn run(workspace: &Workspace) -> Result<Counts> {
    setup::nextest()?;
    let release = ["--cargo-profile", Profile::Release.name(), "--workspace", "--exclude", "monitor-ebpf"];
    process::stage("build", workspace.cargo(&["nextest", "run", "--no-run"]).args(release))?;
    let mut run = workspace.cargo(&["nextest", "run", "--no-tests", "fail", "--no-capture"]);
    run.args(release)
        .args(["--filterset", "binary(suite) & test(/^(adoption|fallback|never_open|one_owner|replace|room)::/)"])
        .env("LIVES", LIVES);
    let (mut tests, mut counts) = (Tests::default(), Counts::default());
    process::watched("daemons that come and go", &mut run, |line| {
        // Not what each test says of itself.
        if line.contains("Summary [") {
            tests.read(line);
        }
        if let Some((what, count)) = line.strip_prefix(PROVEN).and_then(|line| line.split_once(": ")) {
            counts.add(what, count);
        }
    })?;
    counts.add("tests, these among them", tests.count()?);
    Ok(counts)
}
