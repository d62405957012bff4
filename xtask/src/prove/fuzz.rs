//! `cargo xtask prove fuzz`: looks for packets and files that nobody thought of. The fuzz targets are in `fuzz/`, a
//! workspace of their own, built by the nightly with sanitizers; what they find that reaches new code is kept in
//! `fuzz/corpus`.

use std::{process::Command, time::Instant};

use anyhow::{Context as _, Result, bail};

use super::{Counts, Tests};
use crate::{
    build::{OBJECT, Profile, Workspace},
    kernel_object::{Compiler, NIGHTLY},
    process::{self, command, look, root},
    setup,
};

pub const PROMISE: &str = "Coverage-guided fuzzing of the packet parser and of every reader of files finds no crash, Miri \
                           finds nothing undefined in the pure core, and kernel and host agree on ten million random and \
                           mutated frames.";

const CARGO_FUZZ: &str = "0.13.2";
const TARGETS: [&str; 8] = ["parse", "fragments", "mmdb", "text", "json", "forms", "config", "helper"];

/// Longer inputs reach nothing new, and the repository keeps them.
const MAX_BYTES: u32 = 2048;

/// Random frames of the comparison with the kernel.
const FRAMES: &str = "10000000";

/// Minutes of each fuzz target.
const MINUTES: u64 = 1;

/// How much of it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long each fuzz target runs.
    #[arg(long, default_value_t = MINUTES, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Only this part of it.
    #[arg(long)]
    only: Option<Part>,
}

/// The parts of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The fuzz targets, from the corpus of the tests on.
    Targets,
    /// The unit tests of the pure core under Miri.
    Miri,
    /// Kernel and host on random and mutated frames.
    Kernel,
}

impl Options {
    /// Whether this is all of the proof.
    pub fn is_whole(&self) -> bool {
        self.only.is_none()
    }

    fn has(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

/// Runs what is asked for.
///
/// # Errors
/// A tool is missing and can't be installed, a build failed, or something was found.
pub fn run(workspace: &Workspace, options: &Options) -> Result<Counts> {
    let Compiler::Nightly(nightly) = workspace.compiler else {
        bail!("fuzzing and Miri need {NIGHTLY}: run `rustup toolchain install {NIGHTLY}`");
    };
    let mut counts = Counts::default();
    if options.has(Part::Targets) {
        targets(workspace, nightly, options.minutes, &mut counts)?;
    }
    if options.has(Part::Miri) {
        miri(nightly, &mut counts)?;
    }
    if options.has(Part::Kernel) {
        kernel(workspace, &mut counts)?;
    }
    Ok(counts)
}

/// Every fuzz target, from the tests' packets and what earlier runs kept on.
fn targets(workspace: &Workspace, nightly: &str, minutes: u64, counts: &mut Counts) -> Result<()> {
    if look("rustup", &["run", nightly, "cargo", "fuzz", "--version"]).is_none() {
        let mut install = process::cargo(&["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked"]);
        process::step("building cargo-fuzz (about a minute)", &mut install)?;
    }
    let profile = Profile::Quick.name();
    let seeds =
        ["run", "--profile", profile, "--package", "egress-monitor-tests", "--bin", "seeds", "--", "fuzz/corpus"];
    process::stage("packet corpus", &mut workspace.cargo(&seeds))?;
    // No target loads the kernel part, so an empty one will do.
    let object = root().join("fuzz/target/no-object");
    std::fs::create_dir_all(root().join("fuzz/target")).context("making fuzz/target")?;
    std::fs::write(&object, []).with_context(|| format!("writing {}", object.display()))?;
    let cargo_fuzz = |arguments: &[&str]| {
        let mut fuzz = of_nightly(nightly, &["fuzz"]);
        fuzz.args(arguments).env(OBJECT, &object);
        fuzz
    };
    let seconds = format!("-max_total_time={}", minutes * 60);
    let longest = format!("-max_len={MAX_BYTES}");
    for target in TARGETS {
        process::stage(&format!("build of {target}"), &mut cargo_fuzz(&["build", target]))?;
        // The run writes into the first folder, so that the repository gets only what the merge then finds worth it.
        let (found, kept) = (format!("fuzz/target/found/{target}"), format!("fuzz/corpus/{target}"));
        std::fs::create_dir_all(root().join(&found)).with_context(|| format!("making {found}"))?;
        // libFuzzer's own lines are the progress: executions, coverage, rate.
        let mut run = cargo_fuzz(&["run", target, &found, &kept, "--", &seconds, &longest, "-print_final_stats=1"]);
        let mut executed = None;
        process::watched(&format!("fuzzing {target}"), &mut run, |line| {
            executed = line
                .strip_prefix("stat::number_of_executed_units:")
                .map(str::trim)
                .map_or(executed.take(), |it| Some(it.to_owned()));
        })
        .with_context(|| format!("the input that {target} stopped at is in fuzz/artifacts/{target}"))?;
        let executed = executed.with_context(|| format!("{target} did not say how many inputs it tried"))?;
        counts.add(format!("inputs that {target} tried"), executed);
        let mut merge = cargo_fuzz(&["run", target, &kept, &found, "--", "-merge=1", &longest]);
        process::stage(&format!("keeping what is new to {kept}"), &mut merge)?;
    }
    Ok(())
}

/// A subcommand of the nightly's cargo.
fn of_nightly(nightly: &str, arguments: &[&str]) -> Command {
    let mut cargo = command("rustup", &["run", nightly, "cargo"]);
    // Of the cargo that runs this xtask, another toolchain's.
    cargo.args(arguments).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    cargo
}

/// Prints the seed that repeats it, and with the stage's time its rate.
fn kernel(workspace: &Workspace, counts: &mut Counts) -> Result<()> {
    let scope = ["test", "--release", "--package", "egress-monitor-tests", "--test", "suite"];
    process::stage("build", workspace.cargo(&scope).arg("--no-run"))?;
    let begun = Instant::now();
    let mut compare = workspace.cargo(&scope);
    compare.args(["datapath::random_and_mutated", "--", "--nocapture"]).env("FRAMES", FRAMES);
    let mut tests = Tests::default();
    process::watched("kernel and host", &mut compare, |line| tests.read(line))?;
    let seconds = begun.elapsed().as_secs_f64();
    let rate = FRAMES.parse::<f64>()? / seconds;
    counts.add("frames on which kernel and host agree", format!("{FRAMES} ({}; {rate:.0} a second)", tests.count()?));
    Ok(())
}

fn miri(nightly: &str, counts: &mut Counts) -> Result<()> {
    if look("rustup", &["run", nightly, "cargo", "miri", "--version"]).is_none() {
        setup::add_component(nightly, "miri")?;
    }
    let mut test = of_nightly(nightly, &["miri", "test", "--package", "monitor-common"]);
    // The other tests build a policy image, which takes an interpreter minutes.
    test.args(["--features", "user", "--", "parse::", "fragments::"]);
    // Random tests print a seed from the host.
    test.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    let mut tests = Tests::default();
    process::watched("Miri", &mut test, |line| tests.read(line))?;
    counts.add("unit tests of parser and fragments under Miri", tests.count()?);
    Ok(())
}
