//! `cargo xtask geo`: the embedded datasets from their publishers' npm archives, by name, version and SHA-256.
//! `--check` makes them anew and compares what they hold with what is committed, byte for byte before
//! compression (two versions of zstd may compress the same content differently).
//!
//! The conversion itself is `egress-monitor geo import`, the same that an operator uses; what is needed beside
//! it are npm, tar, sha256sum and zstd.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::build::Profile;

/// One embedded dataset and what it is made from.
struct Source {
    name: &'static str,
    package: &'static str,
    version: &'static str,
    /// Of the archive that npm gives.
    sha256: &'static str,
    /// The publisher builds twice a day at most and writes the hour (UTC) into the version.
    built: &'static str,
    attribution: &'static str,
}

const SOURCES: [Source; 2] = [
    Source {
        name: "dbip-country",
        package: "@ip-location-db/dbip-country",
        version: "2.3.2026060120",
        sha256: "78a6009a9c18434e6b690d703431241900d6127ddcd7c26ed48852549ee0df4f",
        built: "2026-06-01T20:00:00Z",
        attribution: "IP Geolocation by DB-IP, https://db-ip.com (CC BY 4.0)",
    },
    Source {
        name: "geo-whois-asn-country",
        package: "@ip-location-db/geo-whois-asn-country",
        version: "2.3.2026061719",
        sha256: "2a3e609015884c93c2d398e777ce1d2d34cab026054c43559bff32b25669f606",
        built: "2026-06-17T19:00:00Z",
        attribution: "Registry data by the Number Resource Organization, https://www.nro.net (CC BY 4.0)",
    },
];

/// Makes the embedded datasets, or with `check` compares them with the committed ones.
///
/// # Errors
/// A tool is missing, an archive is not the expected one, or with `check` a committed dataset differs.
pub fn run(check: bool) -> anyhow::Result<()> {
    for (tool, package) in [("npm", "npm"), ("tar", "tar"), ("sha256sum", "coreutils"), ("zstd", "zstd")] {
        let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(
            found.is_ok_and(|status| status.success()),
            "{tool} is missing, and the datasets can't be made without it: install it (Debian: apt-get install {package})"
        );
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    let work = root.join("target/geo");
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let mut differing = Vec::new();
    for source in &SOURCES {
        let made = make(root, &work, source)?;
        let committed = root.join("monitor/policy/data").join(format!("{}.egm.zst", source.name));
        if check {
            let expected = work.join(format!("{}.committed", source.name));
            // An empty or damaged file differs, too.
            let readable = run_tool(Command::new("zstd").args(["-dqf", "-o"]).arg(&expected).arg(&committed)).is_ok();
            if readable && sha256(&made)? == sha256(&expected)? {
                eprintln!("{}: as committed", source.name);
            } else {
                differing.push(committed.display().to_string());
            }
        } else {
            run_tool(Command::new("zstd").args(["-19", "-qf", "-o"]).arg(&committed).arg(&made))?;
            eprintln!("{}: {} bytes", committed.display(), fs::metadata(&committed)?.len());
        }
    }
    if !differing.is_empty() {
        bail!("not what the archives give: {}: run `cargo xtask geo` and commit", differing.join(", "));
    }
    Ok(())
}

/// The dataset in compact form, not compressed.
fn make(root: &Path, work: &Path, source: &Source) -> anyhow::Result<PathBuf> {
    let archive = fetch(work, source)?;
    let files = work.join(source.name);
    fs::create_dir_all(&files)?;
    run_tool(Command::new("tar").args(["--no-same-owner", "-xzf"]).arg(&archive).arg("-C").arg(&files))?;
    let made = work.join(format!("{}.egm", source.name));
    eprintln!("{}: importing", source.name);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut import = Command::new(cargo);
    import.current_dir(root).args(["run", "--quiet", "--profile", Profile::Quick.name()]);
    import.args(["--package", "egress-monitor", "--", "geo", "import"]);
    for family in ["ipv4", "ipv6"] {
        import.arg(files.join(format!("package/{}-{family}.csv", source.name)));
    }
    import.arg("--out").arg(&made).args(["--name", source.name, "--dataset-version", source.version]);
    import.args(["--built", source.built, "--attribution", source.attribution, "--provenance"]);
    import.arg(format!("npm {}@{}, sha256:{}", source.package, source.version, source.sha256));
    run_tool(import.stdout(Stdio::null()))?;
    Ok(made)
}

/// The archive, from an earlier run or from npm; always with the right SHA-256.
fn fetch(work: &Path, source: &Source) -> anyhow::Result<PathBuf> {
    // What `npm pack` names it: without @, / becomes -.
    let name = format!("{}-{}.tgz", source.package.trim_start_matches('@').replace('/', "-"), source.version);
    let archive = work.join(name);
    if !archive.exists() {
        eprintln!("{}: fetching {}@{} with npm", source.name, source.package, source.version);
        let package = format!("{}@{}", source.package, source.version);
        run_tool(Command::new("npm").current_dir(work).args(["pack", "--silent", &package]).stdout(Stdio::null()))?;
    }
    let found = sha256(&archive)?;
    if found != source.sha256 {
        // So that the next run fetches it again.
        fs::remove_file(&archive)?;
        bail!("{}: SHA-256 is {found}, expected {}: not used, and removed", archive.display(), source.sha256);
    }
    Ok(archive)
}

fn sha256(file: &Path) -> anyhow::Result<String> {
    let output = Command::new("sha256sum").arg(file).output().context("run sha256sum")?;
    ensure!(
        output.status.success(),
        "sha256sum {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout).context("read sha256sum's output")?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum printed nothing")
}

fn run_tool(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("run {}", command.get_program().display()))?;
    ensure!(status.success(), "{} failed ({status}): see above", command.get_program().display());
    Ok(())
}
