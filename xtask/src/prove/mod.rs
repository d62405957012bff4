//! `cargo xtask prove NAME`: what takes too long to be run for every change. Each proof is one command from a fresh clone:
//! it sets up what it needs, fails if anything of it did not run, and ends within 45 minutes on two cores. What it did
//! is written to `docs/proofs/NAME.md`.

mod boards;
mod docs;
mod fuzz;
mod initramfs;
mod kernels;
mod modules;
mod never_open;
mod receivers;
mod suites;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use crate::{
    build::{self, Workspace},
    process::{self, look, root},
};

/// The proofs there are.
#[derive(Debug, Subcommand)]
pub enum Proof {
    /// The kernel tests pass on other kernels than this machine's, in an emulator (Debian, x86-64).
    #[command(after_help = "Example: cargo xtask prove kernels 6.1 --frames 200000 --minutes 30")]
    Kernels(kernels::Options),
    /// Inputs that nobody thought of break neither parser nor readers; kernel and host agree on ten million frames.
    #[command(after_help = "Example: cargo xtask prove fuzz --only targets --minutes 10")]
    Fuzz(fuzz::Options),
    /// Nothing that is denied leaves while daemons come and go, and what is counted meanwhile is nobody's twice.
    NeverOpen,
    /// The procedures in the documentation do what they say, line by line.
    Docs,
    /// Every way out of a host is watched or told of, and so is who passes beside the hook or changes what is in the kernel.
    Coverage,
    /// Alerts reach those who are to get them, however these fail: nothing is lost, and next to nothing comes twice.
    Receivers,
    /// The rules for Prometheus and the dashboard for Grafana do what they are for, over a real scrape.
    Boards,
    /// A million flows, half a million networks and ten million look-ups come out exactly, as the product is shipped.
    Scale,
}

/// What a proof found: what was counted, and how much.
#[derive(Debug, Default)]
pub struct Counts(Vec<(String, String)>);

/// What tests begin lines with that belong into the proof.
const PROVEN: &str = "proven: ";

impl Counts {
    /// Takes a line of nextest's, which has shown what each test that passed has printed: what belongs into the proof, and how
    /// many tests there were. Not what each test says of itself.
    fn read(&mut self, tests: &mut Tests, line: &str) {
        if line.contains("Summary [") {
            tests.read(line);
        }
        if let Some((what, count)) = line.trim_start().strip_prefix(PROVEN).and_then(|line| line.split_once(": ")) {
            self.add(what, count);
        }
    }

    /// One more.
    pub fn add(&mut self, what: impl Into<String>, count: impl Into<String>) {
        self.0.push((what.into(), count.into()));
    }
}

/// Sets up, runs the proof and writes down what it did.
///
/// # Errors
/// Not root, something of it did not run, or it found something that is wrong.
pub fn run(proof: &Proof) -> Result<()> {
    if !process::is_root() {
        bail!(
            "proofs load BPF programs and make network namespaces: run `sudo env PATH=\"$PATH\" cargo xtask prove …`"
        );
    }
    let begun = Instant::now();
    let workspace = build::prepare()?;
    // Before anything is run: what fails here is not to fail after half an hour.
    let conditions = conditions(&workspace)?;
    let (name, promise, whole, counts) = match proof {
        Proof::Kernels(options) => {
            ("kernels", kernels::PROMISE, options.is_whole(), kernels::run(&workspace, options)?)
        }
        Proof::Fuzz(options) => ("fuzz", fuzz::PROMISE, options.is_whole(), fuzz::run(&workspace, options)?),
        Proof::NeverOpen => ("never-open", never_open::PROMISE, true, never_open::run(&workspace)?),
        Proof::Docs => ("docs", docs::PROMISE, true, docs::run(&workspace)?),
        Proof::Coverage => ("coverage", suites::COVERAGE_PROMISE, true, suites::run(&workspace, &suites::COVERAGE)?),
        Proof::Receivers => ("receivers", receivers::PROMISE, true, receivers::run(&workspace)?),
        Proof::Boards => ("boards", boards::PROMISE, true, boards::run(&workspace)?),
        Proof::Scale => ("scale", suites::SCALE_PROMISE, true, suites::run(&workspace, &suites::SCALE)?),
    };
    let seconds = begun.elapsed().as_secs();
    let took = format!("{} min {} s", seconds / 60, seconds % 60);
    println!("\nproof {name}: holds, in {took}");
    for (what, count) in &counts.0 {
        println!("  {what}: {count}");
    }
    if !whole {
        println!("not written down: only a part was asked for");
        return Ok(());
    }
    let mut text = format!("# Proof: {name}\n\n{promise}\n\nWritten by the command below; nothing here is by hand.\n");
    let command = ("command", format!("`cargo xtask prove {name}`"));
    table(&mut text, ["", ""], [command].into_iter().chain(conditions).chain([("took", took)]));
    table(&mut text, ["what", "count"], counts.0.iter().map(|(what, count)| (what.as_str(), count.clone())));
    let file = format!("docs/proofs/{name}.md");
    std::fs::create_dir_all(root().join("docs/proofs")).context("making docs/proofs")?;
    std::fs::write(root().join(&file), text).with_context(|| format!("writing {file}"))?;
    println!("written to {file}");
    Ok(())
}

fn table<'a>(text: &mut String, head: [&str; 2], rows: impl Iterator<Item = (&'a str, String)>) {
    text.push_str(&format!("\n| {} | {} |\n|---|---|\n", head[0], head[1]));
    for (what, value) in rows {
        text.push_str(&format!("| {what} | {value} |\n"));
    }
}

/// Of what, when and where.
fn conditions(workspace: &Workspace) -> Result<[(&'static str, String); 5]> {
    let ask = |program: &str, arguments: &[&str]| {
        let answer = look(program, arguments).with_context(|| format!("`{program} {}` fails", arguments.join(" ")))?;
        anyhow::Ok(answer.trim().to_owned())
    };
    let commit = ask("git", &["rev-parse", "HEAD"])?;
    // Earlier proofs are no part of what is proven.
    let changed = !ask("git", &["status", "--porcelain", "--", ".", ":!docs/proofs"])?.is_empty();
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.trim_matches([' ', '\t', ':', '=', '"']).to_owned())
    };
    let processor = field(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
    let kib: u64 = memory.trim_end_matches(" kB").parse().context("MemTotal in /proc/meminfo")?;
    let system = field(&read("/etc/os-release")?, "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned());
    let cores = std::thread::available_parallelism().context("counting CPUs")?;
    Ok([
        ("commit", format!("{commit}{}", if changed { ", with changes that are not committed" } else { "" })),
        ("date", ask("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])?),
        ("kernel", ask("uname", &["-r"])?),
        ("machine", format!("{cores} CPUs ({processor}), {} GiB, {system}", kib.div_ceil(1 << 20))),
        ("compilers", format!("{}; kernel part: {}", ask("rustc", &["--version"])?, workspace.compiler)),
    ])
}

/// What nextest's or a test program's last line says, with the number of tests that passed: none may have been left out,
/// and one at least must have run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tests {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that did not.
    pub failed: u32,
}

impl Tests {
    /// Takes what a line says, if it is such a line: `Summary [ 8.730s] 2 tests run: 2 passed, 340 skipped`, or
    /// `test result: ok. 9 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 8.01s`.
    pub fn read(&mut self, line: &str) {
        let parts = match (line.split_once("Summary ["), line.split_once("test result: ")) {
            (Some((_, rest)), _) => rest.split_once(':').map_or("", |(_, rest)| rest).split([',', ':']),
            (None, Some((_, rest))) => rest.split([';', '.']),
            (None, None) => return,
        };
        for part in parts {
            let mut words = part.split_whitespace();
            match (words.next().and_then(|count| count.parse::<u32>().ok()), words.next()) {
                (Some(count), Some("passed")) => self.passed += count,
                (Some(count), Some("failed" | "timed" | "exec")) => self.failed += count,
                _ => {}
            }
        }
    }

    /// As a count of a proof.
    ///
    /// # Errors
    /// One failed, or none ran.
    pub fn count(&self) -> Result<String> {
        if self.failed > 0 || self.passed == 0 {
            bail!("{} tests passed, {} failed", self.passed, self.failed);
        }
        Ok(format!("{} passed", self.passed))
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Tests};

    fn read(line: &str) -> (u32, u32) {
        let mut tests = Tests::default();
        tests.read(line);
        (tests.passed, tests.failed)
    }

    #[test]
    fn the_last_line_of_each_runner_is_understood() {
        assert_eq!(
            read("test result: ok. 9 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; in 8.01s"),
            (9, 1)
        );
        assert_eq!(read("     Summary [   8.730s] 2 tests run: 2 passed, 340 skipped"), (2, 0));
        assert_eq!(read("Summary [ 8.7s] 7/9 tests run: 4 passed (1 leaky), 1 failed, 2 timed out, 3 skipped"), (4, 3));
        assert_eq!(read("test a_test_that_passed ... ok"), (0, 0));
    }

    #[test]
    fn what_tests_print_for_the_proof_is_in_it_and_nothing_else_that_they_print() {
        let (mut tests, mut counts) = (Tests::default(), Counts::default());
        for line in [
            "    proven: detached, told after: 312 ms",
            "    proven: nothing to say",
            "    not proven: x: y",
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "     Summary [   8.730s] 2 tests run: 2 passed, 340 skipped",
        ] {
            counts.read(&mut tests, line);
        }
        assert_eq!(counts.0, [("detached, told after".to_owned(), "312 ms".to_owned())]);
        assert_eq!(tests, Tests { passed: 2, failed: 0 });
    }

    #[test]
    fn no_test_and_a_failed_one_are_no_proof() {
        assert!(Tests { passed: 0, failed: 0 }.count().is_err());
        assert!(Tests { passed: 9, failed: 1 }.count().is_err());
        assert_eq!(Tests { passed: 9, failed: 0 }.count().unwrap(), "9 passed");
    }
}
