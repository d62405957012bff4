//! Flows and [`MonitorState`] in, flow rows out: served at `/api/v1/flows`, printed by `egress-monitor flows`. Rows, the rest,
//! what was evicted, what overflowed and what was not parsed always sum to the hook total, in one document.

mod body;
mod chosen;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use monitor_api::flows::{
    AutonomousSystem, By, DEFAULT_TOP, FlowRow, Flows, FlowsQuery, GroupRow, Part, QueryError, ReasonRow,
};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Class, ReasonSums},
};

pub use self::body::PageBody;
use self::chosen::Chosen;
use super::head;
use crate::{
    model::{
        flow::{FlowGroup, FlowId, FlowSums, GroupSums},
        identities::{Identities, Name, RuleName},
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
    chosen: Chosen,
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
    ///
    /// # Errors
    /// What nobody can ask for.
    pub fn of(shared: &SharedState, host: &str, query: &FlowsQuery) -> Result<Self, QueryError> {
        let filter = query.filter()?;
        let groups_of = query.by.and_then(group_key).filter(|_| filter.is_of_sums());
        let head = |state: &MonitorState, totals: &Totals| {
            let chosen = Chosen::of(filter.clone(), state);
            Head { frame: frame(state, host, totals, &chosen), labels: Labels::of(state), chosen }
        };
        let Some((since, until)) = query.window() else {
            if let Some(key) = groups_of {
                let (head, groups) = {
                    let state = shared.read();
                    let totals = &state.traffic.totals;
                    let mut head = head(&state, totals);
                    let groups = head.summed(&totals.flows, key);
                    (head, groups)
                };
                return Ok(head.grouped(groups.into_iter(), query));
            }
            // In this order: the state is that of the flows then.
            let store = shared.flows();
            let head = {
                let state = shared.read();
                head(&state, &state.traffic.totals)
            };
            return Ok(head.filled(&store, query));
        };
        // Held until the names are there that it is kept under.
        let recent = shared.recent();
        let nanoseconds = |seconds: u32| i128::from(seconds) * 1_000_000_000;
        let window = recent.window(nanoseconds(since), nanoseconds(until));
        let state = shared.read();
        drop(recent);
        let Some(window) = window else {
            let Head { frame, labels, chosen } = head(&state, &Totals::default());
            let frame = Flows {
                window_seconds: Some(since),
                window_until_seconds: query.until,
                window_complete: Some(false),
                ..frame
            };
            return Ok(Self { frame, labels, chosen, rows: Rows::Flows(Vec::new()) });
        };
        // The oldest part of it may reach back before what is counted here.
        let began = window.began.max(state.since).min(window.ended);
        let mut head = head(&state, &window.totals);
        drop(state);
        head.frame = Flows {
            since: rfc3339(began),
            until: Some(rfc3339(window.ended)),
            window_seconds: Some(since),
            window_until_seconds: query.until,
            window_complete: Some(window.latest - began >= nanoseconds(since)),
            ..head.frame
        };
        Ok(match groups_of {
            Some(key) => {
                let groups = head.summed(&window.groups(), key);
                head.grouped(groups.into_iter(), query)
            }
            None => head.filled(&window.flows, query),
        })
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
        FlowRow { active: self.chosen.is_active(sums), ..flow_row(id, sums, &self.labels) }
    }

    fn group_row(&self, ((key, verdict), flows, sums): &GroupOf) -> GroupRow {
        GroupRow {
            key: key.text(&self.labels.identities),
            peer: key.peer(),
            country: key.country().map(|country| country.to_string()),
            decided_by: key.decided_by(),
            name: key.name(self.labels.asn.as_deref()),
            verdict: verdict.name().into(),
            flows: *flows,
            sums: (&sums.counters).into(),
            first_seen: rfc3339(sums.first.into()),
            last_seen: rfc3339(sums.last.into()),
            active: self.chosen.is_active(sums),
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

/// A page that has no rows yet.
struct Head {
    frame: Flows,
    labels: Labels,
    chosen: Chosen,
}

impl Head {
    /// The groups that sums come to, those of flows that are no longer told apart, too. What was not asked for is known then.
    fn summed(&mut self, flows: &BTreeMap<FlowGroup, GroupSums>, key: fn(&FlowGroup) -> Key) -> Vec<GroupOf> {
        let mut groups: BTreeMap<(Key, Verdict), GroupSums> = BTreeMap::new();
        for (of, sums) in flows {
            if self.chosen.group(of) {
                groups.entry((key(of), of.group.verdict)).and_modify(|there| there.add(sums)).or_insert(*sums);
            } else {
                self.frame.other.flows += sums.flows;
                self.frame.other.sums.add(&sums.sums.counters);
            }
        }
        groups.into_iter().map(|(key, GroupSums { flows, sums })| (key, flows, sums)).collect()
    }

    /// With the first of these groups.
    fn grouped(mut self, groups: impl Iterator<Item = GroupOf>, query: &FlowsQuery) -> Page {
        let rows = first(query.top.unwrap_or(DEFAULT_TOP), &mut self.frame.rest, groups);
        self.with(Rows::Groups(rows))
    }

    /// With what comes from the flows.
    fn filled(mut self, store: &FlowStore, query: &FlowsQuery) -> Page {
        for evicted in store.evicted().values() {
            self.frame.evicted.flows += evicted.flows;
            self.frame.evicted.sums.add(&evicted.counters);
        }
        let (chosen, mut other) = (&self.chosen, self.frame.other);
        let asked_for = store.iter().filter(|(id, sums)| {
            let asked_for = chosen.flow(id, sums);
            if !asked_for {
                other.flows += 1;
                other.sums.add(&sums.counters);
            }
            asked_for
        });
        let Some(by) = query.by else {
            let top = query.top.unwrap_or(DEFAULT_TOP);
            let rows = first(top, &mut self.frame.rest, asked_for.map(|(id, sums)| (id, 1, *sums)));
            self.frame.other = other;
            return self.with(Rows::Flows(rows));
        };
        let mut groups: Table<(Key, Verdict), (u64, FlowSums)> = Table::default();
        for (id, sums) in asked_for {
            let key = (Key::of(by, &id, self.labels.asn.as_deref()), id.verdict);
            let ((flows, sum), there) = groups.upsert(key, || (0, *sums));
            *flows += 1;
            if there {
                sum.add(sums);
            }
        }
        self.frame.other = other;
        let groups = groups.iter().map(|(key, (flows, sums))| (*key, *flows, *sums));
        self.grouped(groups, query)
    }

    fn with(self, rows: Rows) -> Page {
        let Self { mut frame, labels, chosen } = self;
        frame.truncated = frame.rest.flows > 0;
        Page { frame, labels, chosen, rows }
    }
}

/// How flows are grouped where that needs no look at each.
fn group_key(by: By) -> Option<fn(&FlowGroup) -> Key> {
    match by {
        By::Country => Some(|of| Key::Country(of.group.country)),
        By::Class => Some(|of| Key::Class(of.group.class)),
        By::Rule => Some(|of| Key::Rule(of.rule)),
        By::Interface => Some(|of| Key::Interface(of.group.interface)),
        By::Network | By::Peer | By::Source | By::SourcePeer | By::Port => None,
    }
}

/// A group, how many flows it has, and what they come to.
type GroupOf = ((Key, Verdict), u64, FlowSums);

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
fn frame(state: &MonitorState, host: &str, totals: &Totals, chosen: &Chosen) -> Flows {
    let mut reply = Flows {
        head: head(state, host),
        since: rfc3339(state.since),
        until: state.last.map(|last| rfc3339(last.ended)),
        epoch: state.last.map(|last| last.epoch),
        ..Flows::default()
    };
    for (group, counters) in &totals.overflow {
        // Which rule decided it is not known.
        let asked_for = chosen.group(&FlowGroup { group: *group, rule: RuleName::NONE });
        let of = if asked_for { &mut reply.overflow } else { &mut reply.other.sums };
        of.add(counters);
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
pub(super) fn first<K: Ord>(
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
    /// With its country, and who decided if that is another.
    Peer(IpAddr, Country, Option<IpAddr>),
    Source(IpAddr),
    SourcePeer(IpAddr, IpAddr, Country),
    Port(u16),
    Interface(Name),
}

impl Key {
    fn of(by: By, id: &FlowId, asn: Option<&AsDataset>) -> Self {
        let system = || Some(Self::System(asn?.lookup(id.ip(id.destination))?.0));
        match by {
            By::Country => Self::Country(id.country),
            By::Class => Self::Class(id.class),
            By::Rule => Self::Rule(id.rule),
            By::Peer => {
                let peer = id.ip(id.destination);
                Self::Peer(peer, id.country, id.decided_by().filter(|decided| *decided != peer))
            }
            By::Source => Self::Source(id.ip(id.source)),
            By::SourcePeer => Self::SourcePeer(id.ip(id.source), id.ip(id.destination), id.country),
            By::Port => Self::Port(id.destination_port),
            By::Interface => Self::Interface(id.interface),
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
            Self::Peer(address, ..) | Self::Source(address) | Self::SourcePeer(address, ..) => address.to_string(),
            Self::Port(port) => port.to_string(),
            Self::Interface(name) => identities.interfaces.get(name).into(),
        }
    }

    const fn peer(self) -> Option<IpAddr> {
        match self {
            Self::SourcePeer(_, peer, _) => Some(peer),
            _ => None,
        }
    }

    const fn country(self) -> Option<Country> {
        match self {
            Self::Peer(_, country, _) | Self::SourcePeer(_, _, country) => Some(country),
            _ => None,
        }
    }

    const fn decided_by(self) -> Option<IpAddr> {
        match self {
            Self::Peer(_, _, decided_by) => decided_by,
            _ => None,
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
        active: false,
    }
}

/// The whole document.
#[cfg(test)]
pub fn flows(shared: &SharedState, query: &FlowsQuery) -> Flows {
    Page::of(shared, "", query).expect("what can be asked for").document()
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
