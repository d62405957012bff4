//! The shadow policy's document in, the page of `egress-monitor flows --shadow` out.

use super::{INDENT, destination, endpoint, protocol, short, sums};
use crate::cli::output::{cells, table};
use monitor_api::{shadow::ShadowPage, status::Sums};
use monitor_policy::text::{count, plain, size};

/// `egress-monitor flows --shadow`.
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
