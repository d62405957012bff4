//! Debian's package manager: which distribution this is, and installing packages. Package names come in; on
//! another distribution, or without root, the exact commands to type go out as the error. Called by `setup`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process::{self, command, look, root};

/// Whether this is Debian itself (a derivative has other packages at other versions).
pub fn is_debian() -> bool {
    std::fs::read_to_string("/etc/os-release")
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "ID=debian" || line.trim() == "ID=\"debian\""))
}

/// Whether every package can be had from the configured archives, after an `apt-get update` if the lists do not
/// know one.
///
/// # Errors
/// `apt-get update` failed.
pub fn available(packages: &[&str]) -> Result<bool> {
    if !is_debian() {
        return Ok(false);
    }
    if !all_known(packages) && process::is_root() {
        update()?;
    }
    Ok(all_known(packages))
}

/// Installs `packages`, which are needed for `purpose`.
///
/// # Errors
/// This is not Debian or this is not root (with the commands to type), or apt-get failed.
pub fn install(purpose: &str, packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    if !is_debian() {
        bail!(
            "{purpose}: this distribution is not Debian, so please install what Debian calls `{wanted}` with your \
             package manager and call this again"
        );
    }
    if !process::is_root() {
        bail!("{purpose}: please run `sudo apt-get update && sudo apt-get install -y {wanted}` and call this again");
    }
    let updated = !all_known(packages);
    if updated {
        update()?;
    }
    let what = format!("{purpose}: installing {wanted}");
    match process::step(&what, &mut apt_install(packages)) {
        // Lists that are older than the archive name files that are gone.
        Err(error) if !updated => {
            eprintln!("setup: trying again with fresh package lists ({})", first_line(&error));
            update()?;
            process::step(&what, &mut apt_install(packages))
        }
        other => other,
    }
}

/// A package's files, fetched and unpacked once in a folder below the repository's root. Nothing is installed.
///
/// # Errors
/// This is not Debian, its archives have no such package, or there is no room.
pub fn unpacked(package: &str, below: &Path) -> Result<PathBuf> {
    let all = root().join(below);
    let folder = all.join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    // Under another name until it is whole.
    let partial = all.join(format!("{package}.partial"));
    if partial.is_dir() {
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
    let mut download = command("apt-get", &["download", package]);
    process::step(&format!("fetching {package}"), download.current_dir(&partial))?;
    let mut files = fs::read_dir(&partial).with_context(|| format!("reading {}", partial.display()))?.flatten();
    let file = files.next().with_context(|| format!("apt-get download {package} left no file"))?.path();
    let paths = [file.to_string_lossy().into_owned(), partial.to_string_lossy().into_owned()];
    process::step(&format!("unpacking {package}"), &mut command("dpkg-deb", &["--extract", &paths[0], &paths[1]]))?;
    fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    fs::rename(&partial, &folder).with_context(|| format!("renaming {}", partial.display()))?;
    Ok(folder)
}

fn first_line(error: &anyhow::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn apt_install(packages: &[&str]) -> std::process::Command {
    let mut install =
        command("apt-get", &["-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"]);
    install.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    install
}

fn update() -> Result<()> {
    process::step("fetching Debian's package lists", &mut command("apt-get", &["update"]))
}

/// Whether the package lists name an installable version of each.
fn all_known(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        look("apt-cache", &["policy", package]).is_some_and(|text| {
            text.lines().any(|line| line.trim().strip_prefix("Candidate:").is_some_and(|it| it.trim() != "(none)"))
        })
    })
}
