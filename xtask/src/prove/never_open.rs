//! `cargo xtask prove never-open`: whatever befalls a daemon, a thousand times, under load from both cores, as the product is
//! shipped; and somebody without privileges who does what he can for ten minutes.

use anyhow::Result;

use super::{Counts, Tests};
use crate::{
    build::{Profile, Workspace},
    process, setup,
};

pub const PROMISE: &str = "In enforce mode, under load from both cores, no forbidden packet leaves whatever befalls the \
                           daemon, every packet is in the totals once or told to be in none, and each blow is told. By \
                           TCX and by clsact. Somebody without privileges hinders nothing in ten minutes.";

/// What befalls a daemon, by both hooks together.
const BLOWS: &str = "1000";

/// Seconds of somebody without privileges.
const HOSTILE_SECONDS: &str = "600";

/// Lives of a daemon by each hook, in each of two tests.
const LIVES: &str = "50";

/// Builds and runs them.
///
/// # Errors
/// The build or a test failed.
pub fn run(workspace: &Workspace) -> Result<Counts> {
    setup::nextest()?;
    let release = ["--cargo-profile", Profile::Release.name(), "--workspace", "--exclude", "monitor-ebpf"];
    process::stage("build", workspace.cargo(&["nextest", "run", "--no-run"]).args(release))?;
    // Both hooks at once: what each test says is shown when it has passed.
    let mut run = workspace.cargo(&["nextest", "run", "--no-tests", "fail", "--success-output", "immediate"]);
    run.args(release)
        .args(["--filterset", "binary(suite) & test(/^(adoption|blows|bypass_sockets|fallback|layout_before|limits|never_open|one_owner|replace|room)::|^clients::whatever/)"])
        .env("LIVES", LIVES)
        .env("BLOWS", BLOWS)
        .env("HOSTILE_SECONDS", HOSTILE_SECONDS);
    let (mut tests, mut counts) = (Tests::default(), Counts::default());
    process::watched("daemons that come and go", &mut run, |line| counts.read(&mut tests, line))?;
    counts.add("tests, these among them", tests.count()?);
    Ok(counts)
}
