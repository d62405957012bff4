//! `cargo xtask prove boards`: rules, their tests and the dashboard, by Debian's promtool and prometheus, which are
//! unpacked below target/ and not installed.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{Counts, Tests};
use crate::{
    build::{Profile, Workspace},
    debian,
    process::{self, command, root},
    setup,
};

pub const PROMISE: &str = "Each rule of packaging/prometheus fires for what it is for and not for what it is not, also where a \
                           series is born with its first value or begins anew; each expression of the rules and of \
                           packaging/grafana runs in a real Prometheus over the scrape of a real monitor; the first transfer to \
                           a country pages.";

const RULES: &str = "packaging/prometheus/egress-monitor.rules.yml";
const TESTS: &str = "packaging/prometheus/egress-monitor.test.yml";

/// Fetches what it takes, and runs it.
///
/// # Errors
/// Something could not be fetched or built, or a rule, an expression or a test is no good.
pub fn run(workspace: &Workspace) -> Result<Counts> {
    setup::nextest()?;
    let package = debian::unpacked("prometheus", Path::new("target/boards"))?;
    let [promtool, prometheus] = ["promtool", "prometheus"].map(|name| package.join("usr/bin").join(name));
    let mut counts = Counts::default();
    let version = process::look(&prometheus, &["--version"]).context("prometheus does not say its version")?;
    counts.add("Prometheus", version.split_whitespace().nth(2).unwrap_or("of no version"));
    let mut rules = 0;
    process::watched(
        "promtool check rules",
        command(&promtool, &["check", "rules"]).arg(root().join(RULES)),
        |line| {
            rules += line.split_once("SUCCESS: ").map_or(0, |(_, rest)| number(rest));
        },
    )?;
    counts.add("rules, good by promtool", rules.to_string());
    process::watched("promtool test rules", command(&promtool, &["test", "rules"]).arg(root().join(TESTS)), |_| {})?;
    counts.add("tests of rules, by promtool", format!("{} passed", alerts_are_tried()?));
    let quick = ["--cargo-profile", Profile::Quick.name(), "--workspace", "--exclude", "monitor-ebpf"];
    process::stage("build", workspace.cargo(&["nextest", "run", "--no-run"]).args(quick))?;
    let mut run = workspace.cargo(&["nextest", "run", "--run-ignored", "all", "--no-tests", "fail"]);
    run.args(["--success-output", "immediate"]).args(quick);
    run.args(["--filterset", "binary(suite) & test(/^boards::/)"]).env("PROMETHEUS", &prometheus);
    let mut tests = Tests::default();
    process::watched("expressions over a real scrape", &mut run, |line| counts.read(&mut tests, line))?;
    counts.add("a monitor, scraped by Prometheus", tests.count()?);
    Ok(counts)
}

fn number(text: &str) -> u32 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How many tests there are: of each alert one that it fires for and one that it does not.
fn alerts_are_tried() -> Result<usize> {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).with_context(|| format!("reading {file}"));
    let (rules, tests) = (read(RULES)?, read(TESTS)?);
    let lacking = lacking(&rules, &tests);
    if !lacking.is_empty() {
        bail!("{TESTS} lacks: {}", lacking.join(", "));
    }
    Ok(tests.lines().filter(|line| line.starts_with("  - name: ")).count())
}

/// Tests that are not there.
fn lacking(rules: &str, tests: &str) -> Vec<String> {
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let wanted = alerts.flat_map(|alert| ["fires", "does not fire"].map(|what| format!("{alert} {what}")));
    wanted.filter(|name| !tests.contains(&format!("  - name: \"{name}: "))).collect()
}

#[cfg(test)]
mod tests {
    use super::lacking;

    #[test]
    fn each_alert_needs_a_test_that_it_fires_and_one_that_it_does_not() {
        let rules = "  - alert: One\n    expr: x\n  - alert: Two\n";
        let tests = "  - name: \"One fires: x\"\n  - name: \"One does not fire: y\"\n  - name: \"Two fires: z\"\n";
        assert_eq!(lacking(rules, tests), ["Two does not fire"]);
    }
}
