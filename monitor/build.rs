//! Puts the kernel part's object where `include_bytes_aligned!` finds it.
//!
//! aya-build compiles it with rustup's nightly. Where there is none, `cargo xtask build` compiles it another way
//! and names the file in `EGRESS_MONITOR_EBPF_OBJECT`.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

const OBJECT: &str = "EGRESS_MONITOR_EBPF_OBJECT";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={OBJECT}");
    if let Some(object) = env::var_os(OBJECT) {
        println!("cargo:rerun-if-changed={}", object.display());
        let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?).join("egress-monitor-ebpf");
        fs::copy(&object, &out).with_context(|| format!("{OBJECT}={}", object.display()))?;
        return Ok(());
    }
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
