//! `cargo xtask setup`: finds which of the tools for building and testing are missing and installs them. Nothing
//! is remembered between calls: each tool is run or looked at, which takes a fraction of a second in all. Gives
//! back the toolchain that the kernel part is to be built with. Called by every command that builds.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    debian,
    kernel_object::{self, Compiler, DEBIAN_CARGO, DEBIAN_RUSTC, NIGHTLY},
    process::{self, command, look},
};

/// The version of bpf-linker that is installed where there is none, and the oldest that will do.
const BPF_LINKER: (u32, u32) = (0, 13);
const BPF_LINKER_VERSION: &str = "0.13.0";

/// The LLVM versions that this bpf-linker can be built against.
const BPF_LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The version of cargo-nextest that is installed where there is none.
const NEXTEST: &str = "0.9.143";

/// Forces one of the toolchains: `rustup` or `debian`.
const TOOLCHAIN: &str = "EGRESS_MONITOR_TOOLCHAIN";

/// Debian's Rust, with what it needs for BPF.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// Makes sure that everything is there, and gives what the kernel part is to be compiled with.
///
/// # Errors
/// What is missing and could not be installed, with the commands that would.
pub fn run() -> Result<Compiler> {
    let begun = Instant::now();
    let compiler = match std::env::var(TOOLCHAIN).ok().as_deref() {
        None | Some("") => match nightly() {
            Ok(name) => Compiler::Nightly(name),
            Err(error) if debian::is_debian() => {
                eprintln!("setup: no usable {NIGHTLY} ({error:#}); taking Debian's own Rust for the kernel part");
                debian_rust()?;
                Compiler::Debian
            }
            Err(error) => return Err(error),
        },
        Some("rustup") => Compiler::Nightly(nightly()?),
        Some("debian") => {
            debian_rust()?;
            Compiler::Debian
        }
        Some(other) => bail!("{TOOLCHAIN} is `{other}`; it can be `rustup` or `debian`"),
    };
    if look("ip", &["-V"]).is_none() {
        debian::install("network namespaces", &["iproute2"])?;
    }
    eprintln!("setup: everything is there (kernel part: {compiler}), {:.1} s", begun.elapsed().as_secs_f64());
    Ok(compiler)
}

/// The pinned nightly with `rust-src`, and a bpf-linker that reads what it writes. Gives its name on this machine.
fn nightly() -> Result<&'static str> {
    if look("rustup", &["--version"]).is_none() {
        bail!("rustup is not installed: see https://rustup.rs");
    }
    let name = if let Some(name) = kernel_object::nightly() {
        name
    } else {
        let mut install = command("rustup", &["toolchain", "install", NIGHTLY, "--profile", "minimal"]);
        process::step(&format!("installing Rust {NIGHTLY}"), install.args(["--component", "rust-src,clippy"]))?;
        kernel_object::nightly().with_context(|| format!("{NIGHTLY} was installed but is not the pinned compiler"))?
    };
    let sysroot = look("rustup", &["run", name, "rustc", "--print", "sysroot"])
        .with_context(|| format!("`rustup run {name} rustc --print sysroot` fails"))?;
    // What cargo's build-std reads.
    if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs").exists() {
        add_component(name, "rust-src")?;
    }
    let version = look("rustup", &["run", name, "rustc", "-vV"])
        .with_context(|| format!("`rustup run {name} rustc -vV` fails although it is installed"))?;
    let major = llvm_major(&version).with_context(|| format!("`rustup run {name} rustc -vV` names no LLVM version"))?;
    bpf_linker(major)?;
    Ok(name)
}

/// Adds a component to a toolchain of rustup's.
///
/// # Errors
/// It could not be had.
pub fn add_component(toolchain: &str, component: &str) -> Result<()> {
    let mut add = command("rustup", &["component", "add", component, "--toolchain", toolchain]);
    process::step(&format!("adding {component} to Rust {toolchain}"), &mut add)
}

/// Makes sure that the tests' runner is there.
///
/// # Errors
/// It could not be built.
pub fn nextest() -> Result<()> {
    if look("cargo-nextest", &["nextest", "--version"]).is_some() {
        return Ok(());
    }
    let mut install = process::cargo(&["install", "cargo-nextest", "--version", NEXTEST, "--locked"]);
    // It waits for the tests: what it would gain by optimisation is less than that takes.
    install.args(["--debug", "--no-default-features"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
    process::step(&format!("building cargo-nextest {NEXTEST} (some minutes)"), &mut install)
}

/// Debian's Rust with `core` for BPF, and a bpf-linker that reads what it writes.
fn debian_rust() -> Result<()> {
    let version = || look(DEBIAN_RUSTC, &["-vV"]);
    let has_core = || {
        look(DEBIAN_RUSTC, &["--print", "target-libdir", "--target", "bpfel-unknown-none"]).is_some_and(|folder| {
            std::fs::read_dir(folder.trim()).is_ok_and(|files| {
                files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
            })
        })
    };
    if version().is_none() || !has_core() || look(DEBIAN_CARGO, &["--version"]).is_none() {
        debian::install("Debian's Rust for the kernel part", &DEBIAN_PACKAGES)?;
    }
    let version = version().with_context(|| format!("`{DEBIAN_RUSTC} -vV` fails although it is installed"))?;
    bpf_linker(llvm_major(&version).with_context(|| format!("`{DEBIAN_RUSTC} -vV` names no LLVM version"))?)
}

/// A bpf-linker whose LLVM reads the bitcode of LLVM `major`.
fn bpf_linker(major: u32) -> Result<()> {
    let Err(reason) = usable_linker(major) else { return Ok(()) };
    if !BPF_LINKER_LLVM.contains(&major) {
        bail!("rustc uses LLVM {major}, which bpf-linker {BPF_LINKER_VERSION} does not know");
    }
    let prefix = format!("/usr/lib/llvm-{major}");
    let (package, feature) = (format!("llvm-{major}-dev"), format!("llvm-{major}"));
    // LLVM's C++ library and what LLVM itself links to.
    let packages = [package.as_str(), "libzstd-dev", "zlib1g-dev", "g++"];
    let arguments = [
        "install",
        "bpf-linker",
        "--version",
        BPF_LINKER_VERSION,
        "--no-default-features",
        "--features",
        &feature,
        "--locked",
        "--force",
    ];
    let have_llvm = look(format!("{prefix}/bin/llvm-config"), &["--version"]).is_some();
    if !have_llvm && !debian::is_debian() {
        bail!(
            "bpf-linker for LLVM {major} is missing ({reason}). Install LLVM {major} with its development files \
             (Debian: `apt-get install {}`), then, with LLVM {major}'s own folder in place of \
             {prefix}, run `LLVM_PREFIX={prefix} PATH={prefix}/bin:$PATH cargo {}` and call this again",
            packages.join(" "),
            arguments.join(" ")
        );
    }
    if !debian::is_debian() && have_llvm {
        eprintln!("setup: using the LLVM {major} in {prefix}");
    } else if !debian::available(&packages)? {
        bail!("Debian's archives, as configured here, have no `{package}`");
    } else {
        debian::install(&format!("LLVM {major} for bpf-linker"), &packages)?;
    }
    let mut install = process::cargo(&arguments);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(PathBuf::from(&prefix).join("bin")).chain(std::env::split_paths(&path)))
            .context("PATH cannot be extended")?;
    install.env("LLVM_PREFIX", &prefix).env("PATH", path);
    // Nobody looks into it, and its own manifest would have all of its debug information made.
    install.env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    process::step(
        &format!("building bpf-linker {BPF_LINKER_VERSION} for LLVM {major} ({reason}; about a minute)"),
        &mut install,
    )?;
    usable_linker(major).map_err(|reason| {
        anyhow::anyhow!("bpf-linker was installed but is still not usable: {reason}. Is cargo's bin folder in PATH?")
    })
}

/// Whether the bpf-linker in `PATH` will do; if not, why.
fn usable_linker(major: u32) -> Result<()> {
    let version = look("bpf-linker", &["--version"]).context("there is none that runs")?;
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < BPF_LINKER {
        bail!("version {number} is too old");
    }
    // Its version says nothing of its LLVM; the shared library that it loads does. A newer LLVM reads what an
    // older one wrote. A statically linked one can only be tried.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let file = std::env::split_paths(&path).map(|folder| folder.join("bpf-linker")).find(|file| file.is_file());
    let libraries = file.and_then(|file| look("ldd", &[&file.to_string_lossy()])).unwrap_or_default();
    match linked_llvm(&libraries) {
        Some(linked) if linked < major => bail!("the one that is there is linked to LLVM {linked}"),
        _ => Ok(()),
    }
}

/// The LLVM in `ldd`'s output: `libLLVM.so.22.1 => …` or, older, `libLLVM-17.so.1 => …`.
fn linked_llvm(libraries: &str) -> Option<u32> {
    libraries.lines().find_map(|line| {
        let name = line.trim().strip_prefix("libLLVM")?;
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
}

/// `LLVM version: 22.1.4` in what `rustc -vV` prints.
fn llvm_major(version: &str) -> Option<u32> {
    version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{linked_llvm, llvm_major};

    #[test]
    fn the_llvm_of_rustc_is_read_from_its_version_text() {
        assert_eq!(llvm_major("rustc 1.97.0-nightly\nbinary: rustc\nLLVM version: 22.1.4\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.97.0-nightly\n"), None);
    }

    #[test]
    fn the_llvm_of_bpf_linker_is_read_from_the_libraries_it_loads() {
        let new = "\tlinux-vdso.so.1 (0x1)\n\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x7)\n";
        assert_eq!(linked_llvm(new), Some(22));
        assert_eq!(linked_llvm("\tlibLLVM-17.so.1 => /usr/lib/libLLVM-17.so.1 (0x7)\n"), Some(17));
        assert_eq!(linked_llvm("\tlibc.so.6 => /lib/libc.so.6 (0x7)\n"), None);
    }
}
