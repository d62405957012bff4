//! An incident in, what `egress-monitor alerts show` prints out: what it is, what it came to, its largest flows.

use super::{INDENT, destination, protocol, rule, target};
use crate::cli::output::{cells, table};
use monitor_api::{
    attribution::Attribution,
    incidents::{IncidentRow, OneIncident},
};
use monitor_policy::text::{count, counted, plain, size, when};

/// `egress-monitor alerts show` at `now` (UTC nanoseconds since 1970).
pub fn incident(document: &OneIncident, now: i128) -> String {
    let OneIncident { incident, flows, rest, .. } = document;
    let mut text = format!("{} {} {}, {}, open\n", incident.severity, incident.kind, incident.id, incident.verdict);
    let mut line = |name: &str, value: String| text += &format!("  {name:<7}{}\n", plain(&value));
    line("what", what(incident));
    if let Some(source) = incident.source {
        line("from", format!("{source}, forwarded"));
    }
    if let Some(attribution) = &incident.attribution {
        who(attribution).into_iter().for_each(|(name, value)| line(name, value));
    }
    line("since", format!("{} ({})", when(&incident.first_seen, now), incident.first_seen));
    line("last", when(&incident.last_seen, now));
    let of_flows = match incident.flows {
        0 => String::new(),
        flows => {
            let more = if incident.more_peers { "more than " } else { "" };
            let (flows, peers) = (counted(flows as usize, "flow"), incident.peers);
            format!(", {flows} to {more}{peers} address{}", if peers == 1 { "" } else { "es" })
        }
    };
    let sums = &incident.sums;
    line("sum", format!("{} on wire, {} packets{of_flows}", size(sums.wire_bytes), count(sums.packets)));
    if !flows.is_empty() {
        text.push('\n');
        let rows = flows.iter().map(|row| {
            vec![
                target(row.source, row.source_port, row.protocol),
                format!("→ {}", destination(row)),
                protocol(row),
                count(row.sums.packets),
                size(row.sums.wire_bytes),
                when(&row.last_seen, now),
            ]
        });
        let heading = cells(&["source", "→ destination", "proto", "packets", "on wire", "last"]);
        text += &table(INDENT, &std::iter::once(heading).chain(rows).collect::<Vec<_>>(), &[3, 4]);
    }
    text += &match rest {
        Some(rest) if rest.flows > 0 || rest.sums.packets > 0 => format!(
            "  {} further flows: {} packets, {}\n",
            count(rest.flows),
            count(rest.sums.packets),
            size(rest.sums.wire_bytes)
        ),
        Some(_) => String::new(),
        None => "  some of these flows are older than the incident: their sums are of all that they sent\n".into(),
    };
    text
}

/// Who sends, a line a process.
fn who(of: &Attribution) -> Vec<(&'static str, String)> {
    let mut lines: Vec<(&str, String)> = of.sentence().map(|by| ("by", by)).into_iter().collect();
    for process in &of.processes {
        let login = process.login.map(|login| format!(", logged in as {login}")).unwrap_or_default();
        let command = process.command.as_ref().map(|command| format!(": {command}")).unwrap_or_default();
        lines.push((
            "",
            format!(
                "pid {} since {}, {}, user {}{login}, parent {}, {}{command}",
                process.pid, process.started_at, process.executable, process.user, process.parent, process.cgroup
            ),
        ));
    }
    if let Some(missing) = &of.missing {
        lines.push((if lines.is_empty() { "by" } else { "" }, format!("unknown ({}): {missing}", of.method)));
    }
    lines
}

fn what(incident: &IncidentRow) -> String {
    let place = |class: &str| match &incident.country {
        Some(country) => format!("{country} ({class})"),
        None => class.to_owned(),
    };
    match (&incident.network, &incident.class, &incident.reason) {
        (Some(network), Some(class), _) => {
            format!("to {network}, {}, by {}", place(class), rule(incident.rule.as_deref()))
        }
        (None, Some(class), _) => format!("to {}", place(class)),
        (_, None, reason) => {
            let interface = incident.interface.as_deref().unwrap_or_default();
            format!("packets that can't be read ({}), on {interface}", reason.as_deref().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use monitor_api::{flows::Part, status::Sums};

    use super::*;

    fn sums(packets: u64) -> Sums {
        Sums { packets, segments: packets, bytes: packets * 100, wire_bytes: packets * 104 }
    }

    #[test]
    fn an_incident_says_what_it_is_and_that_what_is_not_shown_is_in_the_sums() {
        let incident = IncidentRow {
            id: "0123456789abcdef0123456789abcdef".into(),
            kind: "egress".into(),
            severity: "High".into(),
            class: Some("outside".into()),
            verdict: "observed".into(),
            country: Some("SG".into()),
            network: Some("198.51.100.0/24".into()),
            first_seen: "2027-01-15T08:00:00Z".into(),
            last_seen: "2027-01-15T08:10:00Z".into(),
            flows: 120,
            peers: 64,
            more_peers: true,
            sums: sums(50_000),
            ..IncidentRow::default()
        };
        let flow = r#"{"interface":"eth0","source":"192.0.2.1","source_port":40000,"destination":"198.51.100.9",
            "destination_port":443,"autonomous_system":null,"protocol":6,"protocol_name":"tcp","inner":null,
            "embedded":null,"opaque":null,"decided_by":"198.51.100.9","country":"SG","class":"outside","rule":null,
            "verdict":"observed","packets":10000,"segments":10000,"bytes":1000000,"wire_bytes":1040000,
            "first_seen":"2027-01-15T08:00:00Z","last_seen":"2027-01-15T08:10:00Z"}"#;
        let flows = vec![serde_json::from_str(flow).expect("a row")];
        let rest = Some(Part { flows: 119, sums: sums(40_000) });
        let document = OneIncident { incident, flows, rest, ..OneIncident::default() };
        let now = 1_800_000_000_000_000_000 + 600_000_000_000;
        assert_eq!(
            incident_text(&document, now),
            "High egress 0123456789abcdef0123456789abcdef, observed, open\n  \
             what   to 198.51.100.0/24, SG (outside), by zone default\n  \
             since  10m ago (2027-01-15T08:00:00Z)\n  \
             last   0s ago\n  \
             sum    4.9 MiB on wire, 50,000 packets, 120 flows to more than 64 addresses\n\n  \
             source           → destination       proto  packets     on wire  last\n  \
             192.0.2.1:40000  → 198.51.100.9:443  tcp     10,000  1015.6 KiB  0s ago\n  \
             119 further flows: 40,000 packets, 3.9 MiB\n"
        );
        let unread = IncidentRow {
            reason: Some("mpls".into()),
            interface: Some("eth0".into()),
            class: None,
            network: None,
            country: None,
            ..document.incident.clone()
        };
        let text = incident_text(&OneIncident { incident: unread, ..OneIncident::default() }, now);
        assert!(text.contains("  what   packets that can't be read (mpls), on eth0\n"), "{text}");
        assert!(text.ends_with("their sums are of all that they sent\n"), "{text}");
    }

    fn incident_text(document: &OneIncident, now: i128) -> String {
        super::incident(document, now)
    }
}
