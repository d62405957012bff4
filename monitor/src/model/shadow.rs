//! The shadow policy (`[policy] shadow`) as it was read, and what it would have made of the traffic, for status,
//! metrics and the shadow page. `shadow` makes the report.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use monitor_common::{
    verdict::Verdict,
    wire::{Class, Counters},
};
use monitor_policy::{ClockMap, Policy, geo::Country};

use super::flow::{FlowId, FlowSums, SummedFlows};

/// The policy to be evaluated beside the one in force.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where it was read.
    pub file: PathBuf,
    /// It, compiled.
    pub policy: Arc<Policy>,
    /// The clocks when it was compiled: its rules have times.
    pub clock: ClockMap,
}

/// `[policy] shadow` as it was read.
#[derive(Clone, Debug, Default)]
pub enum Shadow {
    /// There is none.
    #[default]
    None,
    /// It compiles.
    Candidate(Arc<Candidate>),
    /// It doesn't: why, in one line.
    Refused(String),
}

/// What the candidate makes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShadowVerdict {
    /// Verdict, in the mode in force.
    pub verdict: Verdict,
    /// Class.
    pub class: Class,
    /// Country.
    pub country: Country,
    /// The candidate's rule that decides; 0 for none.
    pub rule: u16,
}

/// Why something is not evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotEvaluated {
    /// The kernel's flow table had no place: it has no row.
    pub overflow: Counters,
    /// It was not parsed, and a destination that was read before the reason could decide.
    pub unparsed: Counters,
    /// It has several inner destinations, and the one that decided is not kept.
    pub hops: Counters,
    /// The candidate's image had no answer: a defect, never expected.
    pub unanswered: Counters,
}

/// What came of it since [`ShadowReport::since`], for readers.
#[derive(Clone, Debug, Default)]
pub struct ShadowReport {
    /// The candidate.
    pub candidate: Option<Arc<Candidate>>,
    /// Why there is none although the configuration names one.
    pub refused: Option<String>,
    /// Counting since: the candidate or the policy in force is another one than before. UTC nanoseconds since 1970.
    pub since: i128,
    /// Evaluated flows, by verdict and by the candidate's.
    pub verdicts: BTreeMap<(Verdict, Verdict), Counters>,
    /// Of packets that were not parsed, what the candidate surely makes of them, in the same form.
    pub unparsed: BTreeMap<(Verdict, Verdict), Counters>,
    /// The rest.
    pub not_evaluated: NotEvaluated,
    /// Everything at the hooks.
    pub hook: Counters,
    /// Flows with another verdict, most bytes on the wire first.
    pub differing: Arc<Vec<(FlowId, ShadowVerdict, FlowSums)>>,
    /// Those that are not kept.
    pub rest: SummedFlows,
}
