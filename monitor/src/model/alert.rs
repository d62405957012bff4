//! An alert as data: an incident, or a finding about the monitor. It holds names and not numbers, so that
//! it outlives policy and name tables; a sink encodes it when it writes it.

use std::sync::Arc;

use monitor_common::wire::Counters;

use super::{
    finding::FindingReport,
    flow::{FlowId, Resolver},
    identities::Identities,
    incident::IncidentAlert,
    severity::Severity,
};

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alert {
    /// Something leaves for a place the policy does not allow out, or may.
    Incident(Box<IncidentAlert>),
    /// Something is wrong with the monitor, or is no longer.
    Finding(FindingReport),
}

impl Alert {
    /// How bad.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Incident(incident) => incident.severity(),
            Self::Finding(finding) => finding.severity(),
        }
    }

    /// The incident's kind, or the finding's name: the metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Incident(alert) => alert.incident.kind.name(),
            Self::Finding(finding) => finding.kind.name(),
        }
    }
}

/// How the alert on a flow came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the ring buffer, at the first packet.
    Event,
    /// From the drained flow table, because the event was lost or overtaken.
    Drain,
}

/// What is known of the flow that an incident begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSighting {
    /// The flow. Its names are those below.
    pub flow: FlowId,
    /// Interface that it left by.
    pub interface: Arc<str>,
    /// Digest of the policy that held.
    pub policy: Arc<str>,
    /// Number and name (or an empty one) of who announces its destination, where a dataset says.
    pub autonomous_system: Option<(u32, String)>,
    /// How it was seen.
    pub seen: Sighted,
}

/// How a flow was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// Epoch that it was counted in.
    pub epoch: u32,
    /// Time of the first packet, UTC nanoseconds since 1970.
    pub time: i128,
    /// The same as the kernel's jiffies: exact, and the same in event and flow table.
    pub first_jiffies: u64,
    /// Counted until now.
    pub counters: Counters,
    /// Where it comes from.
    pub origin: Origin,
}

impl FlowSighting {
    /// The flow with its names.
    pub fn new(flow: FlowId, seen: Sighted, identities: &Identities, resolver: &Resolver) -> Self {
        let system = resolver.policy().asn.as_deref().and_then(|asn| asn.lookup(flow.ip(flow.destination)));
        Self {
            flow,
            interface: identities.interfaces.share(flow.interface),
            policy: Arc::clone(resolver.digest()),
            autonomous_system: system.map(|(number, name)| (number, name.to_owned())),
            seen,
        }
    }
}
