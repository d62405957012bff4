//! Which of the flows that the store has an incident is made of. An incident and the state in, whether a flow is part of it out;
//! called by whoever shows one.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use super::{
    kept,
    key::{self, Key},
};
use crate::{
    model::{flow::FlowId, incident::Incident},
    store::MonitorState,
};

/// Which flows are part of an incident that is open.
#[derive(Debug)]
pub struct Membership {
    key: Key,
    /// Whose flows are not others'.
    own: BTreeSet<Key>,
    /// This host's own addresses.
    local: BTreeSet<IpAddr>,
}

impl Membership {
    /// Of one of those that the state has; none: no build makes such a one.
    pub fn of(incident: &Incident, state: &MonitorState) -> Option<Self> {
        let mut identities = Arc::clone(&state.traffic.identities);
        let key = kept::key(incident, &mut identities)?;
        let own = match key {
            Key::Others { .. } => {
                state.incidents.values().filter_map(|other| kept::key(other, &mut identities)).collect()
            }
            _ => BTreeSet::new(),
        };
        Some(Self { key, own, local: state.coverage.local.clone() })
    }

    /// Whether it has this flow.
    pub fn has(&self, flow: &FlowId) -> bool {
        let of_flow = key::of_flow(flow, false, &self.local);
        match self.key {
            Key::Others { class, verdict, country } => {
                (class, verdict) == (flow.class, flow.verdict)
                    && country.is_none_or(|country| country == flow.country)
                    && !self.own.contains(&of_flow)
            }
            Key::Egress { .. } => of_flow == self.key,
            // Which flows these were is not kept; packets without a flow have none.
            Key::Answers(_) | Key::Overflow(_) | Key::Unparsed { .. } => false,
        }
    }
}
