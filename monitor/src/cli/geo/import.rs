//! `egress-monitor geo import`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    failure::Failure,
    geo::{self, compact},
    text::{json, print},
};

/// Builds the compact form from MMDB, CSV or compact files: smaller, faster to load, with name, date and digest.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor geo import country.mmdb --out /etc/egress-monitor/geo/country.egm.zst\n  egress-monitor geo import ipv4.csv ipv6.csv --name example --built 2026-06-01T00:00:00Z --out example.egm.zst"
)]
pub struct Args {
    /// Files (.mmdb, .csv, .egm, .egm.zst). Several make one dataset, and must not overlap.
    #[arg(value_name = "IN", required = true)]
    inputs: Vec<PathBuf>,
    /// What to write; compressed where the name ends in .zst. Replaced in one step, or left alone on any error.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The dataset's name; the output file's name without it.
    #[arg(long)]
    name: Option<String>,
    /// Version as the publisher gives it.
    #[arg(long = "dataset-version", value_name = "TEXT")]
    version: Option<String>,
    /// When the publisher built it, RFC 3339; an MMDB says so itself.
    #[arg(long, value_name = "TIME")]
    built: Option<jiff::Timestamp>,
    /// Licence and attribution to show with results.
    #[arg(long, value_name = "TEXT")]
    attribution: Option<String>,
    /// What it was made from (package, version, SHA-256 of the archive).
    #[arg(long, value_name = "TEXT")]
    provenance: Option<String>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Written {
    file: String,
    bytes: usize,
    name: String,
    ipv4_ranges: usize,
    ipv6_ranges: usize,
    /// Ranges that the files give two countries; taken as unknown.
    contradictions: usize,
    digest: String,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let extension = args.out.to_string_lossy().to_ascii_lowercase();
    if !extension.ends_with(".egm") && !extension.ends_with(".egm.zst") {
        return Err(Failure::Usage(format!(
            "--out {}: a compact dataset's name ends in .egm or .egm.zst: add that",
            args.out.display()
        )));
    }
    let opened = args.inputs.iter().map(|file| geo::open_file(file)).collect::<Result<Vec<_>, _>>()?;
    let contradictions = opened.iter().map(|file| file.contradictions).sum();
    let (mut dataset, mut provenance) = geo::merge(opened)?;
    if let Some(built) = args.built {
        dataset.built = Some(built.as_second());
    }
    dataset.name = args.name.clone().unwrap_or_else(|| stem(&args.out));
    for (value, given) in [
        (&mut dataset.version, &args.version),
        (&mut dataset.attribution, &args.attribution),
        (&mut provenance, &args.provenance),
    ] {
        if let Some(given) = given {
            value.clone_from(given);
        }
    }
    let unfit = |error: compact::CompactError| Failure::Usage(format!("--out {}: {error}", args.out.display()));
    let encoded = compact::encode(&dataset, &provenance).map_err(unfit)?;
    let bytes = if extension.ends_with(".zst") { compact::compress(&encoded) } else { encoded };
    // What is written can be read, or nothing is written.
    let (again, _) = compact::decode(&bytes).map_err(unfit)?;
    if (&again.v4, &again.v6) != (&dataset.v4, &dataset.v6) {
        return Err(Failure::Internal("the compact form does not hold what was read".into()));
    }
    crate::geo::file::replace(&args.out, &bytes).map_err(|error| {
        Failure::Unavailable(format!("{}: {error}: check folder and permissions", args.out.display()))
    })?;
    let written = Written {
        file: args.out.display().to_string(),
        bytes: bytes.len(),
        name: dataset.name.clone(),
        ipv4_ranges: dataset.v4.len(),
        ipv6_ranges: dataset.v6.len(),
        contradictions,
        digest: dataset.digest_hex(),
    };
    if args.json {
        return print(&json(&written)?);
    }
    let mut text = format!(
        "{}: {} with {} IPv4 and {} IPv6 ranges, {:.1} KiB, digest sha256:{}\n",
        written.file,
        written.name,
        written.ipv4_ranges,
        written.ipv6_ranges,
        written.bytes as f64 / 1024.0,
        written.digest
    );
    if contradictions > 0 {
        text += &format!("{contradictions} ranges have two countries in the input and were taken as unknown\n");
    }
    print(&text)
}

/// `country` of `/a/country.egm.zst`.
fn stem(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.trim_end_matches(".zst").trim_end_matches(".egm").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(inputs: &[&Path], out: &Path) -> Args {
        Args {
            inputs: inputs.iter().map(|file| file.to_path_buf()).collect(),
            out: out.into(),
            name: None,
            version: Some("7".into()),
            built: Some("2026-06-01T00:00:00Z".parse().unwrap()),
            attribution: None,
            provenance: Some("a test".into()),
            json: true,
        }
    }

    #[test]
    fn two_families_from_two_files_become_one_dataset_and_bad_input_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("4.csv"), "192.0.2.0/24,DE\n").unwrap();
        std::fs::write(path("6.csv"), "2001:db8::/32,SG\n").unwrap();
        let out = path("both.egm.zst");
        run(&args(&[&path("4.csv"), &path("6.csv")], &out)).unwrap();
        let opened = geo::open_file(&out).unwrap();
        assert_eq!((opened.dataset.v4.len(), opened.dataset.v6.len()), (1, 1));
        assert_eq!((opened.dataset.name.as_str(), opened.dataset.version.as_str()), ("both", "7"));
        assert_eq!((opened.dataset.built, opened.provenance.as_str()), (Some(1_780_272_000), "a test"));

        let before = std::fs::read(&out).unwrap();
        std::fs::write(path("4b.csv"), "192.0.2.128/25,NO\n").unwrap();
        let error = run(&args(&[&path("4.csv"), &path("4b.csv")], &out)).unwrap_err();
        assert!(matches!(error, Failure::Usage(_)));
        assert_eq!(
            error.to_string(),
            format!(
                "{}: places 192.0.2.128 again, which {} does too: give files that do not overlap, or import them one by one",
                path("4b.csv").display(),
                path("4.csv").display()
            )
        );
        assert_eq!(std::fs::read(&out).unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "a temporary file was left");
    }

    #[test]
    fn the_outputs_name_and_folder_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("4.csv");
        std::fs::write(&csv, "192.0.2.0/24,DE\n").unwrap();
        let error = run(&args(&[&csv], Path::new("x.bin"))).unwrap_err();
        assert_eq!(error.to_string(), "--out x.bin: a compact dataset's name ends in .egm or .egm.zst: add that");
        let out = dir.path().join("none/x.egm");
        let error = run(&args(&[&csv], &out)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: No such file or directory (os error 2): check folder and permissions", out.display())
        );
    }
}
