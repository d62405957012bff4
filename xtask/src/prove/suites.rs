//! Proofs that are tests of the fast tier with larger numbers, as the product is shipped (release): `cargo xtask prove scale`
//! and `coverage`.

use std::path::Path;

use anyhow::Result;

use super::{Counts, Tests};
use crate::{
    build::{Profile, Workspace},
    process, setup,
};

/// Some of the tests.
pub struct Run {
    /// What they show.
    pub what: &'static str,
    /// nextest's filter that has them.
    pub filter: &'static str,
    /// What makes them large.
    pub variables: &'static [(&'static str, &'static str)],
}

pub const SCALE_PROMISE: &str = "A million flows at once, policies of half a million networks, ten million look-ups and both \
                                 CPUs busy: what is counted, classified and reported is exact, as the product is shipped.";

pub const SCALE: [Run; 3] = [
    Run {
        what: "floods of a million flows, a thousand swaps of policies, swaps of half a million networks",
        filter: "binary(suite) & test(/^(conservation|full_table|grace|policy_swap|scale|stress)::/)",
        variables: &[("SWITCHES", "1000"), ("ROUNDS", "20")],
    },
    Run { what: "each row of the benchmark", filter: "binary(suite) & test(/^bench::/)", variables: &[] },
    Run {
        what: "ten million look-ups in random policies, against a second evaluator",
        filter: "package(monitor-policy) & test(/::oracle::/)",
        variables: &[("EGRESS_MONITOR_LOOKUPS", "10000000")],
    },
];

pub const COVERAGE_PROMISE: &str = "Each way out of a host is watched, in observe and enforce mode, or told of; what passes \
                                    beside the hook is found by the interface's own account, and who would open such a way is \
                                    refused; what somebody changes in the kernel is told. By TCX and by clsact.";

pub const COVERAGE: [Run; 3] = [
    Run {
        what: "ways out, and devices that come and go (200 of them)",
        filter: "binary(suite) & test(/^(coverage|interfaces|tun)::/)",
        variables: &[("DEVICES", "200")],
    },
    Run {
        what: "what passes beside the hook, or would, under whatever cover; and nobody accused in twenty minutes",
        // What needs another kernel is in the proof of kernels.
        filter: "binary(suite) & test(/^(bypass_sockets|cover|gso|offloaded_tag|reconcile)::/) & not test(/^cover::queues::/)",
        // Not an hour: all of this is to take less.
        variables: &[("QUIET_SECONDS", "1200")],
    },
    Run { what: "what somebody changes in the kernel", filter: "binary(suite) & test(/^tamper::/)", variables: &[] },
];

/// Builds and runs them.
///
/// # Errors
/// The build or a test failed, or a filter has no test.
pub fn run(workspace: &Workspace, runs: &[Run]) -> Result<Counts> {
    run_with(workspace, runs, &[])
}

/// The same with more variables, of all of them.
///
/// # Errors
/// As above.
pub fn run_with(workspace: &Workspace, runs: &[Run], shared: &[(&str, &Path)]) -> Result<Counts> {
    setup::nextest()?;
    let release = ["--cargo-profile", Profile::Release.name(), "--workspace", "--exclude", "monitor-ebpf"];
    let mut counts = Counts::default();
    process::stage("build", workspace.cargo(&["nextest", "run", "--no-run"]).args(release))?;
    for Run { what, filter, variables } in runs {
        let mut run = workspace.cargo(&["nextest", "run", "--run-ignored", "all", "--no-tests", "fail"]);
        // What each test says is shown when it has passed.
        run.args(["--success-output", "immediate"]);
        run.args(release).args(["--filterset", filter]).envs(variables.iter().copied()).envs(shared.iter().copied());
        let mut tests = Tests::default();
        process::watched(what, &mut run, |line| counts.read(&mut tests, line))?;
        counts.add(*what, tests.count()?);
    }
    Ok(counts)
}
