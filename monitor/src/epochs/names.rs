//! Names as small numbers, so that a flow is eighty bytes and not two hundred, and who a flow is once the
//! policy that numbered its class is gone. Called by [`super::Traffic`] and the alerts.

use std::{collections::HashMap, sync::Arc};

use monitor_common::{
    verdict::Verdict,
    wire::{Address, Kind, OnwardKey, Opaque},
};

use super::onward::{self, Carrier, Decider, Ends, Onward};
use crate::{geo::Country, policy::Policy};

/// The interface name for packets of an interface that nobody registered.
pub const UNREGISTERED: &str = "(unregistered)";

/// Distinct interface names told apart; later ones are [`Names::OTHER`]. Metric labels come from here, so a
/// host that makes interfaces all day must not grow them without end.
const MAX_INTERFACE_NAMES: u16 = 1024;

/// A name in a [`Names`] table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u16);

/// Names, each kept once, never forgotten, bounded.
#[derive(Debug)]
pub struct Names {
    list: Vec<Arc<str>>,
    index: HashMap<Arc<str>, Name>,
    limit: u16,
}

impl Names {
    /// The empty name: no rule.
    pub const NONE: Name = Name(0);
    /// What names are called that no longer fit: `(other)`.
    pub const OTHER: Name = Name(1);

    /// A table for at most `limit` names, the two constants included.
    #[must_use]
    pub fn new(limit: u16) -> Self {
        let mut names = Self { list: Vec::new(), index: HashMap::new(), limit: limit.max(2) };
        names.intern("");
        names.intern("(other)");
        names
    }

    /// The number of a name.
    pub fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.index.get(text) {
            return *name;
        }
        match u16::try_from(self.list.len()) {
            Ok(number) if number < self.limit => {
                let text: Arc<str> = text.into();
                self.list.push(Arc::clone(&text));
                self.index.insert(text, Name(number));
                Name(number)
            }
            _ => Self::OTHER,
        }
    }

    /// The name with this number.
    #[must_use]
    pub fn get(&self, name: Name) -> &str {
        self.list.get(usize::from(name.0)).map_or("(other)", |text| text)
    }
}

/// Who a flow is: everything that a later policy or a renamed interface would otherwise change under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// See [`monitor_common::wire::FlowKey::source_port`].
    pub source_port: u16,
    /// See [`monitor_common::wire::FlowKey::destination_port`].
    pub destination_port: u16,
    /// In [`Identities::interfaces`].
    pub interface: Name,
    /// In [`Identities::rules`]; [`Names::NONE`] without one.
    pub rule: Name,
    /// Where the destination is, the strictest of several.
    pub country: Country,
    /// IANA protocol number.
    pub protocol: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// What of it cannot be read.
    pub opaque: Opaque,
    /// By what the destination carries an IPv4 address.
    pub carrier: Option<Carrier>,
    /// Where its packets go on to.
    pub onward: Option<Onward>,
    /// Which of the destinations the flow has its class of; `None`: one that is not kept here.
    pub decider: Option<Decider>,
    /// What the destination is to the policy, the strictest of several.
    pub kind: Kind,
    /// What happened.
    pub verdict: Verdict,
}

impl FlowId {
    /// An address of this flow as the standard library's type.
    #[must_use]
    pub fn ip(&self, address: Address) -> std::net::IpAddr {
        onward::ip(self.ip_version, address)
    }

    /// The sum that the flow belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        Group { interface: self.interface, country: self.country, kind: self.kind, verdict: self.verdict }
    }
}

/// What sums are kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// In [`Identities::interfaces`].
    pub interface: Name,
    /// Where.
    pub country: Country,
    /// What to the policy.
    pub kind: Kind,
    /// What happened.
    pub verdict: Verdict,
}

/// The two name tables.
#[derive(Debug)]
pub struct Identities {
    /// Interface names.
    pub interfaces: Names,
    /// Rule ids.
    pub rules: Names,
}

impl Default for Identities {
    fn default() -> Self {
        Self { interfaces: Names::new(MAX_INTERFACE_NAMES), rules: Names::new(u16::MAX) }
    }
}

impl Identities {
    /// The number of an interface's name; the kernel's `""` is [`UNREGISTERED`].
    pub fn interface(&mut self, name: &str) -> Name {
        self.interfaces.intern(if name.is_empty() { UNREGISTERED } else { name })
    }

    /// Who the flow is under the policy that held when it was counted.
    pub fn resolve(&mut self, key: &OnwardKey, interface: Name, policy: &Policy) -> FlowId {
        let Ends { carrier, onward, decider } = Ends::of(key, policy);
        let key = &key.flow;
        let (country, kind) = place(policy, key.class);
        FlowId {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            interface,
            rule: self.rule(policy, key.rule),
            country,
            protocol: key.protocol,
            ip_version: key.ip_version,
            opaque: Opaque::from_wire(key.flags),
            carrier,
            onward,
            decider,
            kind,
            verdict: Verdict::from_wire(key.verdict),
        }
    }

    fn rule(&mut self, policy: &Policy, number: u16) -> Name {
        match number.checked_sub(1).map(|index| policy.rules.get(usize::from(index))) {
            None => Names::NONE,
            Some(Some(rule)) => self.rules.intern(&rule.id),
            // Can't be: the kernel gives only numbers of this policy. Said, not hidden.
            Some(None) => self.rules.intern(&format!("#{number}")),
        }
    }
}

/// Country and kind of a class; a number that the policy does not have is of unknown place.
#[must_use]
pub fn place(policy: &Policy, class: u16) -> (Country, Kind) {
    policy.classes.get(usize::from(class)).map_or((Country::UNKNOWN, Kind::Unknown), |info| (info.country, info.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_calls_later_names_other_and_keeps_the_earlier_ones() {
        let mut names = Names::new(4);
        let (a, b) = (names.intern("a"), names.intern("b"));
        assert_eq!(names.intern("c"), Names::OTHER);
        assert_eq!((names.intern("a"), names.intern("b")), (a, b));
        assert_eq!(
            (names.get(a), names.get(b), names.get(Names::OTHER), names.get(Names::NONE)),
            ("a", "b", "(other)", "")
        );
    }
}
