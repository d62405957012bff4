//! `cargo xtask prove receivers`: what is done with alerts, against Debian's own receivers and one that fails in each way;
//! the outbox against kills, power cuts and full disks; and each line against OCSF's own schema, by somebody else's code.
//! What it needs is unpacked below `target/receivers`: nothing of it is installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{Counts, suites};
use crate::{
    build::Workspace,
    debian,
    process::{self, command, look, root},
};

pub const PROMISE: &str = "Each alert is on disk before it goes anywhere, and then comes to each receiver that says yes, \
                           whatever becomes of either: kills, power cuts, full disks, a day's outage. What is only handed \
                           over is counted. Each line is OCSF 1.7 by an implementation that is not ours.";

/// What is run, in this order.
pub const RUNS: [suites::Run; 5] = [
    suites::Run {
        what: "the outbox: kills, power cuts at each byte, a disk that is full after each byte",
        filter: "package(egress-monitor) & test(/^storage::segments::/)",
        variables: &[("KILLS", "120"), ("POWER_CUT_COMMITS", "60"), ("FULL_DISK_LINES", "60")],
    },
    suites::Run {
        what: "a day of a million alerts without their receiver, and what a backlog of as many takes",
        filter: "package(egress-monitor) & test(/^sinks::tests::(day|memory)::/)",
        variables: &[("ALERTS", "1000000")],
    },
    suites::Run {
        what: "sinks, and Debian's rsyslog, journald and Alertmanager",
        filter: "package(egress-monitor) & test(/^sinks::/) & not test(/^sinks::tests::(day|memory)::/)",
        variables: &[],
    },
    suites::Run { what: "each kind of line", filter: "package(egress-monitor) & test(/^alerts::/)", variables: &[] },
    suites::Run {
        what: "alerts of daemons at work",
        filter: "binary(suite) & test(/^(alerts|life|mode|reload)::/)",
        variables: &[],
    },
];

/// Debian's receivers.
const PACKAGES: [&str; 4] = ["prometheus-alertmanager", "rsyslog", "rsyslog-gnutls", "systemd"];

/// Who judges lines, by PyPI.
const VALIDATOR: [&str; 2] = ["ocsf-json-schema==1.2.0", "jsonschema==4.26.0"];

/// Unpacks, runs and has all lines judged.
///
/// # Errors
/// Something is not to be had, or something of it failed.
pub fn run(workspace: &Workspace) -> Result<Counts> {
    let folder = root().join("target/receivers");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let unpacked = receivers(&folder)?;
    let python = validator(&folder)?;
    let lines = folder.join("lines.jsonl");
    fs::write(&lines, "").with_context(|| format!("writing {}", lines.display()))?;
    let mut counts = suites::run_with(workspace, &RUNS, &[("RECEIVERS", &unpacked), ("ALERT_LINES", &lines)])?;
    let mut judge = command(&python, &["tests/ocsf.py"]);
    process::watched("OCSF 1.7", judge.arg(&lines), |line| {
        if let Some((what, count)) = line.strip_prefix(super::PROVEN).and_then(|line| line.split_once(": ")) {
            counts.add(what, count);
        }
    })?;
    Ok(counts)
}

/// Debian's receivers, unpacked.
fn receivers(folder: &Path) -> Result<PathBuf> {
    let unpacked = folder.join("root");
    let whole = folder.join("unpacked");
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&whole).is_ok_and(|there| there == wanted) {
        return Ok(unpacked);
    }
    if !debian::available(&PACKAGES)? {
        bail!("the receivers are Debian's: its archives, as configured here, do not have all of {wanted}");
    }
    let packages = folder.join("packages");
    for old in [&unpacked, &packages] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    for new in [&unpacked, &packages.join("partial")] {
        fs::create_dir_all(new).with_context(|| format!("making {}", new.display()))?;
    }
    // With those that they need and this system has not.
    let mut download = command("apt-get", &["-o", "DPkg::Lock::Timeout=300", "install", "--download-only"]);
    download.args(["--reinstall", "--yes", "--no-install-recommends"]).env("DEBIAN_FRONTEND", "noninteractive");
    download.arg("-o").arg(format!("Dir::Cache::archives={}", packages.display())).args(PACKAGES);
    process::step("fetching Debian's receivers", &mut download)?;
    for package in fs::read_dir(&packages).context("reading the packages")? {
        let package = package.context("reading the packages")?.path();
        if package.extension().is_none_or(|end| end != "deb") {
            continue;
        }
        process::step(
            &format!("unpacking {}", package.file_name().unwrap_or_default().to_string_lossy()),
            command("dpkg-deb", &["--extract"]).arg(&package).arg(&unpacked),
        )?;
    }
    // Where not all of /usr is one, some have theirs beside it.
    for (name, of_usr) in [("lib", "usr/lib"), ("sbin", "usr/sbin"), ("bin", "usr/bin")] {
        let apart = unpacked.join(name);
        if apart.is_dir() && !apart.is_symlink() {
            let to = unpacked.join(of_usr);
            process::step(&format!("moving {name}"), command("cp", &["-a"]).arg(apart.join(".")).arg(to))?;
        }
    }
    fs::write(&whole, wanted).with_context(|| format!("writing {}", whole.display()))?;
    Ok(unpacked)
}

/// A Python with the validator.
fn validator(folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("python");
    let python = environment.join("bin/python");
    let has = |wanted: &str| {
        let (name, version) = wanted.split_once("==").unwrap_or((wanted, ""));
        let print = format!("import importlib.metadata as m; print(m.version('{name}'))");
        look(&python, &["-c", &print]).is_some_and(|there| there.trim() == version)
    };
    if VALIDATOR.into_iter().all(has) {
        return Ok(python);
    }
    if look("python3", &["-m", "venv", "--help"]).is_none() {
        debian::install("a Python of the proof's own", &["python3-venv"])?;
    }
    process::step("making a Python of the proof's own", command("python3", &["-m", "venv"]).arg(&environment))?;
    let mut install = command(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    process::step(&format!("installing {}", VALIDATOR.join(" ")), install.args(VALIDATOR))?;
    Ok(python)
}
