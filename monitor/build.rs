//! Puts the kernel part's object where `include_bytes_aligned!` finds it, and tells the build scripts of dependents
//! where the benchmark's own object is (`DEP_EGRESS_MONITOR_BENCH_OBJECT`): that is no part of this crate.
//!
//! aya-build compiles both with rustup's nightly. Where there is none, `cargo xtask build` compiles them another way
//! and names the former in `EGRESS_MONITOR_EBPF_OBJECT`; the other is beside it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const OBJECT: &str = "EGRESS_MONITOR_EBPF_OBJECT";
const BENCH: &str = "egress-monitor-ebpf-bench";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={OBJECT}");
    let folder = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    if let Some(object) = env::var_os(OBJECT) {
        println!("cargo:rerun-if-changed={}", object.display());
        let out = folder.join("egress-monitor-ebpf");
        fs::copy(&object, &out).with_context(|| format!("{OBJECT}={}", object.display()))?;
        println!("cargo:bench_object={}", Path::new(&object).with_file_name(BENCH).display());
        return Ok(());
    }
    println!("cargo:bench_object={}", folder.join(BENCH).display());
    // aya-build passes on all that the inner cargo says as warnings, again with every call.
    // SAFETY: a build script's main thread, before any other.
    unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../monitor-ebpf");
    aya_build::build_ebpf(
        [aya_build::Package { name: "monitor-ebpf", root_dir: root, ..Default::default() }],
        aya_build::Toolchain::default(),
    )
    .context("the kernel part did not build; `cargo xtask build` installs what it needs")
}
