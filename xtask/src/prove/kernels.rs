//! `cargo xtask prove kernels`: the kernel tests on Debian's other kernels. Each kernel is fetched and unpacked below
//! target/ (nothing is installed but the emulator), booted in it with the test programs as its whole file system,
//! and its console read. Debian on x86-64 only: the kernels are Debian's, and the tests run as they were built.

mod machine;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use self::machine::{EMULATOR, Machine};
use super::{Counts, initramfs::Initramfs, modules::Modules};
use crate::{
    build::{Profile, Workspace},
    debian,
    process::{self, look},
};

pub const PROMISE: &str = "The kernel part loads, attaches, counts exactly and agrees with the host's code packet by \
                           packet on the oldest and on a later kernel, each booted in an emulator; what leaves by a \
                           VLAN, bond, team, VRF, dummy, WireGuard, xfrm, MACsec or ipvlan device is judged, and counted \
                           once; whatever befalls the daemon, nothing forbidden leaves, and somebody without \
                           privileges hinders nothing; nobody is accused while offloads and \
                           queues change, netem among them.";

/// The kernels: a name, and what Debian's package names begin with.
const KERNELS: [(&str, &str); 2] = [("6.1", "linux-image-6.1."), ("6.12", "linux-image-6.12.")];

/// What they end with. Those for clouds (`-cloud-amd64`) lack most kinds of devices.
const KIND: &str = "-amd64";

/// Other kinds that end so.
const OTHER_KINDS: [&str; 2] = ["-cloud-amd64", "-rt-amd64"];

/// The program with the kernel tests.
const SUITE: &str = "suite";

/// Its modules that are run, or tests of them; of the blows those by the hook that the kernel has.
const MODULES: [&str; 14] = [
    "datapath",
    "attach",
    "grace",
    "cpus",
    "adoption",
    "layout_before",
    "fallback",
    "replace",
    BLOWS_BY_CLSACT,
    BLOWS_BY_TCX,
    "clients::whatever_somebody_without_privileges_does_every_scrape_is_answered_and_memory_is_bounded",
    "devices",
    "cover::queues",
    "cover::quiet",
];
const BLOWS_BY_CLSACT: &str = "blows::the_same_by_clsact";
const BLOWS_BY_TCX: &str =
    "blows::whatever_befalls_the_daemon_nothing_leaves_each_packet_is_counted_or_named_and_each_blow_is_told";

/// The first kernel that has TCX.
const TCX_SINCE: [u32; 2] = [6, 6];

/// How long `cover::quiet` lasts at least: each of its eight changes is made once. And somebody without privileges, who has
/// one thread: an emulator does nothing else with three. Whoever works without end rests each time.
const QUIET_SECONDS: u32 = 30;
const HOSTILE: &str = "HOSTILE_SECONDS=30 HOSTILE_THREADS=1 REST_MS=10";

/// What the tests need of the kernel, beside what that loads. Nothing there loads a module that is missed, so ciphers are
/// named too.
const DRIVERS: [&str; 27] = [
    "veth",
    "tcp_diag",
    "tun",
    "sch_htb",
    "sch_netem",
    "sch_tbf",
    "sch_ingress",
    "cls_bpf",
    "8021q",
    "bonding",
    "team",
    "team_mode_roundrobin",
    "vrf",
    "dummy",
    "wireguard",
    "ctr",
    "sha512_generic",
    "jitterentropy_rng",
    "drbg",
    "seqiv",
    "gcm",
    "ghash-generic",
    "esp4",
    "xfrm_user",
    "xfrm_interface",
    "macsec",
    "ipvlan",
];

/// Which kernels, and how much of it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which of 6.1 and 6.12; without any, all.
    kernels: Vec<String>,
    /// Only these modules of tests (devices, attach…).
    #[arg(long)]
    only: Vec<String>,
    /// Random frames in each random test: emulation is slow.
    #[arg(long, default_value_t = FRAMES)]
    frames: u32,
    /// How long one kernel may take; they run side by side.
    #[arg(long, default_value_t = 40)]
    minutes: u64,
}

const FRAMES: u32 = 20_000;

impl Options {
    /// Whether this is all of the proof.
    pub fn is_whole(&self) -> bool {
        self.kernels.is_empty() && self.only.is_empty() && self.frames >= FRAMES
    }

    /// The modules to run.
    fn modules(&self) -> Result<Vec<&'static str>> {
        if let Some(unknown) = self.only.iter().find(|only| !MODULES.contains(&only.as_str())) {
            bail!("there is no module `{unknown}` to run on other kernels; there are {}", MODULES.join(", "));
        }
        let is_wanted = |module: &&str| self.only.is_empty() || self.only.iter().any(|only| only == module);
        Ok(MODULES.into_iter().filter(is_wanted).collect())
    }
}

/// Runs the tests on the kernels that are asked for.
///
/// # Errors
/// Not Debian on x86-64, nothing to fetch, or the kernels on which something failed.
pub fn run(workspace: &Workspace, options: &Options) -> Result<Counts> {
    let names = KERNELS.map(|(name, _)| name).join(" and ");
    let wanted = &options.kernels;
    if let Some(unknown) = wanted.iter().find(|wanted| KERNELS.iter().all(|(name, _)| name != wanted)) {
        bail!("there is no kernel `{unknown}` to test with; there are {names}");
    }
    if !debian::is_debian() || std::env::consts::ARCH != "x86_64" {
        bail!("this fetches Debian's kernels for x86-64: run it on Debian on such a machine, or in a container of it");
    }
    for (tool, package) in [(EMULATOR, "qemu-system-x86"), ("xz", "xz-utils")] {
        if look(tool, &["--version"]).is_none() {
            debian::install("booting other kernels", &[package])?;
        }
    }
    let wanted_modules = options.modules()?;
    let programs = Programs {
        suite: suite(workspace)?,
        monitor: Profile::Quick.program("egress-monitor"),
        busybox: fetch("busybox-static")?.join("bin/busybox"),
        wireguard: fetch("wireguard-tools")?.join("usr/bin/wg"),
    };

    let mut machines = Vec::new();
    for (name, prefix) in KERNELS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        let package = newest(prefix)?;
        let folder = fetch(&package)?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        let modules = of_kernel(&wanted_modules, name);
        if modules.is_empty() {
            bail!("{name} has none of the modules that are asked for");
        }
        let archive = archive(&folder.join("lib/modules").join(&release), &programs, &modules, options.frames)?;
        let initrd = folder.join("initramfs");
        std::fs::write(&initrd, archive).with_context(|| format!("writing {}", initrd.display()))?;
        let kernel = folder.join("boot").join(format!("vmlinuz-{release}"));
        machines.push(Machine { name, release, modules, kernel, initrd });
    }
    // Side by side: each emulator has one thread.
    let limit = Duration::from_secs(60 * options.minutes);
    let outcomes = std::thread::scope(|scope| {
        let booted: Vec<_> = machines.iter().map(|machine| scope.spawn(|| machine.boot(limit))).collect();
        booted.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let outcomes: Vec<Result<(String, bool)>> = outcomes;
    let mut counts = Counts::default();
    let mut bad = Vec::new();
    for (Machine { release, .. }, outcome) in machines.iter().zip(outcomes) {
        let (count, is_good) = outcome?;
        println!("{release}: {count}");
        counts.add(release, count);
        if !is_good {
            bad.push(release.as_str());
        }
    }
    counts.add("random frames in each random test", options.frames.to_string());
    if bad.is_empty() {
        return Ok(counts);
    }
    bail!("the tests do not pass on {}", bad.join(" and "))
}

/// Those that are for a kernel.
fn of_kernel(modules: &[&'static str], kernel: &str) -> Vec<&'static str> {
    let other = if numbers(kernel) < TCX_SINCE.to_vec() { BLOWS_BY_TCX } else { BLOWS_BY_CLSACT };
    modules.iter().copied().filter(|module| *module != other).collect()
}

/// Builds the program with the tests, with the monitor that they start, and gives its file.
fn suite(workspace: &Workspace) -> Result<PathBuf> {
    let scope = ["test", "--profile", Profile::Quick.name(), "--workspace", "--exclude", "monitor-ebpf"];
    let mut build = workspace.cargo(&scope);
    process::stage("build of the tests", build.arg("--no-run"))?;
    // Again, with nothing left to do, for the name of the file.
    let output = build.arg("--message-format=json").stderr(Stdio::null()).output().context("cannot start cargo")?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value =
            serde_json::from_str(line).context("cargo printed something else than JSON")?;
        let text = |pointer: &str| message.pointer(pointer).and_then(serde_json::Value::as_str);
        if let (Some(SUITE), Some(file)) = (text("/target/name"), text("/executable")) {
            return Ok(PathBuf::from(file));
        }
    }
    bail!("cargo named no test program `{SUITE}`");
}

/// The newest of Debian's packages whose names begin so.
fn newest(prefix: &str) -> Result<String> {
    let names = || look("apt-cache", &["pkgnames", prefix]).unwrap_or_default();
    let newest = |names: &str| {
        let kernels = names.lines().filter(|name| is_generic(name));
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

/// Whether a package is of the kind that is wanted.
fn is_generic(package: &str) -> bool {
    package.ends_with(KIND) && !OTHER_KINDS.iter().any(|other| package.ends_with(other))
}

/// Every number in a name, to compare versions by.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// A package's files, below target/kernels.
fn fetch(package: &str) -> Result<PathBuf> {
    debian::unpacked(package, Path::new("target/kernels"))
}

/// What is run in the emulator.
struct Programs {
    suite: PathBuf,
    monitor: PathBuf,
    busybox: PathBuf,
    /// wg(8).
    wireguard: PathBuf,
}

/// The file system: the tests, what they call, and an init that runs these modules of them one after the other.
fn archive(release: &Path, programs: &Programs, modules: &[&str], frames: u32) -> Result<Vec<u8>> {
    let mut archive = Initramfs::default();
    for folder in ["/proc", "/sys", "/dev", "/run", "/tmp"] {
        archive.folder(folder);
    }
    archive.copy("/bin/busybox", &programs.busybox)?;
    for tool in ["ip", "tc"] {
        archive.program(&format!("/usr/sbin/{tool}"), &in_path(tool)?)?;
    }
    archive.program("/usr/sbin/wg", &programs.wireguard)?;
    let mut init = String::from(
        "#!/bin/busybox sh\n\
         export PATH=/usr/sbin:/bin RUST_BACKTRACE=0\n\
         busybox mount -t proc proc /proc\n\
         busybox mount -t sysfs sysfs /sys\n\
         busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         busybox mount -t devtmpfs devtmpfs /dev\n\
         busybox mount -t tmpfs tmpfs /run\n\
         busybox mount -t tmpfs tmpfs /tmp\n",
    );
    let (all, mut order) = (Modules::of(release)?, Vec::new());
    for driver in DRIVERS {
        all.load(driver, &mut order).with_context(|| release.display().to_string())?;
    }
    for driver in order {
        let name = driver.name;
        archive.file(&format!("/modules/{name}.ko"), &driver.content);
        init.push_str(&format!("busybox insmod /modules/{name}.ko || echo 'module {name} does not load'\n"));
    }
    init.push_str(&format!("export FRAMES={frames} QUIET_SECONDS={QUIET_SECONDS} {HOSTILE}\n"));
    // The groups that somebody is a member of, or not.
    archive.file("/etc/group", b"root:x:0:\ndaemon:x:1:\nsys:x:3:\n");
    archive.program("/tests/suite", &programs.suite)?;
    // Where the tests look for it: beside themselves.
    archive.program("/tests/egress-monitor", &programs.monitor)?;
    for module in modules {
        // A module, or a test by its whole name.
        let filter = if module.contains("::") { (*module).to_owned() } else { format!("{module}::") };
        // In one thread, so that every line of output is whole. Here nobody is disturbed by those left out elsewhere.
        init.push_str(&format!(
            "echo '=== {module} starts'\n\
             /tests/suite {filter} --nocapture --include-ignored --test-threads=1 2>&1\n\
             echo \"=== {module} ended with $?\"\n"
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

#[cfg(test)]
mod tests {
    use super::{BLOWS_BY_CLSACT, BLOWS_BY_TCX, is_generic, numbers, of_kernel};

    #[test]
    fn each_kernel_has_the_blows_by_its_own_hook() {
        let both = ["attach", BLOWS_BY_CLSACT, BLOWS_BY_TCX];
        assert_eq!(of_kernel(&both, "6.1"), ["attach", BLOWS_BY_CLSACT]);
        assert_eq!(of_kernel(&both, "6.12"), ["attach", BLOWS_BY_TCX]);
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(numbers("linux-image-6.12.117+deb12-amd64") > numbers("linux-image-6.12.99+deb12-amd64"));
        assert!(numbers("linux-image-6.1.0-56-amd64") > numbers("linux-image-6.1.0-9-amd64"));
    }

    #[test]
    fn kernels_for_clouds_and_for_real_time_are_none() {
        let names = ["6.1.0-57-amd64", "6.1.0-57-cloud-amd64", "6.1.0-57-rt-amd64", "6.1.0-57-amd64-unsigned"];
        assert_eq!(names.map(is_generic), [true, false, false, false]);
    }
}
