//! A closed epoch as everybody who uses it sees it: the snapshot, with each flow resolved once for all of them.

use std::sync::Arc;

use monitor_common::{
    verdict::Verdict,
    wire::{Counters, FlowValue, FullKey},
};

use super::{
    Snapshot,
    flow::{FlowGroup, FlowId, Group, ResolvedFlow, Resolver},
    identities::{Identities, Interfaces, Name},
};

/// See the module.
#[derive(Debug)]
pub struct ClosedEpoch<'a> {
    /// What the kernel part drained.
    pub snapshot: &'a Snapshot,
    /// The names of its interfaces.
    pub interfaces: &'a Interfaces,
    /// Who its flows are.
    pub resolver: &'a Resolver,
    /// What names stand for, with all of this epoch.
    pub identities: &'a Arc<Identities>,
    /// See [`Snapshot::residual`] and [`Snapshot::dropped_residual`], one after the other.
    pub residual: Vec<(u32, Counters)>,
    /// Beside the snapshot's flows.
    resolved: Vec<ResolvedFlow>,
}

impl<'a> ClosedEpoch<'a> {
    /// Resolves the snapshot's flows.
    pub fn new(
        snapshot: &'a Snapshot,
        interfaces: &'a Interfaces,
        resolver: &'a Resolver,
        identities: &'a Arc<Identities>,
    ) -> Self {
        let mut residual = snapshot.residual();
        residual.extend(snapshot.dropped_residual());
        // Looked up once for a run of flows of one interface: there are a million of them.
        let mut run = (0, interfaces.name(0));
        let of = |(key, _): &(FullKey, FlowValue)| {
            if key.flow.ifindex != run.0 {
                run = (key.flow.ifindex, interfaces.name(key.flow.ifindex));
            }
            resolver.resolved(key, run.1)
        };
        let resolved = snapshot.flows.iter().map(of).collect();
        Self { snapshot, interfaces, resolver, identities, residual, resolved }
    }

    /// Its flows, in no order.
    pub fn flows(&self) -> impl Iterator<Item = EpochFlow<'_>> {
        self.snapshot.flows.iter().zip(&self.resolved).map(|((key, value), resolved)| EpochFlow {
            key,
            value,
            resolved,
        })
    }

    /// The interfaces on which hook and sums differ, each with by how much: a conservation breach.
    pub fn breaches(&self) -> impl Iterator<Item = (Name, Counters)> {
        let not_zero = self.residual.iter().filter(|(_, residual)| !residual.is_zero());
        not_zero.map(|(ifindex, residual)| (self.interfaces.name(*ifindex), *residual))
    }
}

/// One flow of a closed epoch.
#[derive(Clone, Copy, Debug)]
pub struct EpochFlow<'a> {
    /// As the kernel knows it.
    pub key: &'a FullKey,
    /// What it sent in the epoch; times are jiffies.
    pub value: &'a FlowValue,
    /// What the key comes to.
    pub resolved: &'a ResolvedFlow,
}

impl EpochFlow<'_> {
    /// Who it is.
    #[inline]
    pub fn id(&self) -> FlowId {
        FlowId::new(self.key, self.resolved)
    }

    /// The sum that it belongs to.
    #[inline]
    pub fn group(&self) -> FlowGroup {
        let ResolvedFlow { interface, country, class, rule, .. } = *self.resolved;
        let verdict = Verdict::from_wire(self.key.flow.verdict);
        FlowGroup { group: Group { interface, country, class, verdict }, rule }
    }
}
