//! The shadow policy's document in, the page of `egress-monitor flows --shadow` out.

use super::{INDENT, Width, destination, endpoint, protocol, rule, short, sums, sums_heading};
use crate::cli::output::{cells, table};
use monitor_api::{shadow::ShadowPage, status::Sums};
use monitor_policy::text::{count, plain, size, when};

/// `egress-monitor flows --shadow` at `now` (UTC nanoseconds since 1970).
pub fn shadow(page: &ShadowPage, now: i128, width: Width) -> String {
    let Some(shadow) = &page.shadow else {
        return match &page.refused {
            Some(why) => format!("No shadow policy: it was REFUSED: {}\n", plain(why)),
            None => "No shadow policy: name its file in [policy] shadow, or wait for the first epoch\n".into(),
        };
    };
    let mut text = format!(
        "Shadow {} ({}) beside policy {}, from {} until {}\n",
        plain(&shadow.file),
        short(&shadow.digest),
        short(&page.policy),
        page.since.as_deref().unwrap_or("-"),
        page.until.as_deref().unwrap_or("-")
    );
    for (what, of) in [("denies what is allowed", &page.stricter), ("allows what is denied", &page.looser)] {
        text += &format!("  it {what} now: {} packets, {} on the wire\n", count(of.packets), size(of.wire_bytes));
    }
    let mut heading = cells(&["verdict", "shadow"]);
    heading.extend(cells(sums_heading(width)));
    let numbers: Vec<usize> = (2..heading.len()).collect();
    let mut rows = vec![heading];
    let mut row = |names: [String; 2], of: &Sums| rows.push(names.into_iter().chain(sums(width, of)).collect());
    for (what, list) in [("", &page.verdicts), ("unparsed: ", &page.unparsed)] {
        list.iter().for_each(|of| row([format!("{what}{}", of.verdict), of.shadow.clone()], &of.sums));
    }
    let not = &page.not_evaluated;
    for (what, of) in [
        ("overflow (flow table full)", &not.overflow),
        ("unparsed", &not.unparsed),
        ("decided by a hop that is not kept", &not.hops),
        ("no answer (a defect)", &not.unanswered),
    ] {
        if *of != Sums::default() {
            row([what.to_owned(), "not evaluated".into()], of);
        }
    }
    row(["hook (all of it)".to_owned(), String::new()], &page.hook);
    text.push('\n');
    text += &table(INDENT, &rows, &numbers);
    if page.flows.is_empty() {
        return text;
    }
    text += "\nFlows with another verdict\n";
    text += &match width {
        Width::Short => short_rows(page),
        Width::Wide => wide_rows(page, now),
    };
    for (what, part) in [("rest (not shown, raise --top)", &page.rest), ("evicted (older flows)", &page.evicted)] {
        if part.flows > 0 {
            let (flows, bytes) = (count(part.flows), size(part.sums.wire_bytes));
            text += &format!("  {what}: {flows} flows, {bytes} on the wire\n");
        }
    }
    text
}

fn short_rows(page: &ShadowPage) -> String {
    let rows = page.flows.iter().map(|row| {
        let flow = &row.flow;
        let way = format!("{} → {}", endpoint(flow.source, flow.source_port, flow.protocol), destination(flow));
        let verdicts = [flow.verdict.clone(), row.shadow_verdict.clone()];
        [protocol(flow), way].into_iter().chain(verdicts).chain([size(flow.sums.wire_bytes)]).collect()
    });
    let heading = cells(&["proto", "source → destination", "verdict", "shadow", "on wire"]);
    table(0, &std::iter::once(heading).chain(rows).collect::<Vec<_>>(), &[4])
}

fn wide_rows(page: &ShadowPage, now: i128) -> String {
    let heading = [
        "interface",
        "proto",
        "source",
        "destination",
        "rule",
        "verdict",
        "shadow",
        "its class",
        "its country",
        "its rule",
        "packets",
        "on wire",
        "last seen",
    ];
    let rows = page.flows.iter().map(|row| {
        let flow = &row.flow;
        vec![
            flow.interface.clone(),
            protocol(flow),
            endpoint(flow.source, flow.source_port, flow.protocol),
            destination(flow),
            rule(flow.rule.as_deref()),
            flow.verdict.clone(),
            row.shadow_verdict.clone(),
            row.shadow_class.clone(),
            row.shadow_country.clone(),
            rule(row.shadow_rule.as_deref()),
            count(flow.sums.packets),
            size(flow.sums.wire_bytes),
            when(&flow.last_seen, now),
        ]
    });
    table(INDENT, &std::iter::once(cells(&heading)).chain(rows).collect::<Vec<_>>(), &[10, 11])
}
