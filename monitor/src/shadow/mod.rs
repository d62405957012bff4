//! A candidate policy evaluated beside the one in force (`[policy] shadow`): closed epochs in, what it would have made
//! of them out. Never near a packet: it is asked, by the kernel's own code, about each flow that was counted. Called by
//! the [pipeline](crate::engine::pipeline); status, metrics and API show the [`ShadowReport`].
//!
//! What has no flow, or not all that a verdict needs, is *not evaluated* and counted as that, so that evaluated + not
//! evaluated = hook total.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use monitor_common::{
    classify::Classification,
    evaluate::Evaluation,
    parse::Reason,
    verdict::{Verdict, decide},
    wire::RuleRowAction,
};

use crate::{
    engine::{
        outbox::AlertBatch,
        pipeline::{Consumer, Findings},
    },
    model::{
        ClosedEpoch, FindingKind, ShadowReport, Snapshot,
        clock::clamp,
        epoch::EpochFlow,
        flow::{FlowId, FlowSums, place},
        identities::NameSet,
        in_force::PolicyInForce,
        shadow::{Candidate, Shadow, ShadowVerdict},
    },
    store::{MonitorState, cut::Cut, table::Table},
};
use monitor_policy::{ImageAt, Policy, RuleInfo, spec::Mode};

#[cfg(test)]
mod tests;

/// Flows with another verdict that are kept one by one; up to twice as many until the least are summed up.
pub const KEPT: usize = 8_192;

/// The comparison as it goes on. Owned by the engine.
#[derive(Debug, Default)]
pub struct Comparison {
    report: ShadowReport,
    /// Digest of the policy in force.
    live: String,
    differing: Table<(FlowId, ShadowVerdict), FlowSums>,
    kept: Option<usize>,
    /// The candidate as it was read, and without the rules of which the budget is used up.
    suspending: Option<[Arc<Candidate>; 2]>,
}

impl Consumer for Comparison {
    fn epoch(&mut self, epoch: &ClosedEpoch<'_>, in_force: &PolicyInForce, _: &mut AlertBatch<'_>) {
        self.evaluate(&in_force.shadow, epoch);
    }

    fn publish(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, _: &mut Findings<'_>) {
        state.shadow = self.report.clone();
    }

    fn review(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let refused = match &state.in_force.shadow {
            Shadow::Refused(why) => Some(why.as_str()),
            Shadow::None | Shadow::Candidate(_) => None,
        };
        findings.report(FindingKind::ShadowRefused, refused);
    }

    fn names(&self, used: &mut NameSet) {
        self.differing.iter().for_each(|((id, _), _)| used.add(id.interface, id.rule));
    }
}

impl Comparison {
    /// One that keeps at most `kept` differing flows.
    pub fn keeping(kept: usize) -> Self {
        Self { kept: Some(kept), ..Self::default() }
    }

    /// What came of it.
    pub const fn report(&self) -> &ShadowReport {
        &self.report
    }

    /// Evaluates an epoch. Begins anew with another candidate or another policy in force.
    pub fn evaluate(&mut self, shadow: &Shadow, epoch: &ClosedEpoch<'_>) {
        let snapshot = epoch.snapshot;
        let candidate = match shadow {
            Shadow::Candidate(candidate) => Arc::clone(candidate),
            Shadow::None | Shadow::Refused(_) => {
                let refused = if let Shadow::Refused(why) = shadow { Some(why.clone()) } else { None };
                *self = Self {
                    report: ShadowReport { refused, since: snapshot.ended, ..ShadowReport::default() },
                    kept: self.kept,
                    ..Self::default()
                };
                return;
            }
        };
        let digest = self.report.candidate.as_ref().map(|there| &there.policy.digest);
        if digest != Some(&candidate.policy.digest) || self.live != snapshot.policy.digest {
            *self = Self {
                report: ShadowReport { since: snapshot.started, ..ShadowReport::default() },
                live: snapshot.policy.digest.clone(),
                kept: self.kept,
                ..Self::default()
            };
        }
        let evaluated = self.suspended_as(&snapshot.policy, &candidate);
        for flow in epoch.flows() {
            self.flow(&evaluated, snapshot, flow);
        }
        self.without_flow(&candidate.policy, snapshot);
        self.report.candidate = Some(candidate);
        self.shrink(0);
        let mut rows: Vec<_> = self.differing.iter().map(|((id, instead), sums)| (*id, *instead, *sums)).collect();
        rows.sort_unstable_by_key(|(id, instead, sums)| (u64::MAX - sums.counters.wire_bytes, *id, *instead));
        self.report.differing = Arc::new(rows);
    }

    /// The candidate as it would be in force: its rules that have, by id, no greater budget than one that is used up are
    /// suspended, too.
    fn suspended_as(&mut self, live: &Policy, candidate: &Arc<Candidate>) -> Arc<Candidate> {
        let used_up: BTreeMap<&str, Option<u64>> =
            live.suspended_rules().map(|rule| (rule.id.as_str(), rule.max_bytes_per_day)).collect();
        let is_used_up = |rule: &RuleInfo| {
            let live = used_up.get(rule.id.as_str()).copied().flatten();
            live.zip(rule.max_bytes_per_day).is_some_and(|(live, most)| most <= live)
        };
        let rules: BTreeSet<u16> =
            (1..).zip(&candidate.policy.rules).filter(|(_, rule)| is_used_up(rule)).map(|(number, _)| number).collect();
        if rules.is_empty() {
            self.suspending = None;
            return Arc::clone(candidate);
        }
        if let Some([of, known]) = &self.suspending
            && Arc::ptr_eq(of, candidate)
            && known.policy.suspended == rules
        {
            return Arc::clone(known);
        }
        let policy = candidate.policy.suspending(&rules);
        let suspended = Arc::new(Candidate { policy, ..Candidate::clone(candidate) });
        self.suspending = Some([Arc::clone(candidate), Arc::clone(&suspended)]);
        suspended
    }

    fn flow(&mut self, candidate: &Candidate, snapshot: &Snapshot, flow: EpochFlow<'_>) {
        let (report, EpochFlow { key, value, resolved }) = (&mut self.report, flow);
        // Of several inner destinations one is kept; where another decided, it could decide here, too.
        if key.inner.exists() && resolved.decider.is_none() {
            report.not_evaluated.hops.add(&value.counters);
            return;
        }
        let last = snapshot.wall_time(value.last);
        let policy = &candidate.policy;
        let image = ImageAt { image: &policy.image, boot_ns: candidate.clock.boot_ns_at(last) };
        let Some(to) = Evaluation::of_flow(&image, key) else {
            report.not_evaluated.unanswered.add(&value.counters);
            return;
        };
        let (live, instead) = (Verdict::from_wire(key.flow.verdict), instead(policy, &to, snapshot.mode));
        report.verdicts.entry((live, instead.verdict)).or_default().add(&value.counters);
        if live == instead.verdict {
            return;
        }
        let first = clamp(snapshot.wall_time(value.first));
        let sums = FlowSums { counters: value.counters, first, last: clamp(last) };
        let (there, known) = self.differing.upsert((flow.id(), instead), || sums);
        if known {
            there.add(&sums);
        }
        self.shrink(self.kept.unwrap_or(KEPT));
    }

    /// What overflowed and what was not parsed.
    fn without_flow(&mut self, policy: &Policy, snapshot: &Snapshot) {
        let report = &mut self.report;
        let keeps = policy.image.rules.iter().any(|row| row.action >= RuleRowAction::Keep as u8);
        for interface in &snapshot.interfaces {
            report.hook.add(&interface.hook);
            for counters in interface.overflow.values() {
                report.not_evaluated.overflow.add(counters);
            }
            for (reason, reason_sums) in &interface.unparsed {
                let instead = reasoned(*reason, policy.image.drop_reasons, keeps, snapshot.mode);
                let passed = match () {
                    () if snapshot.mode.enforces() || reason.always_passes() => Verdict::Allowed,
                    () if snapshot.policy.image.drop_reasons & reason.bit() != 0 => Verdict::Observed,
                    () => Verdict::Allowed,
                };
                for (live, counters) in [(passed, &reason_sums.passed), (Verdict::Denied, &reason_sums.dropped)] {
                    match instead {
                        _ if counters.is_zero() => {}
                        Some(instead) => report.unparsed.entry((live, instead)).or_default().add(counters),
                        None => report.not_evaluated.unparsed.add(counters),
                    }
                }
            }
        }
    }

    /// Sums up the flows with fewest bytes once there are more than `slack` beyond what is kept.
    fn shrink(&mut self, slack: usize) {
        let kept = self.kept.unwrap_or(KEPT);
        if self.differing.len() <= kept + slack {
            return;
        }
        let worth = |sums: &FlowSums| sums.counters.wire_bytes.cast_signed();
        let mut cut = Cut::of(self.differing.iter().map(|(_, sums)| worth(sums)).collect(), kept);
        let rest = &mut self.report.rest;
        self.differing.retain(|_, sums| {
            let stays = cut.keeps(worth(sums));
            if !stays {
                rest.add(&sums.counters);
            }
            stays
        });
    }
}

fn instead(policy: &Policy, to: &Classification, mode: Mode) -> ShadowVerdict {
    let (country, class) = place(policy, to.class_id);
    ShadowVerdict { verdict: decide(to, mode.enforces()), class, country, rule: to.rule }
}

/// What a policy surely makes of a packet with this reason. Where it lets the reason pass, a destination that was read
/// before can still be denied; where it drops it, one in a management network (`keeps`) passes.
fn reasoned(reason: Reason, drop_reasons: u64, keeps: bool, mode: Mode) -> Option<Verdict> {
    match () {
        () if reason.always_passes() => Some(Verdict::Allowed),
        () if drop_reasons & reason.bit() == 0 || keeps => None,
        () if mode.enforces() => Some(Verdict::Denied),
        () => Some(Verdict::Observed),
    }
}
