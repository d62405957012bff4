//! `cargo xtask build`: the set-up, then everything in release mode. `monitor`'s build script builds the kernel
//! part with rustup's nightly; with Debian's toolchain that is done here and the object handed to the build script.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{
    process::{self, cargo, command, root},
    setup::{self, Toolchain},
};

/// Read by `monitor/build.rs`: a kernel object to embed instead of building one.
pub const OBJECT: &str = "EGRESS_MONITOR_EBPF_OBJECT";

/// Cargo with the kernel part taken care of: all builds, tests and runs of the workspace go through one of these,
/// so that they share what they compile.
#[derive(Debug)]
pub struct Workspace {
    object: Option<std::path::PathBuf>,
}

impl Workspace {
    /// A cargo command.
    #[must_use]
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
pub fn run() -> Result<Workspace> {
    let workspace = prepare()?;
    let mut build = workspace.cargo(&["build", "--release", "--workspace", "--exclude", "monitor-ebpf", "--bins"]);
    process::stage("build", &mut build)?;
    Ok(workspace)
}

/// Sets up, and with Debian's toolchain builds the kernel part.
///
/// # Errors
/// The set-up or the compiler failed.
pub fn prepare() -> Result<Workspace> {
    let object = match setup::run()? {
        // A caller's own object is the caller's business.
        Toolchain::Nightly => None,
        Toolchain::Debian => {
            let folder = root().join("target/ebpf-debian");
            let mut build = command(
                setup::DEBIAN_CARGO,
                &["build", "--release", "--package", "monitor-ebpf", "--bins", "--target", "bpfel-unknown-none"],
            );
            // The flags of aya-build, and the instruction set that Debian's core is used with; in place of any
            // RUSTFLAGS meant for the host.
            let arch = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
            let flags = [arch.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3"].join("\x1f");
            build
                .arg("--target-dir")
                .arg(&folder)
                .env("RUSTC", setup::DEBIAN_RUSTC)
                // The kernel part uses intrinsics that a stable compiler gives only when told so.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_ENCODED_RUSTFLAGS", flags);
            for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
                build.env_remove(name);
            }
            process::stage("kernel part with Debian's Rust", &mut build)?;
            let object = folder.join("bpfel-unknown-none/release/egress-monitor-ebpf");
            Some(object.canonicalize().with_context(|| format!("{} was not built", object.display()))?)
        }
    };
    Ok(Workspace { object })
}
