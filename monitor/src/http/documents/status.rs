//! [`MonitorState`] in, the [`Status`] of one moment out. Called where the document is served and where `run` ends.

use std::sync::atomic::Ordering::Relaxed;

use monitor_common::{verdict::Verdict, wire::Counters};

use crate::{
    http::documents::shadow::frame,
    model::{
        self, InterfaceAccount,
        flow::Group,
        identities::{Name, Names},
        in_force::DatasetInfo,
        readings::{self, Presence},
        rfc3339,
    },
    store::{MonitorState, state::LastEpoch, totals::Totals},
};
use monitor_api::status::{
    AlertCount, Amount, BLIND_SPOTS, ConditionStatus, DatasetStatus, EpochInterface, EpochStatus, GroupStatus,
    InterfaceStatus, Losses, NicStatus, Places, PolicyStatus, ShadowStatus, Status, Sums, UnparsedStatus,
};
use monitor_policy::{geo::About, times::upcoming};

/// Rules listed that begin or end.
const RULE_TIMES: usize = 50;

/// The document at `now` (UTC nanoseconds since 1970).
#[must_use]
pub fn status(facts: &MonitorState, host: &str, now: i128) -> Status {
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
        mode: in_force.mode.name().into(),
        zone: in_force.policy.zone.clone(),
        inside: in_force.inside.clone(),
        not_ready: facts.not_ready(now),
        conditions: facts
            .findings
            .iter()
            .map(|(kind, since)| ConditionStatus { kind: kind.name().into(), since: rfc3339(*since) })
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
            .map(|((name, reason), reason_sums)| UnparsedStatus {
                interface: names.get(*name).into(),
                reason: reason.name().into(),
                passed: (&reason_sums.passed).into(),
                dropped: (&reason_sums.dropped).into(),
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
            policies_reverted: facts.reverts,
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

fn shadow(facts: &MonitorState) -> Option<ShadowStatus> {
    let page = frame(facts);
    let there = page.candidate.is_some() || page.refused.is_some();
    there.then(|| ShadowStatus {
        digest: page.candidate.map(|candidate| candidate.digest),
        refused: page.refused,
        since: page.since,
        stricter: page.stricter,
        looser: page.looser,
    })
}

fn dataset(of: &DatasetInfo, now: i128) -> DatasetStatus {
    let age = of.age_seconds(now);
    DatasetStatus {
        name: of.name.clone(),
        version: of.version.clone(),
        built: of.built.map(|built| rfc3339(i128::from(built) * 1_000_000_000)),
        age_days: age.map(|age| age / 86_400),
        stale: of.is_stale(now),
    }
}

fn never_hit(facts: &MonitorState) -> usize {
    let (hits, names) = (&facts.traffic.totals.rules, &facts.traffic.identities.rules);
    let rules = facts.in_force.policy.rules.iter();
    rules.filter(|rule| names.find(&rule.id).is_none_or(|name| !hits.contains_key(&name))).count()
}

fn groups(totals: &Totals, names: &Names) -> Vec<GroupStatus> {
    let row = |(group, counters): (&Group, &Counters)| GroupStatus {
        interface: names.get(group.interface).into(),
        country: group.country.to_string(),
        class: group.class.name().into(),
        verdict: group.verdict.name().into(),
        sums: counters.into(),
    };
    totals.groups.iter().map(row).collect()
}

fn epoch(facts: &MonitorState, last: &LastEpoch) -> EpochStatus {
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
        for (_, reason_sums) in latest.unparsed.iter().filter(|((interface, _), _)| interface == name) {
            of.unparsed.add(&reason_sums.passed);
            of.unparsed.add(&reason_sums.dropped);
            of.dropped.add(&reason_sums.dropped);
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
        flow_table: places(last.fill.table),
        flow_cache: places(last.fill.cache),
        events_lost: latest.events_lost,
        interfaces: latest.hook.iter().map(interface).collect(),
        totals: groups(latest, names),
    }
}

/// Attached interfaces, and those that were or that nobody registered if anything was counted there.
fn interfaces(facts: &MonitorState) -> Vec<InterfaceStatus> {
    let totals = &facts.traffic.totals;
    let names = &facts.traffic.identities.interfaces;
    let mut list: Vec<InterfaceStatus> = facts
        .attachments
        .iter()
        .map(|attached| InterfaceStatus {
            interface: attached.interface.clone(),
            hook: Some(attached.hook.clone()),
            since: Some(rfc3339(attached.since)),
            state: Some(state(facts.account(&attached.interface)).into()),
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
                state: facts.account(interface).map(|account| state(Some(account)).into()),
                ..InterfaceStatus::default()
            }),
        }
    }
    for listed in &mut list {
        let name = totals.dropped.iter().find(|(name, _)| names.get(**name) == listed.interface);
        listed.dropped = name.map(|(_, sums)| sums.into()).unwrap_or_default();
        let Some(account) = facts.account(&listed.interface) else { continue };
        listed.nic = Some(nic(account));
        if let Presence::Attached { ahead } = account.presence {
            listed.ahead = ahead;
        }
    }
    list
}

fn amount(of: readings::Amount) -> Amount {
    Amount { packets: of.packets, bytes: of.bytes }
}

fn places(of: model::Occupancy) -> Places {
    Places { used: of.used, places: of.capacity }
}

/// What the device counted, beside the hook.
fn nic(account: &InterfaceAccount) -> NicStatus {
    NicStatus {
        counts: account.unit.name().into(),
        sent: amount(account.sent),
        before_attach: amount(account.before_attach),
        while_attaching: amount(account.while_attaching),
        dropped_by_us: amount(account.dropped),
        qdisc_drops: account.qdisc_drops,
        in_flight: account.waiting,
        lost: account.lost,
        unaccounted: amount(account.unaccounted),
    }
}

/// See [`InterfaceStatus::state`].
fn state(account: Option<&InterfaceAccount>) -> &'static str {
    match account {
        Some(account) if !account.here => "gone",
        Some(InterfaceAccount { presence: Presence::Detached, .. }) => "detached",
        Some(InterfaceAccount { presence: Presence::Unknown, .. }) => "unknown",
        // Before the first epoch is closed: nobody has looked again.
        Some(InterfaceAccount { presence: Presence::Attached { .. }, .. }) | None => "attached",
    }
}
