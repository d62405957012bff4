//! The flow document in, the table of `egress-monitor flows` out: flow by flow or in groups, and all that is beside
//! them.

use super::{INDENT, destination, endpoint, protocol, sums};
use crate::cli::output::{cells, table};
use monitor_api::{
    flows::{AutonomousSystem, FlowRow, Flows},
    status::Sums,
};
use monitor_policy::text::count;

/// `egress-monitor flows`.
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
