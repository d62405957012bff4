//! The rule document in, the table of `egress-monitor rules` out.

use super::{INDENT, short};
use crate::cli::output::{cells, table};
use monitor_api::rules::{RuleRow, Rules};
use monitor_policy::text::{count, plain, size};

/// `egress-monitor rules`.
pub fn rules(reply: &Rules) -> String {
    let until = reply.until.as_deref().unwrap_or("-");
    let mut text = format!("Rules of policy {}, hits from {} until {until}\n", short(&reply.head.policy), reply.since);
    let heading = [
        "rule",
        "action",
        "state",
        "flows",
        "packets",
        "on the wire",
        "last hit",
        "today",
        "of",
        "expires",
        "owner",
        "ticket",
    ];
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |row: &RuleRow| {
        let (used, most) = row
            .budget
            .as_ref()
            .map_or_else(|| ("-".into(), "-".into()), |budget| (size(budget.used), size(budget.bytes_per_day)));
        let state = match row.state.as_str() {
            "suspended" => "SUSPENDED".to_owned(),
            state => state.replace('_', " "),
        };
        vec![
            row.rule.clone(),
            row.action.clone().unwrap_or_else(|| "-".into()),
            state,
            count(row.flows),
            count(row.sums.packets),
            size(row.sums.wire_bytes),
            row.last_hit.clone().unwrap_or_else(|| "never".into()),
            used,
            most,
            row.expires.clone().unwrap_or_else(|| "-".into()),
            or_dash(&row.owner),
            or_dash(&row.ticket),
        ]
    };
    if reply.rules.is_empty() && reply.former.is_empty() {
        text += "  none\n";
    } else {
        let rows = reply.rules.iter().chain(&reply.former).map(row);
        let rows: Vec<Vec<String>> = std::iter::once(cells(&heading)).chain(rows).collect();
        text += &table(INDENT, &rows, &[3, 4, 5, 7, 8]);
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
