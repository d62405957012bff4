//! Status and flow documents in, text for people out: aligned columns, units, nothing that needs a second look at
//! three in the morning. Called by `run` (closing table), `status` and `flows`.

use std::fmt::Write as _;

use super::{
    flows::{FlowRow, Flows},
    status::{Status, Sums},
};

/// Rows under a heading, each column as wide as its widest cell. `right` tells which columns hold numbers.
#[must_use]
pub fn table(heading: &[&str], right: &[bool], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(&widths).zip(right) {
            let fill = " ".repeat(width - cell.chars().count());
            let cell = plain(cell);
            line += &if *right { format!("  {fill}{cell}") } else { format!("  {cell}{fill}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Without what could move a terminal's cursor: interface names and rule ids are other people's text.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.2 MiB`; exact below 1 KiB.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(6);
    // Two powers of ten are enough for one decimal: no rounding of u64 into f64 that shows.
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
}

/// `3 d 4 h`, `5 min 6 s`.
#[must_use]
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match () {
        () if days > 0 => format!("{days} d {hours} h"),
        () if hours > 0 => format!("{hours} h {minutes} min"),
        () if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

/// The four cells of sums.
fn sums(sums: &Sums) -> [String; 4] {
    [count(sums.packets), count(sums.segments), size(sums.bytes), size(sums.wire_bytes)]
}

/// The closing table of `run`, and part of `status`: what was counted, and that it adds up.
#[must_use]
pub fn totals(status: &Status) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
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
    let heading = ["interface", "country", "class", "verdict", "packets", "segments", "bytes", "on the wire"];
    let mut text = table(&heading, &[false, false, false, false, true, true, true, true], &rows);
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
        &format!("{}, {} rules, in force for {}", short(&policy.digest), policy.rules, span(policy.age_seconds)),
    );
    if let Some(error) = &status.reload_error {
        line("", &format!("REFUSED a newer one: {error}"));
    }
    for dataset in &status.datasets {
        let age = dataset.age_days.map_or_else(|| "of unknown age".into(), |days| format!("{days} days old"));
        let stale = if dataset.stale { ": STALE, import a newer one" } else { "" };
        line("geo data", &format!("{} {}, {age}{stale}", dataset.name, dataset.version));
    }
    match &status.epoch {
        Some(epoch) => line(
            "epoch",
            &format!(
                "{} closed {}; {} of {} places in the flow table used",
                epoch.number,
                epoch.closed,
                count(epoch.flows as u64),
                count(epoch.capacity.into())
            ),
        ),
        None => line("epoch", "none closed yet"),
    }
    for condition in &status.conditions {
        line("WRONG", &format!("{} since {}", condition.kind, condition.since));
    }
    text += "\nInterfaces\n";
    let rows: Vec<Vec<String>> = status
        .interfaces
        .iter()
        .map(|interface| {
            let hook = interface.hook.clone().unwrap_or_else(|| "not attached".into());
            let since = interface.since.clone().unwrap_or_else(|| "-".into());
            let residual = count(interface.residual.packets);
            [interface.interface.clone(), hook, since]
                .into_iter()
                .chain(sums(&interface.total))
                .chain([residual])
                .collect()
        })
        .collect();
    let heading = ["interface", "hook", "since", "packets", "segments", "bytes", "on the wire", "residual"];
    text += &table(&heading, &[false, false, false, true, true, true, true, true], &rows);
    text += "\nTraffic since the start\n";
    text += &totals(status);
    text += "\nLosses\n";
    let losses = &status.losses;
    let rows: Vec<Vec<String>> = [
        ("ring-buffer events (alerts rebuilt from the flow table)", losses.events),
        ("packets not told apart by flow (flow table full)", losses.overflow_packets),
        ("flows summed up (store full)", losses.flows_evicted),
        ("alerts not written", losses.alerts_unwritten),
        ("alerts that found the queue full", losses.alerts_queue_full),
        ("epochs not closed in time (traffic comes with the next)", losses.epochs_failed),
        ("reloads refused", losses.reloads_refused),
    ]
    .map(|(what, number)| vec![what.to_owned(), count(number)])
    .to_vec();
    text += &table(&["what", "count"], &[false, true], &rows);
    text += "\nAlerts\n";
    let rows: Vec<Vec<String>> = status
        .alerts
        .iter()
        .map(|alert| vec![alert.kind.clone(), alert.severity.clone(), count(alert.count)])
        .collect();
    text += &table(&["type", "severity", "count"], &[false, false, true], &rows);
    text += "\nNot visible from here\n";
    for spot in &status.blind_spots {
        text += &format!("  - {}\n", plain(spot));
    }
    text
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
    if let Some(by) = by {
        let rows: Vec<Vec<String>> = reply
            .groups
            .iter()
            .map(|row| {
                let names = [row.key.clone(), row.verdict.clone(), count(row.flows)];
                names.into_iter().chain(sums(&row.sums)).chain([row.last_seen.clone()]).collect()
            })
            .collect();
        let heading = [by, "verdict", "flows", "packets", "segments", "bytes", "on the wire", "last seen"];
        text += &table(&heading, &[false, false, true, true, true, true, true, false], &rows);
    } else {
        let rows: Vec<Vec<String>> = reply
            .flows
            .iter()
            .map(|row| {
                let names = [
                    row.interface.clone(),
                    protocol(row),
                    endpoint(row.source, row.source_port, row),
                    destination(row),
                    row.country.clone(),
                    row.class.clone(),
                    row.rule.clone().unwrap_or_else(|| "-".into()),
                    row.verdict.clone(),
                ];
                names.into_iter().chain(sums(&row.sums)).chain([row.last_seen.clone()]).collect()
            })
            .collect();
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
        let mut right = [false; 13];
        right[8..12].fill(true);
        text += &table(&heading, &right, &rows);
    }
    let rest = [
        ("not shown (raise --top)", Some(reply.rest.flows), &reply.rest.sums),
        ("older flows, summed up", Some(reply.evicted.flows), &reply.evicted.sums),
        ("flow table full", None, &reply.overflow),
        ("not parsed", None, &reply.unparsed),
        ("everything at the hooks", None, &reply.hook),
    ];
    let rows: Vec<Vec<String>> = rest
        .into_iter()
        .map(|(what, flows, of)| {
            let flows = flows.map_or_else(|| "-".into(), count);
            [what.to_owned(), flows].into_iter().chain(sums(of)).collect()
        })
        .collect();
    text.push('\n');
    let heading = ["besides", "flows", "packets", "segments", "bytes", "on the wire"];
    text + &table(&heading, &[false, true, true, true, true, true], &rows)
}

fn protocol(row: &FlowRow) -> String {
    row.protocol_name.clone().unwrap_or_else(|| row.protocol.to_string())
}

fn has_ports(row: &FlowRow) -> bool {
    !row.later_fragment && matches!(row.protocol, 6 | 17 | 33 | 132 | 136)
}

fn endpoint(address: std::net::IpAddr, port: u16, row: &FlowRow) -> String {
    if has_ports(row) { std::net::SocketAddr::new(address, port).to_string() } else { address.to_string() }
}

fn destination(row: &FlowRow) -> String {
    let port = row.destination_port;
    match row.protocol {
        1 | 58 if !row.later_fragment => format!("{} type {} code {}", row.destination, port >> 8, port & 0xff),
        _ if row.later_fragment => format!("{} (fragments)", row.destination),
        _ => endpoint(row.destination, port, row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable_and_sizes_exact_where_they_can_be() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 1_023, 1_024, 1_536, 1_048_575, 1 << 20, u64::MAX].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "1.0 MiB", "15.9 EiB"]
        );
        assert_eq!([-5, 59, 61, 3_700, 100_000].map(span), ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 3 h"]);
    }

    #[test]
    fn columns_line_up_and_hostile_text_stays_in_its_cell() {
        let rows = [vec!["eth0".to_owned(), "5".to_owned()], vec!["a\u{1b}[2J".to_owned(), "1,000".to_owned()]];
        let text = table(&["name", "packets"], &[false, true], &rows);
        assert_eq!(text, "  name   packets\n  eth0         5\n  a\u{fffd}[2J    1,000\n");
    }
}
