//! The flow that an incident begins with, as it was seen first. The incidents' room makes it, the first alert shows it.

use std::sync::Arc;

use monitor_common::wire::Counters;

use super::{
    flow::{FlowId, Resolver},
    identities::Identities,
};

/// How it came to be known.
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
