//! Puts the kernel part's object where `include_bytes_aligned!` finds it, and tells the build scripts of dependents
//! where the benchmark's own object is (`DEP_EGRESS_MONITOR_BENCH_OBJECT`): that is no part of this crate.
//!
//! Both are compiled by the pinned nightly. Where there is none, `cargo xtask build` compiles them with another compiler
//! and names the former in `EGRESS_MONITOR_EBPF_OBJECT`; the other is beside it.

#[path = "../xtask/src/kernel_object.rs"]
#[allow(dead_code, reason = "xtask uses the rest")]
mod kernel_object;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use kernel_object::{Compiler, NIGHTLY, OBJECT};

const BENCH_OBJECT: &str = "egress-monitor-ebpf-bench";
const GIVEN: &str = "EGRESS_MONITOR_EBPF_OBJECT";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={GIVEN}");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    if let Some(object) = env::var_os(GIVEN) {
        println!("cargo:rerun-if-changed={}", object.display());
        copy(Path::new(&object), &out.join(OBJECT))?;
        println!("cargo:bench_object={}", Path::new(&object).with_file_name(BENCH_OBJECT).display());
        return Ok(());
    }
    let objects = compile(&out)?;
    for name in [OBJECT, BENCH_OBJECT] {
        copy(&objects.join(name), &out.join(name))?;
    }
    println!("cargo:bench_object={}", out.join(BENCH_OBJECT).display());
    Ok(())
}

/// Compiles the kernel part, once for all profiles, and gives the folder with its objects.
fn compile(out: &Path) -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has no folder")?;
    for source in ["monitor-ebpf", "monitor-common", "Cargo.toml", "Cargo.lock", "xtask/src/kernel_object.rs"] {
        println!("cargo:rerun-if-changed={}", workspace.join(source).display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    let name = kernel_object::nightly().with_context(|| {
        format!("{NIGHTLY}, which compiles the kernel part, is missing; `cargo xtask build` installs what it needs")
    })?;
    // OUT_DIR is TARGET/PROFILE/build/PACKAGE/out.
    let target = out.ancestors().nth(4).context("OUT_DIR is not below a target folder")?.join("ebpf");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH")?;
    let mut build = kernel_object::build(Compiler::Nightly(name), workspace, &target, &arch);
    let status = build.status().with_context(|| format!("cannot start {build:?}"))?;
    ensure!(status.success(), "the kernel part did not build; `cargo xtask build` installs what it needs");
    Ok(kernel_object::objects(&target))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}
