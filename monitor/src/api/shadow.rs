//! [`Facts`] in, what the shadow policy would have made of the traffic out: served at `/api/v1/policy/shadow`, printed by
//! `egress-monitor flows --shadow`. Verdicts + unparsed + not evaluated = hook.

use std::collections::BTreeMap;

use monitor_common::{verdict::Verdict, wire::Counters};
use serde::{Deserialize, Serialize};

use super::{
    flows::{FlowRow, MAX_TOP, Named, Part, flow_row},
    status::Sums,
};
use crate::{
    epochs::{Facts, SharedFacts, rfc3339},
    shadow::Report,
};

/// The parameters of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowQuery {
    /// Rows.
    pub top: Option<usize>,
    /// 1: close the epoch first.
    pub fresh: Option<u8>,
}

impl ShadowQuery {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// What is wrong, and the mend.
    pub fn check(&self) -> Result<(), String> {
        match self.top {
            Some(top) if top == 0 || top > MAX_TOP => Err(format!("top={top}: from 1 to {MAX_TOP}")),
            _ => Ok(()),
        }
    }
}

/// The candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateRow {
    /// Where it was read.
    pub file: String,
    /// SHA-256 in hexadecimal, as of any policy.
    pub digest: String,
    /// Rules in it.
    pub rules: usize,
}

/// What had one verdict, and from the candidate another or the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRow {
    /// allowed, observed, denied.
    pub verdict: String,
    /// The candidate's, in the same mode.
    pub shadow: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Why something is not evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotEvaluatedRow {
    /// The kernel's flow table had no place for it.
    pub overflow: Sums,
    /// It was not parsed, and a destination that was read before the reason could decide.
    pub unparsed: Sums,
    /// It has several further destinations, and the one that decided is not kept.
    pub hops: Sums,
    /// The candidate's image had no answer: a defect.
    pub unanswered: Sums,
}

/// A flow of which the candidate thinks otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferingRow {
    /// The flow as it was counted.
    #[serde(flatten)]
    pub flow: FlowRow,
    /// The candidate's verdict.
    pub shadow_verdict: String,
    /// Class.
    pub shadow_class: String,
    /// Country.
    pub shadow_country: String,
    /// Rule.
    pub shadow_rule: Option<String>,
}

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowPage {
    /// Digest of the policy in force.
    pub policy: String,
    /// The candidate; none: none is named, or none that compiles.
    pub candidate: Option<CandidateRow>,
    /// Why the one that is named was refused.
    pub refused: Option<String>,
    /// Compared since, RFC 3339: another candidate or another policy in force begins anew.
    pub since: Option<String>,
    /// Compared until the close of the last epoch.
    pub until: Option<String>,
    /// Allowed now, and the candidate denies it (observed or denied, by the mode).
    pub stricter: Sums,
    /// Denied now, and the candidate allows it.
    pub looser: Sums,
    /// Flows, by both verdicts.
    pub verdicts: Vec<VerdictRow>,
    /// Packets that were not parsed, where the candidate's answer is sure.
    pub unparsed: Vec<VerdictRow>,
    /// Everything else.
    pub not_evaluated: NotEvaluatedRow,
    /// Everything that passed the hooks.
    pub hook: Sums,
    /// Flows with another verdict, most bytes on the wire first.
    pub flows: Vec<DifferingRow>,
    /// Flows that come after the last row.
    pub rest: Part,
    /// Flows that are not told apart any more.
    pub summed_up: Part,
}

fn verdict_rows(verdicts: &BTreeMap<(Verdict, Verdict), Counters>) -> Vec<VerdictRow> {
    let row = |((verdict, shadow), counters): (&(Verdict, Verdict), &Counters)| VerdictRow {
        verdict: verdict.name().into(),
        shadow: shadow.name().into(),
        sums: counters.into(),
    };
    verdicts.iter().map(row).collect()
}

/// What of flows is allowed now and would be denied, and the other way round.
#[must_use]
pub fn differences(report: &Report) -> [Sums; 2] {
    let mut sums = [Sums::default(); 2];
    for ((live, instead), counters) in &report.verdicts {
        match (*live == Verdict::Allowed, *instead == Verdict::Allowed) {
            (true, false) => sums[0].add(counters),
            (false, true) => sums[1].add(counters),
            _ => {}
        }
    }
    sums
}

/// The document. What it needs of the facts is copied first, so that nobody waits for the rows.
#[must_use]
pub fn shadow(shared: &SharedFacts, query: &ShadowQuery) -> ShadowPage {
    let (report, names, mut page) = {
        let facts = shared.read();
        (facts.shadow.clone(), Named::of(&facts), frame(&facts))
    };
    let Some(candidate) = &report.candidate else { return page };
    let top = query.top.unwrap_or(super::flows::DEFAULT_TOP);
    for (number, (id, instead, sums)) in report.differing.iter().enumerate() {
        if number >= top {
            page.rest.flows += 1;
            page.rest.sums.add(&sums.counters);
            continue;
        }
        let rule = usize::from(instead.rule).checked_sub(1).and_then(|number| candidate.policy.rules.get(number));
        page.flows.push(DifferingRow {
            flow: flow_row(id, sums, &names),
            shadow_verdict: instead.verdict.name().into(),
            shadow_class: instead.kind.name().into(),
            shadow_country: instead.country.to_string(),
            shadow_rule: rule.map(|rule| rule.id.clone()),
        });
    }
    page
}

/// The document without its rows.
#[must_use]
pub fn frame(facts: &Facts) -> ShadowPage {
    let report = &facts.shadow;
    let [stricter, looser] = differences(report);
    let not = &report.not_evaluated;
    ShadowPage {
        policy: facts.in_force.policy.digest.clone(),
        candidate: report.candidate.as_ref().map(|candidate| CandidateRow {
            file: candidate.file.display().to_string(),
            digest: candidate.policy.digest.clone(),
            rules: candidate.policy.rules.len(),
        }),
        refused: report.refused.clone(),
        since: report.candidate.as_ref().map(|_| rfc3339(report.since)),
        until: facts.last.map(|last| rfc3339(last.ended)),
        stricter,
        looser,
        verdicts: verdict_rows(&report.verdicts),
        unparsed: verdict_rows(&report.unparsed),
        not_evaluated: NotEvaluatedRow {
            overflow: (&not.overflow).into(),
            unparsed: (&not.unparsed).into(),
            hops: (&not.hops).into(),
            unanswered: (&not.unanswered).into(),
        },
        hook: (&report.hook).into(),
        summed_up: Part { flows: report.rest.flows, sums: (&report.rest.counters).into() },
        ..ShadowPage::default()
    }
}
