//! [`Facts`] in, the status document out: served at `/api/v1/status`, printed by `egress-monitor status`.

use std::sync::atomic::Ordering::Relaxed;

use monitor_common::{verdict::Verdict, wire::Counters};
use serde::{Deserialize, Serialize};

use crate::{
    change::UnconfirmedStatus,
    epochs::{
        Facts, Places,
        facts::{DatasetInfo, LastEpoch},
        names::{Group, Name, Names},
        rfc3339,
        task::STALE_AFTER,
        traffic::Totals,
    },
    geo::About,
    policy::times::{Upcoming, upcoming},
    reconcile::{Amount, Presence, Standing},
};

/// The four sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// skbs.
    pub packets: u64,
    /// Packets on the wire.
    pub segments: u64,
    /// Bytes of the skbs.
    pub bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
}

impl From<&Counters> for Sums {
    fn from(counters: &Counters) -> Self {
        let Counters { packets, segments, bytes, wire_bytes } = *counters;
        Self { packets, segments, bytes, wire_bytes }
    }
}

impl Sums {
    /// Adds `counters`.
    pub fn add(&mut self, counters: &Counters) {
        self.packets += counters.packets;
        self.segments += counters.segments;
        self.bytes += counters.bytes;
        self.wire_bytes += counters.wire_bytes;
    }
}

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// In force since, RFC 3339.
    pub since: String,
    /// The same in seconds.
    pub age_seconds: i64,
    /// Rules in it.
    pub rules: usize,
    /// Of these, how many decided nothing since they are in force: see `/api/v1/rules`.
    pub never_hit: usize,
    /// Ids of those whose daily budget is used up.
    pub suspended: Vec<String>,
    /// The policy that is judged beside it; none where the configuration names none.
    pub shadow: Option<ShadowStatus>,
}

/// The shadow policy, in short: see `/api/v1/policy/shadow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// Its digest.
    pub digest: Option<String>,
    /// Why it was refused.
    pub refused: Option<String>,
    /// Compared since, RFC 3339.
    pub since: Option<String>,
    /// Allowed now, and it denies it.
    pub stricter: Sums,
    /// Denied now, and it allows it.
    pub looser: Sums,
}

fn shadow(facts: &Facts) -> Option<ShadowStatus> {
    let page = super::shadow::frame(facts);
    let there = page.candidate.is_some() || page.refused.is_some();
    there.then(|| ShadowStatus {
        digest: page.candidate.map(|candidate| candidate.digest),
        refused: page.refused,
        since: page.since,
        stricter: page.stricter,
        looser: page.looser,
    })
}

/// A geo dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetStatus {
    /// Name or file.
    pub name: String,
    /// Version.
    pub version: String,
    /// Built when, RFC 3339.
    pub built: Option<String>,
    /// Age in days.
    pub age_days: Option<i64>,
    /// Older than 90 days.
    pub stale: bool,
}

/// An interface: attached how, and what was counted there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Name.
    pub interface: String,
    /// `tcx` or `clsact`; none: not attached now.
    pub hook: Option<String>,
    /// Whether the program is on it now: `attached`, `detached` (somebody took it off), `gone` (the interface is),
    /// `unknown`. None: it was never attached.
    pub state: Option<String>,
    /// Programs of others that have their say before ours.
    pub ahead: u32,
    /// Attached since, RFC 3339.
    pub since: Option<String>,
    /// Everything that passed the hook.
    pub total: Sums,
    /// Of that, what we dropped.
    pub dropped: Sums,
    /// Sum of absolute residuals; all 0 or a defect.
    pub residual: Sums,
    /// What the network card counted; none until it was read with an epoch.
    pub nic: Option<NicStatus>,
}

/// What the device sent, held against what passed the hook. All since the program was attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicStatus {
    /// What it counts as a packet: `skbs`, `segments`, `undetermined`.
    pub counts: String,
    /// Sent, as the device counts.
    pub sent: Amount,
    /// Sent before, since the device was made.
    pub before_attach: Amount,
    /// Of that, while the program was being attached.
    pub while_attaching: Amount,
    /// Dropped by us, as the device would have counted it.
    pub dropped_by_us: Amount,
    /// Packets that the queueing discipline dropped.
    pub qdisc_drops: u64,
    /// Packets that wait there.
    pub in_flight: u64,
    /// Packets that passed the hook and that the device never counted, for no known reason.
    pub lost: u64,
    /// Sent without passing the hook: proven, never shrinks.
    pub unaccounted: Amount,
}

impl From<&Standing> for NicStatus {
    fn from(standing: &Standing) -> Self {
        Self {
            counts: standing.kind.name().into(),
            sent: standing.sent,
            before_attach: standing.before_attach,
            while_attaching: standing.while_attaching,
            dropped_by_us: standing.dropped,
            qdisc_drops: standing.qdisc_drops,
            in_flight: standing.waiting,
            lost: standing.lost,
            unaccounted: standing.unaccounted,
        }
    }
}

/// Sums by interface, country, class and verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Interface.
    pub interface: String,
    /// Country.
    pub country: String,
    /// inside, outside…
    pub class: String,
    /// allowed, observed, denied.
    pub verdict: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Packets without a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnparsedStatus {
    /// Interface.
    pub interface: String,
    /// Why.
    pub reason: String,
    /// Let through.
    pub passed: Sums,
    /// Dropped.
    pub dropped: Sums,
}

/// What one interface counted in one epoch: hook = flows + overflow + unparsed, in all four sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochInterface {
    /// Interface.
    pub interface: String,
    /// Everything that passed the hook.
    pub hook: Sums,
    /// Of that, what has a flow.
    pub flows: Sums,
    /// What the flow table had no place for.
    pub overflow: Sums,
    /// What has no flow.
    pub unparsed: Sums,
    /// Of flows and overflow, what the policy denied and enforce mode dropped; and of the unparsed, what was dropped.
    pub dropped: Sums,
}

/// The epoch closed last, and what it counted alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStatus {
    /// Its number: from 0 at each start of the daemon.
    pub number: u32,
    /// Began when, RFC 3339.
    pub began: String,
    /// Closed when.
    pub closed: String,
    /// Epochs closed since the start.
    pub count: u64,
    /// Flows in it.
    pub flows: usize,
    /// The kernel's flow table. A flow that a CPU and the table have, or several CPUs, counts in each.
    pub flow_table: Places,
    /// The flow caches of all CPUs.
    pub flow_cache: Places,
    /// Ring-buffer events that it lost.
    pub events_lost: u64,
    /// By interface.
    pub interfaces: Vec<EpochInterface>,
    /// By interface, country, class and verdict.
    pub totals: Vec<GroupStatus>,
}

/// What was lost, by kind; every one is 0 on a good day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Ring-buffer events; their alerts were rebuilt.
    pub events: u64,
    /// Packets counted by country but not by flow: the kernel's table was full.
    pub overflow_packets: u64,
    /// Flows summed up because the store was full.
    pub flows_evicted: u64,
    /// Alert lines that a sink did not take.
    pub alerts_unwritten: u64,
    /// Alert lines that found the queue full.
    pub alerts_queue_full: u64,
    /// Flows that got no alert because their epoch had too many; one that goes on is counted in each such epoch.
    pub alerts_suppressed: u64,
    /// Epochs that could not be closed in time (their traffic comes with the next).
    pub epochs_failed: u64,
    /// Reloads refused.
    pub reloads_refused: u64,
    /// Of these, policies that failed their check in the kernel and were taken back.
    pub policies_rolled_back: u64,
    /// Policies that nobody confirmed in time.
    pub policies_returned: u64,
}

/// Alerts made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCount {
    /// Severity.
    pub severity: String,
    /// `egress` or a condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// A condition that holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionStatus {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Host name.
    pub host: String,
    /// Boot of the host, as the kernel names it.
    pub boot_id: String,
    /// Time of this document, RFC 3339.
    pub time: String,
    /// Running since, RFC 3339. Every count here is since then and only grows: another `started` or `boot_id` says that
    /// it began anew.
    pub started: String,
    /// The same in seconds.
    pub uptime_seconds: i64,
    /// `observe` or `enforce`.
    pub mode: String,
    /// `zone.name`.
    pub zone: String,
    /// `zone.inside` as written.
    pub inside: String,
    /// Why it is not to be relied on; none when it is.
    pub not_ready: Option<String>,
    /// What is wrong now.
    pub conditions: Vec<ConditionStatus>,
    /// The policy.
    pub policy: PolicyStatus,
    /// Whether it is on trial, until when, and what comes back then; none: it stays.
    pub unconfirmed: Option<UnconfirmedStatus>,
    /// Rules that begin, end within 30 days or have ended, soonest first: at most 50.
    pub rule_times: Vec<Upcoming>,
    /// How many more there are.
    pub rule_times_left_out: usize,
    /// Why the last reload was refused.
    pub reload_error: Option<String>,
    /// Datasets.
    pub datasets: Vec<DatasetStatus>,
    /// The dataset of autonomous systems; none where none is named.
    pub asn: Option<DatasetStatus>,
    /// Interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// The last epoch.
    pub epoch: Option<EpochStatus>,
    /// Sums of what was classified since the start.
    pub totals: Vec<GroupStatus>,
    /// What was not.
    pub unparsed: Vec<UnparsedStatus>,
    /// Losses.
    pub losses: Losses,
    /// Alerts.
    pub alerts: Vec<AlertCount>,
    /// What can't be seen.
    pub blind_spots: Vec<String>,
}

/// Rules listed that begin or end.
const RULE_TIMES: usize = 50;

/// What the monitor can't see, for every report.
pub const BLIND_SPOTS: [&str; 4] = [
    "traffic that no kernel interface of this host carries: DPDK/VFIO, RDMA, SR-IOV virtual functions given to a \
     guest, the BMC, hardware flow offload",
    "a screen inside the region that somebody outside looks at from afar",
    "what an encrypted tunnel carries: only its outer destination is known",
    "root on this host can detach anything",
];

/// The document at `now` (UTC nanoseconds since 1970).
#[must_use]
pub fn status(facts: &Facts, host: &str, now: i128) -> Status {
    let seconds_since = |then: i128| i64::try_from((now - then) / 1_000_000_000).unwrap_or(0);
    let in_force = &facts.in_force;
    let rule_times = upcoming(&in_force.policy.rules, i64::try_from(now / 1_000_000_000).unwrap_or(i64::MAX));
    let totals = &facts.traffic.totals;
    let names = &facts.traffic.identities.interfaces;
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        host: host.into(),
        boot_id: facts.boot_id.clone(),
        time: rfc3339(now),
        started: rfc3339(facts.started),
        uptime_seconds: seconds_since(facts.started),
        mode: if in_force.enforce { "enforce" } else { "observe" }.into(),
        zone: in_force.policy.zone.clone(),
        inside: in_force.inside.clone(),
        not_ready: facts.not_ready(now),
        conditions: facts
            .conditions
            .iter()
            .map(|(kind, since)| ConditionStatus { kind: (*kind).into(), since: rfc3339(*since) })
            .collect(),
        policy: PolicyStatus {
            digest: in_force.policy.digest.clone(),
            since: rfc3339(in_force.since),
            age_seconds: seconds_since(in_force.since),
            rules: in_force.policy.rules.len(),
            never_hit: never_hit(facts),
            suspended: in_force.policy.suspended_rules().map(|rule| rule.id.clone()).collect(),
            shadow: shadow(facts),
        },
        rule_times_left_out: rule_times.len().saturating_sub(RULE_TIMES),
        rule_times: rule_times.into_iter().take(RULE_TIMES).collect(),
        unconfirmed: facts.unconfirmed.as_ref().map(|one| one.status(now)),
        reload_error: facts.reload_error.clone(),
        datasets: in_force.datasets.iter().map(|one| dataset(one, now)).collect(),
        asn: in_force.policy.asn.as_ref().map(|asn| {
            let About { name, version, built, .. } = &asn.about;
            dataset(&DatasetInfo { name: name.clone(), version: version.clone(), built: *built }, now)
        }),
        interfaces: interfaces(facts),
        epoch: facts.last.map(|last| epoch(facts, &last)),
        totals: groups(totals, names),
        unparsed: totals
            .unparsed
            .iter()
            .map(|((name, reason), tally)| UnparsedStatus {
                interface: names.get(*name).into(),
                reason: reason.name().into(),
                passed: (&tally.passed).into(),
                dropped: (&tally.dropped).into(),
            })
            .collect(),
        losses: Losses {
            events: totals.events_lost,
            overflow_packets: totals.overflow.values().map(|counters| counters.packets).sum(),
            flows_evicted: facts.traffic.kept.evicted.flows,
            alerts_unwritten: facts.sinks.failed.load(Relaxed),
            alerts_queue_full: facts.sinks.queue_full.load(Relaxed),
            alerts_suppressed: facts.alerts_suppressed,
            epochs_failed: facts.flip_failures,
            reloads_refused: facts.reload_failures,
            policies_rolled_back: facts.rollbacks,
            policies_returned: facts.returns,
        },
        alerts: facts
            .alerts
            .iter()
            .map(|((severity, kind), count)| AlertCount {
                severity: (*severity).into(),
                kind: (*kind).into(),
                count: *count,
            })
            .collect(),
        blind_spots: BLIND_SPOTS.map(str::to_owned).to_vec(),
    }
}

fn dataset(of: &DatasetInfo, now: i128) -> DatasetStatus {
    let age = of.age_seconds(now);
    DatasetStatus {
        name: of.name.clone(),
        version: of.version.clone(),
        built: of.built.map(|built| rfc3339(i128::from(built) * 1_000_000_000)),
        age_days: age.map(|age| age / 86_400),
        stale: age.is_some_and(|age| age > STALE_AFTER),
    }
}

fn never_hit(facts: &Facts) -> usize {
    let (hits, names) = (&facts.traffic.totals.rules, &facts.traffic.identities.rules);
    let rules = facts.in_force.policy.rules.iter();
    rules.filter(|rule| names.find(&rule.id).is_none_or(|name| !hits.contains_key(&name))).count()
}

fn groups(totals: &Totals, names: &Names) -> Vec<GroupStatus> {
    let row = |(group, counters): (&Group, &Counters)| GroupStatus {
        interface: names.get(group.interface).into(),
        country: group.country.to_string(),
        class: group.kind.name().into(),
        verdict: group.verdict.name().into(),
        sums: counters.into(),
    };
    totals.groups.iter().map(row).collect()
}

fn epoch(facts: &Facts, last: &LastEpoch) -> EpochStatus {
    let latest = &facts.traffic.latest;
    let names = &facts.traffic.identities.interfaces;
    let interface = |(name, hook): (&Name, &Counters)| {
        let mut of = EpochInterface { interface: names.get(*name).into(), hook: hook.into(), ..Default::default() };
        let mut classified = Counters::default();
        for (group, counters) in latest.groups.iter().filter(|(group, _)| group.interface == *name) {
            classified.add(counters);
            if group.verdict == Verdict::Denied {
                of.dropped.add(counters);
            }
        }
        for (_, counters) in latest.overflow.iter().filter(|(group, _)| group.interface == *name) {
            of.overflow.add(counters);
        }
        for (_, tally) in latest.unparsed.iter().filter(|((interface, _), _)| interface == name) {
            of.unparsed.add(&tally.passed);
            of.unparsed.add(&tally.dropped);
            of.dropped.add(&tally.dropped);
        }
        // The groups hold what overflowed, too.
        of.flows = Sums {
            packets: classified.packets - of.overflow.packets,
            segments: classified.segments - of.overflow.segments,
            bytes: classified.bytes - of.overflow.bytes,
            wire_bytes: classified.wire_bytes - of.overflow.wire_bytes,
        };
        of
    };
    EpochStatus {
        number: last.epoch,
        began: rfc3339(last.started),
        closed: rfc3339(last.ended),
        count: facts.traffic.totals.epochs,
        flows: last.flows,
        flow_table: last.fill.table,
        flow_cache: last.fill.cache,
        events_lost: latest.events_lost,
        interfaces: latest.hook.iter().map(interface).collect(),
        totals: groups(latest, names),
    }
}

/// Attached interfaces, and those that were or that nobody registered if anything was counted there.
fn interfaces(facts: &Facts) -> Vec<InterfaceStatus> {
    let totals = &facts.traffic.totals;
    let names = &facts.traffic.identities.interfaces;
    let mut list: Vec<InterfaceStatus> = facts
        .attachments
        .iter()
        .map(|attached| InterfaceStatus {
            interface: attached.interface.clone(),
            hook: Some(attached.hook.clone()),
            since: Some(rfc3339(attached.since)),
            state: Some(state(facts.standing(&attached.interface)).into()),
            ..InterfaceStatus::default()
        })
        .collect();
    for (name, hook) in &totals.hook {
        let interface = names.get(*name);
        let residual: Sums = totals.residual.get(name).map(Sums::from).unwrap_or_default();
        match list.iter_mut().find(|listed| listed.interface == interface) {
            Some(listed) => (listed.total, listed.residual) = (hook.into(), residual),
            None if hook.is_zero() && residual == Sums::default() => {}
            None => list.push(InterfaceStatus {
                interface: interface.into(),
                total: hook.into(),
                residual,
                state: facts.standing(interface).map(|standing| state(Some(standing)).into()),
                ..InterfaceStatus::default()
            }),
        }
    }
    for listed in &mut list {
        let name = totals.dropped.iter().find(|(name, _)| names.get(**name) == listed.interface);
        listed.dropped = name.map(|(_, sums)| sums.into()).unwrap_or_default();
        let Some(standing) = facts.standing(&listed.interface) else { continue };
        listed.nic = Some(standing.into());
        if let Presence::Attached { ahead } = standing.presence {
            listed.ahead = ahead;
        }
    }
    list
}

/// See [`InterfaceStatus::state`].
fn state(standing: Option<&Standing>) -> &'static str {
    match standing {
        Some(standing) if !standing.here => "gone",
        Some(Standing { presence: Presence::Detached, .. }) => "detached",
        Some(Standing { presence: Presence::Unknown, .. }) => "unknown",
        // Before the first epoch is closed: nobody has looked again.
        Some(Standing { presence: Presence::Attached { .. }, .. }) | None => "attached",
    }
}
