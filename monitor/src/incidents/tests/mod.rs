//! What opens an incident, what is told of it, and what ends it. A file a subject; here is what they share.

mod flood;
mod sighting;
mod telling;
mod unread;

use std::sync::Arc;

use monitor_common::wire::FullKey;

use super::*;
use crate::{
    fake,
    model::{
        Snapshot,
        identities::Interfaces,
        incident::{IncidentAlert, Stage},
    },
};

/// Incidents with their names and the fake policy.
pub struct Bench {
    pub incidents: Incidents,
    pub identities: Arc<Identities>,
    pub resolver: Resolver,
    pub interfaces: Interfaces,
    /// Of events.
    pub epoch: u32,
}

impl Bench {
    /// With the fake policy and the product's limits.
    pub fn new() -> Self {
        Self::with(fake::policy(), 1_000)
    }

    /// That remembers so many flows.
    pub fn with(policy: Policy, remembered: usize) -> Self {
        Self::over(Incidents::new(StateDirectory::default(), remembered, LIMITS), policy)
    }

    /// Over these.
    pub fn over(mut incidents: Incidents, policy: Policy) -> Self {
        let mut identities = Arc::new(Identities::default());
        let (eth0, unregistered) = (identities.interface("eth0"), identities.interface(""));
        incidents.boot = "b0".into();
        incidents.local.insert("192.0.2.1".parse().expect("an address"));
        Self {
            incidents,
            resolver: Resolver::new(&mut identities, &policy.into()),
            interfaces: Interfaces::new([(7, eth0)].into(), unregistered),
            identities,
            epoch: 1,
        }
    }

    fn at(&self, wall: i128) -> At<'_> {
        let interface = self.interfaces.name(7);
        At { time: wall, read: wall, interface, resolver: &self.resolver, identities: &self.identities }
    }

    /// What an event of a flow makes.
    pub fn event(&mut self, flow: impl Into<FullKey>, jiffies: u64, wall: i128) -> Option<Alert> {
        self.flagged(flow, 0, jiffies, wall)
    }

    /// The same of one whose first packet has these TCP flags.
    pub fn flagged(&mut self, flow: impl Into<FullKey>, flags: u32, jiffies: u64, wall: i128) -> Option<Alert> {
        let event = Event {
            flow: flow.into(),
            jiffies,
            epoch: self.epoch,
            wire_bytes: 104,
            tcp_flags: flags,
            ..Event::default()
        };
        let mut incidents = std::mem::replace(&mut self.incidents, Incidents::open(StateDirectory::default()));
        let made = incidents.flow_event(&event, &self.at(wall));
        self.incidents = incidents;
        made
    }

    /// What an event of a packet without a flow makes.
    pub fn unparsed(&mut self, event: &UnparsedEvent, wall: i128) -> Option<Alert> {
        let mut incidents = std::mem::replace(&mut self.incidents, Incidents::open(StateDirectory::default()));
        let made = incidents.unparsed_event(event, &self.at(wall));
        self.incidents = incidents;
        made
    }

    /// What an epoch makes.
    pub fn snapshot(&mut self, snapshot: &Snapshot) -> Vec<Alert> {
        let epoch = ClosedEpoch::new(snapshot, &self.interfaces, &self.resolver, &self.identities);
        self.incidents.drain(&epoch)
    }
}

/// The incident that an alert is on.
#[track_caller]
pub fn on(alert: &Alert) -> &IncidentAlert {
    match alert {
        Alert::Incident(alert) => alert,
        Alert::Finding(finding) => panic!("{finding:?}"),
    }
}

/// Stage, network or kind, packets, flows: what a test compares.
pub fn shown(alert: &Alert) -> (Stage, String, u64, u64) {
    let IncidentAlert { stage, incident, .. } = on(alert);
    let network = incident.network.map_or_else(|| incident.kind.name().to_owned(), |network| network.to_string());
    (*stage, network, incident.counted().packets, incident.flows)
}

/// A flow to another address and port.
pub fn to(address: [u8; 4], port: u16) -> FlowKey {
    let address = monitor_common::wire::Address::v4(u32::from_be_bytes(address));
    FlowKey { destination: address, ..fake::key(7, fake::OUTSIDE, port) }
}

/// Two epochs' worth of jiffies and time later.
pub fn later(snapshot: &mut Snapshot, seconds: u64) {
    snapshot.started += i128::from(seconds) * 1_000_000_000;
    snapshot.ended += i128::from(seconds) * 1_000_000_000;
    snapshot.jiffies += seconds * 250;
    for (_, value) in &mut snapshot.flows {
        (value.first, value.last) = (value.first + seconds * 250, value.last + seconds * 250);
    }
}
