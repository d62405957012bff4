//! The flow document in, the table of `egress-monitor flows` out: flow by flow or in groups, and all that is beside
//! them.

use super::{INDENT, Width, beyond, destination, endpoint, protocol, rule, second, sums, sums_heading, target};
use crate::cli::output::{cells, table};
use monitor_api::{
    flows::{AutonomousSystem, FlowRow, Flows},
    status::Sums,
};
use monitor_policy::text::{count, size, span, when};

/// `egress-monitor flows` at `now` (UTC nanoseconds since 1970).
pub fn flows(reply: &Flows, by: Option<&str>, now: i128, width: Width) -> String {
    let ago = |last: &str, active: bool| if active { "active".to_owned() } else { when(last, now) };
    let until = reply.until.as_deref().map_or_else(|| "-".to_owned(), second);
    let mut text = format!("Flows from {} until {until}, by bytes on the wire\n", second(&reply.since));
    if let (Some(seconds), Some(false)) = (reply.window_seconds, reply.window_complete) {
        text += &format!("  asked for {}: this is all that there is\n", span(seconds.into()));
    }
    if reply.flows.is_empty() && reply.groups.is_empty() {
        text += "  none\n";
    } else if let Some(by) = by {
        // A column only where the rows say something.
        let countries = reply.groups.iter().any(|row| row.country.is_some());
        let mut heading = cells(&[by]);
        let (country, last, indent) = match width {
            Width::Short => ("cc", "last", 0),
            Width::Wide => ("country", "last seen", INDENT),
        };
        heading.extend(countries.then(|| country.to_owned()));
        heading.extend(cells(&["verdict", "flows"]));
        let first = heading.len() - 1;
        // Beside two addresses there is room for one sum.
        let left_out = usize::from(width == Width::Short && reply.groups.iter().any(|row| row.peer.is_some()));
        heading.extend(cells(&sums_heading(width)[left_out..]));
        heading.push(last.into());
        let numbers: Vec<usize> = (first..heading.len() - 1).collect();
        let rows = reply.groups.iter().map(|row| {
            let mut key = row.name.as_ref().map_or_else(|| row.key.clone(), |name| format!("{} {name}", row.key));
            if by == "rule" {
                key = rule(Some(&key));
            }
            key += &row.peer.map(|peer| format!(" → {peer}")).unwrap_or_default();
            key += &row.decided_by.map(|decided| format!(" → {decided}")).unwrap_or_default();
            let country = countries.then(|| row.country.clone().unwrap_or_else(|| "-".into()));
            let names = [Some(key), country, Some(row.verdict.clone()), Some(count(row.flows))];
            let last = ago(&row.last_seen, row.active);
            names.into_iter().flatten().chain(sums(width, &row.sums).into_iter().skip(left_out)).chain([last]).collect()
        });
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
        text += &table(indent, &rows, &numbers);
    } else if width == Width::Short {
        let rows = reply.flows.iter().flat_map(|row| {
            let to = target(row.destination, row.destination_port, row.protocol);
            let way = format!("{} → {to}", endpoint(row.source, row.source_port, row.protocol));
            let names = [protocol(row), way, row.country.clone(), row.verdict.clone(), size(row.sums.wire_bytes)];
            let all = names.into_iter().chain([ago(&row.last_seen, row.active)]).collect();
            // Where it goes on to has a line of its own.
            let further = Some(beyond(row)).filter(|text| !text.is_empty());
            [Some(all), further.map(|text| vec![String::new(), format!("  {}", text.trim_start())])]
                .into_iter()
                .flatten()
        });
        let heading = cells(&["proto", "source → destination", "cc", "verdict", "on wire", "last"]);
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
        text += &table(0, &rows, &[4]);
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
                rule(row.rule.as_deref()),
                row.verdict.clone(),
            ];
            let last = ago(&row.last_seen, row.active);
            let all = names.into_iter().chain(sums(width, &row.sums)).chain([last]);
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
            "on wire",
            "last seen",
        ];
        let mut heading = cells(&heading);
        heading.extend(systems.then(|| "announced by".to_owned()));
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
        text += &table(INDENT, &rows, &[8, 9, 10, 11]);
    }
    let rest = [
        ("rest (not shown, raise --top)", Some(reply.rest.flows), &reply.rest.sums),
        ("other (not asked for)", Some(reply.other.flows), &reply.other.sums),
        ("evicted (older flows)", Some(reply.evicted.flows), &reply.evicted.sums),
        ("overflow (flow table full)", None, &reply.overflow),
        ("unparsed", None, &reply.unparsed),
        ("hook (all of it)", None, &reply.hook),
    ];
    let mut heading = cells(&["besides", "flows"]);
    heading.extend(cells(sums_heading(width)));
    let numbers: Vec<usize> = (1..heading.len()).collect();
    let rows = rest.into_iter().map(|(what, flows, of)| {
        let flows = flows.map_or_else(|| "-".into(), count);
        [what.to_owned(), flows].into_iter().chain(sums(width, of)).collect()
    });
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    text.push('\n');
    text += &table(INDENT, &rows, &numbers);
    let mut heading = cells(&["unparsed", "fate"]);
    heading.extend(cells(sums_heading(width)));
    let numbers: Vec<usize> = (2..heading.len()).collect();
    if width == Width::Wide {
        heading.push("meaning".into());
    }
    let mut rows = vec![heading];
    for row in &reply.unparsed_reasons {
        for (fate, of) in [("passed", &row.passed), ("dropped", &row.dropped)] {
            if *of != Sums::default() {
                let names = [row.reason.clone(), fate.to_owned()];
                let meaning = (width == Width::Wide).then(|| row.meaning.clone());
                rows.push(names.into_iter().chain(sums(width, of)).chain(meaning).collect());
            }
        }
    }
    if rows.len() > 1 {
        text.push('\n');
        text += &table(INDENT, &rows, &numbers);
    }
    text
}

#[cfg(test)]
mod tests {
    use monitor_api::flows::{GroupRow, Part};

    use super::*;

    #[test]
    fn a_short_table_has_eighty_columns() {
        let sums = Sums { packets: 1_234_567, segments: 2_345_678, bytes: 1 << 30, wire_bytes: 2_147_483_647 };
        let row = FlowRow {
            interface: "eth0".into(),
            source: [198, 51, 100, 200].into(),
            source_port: 54_321,
            destination: [203, 0, 113, 200].into(),
            destination_port: 443,
            autonomous_system: None,
            protocol: 6,
            protocol_name: Some("tcp".into()),
            inner: None,
            embedded: None,
            opaque: None,
            decided_by: None,
            country: "CN".into(),
            class: "outside".into(),
            rule: None,
            verdict: "observed".into(),
            sums,
            first_seen: String::new(),
            last_seen: "1970-01-01T00:00:00Z".into(),
            active: false,
        };
        let group = GroupRow {
            key: "198.51.100.200".into(),
            peer: Some([203, 0, 113, 200].into()),
            country: Some("CN".into()),
            decided_by: None,
            name: None,
            verdict: "observed".into(),
            flows: 12,
            sums,
            first_seen: String::new(),
            last_seen: String::new(),
            active: true,
        };
        let rest = Part { flows: 12_345, sums };
        let by_flow = Flows { flows: vec![row], rest, hook: sums, ..Flows::default() };
        let by_group = Flows { groups: vec![group], ..by_flow.clone() };
        let shown = [
            flows(&by_flow, None, 8_000_000_000, Width::Short),
            flows(&Flows { flows: Vec::new(), ..by_group }, Some("source,peer"), 0, Width::Short),
        ];
        let lines = |text: &str| text.lines().skip(1).take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            lines(&shown[0]),
            [
                "proto  source → destination                      cc  verdict   on wire  last",
                "tcp    198.51.100.200:54321 → 203.0.113.200:443  CN  observed  1.9 GiB  8s ago",
            ]
        );
        assert!(lines(&shown[1])[1].starts_with("198.51.100.200 → 203.0.113.200  CN  observed"), "{}", shown[1]);
        for text in shown {
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
        assert!(flows(&by_flow, None, 0, Width::Wide).contains("zone default"));
    }
}
