//! What an explanation is made from.

use crate::{clock::ClockMap, geo::Knowledge, policy::Policy, spec::Spec};

/// What a policy was compiled from, and the policy.
#[derive(Clone, Copy)]
pub struct ExplainInputs<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// Datasets, overlays, special-purpose ranges.
    pub knowledge: &'a Knowledge,
    /// The policy that [`compile`](crate::compile::compile) made of them.
    pub policy: &'a Policy,
    /// The moment in question: rules have times.
    pub clock: ClockMap,
}
