//! `cargo xtask kernels`: the kernel tests on Debian's other kernels. Each kernel is fetched and unpacked below
//! target/ (nothing is installed but the emulator), booted in it with the test programs as its whole file system,
//! and its console read. Debian on x86-64 only: the kernels are Debian's, and the tests run as they were built.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Workspace},
    debian,
    initramfs::Initramfs,
    process::{self, command, look, root},
};

/// The kernels: a name, and what Debian's package names begin with.
const KERNELS: [(&str, &str); 2] = [("6.1", "linux-image-6.1."), ("6.12", "linux-image-6.12.")];
const KIND: &str = "-cloud-amd64";

/// Test files of `tests/` that are run.
const TESTS: [&str; 4] = ["datapath", "attach", "grace", "cpus"];

/// What the tests need of the kernel beyond what is built in; a kernel that has one built in has no such file.
const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

const EMULATOR: &str = "qemu-system-x86_64";

/// What a kernel's console said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Instructions that the verifier walked through; none if the program did not load.
    verified: Option<u32>,
    passed: u32,
    failed: u32,
    /// Test programs that ended well.
    ended_well: usize,
}

impl Outcome {
    fn read(&mut self, line: &str) {
        let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        if let Some((_, rest)) = line.split_once("verified instructions: ") {
            self.verified = number(rest);
        } else if let Some((_, rest)) = line.split_once("test result: ") {
            // "ok. 9 passed; 1 failed; 0 ignored; …"
            for part in rest.split([';', '.']).map(str::trim) {
                match part.split_once(' ') {
                    Some((count, "passed")) => self.passed += number(count).unwrap_or(0),
                    Some((count, "failed")) => self.failed += number(count).unwrap_or(0),
                    _ => {}
                }
            }
        } else if line.trim_end().ends_with(" ended with 0") && line.contains("=== ") {
            self.ended_well += 1;
        }
    }

    fn is_good(&self) -> bool {
        self.verified.is_some() && self.passed > 0 && self.failed == 0 && self.ended_well == TESTS.len()
    }
}

/// Runs the tests on `wanted` kernels (all, if none is named).
///
/// # Errors
/// Not Debian on x86-64, nothing to fetch, or the kernels on which something failed.
pub fn run(wanted: &[String], frames: u32, minutes: u64) -> Result<()> {
    let names = KERNELS.map(|(name, _)| name).join(" and ");
    if let Some(unknown) = wanted.iter().find(|wanted| KERNELS.iter().all(|(name, _)| name != wanted)) {
        bail!("there is no kernel `{unknown}` to test with; there are {names}");
    }
    if !debian::is_debian() || std::env::consts::ARCH != "x86_64" {
        bail!("this fetches Debian's kernels for x86-64: run it on Debian on such a machine, or in a container of it");
    }
    let workspace = build::prepare()?;
    if look(EMULATOR, &["--version"]).is_none() {
        debian::install("booting other kernels", &["qemu-system-x86"])?;
    }
    let programs = test_programs(&workspace)?;
    let busybox = fetch("busybox-static")?.join("bin/busybox");

    let mut table = vec![format!("{:<36} {:<6} {:>21}  tests", "kernel", "loads", "verified instructions")];
    let mut bad = Vec::new();
    for (name, prefix) in KERNELS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        let package = newest(prefix)?;
        let folder = fetch(&package)?;
        let release = package.trim_start_matches("linux-image-");
        let archive = archive(&folder.join("lib/modules").join(release), &busybox, &programs, frames)?;
        let initrd = folder.join("initramfs");
        std::fs::write(&initrd, archive).with_context(|| format!("writing {}", initrd.display()))?;
        let kernel = folder.join("boot").join(format!("vmlinuz-{release}"));
        let began = Instant::now();
        let (outcome, end) = boot(name, &kernel, &initrd, Duration::from_secs(60 * minutes))?;
        table.push(format!(
            "{release:<36} {:<6} {:>21}  {} passed, {} failed{end} ({:.0} s)",
            if outcome.verified.is_some() { "yes" } else { "no" },
            outcome.verified.map_or_else(|| "-".into(), |n| n.to_string()),
            outcome.passed,
            outcome.failed,
            began.elapsed().as_secs_f64(),
        ));
        if !outcome.is_good() {
            bad.push(release.to_owned());
        }
    }
    println!("\n{}", table.join("\n"));
    if bad.is_empty() {
        return Ok(());
    }
    bail!("the tests do not pass on {}", bad.join(" and "))
}

/// Builds the tests and gives their files, in the order of [`TESTS`].
fn test_programs(workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    let mut build = workspace.cargo(&["test", "--release", "--package", "egress-monitor-tests", "--no-run"]);
    for test in TESTS {
        build.args(["--test", test]);
    }
    process::stage("build of the tests", &mut build)?;
    // Again, with nothing left to do, for the names of the files.
    let output = build.arg("--message-format=json").stderr(Stdio::null()).output().context("cannot start cargo")?;
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value =
            serde_json::from_str(line).context("cargo printed something else than JSON")?;
        let text = |pointer: &str| message.pointer(pointer).and_then(serde_json::Value::as_str);
        if let (Some(name), Some(file)) = (text("/target/name"), text("/executable"))
            && TESTS.contains(&name)
        {
            programs.push((name.to_owned(), PathBuf::from(file)));
        }
    }
    programs.sort_by_key(|(name, _)| TESTS.iter().position(|test| test == name));
    if programs.len() != TESTS.len() {
        bail!("cargo named {} test programs, not {}", programs.len(), TESTS.len());
    }
    Ok(programs)
}

/// The newest of Debian's packages whose names begin so.
fn newest(prefix: &str) -> Result<String> {
    let names = || look("apt-cache", &["pkgnames", prefix]).unwrap_or_default();
    let newest = |names: &str| {
        let kernels = names.lines().filter(|name| name.ends_with(KIND));
        kernels.max_by_key(|name| numbers(name)).map(str::to_owned)
    };
    let Some(package) = newest(&names()) else {
        bail!(
            "Debian's archives, as configured here, have no `{prefix}*{KIND}`: run `apt-get update`; 6.12 is in \
             trixie, bookworm-backports and bookworm-security"
        );
    };
    Ok(package)
}

/// Every number in a name, to compare versions by.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// A package's files, fetched and unpacked below target/kernels once.
fn fetch(package: &str) -> Result<PathBuf> {
    let all = root().join("target/kernels");
    let folder = all.join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    // Under another name until it is whole.
    let partial = all.join(format!("{package}.partial"));
    if partial.is_dir() {
        std::fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    std::fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
    let mut download = command("apt-get", &["download", package]);
    process::step(&format!("fetching {package}"), download.current_dir(&partial))?;
    let mut files = std::fs::read_dir(&partial).with_context(|| format!("reading {}", partial.display()))?.flatten();
    let file = files.next().with_context(|| format!("apt-get download {package} left no file"))?.path();
    let paths = [file.to_string_lossy().into_owned(), partial.to_string_lossy().into_owned()];
    process::step(&format!("unpacking {package}"), &mut command("dpkg-deb", &["--extract", &paths[0], &paths[1]]))?;
    std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    std::fs::rename(&partial, &folder).with_context(|| format!("renaming {}", partial.display()))?;
    Ok(folder)
}

/// The file system: the tests, what they call, and an init that runs them one after the other.
fn archive(modules: &Path, busybox: &Path, programs: &[(String, PathBuf)], frames: u32) -> Result<Vec<u8>> {
    let mut archive = Initramfs::default();
    for folder in ["/proc", "/sys", "/dev", "/run", "/tmp"] {
        archive.folder(folder);
    }
    archive.copy("/bin/busybox", busybox)?;
    for tool in ["ip", "tc"] {
        archive.program(&format!("/usr/sbin/{tool}"), &in_path(tool)?)?;
    }
    let mut init = String::from(
        "#!/bin/busybox sh\n\
         export PATH=/usr/sbin:/bin RUST_BACKTRACE=0\n\
         busybox mount -t proc proc /proc\n\
         busybox mount -t sysfs sysfs /sys\n\
         busybox mount -t devtmpfs devtmpfs /dev\n\
         busybox mount -t tmpfs tmpfs /run\n\
         busybox mount -t tmpfs tmpfs /tmp\n",
    );
    for name in MODULES {
        if let Some(content) = module(modules, name)? {
            archive.file(&format!("/modules/{name}.ko"), &content);
            init.push_str(&format!("busybox insmod /modules/{name}.ko || echo 'module {name} does not load'\n"));
        }
    }
    init.push_str(&format!("export FRAMES={frames}\n"));
    for (name, file) in programs {
        archive.program(&format!("/tests/{name}"), file)?;
        // In one thread, so that every line of output is whole. Here nobody is disturbed by those left out elsewhere.
        init.push_str(&format!(
            "echo '=== {name} starts'\n/tests/{name} --nocapture --include-ignored --test-threads=1 2>&1\necho \"=== {name} ended with $?\"\n"
        ));
    }
    init.push_str("busybox poweroff -f\n");
    archive.file("/init", init.as_bytes());
    Ok(archive.finish())
}

/// A program's file, as the shell would find it.
fn in_path(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where they are on Debian, though not in everybody's PATH.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.with_context(|| format!("`{program}` is missing: install iproute2"))
}

/// A module's content, unpacked; `None` if this kernel has it built in.
fn module(modules: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let (plain, packed) = (format!("{name}.ko"), format!("{name}.ko.xz"));
    let mut folders = vec![modules.join("kernel/net"), modules.join("kernel/drivers/net")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let file = path.file_name().unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if file == plain.as_str() {
                return std::fs::read(&path).map(Some).with_context(|| format!("reading {}", path.display()));
            } else if file == packed.as_str() {
                let mut unpack = command("xz", &["--decompress", "--stdout"]);
                let output = unpack.arg(&path).output().context("cannot start `xz`: install xz-utils")?;
                if !output.status.success() {
                    bail!("`{}`: {}", process::show(&unpack), String::from_utf8_lossy(&output.stderr).trim());
                }
                return Ok(Some(output.stdout));
            }
        }
    }
    Ok(None)
}

/// Boots, shows the console, and gives what it said; beside it, words on how it ended if not by itself.
fn boot(name: &str, kernel: &Path, initrd: &Path, limit: Duration) -> Result<(Outcome, &'static str)> {
    // Emulated wholly, the same everywhere, with or without KVM. Two processors by turns in one thread: in a thread
    // each, an emulator (QEMU 7.2) that lags behind while one processor patches the other's code (static keys) makes
    // the kernel panic at `int3`.
    let accelerator = "tcg,thread=single";
    let mut emulator: Command = command(EMULATOR, &["-accel", accelerator, "-cpu", "max", "-m", "2G", "-smp", "2"]);
    emulator.args(["-nographic", "-no-reboot", "-nic", "none", "-append", "console=ttyS0 quiet panic=-1"]);
    emulator.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).stdout(Stdio::piped());
    eprintln!("xtask: booting {}", kernel.display());
    let until = Instant::now() + limit;
    let mut child = emulator.spawn().with_context(|| format!("cannot start {EMULATOR}"))?;
    let console = child.stdout.take().context("the emulator has no standard output")?;
    let (send, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n') {
            let Ok(line) = line else { return };
            // The receiver is gone when the time is over.
            if send.send(plain(&String::from_utf8_lossy(&line))).is_err() {
                return;
            }
        }
    });
    let mut outcome = Outcome::default();
    let mut end = "";
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{name}: {line}");
                outcome.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end = ", stopped: time is over (--minutes)";
                break;
            }
        }
    }
    // Harmless when it has ended by itself.
    let _: std::io::Result<()> = child.kill();
    child.wait().with_context(|| format!("waiting for {EMULATOR}"))?;
    drop(lines);
    if reader.join().is_err() {
        bail!("the thread that reads the console panicked");
    }
    Ok((outcome, end))
}

/// A line without what would clear or colour the terminal that it is shown on (the BIOS does).
fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // `[`, parameters, a letter; or one letter alone.
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |letter| letter + 1);
        text.push_str(&part[end..]);
    }
    text.retain(|c| c == '\t' || !c.is_control());
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::{Outcome, TESTS, numbers, plain};

    #[test]
    fn nothing_that_would_clear_the_terminal_is_shown() {
        assert_eq!(plain("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1)\r"), "SeaBIOS (version 1)");
        assert_eq!(plain("test a ... \x1b[32mok\x1b[0m"), "test a ... ok");
        assert_eq!(plain("[    2.3] reboot"), "[    2.3] reboot");
    }

    #[test]
    fn the_console_tells_what_the_verifier_and_the_tests_said() {
        let mut outcome = Outcome::default();
        for line in [
            "=== datapath starts",
            "test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 8.01s",
            "=== datapath ended with 0",
            "test the_verifier ... verified instructions: 202072",
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            outcome.read(line);
        }
        assert_eq!(outcome, Outcome { verified: Some(202_072), passed: 13, failed: 0, ended_well: 1 });
        for name in &TESTS[1..] {
            assert!(!outcome.is_good(), "one test program has not ended yet");
            outcome.read(&format!("=== {name} ended with 0"));
        }
        assert!(outcome.is_good());
    }

    #[test]
    fn a_failed_test_or_a_program_that_died_is_no_success() {
        let mut outcome = Outcome { verified: Some(1), passed: 5, failed: 0, ended_well: TESTS.len() - 1 };
        outcome.read("=== attach ended with 139");
        assert!(!outcome.is_good());
        outcome.read("=== attach ended with 0");
        assert!(outcome.is_good());
        outcome.read("test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!((outcome.passed, outcome.failed), (8, 1));
        assert!(!outcome.is_good());
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(numbers("linux-image-6.12.117+deb12-cloud-amd64") > numbers("linux-image-6.12.99+deb12-cloud-amd64"));
        assert!(numbers("linux-image-6.1.0-56-cloud-amd64") > numbers("linux-image-6.1.0-9-cloud-amd64"));
    }
}
