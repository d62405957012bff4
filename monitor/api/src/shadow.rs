//! What a shadow policy would have made of the traffic: served at `/api/v1/policy/shadow`, printed by
//! `egress-monitor flows --shadow`. Verdicts + unparsed + not evaluated = hook.

use serde::{Deserialize, Serialize};

use crate::{
    flows::{FlowRow, Part},
    query::{QueryError, check_top},
    status::Sums,
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
    /// What is out of its range.
    pub fn check(&self) -> Result<(), QueryError> {
        check_top(self.top)
    }
}

/// The shadow policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CandidateRow {
    /// Where it was read.
    pub file: String,
    /// SHA-256 in hexadecimal, as of any policy.
    pub digest: String,
    /// Rules in it.
    pub rules: usize,
}

/// What had one verdict, and from the shadow policy another or the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VerdictRow {
    /// allowed, observed, denied.
    pub verdict: String,
    /// The shadow policy's, in the same mode.
    pub shadow: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Why something is not evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotEvaluatedRow {
    /// The kernel's flow table had no place for it.
    pub overflow: Sums,
    /// It was not parsed, and a destination that was read before the reason could decide.
    pub unparsed: Sums,
    /// It has several inner destinations, and the one that decided is not kept.
    pub hops: Sums,
    /// The shadow policy's image had no answer: a defect.
    pub unanswered: Sums,
}

/// A flow on which the shadow policy decides otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DifferingRow {
    /// The flow as it was counted.
    #[serde(flatten)]
    pub flow: FlowRow,
    /// The shadow policy's verdict.
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShadowPage {
    /// Digest of the policy in force.
    pub policy: String,
    /// The shadow policy; none: none is named, or none that compiles.
    pub shadow: Option<CandidateRow>,
    /// Why the one that is named was refused.
    pub refused: Option<String>,
    /// Compared since, RFC 3339: another shadow policy or another policy in force begins anew.
    pub since: Option<String>,
    /// Compared until the close of the last epoch.
    pub until: Option<String>,
    /// Allowed now, and the shadow policy denies it (observed or denied, by the mode).
    pub stricter: Sums,
    /// Denied now, and the shadow policy allows it.
    pub looser: Sums,
    /// Flows, by both verdicts.
    pub verdicts: Vec<VerdictRow>,
    /// Packets that were not parsed, where the shadow policy's answer is sure.
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
    pub evicted: Part,
}
