//! `egress-monitor geo import`.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::{
    cli::{output::Shape, render},
    error::CliError,
};
use monitor_api::geo::Imported;
use monitor_policy::{
    geo::{
        self, About, Content, Dataset, Progress, Rejected,
        asn::{self, AsDataset},
        compact,
        overlay::{self, Overlay},
    },
    text::{hex, time},
};

/// Build a compact dataset: smaller, faster to load, with name, date and digest
///
/// Takes datasets of countries (MMDB; text: CSV, Tor's geoip, the registries' delegated files, networks with a country),
/// overlays (geofeeds, the lists of AWS, Google Cloud, Azure and Oracle, networks) and AS numbers (MMDB, text). What is
/// inconsistent is left out and counted; where that is more than what is good, nothing is written.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor geo import country.mmdb --out /etc/egress-monitor/geo/country.egm.zst\n  egress-monitor geo import ipv4.csv ipv6.csv --name example --built 2026-06-01T00:00:00Z --out example.egm.zst\n  egress-monitor geo import ip-ranges.json --out aws.egm.zst\n  egress-monitor geo import GeoLite2-ASN.mmdb --kind asn --out asn.egm.zst"
)]
pub struct Args {
    /// Files. Several make one dataset, and must not overlap.
    #[arg(value_name = "IN", required = true)]
    inputs: Vec<PathBuf>,
    /// What to write; compressed where the name ends in .zst. Replaced in one step, or left alone on any error.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What the files are [default: a cloud provider's list is an overlay, anything else a dataset of countries]
    #[arg(long, value_enum)]
    kind: Option<Kind>,
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
    #[command(flatten)]
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Countries of the whole address space, for [geo] sources.
    Dataset,
    /// Countries of some networks, for [geo] overlays.
    Overlay,
    /// AS numbers, for [geo] asn.
    Asn,
}

/// What was read, whatever it is.
enum Read {
    Dataset(Dataset),
    Overlay(Overlay),
    AsNumbers(AsDataset),
}

impl Read {
    /// Its kind, what it says of itself, and how many ranges of each family it has.
    fn parts(&mut self) -> (&'static str, &mut About, (usize, usize)) {
        match self {
            Self::Dataset(of) => ("dataset", &mut of.about, (of.v4.len(), of.v6.len())),
            Self::Overlay(of) => ("overlay", &mut of.about, (of.v4.len(), of.v6.len())),
            Self::AsNumbers(of) => ("asn", &mut of.about, (of.v4.len(), of.v6.len())),
        }
    }

    /// The compact form, and whether it holds the same.
    fn encode(&self) -> Result<(Vec<u8>, bool), compact::CompactError> {
        match self {
            Self::Dataset(of) => {
                let bytes = compact::encode(of)?;
                let again = compact::decode(&bytes)?;
                Ok((bytes, (&again.v4, &again.v6) == (&of.v4, &of.v6)))
            }
            Self::Overlay(of) => {
                let bytes = compact::encode_overlay(of)?;
                let again = compact::decode_overlay(&bytes)?;
                Ok((bytes, (&again.v4, &again.v6) == (&of.v4, &of.v6)))
            }
            Self::AsNumbers(of) => {
                let bytes = compact::encode_asn(of)?;
                let again = compact::decode_asn(&bytes)?;
                Ok((bytes, (&again.v4, &again.v6, &again.names) == (&of.v4, &of.v6, &of.names)))
            }
        }
    }
}

/// Reads the files: what they hold, what was left out, what they say two things of.
fn read(args: &Args, progress: &Progress) -> Result<(Read, Rejected, usize), CliError> {
    let kind = match args.kind {
        Some(Kind::Dataset) => Content::Dataset,
        Some(Kind::Overlay) => Content::Overlay,
        Some(Kind::Asn) => Content::AsNumbers,
        None => args.inputs.first().map_or(Ok(Content::Dataset), |file| geo::content(file))?,
    };
    let files = args.inputs.iter();
    Ok(match kind {
        Content::Dataset => {
            let mut opened = files.map(|file| geo::read_file(file, progress)).collect::<Result<Vec<_>, _>>()?;
            let mut rejected = Rejected::default();
            for file in &mut opened {
                rejected.add(std::mem::take(&mut file.rejected));
            }
            let contradictions = opened.iter().map(|file| file.contradictions).sum();
            (Read::Dataset(geo::merge(opened)?), rejected, contradictions)
        }
        Content::Overlay => {
            let read = files.map(|file| overlay::read(file, progress)).collect::<Result<Vec<_>, _>>()?;
            let mut overlay = overlay::merge(read)?;
            let (rejected, contradictions) = (std::mem::take(&mut overlay.rejected), overlay.contradictions);
            (Read::Overlay(overlay), rejected, contradictions)
        }
        Content::AsNumbers => {
            let read = files.map(|file| asn::read(file, progress)).collect::<Result<Vec<_>, _>>()?;
            let mut dataset = asn::merge(read)?;
            let (rejected, contradictions) = (std::mem::take(&mut dataset.rejected), dataset.contradictions);
            (Read::AsNumbers(dataset), rejected, contradictions)
        }
    })
}

/// How long a reading may take before progress is shown.
const PATIENCE: Duration = Duration::from_secs(2);

/// Does the work, and says how far it has come on standard error once that has taken two seconds: in place on a
/// terminal, else a line every ten seconds.
fn with_progress<T: Send>(work: impl FnOnce(&Progress) -> T + Send) -> T {
    let progress = Progress::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        let worker = scope.spawn({
            let progress = &progress;
            move || {
                let result = work(progress);
                drop(done);
                result
            }
        });
        let mut err = std::io::stderr();
        let terminal = err.is_terminal();
        let mut wait = PATIENCE;
        while ended.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
            let percent = progress.percent().map_or_else(String::new, |percent| format!(", {percent} %"));
            let (before, after) = if terminal { ("\r", "\x1b[K") } else { ("", "\n") };
            // Nobody to report to is no reason to end.
            let _ = write!(err, "{before}reading: {} s{percent}{after}", began.elapsed().as_secs());
            let _ = err.flush();
            wait = Duration::from_secs(if terminal { 1 } else { 10 });
        }
        if terminal && began.elapsed() > PATIENCE {
            let _ = write!(err, "\r\x1b[K");
        }
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let written = import(args)?;
    args.shape.print(&written, |written, _| render::geo::imported(written))
}

fn import(args: &Args) -> Result<Imported, CliError> {
    let name = args.out.to_string_lossy().to_ascii_lowercase();
    let compressed = name.strip_suffix(".zst");
    if compressed.unwrap_or(&name).strip_suffix(".egm").is_none() {
        return Err(CliError::Usage(format!(
            "--out {}: a compact dataset's name ends in .egm or .egm.zst: add that",
            args.out.display()
        )));
    }
    let (mut read, rejected, contradictions) = with_progress(|progress| read(args, progress))?;
    let (_, about, _) = read.parts();
    if let Some(built) = args.built {
        about.built = Some(built.as_second());
    }
    about.name = args.name.clone().unwrap_or_else(|| stem(&args.out));
    for (value, given) in [
        (&mut about.version, &args.version),
        (&mut about.attribution, &args.attribution),
        (&mut about.provenance, &args.provenance),
    ] {
        if let Some(given) = given {
            value.clone_from(given);
        }
    }
    let unfit = |error: compact::CompactError| CliError::Usage(format!("--out {}: {error}", args.out.display()));
    // What is written can be read, or nothing is written.
    let (encoded, same) = read.encode().map_err(unfit)?;
    if !same {
        return Err(CliError::Internal("the compact form does not hold what was read".into()));
    }
    let bytes = if compressed.is_some() { compact::compress(&encoded) } else { encoded };
    crate::storage::replace(&args.out, &bytes, crate::storage::Access::Everybody).map_err(|error| {
        CliError::Unavailable(format!("{}: {error}: check folder and permissions", args.out.display()))
    })?;
    let (kind, about, (ipv4_ranges, ipv6_ranges)) = read.parts();
    let now = jiff::Timestamp::now().as_second();
    Ok(Imported {
        file: args.out.display().to_string(),
        kind,
        bytes: bytes.len(),
        name: about.name.clone(),
        built: about.built.map(time),
        age_days: about.age_days(now),
        stale: about.stale_days(now).is_some(),
        ipv4_ranges,
        ipv6_ranges,
        contradictions,
        rejected,
        digest: hex(&about.digest),
    })
}

/// `country` of `/a/country.egm.zst`.
fn stem(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.trim_end_matches(".zst").trim_end_matches(".egm").into()
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
