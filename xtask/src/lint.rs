//! `cargo xtask lint`: formatting, clippy on the host and on the kernel part, and cargo-deny over the dependencies.
//! All checks run, then the failed ones are named.

use anyhow::{Result, bail};

use crate::{
    build,
    process::{self, command, look},
    setup::{self, Toolchain},
};

const CARGO_DENY: &str = "0.20.2";

/// Runs every check.
///
/// # Errors
/// The names of the checks that failed.
pub fn run() -> Result<()> {
    let toolchain = setup::run()?;
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("xtask: {error:#}");
            failed.push(name);
        }
    };
    check("formatting", process::stage("formatting", &mut process::cargo(&["fmt", "--all", "--check"])));
    check("clippy", host_clippy());
    check("clippy of the kernel part", kernel_clippy(toolchain));
    check("cargo-deny", install_deny());
    check("bans, licences, sources", bans());
    check("advisories", advisories());
    if failed.is_empty() {
        return Ok(());
    }
    bail!("lint failed: {}", failed.join(", "))
}

fn host_clippy() -> Result<()> {
    let workspace = build::prepare()?;
    let scope = ["clippy", "--release", "--workspace", "--exclude", "monitor-ebpf", "--all-targets"];
    process::stage("clippy", workspace.cargo(&scope).args(["--", "--deny", "warnings"]))
}

fn kernel_clippy(toolchain: Toolchain) -> Result<()> {
    if toolchain == Toolchain::Debian {
        bail!("clippy of the kernel part needs rustup's nightly (`rustup toolchain install nightly`)");
    }
    let nightly = ["run", "nightly", "cargo", "clippy"];
    if look("rustup", &[nightly.as_slice(), &["--version"]].concat()).is_none() {
        let mut add = command("rustup", &["component", "add", "clippy", "--toolchain", "nightly"]);
        process::step("adding clippy to Rust nightly", &mut add)?;
    }
    let mut clippy = command("rustup", &nightly);
    clippy
        .args(["--release", "--package", "monitor-ebpf", "--bins", "--target", "bpfel-unknown-none"])
        .args(["-Z", "build-std=core", "--target-dir", "target/ebpf-lint", "--", "--deny", "warnings"])
        // As aya-build sets it; aya-ebpf chooses its register layout by it.
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH))
        .env_remove("RUSTC");
    process::stage("clippy of the kernel part", &mut clippy)
}

fn install_deny() -> Result<()> {
    if look("cargo-deny", &["--version"]).is_some() {
        return Ok(());
    }
    let mut install = process::cargo(&["install", "cargo-deny", "--version", CARGO_DENY, "--locked"]);
    process::step("building cargo-deny (some minutes)", &mut install)
}

fn bans() -> Result<()> {
    process::stage("bans, licences, sources", &mut command("cargo-deny", &["check", "bans", "licenses", "sources"]))
}

/// The advisory database is fetched from the network; not being able to is not a finding, and not a pass.
fn advisories() -> Result<()> {
    let mut fetch = command("cargo-deny", &["fetch", "db"]);
    if let Err(error) = process::step("fetching the advisory database", &mut fetch) {
        let text = error.to_string();
        let reason = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
        eprintln!("xtask: advisories were NOT checked: the database cannot be fetched: {reason}");
        return Ok(());
    }
    process::stage("advisories", &mut command("cargo-deny", &["check", "--disable-fetch", "advisories"]))
}
