//! Debian's package manager: which distribution this is, and installing packages. Package names come in; on
//! another distribution, or without root, the exact commands to type go out as the error. Called by `setup`.

use anyhow::{Result, bail};

use crate::process::{self, command, look};

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
