//! Flows and [`MonitorState`] in, flow rows out: served at `/api/v1/flows`, printed by `egress-monitor flows`. Rows, the rest,
//! what was evicted, what overflowed and what was not parsed always sum to the hook total, in one document.

mod body;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use monitor_api::flows::{AutonomousSystem, By, DEFAULT_TOP, FlowRow, Flows, FlowsQuery, GroupRow, Part, ReasonRow};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Class, ReasonSums},
};

pub use self::body::PageBody;
use crate::{
    model::{
        flow::{FlowGroup, FlowId, FlowSums, GroupSums},
        identities::{Identities, RuleName},
        rfc3339,
    },
    store::{MonitorState, SharedState, flows::FlowStore, table::Table, totals::Totals},
};
use monitor_policy::geo::{Country, asn::AsDataset};

fn system(asn: Option<&AsDataset>, address: IpAddr) -> Option<AutonomousSystem> {
    asn?.lookup(address).map(|(number, name)| AutonomousSystem { number, name: name.to_owned() })
}

/// The document, its rows as they are kept: they become text piece by piece, as whoever asked reads.
pub struct Page {
    /// All but the rows.
    frame: Flows,
    labels: Labels,
    rows: Rows,
}

/// By bytes on the wire, most first.
enum Rows {
    Flows(Vec<(FlowId, u64, FlowSums)>),
    Groups(Vec<GroupOf>),
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Flows(rows) => rows.len(),
            Self::Groups(rows) => rows.len(),
        }
    }
}

impl Page {
    /// What it needs of the state is copied first, so that nobody waits for the walk through the flows.
    pub fn of(shared: &SharedState, query: &FlowsQuery) -> Self {
        let groups_of = query.by.and_then(group_key);
        let Some(seconds) = query.since else {
            if let Some(key) = groups_of {
                let (frame, labels, groups) = {
                    let state = shared.read();
                    let totals = &state.traffic.totals;
                    (frame(&state, totals, query), Labels::of(&state), summed(&totals.flows, key, query))
                };
                return Self::grouped(frame, groups.into_iter(), labels, query);
            }
            // In this order: the state is that of the flows then.
            let store = shared.flows();
            let (frame, labels) = {
                let state = shared.read();
                (frame(&state, &state.traffic.totals, query), Labels::of(&state))
            };
            return Self::filled(frame, &store, labels, query);
        };
        // Held until the names are there that it is kept under.
        let recent = shared.recent();
        let window = recent.window(i128::from(seconds) * 1_000_000_000);
        let state = shared.read();
        drop(recent);
        let labels = Labels::of(&state);
        let Some(window) = window else {
            let nothing = frame(&state, &Totals::default(), query);
            let frame = Flows { window_seconds: query.since, ..nothing };
            return Self { frame, labels, rows: Rows::Flows(Vec::new()) };
        };
        let frame = Flows {
            since: rfc3339(window.began),
            until: Some(rfc3339(window.ended)),
            window_seconds: query.since,
            ..frame(&state, &window.totals, query)
        };
        drop(state);
        match groups_of {
            Some(key) => Self::grouped(frame, summed(&window.groups(), key, query).into_iter(), labels, query),
            None => Self::filled(frame, &window.flows, labels, query),
        }
    }

    /// With the first of these groups.
    fn grouped(mut frame: Flows, groups: impl Iterator<Item = GroupOf>, labels: Labels, query: &FlowsQuery) -> Self {
        let rows = first(query.top.unwrap_or(DEFAULT_TOP), &mut frame.rest, groups);
        Self { frame, labels, rows: Rows::Groups(rows) }
    }

    /// With what comes from the flows.
    fn filled(mut frame: Flows, store: &FlowStore, labels: Labels, query: &FlowsQuery) -> Self {
        let wanted = |verdict: Verdict| query.verdict.is_none_or(|only| only == verdict);
        for (_, evicted) in store.evicted().iter().filter(|(of, _)| wanted(of.group.verdict)) {
            frame.evicted.flows += evicted.flows;
            frame.evicted.sums.add(&evicted.counters);
        }
        let chosen = store.iter().filter(|(id, _)| wanted(id.verdict));
        let Some(by) = query.by else {
            let top = query.top.unwrap_or(DEFAULT_TOP);
            let rows = first(top, &mut frame.rest, chosen.map(|(id, sums)| (id, 1, *sums)));
            return Self { frame, labels, rows: Rows::Flows(rows) };
        };
        let mut groups: Table<(Key, Verdict), (u64, FlowSums)> = Table::default();
        for (id, sums) in chosen {
            let key = (Key::of(by, &id, labels.asn.as_deref()), id.verdict);
            let ((flows, sum), there) = groups.upsert(key, || (0, *sums));
            *flows += 1;
            if there {
                sum.add(sums);
            }
        }
        let groups = groups.iter().map(|(key, (flows, sums))| (*key, *flows, *sums));
        Self::grouped(frame, groups, labels, query)
    }

    /// Bytes that it takes until it is read to its end.
    pub fn size(&self) -> usize {
        let rows = match &self.rows {
            Rows::Flows(rows) => size_of_val(rows.as_slice()),
            Rows::Groups(rows) => size_of_val(rows.as_slice()),
        };
        rows + 2 * body::PIECE
    }

    /// What is sent.
    ///
    /// # Errors
    /// The document is none.
    pub fn body(self) -> serde_json::Result<PageBody> {
        PageBody::of(self)
    }

    #[cfg(test)]
    fn document(self) -> Flows {
        let mut document = self.frame.clone();
        match &self.rows {
            Rows::Flows(rows) => document.flows = rows.iter().map(|row| self.flow_row(row)).collect(),
            Rows::Groups(rows) => document.groups = rows.iter().map(|row| self.group_row(row)).collect(),
        }
        document
    }

    fn flow_row(&self, (id, _, sums): &(FlowId, u64, FlowSums)) -> FlowRow {
        flow_row(id, sums, &self.labels)
    }

    fn group_row(&self, ((key, verdict), flows, sums): &GroupOf) -> GroupRow {
        GroupRow {
            key: key.text(&self.labels.identities),
            name: key.name(self.labels.asn.as_deref()),
            verdict: verdict.name().into(),
            flows: *flows,
            sums: (&sums.counters).into(),
            first_seen: rfc3339(sums.first.into()),
            last_seen: rfc3339(sums.last.into()),
        }
    }

    /// Writes a row as JSON.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match &self.rows {
            Rows::Flows(rows) => serde_json::to_writer(out, &self.flow_row(&rows[row])),
            Rows::Groups(rows) => serde_json::to_writer(out, &self.group_row(&rows[row])),
        }
    }
}

/// How flows are grouped where that needs no look at each.
fn group_key(by: By) -> Option<fn(&FlowGroup) -> Key> {
    match by {
        By::Country => Some(|of| Key::Country(of.group.country)),
        By::Class => Some(|of| Key::Class(of.group.class)),
        By::Rule => Some(|of| Key::Rule(of.rule)),
        By::Network | By::Peer => None,
    }
}

/// A group, how many flows it has, and what they come to.
type GroupOf = ((Key, Verdict), u64, FlowSums);

/// The groups that sums come to, those of flows that are no longer told apart, too.
fn summed(flows: &BTreeMap<FlowGroup, GroupSums>, key: fn(&FlowGroup) -> Key, query: &FlowsQuery) -> Vec<GroupOf> {
    let mut groups: BTreeMap<(Key, Verdict), GroupSums> = BTreeMap::new();
    for (of, sums) in flows.iter().filter(|(of, _)| query.verdict.is_none_or(|only| only == of.group.verdict)) {
        groups.entry((key(of), of.group.verdict)).and_modify(|there| there.add(sums)).or_insert(*sums);
    }
    groups.into_iter().map(|(key, GroupSums { flows, sums })| (key, flows, sums)).collect()
}

/// What rows are labelled with.
pub(super) struct Labels {
    identities: Arc<Identities>,
    asn: Option<Arc<AsDataset>>,
}

impl Labels {
    /// As it stands.
    pub(super) fn of(state: &MonitorState) -> Self {
        Self { identities: Arc::clone(&state.traffic.identities), asn: state.in_force.policy.asn.clone() }
    }
}

/// The document without what comes from the flows.
fn frame(state: &MonitorState, totals: &Totals, query: &FlowsQuery) -> Flows {
    let mut reply = Flows {
        boot_id: state.boot_id.clone(),
        since: rfc3339(state.since),
        until: state.last.map(|last| rfc3339(last.ended)),
        epoch: state.last.map(|last| last.epoch),
        ..Flows::default()
    };
    let wanted = |verdict: Verdict| query.verdict.is_none_or(|only| only == verdict);
    for (_, counters) in totals.overflow.iter().filter(|(group, _)| wanted(group.verdict)) {
        reply.overflow.add(counters);
    }
    let mut reasons: BTreeMap<Reason, ReasonSums> = BTreeMap::new();
    for ((_, reason), reason_sums) in &totals.unparsed {
        let sum = reasons.entry(*reason).or_default();
        for (sum, counters) in [(&mut sum.passed, &reason_sums.passed), (&mut sum.dropped, &reason_sums.dropped)] {
            sum.add(counters);
            reply.unparsed.add(counters);
        }
    }
    reply.unparsed_reasons = reasons.iter().map(|(reason, reason_sums)| reason_row(*reason, reason_sums)).collect();
    for counters in totals.hook.values() {
        reply.hook.add(counters);
    }
    reply
}

/// A row to be: by bytes on the wire, most first, then by key.
struct TopRow<K>(K, u64, FlowSums);

impl<K: Ord> Ord for TopRow<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        let bytes = |row: &Self| row.2.counters.wire_bytes;
        bytes(other).cmp(&bytes(self)).then_with(|| self.0.cmp(&other.0))
    }
}

impl<K: Ord> PartialOrd for TopRow<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for TopRow<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord> Eq for TopRow<K> {}

/// The first `top` of `all` (key, flows, sums) in order; all others go into `rest`. A million are not put together to
/// show fifty: no more than `top` are held at any time.
fn first<K: Ord>(
    top: usize,
    rest: &mut Part,
    all: impl Iterator<Item = (K, u64, FlowSums)>,
) -> Vec<(K, u64, FlowSums)> {
    let mut held: BinaryHeap<TopRow<K>> = BinaryHeap::new();
    for (key, flows, sums) in all {
        let mut row = TopRow(key, flows, sums);
        if held.len() < top {
            held.push(row);
            continue;
        }
        if let Some(mut last) = held.peek_mut()
            && row < *last
        {
            std::mem::swap(&mut row, &mut last);
        }
        rest.flows += row.1;
        rest.sums.add(&row.2.counters);
    }
    held.into_sorted_vec().into_iter().map(|TopRow(key, flows, sums)| (key, flows, sums)).collect()
}

/// What a group has in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Country(Country),
    Class(Class),
    System(u32),
    Network(IpAddr, u8),
    Rule(RuleName),
    Peer(IpAddr),
}

impl Key {
    fn of(by: By, id: &FlowId, asn: Option<&AsDataset>) -> Self {
        let system = || Some(Self::System(asn?.lookup(id.ip(id.destination))?.0));
        match by {
            By::Country => Self::Country(id.country),
            By::Class => Self::Class(id.class),
            By::Rule => Self::Rule(id.rule),
            By::Peer => Self::Peer(id.ip(id.destination)),
            By::Network => system().unwrap_or_else(|| match id.ip(id.destination) {
                IpAddr::V4(address) => {
                    Self::Network(Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into(), 24)
                }
                IpAddr::V6(address) => {
                    Self::Network(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).into(), 48)
                }
            }),
        }
    }

    fn name(self, asn: Option<&AsDataset>) -> Option<String> {
        let Self::System(number) = self else { return None };
        asn.map(|asn| asn.names.get(number)).filter(|name| !name.is_empty()).map(str::to_owned)
    }

    fn text(self, identities: &Identities) -> String {
        match self {
            Self::Country(country) => country.to_string(),
            Self::Class(class) => class.name().into(),
            Self::System(number) => format!("AS{number}"),
            Self::Network(address, length) => format!("{address}/{length}"),
            Self::Rule(RuleName::NONE) => "-".into(),
            Self::Rule(rule) => identities.rules.get(rule).into(),
            Self::Peer(address) => address.to_string(),
        }
    }
}

fn reason_row(reason: Reason, reason_sums: &ReasonSums) -> ReasonRow {
    ReasonRow {
        reason: reason.name().into(),
        meaning: reason.meaning().into(),
        passed: (&reason_sums.passed).into(),
        dropped: (&reason_sums.dropped).into(),
    }
}

pub(super) fn flow_row(id: &FlowId, sums: &FlowSums, labels: &Labels) -> FlowRow {
    let identities = &labels.identities;
    FlowRow {
        interface: identities.interfaces.get(id.interface).into(),
        source: id.ip(id.source),
        source_port: id.source_port,
        destination: id.ip(id.destination),
        destination_port: id.destination_port,
        autonomous_system: system(labels.asn.as_deref(), id.ip(id.destination)),
        protocol: id.protocol,
        protocol_name: monitor_policy::protocol::name(id.protocol).map(str::to_owned),
        inner: id.inner_document(),
        embedded: id.embedded(),
        opaque: id.opaque.name().map(str::to_owned),
        decided_by: id.decided_by(),
        country: id.country.to_string(),
        class: id.class.name().into(),
        rule: (id.rule != RuleName::NONE).then(|| identities.rules.get(id.rule).to_owned()),
        verdict: id.verdict.name().into(),
        sums: (&sums.counters).into(),
        first_seen: rfc3339(sums.first.into()),
        last_seen: rfc3339(sums.last.into()),
    }
}

/// The whole document.
#[cfg(test)]
pub fn flows(shared: &SharedState, query: &FlowsQuery) -> Flows {
    Page::of(shared, query).document()
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
