//! [`MonitorState`] in, the [`Status`] of one moment out. Called where the document is served and where `run` ends.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use monitor_common::{bypass::Bypass, verdict::Verdict, wire::Counters};

use super::rules::never_hit;
use crate::{
    http::documents::{coverage::devices, shadow::frame},
    model::{
        FindingKind, InterfaceAccount, TamperReport,
        delivery::SinkState,
        flow::Group,
        identities::{Name, Names},
        in_force::DatasetInfo,
        open_sockets::{OpenSocket, OpenSockets},
        readings::Presence,
        rfc3339, seconds,
        tamper::Tampering,
    },
    store::{MonitorState, state::LastEpoch, totals::Totals},
};
use monitor_api::blind_spots::BLIND_SPOTS;
use monitor_api::status::{
    AlertCount, BypassOpen, BypassRefused, DatasetStatus, EpochInterface, EpochStatus, FindingStatus, GroupStatus,
    HelperStatus, InterfaceStatus, Losses, NicStatus, OpenSocketStatus, PolicyStatus, ShadowStatus, SinkStatus, Status,
    Sums, TamperStatus, TamperedStatus, UnparsedStatus,
};
use monitor_policy::{geo::About, times::upcoming};

/// Rules listed that begin or end.
const RULE_TIMES: usize = 50;

/// The document at `now` (UTC nanoseconds since 1970).
pub fn status(state: &MonitorState, host: &str, now: i128) -> Status {
    let seconds_since = |then: i128| i64::try_from((now - then) / 1_000_000_000).unwrap_or(0);
    let in_force = &state.in_force;
    let rule_times = upcoming(&in_force.policy.rules, seconds(now + state.clock.ahead));
    let totals = &state.traffic.totals;
    let names = &state.traffic.identities.interfaces;
    let (coverage, coverage_left_out) = devices(&state.coverage);
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        host: host.into(),
        boot_id: state.host.boot_id.clone(),
        device_uid: state.host.uid.clone(),
        time: rfc3339(now),
        started: rfc3339(state.started),
        uptime_seconds: seconds_since(state.started),
        totals_since: rfc3339(state.since),
        kernel_memory_bytes: state.kernel_memory,
        bypass_refused: BypassRefused {
            packet: state.bypass_refused[Bypass::Packet as usize],
            xdp: state.bypass_refused[Bypass::Xdp as usize],
        },
        bypass_open: bypass_open(state),
        mode: in_force.mode.name().into(),
        mode_by_hand: in_force.by_hand.as_ref().map(|by_hand| by_hand.document(now)),
        zone: in_force.policy.zone.clone(),
        inside: in_force.inside.clone(),
        not_ready: state.not_ready(Instant::now()),
        findings: state
            .findings
            .iter()
            .map(|(kind, since)| FindingStatus {
                kind: kind.name().into(),
                severity: kind.severity().name().into(),
                title: kind.title().into(),
                hint: kind.hint().into(),
                since: rfc3339(*since),
            })
            .collect(),
        policy: PolicyStatus {
            digest: in_force.policy.digest.clone(),
            since: rfc3339(in_force.since),
            age_seconds: seconds_since(in_force.since),
            rules: in_force.policy.rules.len(),
            never_hit: never_hit(state).count(),
            suspended: in_force.policy.suspended_rules().map(|rule| rule.id.clone()).collect(),
            shadow: shadow(state),
            last_good: in_force.last_good_status(),
        },
        rule_times_left_out: rule_times.len().saturating_sub(RULE_TIMES),
        rule_times: rule_times.into_iter().take(RULE_TIMES).collect(),
        unconfirmed: state.unconfirmed.as_ref().map(|one| one.status(now)),
        reload_error: state.reload_error.clone(),
        state_error: state.state_error.clone(),
        helper: helper(state),
        clock: state.clock.document(),
        datasets: in_force.datasets.iter().map(|one| dataset(one, now)).collect(),
        asn: in_force.policy.asn.as_ref().map(|asn| {
            let About { name, version, built, .. } = &asn.about;
            dataset(&DatasetInfo { name: name.clone(), version: version.clone(), built: *built }, now)
        }),
        tamper: tamper(&state.tamper),
        interfaces: interfaces(state),
        coverage,
        coverage_left_out,
        epoch: state.last.map(|last| epoch(state, &last)),
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
            flows_evicted: state.traffic.kept.evicted.flows,
            alerts_unwritten: state.delivery.gone.load(Relaxed),
            alerts_queue_full: state.delivery.lost.load(Relaxed),
            epochs_failed: state.flip_failures,
            reloads_refused: state.reload_failures,
            policies_rolled_back: state.rollbacks,
            policies_reverted: state.reverts,
        },
        alerts: state
            .alerts
            .iter()
            .map(|((severity, kind), count)| AlertCount {
                severity: (*severity).into(),
                kind: (*kind).into(),
                count: *count,
            })
            .collect(),
        sinks: sinks(state, now),
        blind_spots: BLIND_SPOTS.map(str::to_owned).to_vec(),
    }
}

fn sinks(state: &MonitorState, now: i128) -> Vec<SinkStatus> {
    let delivery = &state.delivery;
    let of = |sink: &Arc<SinkState>| SinkStatus {
        name: sink.name.clone(),
        kind: sink.kind.into(),
        promise: sink.promise.name().into(),
        backlog: delivery.backlog(sink),
        oldest_seconds: delivery.waits(sink, (now / 1_000_000) as i64),
    };
    delivery.sinks().iter().map(of).collect()
}

/// Sockets listed that are open.
const OPEN_SOCKETS: usize = 64;

fn bypass_open(state: &MonitorState) -> BypassOpen {
    let OpenSockets { sockets, unlisted } = &state.bypass_open;
    let socket = |of: &OpenSocket| OpenSocketStatus {
        kind: of.kind.name().into(),
        inode: of.inode,
        user: of.user,
        interface: state.coverage.name(of.ifindex),
        held_by: state.neighbours.holders(of.inode),
    };
    BypassOpen {
        sockets: sockets.iter().take(OPEN_SOCKETS).map(socket).collect(),
        left_out: sockets.len().saturating_sub(OPEN_SOCKETS),
        unlisted_xdp: *unlisted,
    }
}

/// Takes out what is of the policy, and of its files.
pub fn without_policy(status: &mut Status) {
    let refused = status.policy.shadow.as_mut().map(|shadow| &mut shadow.refused);
    for why in refused.into_iter().chain([&mut status.reload_error]).flatten() {
        *why = "refused; why is told to the role 'auditor'".into();
    }
    let why = "why is told to the role 'auditor'";
    let last_good = status.policy.last_good.as_mut().map(|of| &mut of.refused);
    let by_hand = status.mode_by_hand.as_mut().map(|of| &mut of.reason);
    for text in last_good.into_iter().chain(by_hand).chain(&mut status.state_error) {
        *text = why.into();
    }
    status.helper.why = None;
    status.interfaces.iter_mut().for_each(|interface| interface.programs_ahead.clear());
    status.bypass_open.left_out += status.bypass_open.sockets.len();
    status.bypass_open.sockets.clear();
    for one in status.tamper.open.iter_mut().chain(&mut status.tamper.last) {
        one.what = why.into();
    }
    status.rule_times_left_out += status.rule_times.len();
    status.rule_times.clear();
}

fn helper(state: &MonitorState) -> HelperStatus {
    let last = state.neighbours.helper.as_ref();
    HelperStatus { answers: last.map(Result::is_ok), why: last.and_then(|last| last.as_ref().err()).cloned() }
}

fn shadow(state: &MonitorState) -> Option<ShadowStatus> {
    let page = frame(state);
    let there = page.shadow.is_some() || page.refused.is_some();
    there.then(|| ShadowStatus {
        digest: page.shadow.map(|candidate| candidate.digest),
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

fn tamper(report: &TamperReport) -> TamperStatus {
    let of = |one: &Tampering| TamperedStatus {
        kind: one.sighting.kind.name().into(),
        what: one.text(),
        since: rfc3339(one.since),
    };
    let contended = |(kind, subject): &(FindingKind, String)| match subject.as_str() {
        "" => kind.name().to_owned(),
        subject => format!("{} on {subject}", kind.name()),
    };
    TamperStatus {
        looked: (report.looked != 0).then(|| rfc3339(report.looked)),
        compared: report.compared.map(rfc3339),
        found: report.times.values().map(|times| times.found).sum(),
        healed: report.times.values().map(|times| times.healed).sum(),
        open: report.open.iter().map(of).collect(),
        contended: report.contended.iter().map(contended).collect(),
        last: report.last.as_ref().map(of),
    }
}

fn groups(totals: &Totals, names: &Names<Name>) -> Vec<GroupStatus> {
    let row = |(group, counters): (&Group, &Counters)| GroupStatus {
        interface: names.get(group.interface).into(),
        country: group.country.to_string(),
        class: group.class.name().into(),
        verdict: group.verdict.name().into(),
        sums: counters.into(),
    };
    totals.groups.iter().map(row).collect()
}

fn epoch(state: &MonitorState, last: &LastEpoch) -> EpochStatus {
    let latest = &state.traffic.latest;
    let names = &state.traffic.identities.interfaces;
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
        count: state.traffic.totals.epochs,
        flows: last.flows,
        flow_table: last.fill.table,
        flow_cache: last.fill.cache,
        flow_log: last.fill.log,
        events_lost: latest.events_lost,
        interfaces: latest.hook.iter().map(interface).collect(),
        totals: groups(latest, names),
    }
}

/// Attached interfaces, and those that were or that nobody registered if anything was counted there.
fn interfaces(state: &MonitorState) -> Vec<InterfaceStatus> {
    let totals = &state.traffic.totals;
    let names = &state.traffic.identities.interfaces;
    let mut list: Vec<InterfaceStatus> = state
        .attachments
        .iter()
        .map(|attached| InterfaceStatus {
            interface: attached.interface.clone(),
            hook: Some(attached.hook.clone()),
            role: state.coverage.role(attached.ifindex).map(|role| role.name().into()),
            since: Some(rfc3339(attached.since)),
            state: Some(attachment(state.account(&attached.interface)).into()),
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
                role: totals.roles.get(name).map(|role| role.name().into()),
                state: state.account(interface).map(|account| attachment(Some(account)).into()),
                ..InterfaceStatus::default()
            }),
        }
    }
    for listed in &mut list {
        let name = totals.dropped.iter().find(|(name, _)| names.get(**name) == listed.interface);
        listed.dropped = name.map(|(_, sums)| sums.into()).unwrap_or_default();
        let Some(account) = state.account(&listed.interface) else { continue };
        listed.nic = Some(nic(account));
        if let Presence::Attached { ahead } = &account.presence {
            listed.ahead = ahead.len() as u32;
            listed.programs_ahead = ahead.iter().map(|id| state.neighbours.program(*id)).collect();
        }
    }
    list
}

/// What the device counted, beside the hook.
fn nic(account: &InterfaceAccount) -> NicStatus {
    NicStatus {
        counts: account.unit.name().into(),
        sent: account.sent,
        before_attach: account.before_attach,
        while_attaching: account.while_attaching,
        dropped_by_us: account.dropped,
        qdisc_drops: account.qdisc_drops,
        in_flight: account.waiting,
        device_drops: account.device_drops,
        filtered: account.filtered,
        lost: account.lost,
        hidden_at_most: account.hidden,
        not_comparable: account.not_comparable.map(str::to_owned),
        unaccounted: account.unaccounted,
    }
}

/// See [`InterfaceStatus::state`].
fn attachment(account: Option<&InterfaceAccount>) -> &'static str {
    match account {
        Some(account) if !account.here => "gone",
        Some(InterfaceAccount { presence: Presence::Detached, .. }) => "detached",
        Some(InterfaceAccount { presence: Presence::Unknown, .. }) => "unknown",
        // Before the first epoch is closed: nobody has looked again.
        Some(InterfaceAccount { presence: Presence::Attached { .. }, .. }) | None => "attached",
    }
}
