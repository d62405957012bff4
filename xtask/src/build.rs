//! `cargo xtask build`: the set-up, then everything in release mode. `monitor`'s build script builds the kernel
//! part with the pinned nightly; with Debian's toolchain that is done here and the object handed to the build script.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    kernel_object::{self, Compiler},
    process::{self, cargo, root},
    setup,
};

/// Read by `monitor/build.rs`: a kernel object to embed instead of building one.
pub const OBJECT: &str = "EGRESS_MONITOR_EBPF_OBJECT";

/// How the workspace is compiled; the root manifest says what each means.
#[derive(Clone, Copy, Debug)]
pub enum Profile {
    /// As soon as possible: what is run, tested and shown on a developer's machine and in CI.
    Quick,
    /// As it is shipped: what is measured.
    Release,
}

impl Profile {
    /// Cargo's name for it, and the folder's below `target`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Release => "release",
        }
    }

    /// The file of a program of the workspace.
    #[must_use]
    pub fn program(self, name: &str) -> PathBuf {
        root().join("target").join(self.name()).join(name)
    }
}

/// Cargo with the kernel part taken care of: all builds, tests and runs of the workspace go through one of these,
/// so that they share what they compile.
#[derive(Debug)]
pub struct Workspace {
    /// What compiles the kernel part.
    pub compiler: Compiler,
    object: Option<PathBuf>,
}

impl Workspace {
    /// A cargo command.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = cargo(arguments);
        if let Some(object) = &self.object {
            command.env(OBJECT, object);
        }
        command
    }
}

/// Sets up and builds every program.
///
/// # Errors
/// The set-up or the compiler failed.
pub fn run(profile: Profile) -> Result<Workspace> {
    let workspace = prepare()?;
    let scope = ["build", "--profile", profile.name(), "--workspace", "--exclude", "monitor-ebpf", "--bins"];
    process::stage("build", &mut workspace.cargo(&scope))?;
    Ok(workspace)
}

/// Sets up, and with Debian's toolchain builds the kernel part.
///
/// # Errors
/// The set-up or the compiler failed.
pub fn prepare() -> Result<Workspace> {
    let compiler = setup::run()?;
    let object = match compiler {
        // By monitor/build.rs.
        Compiler::Nightly(_) => None,
        Compiler::Debian => {
            let target = root().join("target/ebpf-debian");
            let mut build = kernel_object::build(compiler, &root(), &target, std::env::consts::ARCH);
            process::stage("kernel part with Debian's Rust", &mut build)?;
            let object = kernel_object::objects(&target).join(kernel_object::OBJECT);
            Some(object.canonicalize().with_context(|| format!("{} was not built", object.display()))?)
        }
    };
    Ok(Workspace { compiler, object })
}
