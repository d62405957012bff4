//! What `run` says to people when it has attached everything, and when it has ended.

use super::{
    Width, coverage,
    mode::{by_hand, last_good},
    needs::cut_off,
    short, totals,
};
use crate::model::incident::IncidentKind;
use monitor_api::{started::Started, status::Status};
use monitor_policy::text::{count, counted, plain, size, span};

/// What was attached and how, what counts as inside, where things are. The policy has so many `rules`; alerts go to a terminal
/// or to a program.
pub fn started(started: &Started, rules: usize, now: i128, to_terminal: bool) -> String {
    let mode =
        if started.mode.enforces() { "ENFORCE: denied packets are dropped" } else { "observe: nothing is dropped" };
    let mut lines = vec![("mode", mode.to_owned())];
    lines.extend(started.mode_by_hand.iter().map(|of| ("", by_hand(of, now))));
    lines.extend(started.last_good.iter().map(|of| ("", last_good(of, now))));
    let hook = |index| Some(started.attached.iter().find(|one| one.ifindex == index)?.hook.clone());
    lines.extend(coverage::lines(&started.coverage, hook));
    lines.push(("inside", format!("{} (zone {})", started.inside, started.zone)));
    lines.push(("policy", format!("{}, {}", short(&started.policy), counted(rules, "rule"))));
    for dataset in &started.datasets {
        let age = dataset.age_seconds.map_or_else(|| "of unknown age".into(), |s| format!("{} days old", s / 86_400));
        lines.push(("geo data", format!("{} {}, {age}", dataset.name, dataset.version)));
    }
    let cut_off = cut_off(&started.cut_off);
    if !cut_off.is_empty() {
        let does = if started.mode.enforces() {
            "this host needs, and enforce drops:"
        } else {
            "this host needs, and enforce would drop:"
        };
        lines.push(("cut off", does.into()));
        lines.extend(cut_off.into_iter().map(|line| ("", line)));
    }
    lines.push(("metrics", started.listen.map_or_else(|| "off".into(), |address| format!("http://{address}/metrics"))));
    lines.push(("control", format!("{} (egress-monitor status, flows)", started.socket.display())));
    lines.push(("memory", format!("{} in the kernel ([monitor] flows, cache)", size(started.kernel_memory_bytes))));
    let form = if to_terminal { "a line each; JSON where it is no terminal" } else { "one JSON object a line" };
    lines.push(("alerts", format!("standard output, {form}")));
    let end = if started.outlives {
        "counting and enforcing go on after it; `egress-monitor detach` ends them"
    } else {
        "Ctrl-C detaches everything and prints totals"
    };
    lines.push(("end", end.into()));
    let mut text = format!("egress-monitor {}\n", started.version);
    for (name, value) in lines {
        text += &format!("  {name:<13}{}\n", plain(&value));
    }
    text
}

/// The closing table. `outlives`: the programs stay attached.
pub fn ended(status: &Status, outlives: bool, width: Width) -> String {
    let alerts: u64 = status.alerts.iter().filter(|alert| is_incident(&alert.kind)).map(|alert| alert.count).sum();
    format!(
        "\negress-monitor: {} after {}; alerts on incidents: {}\n{}",
        if outlives { "ended, with everything left attached (`egress-monitor detach` ends that)," } else { "detached" },
        span(status.uptime_seconds),
        count(alerts),
        totals(status, width)
    )
}

fn is_incident(kind: &str) -> bool {
    IncidentKind::ALL.iter().any(|of| of.name() == kind)
}
