//! `egress-monitor geo stage` and `egress-monitor geo rollback`.

use std::path::{Path, PathBuf};

use monitor_api::{
    client::Client,
    flows::{Flows, MAX_SINCE, MAX_TOP},
    geo::{DestinationsChange, Staged},
};
use monitor_policy::diff::Side;

use crate::{
    cli::{diff, output::Shape, render},
    config::{Config, inputs},
    error::CliError,
    model::{now, seconds},
    refresh::{Fresh, Proof, RefreshError, Refresher, Wanted},
};

/// Put fresh geo data in place, or hold it if too much changes
///
/// A file is taken if it is what was signed or pinned, valid in every line, dated and not older than what is in place, has
/// within 10 % as many ranges, and moves at most 1 % of the border (of the smaller side, by `diff`) and of the last hour's
/// destinations. Else it is kept aside, and a running daemon raises the finding `geo_data_held`. Without a file: every one
/// that was dropped into `[geo] incoming`. Nothing is downloaded.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor geo stage\n  egress-monitor geo stage country.mmdb --sha256 $(cut -c1-64 country.mmdb.sha256)\n  egress-monitor geo stage new.csv --for geo/country.csv --key publisher.pub\n  egress-monitor geo stage --for geo/country.csv --accept\n\nExit status: 65 if anything is held or refused."
)]
pub struct Args {
    /// The fresh file.
    #[arg(value_name = "FILE")]
    fresh: Option<PathBuf>,
    /// The file of the configuration that it replaces [default: the one of the same name]
    #[arg(long = "for", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Its SHA-256 in hexadecimal [default: FILE.sha256, if it is there]
    #[arg(long, value_name = "HEX", requires = "fresh", value_parser = hexadecimal)]
    sha256: Option<String>,
    /// A minisign public key; the signature is FILE.minisig [default: one of `[geo] keys`]
    #[arg(long, value_name = "FILE", requires = "fresh")]
    key: Option<PathBuf>,
    /// Take it, whatever it changes; without a file: what is held.
    #[arg(long, requires = "file")]
    accept: bool,
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
}

/// Put back the geo data that `geo stage` replaced last
///
/// What is taken back is not taken again by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor geo rollback geo/country.mmdb")]
pub struct Rollback {
    /// The file of the configuration, or its name.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
}

impl From<RefreshError> for CliError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::NothingBefore(_) | RefreshError::NothingAside(_) => Self::Usage(error.to_string()),
            RefreshError::Busy | RefreshError::State { .. } | RefreshError::Place { .. } => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let config = inputs::load(args.config.as_deref())?;
    let wanted = wanted(args, &config)?;
    let client = Client::new(config.paths.runtime.join("control.sock"));
    let judge = |old: &Side, new: &Side| traffic(&client, old, new);
    let mut refresher = Refresher::open(&config, seconds(now()), &judge)?;
    let staged = wanted.iter().map(|wanted| refresher.stage(wanted)).collect::<Result<Vec<Staged>, _>>()?;
    if args.fresh.is_none() && !args.accept {
        refresher.looked()?;
    }
    args.shape.print(&staged, |staged, _| render::geo::staged(staged))?;
    let bad: Vec<&str> =
        staged.iter().filter(|of| matches!(of.outcome, "held" | "refused")).map(|of| of.file.as_str()).collect();
    if bad.is_empty() { Ok(()) } else { Err(CliError::Held(format!("not taken: {}", bad.join(", ")))) }
}

pub(super) fn roll_back(args: &Rollback) -> Result<(), CliError> {
    let config = inputs::load(args.config.as_deref())?;
    let file = named(&config, &args.file)?;
    let judge = |_: &Side, _: &Side| None;
    let done = Refresher::open(&config, seconds(now()), &judge)?.roll_back(&file)?;
    args.shape.print(&done, |done, _| render::geo::rolled_back(done))
}

/// What is to be staged.
fn wanted(args: &Args, config: &Config) -> Result<Vec<Wanted>, CliError> {
    let keys = args.key.clone().map_or_else(|| config.geo.keys.clone(), |key| vec![key]);
    let proof = Proof { sha256: args.sha256.clone(), keys, needed: args.fresh.is_none() };
    let accept = args.accept;
    let one = |file, fresh| Wanted { file, fresh, proof: proof.clone(), accept };
    let dropped = |file: &Path| {
        let incoming = config.geo.incoming.as_ref().ok_or_else(|| {
            CliError::Usage(
                "no [geo] incoming in the configuration: name the fresh file, or the directory there".into(),
            )
        })?;
        named(config, Path::new(file.file_name().unwrap_or_default()))?;
        Ok(Fresh::Dropped(incoming.join(file.file_name().unwrap_or_default())))
    };
    match (&args.fresh, &args.file) {
        (Some(fresh), file) => {
            let name = file.as_deref().unwrap_or_else(|| Path::new(fresh.file_name().unwrap_or_default()));
            Ok(vec![one(named(config, name)?, Fresh::Dropped(fresh.clone()))])
        }
        (None, Some(file)) => {
            let file = named(config, file)?;
            let fresh = if accept { Fresh::Aside } else { dropped(&file)? };
            Ok(vec![one(file, fresh)])
        }
        (None, None) => {
            let of = |file: PathBuf| dropped(&file).map(|fresh| one(file, fresh));
            config.geo.files().into_iter().map(of).collect()
        }
    }
}

/// The file of the configuration that is meant: by its path, or by the end of it.
fn named(config: &Config, name: &Path) -> Result<PathBuf, CliError> {
    let files = config.geo.files();
    let whole = std::path::absolute(name).unwrap_or_else(|_| name.to_owned());
    if let Some(file) = files.iter().find(|file| std::path::absolute(file).is_ok_and(|file| file == whole)) {
        return Ok(file.clone());
    }
    let mut ends = files.iter().filter(|file| file.ends_with(name));
    match (ends.next(), ends.next()) {
        (Some(file), None) => Ok(file.clone()),
        (Some(one), Some(other)) => Err(CliError::Usage(format!(
            "{} is the name of {} and of {}: give one of them another, or name fresh file and --for",
            name.display(),
            one.display(),
            other.display()
        ))),
        (None, _) => {
            let known: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            let known = if known.is_empty() { "no file".into() } else { known.join(", ") };
            Err(CliError::Usage(format!(
                "{} is none of [geo] in the configuration, which names {known}",
                name.display()
            )))
        }
    }
}

/// What the last hour's destinations make of it, if a daemon tells of any.
fn traffic(client: &Client, old: &Side, new: &Side) -> Option<DestinationsChange> {
    let flows: Flows = client.get(&format!("/api/v1/flows?since={MAX_SINCE}&top={MAX_TOP}")).ok()?;
    let (judged, moved) = diff::destinations(old, new, &flows);
    let examples = moved.iter().take(5).copied().collect();
    Some(DestinationsChange { judged, moved: moved.len() as u64, examples })
}

fn hexadecimal(text: &str) -> anyhow::Result<String> {
    anyhow::ensure!(
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "not a SHA-256: give 64 hexadecimal digits, as `sha256sum` writes them"
    );
    Ok(text.to_ascii_lowercase())
}
