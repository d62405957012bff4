//! Status and flow documents in, text for people out: aligned columns, units, nothing that needs a second look at
//! three in the morning. Called by `run` (closing table), `status` and `flows`.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use super::{
    flows::{AutonomousSystem, FlowRow, Flows},
    rules::{RuleRow, Rules},
    shadow::ShadowPage,
    status::{ShadowStatus, Status, Sums},
};
use crate::{
    policy::target::has_ports,
    text::{cells, count, counted, plain, size, span, table},
};

/// How far tables stand in.
const INDENT: usize = 2;

/// The four cells of sums.
fn sums(sums: &Sums) -> [String; 4] {
    [count(sums.packets), count(sums.segments), size(sums.bytes), size(sums.wire_bytes)]
}

/// The closing table of `run`, and part of `status`: what was counted, and that it adds up.
#[must_use]
pub fn totals(status: &Status) -> String {
    let heading = ["interface", "country", "class", "verdict", "packets", "segments", "bytes", "on the wire"];
    let mut rows = vec![cells(&heading)];
    let mut sum = Sums::default();
    let mut row = |interface: &str, country: &str, class: &str, verdict: &str, of: &Sums| {
        let names = [interface, country, class, verdict].map(str::to_owned);
        rows.push(names.into_iter().chain(sums(of)).collect());
        sum.packets += of.packets;
        sum.segments += of.segments;
        sum.bytes += of.bytes;
        sum.wire_bytes += of.wire_bytes;
    };
    for group in &status.totals {
        row(&group.interface, &group.country, &group.class, &group.verdict, &group.sums);
    }
    for unparsed in &status.unparsed {
        for (fate, of) in [("passed", &unparsed.passed), ("dropped", &unparsed.dropped)] {
            if *of != Sums::default() {
                row(&unparsed.interface, "-", &format!("not parsed: {}", unparsed.reason), fate, of);
            }
        }
    }
    let all = ["all", "", "", ""].map(str::to_owned);
    rows.push(all.into_iter().chain(sums(&sum)).collect());
    let mut text = table(INDENT, &rows, &[4, 5, 6, 7]);
    let breach: Vec<String> = status
        .interfaces
        .iter()
        .filter(|interface| interface.residual != Sums::default())
        .map(|interface| format!("{} by {} packets", interface.interface, count(interface.residual.packets)))
        .collect();
    text += &if breach.is_empty() {
        "  every packet that passed the hooks is in this table: residual 0\n".to_owned()
    } else {
        format!("  WRONG: the hooks counted otherwise: {}. Please report this defect.\n", breach.join(", "))
    };
    text
}

/// `egress-monitor status`.
#[must_use]
pub fn status(status: &Status) -> String {
    let mut text = String::new();
    let mode =
        if status.mode == "enforce" { "enforce: denied packets are dropped" } else { "observe: nothing is dropped" };
    let mut line = |name: &str, value: &str| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{name:<12}{}", plain(value));
    };
    let state = status.not_ready.as_ref().map_or_else(|| "working".to_owned(), |why| format!("NOT RELIABLE: {why}"));
    line("state", &state);
    line("mode", mode);
    line("host", &format!("{}, up {} (since {})", status.host, span(status.uptime_seconds), status.started));
    line("version", &status.version);
    line("zone", &format!("{}, inside = {}", status.zone, status.inside));
    let policy = &status.policy;
    line(
        "policy",
        &format!(
            "{}, {}, in force for {}",
            short(&policy.digest),
            counted(policy.rules, "rule"),
            span(policy.age_seconds)
        ),
    );
    if policy.never_hit > 0 {
        line("", &format!("{} never hit (egress-monitor rules --never-hit)", counted(policy.never_hit, "rule")));
    }
    for rule in &policy.suspended {
        line("", &format!("SUSPENDED until midnight UTC: {rule}, its daily budget is used up (egress-monitor rules)"));
    }
    match &policy.shadow {
        Some(ShadowStatus { refused: Some(why), .. }) => line("shadow", &format!("REFUSED: {why}")),
        Some(shadow) => {
            let (stricter, looser) = (&shadow.stricter, &shadow.looser);
            line(
                "shadow",
                &format!(
                    "{}, would deny {} packets ({}) more and allow {} ({}) more (egress-monitor flows --shadow)",
                    short(shadow.digest.as_deref().unwrap_or("-")),
                    count(stricter.packets),
                    size(stricter.wire_bytes),
                    count(looser.packets),
                    size(looser.wire_bytes)
                ),
            );
        }
        None => {}
    }
    if let Some(unconfirmed) = &status.unconfirmed {
        line(
            "",
            &format!(
                "UNCONFIRMED, returns to {} ({}) in {}: `egress-monitor confirm` keeps it",
                short(&unconfirmed.back_to.digest),
                unconfirmed.back_to.mode,
                span(unconfirmed.seconds_left)
            ),
        );
    }
    for near in &status.rule_times {
        let when = match near.what.as_str() {
            "expired" => format!("EXPIRED {} ago", span(-near.seconds)),
            what => format!("{what} in {}", span(near.seconds)),
        };
        line("rule", &format!("{} {when} ({})", near.rule, near.at));
    }
    if status.rule_times_left_out > 0 {
        line("", &format!("and {} more", counted(status.rule_times_left_out, "rule")));
    }
    if let Some(error) = &status.reload_error {
        line("", &format!("REFUSED a newer one: {error}"));
    }
    for dataset in &status.datasets {
        let age = dataset.age_days.map_or_else(|| "of unknown age".into(), |days| format!("{days} days old"));
        let stale = if dataset.stale { ": STALE, import a newer one" } else { "" };
        line("geo data", &format!("{} {}, {age}{stale}", dataset.name, dataset.version));
    }
    if let Some(asn) = &status.asn {
        let age = asn.age_days.map_or_else(|| "of unknown age".into(), |days| format!("{days} days old"));
        line("AS numbers", &format!("{} {}, {age}", asn.name, asn.version));
    }
    match &status.epoch {
        Some(epoch) => {
            let packets: u64 = epoch.interfaces.iter().map(|interface| interface.hook.packets).sum();
            line(
                "epoch",
                &format!(
                    "{} closed {}: {} packets, {} flows; used {} of {} places in the flow caches, {} of {} in the flow table",
                    epoch.number,
                    epoch.closed,
                    count(packets),
                    count(epoch.flows as u64),
                    count(epoch.flow_cache.used as u64),
                    count(epoch.flow_cache.places),
                    count(epoch.flow_table.used as u64),
                    count(epoch.flow_table.places)
                ),
            );
        }
        None => line("epoch", "none closed yet"),
    }
    for condition in &status.conditions {
        line("WRONG", &format!("{} since {}", condition.kind, condition.since));
    }
    text += "\nInterfaces\n";
    let heading = ["interface", "hook", "since", "packets", "segments", "bytes", "on the wire", "residual"];
    let rows = status.interfaces.iter().map(|interface| {
        let hook = match (interface.hook.as_deref(), interface.state.as_deref()) {
            (Some(hook), None | Some("attached")) if interface.ahead == 0 => hook.to_owned(),
            (Some(hook), None | Some("attached")) => format!("{hook}, {} ahead", interface.ahead),
            (Some(_), Some(state)) => state.to_uppercase(),
            (None, _) => "not attached".into(),
        };
        let since = interface.since.clone().unwrap_or_else(|| "-".into());
        let residual = count(interface.residual.packets);
        [interface.interface.clone(), hook, since].into_iter().chain(sums(&interface.total)).chain([residual]).collect()
    });
    let rows: Vec<Vec<String>> = std::iter::once(cells(&heading)).chain(rows).collect();
    text += &table(INDENT, &rows, &[3, 4, 5, 6, 7]);
    text += &nics(status);
    text += "\nTraffic since the start\n";
    text += &totals(status);
    text += "\nLosses\n";
    let losses = &status.losses;
    let rows = [
        ("ring-buffer events (alerts rebuilt from the flow table)", losses.events),
        ("packets not told apart by flow (flow table full)", losses.overflow_packets),
        ("flows summed up (store full)", losses.flows_evicted),
        ("alerts not written", losses.alerts_unwritten),
        ("alerts that found the queue full", losses.alerts_queue_full),
        ("epochs not closed in time (traffic comes with the next)", losses.epochs_failed),
        ("reloads refused", losses.reloads_refused),
    ]
    .map(|(what, number)| vec![what.to_owned(), count(number)]);
    text += &table(INDENT, &rows, &[1]);
    text += "\nAlerts\n";
    if status.alerts.is_empty() {
        text += "  none\n";
    } else {
        let rows =
            status.alerts.iter().map(|alert| vec![alert.kind.clone(), alert.severity.clone(), count(alert.count)]);
        let rows: Vec<_> = std::iter::once(cells(&["type", "severity", "count"])).chain(rows).collect();
        text += &table(INDENT, &rows, &[2]);
    }
    text += "\nNot visible from here\n";
    for spot in &status.blind_spots {
        text += &format!("  - {}\n", plain(spot));
    }
    text
}

/// What the devices sent beside what passed the hooks; of `status`.
fn nics(status: &Status) -> String {
    let heading = [
        "interface",
        "counts",
        "sent",
        "bytes",
        "dropped by us",
        "by the qdisc",
        "in flight",
        "lost",
        "unaccounted",
        "",
    ];
    let mut rows = vec![cells(&heading)];
    let mut before = vec![];
    for interface in &status.interfaces {
        let Some(nic) = &interface.nic else { continue };
        let numbers = [nic.sent.packets, nic.dropped_by_us.packets, nic.qdisc_drops, nic.in_flight, nic.lost];
        let [sent, dropped, queue, waiting, lost] = numbers.map(count);
        let names = [interface.interface.clone(), nic.counts.clone(), sent, size(nic.sent.bytes)];
        let unaccounted = [count(nic.unaccounted.packets), size(nic.unaccounted.bytes)];
        rows.push(names.into_iter().chain([dropped, queue, waiting, lost]).chain(unaccounted).collect());
        before.push(format!(
            "  {} had sent {} packets ({}) before, {} of them while the program was being attached\n",
            interface.interface,
            count(nic.before_attach.packets),
            size(nic.before_attach.bytes),
            count(nic.while_attaching.packets)
        ));
    }
    if rows.len() == 1 {
        return String::new();
    }
    let surplus = status.interfaces.iter().filter_map(|interface| interface.nic.as_ref());
    let surplus: u64 = surplus.map(|nic| nic.unaccounted.packets).sum();
    let verdict = if surplus == 0 {
        "  nothing left that did not pass the hooks\n".to_owned()
    } else {
        format!("  WRONG: {} packets left without passing a hook\n", count(surplus))
    };
    let table = table(INDENT, &rows, &[2, 3, 4, 5, 6, 7, 8, 9]);
    format!("\nNetwork cards since the program was attached\n{table}{}{verdict}", before.concat())
}

/// The start of a digest, enough to compare by eye.
fn short(digest: &str) -> String {
    let start: String = digest.chars().take(16).collect();
    if digest.len() > 16 { format!("{start}…") } else { start }
}

/// `egress-monitor flows`.
#[must_use]
pub fn flows(reply: &Flows, by: Option<&str>) -> String {
    let until = reply.until.as_deref().unwrap_or("-");
    let mut text = format!("Flows from {} until {until}, by bytes on the wire\n", reply.since);
    if reply.flows.is_empty() && reply.groups.is_empty() {
        text += "  none\n";
    } else if let Some(by) = by {
        let heading = [by, "verdict", "flows", "packets", "segments", "bytes", "on the wire", "last seen"];
        let rows = reply.groups.iter().map(|row| {
            let key = row.name.as_ref().map_or_else(|| row.key.clone(), |name| format!("{} {name}", row.key));
            let names = [key, row.verdict.clone(), count(row.flows)];
            names.into_iter().chain(sums(&row.sums)).chain([row.last_seen.clone()]).collect()
        });
        let rows: Vec<Vec<String>> = std::iter::once(cells(&heading)).chain(rows).collect();
        text += &table(INDENT, &rows, &[2, 3, 4, 5, 6]);
    } else {
        // A column only where a dataset says something.
        let systems = reply.flows.iter().any(|row| row.autonomous_system.is_some());
        let system = |row: &FlowRow| {
            let of = |system: &AutonomousSystem| format!("AS{} {}", system.number, system.name).trim_end().to_owned();
            systems.then(|| row.autonomous_system.as_ref().map_or_else(|| "-".to_owned(), of))
        };
        let rows = reply.flows.iter().map(|row| {
            let names = [
                row.interface.clone(),
                protocol(row),
                endpoint(row.source, row.source_port, row.protocol),
                destination(row),
                row.country.clone(),
                row.class.clone(),
                row.rule.clone().unwrap_or_else(|| "-".into()),
                row.verdict.clone(),
            ];
            let all = names.into_iter().chain(sums(&row.sums)).chain([row.last_seen.clone()]);
            all.chain(system(row)).collect()
        });
        let heading = [
            "interface",
            "proto",
            "source",
            "destination",
            "country",
            "class",
            "rule",
            "verdict",
            "packets",
            "segments",
            "bytes",
            "on the wire",
            "last seen",
        ];
        let mut heading = cells(&heading);
        heading.extend(systems.then(|| "announced by".to_owned()));
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
        text += &table(INDENT, &rows, &[8, 9, 10, 11]);
    }
    let rest = [
        ("not shown (raise --top)", Some(reply.rest.flows), &reply.rest.sums),
        ("older flows, summed up", Some(reply.evicted.flows), &reply.evicted.sums),
        ("flow table full", None, &reply.overflow),
        ("not parsed", None, &reply.unparsed),
        ("everything at the hooks", None, &reply.hook),
    ];
    let heading = ["besides", "flows", "packets", "segments", "bytes", "on the wire"];
    let rows = rest.into_iter().map(|(what, flows, of)| {
        let flows = flows.map_or_else(|| "-".into(), count);
        [what.to_owned(), flows].into_iter().chain(sums(of)).collect()
    });
    let rows: Vec<Vec<String>> = std::iter::once(cells(&heading)).chain(rows).collect();
    text.push('\n');
    text += &table(INDENT, &rows, &[1, 2, 3, 4, 5]);
    let mut rows = vec![cells(&["not parsed", "fate", "packets", "segments", "bytes", "on the wire", "meaning"])];
    for row in &reply.unparsed_reasons {
        for (fate, of) in [("passed", &row.passed), ("dropped", &row.dropped)] {
            if *of != Sums::default() {
                let names = [row.reason.clone(), fate.to_owned()];
                rows.push(names.into_iter().chain(sums(of)).chain([row.meaning.clone()]).collect());
            }
        }
    }
    if rows.len() > 1 {
        text.push('\n');
        text += &table(INDENT, &rows, &[2, 3, 4, 5]);
    }
    text
}

/// `egress-monitor rules`.
#[must_use]
pub fn rules(reply: &Rules) -> String {
    let until = reply.until.as_deref().unwrap_or("-");
    let mut text = format!("Rules of policy {}, hits from {} until {until}\n", short(&reply.policy), reply.since);
    let heading = [
        "rule",
        "action",
        "state",
        "flows",
        "packets",
        "on the wire",
        "last hit",
        "today",
        "of",
        "expires",
        "owner",
        "ticket",
    ];
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |row: &RuleRow| {
        let (used, most) = row
            .budget
            .as_ref()
            .map_or_else(|| ("-".into(), "-".into()), |budget| (size(budget.used), size(budget.bytes_per_day)));
        let state = match row.state.as_str() {
            "suspended" => "SUSPENDED".to_owned(),
            state => state.replace('_', " "),
        };
        vec![
            row.rule.clone(),
            row.action.clone().unwrap_or_else(|| "-".into()),
            state,
            count(row.flows),
            count(row.sums.packets),
            size(row.sums.wire_bytes),
            row.last_hit.clone().unwrap_or_else(|| "never".into()),
            used,
            most,
            row.expires.clone().unwrap_or_else(|| "-".into()),
            or_dash(&row.owner),
            or_dash(&row.ticket),
        ]
    };
    if reply.rules.is_empty() && reply.former.is_empty() {
        text += "  none\n";
    } else {
        let rows = reply.rules.iter().chain(&reply.former).map(row);
        let rows: Vec<Vec<String>> = std::iter::once(cells(&heading)).chain(rows).collect();
        text += &table(INDENT, &rows, &[3, 4, 5, 7, 8]);
    }
    for row in &reply.rules {
        let Some(budget) = row.budget.as_ref().filter(|budget| budget.suspended_since.is_some()) else { continue };
        text += &format!(
            "  {} is suspended until {}: its max_bytes_per_day is used up, {} passed beyond it\n",
            plain(&row.rule),
            budget.until,
            size(budget.beyond)
        );
    }
    if reply.overflow.packets > 0 {
        text += &format!(
            "  which rules decided {} packets is not known: the flow table was full\n",
            count(reply.overflow.packets)
        );
    }
    text
}

/// `egress-monitor flows --shadow`.
#[must_use]
pub fn shadow(page: &ShadowPage) -> String {
    let Some(candidate) = &page.candidate else {
        return match &page.refused {
            Some(why) => format!("No shadow policy: it was REFUSED: {}\n", plain(why)),
            None => {
                "No shadow policy: name a candidate's file in [policy] shadow, or wait for the first epoch\n".into()
            }
        };
    };
    let mut text = format!(
        "Shadow {} ({}) beside policy {}, from {} until {}\n",
        plain(&candidate.file),
        short(&candidate.digest),
        short(&page.policy),
        page.since.as_deref().unwrap_or("-"),
        page.until.as_deref().unwrap_or("-")
    );
    for (what, of) in [("denies what is allowed", &page.stricter), ("allows what is denied", &page.looser)] {
        text += &format!("  it {what} now: {} packets, {} on the wire\n", count(of.packets), size(of.wire_bytes));
    }
    let heading = ["verdict", "shadow", "packets", "segments", "bytes", "on the wire"];
    let mut rows = vec![cells(&heading)];
    for (what, list) in [("", &page.verdicts), ("not parsed: ", &page.unparsed)] {
        rows.extend(list.iter().map(|row| {
            [format!("{what}{}", row.verdict), row.shadow.clone()].into_iter().chain(sums(&row.sums)).collect()
        }));
    }
    let not = &page.not_evaluated;
    for (what, of) in [
        ("flow table full", &not.overflow),
        ("not parsed", &not.unparsed),
        ("decided by a hop that is not kept", &not.hops),
        ("no answer (a defect)", &not.unanswered),
    ] {
        if *of != Sums::default() {
            rows.push([what.to_owned(), "not evaluated".into()].into_iter().chain(sums(of)).collect());
        }
    }
    rows.push(["everything at the hooks".to_owned(), String::new()].into_iter().chain(sums(&page.hook)).collect());
    text.push('\n');
    text += &table(INDENT, &rows, &[2, 3, 4, 5]);
    if page.flows.is_empty() {
        return text;
    }
    let heading = [
        "interface",
        "protocol",
        "source",
        "destination",
        "rule",
        "verdict",
        "shadow",
        "its class",
        "its country",
        "its rule",
        "packets",
        "on the wire",
        "last seen",
    ];
    let rows = page.flows.iter().map(|row| {
        let flow = &row.flow;
        let rule = |rule: &Option<String>| rule.clone().unwrap_or_else(|| "-".into());
        vec![
            flow.interface.clone(),
            protocol(flow),
            endpoint(flow.source, flow.source_port, flow.protocol),
            destination(flow),
            rule(&flow.rule),
            flow.verdict.clone(),
            row.shadow_verdict.clone(),
            row.shadow_class.clone(),
            row.shadow_country.clone(),
            rule(&row.shadow_rule),
            count(flow.sums.packets),
            size(flow.sums.wire_bytes),
            flow.last_seen.clone(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(cells(&heading)).chain(rows).collect();
    text += "\nFlows with another verdict\n";
    text += &table(INDENT, &rows, &[10, 11]);
    for (what, part) in [("not shown (raise --top)", &page.rest), ("summed up", &page.summed_up)] {
        if part.flows > 0 {
            let (flows, bytes) = (count(part.flows), size(part.sums.wire_bytes));
            text += &format!("  {what}: {flows} flows, {bytes} on the wire\n");
        }
    }
    text
}

fn protocol(row: &FlowRow) -> String {
    row.protocol_name.clone().unwrap_or_else(|| row.protocol.to_string())
}

/// Address, and port where the protocol has one.
fn endpoint(address: IpAddr, port: u16, protocol: u8) -> String {
    if has_ports(protocol) { SocketAddr::new(address, port).to_string() } else { address.to_string() }
}

/// The same for a destination, where ICMP has a type and a code.
fn target(address: IpAddr, port: u16, protocol: u8) -> String {
    match protocol {
        1 | 58 => format!("{address} type {} code {}", port >> 8, port & 0xff),
        _ => endpoint(address, port, protocol),
    }
}

/// `198.51.100.7:4789 → 203.0.113.9:443 (vxlan)`: where it goes, where it ends up and by what; what of it can't be read.
fn destination(row: &FlowRow) -> String {
    let mut text = target(row.destination, row.destination_port, row.protocol);
    let mut onward = |to: String, via: &str| text += &format!(" → {to} ({via})");
    if let Some(carried) = &row.embedded {
        onward(carried.destination.to_string(), &carried.via);
    }
    if let Some(further) = &row.onward {
        let to = target(further.destination, further.destination_port, further.protocol);
        onward(to, &further.via);
        if let Some(carried) = &further.embedded {
            onward(carried.destination.to_string(), &carried.via);
        }
    }
    if let Some(form) = &row.opaque {
        text += &format!(" [not readable: {form}]");
    }
    text
}
