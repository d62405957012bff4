//! The rule document in, the table of `egress-monitor rules` out.

use super::{INDENT, Width, second, short};
use crate::cli::output::{cells, table};
use monitor_api::rules::{BudgetRow, RuleRow, Rules};
use monitor_policy::text::{count, plain, size, when};

/// `egress-monitor rules` at `now` (UTC nanoseconds since 1970).
pub fn rules(reply: &Rules, now: i128, width: Width) -> String {
    let mut text = format!("Rules of policy {}, hits since {}\n", short(&reply.head.policy), second(&reply.since));
    if reply.rules.is_empty() && reply.former.is_empty() {
        text += "  none\n";
    } else {
        let rows = reply.rules.iter().chain(&reply.former);
        text += &match width {
            Width::Short => short_rows(rows, now),
            Width::Wide => wide_rows(rows, now),
        };
    }
    for row in &reply.rules {
        let Some(budget) = row.budget.as_ref().filter(|budget| budget.suspended_since.is_some()) else { continue };
        text += &format!(
            "  {} is suspended until {}: its max_bytes_per_day is used up, {} passed beyond it\n",
            plain(&row.rule),
            budget.until,
            size(budget.beyond)
        );
    }
    if reply.overflow.packets > 0 {
        text += &format!(
            "  which rules decided {} packets is not known: the flow table was full\n",
            count(reply.overflow.packets)
        );
    }
    text
}

fn state(row: &RuleRow) -> String {
    match row.state.as_str() {
        "suspended" => "SUSPENDED".to_owned(),
        state => state.replace('_', " "),
    }
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

fn last_hit(row: &RuleRow, now: i128) -> String {
    row.last_hit.as_ref().map_or_else(|| "never".into(), |at| when(at, now))
}

fn short_rows<'a>(rows: impl Iterator<Item = &'a RuleRow>, now: i128) -> String {
    let row = |row: &RuleRow| {
        let used = |of: &BudgetRow| format!("{} %", u128::from(of.used) * 100 / u128::from(of.bytes_per_day.max(1)));
        vec![
            row.rule.clone(),
            or_dash(row.action.as_deref()),
            state(row),
            size(row.sums.wire_bytes),
            last_hit(row, now),
            row.budget.as_ref().map_or_else(|| "-".into(), used),
            row.expires.as_ref().map_or_else(|| "-".into(), |at| when(at, now)),
        ]
    };
    let heading = cells(&["rule", "action", "state", "on wire", "last hit", "budget", "expires"]);
    table(INDENT, &std::iter::once(heading).chain(rows.map(row)).collect::<Vec<_>>(), &[3, 5])
}

fn wide_rows<'a>(rows: impl Iterator<Item = &'a RuleRow>, now: i128) -> String {
    let row = |row: &RuleRow| {
        let budget = row.budget.as_ref();
        let (used, most) = (budget.map(|of| size(of.used)), budget.map(|of| size(of.bytes_per_day)));
        vec![
            row.rule.clone(),
            or_dash(row.action.as_deref()),
            state(row),
            count(row.flows),
            count(row.sums.packets),
            size(row.sums.wire_bytes),
            last_hit(row, now),
            or_dash(used.as_deref()),
            or_dash(most.as_deref()),
            or_dash(row.expires.as_deref()),
            or_dash(Some(&row.owner)),
            or_dash(Some(&row.ticket)),
        ]
    };
    let heading = [
        "rule", "action", "state", "flows", "packets", "on wire", "last hit", "today", "of", "expires", "owner",
        "ticket",
    ];
    table(INDENT, &std::iter::once(cells(&heading)).chain(rows.map(row)).collect::<Vec<_>>(), &[3, 4, 5, 7, 8])
}
