//! `cargo xtask prove scale`: the tests whose numbers are large, with the numbers of the promise and as it is shipped
//! (release), where the fast tier of tests has it as it is soonest built.

use anyhow::Result;

use super::{Counts, Tests};
use crate::{
    build::{Profile, Workspace},
    process, setup,
};

pub const PROMISE: &str = "A million flows at once, policies of half a million networks, ten million look-ups and both \
                           CPUs busy: what is counted, classified and reported is exact, as the product is shipped.";

/// Some of the tests.
struct Run {
    /// What they show.
    what: &'static str,
    /// nextest's filter that has them.
    filter: &'static str,
    /// What makes them large.
    variables: &'static [(&'static str, &'static str)],
}

const RUNS: [Run; 2] = [
    Run {
        what: "floods of a million flows, swaps of policies of half a million networks",
        filter: "binary(suite) & test(/^(conservation|full_table|grace|policy_swap|scale|stress)::/)",
        variables: &[],
    },
    Run {
        what: "ten million look-ups in random policies, against a second evaluator",
        filter: "package(monitor-policy) & test(/::oracle::/)",
        variables: &[("EGRESS_MONITOR_LOOKUPS", "10000000")],
    },
];

/// Builds and runs them.
///
/// # Errors
/// The build or a test failed, or a filter has no test.
pub fn run(workspace: &Workspace) -> Result<Counts> {
    setup::nextest()?;
    let release = ["--cargo-profile", Profile::Release.name(), "--workspace", "--exclude", "monitor-ebpf"];
    let mut counts = Counts::default();
    process::stage("build", workspace.cargo(&["nextest", "run", "--no-run"]).args(release))?;
    for Run { what, filter, variables } in RUNS {
        let mut run = workspace.cargo(&["nextest", "run", "--run-ignored", "all", "--no-tests", "fail"]);
        run.args(release).args(["--filterset", filter]).envs(variables.iter().copied());
        let mut tests = Tests::default();
        process::watched(what, &mut run, |line| tests.read(line))?;
        counts.add(what, tests.count()?);
    }
    Ok(counts)
}
