//! `cargo xtask fuzz`: looks for packets and files that nobody thought of. The fuzz targets are in `fuzz/`, a workspace of their
//! own, built by nightly with sanitizers; what they find that reaches new code is kept in `fuzz/corpus`.

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    process::{self, command, look},
    setup,
};

const CARGO_FUZZ: &str = "0.13.2";
const TARGETS: [&str; 6] = ["parse", "fragments", "mmdb", "text", "json", "config"];

/// Longer inputs reach nothing new, and the repository keeps them.
const MAX_BYTES: u32 = 2048;

/// Random frames of the comparison with the kernel.
const FRAMES: &str = "10000000";

/// Which of the searches are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Minutes of each fuzz target.
    pub minutes: u64,
    /// Only write the packet corpus into `fuzz/corpus`.
    pub seed: bool,
    /// Kernel and host on random frames instead.
    pub kernel: bool,
    /// The unit tests of the pure core under Miri instead.
    pub miri: bool,
}

/// Runs what is asked for.
///
/// # Errors
/// A tool is missing, a build failed, or something was found.
pub fn run(wanted: Wanted) -> Result<()> {
    if wanted.seed {
        return seed();
    }
    if wanted.kernel {
        return kernel();
    }
    if wanted.miri {
        return miri();
    }
    if look("rustup", &["run", "nightly", "cargo", "fuzz", "--version"]).is_none() {
        bail!(
            "fuzzing needs Rust nightly and cargo-fuzz: run `rustup toolchain install nightly` and \
             `cargo install cargo-fuzz --version {CARGO_FUZZ} --locked`"
        );
    }
    // No target loads the kernel part, so an empty one will do.
    let object = process::root().join("fuzz/target/no-object");
    std::fs::create_dir_all(process::root().join("fuzz/target")).context("making fuzz/target")?;
    std::fs::write(&object, []).with_context(|| format!("writing {}", object.display()))?;
    let cargo_fuzz = |arguments: &[&str]| {
        let mut fuzz = cargo_fuzz(arguments);
        fuzz.env(build::OBJECT, &object);
        fuzz
    };
    let seconds = format!("-max_total_time={}", wanted.minutes * 60);
    let longest = format!("-max_len={MAX_BYTES}");
    for target in TARGETS {
        process::stage(&format!("build of {target}"), &mut cargo_fuzz(&["build", target]))?;
        // The run writes into the first folder, so that the repository gets only what the merge then finds worth it.
        let (found, kept) = (format!("fuzz/target/found/{target}"), format!("fuzz/corpus/{target}"));
        std::fs::create_dir_all(process::root().join(&found)).with_context(|| format!("making {found}"))?;
        // libFuzzer's own lines are the progress: executions, coverage, rate.
        let mut run = cargo_fuzz(&["run", target, &found, &kept, "--", &seconds, &longest, "-print_final_stats=1"]);
        process::stage(&format!("fuzzing {target}"), &mut run)
            .with_context(|| format!("the input that {target} stopped at is in fuzz/artifacts/{target}"))?;
        let mut merge = cargo_fuzz(&["run", target, &kept, &found, "--", "-merge=1", &longest]);
        process::stage(&format!("keeping what is new to {kept}"), &mut merge)?;
    }
    eprintln!("xtask: fuzzing found nothing that is wrong");
    Ok(())
}

fn cargo_fuzz(arguments: &[&str]) -> std::process::Command {
    let mut fuzz = command("rustup", &["run", "nightly", "cargo", "fuzz"]);
    // Of the cargo that runs this xtask, another toolchain's.
    fuzz.args(arguments).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    fuzz
}

fn seed() -> Result<()> {
    let workspace = build::prepare()?;
    let seeds = ["run", "--release", "--package", "egress-monitor-tests", "--bin", "seeds", "--", "fuzz/corpus"];
    process::stage("packet corpus", &mut workspace.cargo(&seeds))
}

/// Prints the seed that repeats it, and with the stage's time its rate.
fn kernel() -> Result<()> {
    if !process::is_root() {
        bail!("the kernel's part needs root: run `sudo env PATH=\"$PATH\" cargo xtask fuzz --kernel`");
    }
    let workspace = build::prepare()?;
    let test = ["test", "--release", "--package", "egress-monitor-tests", "--test", "datapath"];
    process::stage("build", workspace.cargo(&test).arg("--no-run"))?;
    let begun = std::time::Instant::now();
    let mut compare = workspace.cargo(&test);
    compare.args(["random_and_mutated", "--", "--nocapture"]).env("FRAMES", FRAMES);
    process::stage("kernel and host", &mut compare)?;
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("xtask: {FRAMES} frames in {seconds:.0} s, {:.0} a second", FRAMES.parse::<f64>()? / seconds);
    Ok(())
}

fn miri() -> Result<()> {
    setup::run()?;
    if look("rustup", &["run", "nightly", "cargo", "miri", "--version"]).is_none() {
        let mut add = command("rustup", &["component", "add", "miri", "rust-src", "--toolchain", "nightly"]);
        process::step("adding Miri to Rust nightly", &mut add)?;
    }
    let mut test = command("rustup", &["run", "nightly", "cargo", "miri", "test", "--package", "monitor-common"]);
    // The other tests build a policy image, which takes an interpreter minutes.
    test.args(["--features", "user", "--", "parse::", "fragments::"]);
    test.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    // Random tests print a seed from the host.
    test.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    process::stage("Miri", &mut test)
}
