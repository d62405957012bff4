//! [`MonitorState`] in, what each rule did out: served at `/api/v1/rules`, printed by `egress-monitor rules`.

use super::head;
use crate::{
    model::{flow::GroupSums, identities::RuleName, rfc3339},
    store::MonitorState,
};
use monitor_api::{
    rules::{BudgetRow, RuleRow, Rules},
    status::Sums,
};
use monitor_policy::{Policy, RuleInfo, spec::Action};

/// The document at `now` (UTC nanoseconds since 1970).
pub fn rules(state: &MonitorState, host: &str, now: i128) -> Rules {
    let (totals, names) = (&state.traffic.totals, &state.traffic.identities.rules);
    let policy = &state.in_force.policy;
    let mut overflow = Sums::default();
    totals.overflow.values().for_each(|counters| overflow.add(counters));
    let hits = |id: &str| names.find(id).and_then(|name| totals.rules.get(&name));
    let rows: Vec<RuleRow> =
        policy.rules.iter().zip(1..).map(|rule| row(state, policy, rule, hits(&rule.0.id), now)).collect();
    let is_former = |name: &RuleName| !state.rules_since.contains_key(names.get(*name));
    let former = totals.rules.iter().filter(|(name, _)| is_former(name)).map(|(name, sums)| {
        let named = RuleRow { rule: names.get(*name).into(), state: "former".into(), ..RuleRow::default() };
        with_hits(named, Some(sums))
    });
    Rules {
        head: head(state, host),
        since: rfc3339(state.since),
        until: state.last.map(|last| rfc3339(last.ended)),
        never_hit: never_hit(state).map(|rule| rule.id.clone()).collect(),
        rules: rows,
        former: former.collect(),
        overflow,
    }
}

/// The rules in force that decided nothing. One that found no place in the table of names, which is a finding, is counted
/// with others, so that nobody knows.
pub(super) fn never_hit(state: &MonitorState) -> impl Iterator<Item = &RuleInfo> {
    let (hits, names) = (&state.traffic.totals.rules, &state.traffic.identities.rules);
    let rules = state.in_force.policy.rules.iter();
    rules.filter(|rule| names.find(&rule.id).is_some_and(|name| !hits.contains_key(&name)))
}

fn row(
    state: &MonitorState,
    policy: &Policy,
    (rule, number): (&RuleInfo, u16),
    hits: Option<&GroupSums>,
    now: i128,
) -> RuleRow {
    let seconds = now.div_euclid(1_000_000_000);
    let after = |time: Option<i64>| time.is_some_and(|time| i128::from(time) > seconds);
    let row_state = match () {
        () if policy.suspended.contains(&number) => "suspended",
        () if after(rule.not_before) => "not_yet",
        () if rule.expires.is_some() && !after(rule.expires) => "expired",
        () => "holds",
    };
    let time = |time: Option<i64>| time.map(monitor_policy::text::time);
    let budgets = &state.budgets;
    let budget = budgets.rules.get(&rule.id).map(|standing| BudgetRow {
        bytes_per_day: standing.most,
        used: standing.used,
        beyond: standing.beyond(),
        suspended_since: standing.suspended.map(rfc3339),
        until: rfc3339(budgets.day.end()),
    });
    let row = RuleRow {
        rule: rule.id.clone(),
        action: Some(match rule.action {
            Action::Allow => "allow".into(),
            Action::Deny => "deny".into(),
        }),
        state: row_state.into(),
        origin: Some(rule.origin.to_string()),
        since: state.rules_since.get(&rule.id).map(|since| rfc3339(*since)),
        not_before: time(rule.not_before),
        expires: time(rule.expires),
        budget,
        owner: rule.owner.clone(),
        ticket: rule.ticket.clone(),
        legal_basis: rule.legal_basis.clone(),
        reason: rule.reason.clone(),
        ..RuleRow::default()
    };
    with_hits(row, hits)
}

fn with_hits(row: RuleRow, hits: Option<&GroupSums>) -> RuleRow {
    let Some(GroupSums { flows, sums }) = hits else { return row };
    RuleRow {
        flows: *flows,
        sums: (&sums.counters).into(),
        first_hit: Some(rfc3339(sums.first.into())),
        last_hit: Some(rfc3339(sums.last.into())),
        ..row
    }
}
