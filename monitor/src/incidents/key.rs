//! What the flows, or the packets without one, of one incident have in common. Addresses and numbers in, small values out
//! that are compared and hashed; called by the book, of each flow of each epoch.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnetwork::IpNetwork;
use monitor_common::{parse::Reason, verdict::Verdict, wire::Class};
use monitor_policy::geo::Country;

use crate::model::{flow::FlowId, identities::RuleName, incident::IncidentKind};

/// What incidents are counted by that share places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// What the destinations are to the policy.
    pub class: Class,
    /// What happens.
    pub verdict: Verdict,
    /// Where they are.
    pub country: Country,
}

/// A network by its first address: /24 or /48, and as a wide one /16 or /32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Network {
    /// The /24 or /48 that an address is in.
    pub const fn of(address: IpAddr) -> Self {
        Self(cut(address, 24, 48))
    }

    /// The /16 or /32 that it is in.
    pub const fn wide(self) -> Self {
        Self(cut(self.0, 16, 32))
    }

    /// As it is written.
    pub fn written(self) -> IpNetwork {
        let length = if self.0.is_ipv4() { 24 } else { 48 };
        // Neither is longer than an address.
        IpNetwork::new(self.0, length).unwrap_or_else(|_| self.0.into())
    }
}

const fn cut(address: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (32 - v4)))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - v6)))),
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// This host.
    Local,
    /// Somebody whose packets it forwards.
    Forwarded(IpAddr),
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Flows from one source to one network, under one rule or none.
    Egress {
        /// Class, verdict, country.
        group: Group,
        /// The rule that decides.
        rule: RuleName,
        /// Where the address is that decides.
        network: Network,
        /// Who sends.
        source: Source,
    },
    /// Flows for which there is no place.
    Others {
        /// Their class.
        class: Class,
        /// Their verdict.
        verdict: Verdict,
        /// Their country; none: any for which there is no place.
        country: Option<Country>,
    },
    /// Answers.
    Answers(Group),
    /// Packets whose flow found no place in the flow table.
    Overflow(Group),
    /// Packets without a flow.
    Unparsed {
        /// Why.
        reason: Reason,
        /// Where they leave; [`ANY`] of many.
        interface: u64,
        /// Whether they are dropped.
        dropped: bool,
    },
}

/// No interface of its own.
pub const ANY: u64 = 0;

/// What that is called. No interface is: the kernel takes no name with a space in it.
pub const SEVERAL: &str = "several interfaces";

/// An interface by its name: nobody has to keep the name's number.
pub fn interface(name: &str) -> u64 {
    if name == SEVERAL {
        return ANY;
    }
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    hash.finish().max(1)
}

impl Key {
    /// What an incident of this is made of.
    pub const fn kind(&self) -> IncidentKind {
        match self {
            Self::Egress { .. } => IncidentKind::Egress,
            Self::Others { .. } => IncidentKind::Others,
            Self::Answers(_) => IncidentKind::Answers,
            Self::Overflow(_) => IncidentKind::Overflow,
            Self::Unparsed { .. } => IncidentKind::Unparsed,
        }
    }
}

/// The incident that a flow is part of, where there is a place. `local`: this host's own addresses.
pub fn of_flow(flow: &FlowId, answers: bool, local: &BTreeSet<IpAddr>) -> Key {
    let group = group(flow);
    if answers {
        return Key::Answers(group);
    }
    let source = flow.ip(flow.source);
    let source = if local.contains(&source) { Source::Local } else { Source::Forwarded(source) };
    Key::Egress { group, rule: flow.rule, network: Network::of(decides(flow)), source }
}

/// The group of a flow.
const fn group(flow: &FlowId) -> Group {
    Group { class: flow.class, verdict: flow.verdict, country: flow.country }
}

/// The address of a flow that its class is that of; the destination's where that one is not kept.
pub fn decides(flow: &FlowId) -> IpAddr {
    flow.decided_by().unwrap_or_else(|| flow.ip(flow.destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_as_it_is_routed_and_a_wide_one_has_many() {
        let network = |text: &str| Network::of(text.parse().expect("an address"));
        assert_eq!(network("198.51.100.9").written().to_string(), "198.51.100.0/24");
        assert_eq!(network("2001:db8:1:2::3").written().to_string(), "2001:db8:1::/48");
        assert_eq!(network("198.51.100.9").wide(), network("198.51.7.1").wide());
        assert_ne!(network("198.51.100.9").wide(), network("198.52.100.9").wide());
        assert_eq!(network("2001:db8:1::").wide(), network("2001:db8:ffff::").wide());
    }
}
