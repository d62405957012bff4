//! `egress-monitor diff`: what another configuration would change, as networks, and as what left in the last hour where a
//! daemon runs.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::args::Daemon;
use crate::config::inputs;
use crate::{
    cli::{output::print_either, render},
    error::CliError,
};
use monitor_api::{
    diff::{DiffDocument, Traffic, TrafficChange},
    flows::{FlowRow, Flows, MAX_SINCE, MAX_TOP},
    status::Sums,
};
use monitor_policy::diff::{Location, Side, Verdict, compare};

/// What a new configuration would change.
///
/// Compares two configurations completely, network by network and port by port: whose verdict changes, and by which
/// rule. With --running the old one is what the running monitor has in force, and the traffic of the last hour is judged
/// by both.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor diff /etc/egress-monitor/config.toml new.toml\n  \
                        egress-monitor diff --running new.toml --json | jq '.changes[] | .ipv4'")]
pub struct Args {
    /// The old configuration and the new one; with --running the new one alone.
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    files: Vec<PathBuf>,
    /// Compare with what the running monitor has in force.
    #[arg(long)]
    running: bool,
    /// Networks listed of each change and family, the largest first.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    networks: u32,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with a configuration; no daemon answers.
pub fn run(args: &Args) -> Result<(), CliError> {
    let (old, new, flows) = match (&args.files[..], args.running) {
        ([new], true) => {
            let client = args.daemon.client()?;
            let bytes = client.fetch("/api/v1/policy/image")?;
            let old = Side::decode(&bytes).map_err(|why| {
                CliError::Unavailable(format!(
                    "the daemon on {} gives its policy, but {why}",
                    client.socket().display()
                ))
            })?;
            let path = format!("/api/v1/flows?fresh=1&since={MAX_SINCE}&top={MAX_TOP}");
            let flows: Flows = client.get(&path)?;
            (old, side(new)?, Some(flows))
        }
        ([old, new], false) => (side(old)?, side(new)?, None),
        ([_], false) => return Err(usage("one file: name the old and the new one, or add --running")),
        _ => return Err(usage("two files and --running: name the new one alone")),
    };
    let document = DiffDocument {
        diff: compare(&old, &new, args.networks as usize),
        traffic: flows.map(|flows| traffic(&old, &new, &flows)),
    };
    print_either(args.daemon.json, &document, render::diff)
}

fn usage(what: &str) -> CliError {
    CliError::Usage(format!("{what}; see `egress-monitor diff --help`"))
}

/// A configuration compiled as it would hold now.
fn side(file: &Path) -> Result<Side, CliError> {
    let inputs = inputs::compile(inputs::load(Some(file))?)?;
    Ok(Side::of(&inputs.policy, inputs.config.mode))
}

/// What both policies make of a flow as a whole: of its destinations the strictest counts, the outermost of equals.
fn evaluate(side: &Side, row: &FlowRow) -> Option<(Verdict, Location)> {
    let rank = |verdict: &Verdict| match (verdict.verdict.as_str(), verdict.alerts, &verdict.rule) {
        ("denied", ..) => 3,
        (_, true, _) => 2,
        (_, _, Some(_)) => 1,
        _ => 0,
    };
    let own = (row.destination, row.protocol, row.destination_port);
    let further = row.inner.as_ref().map(|inner| (inner.destination, inner.protocol, inner.destination_port));
    let mut strictest: Option<(Verdict, Location)> = None;
    for (to, protocol, port) in [Some(own), further].into_iter().flatten() {
        let found = side.evaluate(to, protocol, port)?;
        if strictest.as_ref().is_none_or(|known| rank(&found.0) > rank(&known.0)) {
            strictest = Some(found);
        }
    }
    strictest
}

fn traffic(old: &Side, new: &Side, flows: &Flows) -> Traffic {
    #[derive(Default)]
    struct Changed {
        flows: u64,
        sums: Sums,
        destinations: BTreeMap<IpAddr, u64>,
    }
    let mut result = Traffic { since: flows.since.clone(), ..Traffic::default() };
    let mut changes: BTreeMap<(Location, Verdict, Verdict), Changed> = BTreeMap::new();
    for row in &flows.flows {
        match (evaluate(old, row), evaluate(new, row)) {
            (Some((before, _)), Some((after, place))) if before != after => {
                let change = changes.entry((place, before, after)).or_default();
                change.flows += 1;
                change.sums += &row.sums;
                *change.destinations.entry(row.destination).or_default() += row.sums.wire_bytes;
            }
            (Some(_), Some(_)) => result.same += &row.sums,
            _ => result.not_judged += &row.sums,
        }
    }
    for part in [&flows.rest.sums, &flows.evicted.sums, &flows.overflow, &flows.unparsed] {
        result.not_judged += part;
    }
    result.changes = changes
        .into_iter()
        .map(|((place, old, new), changed)| {
            let mut to: Vec<_> = changed.destinations.into_iter().collect();
            to.sort_by_key(|(to, bytes)| (std::cmp::Reverse(*bytes), *to));
            let destinations = to.iter().take(5).map(|(to, _)| to.to_string()).collect();
            TrafficChange { place, old, new, flows: changed.flows, sums: changed.sums, destinations }
        })
        .collect();
    result.changes.sort_by_key(|change| std::cmp::Reverse(change.sums.wire_bytes));
    result
}
