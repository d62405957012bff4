//! `egress-monitor diff`: what another configuration would change, as networks, and as what left in the last hour where a
//! daemon runs.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::Daemon;
use crate::config::inputs;
use crate::{
    cli::output::{cells, print_either, table},
    error::CliError,
};
use monitor_api::{
    client,
    flows::{FlowRow, Flows, MAX_SINCE, MAX_TOP},
    status::Sums,
};
use monitor_policy::{
    diff::{Diff, Location, Networks, RuleChange, RuleTerms, Side, Verdict, compare},
    text::{count, counted, size, time},
};

/// Changes shown to people; all of them are in the JSON.
const SHOWN: usize = 50;

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

/// Traffic that fares otherwise.
#[derive(Clone, Debug, Serialize)]
struct TrafficChange {
    /// Where it went, by the new policy.
    place: Location,
    old: Verdict,
    new: Verdict,
    flows: u64,
    #[serde(flatten)]
    sums: Sums,
    /// Destinations, those of most bytes first; at most five.
    destinations: Vec<String>,
}

/// What left in the last hour, by both policies.
#[derive(Clone, Debug, Default, Serialize)]
struct Traffic {
    /// Since when, RFC 3339.
    since: String,
    /// What fares otherwise, of most bytes first.
    changes: Vec<TrafficChange>,
    /// What fares the same.
    same: Sums,
    /// What is not told apart by flow any more and was not judged.
    not_judged: Sums,
}

#[derive(Clone, Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    diff: Diff,
    traffic: Option<Traffic>,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with a configuration; no daemon answers.
pub fn run(args: Args) -> Result<(), CliError> {
    let (old, new, flows) = match (&args.files[..], args.running) {
        ([new], true) => {
            let socket = args.daemon.socket()?;
            let bytes = client::fetch(&socket, "/api/v1/policy/image")?;
            let old = Side::decode(&bytes).map_err(|why| {
                CliError::Unavailable(format!("the daemon on {} gives its policy, but {why}", socket.display()))
            })?;
            let path = format!("/api/v1/flows?fresh=1&since={MAX_SINCE}&top={MAX_TOP}");
            let flows: Flows = client::get(&socket, &path)?;
            (old, side(new)?, Some(flows))
        }
        ([old, new], false) => (side(old)?, side(new)?, None),
        ([_], false) => return Err(usage("one file: name the old and the new one, or add --running")),
        _ => return Err(usage("two files and --running: name the new one alone")),
    };
    let document = Document {
        diff: compare(&old, &new, args.networks as usize),
        traffic: flows.map(|flows| traffic(&old, &new, &flows)),
    };
    print_either(args.daemon.json, &document, as_text)
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

fn plus(sums: &mut Sums, more: &Sums) {
    sums.packets += more.packets;
    sums.segments += more.segments;
    sums.bytes += more.bytes;
    sums.wire_bytes += more.wire_bytes;
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
                plus(&mut change.sums, &row.sums);
                *change.destinations.entry(row.destination).or_default() += row.sums.wire_bytes;
            }
            (Some(_), Some(_)) => plus(&mut result.same, &row.sums),
            _ => plus(&mut result.not_judged, &row.sums),
        }
    }
    for part in [&flows.rest.sums, &flows.evicted.sums, &flows.overflow, &flows.unparsed] {
        plus(&mut result.not_judged, part);
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

fn verdict(of: &Verdict) -> String {
    let rule = of.rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default();
    let alerts = if of.alerts && of.verdict != "denied" { ", alerts" } else { "" };
    format!("{}{rule}{alerts}", of.verdict)
}

fn place(old: &Location, new: &Location) -> String {
    let one = |place: &Location| format!("{} {}", place.country, place.class);
    if old == new { one(new) } else { format!("{} → {}", one(old), one(new)) }
}

/// Addresses of both families in the unit that fits each.
fn addresses(v4: &Networks, v6: &Networks) -> [String; 2] {
    let number = |networks: &Networks| networks.addresses.parse::<u128>().unwrap_or(0);
    let sixty_fours = match number(v6) >> 64 {
        0 if v6.networks > 0 => "< 1".into(),
        networks => count(networks),
    };
    [count(number(v4)), sixty_fours]
}

fn as_text(document: &Document) -> String {
    let diff = &document.diff;
    let mut text = table(0, &[cells(&["old", &diff.old]), cells(&["new", &diff.new])], &[]);
    if let Some((old, new)) = &diff.mode {
        text += &format!("\nmode: {old} → {new}\n");
    }
    if diff.changes.is_empty() {
        text += "\nno network's verdict changes\n";
    } else {
        let heading = cells(&["where", "was", "becomes", "for", "IPv4 addresses", "IPv6 /64s"]);
        let shown = diff.changes.iter().take(SHOWN);
        let rows = shown.clone().map(|group| {
            let change = &group.change;
            let ports = match (&change.only[..], &change.but[..]) {
                ([], []) => "all traffic".to_owned(),
                ([], but) => format!("all but {}", but.join(" ")),
                (only, _) => format!("{} only", only.join(" ")),
            };
            let [v4, v6] = addresses(&group.ipv4, &group.ipv6);
            let place = place(&change.old_place, &change.new_place);
            vec![place, verdict(&change.old), verdict(&change.new), ports, v4, v6]
        });
        let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
        text += "\n";
        // Each change's networks right below it.
        let lines = table(0, &rows, &[4, 5]);
        let mut lines = lines.lines();
        text += &format!("{}\n", lines.next().unwrap_or_default());
        for (line, group) in lines.zip(shown) {
            text += &format!("{line}\n");
            for networks in [&group.ipv4, &group.ipv6].into_iter().filter(|networks| networks.networks > 0) {
                let more = match networks.left_out {
                    0 => String::new(),
                    more => format!(" and {} more", count(more)),
                };
                text += &format!("    {}{more}\n", networks.largest.join(" "));
            }
        }
        let left = diff.changes.len().saturating_sub(SHOWN) as u64 + diff.left_out;
        if left > 0 {
            text += &format!("{} more changes: see --json\n", count(left));
        }
    }
    let (v4, v6) = &diff.moved;
    if v4.networks + v6.networks > 0 {
        let [v4, v6] = addresses(v4, v6);
        text += &format!("\nanother country or class, the same verdict: {v4} IPv4 addresses, {v6} IPv6 /64s\n");
    }
    for (what, reasons) in [("dropped", &diff.reasons_dropped), ("passed", &diff.reasons_passed)] {
        if !reasons.is_empty() {
            text += &format!("\nnot parsed, {what} from now on when enforcing: {}\n", reasons.join(" "));
        }
    }
    if !diff.rules.is_empty() {
        text += "\n";
        let rows: Vec<_> = diff.rules.iter().map(rule).collect();
        text += &table(0, &rows, &[]);
    }
    if let Some(traffic) = &document.traffic {
        text += &traffic_text(traffic);
    }
    text
}

fn rule(change: &RuleChange) -> Vec<String> {
    let terms = |terms: &RuleTerms| {
        let begins = terms.not_before.map(|at| format!(" from {}", time(at))).unwrap_or_default();
        let ends = terms.expires.map(|at| format!(" until {}", time(at))).unwrap_or_default();
        format!("{}{begins}{ends}", terms.action)
    };
    let what = match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("{} → {}", terms(old), terms(new)),
        (None, Some(new)) => format!("new: {}", terms(new)),
        (Some(old), None) => format!("gone: {}", terms(old)),
        (None, None) => String::new(),
    };
    vec!["rule".into(), change.id.clone(), what]
}

fn traffic_text(traffic: &Traffic) -> String {
    let mut text = format!("\ntraffic since {}\n", traffic.since);
    if traffic.changes.is_empty() {
        text += "  nothing of it would fare otherwise\n";
    } else {
        let mut rows = vec![cells(&["where", "was", "becomes", "flows", "packets", "on the wire", "to"])];
        for change in traffic.changes.iter().take(SHOWN) {
            rows.push(vec![
                place(&change.place, &change.place),
                verdict(&change.old),
                verdict(&change.new),
                count(change.flows),
                count(change.sums.packets),
                size(change.sums.wire_bytes),
                change.destinations.join(" "),
            ]);
        }
        text += &table(2, &rows, &[3, 4, 5]);
        let left = traffic.changes.len().saturating_sub(SHOWN);
        if left > 0 {
            text += &format!("  {}: see --json\n", counted(left, "more change"));
        }
    }
    text += &format!("  the same: {} packets, {}\n", count(traffic.same.packets), size(traffic.same.wire_bytes));
    if traffic.not_judged != Sums::default() {
        let sums = &traffic.not_judged;
        text += &format!(
            "  not judged, no flow of their own: {} packets, {}\n",
            count(sums.packets),
            size(sums.wire_bytes)
        );
    }
    text
}
