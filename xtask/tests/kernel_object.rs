//! Promise: who compiles the same sources with the same compiler gets the same kernel part, byte for byte, in whatever
//! folder.

#[path = "../src/kernel_object.rs"]
#[allow(dead_code, reason = "shared with xtask and monitor/build.rs, which use the rest")]
mod kernel_object;

use std::{env::consts::ARCH, path::Path, process::Command};

use kernel_object::{Compiler, OBJECT};

const OBJECTS: [&str; 2] = [OBJECT, "egress-monitor-ebpf-bench"];

/// The objects, compiled from the sources in `workspace`.
fn compile(workspace: &Path, target: &Path) -> [Vec<u8>; 2] {
    let compiler = kernel_object::nightly().map_or(Compiler::Debian, Compiler::Nightly);
    let mut build = kernel_object::build(compiler, workspace, target, ARCH);
    let output = build.output().expect("cargo starts");
    assert!(output.status.success(), "{build:?}: {}", String::from_utf8_lossy(&output.stderr));
    OBJECTS.map(|name| std::fs::read(kernel_object::objects(target).join(name)).expect(name))
}

#[test]
fn the_kernel_part_is_the_same_byte_for_byte_wherever_it_is_compiled() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder");
    let here = compile(workspace, &workspace.join("target/ebpf"));

    let elsewhere = tempfile::tempdir().expect("a folder");
    let copy = elsewhere.path().join("of another length/sources");
    std::fs::create_dir_all(&copy).expect("a folder");
    let left_out = [".git", "docs", "fuzz", "target"];
    let sources = std::fs::read_dir(workspace).expect("the workspace").map(|entry| entry.expect("an entry").path());
    let sources = sources.filter(|path| !left_out.iter().any(|name| path.ends_with(name)));
    let status = Command::new("cp").arg("-r").args(sources).arg(&copy).status().expect("cp");
    assert!(status.success());
    let there = compile(&copy, &elsewhere.path().join("objects"));

    for ((name, here), there) in OBJECTS.iter().zip(&here).zip(&there) {
        assert!(here == there, "{name} differs: {} and {} bytes", here.len(), there.len());
        let text = String::from_utf8_lossy(here);
        let home = std::env::home_dir().expect("a home");
        assert!(!text.contains(&*workspace.to_string_lossy()), "{name} names {}", workspace.display());
        assert!(!text.contains(&*home.to_string_lossy()), "{name} names {}", home.display());
    }
}
