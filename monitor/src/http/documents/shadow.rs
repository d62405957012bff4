//! [`MonitorState`] in, what the shadow policy would have made of the traffic out: served at `/api/v1/policy/shadow`, printed by
//! `egress-monitor flows --shadow`. Verdicts + unparsed + not evaluated = hook.

use std::collections::BTreeMap;

use crate::http::documents::flows::{Labels, flow_row};
use crate::{
    model::{ShadowReport, rfc3339},
    store::{MonitorState, SharedState},
};
use monitor_api::{
    flows::Part,
    shadow::{CandidateRow, DifferingRow, NotEvaluatedRow, ShadowPage, ShadowQuery, VerdictRow},
    status::Sums,
};
use monitor_common::{verdict::Verdict, wire::Counters};

fn verdict_rows(verdicts: &BTreeMap<(Verdict, Verdict), Counters>) -> Vec<VerdictRow> {
    let row = |((verdict, shadow), counters): (&(Verdict, Verdict), &Counters)| VerdictRow {
        verdict: verdict.name().into(),
        shadow: shadow.name().into(),
        sums: counters.into(),
    };
    verdicts.iter().map(row).collect()
}

/// What of flows is allowed now and would be denied, and the other way round.
pub fn differences(report: &ShadowReport) -> [Sums; 2] {
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

/// The document. What it needs of the state is copied first, so that nobody waits for the rows.
pub fn shadow(shared: &SharedState, query: &ShadowQuery) -> ShadowPage {
    let (report, labels, mut page) = {
        let state = shared.read();
        (state.shadow.clone(), Labels::of(&state), frame(&state))
    };
    let Some(candidate) = &report.candidate else { return page };
    let top = query.top.unwrap_or(monitor_api::flows::DEFAULT_TOP);
    for (number, (id, instead, sums)) in report.differing.iter().enumerate() {
        if number >= top {
            page.rest.flows += 1;
            page.rest.sums.add(&sums.counters);
            continue;
        }
        let rule = usize::from(instead.rule).checked_sub(1).and_then(|number| candidate.policy.rules.get(number));
        page.flows.push(DifferingRow {
            flow: flow_row(id, sums, &labels),
            shadow_verdict: instead.verdict.name().into(),
            shadow_class: instead.class.name().into(),
            shadow_country: instead.country.to_string(),
            shadow_rule: rule.map(|rule| rule.id.clone()),
        });
    }
    page
}

/// The document without its rows.
pub fn frame(state: &MonitorState) -> ShadowPage {
    let report = &state.shadow;
    let [stricter, looser] = differences(report);
    let not = &report.not_evaluated;
    ShadowPage {
        policy: state.in_force.policy.digest.clone(),
        shadow: report.candidate.as_ref().map(|candidate| CandidateRow {
            file: candidate.file.display().to_string(),
            digest: candidate.policy.digest.clone(),
            rules: candidate.policy.rules.len(),
        }),
        refused: report.refused.clone(),
        since: report.candidate.as_ref().map(|_| rfc3339(report.since)),
        until: state.last.map(|last| rfc3339(last.ended)),
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
        evicted: Part { flows: report.rest.flows, sums: (&report.rest.counters).into() },
        ..ShadowPage::default()
    }
}
