//! The units below `packaging/`, as systemd reads them: without a complaint, and the services with as few ways to do harm
//! as is promised. systemd need not run for it.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{
    debian,
    process::{command, look, root},
};

/// What `systemd-analyze security` may come to, in tenths.
const EXPOSURE: &str = "20";
/// The line that says what a service comes to.
const OVERALL: &str = "→ Overall exposure level for ";
/// systemd before 253 says so, and does as the unit file says.
const OLDER: &str = "Failed to parse service type, ignoring: notify-reload";

/// Reads them.
///
/// # Errors
/// What systemd says of them; there is no systemd, and none can be had.
pub fn check() -> Result<()> {
    if look("systemd-analyze", &["--version"]).is_none() {
        debian::install("reading the unit files", &["systemd"])?;
    }
    let folder = root().join("target/units");
    fs::create_dir_all(&folder).context("a folder for copies of the units")?;
    let mut units = Vec::new();
    for entry in fs::read_dir(root().join("packaging")).context("reading packaging/")? {
        let path = entry.context("reading packaging/")?.path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        let Some(name) = path.file_name().filter(|_| matches!(kind, Some("service" | "socket" | "mount" | "timer")))
        else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let copy = folder.join(name);
        // The binary need not be installed here.
        fs::write(&copy, text.replace("/usr/bin/egress-monitor", "/bin/true")).context("copying a unit")?;
        units.push(copy.display().to_string());
    }
    let _said = analyze("verify", &["--man=no"], &units)?;
    let services: Vec<String> = units.into_iter().filter(|unit| unit.ends_with(".service")).collect();
    if services.is_empty() {
        bail!("packaging/ has no service");
    }
    let security = analyze("security", &["--offline=true", "--threshold", EXPOSURE], &services)?;
    for line in security.lines().filter_map(|line| line.strip_prefix(OVERALL)) {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        println!("systemd-analyze security: {}", words.join(" "));
    }
    Ok(())
}

/// Fails with what is said of the units; gives the rest.
fn analyze(what: &str, arguments: &[&str], units: &[String]) -> Result<String> {
    let mut analyze = command("systemd-analyze", &["--no-pager", what]);
    let output = analyze.args(arguments).args(units).output().context("starting systemd-analyze")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.ends_with(OLDER)).collect();
    let table = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !said.is_empty() {
        bail!("`systemd-analyze {what}` of the units below packaging/: {}\n{table}", said.join("\n"));
    }
    Ok(table.into_owned())
}
