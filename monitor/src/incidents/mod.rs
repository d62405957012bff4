//! Incidents: events and snapshots in, alerts out. What leaves for where the policy does not let it is one incident for each
//! rule or class, verdict, country, network and source; so are packets that could not be read, or whose flow found no place
//! in the table. An incident alerts when it is seen first, when it has sent twice as much as was told, and when it is over.
//! Called by the engine only, so that there is one owner of who was alerted already.
//!
//! An event opens an incident at once; what the ring lost is made up for at the drain. There are so many places, and no
//! flood takes them all (`places`); beyond them flows are summed up as others. Nothing is left out of the sums.

mod book;
mod flows;
mod kept;
mod key;
mod membership;
mod places;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Class, Counters, Event, FlowKey, FlowValue, Reported, UnparsedEvent},
};
use monitor_policy::{Policy, spec::Action, spec::Mode};

pub use self::membership::Membership;
use self::{
    book::{Book, Open},
    flows::Flows,
    key::{Group, Key, Source},
    places::LIMITS,
};
use crate::{
    engine::{
        outbox::AlertBatch,
        pipeline::{Consumer, Findings, ReadEvent},
    },
    model::{
        Alert, ClosedEpoch,
        clock::clamp,
        flow::{FlowId, Resolver, place},
        identities::{Identities, Name, NameSet, RuleName},
        in_force::PolicyInForce,
        incident::{Example, Few, Incident, IncidentId, UnparsedPacket},
        sighting::{FlowSighting, Origin, Sighted},
    },
    storage::state::StateDirectory,
    store::MonitorState,
};

/// The TCP flag of a reset (RFC 9293, section 3.1).
const RST: u32 = 0x04;

/// A packet without content is no longer: Ethernet with two tags, IPv6, TCP with all options.
const HEADERS: u64 = 14 + 8 + 40 + 60;

/// How long the file rests for each byte: a megabyte is written once in a second.
const REST: Duration = Duration::from_micros(1);

/// See the module.
#[derive(Debug)]
pub struct Incidents {
    book: Book,
    flows: Flows,
    /// This host's own addresses.
    local: BTreeSet<IpAddr>,
    /// The epoch that was drained last.
    drained: Option<u32>,
    /// The last one in which flows found no place in the kernel: they have no row at the drain.
    overflowed: Option<u32>,
    boot: String,
    state: StateDirectory,
    /// Alerts that are made with the next epoch: of incidents that ended while no daemon was there.
    ended: Vec<Alert>,
    /// When the file is to be written again.
    rested: Instant,
    unsaved: bool,
    problem: Option<String>,
}

impl Consumer for Incidents {
    fn begin(&mut self, state: &mut MonitorState, _: &mut Findings<'_>) {
        self.boot.clone_from(&state.host.boot_id);
        self.local.clone_from(&state.coverage.local);
        let Some(document) = self.state.read::<kept::Document<Open>>(kept::FILE) else { return };
        let (open, over) = document.split(&self.boot);
        for open in open {
            if let Some(key) = kept::key(&open.incident, &mut state.traffic.identities) {
                self.book.restore(key, open);
            }
        }
        let ended = over.into_iter().map(|open| Alert::Incident(Box::new(open.ended(state.started))));
        self.ended.extend(ended);
        self.unsaved = true;
        self.show(state);
    }

    fn events(&mut self, events: &[ReadEvent<'_>], identities: &Identities, alerts: &mut AlertBatch<'_>) {
        for ReadEvent { event, time, read, interface, resolver } in events {
            if self.has_seen(event.epoch()) {
                continue;
            }
            let at = At { time: *time, read: *read, interface: *interface, resolver, identities };
            let made = match event {
                Reported::Flow(event) => self.flow_event(event, &at),
                Reported::Unparsed(event) => self.unparsed_event(event, &at),
            };
            made.into_iter().for_each(|alert| alerts.push(alert));
        }
    }

    fn epoch(&mut self, epoch: &ClosedEpoch<'_>, _: &PolicyInForce, alerts: &mut AlertBatch<'_>) {
        self.ended.drain(..).for_each(|alert| alerts.push(alert));
        self.drain(epoch).into_iter().for_each(|alert| alerts.push(alert));
        self.unsaved |= self.book.is_changed();
        if Instant::now() >= self.rested {
            self.save();
        }
    }

    fn publish(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, _: &mut Findings<'_>) {
        self.local.clone_from(&state.coverage.local);
        self.book.attribute(state.attributions.take());
        self.show(state);
    }

    fn covered(&mut self, state: &mut MonitorState, _: &mut Findings<'_>) {
        self.local.clone_from(&state.coverage.local);
    }

    fn names(&self, used: &mut NameSet) {
        for (key, _) in self.book.iter() {
            match key {
                Key::Egress { rule, .. } => drop(used.rules.insert(*rule)),
                Key::Others { .. } | Key::Answers(_) | Key::Overflow(_) | Key::Unparsed { .. } => {}
            }
        }
    }

    fn forget(&mut self, _: &NameSet) {
        self.flows.clear();
    }

    fn stopped(&mut self, _: i128, _: &mut MonitorState, _: &mut Findings<'_>) {
        self.save();
    }
}

/// When and where what an event reports was seen.
struct At<'a> {
    /// The packet left, UTC nanoseconds since 1970.
    time: i128,
    /// We heard of it.
    read: i128,
    interface: Name,
    /// Of the policy of its epoch.
    resolver: &'a Resolver,
    identities: &'a Identities,
}

impl Incidents {
    /// With what `state` has of an earlier daemon's, and room for so many flows.
    fn new(state: StateDirectory, remembered: usize, limits: places::Limits) -> Self {
        Self {
            book: Book::new(limits),
            flows: Flows::new(remembered),
            local: BTreeSet::new(),
            drained: None,
            overflowed: None,
            boot: String::new(),
            state,
            ended: Vec::new(),
            rested: Instant::now(),
            unsaved: false,
            problem: None,
        }
    }

    /// That go on from one daemon to the next by what they keep in `state`.
    pub fn open(state: StateDirectory) -> Self {
        Self::new(state, flows::REMEMBERED, LIMITS)
    }

    /// Whether an event of this epoch says nothing that the drain has not seen: it is read after that, and all flows had a
    /// place.
    fn has_seen(&self, epoch: u32) -> bool {
        let until = |last: Option<u32>| last.is_some_and(|last| last.wrapping_sub(epoch).cast_signed() >= 0);
        until(self.drained) && !until(self.overflowed)
    }

    fn flow_event(&mut self, event: &Event, at: &At<'_>) -> Option<Alert> {
        let flow = at.resolver.resolve(&event.flow, at.interface);
        let answers = event.tcp_flags & RST != 0;
        let (seen, before) = self.flows.sight(&flow, at.time, at.read, answers);
        let key = key::of_flow(&flow, seen.answers, &self.local);
        let bytes = u64::from(event.wire_bytes);
        // Only the first packet so far; the event does not carry skb->len.
        let counters = Counters { packets: 1, segments: 1, bytes, wire_bytes: bytes };
        let seen = Sighted {
            epoch: event.epoch,
            time: at.time,
            first_jiffies: event.jiffies,
            counters,
            origin: Origin::Event,
        };
        let open = self.book.of(key, |key| opened(key, &flow, seen, at.resolver, at.identities));
        meet(open, &flow, before, at.identities);
        open.last = open.last.max(event.jiffies);
        (!open.announced).then(|| Alert::Incident(Box::new(open.first(&self.boot))))
    }

    fn unparsed_event(&mut self, event: &UnparsedEvent, at: &At<'_>) -> Option<Alert> {
        let reason = Reason::from_wire(event.reason)?;
        let verdict = Verdict::from_wire(event.verdict);
        let name = at.identities.interfaces.get(at.interface);
        let key = Key::Unparsed { reason, interface: key::interface(name), dropped: verdict == Verdict::Denied };
        let policy = at.resolver.policy();
        let open =
            self.book.of(key, |key| unparsed(policy, key, name, verdict, event.epoch, (clamp(at.time), event.jiffies)));
        open.last = open.last.max(event.jiffies);
        if open.incident.packet.is_none() {
            let head = event.head.get(..usize::from(event.length)).unwrap_or_default().to_vec();
            open.incident.packet = Some(UnparsedPacket { wire_bytes: event.wire_bytes, head });
            open.incident.first_bytes = event.wire_bytes.into();
        }
        (!open.announced).then(|| Alert::Incident(Box::new(open.first(&self.boot))))
    }

    /// The alerts that an epoch makes: of incidents whose event was lost, that have more to tell, that are over.
    fn drain(&mut self, epoch: &ClosedEpoch<'_>) -> Vec<Alert> {
        let ClosedEpoch { snapshot, identities, .. } = *epoch;
        for flow in epoch.flows().filter(|flow| alertable(&snapshot.policy, &flow.key.flow)) {
            let (flow, value) = (flow.id(), flow.value);
            self.flow(&flow, value, epoch);
        }
        let span = (clamp(snapshot.started), clamp(snapshot.ended));
        for interface in &snapshot.interfaces {
            for ((class_id, verdict), counters) in &interface.overflow {
                // Of what is allowed it is not known whether a rule did.
                if *verdict == Verdict::Allowed || counters.is_zero() {
                    continue;
                }
                let (country, class) = place(&snapshot.policy, *class_id);
                let group = Group { class, verdict: *verdict, country };
                let began = snapshot.jiffies;
                let open = self.book.of(Key::Overflow(group), |_| {
                    let incident = blank(&snapshot.policy, Key::Overflow(group), *verdict, snapshot.epoch, span.0);
                    Open::new(incident, began)
                });
                open.add(counters, span, began);
            }
            for (reason, sums) in interface.unparsed.iter().filter(|(reason, _)| reason.alerts()) {
                let denied = snapshot.mode == Mode::Observe && snapshot.policy.image.drop_reasons & reason.bit() != 0;
                let passed = if denied { Verdict::Observed } else { Verdict::Allowed };
                for (counters, verdict) in [(&sums.passed, passed), (&sums.dropped, Verdict::Denied)] {
                    if counters.is_zero() {
                        continue;
                    }
                    let name = identities.interfaces.get(epoch.interfaces.name(interface.ifindex));
                    let dropped = verdict == Verdict::Denied;
                    let key = Key::Unparsed { reason: *reason, interface: key::interface(name), dropped };
                    let open = self.book.of(key, |key| {
                        unparsed(&snapshot.policy, key, name, verdict, snapshot.epoch, (span.0, snapshot.jiffies))
                    });
                    // The event says when the first was; of the others it is known that they were in the epoch.
                    let first = if open.announced { open.incident.first } else { span.0 };
                    open.add(counters, (first, span.1), snapshot.jiffies);
                }
            }
        }
        self.flows.forget(snapshot.ended);
        self.drained = Some(snapshot.epoch);
        if snapshot.interfaces.iter().any(|interface| !interface.overflow.is_empty()) {
            self.overflowed = self.drained;
        }
        let made = self.book.settle(&self.boot, snapshot.jiffies, snapshot.hz, snapshot.ended);
        made.into_iter().map(|alert| Alert::Incident(Box::new(alert))).collect()
    }

    /// Takes in what a flow sent in an epoch.
    fn flow(&mut self, flow: &FlowId, value: &FlowValue, epoch: &ClosedEpoch<'_>) {
        let ClosedEpoch { snapshot, resolver, identities, .. } = *epoch;
        let span = (snapshot.wall_time(value.first), snapshot.wall_time(value.last));
        let (seen, mut before) = self.flows.sight(flow, span.1, snapshot.ended, false);
        if seen.answers && value.counters.wire_bytes > HEADERS * value.counters.segments {
            // It sends something: what it was taken for was wrong.
            (seen.answers, before) = (false, None);
        }
        let key = key::of_flow(flow, seen.answers, &self.local);
        let sighted = Sighted {
            epoch: snapshot.epoch,
            time: span.0,
            first_jiffies: value.first,
            counters: value.counters,
            origin: Origin::Drain,
        };
        let open = self.book.of(key, |key| opened(key, flow, sighted, resolver, identities));
        meet(open, flow, before, identities);
        open.add(&value.counters, (clamp(span.0), clamp(span.1)), value.last);
        if !open.announced && value.first < open.began && open.incident.kind == key.kind() {
            // The first of those that the epoch has is who it began with.
            let incident = std::mem::replace(open, opened(key, flow, sighted, resolver, identities)).incident;
            let Incident { totals, flows, peers, ports, examples, first, last, .. } = incident;
            let began = &mut open.incident;
            (began.totals, began.flows, began.peers, began.ports, began.examples) =
                (totals, flows, peers, ports, examples);
            (began.first, began.last) = (began.first.min(first), began.last.max(last));
        }
    }

    /// Has the state show what changed.
    fn show(&mut self, state: &mut MonitorState) {
        let (changed, ended) = self.book.changes();
        for incident in changed {
            state.incidents.insert(incident.id, incident.clone());
        }
        let over = |id: IncidentId| state.incidents.remove(&id);
        ended.into_iter().map(over).for_each(drop);
    }

    fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        let document = kept::document(&self.boot, self.book.iter().map(|(_, open)| open));
        let written = document.map_err(std::io::Error::from).and_then(|(document, without)| {
            let length = self.state.write_for_this_boot(kept::FILE, &document)?;
            let short = (without > 0).then(|| format!("there is no room for {without} of them"));
            Ok((length, short))
        });
        let (length, problem) = written.unwrap_or_else(|error| (0, Some(error.to_string())));
        self.rested = Instant::now() + REST * u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(why) = problem.as_ref().filter(|_| self.problem.is_none()) {
            let file = self.state.path().join(kept::FILE);
            tracing::warn!(file = %file.display(), why, "open incidents can't be kept: after a restart they begin anew");
        }
        self.unsaved = problem.is_some();
        self.problem = problem;
    }
}

/// Counts a flow once in its incident; `before`: when it was seen before.
fn meet(open: &mut Open, flow: &FlowId, before: Option<i64>, identities: &Identities) {
    let incident = &mut open.incident;
    if before.is_none_or(|before| before < incident.first) {
        incident.peers.insert(key::decides(flow));
        incident.ports.insert((flow.protocol, flow.destination_port));
        open.flow(|| example(flow, identities));
    }
}

fn example(flow: &FlowId, identities: &Identities) -> Example {
    let destination = flow.ip(flow.destination);
    Example {
        source: flow.ip(flow.source),
        source_port: flow.source_port,
        destination,
        destination_port: flow.destination_port,
        protocol: flow.protocol,
        interface: identities.interfaces.get(flow.interface).to_owned(),
        decides: key::decides(flow) == destination,
    }
}

/// An incident that begins with this flow.
fn opened(key: Key, flow: &FlowId, seen: Sighted, resolver: &Resolver, identities: &Identities) -> Open {
    let first = clamp(seen.time);
    let (network, source, rule) = match key {
        Key::Egress { network, source, rule, .. } => (Some(network.written()), Some(source), rule),
        _ => (None, None, RuleName::NONE),
    };
    let incident = Incident {
        network,
        source: match source {
            Some(Source::Forwarded(source)) => Some(source),
            Some(Source::Local) | None => None,
        },
        rule: (rule != RuleName::NONE).then(|| identities.rules.get(rule).to_owned()),
        example: Some(example(flow, identities)),
        first_bytes: seen.counters.wire_bytes,
        ..blank(resolver.policy(), key, flow.verdict, seen.epoch, first)
    };
    let sighting = Box::new(FlowSighting::new(*flow, seen, identities, resolver));
    let mut open = Open::new(incident, seen.first_jiffies);
    open.sighting = Some(sighting);
    open
}

/// An incident of packets without a flow, the first of them seen at a time and in jiffies.
fn unparsed(policy: &Policy, key: Key, name: &str, verdict: Verdict, epoch: u32, (first, began): (i64, u64)) -> Open {
    let unparsed = match key {
        Key::Unparsed { reason, interface, .. } => {
            let name = if interface == key::ANY { key::SEVERAL } else { name };
            Some((reason.name().to_owned(), name.to_owned()))
        }
        _ => None,
    };
    Open::new(Incident { unparsed, ..blank(policy, key, verdict, epoch, first) }, began)
}

/// An incident in which there is nothing yet.
fn blank(policy: &Policy, key: Key, verdict: Verdict, epoch: u32, first: i64) -> Incident {
    let (class, country): (Option<Class>, _) = match key {
        Key::Egress { group, .. } | Key::Answers(group) | Key::Overflow(group) => {
            (Some(group.class), Some(group.country))
        }
        Key::Others { class, country, .. } => (Some(class), country),
        Key::Unparsed { .. } => (None, None),
    };
    Incident {
        id: IncidentId::default(),
        kind: key.kind(),
        class,
        verdict,
        country,
        rule: None,
        network: None,
        source: None,
        unparsed: None,
        example: None,
        packet: None,
        policy: policy.digest.clone(),
        zone: policy.zone.clone(),
        epoch,
        first,
        last: first,
        totals: Counters::default(),
        first_bytes: 0,
        flows: 0,
        peers: Few::default(),
        ports: Few::default(),
        examples: Vec::new(),
        attribution: None,
    }
}

/// The alerts that an epoch makes which is all that there is.
#[cfg(test)]
pub fn of(snapshot: &crate::model::Snapshot) -> Vec<Alert> {
    tests::Bench::new().snapshot(snapshot)
}

/// Whether the policy wants an alert for the flow: as the kernel decides it, from the same rows.
pub fn alertable(policy: &Policy, key: &FlowKey) -> bool {
    match policy.rule(key.rule) {
        Some(rule) => rule.action == Action::Deny,
        None => policy.image.classes.get(usize::from(key.class_id)).is_none_or(|row| row.alert != 0),
    }
}
