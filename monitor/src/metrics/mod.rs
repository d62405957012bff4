//! [`MonitorState`] in, Prometheus text out. Rendered from the state at each scrape, under its lock, so that what one
//! scrape shows adds up: Σ `packets_total` + Σ `unparsed_packets_total` = Σ `hook_packets_total`. Called by the API.
//! Labels are bounded: no address, no port.

mod delivery;

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use monitor_common::bypass::Bypass;
use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::{
    model::{
        InterfaceAccount,
        coverage::Role,
        flow::GroupSums,
        identities::{NameNumber as _, RuleName},
        seconds,
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
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        let counter = IntCounterVec::new(Opts::new(format!("egress_monitor_{name}"), help), labels)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let gauge = IntGaugeVec::new(Opts::new(format!("egress_monitor_{name}"), help), labels)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }
}

/// The page for `/metrics` at `now` (UTC nanoseconds since 1970).
///
/// # Errors
/// Never in practice: a defect of ours.
pub fn render(state: &MonitorState, now: i128) -> prometheus::Result<String> {
    let page = Page(Registry::new());
    traffic(&page, state)?;
    health(&page, state)?;
    policy(&page, state, now)?;
    rules(&page, state)?;
    shadow(&page, state)?;
    delivery::delivery(&page, state, now)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.0.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

fn traffic(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let labels = ["interface", "country", "class", "verdict"];
    let packets = page.counter(
        "packets_total",
        "Packets seen at the hook, dropped ones too, by destination and verdict",
        &labels,
    )?;
    let segments = page.counter("segments_total", "The same as packets on the wire (gso_segs)", &labels)?;
    let bytes = page.counter("bytes_total", "Bytes, GSO packets counted whole", &labels)?;
    let wire_bytes = page.counter("wire_bytes_total", "The same in bytes on the wire", &labels)?;
    let totals = &state.traffic.totals;
    let interfaces = &state.traffic.identities.interfaces;
    for (group, sums) in &totals.groups {
        let country = group.country.to_string();
        let values = [interfaces.get(group.interface), country.as_str(), group.class.name(), group.verdict.name()];
        packets.with_label_values(&values).inc_by(sums.packets);
        segments.with_label_values(&values).inc_by(sums.segments);
        bytes.with_label_values(&values).inc_by(sums.bytes);
        wire_bytes.with_label_values(&values).inc_by(sums.wire_bytes);
    }
    let overflow = page.counter(
        "overflow_packets_total",
        "Of packets_total: packets without flow detail, the flow table was full",
        &labels,
    )?;
    for (group, sums) in &totals.overflow {
        let country = group.country.to_string();
        let values = [interfaces.get(group.interface), country.as_str(), group.class.name(), group.verdict.name()];
        overflow.with_label_values(&values).inc_by(sums.packets);
    }
    let opaque_labels = ["interface", "opaque", "verdict"];
    let opaque_help = "Of packets_total: the content can't be read, by its form (without what overflowed)";
    let opaque_packets = page.counter("opaque_packets_total", opaque_help, &opaque_labels)?;
    let opaque_bytes = page.counter("opaque_bytes_total", "Bytes, GSO packets counted whole", &opaque_labels)?;
    for ((name, form, verdict), sums) in &totals.opaque {
        let values = [interfaces.get(*name), form.name().unwrap_or_default(), verdict.name()];
        opaque_packets.with_label_values(&values).inc_by(sums.packets);
        opaque_bytes.with_label_values(&values).inc_by(sums.bytes);
    }
    let inner = page.counter(
        "inner_packets_total",
        "Of packets_total: they go on from their destination, by what (without what overflowed)",
        &["interface", "via", "verdict"],
    )?;
    for ((name, via, verdict), sums) in &totals.inner {
        inner.with_label_values(&[interfaces.get(*name), *via, verdict.name()]).inc_by(sums.packets);
    }
    let unparsed = page.counter(
        "unparsed_packets_total",
        "Packets without a flow, by reason and what happened to them",
        &["interface", "reason", "fate"],
    )?;
    for ((name, reason), reason_sums) in &totals.unparsed {
        for (fate, packets) in [("passed", reason_sums.passed.packets), ("dropped", reason_sums.dropped.packets)] {
            if packets > 0 {
                unparsed.with_label_values(&[interfaces.get(*name), reason.name(), fate]).inc_by(packets);
            }
        }
    }
    let hook_packets = page.counter("hook_packets_total", "Packets seen at the hook", &["interface"])?;
    let hook_segments = page.counter("hook_segments_total", "The same as packets on the wire", &["interface"])?;
    let hook_bytes = page.counter("hook_bytes_total", "Bytes, GSO packets counted whole", &["interface"])?;
    let hook_wire_bytes = page.counter("hook_wire_bytes_total", "The same in bytes on the wire", &["interface"])?;
    for (name, sums) in &totals.hook {
        let values = [interfaces.get(*name)];
        hook_packets.with_label_values(&values).inc_by(sums.packets);
        hook_segments.with_label_values(&values).inc_by(sums.segments);
        hook_bytes.with_label_values(&values).inc_by(sums.bytes);
        hook_wire_bytes.with_label_values(&values).inc_by(sums.wire_bytes);
    }
    let dropped = page.counter("hook_dropped_packets_total", "Of hook_packets_total: dropped by us", &["interface"])?;
    for (name, sums) in &totals.dropped {
        dropped.with_label_values(&[interfaces.get(*name)]).inc_by(sums.packets);
    }
    let residual = page.gauge(
        "conservation_residual_packets",
        "Sum over epochs of |hook - accounted for|: anything but 0 is a defect",
        &["interface"],
    )?;
    for (name, sums) in &totals.residual {
        residual.with_label_values(&[interfaces.get(*name)]).set(gauge(sums.packets));
    }
    Ok(())
}

fn health(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let lost = page.counter(
        "events_lost_total",
        "Events and alerts lost on the way: ring = rebuilt from the flow table, queue = never kept, sink = gone before a sink had taken them",
        &["stage"],
    )?;
    lost.with_label_values(&["ring"]).inc_by(state.traffic.totals.events_lost);
    lost.with_label_values(&["queue"]).inc_by(state.delivery.lost.load(Relaxed));
    lost.with_label_values(&["sink"]).inc_by(state.delivery.gone.load(Relaxed));
    let none: [&str; 0] = [];
    let last = state.last.unwrap_or_default();
    let whole = |number: usize| gauge(number as u64);
    let one = |name: &str, help: &str, value: i64| -> prometheus::Result<()> {
        page.gauge(name, help, &none)?.with_label_values(&none).set(value);
        Ok(())
    };
    one("epoch_flows", "Flows in the epoch closed last", whole(last.flows))?;
    one(
        "flow_table_entries",
        "Places in the kernel's flow table used in the epoch closed last",
        whole(last.fill.table.used),
    )?;
    one("flow_table_capacity", "Places in the kernel's flow table", last.fill.table.capacity.into())?;
    one(
        "flow_cache_entries",
        "Places in the CPUs' flow caches used in the epoch closed last",
        whole(last.fill.cache.used),
    )?;
    one("flow_cache_capacity", "Places in the CPUs' flow caches", last.fill.cache.capacity.into())?;
    let memory = i64::try_from(state.kernel_memory).unwrap_or(i64::MAX);
    one("kernel_memory_bytes", "Memory of the kernel part's maps", memory)?;
    one("flow_store_entries", "Flows kept since the start", whole(state.traffic.kept.flows))?;
    one("epoch", "Number of the epoch closed last", last.epoch.into())?;
    one("epoch_closed_timestamp_seconds", "When the last epoch was closed", seconds(last.ended))?;
    let count = |name: &str, help: &str, value: u64| -> prometheus::Result<()> {
        page.counter(name, help, &none)?.with_label_values(&none).inc_by(value);
        Ok(())
    };
    count("epochs_total", "Epochs closed", state.traffic.totals.epochs)?;
    count("epoch_failures_total", "Epochs that could not be closed", state.flip_failures)?;
    count("policy_reload_failures_total", "Reloads that were refused", state.reload_failures)?;
    count(
        "policy_rollbacks_total",
        "Of these: policies that failed their check in the kernel and were taken back",
        state.rollbacks,
    )?;
    count("policy_reverts_total", "Policies that nobody confirmed in time", state.reverts)?;
    one("policy_unconfirmed", "1 while the policy in force is to be confirmed", state.unconfirmed.is_some().into())?;
    count(
        "alerts_suppressed_total",
        "Flows without an alert of their own: their epoch had too many",
        state.alerts_suppressed,
    )?;
    one("started_timestamp_seconds", "When the daemon began", seconds(state.started))?;
    one(
        "totals_since_timestamp_seconds",
        "Since when every total counts: earlier than the daemon, where it went on from those of one before it",
        seconds(state.since),
    )?;
    let alerts = page.counter("alerts_total", "Alerts made", &["severity", "type"])?;
    for ((severity, kind), count) in &state.alerts {
        alerts.with_label_values(&[severity, kind]).inc_by(*count);
    }
    if let Some(synchronised) = state.clock.synchronised {
        one("clock_synchronised", "1: the kernel calls its clock synchronised", synchronised.into())?;
    }
    let behind = "How far the wall clock is behind the time that rules and budgets go by";
    one("clock_behind_seconds", behind, seconds(state.clock.ahead))?;
    count("clock_jumps_total", "Times that the wall clock was set", state.clock.jumps)?;
    let refused = page.counter(
        "bypass_refused_total",
        "Sockets refused that would have sent past the hook, by kind, since the start",
        &["kind"],
    )?;
    for (of, times) in Bypass::ALL.into_iter().zip(state.bypass_refused) {
        refused.with_label_values(&[of.name()]).inc_by(times);
    }
    tampering(page, state)?;
    let attached = page.gauge(
        "attached",
        "1 for each interface that is counted, 0 where the program was taken off or the interface is gone",
        &["interface", "hook"],
    )?;
    for one in &state.attachments {
        let counted = state.is_counted(&one.interface);
        attached.with_label_values(&[one.interface.as_str(), one.hook.as_str()]).set(counted.into());
    }
    devices(page, state)?;
    nics(page, state)
}

fn tampering(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let report = &state.tamper;
    let found =
        page.counter("tampering_found_total", "Changes of the monitor's own by others, by finding", &["kind"])?;
    let healed = page.counter("tampering_healed_total", "Of these: put right", &["kind"])?;
    let open = page.gauge("tampering_open", "1 while it is so", &["kind"])?;
    let contended = page.gauge("tampering_contended", "1 while it is left alone, put right too often", &["kind"])?;
    for kind in KINDS {
        let times = report.times.get(&kind).copied().unwrap_or_default();
        found.with_label_values(&[kind.name()]).inc_by(times.found);
        healed.with_label_values(&[kind.name()]).inc_by(times.healed);
        let is_open = report.open.iter().any(|one| one.sighting.kind == kind);
        open.with_label_values(&[kind.name()]).set(is_open.into());
        contended.with_label_values(&[kind.name()]).set(report.contended.iter().any(|(of, _)| *of == kind).into());
    }
    let none: [&str; 0] = [];
    for (name, help, at) in [
        ("tampering_looked_timestamp_seconds", "When the kernel part was looked after last", report.looked),
        (
            "tampering_compared_timestamp_seconds",
            "When every byte of the policy in the kernel had been compared with what was compiled once more",
            report.compared.unwrap_or(0),
        ),
    ] {
        page.gauge(name, help, &none)?.with_label_values(&none).set(seconds(at));
    }
    Ok(())
}

/// Devices with series of their own. Guests that are not watched come last: of these a host may have thousands, with other
/// names each day.
const DEVICE_SERIES: usize = 1_024;

fn devices(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let number = page.gauge("devices", "Devices that are up or are to be watched, by role", &["role", "watched"])?;
    for role in Role::ALL {
        for watched in ["0", "1"] {
            number.with_label_values(&[role.name(), watched]).set(0);
        }
    }
    let watched = page.gauge(
        "device_watched",
        "1: it is watched; of each device that is up or is to be watched",
        &["interface", "role"],
    )?;
    let unwatched =
        page.gauge("device_unwatched_packets", "Sent by a device that is to be watched and is not", &["interface"])?;
    let shown = state.coverage.devices.iter().filter(|device| device.up || device.wanted || device.since.is_some());
    let (last, first): (Vec<_>, Vec<_>) =
        shown.partition(|device| device.role == Role::Guest && device.since.is_none() && !device.wanted);
    for (device, at) in first.into_iter().chain(last).zip(0..) {
        let is_watched = device.since.is_some();
        number.with_label_values(&[device.role.name(), if is_watched { "1" } else { "0" }]).inc();
        if at < DEVICE_SERIES {
            watched.with_label_values(&[device.name.as_str(), device.role.name()]).set(is_watched.into());
            let packets = if is_watched || !device.wanted { 0 } else { device.unwatched.packets };
            unwatched.with_label_values(&[device.name.as_str()]).set(gauge(packets));
        }
    }
    Ok(())
}

fn nics(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let labels = ["interface"];
    type Number = fn(&InterfaceAccount) -> u64;
    let gauges: [(&str, &str, Number); 12] = [
        ("nic_packets", "Packets that the network card sent since the program was attached", |nic| nic.sent.packets),
        ("nic_bytes", "Bytes that the network card sent since the program was attached", |nic| nic.sent.bytes),
        ("nic_unaccounted_packets", "Of nic_packets: never passed the hook, proven", |nic| nic.unaccounted.packets),
        ("nic_unaccounted_bytes", "Their bytes, as far as they can be told", |nic| nic.unaccounted.bytes),
        ("nic_before_attach_packets", "Packets sent before the program was attached", |nic| nic.before_attach.packets),
        ("nic_lost_packets", "Packets that passed the hook and were never counted after", |nic| nic.lost),
        ("nic_hidden_at_most_packets", "As many at most left unseen beside the hook so far", |nic| nic.hidden),
        ("nic_comparable", "0: the device counts what never passes its hook", |nic| {
            nic.not_comparable.is_none().into()
        }),
        ("nic_dropped_packets", "Packets that the device says it dropped", |nic| nic.device_drops),
        ("nic_filtered_packets", "Packets that filters behind the hook dropped or sent another way", |nic| {
            nic.filtered
        }),
        ("qdisc_dropped_packets", "Packets that the queueing disciplines dropped", |nic| nic.qdisc_drops),
        ("qdisc_waiting_packets", "Packets that wait in the queueing discipline", |nic| nic.waiting),
    ];
    for (name, help, value) in gauges {
        let series = page.gauge(name, help, &labels)?;
        for nic in &state.accounts {
            series.with_label_values(&[nic.interface.as_str()]).set(gauge(value(nic)));
        }
    }
    Ok(())
}

fn shadow(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let none: [&str; 0] = [];
    let report = &state.shadow;
    let refused = page.gauge("shadow_refused", "1: the shadow policy that is named does not compile", &none)?;
    refused.with_label_values(&none).set(report.refused.is_some().into());
    let Some(candidate) = &report.candidate else { return Ok(()) };
    let info = page.gauge("shadow_info", "The shadow policy", &["digest"])?;
    info.with_label_values(&[candidate.policy.digest.as_str()]).set(1);
    let labels = ["verdict", "shadow"];
    let packets =
        page.counter("shadow_packets_total", "By verdict and by the shadow policy's, since it is", &labels)?;
    let bytes = page.counter("shadow_bytes_total", "Bytes, GSO packets counted whole", &labels)?;
    let wire_bytes = page.counter("shadow_wire_bytes_total", "The same in bytes on the wire", &labels)?;
    for ((verdict, shadow), sums) in report.verdicts.iter().chain(&report.unparsed) {
        let values = [verdict.name(), shadow.name()];
        packets.with_label_values(&values).inc_by(sums.packets);
        bytes.with_label_values(&values).inc_by(sums.bytes);
        wire_bytes.with_label_values(&values).inc_by(sums.wire_bytes);
    }
    let not = page.counter("shadow_not_evaluated_packets_total", "Packets that it was not asked about", &["why"])?;
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
    let packets = page.counter("rule_packets_total", "Of packets_total: decided by a rule", &["rule"])?;
    let bytes = page.counter("rule_wire_bytes_total", "The same in bytes on the wire", &["rule"])?;
    let flows = page.counter("rule_flows_total", "Flows that a rule decided", &["rule"])?;
    let last = page.gauge("rule_last_hit_timestamp_seconds", "Last packet that a rule decided", &["rule"])?;
    for (name, GroupSums { flows: number, sums }) in &state.traffic.totals.rules {
        let rule = [series(*name)];
        packets.with_label_values(&rule).inc_by(sums.counters.packets);
        bytes.with_label_values(&rule).inc_by(sums.counters.wire_bytes);
        flows.with_label_values(&rule).inc_by(*number);
        let last = last.with_label_values(&rule);
        last.set(last.get().max(sums.last.div_euclid(1_000_000_000)));
    }
    let of_budget = |name: &str, help: &str| page.gauge(name, help, &["rule"]);
    let most = of_budget("rule_budget_bytes", "What a rule may let through in a UTC day, in bytes on the wire")?;
    let used = of_budget("rule_budget_used_bytes", "What it has let through today")?;
    let suspended = of_budget("rule_suspended", "1: its budget is used up, it does not hold until midnight UTC")?;
    for (id, today) in &state.budgets.rules {
        let Some(rule) = names.find(id).filter(|name| name.index() < RULE_SERIES + 2) else { continue };
        let rule = [names.get(rule)];
        most.with_label_values(&rule).set(gauge(today.most));
        used.with_label_values(&rule).set(gauge(today.used));
        suspended.with_label_values(&rule).set(today.suspended.is_some().into());
    }
    let none: [&str; 0] = [];
    let all = page.gauge("rules_suspended", "Rules whose daily budget is used up", &none)?;
    all.with_label_values(&none).set(gauge(state.in_force.policy.suspended.len() as u64));
    Ok(())
}

fn policy(page: &Page, state: &MonitorState, now: i128) -> prometheus::Result<()> {
    let in_force = &state.in_force;
    let info = page.gauge("policy_info", "The policy in force", &["digest", "zone", "mode"])?;
    info.with_label_values(&[in_force.policy.digest.as_str(), in_force.policy.zone.as_str(), in_force.mode.name()])
        .set(1);
    let none: [&str; 0] = [];
    let last_good =
        page.gauge("last_good_policy", "1: the files were refused at the start, the last good policy holds", &none)?;
    last_good.with_label_values(&none).set(in_force.last_good.is_some().into());
    if let Some(by_hand) = &in_force.by_hand {
        let set = page.gauge("mode_by_hand", "1: the mode was set by hand", &["mode", "configured"])?;
        set.with_label_values(&[by_hand.mode.name(), by_hand.configured.name()]).set(1);
        if let Some(until) = by_hand.until {
            let ends = page.gauge("mode_by_hand_ends_timestamp_seconds", "When the mode set by hand ends", &none)?;
            ends.with_label_values(&none).set(seconds(until));
        }
    }
    let age =
        page.gauge("geo_dataset_age_seconds", "Age of each geo dataset that says when it was built", &["dataset"])?;
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
    let held = page.gauge("geo_data_held", "1: fresh data for this file was not taken", &["file"])?;
    let taken = page.gauge("geo_data_taken_timestamp_seconds", "When fresh data was put in place last", &["file"])?;
    for (file, note) in &state.refresh.files {
        let file = plain(&file.display().to_string());
        held.with_label_values(&[&file]).set(note.waits().is_some().into());
        if let Some(of) = &note.taken {
            taken.with_label_values(&[&file]).set(of.at);
        }
    }
    if let Some(looked) = state.refresh.looked {
        let name = "geo_data_looked_timestamp_seconds";
        let last = page.gauge(name, "When `geo stage` last looked for fresh data", &none)?;
        last.with_label_values(&none).set(looked);
    }
    let near = upcoming(&in_force.policy.rules, seconds(now + state.clock.ahead));
    let expiring =
        page.gauge("rules_expiring", "Rules that expire within so many days (0: have expired)", &["days"])?;
    for days in WARN_DAYS.into_iter().chain([0]) {
        let of = near.iter().filter(|rule| rule.what != "begins" && rule.seconds <= days * 86_400);
        expiring.with_label_values(&[days.to_string().as_str()]).set(gauge(of.count() as u64));
    }
    let build = page.gauge("build_info", "This build", &["version"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(())
}

/// A count as a gauge's value.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
