//! Which flows somebody asked for: a [`FlowFilter`] and the state's names in, yes or no of a flow or of a sum out.

use ipnetwork::IpNetwork;
use monitor_api::flows::FlowFilter;

use crate::{
    model::{
        clock::clamp,
        flow::{FlowGroup, FlowId, FlowSums},
        identities::{Name, RuleName},
    },
    store::MonitorState,
};

/// See the module.
pub(super) struct Chosen {
    filter: FlowFilter,
    rules: Vec<RuleName>,
    interfaces: Vec<Name>,
    /// When the epoch began that was closed last.
    active_since: i64,
}

impl Chosen {
    pub(super) fn of(filter: FlowFilter, state: &MonitorState) -> Self {
        let identities = &state.traffic.identities;
        let rule = |id: &String| if id == "-" { Some(RuleName::NONE) } else { identities.rules.find(id) };
        Self {
            rules: filter.rules.iter().filter_map(rule).collect(),
            interfaces: filter.interfaces.iter().filter_map(|name| identities.interfaces.find(name)).collect(),
            active_since: state.last.map_or(i64::MAX, |last| clamp(last.started)),
            filter,
        }
    }

    /// Whether sums of this group are asked for, as far as the group says.
    pub(super) fn group(&self, of: &FlowGroup) -> bool {
        let FlowFilter { verdicts, countries, classes, rules, interfaces, .. } = &self.filter;
        let group = &of.group;
        any(verdicts, |one| *one == group.verdict)
            && any(countries, |one| *one == group.country)
            && any(classes, |one| *one == group.class)
            // One that nobody has ever heard of has no flow.
            && (rules.is_empty() || self.rules.contains(&of.rule))
            && (interfaces.is_empty() || self.interfaces.contains(&group.interface))
    }

    /// Whether this flow is.
    pub(super) fn flow(&self, id: &FlowId, sums: &FlowSums) -> bool {
        let FlowFilter { sources, peers, ports, active, .. } = &self.filter;
        let within = |networks: &[IpNetwork], address| any(networks, |network: &IpNetwork| network.contains(address));
        self.group(&id.traits().flow_group())
            && any(ports, |port| *port == id.destination_port)
            && within(sources, id.ip(id.source))
            && within(peers, id.ip(id.destination))
            && (!active || self.is_active(sums))
    }

    /// Whether its last packet was in the epoch closed last.
    pub(super) const fn is_active(&self, sums: &FlowSums) -> bool {
        sums.last >= self.active_since
    }
}

/// Whether one of these fits; none of them means all.
fn any<T>(of: &[T], fits: impl Fn(&T) -> bool) -> bool {
    of.is_empty() || of.iter().any(fits)
}
