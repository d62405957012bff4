//! The status document in, the first page of `egress-monitor status` out: what is wrong, what is watched and what is not, what
//! is or would be dropped. One screen on a good day.

use std::collections::BTreeMap;

use super::{
    coverage,
    status::{attention, heading, sinks},
};
use monitor_api::status::{Status, Sums};
use monitor_policy::text::{age, count, plain, size, span};

/// Countries that are named.
const COUNTRIES: usize = 5;

/// Columns of a heading.
const HEADING: usize = 12;

/// `egress-monitor status` at `now` (UTC nanoseconds since 1970).
pub fn summary(status: &Status, now: i128) -> String {
    let wrong = status.not_ready.is_some() || status.findings.iter().any(|one| heading(one) == "FINDING");
    let policy: String = status.policy.digest.chars().take(8).collect();
    let mut text = format!(
        "{}  {} · {} · up {} · policy {policy}\n",
        if wrong { "NOT OK" } else { "OK" },
        if status.mode == "enforce" { "ENFORCE" } else { "observe" },
        status.inside,
        span(status.uptime_seconds)
    );
    let mut lines: Vec<(&str, String)> = Vec::new();
    lines.extend(status.not_ready.iter().map(|why| ("NOT RELIABLE", why.clone())));
    for finding in &status.findings {
        let heading = heading(finding);
        lines.push((heading, format!("{}: {}, {}", finding.kind, finding.title, age(&finding.since, now))));
        if heading == "FINDING" {
            lines.push(("", finding.hint.clone()));
        }
    }
    lines.extend(attention(status, now));
    let sums = |index: u32| {
        let name = &status.coverage.iter().find(|device| device.index == index)?.name;
        let of = status.interfaces.iter().find(|interface| interface.interface == *name)?;
        let surplus = of.nic.as_ref().map_or(0, |nic| nic.unaccounted.packets);
        let account = match surplus {
            0 if of.nic.as_ref().is_some_and(|nic| nic.not_comparable.is_some()) => "no account of its own".to_owned(),
            0 => "all accounted for".to_owned(),
            packets => format!("{} MORE SENT THAN SEEN", count(packets)),
        };
        Some(format!("{} packets, {account}", count(of.total.packets)))
    };
    lines.extend(coverage::lines(&status.coverage, sums));
    let (verdict, heading) = if status.mode == "enforce" { ("denied", "dropped") } else { ("observed", "would drop") };
    lines.push((heading, by_country(status, verdict)));
    lines.extend(sinks(&status.sinks));
    for (heading, value) in lines {
        text += format!("    {heading:<HEADING$} {}", plain(&value)).trim_end();
        text.push('\n');
    }
    text + "    everything: egress-monitor status --all\n"
}

/// What has this verdict, by country, most bytes first.
fn by_country(status: &Status, verdict: &str) -> String {
    let mut countries: BTreeMap<&str, Sums> = BTreeMap::new();
    for group in status.totals.iter().filter(|group| group.verdict == verdict) {
        *countries.entry(&group.country).or_default() += &group.sums;
    }
    let mut sorted: Vec<_> = countries.into_iter().collect();
    sorted.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.wire_bytes));
    let named = sorted.iter().take(COUNTRIES).map(|(country, sums)| format!("{country} {}", size(sums.wire_bytes)));
    let mut text = named.collect::<Vec<_>>().join(", ");
    if sorted.len() > COUNTRIES {
        text += &format!(" and {} more", sorted.len() - COUNTRIES);
    }
    if text.is_empty() { "nothing".into() } else { text }
}

#[cfg(test)]
mod tests {
    use monitor_api::status::{DeviceStatus, FindingStatus, GroupStatus, InterfaceStatus, PolicyStatus, SinkStatus};

    use super::*;

    fn good() -> Status {
        let group = |country: &str, verdict: &str, wire_bytes| GroupStatus {
            country: country.into(),
            verdict: verdict.into(),
            sums: Sums { wire_bytes, ..Sums::default() },
            ..GroupStatus::default()
        };
        Status {
            mode: "observe".into(),
            inside: "EEA".into(),
            uptime_seconds: 125,
            policy: PolicyStatus { digest: "9decf942aa".into(), ..PolicyStatus::default() },
            coverage: vec![
                DeviceStatus {
                    index: 2,
                    name: "eth0".into(),
                    role: "edge".into(),
                    since: Some("2026-11-29T20:00:00Z".into()),
                    ..DeviceStatus::default()
                },
                DeviceStatus {
                    index: 3,
                    name: "br0".into(),
                    role: "transit".into(),
                    why: Some("its packets pass eth0".into()),
                    ..DeviceStatus::default()
                },
            ],
            interfaces: vec![InterfaceStatus {
                interface: "eth0".into(),
                total: Sums { packets: 107, ..Sums::default() },
                ..InterfaceStatus::default()
            }],
            totals: vec![
                group("US", "observed", 142),
                group("CN", "observed", 1 << 20),
                group("CN", "observed", 1 << 20),
                group("DE", "allowed", 1 << 30),
            ],
            sinks: vec![
                SinkStatus {
                    name: "stdout".into(),
                    kind: "stdout".into(),
                    promise: "handed over".into(),
                    ..SinkStatus::default()
                },
                SinkStatus {
                    name: "siem".into(),
                    kind: "webhook".into(),
                    promise: "at least once".into(),
                    backlog: 1_234,
                    oldest_seconds: 62,
                },
            ],
            ..Status::default()
        }
    }

    #[test]
    fn a_good_day_is_one_screen_of_eighty_columns() {
        let finding = |kind: &str, severity: &str| FindingStatus {
            kind: kind.into(),
            severity: severity.into(),
            title: "Something".into(),
            hint: "Do it".into(),
            since: "1970-01-01T00:00:00Z".into(),
        };
        let text = summary(&Status { findings: vec![finding("stale_geo_data", "Low")], ..good() }, 65_000_000_000);
        assert_eq!(
            text,
            "OK  observe · EEA · up 2 min 5 s · policy 9decf942\n    \
             notice       stale_geo_data: Something, 1 min 5 s ago\n    \
             watched      eth0 (edge, 107 packets, all accounted for)\n    \
             not watched  br0 (transit): its packets pass eth0\n    \
             would drop   CN 2.0 MiB, US 142 B\n    \
             alerts to    stdout (handed over): nothing waits\n    \
             alerts to    siem (webhook, at least once): 1,234 wait, oldest 1 min 2 s\n    \
             everything: egress-monitor status --all\n"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let bad = Status { findings: vec![finding("detached", "Critical")], mode: "enforce".into(), ..good() };
        let text = summary(&bad, 65_000_000_000);
        assert!(text.starts_with("NOT OK  ENFORCE · EEA"), "{text}");
        assert!(
            text.contains("    FINDING      detached: Something, 1 min 5 s ago\n                 Do it\n"),
            "{text}"
        );
        assert!(text.contains("    dropped      nothing\n"), "{text}");
        assert!(summary(&Status { not_ready: Some("x".into()), ..good() }, 0).contains("    NOT RELIABLE x\n"));
    }
}
