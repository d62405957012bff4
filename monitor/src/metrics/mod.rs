//! [`MonitorState`] in, Prometheus text out. Rendered from the state at each scrape, under its lock, so that what one
//! scrape shows adds up: Σ `packets_total` + Σ `unparsed_packets_total` = Σ `hook_packets_total`. Called by the API.
//! Which metrics there are is in `families`. Counters that alerts are built on are there from the start: of a series
//! that begins with its first value, `increase()` sees nothing.

mod delivery;
mod families;
mod traffic;

use std::collections::BTreeMap;

use monitor_common::{bypass::Bypass, verdict::Verdict};
use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use self::families::{Counter, Family, Gauge, PREFIX};
use crate::{
    model::{
        FindingKind, InterfaceAccount,
        coverage::Role,
        flow::GroupSums,
        identities::{NameNumber as _, RuleName},
        incident::IncidentKind,
        seconds,
        severity::Severity,
        tamper::KINDS,
    },
    store::MonitorState,
};
use monitor_policy::{
    text::plain,
    times::{WARN_DAYS, upcoming},
};

/// A registry that lives for one scrape.
struct Page(Registry);

impl Page {
    fn counter(&self, of: &Counter) -> prometheus::Result<IntCounterVec> {
        let counter = IntCounterVec::new(options(&of.0), of.0.labels)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauge(&self, of: &Gauge) -> prometheus::Result<IntGaugeVec> {
        let gauge = IntGaugeVec::new(options(&of.0), of.0.labels)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    /// A counter without labels.
    fn count(&self, of: &Counter, value: u64) -> prometheus::Result<()> {
        self.counter(of)?.with_label_values::<&str>(&[]).inc_by(value);
        Ok(())
    }

    /// A gauge without labels.
    fn set(&self, of: &Gauge, value: i64) -> prometheus::Result<()> {
        self.gauge(of)?.with_label_values::<&str>(&[]).set(value);
        Ok(())
    }
}

fn options(of: &Family) -> Opts {
    Opts::new(format!("{PREFIX}{}", of.name), of.help)
}

/// The page for `/metrics` at `now` (UTC nanoseconds since 1970).
///
/// # Errors
/// Never in practice: a defect of ours.
pub fn render(state: &MonitorState, now: i128) -> prometheus::Result<String> {
    let page = Page(Registry::new());
    traffic::traffic(&page, state)?;
    health(&page, state)?;
    alerts(&page, state)?;
    tampering(&page, state)?;
    devices(&page, state)?;
    nics(&page, state)?;
    policy(&page, state, now)?;
    rules(&page, state)?;
    shadow(&page, state)?;
    delivery::delivery(&page, state, now)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.0.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

fn health(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let last = state.last.unwrap_or_default();
    let whole = |number: usize| gauge(number as u64);
    page.set(&families::EPOCH_FLOWS, whole(last.flows))?;
    page.set(&families::FLOW_TABLE_ENTRIES, whole(last.fill.table.used))?;
    page.set(&families::FLOW_TABLE_CAPACITY, last.fill.table.capacity.into())?;
    page.set(&families::FLOW_CACHE_ENTRIES, whole(last.fill.cache.used))?;
    page.set(&families::FLOW_CACHE_CAPACITY, last.fill.cache.capacity.into())?;
    page.set(&families::KERNEL_MEMORY, gauge(state.kernel_memory))?;
    page.set(&families::FLOW_STORE_ENTRIES, whole(state.traffic.kept.flows))?;
    page.set(&families::EPOCH, last.epoch.into())?;
    page.set(&families::EPOCH_CLOSED, seconds(last.ended))?;
    page.count(&families::EPOCHS, state.traffic.totals.epochs)?;
    page.count(&families::EPOCH_FAILURES, state.flip_failures)?;
    page.count(&families::POLICY_RELOAD_FAILURES, state.reload_failures)?;
    page.count(&families::POLICY_ROLLBACKS, state.rollbacks)?;
    page.count(&families::POLICY_REVERTS, state.reverts)?;
    page.set(&families::POLICY_UNCONFIRMED, state.unconfirmed.is_some().into())?;
    page.set(&families::STARTED, seconds(state.started))?;
    page.set(&families::TOTALS_SINCE, seconds(state.since))?;
    if let Some(synchronised) = state.clock.synchronised {
        page.set(&families::CLOCK_SYNCHRONISED, synchronised.into())?;
    }
    page.set(&families::CLOCK_BEHIND, seconds(state.clock.ahead))?;
    page.count(&families::CLOCK_JUMPS, state.clock.jumps)?;
    let refused = page.counter(&families::BYPASS_REFUSED)?;
    for (of, times) in Bypass::ALL.into_iter().zip(state.bypass_refused) {
        refused.with_label_values(&[of.name()]).inc_by(times);
    }
    let attached = page.gauge(&families::ATTACHED)?;
    for one in &state.attachments {
        let counted = state.is_counted(&one.interface);
        attached.with_label_values(&[one.interface.as_str(), one.hook.as_str()]).set(counted.into());
    }
    Ok(())
}

/// The severities that alerts on incidents have.
const INCIDENTS: [Severity; 4] = [Severity::Informational, Severity::Low, Severity::Medium, Severity::High];

fn alerts(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let alerts = page.counter(&families::ALERTS)?;
    let open = page.gauge(&families::INCIDENTS_OPEN)?;
    for kind in IncidentKind::ALL {
        for severity in INCIDENTS {
            alerts.with_label_values(&[severity.name(), kind.name()]);
        }
        let of_kind = state.incidents.values().filter(|incident| incident.kind == kind).count();
        open.with_label_values(&[kind.name()]).set(gauge(of_kind as u64));
    }
    for kind in FindingKind::ALL {
        for severity in kind.severities() {
            alerts.with_label_values(&[severity.name(), kind.name()]);
        }
    }
    for ((severity, kind), count) in &state.alerts {
        alerts.with_label_values(&[severity, kind]).inc_by(*count);
    }
    let attribution = page.counter(&families::ATTRIBUTION)?;
    for (method, count) in state.attributions.counts() {
        attribution.with_label_values(&[method.name()]).inc_by(count);
    }
    Ok(())
}

fn tampering(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let report = &state.tamper;
    let found = page.counter(&families::TAMPERING_FOUND)?;
    let healed = page.counter(&families::TAMPERING_HEALED)?;
    let open = page.gauge(&families::TAMPERING_OPEN)?;
    let contended = page.gauge(&families::TAMPERING_CONTENDED)?;
    for kind in KINDS {
        let times = report.times.get(&kind).copied().unwrap_or_default();
        found.with_label_values(&[kind.name()]).inc_by(times.found);
        healed.with_label_values(&[kind.name()]).inc_by(times.healed);
        let is_open = report.open.iter().any(|one| one.sighting.kind == kind);
        open.with_label_values(&[kind.name()]).set(is_open.into());
        contended.with_label_values(&[kind.name()]).set(report.contended.iter().any(|(of, _)| *of == kind).into());
    }
    page.set(&families::TAMPERING_LOOKED, seconds(report.looked))?;
    page.set(&families::TAMPERING_COMPARED, seconds(report.compared.unwrap_or(0)))
}

/// Devices with series of their own. Guests that are not watched come last: of these a host may have thousands, with
/// other names each day.
const DEVICE_SERIES: usize = 1_024;

fn devices(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let number = page.gauge(&families::DEVICES)?;
    for role in Role::ALL {
        for watched in ["0", "1"] {
            number.with_label_values(&[role.name(), watched]).set(0);
        }
    }
    let watched = page.gauge(&families::DEVICE_WATCHED)?;
    let unwatched = page.counter(&families::DEVICE_UNWATCHED_PACKETS)?;
    let shown = state.coverage.devices.iter().filter(|device| device.up || device.wanted || device.since.is_some());
    let (last, first): (Vec<_>, Vec<_>) =
        shown.partition(|device| device.role == Role::Guest && device.since.is_none() && !device.wanted);
    for (device, at) in first.into_iter().chain(last).zip(0..) {
        let is_watched = device.since.is_some();
        number.with_label_values(&[device.role.name(), if is_watched { "1" } else { "0" }]).inc();
        if at < DEVICE_SERIES {
            watched.with_label_values(&[device.name.as_str(), device.role.name()]).set(is_watched.into());
            let packets = if is_watched || !device.wanted { 0 } else { device.unwatched.packets };
            unwatched.with_label_values(&[device.name.as_str()]).inc_by(packets);
        }
    }
    Ok(())
}

fn nics(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    type Number = fn(&InterfaceAccount) -> u64;
    let counters: [(Counter, Number); 8] = [
        (families::NIC_PACKETS, |nic| nic.sent.packets),
        (families::NIC_BYTES, |nic| nic.sent.bytes),
        (families::NIC_UNACCOUNTED_PACKETS, |nic| nic.unaccounted.packets),
        (families::NIC_UNACCOUNTED_BYTES, |nic| nic.unaccounted.bytes),
        (families::NIC_LOST_PACKETS, |nic| nic.lost),
        (families::NIC_DROPPED_PACKETS, |nic| nic.device_drops),
        (families::NIC_FILTERED_PACKETS, |nic| nic.filtered),
        (families::QDISC_DROPPED_PACKETS, |nic| nic.qdisc_drops),
    ];
    for (family, value) in counters {
        let series = page.counter(&family)?;
        // Before the first epoch there is no account.
        for one in &state.attachments {
            series.with_label_values(&[one.interface.as_str()]);
        }
        for nic in &state.accounts {
            series.with_label_values(&[nic.interface.as_str()]).inc_by(value(nic));
        }
    }
    let gauges: [(Gauge, Number); 4] = [
        (families::NIC_BEFORE_ATTACH_PACKETS, |nic| nic.before_attach.packets),
        (families::NIC_HIDDEN_AT_MOST_PACKETS, |nic| nic.hidden),
        (families::NIC_COMPARABLE, |nic| nic.not_comparable.is_none().into()),
        (families::QDISC_WAITING_PACKETS, |nic| nic.waiting),
    ];
    for (family, value) in gauges {
        let series = page.gauge(&family)?;
        for nic in &state.accounts {
            series.with_label_values(&[nic.interface.as_str()]).set(gauge(value(nic)));
        }
    }
    Ok(())
}

fn shadow(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let report = &state.shadow;
    page.set(&families::SHADOW_REFUSED, report.refused.is_some().into())?;
    let Some(candidate) = &report.candidate else { return Ok(()) };
    page.gauge(&families::SHADOW_INFO)?.with_label_values(&[candidate.policy.digest.as_str()]).set(1);
    let packets = page.counter(&families::SHADOW_PACKETS)?;
    let bytes = page.counter(&families::SHADOW_BYTES)?;
    let wire_bytes = page.counter(&families::SHADOW_WIRE_BYTES)?;
    for verdict in Verdict::ALL {
        for shadow in Verdict::ALL {
            for series in [&packets, &bytes, &wire_bytes] {
                series.with_label_values(&[verdict.name(), shadow.name()]);
            }
        }
    }
    for ((verdict, shadow), sums) in report.verdicts.iter().chain(&report.unparsed) {
        let values = [verdict.name(), shadow.name()];
        packets.with_label_values(&values).inc_by(sums.packets);
        bytes.with_label_values(&values).inc_by(sums.bytes);
        wire_bytes.with_label_values(&values).inc_by(sums.wire_bytes);
    }
    let not = page.counter(&families::SHADOW_NOT_EVALUATED)?;
    let of = &report.not_evaluated;
    for (why, sums) in
        [("overflow", of.overflow), ("unparsed", of.unparsed), ("hops", of.hops), ("unanswered", of.unanswered)]
    {
        not.with_label_values(&[why]).inc_by(sums.packets);
    }
    Ok(())
}

/// Rules with series of their own, in the order in which they were first in force; all later ones are `(other)`.
const RULE_SERIES: usize = 256;

fn rules(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let names = &state.traffic.identities.rules;
    // Never one series today and another tomorrow: names keep their numbers. The first two are none and other.
    let series = |name: RuleName| names.get(if name.index() < RULE_SERIES + 2 { name } else { RuleName::OTHER });
    let packets = page.counter(&families::RULE_PACKETS)?;
    let bytes = page.counter(&families::RULE_WIRE_BYTES)?;
    let flows = page.counter(&families::RULE_FLOWS)?;
    let last = page.gauge(&families::RULE_LAST_HIT)?;
    for (name, GroupSums { flows: number, sums }) in &state.traffic.totals.rules {
        let rule = [series(*name)];
        packets.with_label_values(&rule).inc_by(sums.counters.packets);
        bytes.with_label_values(&rule).inc_by(sums.counters.wire_bytes);
        flows.with_label_values(&rule).inc_by(*number);
        let last = last.with_label_values(&rule);
        last.set(last.get().max(sums.last.div_euclid(1_000_000_000)));
    }
    let most = page.gauge(&families::RULE_BUDGET)?;
    let used = page.gauge(&families::RULE_BUDGET_USED)?;
    let suspended = page.gauge(&families::RULE_SUSPENDED)?;
    for (id, today) in &state.budgets.rules {
        let Some(rule) = names.find(id).filter(|name| name.index() < RULE_SERIES + 2) else { continue };
        let rule = [names.get(rule)];
        most.with_label_values(&rule).set(gauge(today.most));
        used.with_label_values(&rule).set(gauge(today.used));
        suspended.with_label_values(&rule).set(today.suspended.is_some().into());
    }
    page.set(&families::RULES_SUSPENDED, gauge(state.in_force.policy.suspended.len() as u64))
}

fn policy(page: &Page, state: &MonitorState, now: i128) -> prometheus::Result<()> {
    let in_force = &state.in_force;
    let info = page.gauge(&families::POLICY_INFO)?;
    info.with_label_values(&[in_force.policy.digest.as_str(), in_force.policy.zone.as_str(), in_force.mode.name()])
        .set(1);
    page.set(&families::LAST_GOOD_POLICY, in_force.last_good.is_some().into())?;
    if let Some(by_hand) = &in_force.by_hand {
        let set = page.gauge(&families::MODE_BY_HAND)?;
        set.with_label_values(&[by_hand.mode.name(), by_hand.configured.name()]).set(1);
        if let Some(until) = by_hand.until {
            page.set(&families::MODE_BY_HAND_ENDS, seconds(until))?;
        }
    }
    let age = page.gauge(&families::GEO_DATASET_AGE)?;
    // Of several with one name, which only one file that is named twice has, the oldest.
    let mut ages: BTreeMap<&str, i64> = BTreeMap::new();
    for dataset in &in_force.datasets {
        if let Some(seconds) = dataset.age_seconds(now) {
            ages.entry(&dataset.name).and_modify(|oldest| *oldest = seconds.max(*oldest)).or_insert(seconds);
        }
    }
    for (name, seconds) in ages {
        age.with_label_values(&[name]).set(seconds);
    }
    let held = page.gauge(&families::GEO_DATA_HELD)?;
    let taken = page.gauge(&families::GEO_DATA_TAKEN)?;
    for (file, note) in &state.refresh.files {
        let file = plain(&file.display().to_string());
        held.with_label_values(&[&file]).set(note.waits().is_some().into());
        if let Some(of) = &note.taken {
            taken.with_label_values(&[&file]).set(of.at);
        }
    }
    if let Some(looked) = state.refresh.looked {
        page.set(&families::GEO_DATA_LOOKED, looked)?;
    }
    let near = upcoming(&in_force.policy.rules, seconds(now + state.clock.ahead));
    let expiring = page.gauge(&families::RULES_EXPIRING)?;
    for days in WARN_DAYS.into_iter().chain([0]) {
        let of = near.iter().filter(|rule| rule.what != "begins" && rule.seconds <= days * 86_400);
        expiring.with_label_values(&[days.to_string().as_str()]).set(gauge(of.count() as u64));
    }
    page.gauge(&families::BUILD_INFO)?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(())
}

/// A count as a gauge's value.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
