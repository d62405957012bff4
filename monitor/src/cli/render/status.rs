//! The status document in, the page of `egress-monitor status` out, and the table of totals in it, with which `run`
//! closes.

use std::fmt::Write as _;

use super::{
    INDENT, Width,
    clock::clock_behind,
    coverage,
    mode::{self, effect},
    short, sums, sums_heading,
};
use crate::cli::output::{cells, table};
use monitor_api::status::{
    BypassOpen, FindingStatus, HelperStatus, OpenSocketStatus, ProgramAhead, ShadowStatus, SinkStatus, Status, Sums,
    TamperStatus,
};
use monitor_policy::{
    spec::Mode,
    text::{age, count, counted, plain, size, span, when},
};

/// The closing table of `run`, and part of `status`: what was counted, and that it adds up. The sum is over edges.
pub fn totals(status: &Status, width: Width) -> String {
    let country = if width == Width::Short { "cc" } else { "country" };
    let mut heading = cells(&["interface", country, "class", "verdict"]);
    heading.extend(cells(sums_heading(width)));
    let numbers: Vec<usize> = (4..heading.len()).collect();
    let mut rows = vec![heading];
    let (mut all, mut apart) = (Sums::default(), Sums::default());
    let mut row = |interface: &str, country: &str, class: &str, verdict: &str, of: &Sums| {
        let names = [interface, country, class, verdict].map(str::to_owned);
        rows.push(names.into_iter().chain(sums(width, of)).collect());
        *(if is_apart(status, interface) { &mut apart } else { &mut all }) += of;
    };
    for group in &status.totals {
        row(&group.interface, &group.country, &group.class, &group.verdict, &group.sums);
    }
    for unparsed in &status.unparsed {
        for (fate, of) in [("passed", &unparsed.passed), ("dropped", &unparsed.dropped)] {
            if *of != Sums::default() {
                row(&unparsed.interface, "-", &format!("unparsed: {}", unparsed.reason), fate, of);
            }
        }
    }
    let mut sum = |name: &str, of: &Sums| {
        rows.push([name, "", "", ""].map(str::to_owned).into_iter().chain(sums(width, of)).collect());
    };
    sum("all", &all);
    if apart != Sums::default() {
        sum("counted apart", &apart);
    }
    let mut text = table(INDENT, &rows, &numbers);
    let breach: Vec<String> = status
        .interfaces
        .iter()
        .filter(|interface| interface.residual != Sums::default())
        .map(|interface| format!("{} by {} packets", interface.interface, count(interface.residual.packets)))
        .collect();
    text += &if breach.is_empty() {
        "  every packet that passed the hooks is in this table: residual 0\n".to_owned()
    } else {
        format!("  FINDING: the hooks counted otherwise: {}. Please report this defect.\n", breach.join(", "))
    };
    text
}

/// Whether what an interface counts is seen again on an edge.
fn is_apart(status: &Status, interface: &str) -> bool {
    let interface = status.interfaces.iter().find(|one| one.interface == interface);
    interface.and_then(|one| one.role.as_deref()).is_some_and(|role| role != "edge")
}

/// `egress-monitor status --all` at `now` (UTC nanoseconds since 1970).
pub fn status(status: &Status, now: i128, width: Width) -> String {
    let mut text = String::new();
    let effect = effect(Mode::enforcing(status.mode == "enforce"));
    let mut line = |name: &str, value: &str| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{name:<13}{}", plain(value));
    };
    let state = status.not_ready.as_ref().map_or_else(|| "working".to_owned(), |why| format!("NOT RELIABLE: {why}"));
    line("state", &state);
    line("mode", effect);
    line("host", &format!("{}, up {} (since {})", status.host, span(status.uptime_seconds), status.started));
    line("version", &status.version);
    line("zone", &format!("{}, inside = {}", status.zone, status.inside));
    let hook = |index| {
        let name = &status.coverage.iter().find(|device| device.index == index)?.name;
        status.interfaces.iter().find(|interface| interface.interface == *name)?.hook.clone()
    };
    for (name, value) in coverage::lines(&status.coverage, hook) {
        line(name, &value);
    }
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
    for (name, value) in attention(status, now) {
        line(name, &value);
    }
    line("helper", &helper(&status.helper));
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
                    age(&epoch.closed, now),
                    count(packets),
                    count(epoch.flows as u64),
                    count(epoch.flow_cache.used as u64),
                    count(epoch.flow_cache.capacity),
                    count(epoch.flow_table.used as u64),
                    count(epoch.flow_table.capacity)
                ),
            );
        }
        None => line("epoch", "none closed yet"),
    }
    for (name, value) in sinks(&status.sinks) {
        line(name, &value);
    }
    for (name, value) in tampered(&status.tamper, now) {
        line(name, &value);
    }
    for value in open_sockets(&status.bypass_open) {
        line("past hook", &value);
    }
    for finding in &status.findings {
        line(heading(finding), &format!("{}: {}, {}", finding.kind, finding.title, age(&finding.since, now)));
    }
    text += "\nInterfaces\n";
    let mut heading = cells(&["interface", "hook", "since"]);
    heading.extend(cells(sums_heading(width)));
    heading.push("residual".into());
    let numbers: Vec<usize> = (3..heading.len()).collect();
    let rows = status.interfaces.iter().map(|interface| {
        let hook = match (interface.hook.as_deref(), interface.state.as_deref()) {
            (Some(hook), None | Some("attached")) if interface.ahead == 0 => hook.to_owned(),
            (Some(hook), None | Some("attached")) => format!("{hook}, {} ahead", interface.ahead),
            (Some(_), Some(state)) => state.to_uppercase(),
            (None, _) => "not attached".into(),
        };
        let since = interface.since.as_ref().map_or_else(|| "-".into(), |since| when(since, now));
        let residual = count(interface.residual.packets);
        let names = [interface.interface.clone(), hook, since];
        names.into_iter().chain(sums(width, &interface.total)).chain([residual]).collect()
    });
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    text += &table(INDENT, &rows, &numbers);
    text += &ahead(status);
    text += &nics(status, width);
    text += "\nTraffic since the start\n";
    text += &totals(status, width);
    text += "\nLosses\n";
    let losses = &status.losses;
    let rows = [
        ("ring-buffer events (alerts rebuilt from the flow table)", losses.events),
        ("packets without flow detail (overflow: flow table full)", losses.overflow_packets),
        ("flows evicted (store full: their sums are kept)", losses.flows_evicted),
        ("alerts not written", losses.alerts_unwritten),
        ("alerts dropped, queue full", losses.alerts_queue_full),
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

/// Where alerts go, what that promises, and how far it is; of both pages.
pub(super) fn sinks(sinks: &[SinkStatus]) -> Vec<(&'static str, String)> {
    let of = |sink: &SinkStatus| {
        let SinkStatus { name, kind, promise, backlog, oldest_seconds } = sink;
        let kind = if name == kind { String::new() } else { format!("{kind}, ") };
        // What is younger than a second is on its way.
        let lag = match oldest_seconds {
            0 => "nothing waits".to_owned(),
            _ => format!("{} wait, oldest {}", count(*backlog), span(*oldest_seconds as i64)),
        };
        ("alerts to", format!("{name} ({kind}{promise}): {lag}"))
    };
    sinks.iter().map(of).collect()
}

/// Sockets that are open from before it was enforced.
fn open_sockets(open: &BypassOpen) -> Vec<String> {
    let of = |socket: &OpenSocketStatus| {
        let OpenSocketStatus { kind, inode, user, interface, held_by } = socket;
        let does =
            if kind == "xdp" { "AF_XDP, it sends past the hook" } else { "AF_PACKET, it may send past the hook" };
        let held_by = if held_by.is_empty() { "nobody".to_owned() } else { held_by.join(", ") };
        format!("socket {inode} of user {user} on {interface}, open from before, held by {held_by}: {does}")
    };
    let more = (open.left_out > 0).then(|| format!("and {} more", counted(open.left_out, "socket")));
    let unlisted = (open.unlisted_xdp > 0)
        .then(|| format!("{} that the kernel does not list", counted(open.unlisted_xdp as usize, "AF_XDP socket")));
    open.sockets.iter().map(of).chain(more).chain(unlisted).collect()
}

fn helper(helper: &HelperStatus) -> String {
    match (helper.answers, &helper.why) {
        (None, _) => "not asked yet".into(),
        (Some(true), _) => "answers".into(),
        (Some(false), Some(why)) => format!("does not answer: {why} (egress-monitor-helper.socket)"),
        (Some(false), None) => "does not answer".into(),
    }
}

/// Programs of others that have their say first; of `status`.
fn ahead(status: &Status) -> String {
    let mut text = String::new();
    for interface in &status.interfaces {
        for ProgramAhead { id, name, tag, loaded_by, held_by } in &interface.programs_ahead {
            let name = if name.is_empty() { "without a name" } else { name };
            let held = if held_by.is_empty() { "nobody".to_owned() } else { held_by.join(", ") };
            let line = if name == tag && tag == loaded_by {
                format!("program {id}: {tag}")
            } else {
                format!("program {id} ({name}, tag {tag}), loaded by user {loaded_by}, held open by {held}")
            };
            text += &format!("  ahead of ours on {}: {}\n", plain(&interface.interface), plain(&line));
        }
    }
    text
}

/// What the devices sent beside what passed the hooks; of `status`.
fn nics(status: &Status, width: Width) -> String {
    let heading: &[&str] = match width {
        Width::Short => &["interface", "sent", "dropped", "by the qdisc", "lost", "unaccounted"],
        Width::Wide => &[
            "interface",
            "counts",
            "sent",
            "bytes",
            "dropped",
            "by the qdisc",
            "in flight",
            "lost",
            "hidden at most",
            "unaccounted",
            "",
        ],
    };
    let mut rows = vec![cells(heading)];
    let mut before = vec![];
    for interface in &status.interfaces {
        let Some(nic) = &interface.nic else { continue };
        let numbers =
            [nic.sent.packets, nic.dropped_by_us.packets, nic.qdisc_drops, nic.in_flight, nic.lost, nic.hidden_at_most];
        let [sent, dropped, queue, waiting, lost, hidden] = numbers.map(count);
        let unaccounted = match nic.not_comparable {
            Some(_) => ["not comparable".into(), String::new()],
            None => [count(nic.unaccounted.packets), size(nic.unaccounted.bytes)],
        };
        let (name, [surplus, bytes]) = (interface.interface.clone(), unaccounted);
        rows.push(match width {
            Width::Short => vec![name, sent, dropped, queue, lost, surplus],
            Width::Wide => {
                let (counts, sent_bytes) = (nic.counts.clone(), size(nic.sent.bytes));
                vec![name, counts, sent, sent_bytes, dropped, queue, waiting, lost, hidden, surplus, bytes]
            }
        });
        before.push(format!(
            "  {} had sent {} packets ({}) before, {} of them while the program was being attached\n",
            interface.interface,
            count(nic.before_attach.packets),
            size(nic.before_attach.bytes),
            count(nic.while_attaching.packets)
        ));
        let name = &interface.interface;
        if let Some(why) = &nic.not_comparable {
            before.push(format!("  {name} is not comparable: {why}\n"));
        }
        if nic.device_drops > 0 {
            before.push(format!("  {name} says that it dropped {} packets\n", count(nic.device_drops)));
        }
        if nic.filtered > 0 {
            let filtered = count(nic.filtered);
            before.push(format!(
                "  filters on {name} dropped {filtered} packets or sent them another way; what came back passed the hook twice\n"
            ));
        }
    }
    if rows.len() == 1 {
        return String::new();
    }
    let surplus = status.interfaces.iter().filter_map(|interface| interface.nic.as_ref());
    let surplus: u64 = surplus.map(|nic| nic.unaccounted.packets).sum();
    let verdict = if surplus == 0 {
        "  nothing left that did not pass the hooks\n".to_owned()
    } else {
        format!("  FINDING: {} packets left without passing a hook\n", count(surplus))
    };
    let names = if width == Width::Short { 1 } else { 2 };
    let numbers: Vec<usize> = (names..heading.len()).collect();
    let table = table(INDENT, &rows, &numbers);
    format!("\nNetwork cards since the program was attached\n{table}{}{verdict}", before.concat())
}

/// What stands before a finding: one so bad is for the record, nothing is wrong.
pub(super) fn heading(finding: &FindingStatus) -> &'static str {
    if ["Informational", "Low"].contains(&finding.severity.as_str()) { "notice" } else { "FINDING" }
}

/// What somebody should know who looks for the first time today, beside the findings.
pub(super) fn attention(status: &Status, now: i128) -> Vec<(&'static str, String)> {
    let mut lines: Vec<(&'static str, String)> = Vec::new();
    lines.extend(status.mode_by_hand.iter().map(|by_hand| ("mode", mode::by_hand(by_hand, now))));
    lines.extend(status.policy.last_good.iter().map(|of| ("policy", mode::last_good(of, now))));
    for rule in &status.policy.suspended {
        let why = "its daily budget is used up (egress-monitor rules)";
        lines.push(("SUSPENDED", format!("until midnight UTC: {rule}, {why}")));
    }
    if let Some(unconfirmed) = &status.unconfirmed {
        let (back, left) = (&unconfirmed.back_to, span(unconfirmed.seconds_left));
        let digest = short(&back.digest);
        lines.push((
            "policy",
            format!("UNCONFIRMED, rolls back in {left} to {digest} ({}): `egress-monitor confirm` keeps it", back.mode),
        ));
    }
    for near in &status.rule_times {
        let when = match near.what.as_str() {
            "expired" => format!("EXPIRED {} ago", span(-near.seconds)),
            what => format!("{what} in {}", span(near.seconds)),
        };
        lines.push(("rule", format!("{} {when} ({})", near.rule, near.at)));
    }
    if status.rule_times_left_out > 0 {
        lines.push(("rule", format!("and {}", counted(status.rule_times_left_out, "more rule"))));
    }
    lines.extend(status.reload_error.iter().map(|error| ("REFUSED", format!("a newer policy: {error}"))));
    lines.extend(status.state_error.iter().map(|error| ("NOT KEPT", format!("over a restart: {error}"))));
    if let Some(behind) = clock_behind(&status.clock) {
        lines.push(("clock", format!("BEHIND: rules and budgets go by {behind} (egress-monitor clock)")));
    }
    let TamperStatus { open, contended, .. } = &status.tamper;
    lines.extend(open.iter().map(|one| ("TAMPERED", format!("{}, {}: {}", one.kind, age(&one.since, now), one.what))));
    lines.extend(contended.iter().map(|of| ("CONTENDED", format!("{of}: somebody undoes what is put right"))));
    lines
}

/// Whether somebody has changed what is in the kernel.
fn tampered(status: &TamperStatus, now: i128) -> Vec<(&'static str, String)> {
    let TamperStatus { looked, compared, found, healed, open, last, .. } = status;
    if looked.is_none() {
        return Vec::new();
    }
    let compared = compared.as_ref().map_or_else(|| "not yet".to_owned(), |at| age(at, now));
    let mut lines = vec![match found {
        0 => ("tamper", format!("none found; all bytes of the policy in the kernel compared {compared}")),
        _ => {
            ("tamper", format!("found {}, put right {}; all bytes compared {compared}", count(*found), count(*healed)))
        }
    }];
    if open.is_empty() {
        lines.extend(last.iter().map(|one| ("", format!("last {}, {}: {}", one.kind, age(&one.since, now), one.what))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use monitor_api::status::{GroupStatus, InterfaceStatus, UnparsedStatus};

    use super::*;

    fn sums(packets: u64) -> Sums {
        Sums { packets, segments: packets, bytes: 100 * packets, wire_bytes: 100 * packets }
    }

    #[test]
    fn the_sum_is_over_edges_and_what_is_counted_apart_has_a_sum_of_its_own() {
        let interface = |name: &str, role: Option<&str>| InterfaceStatus {
            interface: name.into(),
            role: role.map(Into::into),
            ..InterfaceStatus::default()
        };
        let group = |name: &str, packets| GroupStatus {
            interface: name.into(),
            verdict: "allowed".into(),
            sums: sums(packets),
            ..GroupStatus::default()
        };
        let unparsed = UnparsedStatus { interface: "wg0".into(), passed: sums(5), ..UnparsedStatus::default() };
        let mut status = Status {
            interfaces: vec![
                interface("eth0", Some("edge")),
                interface("wg0", Some("inner")),
                // Of a life before.
                interface("eth1", None),
            ],
            totals: vec![group("eth0", 1_000), group("eth1", 200), group("wg0", 30)],
            unparsed: vec![unparsed],
            ..Status::default()
        };
        let packets = |status: &Status, name: &str| {
            let text = totals(status, Width::Wide);
            let rest = text.lines().find_map(|line| line.trim_start().strip_prefix(name));
            rest.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned)
        };
        assert_eq!(packets(&status, "all ").as_deref(), Some("1,200"));
        assert_eq!(packets(&status, "counted apart ").as_deref(), Some("35"));
        status.interfaces[1].role = Some("edge".into());
        assert_eq!(packets(&status, "all ").as_deref(), Some("1,235"));
        assert_eq!(packets(&status, "counted apart "), None);
    }
}
