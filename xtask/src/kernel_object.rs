//! How the kernel part is compiled: by which compiler, with which flags. `monitor/build.rs` includes this file, so that a
//! plain `cargo build` makes the same object as xtask does.
//!
//! The object depends on the sources and the compiler alone, not on where they are: with the pinned nightly it comes out
//! byte for byte the same in any folder.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The nightly that compiles the kernel part, by rustup's name for it.
pub const NIGHTLY: &str = "nightly-2026-05-20";

/// The commit that nightly's rustc was made from: a toolchain called `nightly` of the same commit is the same compiler.
pub const NIGHTLY_COMMIT: &str = "e50aa6fba4e63ab34c72bf9acfd2c307c1155d1a";

/// The programs of Debian's toolchain; named by path, since rustup's come first in `PATH`.
pub const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// See [`DEBIAN_CARGO`].
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The product's object.
pub const OBJECT: &str = "egress-monitor-ebpf";

const TARGET: &str = "bpfel-unknown-none";

/// What compiles the kernel part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// The pinned nightly, which builds `core` from `rust-src`, by its name on this machine.
    Nightly(&'static str),
    /// Debian's `rustc-web` with its ready-made `core` for BPF: another compiler, so another object.
    Debian,
}

/// The pinned nightly's name on this machine, if it is there.
pub fn nightly() -> Option<&'static str> {
    [NIGHTLY, "nightly"].into_iter().find(|name| {
        let version = Command::new("rustup").args(["run", name, "rustc", "-vV"]).stdin(Stdio::null()).output();
        version.is_ok_and(|it| it.status.success() && is_pinned(&String::from_utf8_lossy(&it.stdout)))
    })
}

/// Whether `rustc -vV` printed this for the pinned nightly.
fn is_pinned(version: &str) -> bool {
    version.lines().any(|line| line.strip_prefix("commit-hash: ") == Some(NIGHTLY_COMMIT))
}

/// The command that compiles the workspace's kernel part for a host of architecture `arch`, with `target` for what cargo
/// keeps. Both objects are then at [`objects`].
pub fn build(compiler: Compiler, workspace: &Path, target: &Path, arch: &str) -> Command {
    cargo("build", compiler, workspace, target, arch)
}

/// Like [`build`], with another of cargo's subcommands that compile.
pub fn cargo(subcommand: &str, compiler: Compiler, workspace: &Path, target: &Path, arch: &str) -> Command {
    let mut cargo = match compiler {
        Compiler::Nightly(name) => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", name, "cargo"]);
            rustup
        }
        Compiler::Debian => Command::new(DEBIAN_CARGO),
    };
    // Of the cargo and the rustc that called us, another toolchain's.
    for name in ["CARGO", "LD_LIBRARY_PATH", "RUSTC", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    cargo.current_dir(workspace).stdin(Stdio::null());
    cargo.args([subcommand, "--quiet", "--release", "--package", "monitor-ebpf", "--bins", "--target", TARGET]);
    cargo.arg("--target-dir").arg(target);
    // aya-ebpf chooses its layout of registers by the host's architecture. Maps need BTF, which is made of debug
    // information. In place of any RUSTFLAGS, which are meant for the host.
    let mut flags =
        vec![format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2".into(), "-Clink-arg=--btf".into()];
    match compiler {
        Compiler::Nightly(_) => {
            cargo.args(["-Z", "build-std=core"]);
        }
        Compiler::Debian => {
            // What Debian's core is compiled for.
            flags.push("-Ctarget-cpu=v3".into());
            // The kernel part uses intrinsics that a stable compiler gives only when told so.
            cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", DEBIAN_RUSTC);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // No path of this machine in what is compiled: not of this folder, nor cargo's, nor rustup's. The compiler sees its
    // folders without links, so cargo has to, too.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    if let Some(home) = home.and_then(|home| home.canonicalize().ok()) {
        cargo.env("CARGO_HOME", home);
    }
    cargo.env("CARGO_UNSTABLE_TRIM_PATHS", "true").env("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
    cargo
}

/// The folder below `target` with what [`build`] made.
pub fn objects(target: &Path) -> PathBuf {
    target.join(TARGET).join("release")
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nightly(name) if *name == NIGHTLY => f.write_str(NIGHTLY),
            Self::Nightly(name) => write!(f, "{NIGHTLY}, here called {name}"),
            Self::Debian => write!(f, "Debian's rustc-web, NOT the pinned {NIGHTLY}: the object differs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NIGHTLY_COMMIT, is_pinned};

    #[test]
    fn a_toolchain_is_the_pinned_one_by_its_commit() {
        let version = |commit: &str| format!("rustc 1.97.0-nightly\nbinary: rustc\ncommit-hash: {commit}\nhost: x\n");
        assert!(is_pinned(&version(NIGHTLY_COMMIT)));
        assert!(!is_pinned(&version(&NIGHTLY_COMMIT.replace('e', "f"))));
        assert!(!is_pinned("rustc 1.96.0 (built from a source tarball)\n"));
    }
}
