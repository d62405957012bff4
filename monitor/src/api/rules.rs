//! [`Facts`] in, what each rule did out: served at `/api/v1/rules`, printed by `egress-monitor rules`.

use serde::{Deserialize, Serialize};

use super::status::Sums;
use crate::{
    config::Action,
    epochs::{Facts, flows::RuleSums, names::Name, rfc3339},
    policy::{Policy, RuleInfo},
};

/// A rule's daily budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRow {
    /// What it may let through in a UTC day, in bytes on the wire.
    pub bytes_per_day: u64,
    /// What it has let through today.
    pub used: u64,
    /// Of that, what passed before it could be suspended.
    pub beyond: u64,
    /// Suspended since, RFC 3339; none: it holds.
    pub suspended_since: Option<String>,
    /// The midnight at which the day ends.
    pub until: String,
}

/// A rule, and what it decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// Its id.
    pub rule: String,
    /// `allow` or `deny`; none for one that is no longer in force.
    pub action: Option<String>,
    /// `holds`, `not_yet`, `expired`, `suspended` (its budget is used up), `former` (not in force any more).
    pub state: String,
    /// `file:line`.
    pub origin: Option<String>,
    /// In force since, as far back as this daemon knows.
    pub since: Option<String>,
    /// Flows that it decided.
    pub flows: u64,
    /// Their sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// First packet that it decided, RFC 3339; none: it was never hit.
    pub first_hit: Option<String>,
    /// Last packet.
    pub last_hit: Option<String>,
    /// Holds from, RFC 3339.
    pub not_before: Option<String>,
    /// Holds until.
    pub expires: Option<String>,
    /// Its daily budget.
    pub budget: Option<BudgetRow>,
    /// Who answers for it; empty where the configuration does not say, as what follows.
    pub owner: String,
    /// Where it was asked for.
    pub ticket: String,
    /// What it rests on.
    pub legal_basis: String,
    /// Why.
    pub reason: String,
}

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Boot of the host, as in `status`.
    pub boot_id: String,
    /// Counting since, RFC 3339.
    pub since: String,
    /// Counted until the close of the last epoch.
    pub until: Option<String>,
    /// Digest of the policy in force.
    pub policy: String,
    /// Its rules, in its order.
    pub rules: Vec<RuleRow>,
    /// Of these, the ids of those that decided nothing since they are in force.
    pub never_hit: Vec<String>,
    /// Rules that decided something since the start and are no longer in force.
    pub former: Vec<RuleRow>,
    /// What the kernel's flow table had no place for: which rules decided it is not known.
    pub overflow: Sums,
}

/// The document at `now` (UTC nanoseconds since 1970).
#[must_use]
pub fn rules(facts: &Facts, now: i128) -> Rules {
    let (totals, names) = (&facts.traffic.totals, &facts.traffic.identities.rules);
    let policy = &facts.in_force.policy;
    let mut overflow = Sums::default();
    totals.overflow.values().for_each(|counters| overflow.add(counters));
    let hits = |id: &str| names.find(id).and_then(|name| totals.rules.get(&name));
    let rows: Vec<RuleRow> =
        policy.rules.iter().zip(1..).map(|rule| row(facts, policy, rule, hits(&rule.0.id), now)).collect();
    let is_former = |name: &Name| !facts.rules_since.contains_key(names.get(*name));
    let former = totals.rules.iter().filter(|(name, _)| is_former(name)).map(|(name, sums)| {
        let named = RuleRow { rule: names.get(*name).into(), state: "former".into(), ..RuleRow::default() };
        with_hits(named, Some(sums))
    });
    Rules {
        boot_id: facts.boot_id.clone(),
        since: rfc3339(facts.started),
        until: facts.last.map(|last| rfc3339(last.ended)),
        policy: policy.digest.clone(),
        never_hit: rows.iter().filter(|row| row.last_hit.is_none()).map(|row| row.rule.clone()).collect(),
        rules: rows,
        former: former.collect(),
        overflow,
    }
}

fn row(
    facts: &Facts,
    policy: &Policy,
    (rule, number): (&RuleInfo, u16),
    hits: Option<&RuleSums>,
    now: i128,
) -> RuleRow {
    let seconds = now.div_euclid(1_000_000_000);
    let after = |time: Option<i64>| time.is_some_and(|time| i128::from(time) > seconds);
    let state = match () {
        () if policy.suspended.contains(&number) => "suspended",
        () if after(rule.not_before) => "not_yet",
        () if rule.expires.is_some() && !after(rule.expires) => "expired",
        () => "holds",
    };
    let time = |time: Option<i64>| time.map(crate::text::time);
    let budgets = &facts.budgets;
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
        state: state.into(),
        origin: Some(rule.origin.clone()),
        since: facts.rules_since.get(&rule.id).map(|since| rfc3339(*since)),
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

fn with_hits(row: RuleRow, hits: Option<&RuleSums>) -> RuleRow {
    let Some(RuleSums { flows, sums }) = hits else { return row };
    RuleRow {
        flows: *flows,
        sums: (&sums.counters).into(),
        first_hit: Some(rfc3339(sums.first.into())),
        last_hit: Some(rfc3339(sums.last.into())),
        ..row
    }
}
