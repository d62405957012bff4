//! [`Facts`] in, flow rows out: served at `/api/v1/flows`, printed by `egress-monitor flows`. Rows, the rest,
//! what was evicted, what overflowed and what was not parsed always sum to the hook total, in one document.

use std::collections::{BTreeMap, HashMap};

use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Counters, Tally},
};
use serde::{Deserialize, Serialize};

use super::status::Sums;
use crate::{
    alerts::ocsf::protocol_name,
    epochs::{
        Facts,
        flows::FlowSums,
        names::{FlowId, Identities, Names},
        onward::{Carried, Further},
        rfc3339,
    },
};

/// Rows given when nobody says how many.
pub const DEFAULT_TOP: usize = 50;
/// Most rows given.
pub const MAX_TOP: usize = 100_000;

/// What flows are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Destination country.
    Country,
    /// Destination network: /24, /48.
    Network,
    /// Rule that let it through; `-` without one.
    Rule,
    /// Destination address.
    Peer,
}

/// The parameters of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsQuery {
    /// Sum by; none: flow by flow.
    pub by: Option<By>,
    /// Rows.
    pub top: Option<usize>,
    /// Only this verdict.
    pub verdict: Option<Verdict>,
    /// 1: close the epoch first.
    pub fresh: Option<u8>,
}

impl FlowsQuery {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// What is wrong, and the mend.
    pub fn check(&self) -> Result<(), String> {
        match self.top {
            Some(top) if top == 0 || top > MAX_TOP => Err(format!("top={top}: from 1 to {MAX_TOP}")),
            _ => Ok(()),
        }
    }
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// Interface that it left by.
    pub interface: String,
    /// Source address.
    pub source: std::net::IpAddr,
    /// Source port; 0 without.
    pub source_port: u16,
    /// Destination address.
    pub destination: std::net::IpAddr,
    /// Destination port; ICMP: type × 256 + code.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Its name, where it has one here.
    pub protocol_name: Option<String>,
    /// Where its packets go on to: the end of a source route or tunnel, else the IPv4 address that the destination
    /// carries.
    pub onward: Option<Further>,
    /// The IPv4 address that the destination carries, where `onward` is another one.
    pub embedded: Option<Carried>,
    /// What of it cannot be read: esp, wireguard, quic…
    pub opaque: Option<String>,
    /// The one of all these destinations that country, class and rule are those of: the strictest; none: it is a hop on
    /// the way that is not kept.
    pub decided_by: Option<std::net::IpAddr>,
    /// Its country.
    pub country: String,
    /// inside, outside…
    pub class: String,
    /// Rule that let it through.
    pub rule: Option<String>,
    /// allowed, observed, denied.
    pub verdict: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// First packet, RFC 3339.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
}

/// Flows with the same key and verdict, summed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Country, network, rule or peer.
    pub key: String,
    /// allowed, observed, denied.
    pub verdict: String,
    /// How many flows.
    pub flows: u64,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// First packet of any, RFC 3339.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
}

/// Packets without a flow, for one reason, on all interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonRow {
    /// Why.
    pub reason: String,
    /// What that means, in a sentence.
    pub meaning: String,
    /// Let through.
    pub passed: Sums,
    /// Dropped.
    pub dropped: Sums,
}

/// Flows that have no row, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How many flows.
    pub flows: u64,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// The document. Without a verdict asked for: rows + rest + evicted + overflow + unparsed = hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Counting since, RFC 3339.
    pub since: String,
    /// Counted until the close of the last epoch.
    pub until: Option<String>,
    /// Flow by flow; empty when `groups` was asked for.
    pub flows: Vec<FlowRow>,
    /// Summed; empty otherwise.
    pub groups: Vec<GroupRow>,
    /// What comes after the last row.
    pub rest: Part,
    /// Flows that the store no longer tells apart.
    pub evicted: Part,
    /// What the kernel's flow table had no place for.
    pub overflow: Sums,
    /// What has no flow.
    pub unparsed: Sums,
    /// The same by reason.
    pub unparsed_reasons: Vec<ReasonRow>,
    /// Everything that passed the hooks.
    pub hook: Sums,
}

/// The document; rows by bytes on the wire, most first.
#[must_use]
pub fn flows(facts: &Facts, query: &FlowsQuery) -> Flows {
    let traffic = &facts.traffic;
    let wanted = |verdict: Verdict| query.verdict.is_none_or(|only| only == verdict);
    let mut reply =
        Flows { since: rfc3339(facts.started), until: facts.last.map(|last| rfc3339(last.ended)), ..Flows::default() };
    for (_, evicted) in traffic.flows.evicted().iter().filter(|(group, _)| wanted(group.verdict)) {
        reply.evicted.flows += evicted.flows;
        reply.evicted.sums.add(&evicted.counters);
    }
    for (_, counters) in traffic.totals.overflow.iter().filter(|(group, _)| wanted(group.verdict)) {
        reply.overflow.add(counters);
    }
    let mut reasons: BTreeMap<Reason, Tally> = BTreeMap::new();
    for ((_, reason), tally) in &traffic.totals.unparsed {
        let sum = reasons.entry(*reason).or_default();
        for (sum, counters) in [(&mut sum.passed, &tally.passed), (&mut sum.dropped, &tally.dropped)] {
            sum.add(counters);
            reply.unparsed.add(counters);
        }
    }
    reply.unparsed_reasons = reasons.iter().map(|(reason, tally)| reason_row(*reason, tally)).collect();
    for counters in traffic.totals.hook.values() {
        reply.hook.add(counters);
    }
    let top = query.top.unwrap_or(DEFAULT_TOP);
    let chosen = traffic.flows.iter().filter(|(id, _)| wanted(id.verdict));
    match query.by {
        None => {
            let all: Vec<(&FlowId, &FlowSums)> = chosen.collect();
            let (rows, rest) = split(all, top, |(id, sums)| (std::cmp::Reverse(sums.counters.wire_bytes), **id));
            reply.flows = rows.iter().map(|(id, sums)| flow_row(id, sums, &traffic.identities)).collect();
            for (_, sums) in rest {
                reply.rest.flows += 1;
                reply.rest.sums.add(&sums.counters);
            }
        }
        Some(by) => {
            let mut groups: HashMap<(Key, Verdict), (u64, FlowSums)> = HashMap::new();
            for (id, sums) in chosen {
                let (count, sum) = groups
                    .entry((Key::of(by, id), id.verdict))
                    .or_insert((0, FlowSums { counters: Counters::default(), ..*sums }));
                *count += 1;
                sum.counters.add(&sums.counters);
                sum.first = sum.first.min(sums.first);
                sum.last = sum.last.max(sums.last);
            }
            let all: Vec<_> = groups.into_iter().collect();
            let (rows, rest) = split(all, top, |(key, (_, sums))| (std::cmp::Reverse(sums.counters.wire_bytes), *key));
            reply.groups = rows
                .into_iter()
                .map(|((key, verdict), (flows, sums))| GroupRow {
                    key: key.text(&traffic.identities),
                    verdict: verdict.name().into(),
                    flows,
                    sums: (&sums.counters).into(),
                    first_seen: rfc3339(sums.first.into()),
                    last_seen: rfc3339(sums.last.into()),
                })
                .collect();
            for (_, (flows, sums)) in rest {
                reply.rest.flows += flows;
                reply.rest.sums.add(&sums.counters);
            }
        }
    }
    reply
}

/// The first `top` by `key`, in order, and the others, in none: a million flows are not sorted for fifty rows.
fn split<T, K: Ord>(mut all: Vec<T>, top: usize, key: impl Fn(&T) -> K) -> (Vec<T>, Vec<T>) {
    let mut rest = Vec::new();
    if all.len() > top {
        all.select_nth_unstable_by_key(top, &key);
        rest = all.split_off(top);
    }
    all.sort_by_key(&key);
    (all, rest)
}

/// What a group has in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Country(crate::geo::Country),
    Network(std::net::IpAddr, u8),
    Rule(crate::epochs::names::Name),
    Peer(std::net::IpAddr),
}

impl Key {
    fn of(by: By, id: &FlowId) -> Self {
        match by {
            By::Country => Self::Country(id.country),
            By::Rule => Self::Rule(id.rule),
            By::Peer => Self::Peer(id.ip(id.destination)),
            By::Network => match id.ip(id.destination) {
                std::net::IpAddr::V4(address) => {
                    let network = std::net::Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8));
                    Self::Network(network.into(), 24)
                }
                std::net::IpAddr::V6(address) => {
                    let network = std::net::Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80));
                    Self::Network(network.into(), 48)
                }
            },
        }
    }

    fn text(self, identities: &Identities) -> String {
        match self {
            Self::Country(country) => country.to_string(),
            Self::Network(address, length) => format!("{address}/{length}"),
            Self::Rule(Names::NONE) => "-".into(),
            Self::Rule(rule) => identities.rules.get(rule).into(),
            Self::Peer(address) => address.to_string(),
        }
    }
}

fn reason_row(reason: Reason, tally: &Tally) -> ReasonRow {
    ReasonRow {
        reason: reason.name().into(),
        meaning: reason.meaning().into(),
        passed: (&tally.passed).into(),
        dropped: (&tally.dropped).into(),
    }
}

fn flow_row(id: &FlowId, sums: &FlowSums, identities: &Identities) -> FlowRow {
    FlowRow {
        interface: identities.interfaces.get(id.interface).into(),
        source: id.ip(id.source),
        source_port: id.source_port,
        destination: id.ip(id.destination),
        destination_port: id.destination_port,
        protocol: id.protocol,
        protocol_name: protocol_name(id.protocol).map(str::to_owned),
        onward: id.further(),
        embedded: id.embedded(),
        opaque: id.opaque.name().map(str::to_owned),
        decided_by: id.decided_by(),
        country: id.country.to_string(),
        class: id.kind.name().into(),
        rule: (id.rule != Names::NONE).then(|| identities.rules.get(id.rule).to_owned()),
        verdict: id.verdict.name().into(),
        sums: (&sums.counters).into(),
        first_seen: rfc3339(sums.first.into()),
        last_seen: rfc3339(sums.last.into()),
    }
}
