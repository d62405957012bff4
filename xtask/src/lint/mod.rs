//! `cargo xtask lint`: formatting, clippy on the host and on the kernel part, the documentation, the rooms, systemd's units,
//! and cargo-deny over the dependencies. All checks run, then the failed ones are named.

mod paths;
mod rooms;
mod units;

use anyhow::{Result, bail};

use crate::{
    build::{self, Profile, Workspace},
    kernel_object::{self, Compiler, NIGHTLY},
    process::{self, command, look, root},
    setup,
};

const CARGO_DENY: &str = "0.20.2";

/// Runs every check; with `bless` writes the table of rooms first.
///
/// # Errors
/// The names of the checks that failed.
pub fn run(bless: bool) -> Result<()> {
    let workspace = build::prepare()?;
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("xtask: {error:#}");
            failed.push(name);
        }
    };
    check("formatting", process::stage("formatting", &mut process::cargo(&["fmt", "--all", "--check"])));
    check("rooms", rooms::check(bless));
    check("units", units::check());
    check("clippy", host_clippy(&workspace));
    check("documentation", documentation(&workspace));
    check("clippy of the kernel part", kernel_clippy(workspace.compiler));
    check("cargo-deny", install_deny());
    check("bans, licences, sources", bans());
    check("advisories", advisories());
    if failed.is_empty() {
        return Ok(());
    }
    bail!("lint failed: {}", failed.join(", "))
}

/// The workspace's crates that are compiled for the host.
const HOST: [&str; 3] = ["--workspace", "--exclude", "monitor-ebpf"];

fn host_clippy(workspace: &Workspace) -> Result<()> {
    let mut clippy = workspace.cargo(&["clippy", "--profile", Profile::Quick.name(), "--all-targets", "--keep-going"]);
    process::stage("clippy", clippy.args(HOST).args(["--", "--deny", "warnings"]))
}

/// Every link leads somewhere.
fn documentation(workspace: &Workspace) -> Result<()> {
    let mut doc = workspace.cargo(&["doc", "--profile", Profile::Quick.name(), "--no-deps"]);
    process::stage("documentation", doc.args(HOST).env("RUSTDOCFLAGS", "--deny warnings"))
}

fn kernel_clippy(compiler: Compiler) -> Result<()> {
    let Compiler::Nightly(name) = compiler else {
        bail!("clippy of the kernel part needs {NIGHTLY} (`rustup toolchain install {NIGHTLY}`)");
    };
    if look("rustup", &["run", name, "cargo", "clippy", "--version"]).is_none() {
        setup::add_component(name, "clippy")?;
    }
    let target = root().join("target/ebpf");
    let mut clippy = kernel_object::cargo("clippy", compiler, &root(), &target, std::env::consts::ARCH);
    process::stage("clippy of the kernel part", clippy.args(["--", "--deny", "warnings"]))
}

/// cargo-deny, built where there is none. It reads some hundred small files: what it would gain by optimisation is less
/// than that takes.
fn install_deny() -> Result<()> {
    if look("cargo-deny", &["--version"]).is_some() {
        return Ok(());
    }
    let mut install = process::cargo(&["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug"]);
    install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    process::step("building cargo-deny (about a minute)", &mut install)
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
