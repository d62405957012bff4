//! `egress-monitor diff`: what another configuration would change, as networks, and as what left in the last hour where a
//! daemon runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::args::Daemon;
use crate::{
    cli::render,
    config::inputs::{self, Inputs},
    error::CliError,
    kernel, needs,
};
use monitor_api::{
    client::{Client, ClientError},
    diff::{DiffDocument, Fate, Traffic, TrafficChange},
    flows::{FlowRow, Flows, MAX_SINCE, MAX_TOP},
    needs::CutOff,
    status::Sums,
};
use monitor_common::wire::{Address, Class, FlowKey, FullKey, InnerDestination, Via};
use monitor_policy::diff::{Location, Side, Verdict, compare};

/// Show what another configuration would change
///
/// Compares two configurations completely, network by network and port by port: whose verdict changes, and by which
/// rule. With --running the old one is what the running monitor has in force, the traffic of the last hour is judged by both,
/// and what would start to be dropped comes first, with whom this host has open connections to.
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
    /// End with 1 where anything would change
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with a configuration; no daemon answers.
pub fn run(args: &Args) -> Result<(), CliError> {
    let document = match (&args.files[..], args.running) {
        ([new], true) => with_running(&args.daemon.client()?, &compiled(new)?, args.networks)?,
        ([old, new], false) => {
            let side = |file: &Path| compiled(file).map(|inputs| Side::of(&inputs.policy, inputs.config.mode));
            let diff = compare(&side(old)?, &side(new)?, args.networks as usize);
            DiffDocument { diff, traffic: None, cut_off: Vec::new() }
        }
        ([_], false) => return Err(usage("one file: name the old and the new one, or add --running")),
        _ => return Err(usage("two files and --running: name the new one alone")),
    };
    args.daemon.shape.print(&document, render::diff)?;
    let changes = document.diff.old != document.diff.new || document.diff.mode.is_some();
    if args.exit_code && changes { Err(CliError::Answered(1)) } else { Ok(()) }
}

/// What a configuration would change of what the running daemon has in force, of the last hour's traffic, and for this host.
///
/// # Errors
/// No daemon answers, or it is another version's.
pub(super) fn with_running(client: &Client, new: &Inputs, networks: u32) -> Result<DiffDocument, CliError> {
    let bytes = client.fetch("/api/v1/policy/image")?;
    let old = Side::decode(&bytes).map_err(|why| {
        CliError::Unavailable(format!("the daemon on {} gives its policy, but {why}", client.socket().display()))
    })?;
    let path = format!("/api/v1/flows?fresh=1&since={MAX_SINCE}&top={MAX_TOP}");
    let flows = match client.get::<Flows>(&path) {
        // The policy is for auditors, the flows are not.
        Err(ClientError::Refused { status: 403, why, .. }) => {
            eprintln!("egress-monitor: traffic is not compared: {why}");
            None
        }
        flows => Some(flows?),
    };
    let side = Side::of(&new.policy, new.config.mode);
    let cut_off =
        if side.mode.enforces() { needs::find(&new.policy, kernel::boot_ns(), false).cut_off } else { Vec::new() };
    Ok(DiffDocument {
        diff: compare(&old, &side, networks as usize),
        traffic: flows.map(|flows| traffic(&old, &side, &flows)),
        cut_off: cut_off.into_iter().filter(|need| !drops(&old, need)).collect(),
    })
}

/// Whether a policy drops what a host sends to somebody whom it needs.
fn drops(side: &Side, need: &CutOff) -> bool {
    let (ip_version, destination) = match need.address {
        IpAddr::V4(address) => (4, Address::v4(address.to_bits())),
        IpAddr::V6(address) => (6, Address::from(address)),
    };
    let key = FlowKey { destination, protocol: need.protocol, ip_version, ..FlowKey::default() };
    side.mode.enforces() && side.evaluate(&key.into()).is_some_and(|(verdict, _)| verdict.verdict == DENIED)
}

fn usage(what: &str) -> CliError {
    CliError::Usage(format!("{what}; see `egress-monitor diff --help`"))
}

/// A configuration compiled as it would hold now.
fn compiled(file: &Path) -> Result<Inputs, CliError> {
    inputs::compile(inputs::load(Some(file))?)
}

/// A [`Verdict`] by which packets are dropped in enforce mode.
const DENIED: &str = "denied";

fn fate(old: &Side, before: &Verdict, new: &Side, after: &Verdict) -> Fate {
    let drops = |side: &Side, verdict: &Verdict| side.mode.enforces() && verdict.verdict == DENIED;
    match (drops(old, before), drops(new, after)) {
        (false, true) => Fate::StartsDropping,
        (true, false) => Fate::StopsDropping,
        (false, false) => Fate::Passes,
        (true, true) => Fate::Dropped,
    }
}

/// The key of a flow, as far as a verdict depends on it; `None`: it may have been decided by a hop that is not kept. That
/// the destination carries an IPv4 address is no inner destination: whoever evaluates it sees to that.
fn key(row: &FlowRow) -> Option<FullKey> {
    let via = |name: &str| Via::ALL.into_iter().find(|via| via.name() == Some(name));
    let address = |of: IpAddr| match of {
        IpAddr::V4(address) => (4, Address::v4(address.to_bits())),
        IpAddr::V6(address) => (6, Address::from(address)),
    };
    let (ip_version, destination) = address(row.destination);
    let (destination_port, protocol) = (row.destination_port, row.protocol);
    let flow = FlowKey { destination, destination_port, protocol, ip_version, ..FlowKey::default() };
    let Some((inner, via)) = row.inner.as_ref().and_then(|inner| Some((inner, via(&inner.via)?))) else {
        return Some(flow.into());
    };
    row.decided_by?;
    let (ip_version, address) = address(inner.destination);
    let (port, protocol, via) = (inner.destination_port, inner.protocol, via as u8);
    Some(FullKey { flow, inner: InnerDestination { address, port, protocol, ip_version, via, ..Default::default() } })
}

/// How many destinations could be judged, and those that change sides of the border or are allowed by one side alone.
pub(super) fn destinations(old: &Side, new: &Side, flows: &Flows) -> (u64, BTreeSet<IpAddr>) {
    let (mut judged, mut moved) = (BTreeSet::new(), BTreeSet::new());
    let inside = |place: &Location| place.class == Class::Inside.name();
    for row in &flows.flows {
        let Some(key) = key(row) else { continue };
        let (Some((was, here)), Some((is, there))) = (old.evaluate(&key), new.evaluate(&key)) else { continue };
        judged.insert(row.destination);
        if was.verdict != is.verdict || inside(&here) != inside(&there) {
            moved.insert(row.destination);
        }
    }
    (judged.len() as u64, moved)
}

fn traffic(old: &Side, new: &Side, flows: &Flows) -> Traffic {
    #[derive(Default)]
    struct Changed {
        flows: u64,
        sums: Sums,
        destinations: BTreeMap<IpAddr, u64>,
    }
    let mut result = Traffic { since: flows.since.clone(), ..Traffic::default() };
    let mut changes: BTreeMap<(Fate, Location, Verdict, Verdict), Changed> = BTreeMap::new();
    for row in &flows.flows {
        let key = key(row);
        let of = |side: &Side| side.evaluate(key.as_ref()?);
        match (of(old), of(new)) {
            (Some((before, _)), Some((after, place))) => {
                let fate = fate(old, &before, new, &after);
                match fate {
                    Fate::StartsDropping => result.starts_dropping += &row.sums,
                    Fate::StopsDropping => result.stops_dropping += &row.sums,
                    _ if before == after => {
                        result.same += &row.sums;
                        continue;
                    }
                    Fate::Passes | Fate::Dropped => {}
                }
                let change = changes.entry((fate, place, before, after)).or_default();
                change.flows += 1;
                change.sums += &row.sums;
                *change.destinations.entry(row.destination).or_default() += row.sums.wire_bytes;
            }
            _ => result.not_judged += &row.sums,
        }
    }
    for part in [&flows.rest.sums, &flows.evicted.sums, &flows.overflow, &flows.unparsed] {
        result.not_judged += part;
    }
    result.changes = changes
        .into_iter()
        .map(|((fate, place, old, new), changed)| {
            let mut to: Vec<_> = changed.destinations.into_iter().collect();
            to.sort_by_key(|(to, bytes)| (std::cmp::Reverse(*bytes), *to));
            let destinations = to.iter().take(5).map(|(to, _)| to.to_string()).collect();
            TrafficChange { place, old, new, fate, flows: changed.flows, sums: changed.sums, destinations }
        })
        .collect();
    result.changes.sort_by_key(|change| (change.fate, std::cmp::Reverse(change.sums.wire_bytes)));
    result
}

#[cfg(test)]
mod tests {
    use monitor_api::flows::InnerDocument;
    use monitor_policy::{
        ClockMap, Knowledge, Origin, compile,
        geo::special,
        spec::{Management, Mode, Rule, Site, Spec, Zone},
    };

    use super::*;

    /// Denies what is in Singapore (198.18.0.0/15), with this rule and these management networks.
    fn side(rule: &str, management: &str) -> Side {
        let network = |text: &str| (text.parse().expect("a network"), Origin::default());
        let to = |text: &str| text.split_whitespace().map(network).collect::<Vec<_>>();
        let rule = Rule { id: "backup".into(), to: to(rule), reason: "a test".into(), ..Rule::default() };
        let sg = Site {
            name: "sg".into(),
            country: monitor_policy::geo::Country(*b"SG"),
            networks: to("198.18.0.0/15 2001:db8::/32"),
        };
        let nat64 = vec![network("2001:db8:64::/96")];
        let spec = Spec {
            zone: Zone { name: "test".into(), nat64, ..Zone::default() },
            sites: vec![sg],
            rules: if rule.to.is_empty() { Vec::new() } else { vec![rule] },
            management: Some(Management { networks: to(management), ..Management::default() }),
        };
        let knowledge = Knowledge { special: special::table().to_vec(), ..Knowledge::default() };
        Side::of(&compile(&spec, &knowledge, &ClockMap::wall(0)).expect("compiles"), Mode::Enforce)
    }

    /// Five packets by TCP to port 443 of an address, with where its packets go on to.
    fn row(to: &str, inner: Option<(&str, &str)>) -> FlowRow {
        let destination: IpAddr = to.parse().expect("an address");
        let inner = inner.map(|(via, to)| InnerDocument {
            destination: to.parse().expect("an address"),
            destination_port: 443,
            protocol: 6,
            via: via.into(),
            embedded: None,
        });
        FlowRow {
            interface: "eth0".into(),
            source: "2001:db8:1::1".parse().expect("an address"),
            source_port: 40_000,
            destination,
            destination_port: 443,
            autonomous_system: None,
            protocol: 6,
            protocol_name: None,
            inner,
            embedded: None,
            opaque: None,
            decided_by: Some(destination),
            country: "SG".into(),
            class: "outside".into(),
            rule: None,
            verdict: "allowed".into(),
            sums: Sums { packets: 5, ..Sums::default() },
            first_seen: String::new(),
            last_seen: String::new(),
            active: false,
        }
    }

    /// Verdicts and rules before and after, with how many packets; and how many stay the same and are not judged.
    type Found = (Vec<(String, String, u64)>, u64, u64);

    fn found(old: &Side, new: &Side, row: FlowRow) -> Found {
        let traffic = traffic(old, new, &Flows { flows: vec![row], ..Flows::default() });
        let text = |of: &Verdict| format!("{} {}", of.verdict, of.rule.as_deref().unwrap_or("-"));
        let changes = traffic.changes.iter().map(|of| (text(&of.old), text(&of.new), of.sums.packets)).collect();
        (changes, traffic.same.packets, traffic.not_judged.packets)
    }

    #[test]
    fn a_rule_on_a_prefix_that_carries_ipv4_addresses_counts_as_the_kernel_counts_it() {
        let nat64 = || row("2001:db8:64::c612:1", Some(("nat64", "198.18.0.1")));
        let isatap = || row("2001:db8:5:0:0:5efe:c612:1", Some(("isatap", "198.18.0.1")));
        let denied = "denied -".to_owned();
        for (rule, management, by) in
            [("2001:db8:64::/96", "", "allowed backup"), ("", "2001:db8:64::/96", "allowed management")]
        {
            let (with, without) = (side(rule, management), side("", ""));
            let allowed = by.to_owned();
            let gone = vec![(allowed.clone(), denied.clone(), 5)];
            assert_eq!(found(&with, &without, nat64()), (gone, 0, 0), "{by}");
            let new = vec![(denied.clone(), allowed, 5)];
            assert_eq!(found(&without, &with, nat64()), (new, 0, 0), "{by}");
        }
        // Of ISATAP both ends have to be allowed, but for management networks.
        let without = side("", "");
        let (prefix, both) = (side("2001:db8:5::/48", ""), side("2001:db8:5::/48 198.18.0.0/24", ""));
        assert_eq!(found(&prefix, &without, isatap()), (vec![], 5, 0));
        assert_eq!(found(&both, &without, isatap()), (vec![("allowed backup".into(), denied.clone(), 5)], 0, 0));
        let kept = side("", "2001:db8:5::/48");
        assert_eq!(found(&kept, &without, isatap()), (vec![("allowed management".into(), denied, 5)], 0, 0));
    }

    #[test]
    fn the_end_of_a_tunnel_counts_besides_and_a_hop_that_is_not_kept_is_not_judged() {
        let (old, new) = (side("198.18.0.0/24 2001:db8::/48", ""), side("2001:db8::/48", ""));
        let tunnelled = row("2001:db8::7", Some(("gre", "198.18.0.1")));
        let gone = vec![("allowed backup".into(), "denied -".into(), 5)];
        assert_eq!(found(&old, &new, tunnelled.clone()), (gone, 0, 0));
        assert_eq!(found(&old, &new, FlowRow { decided_by: None, ..tunnelled.clone() }), (vec![], 0, 5));
        // By destination: one is judged once, however many flows it has.
        let rows = vec![tunnelled.clone(), tunnelled.clone(), row("2001:db8::8", None)];
        let flows = Flows { flows: rows, ..Flows::default() };
        assert_eq!(destinations(&old, &new, &flows), (2, [tunnelled.destination].into()));
    }
}
