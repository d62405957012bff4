//! What `run` says to people, on standard error: a few lines when it works, a table when it ends, and the log in
//! between. Standard output belongs to the alerts.

use std::io::{IsTerminal, Write};

use serde_json::json;
use tracing::Level;

use crate::{
    cli::render::totals,
    http::documents::status::status,
    model::{Host, now, rfc3339},
    store::MonitorState,
};
use crate::{cli::run::KernelLog, daemon::Started};
use monitor_policy::text::{count, counted, size, span};

/// Starts the log.
pub fn start_log(kernel: KernelLog) {
    let level = match kernel {
        KernelLog::Off => Level::INFO,
        KernelLog::Debug => Level::DEBUG,
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_ansi(colour);
    // Another log in the same process, in tests: that one is used.
    let _ = log.with_target(false).try_init();
}

/// Writes to standard error; a closed one is no reason to end.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// What was attached and how, what counts as inside, where things are.
pub fn started(started: &Started, json: bool) {
    say(&if json { started_json(started) } else { started_text(started) });
}

fn started_json(started: &Started) -> String {
    let in_force = &started.in_force;
    let datasets: Vec<_> = in_force
        .datasets
        .iter()
        .map(|dataset| json!({ "name": dataset.name, "version": dataset.version, "age_seconds": dataset.age_seconds(now()) }))
        .collect();
    let line = json!({
        "started": rfc3339(now()),
        "version": env!("CARGO_PKG_VERSION"),
        "mode": in_force.mode.name(),
        "attached": started.attachments,
        "zone": in_force.policy.zone,
        "inside": in_force.inside,
        "policy": in_force.policy.digest,
        "datasets": datasets,
        "listen": started.listen,
        "socket": started.socket,
        "kernel_memory_bytes": started.kernel_memory,
    });
    format!("{line}\n")
}

fn started_text(started: &Started) -> String {
    let in_force = &started.in_force;
    let mode =
        if in_force.mode.enforces() { "ENFORCE: denied packets are dropped" } else { "observe: nothing is dropped" };
    let mut lines = vec![("mode", mode.to_owned())];
    for attached in &started.attachments {
        lines.push(("attached", format!("{} (egress, {})", attached.interface, attached.hook)));
    }
    lines.push(("inside", format!("{} (zone {})", in_force.inside, in_force.policy.zone)));
    let digest: String = in_force.policy.digest.chars().take(16).collect();
    lines.push(("policy", format!("{digest}…, {}", counted(in_force.policy.rules.len(), "rule"))));
    for dataset in &in_force.datasets {
        let age =
            dataset.age_seconds(now()).map_or_else(|| "of unknown age".into(), |s| format!("{} days old", s / 86_400));
        lines.push(("geo data", format!("{} {}, {age}", dataset.name, dataset.version)));
    }
    lines.push(("metrics", started.listen.map_or_else(|| "off".into(), |address| format!("http://{address}/metrics"))));
    lines.push(("control", format!("{} (egress-monitor status, flows)", started.socket.display())));
    lines.push(("memory", format!("{} in the kernel ([monitor] flows, cache)", size(started.kernel_memory))));
    lines.push(("alerts", "standard output, one JSON object a line".into()));
    lines.push(("end", "Ctrl-C detaches everything and prints totals".into()));
    let lines: String = lines.iter().map(|(name, value)| format!("  {name:<10}{value}\n")).collect();
    format!("egress-monitor {}\n{lines}", env!("CARGO_PKG_VERSION"))
}

/// The closing table.
pub fn ended(facts: &MonitorState, json: bool) {
    let status = status(facts, &Host::read().name, now());
    if json {
        let line = serde_json::to_string(&status).unwrap_or_default();
        say(&format!("{line}\n"));
        return;
    }
    let alerts: u64 = status.alerts.iter().filter(|alert| alert.kind == "egress").map(|alert| alert.count).sum();
    say(&format!(
        "\negress-monitor: detached after {}; alerts on flows: {}\n{}",
        span(status.uptime_seconds),
        count(alerts),
        totals(&status)
    ));
}
