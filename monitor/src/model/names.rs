//! Names as small numbers, so that a flow is eighty bytes and not two hundred, and who a flow is once the
//! policy that numbered its class is gone. Called by the flow store, [`crate::store::Traffic`] and the alerts.

use std::{collections::HashMap, sync::Arc};

use monitor_common::{
    verdict::Verdict,
    wire::{Address, Class, FlowKey, FullKey, Opaque},
};

use crate::model::inner::{self, Carrier, Decider, Ends, ResolvedInner};
use monitor_policy::{Policy, geo::Country};

/// The interface name for packets of an interface that nobody registered.
pub const UNREGISTERED: &str = "(unregistered)";

/// Distinct interface names told apart; later ones are [`Names::OTHER`]. Metric labels come from here, so a
/// host that makes interfaces all day must not grow them without end.
const MAX_INTERFACE_NAMES: u16 = 1024;

/// A name in a [`Names`] table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u16);

impl Name {
    /// Its place in the table: names are numbered in the order in which they came.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The name in this place.
    pub(crate) const fn at(index: u16) -> Self {
        Self(index)
    }
}

/// Names, each kept once, never forgotten, bounded.
#[derive(Clone, Debug)]
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

    /// The number of a name; `None` for one that can still be added.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Name> {
        let full = self.list.len() >= usize::from(self.limit);
        self.index.get(text).copied().or_else(|| full.then_some(Self::OTHER))
    }

    /// The number of a name, added where it is new.
    pub fn intern(&mut self, text: &str) -> Name {
        self.find(text).unwrap_or_else(|| {
            // Below the limit, which is 16 bits.
            let name = Name(self.list.len() as u16);
            let text: Arc<str> = text.into();
            self.list.push(Arc::clone(&text));
            self.index.insert(text, name);
            name
        })
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
    pub inner: Option<ResolvedInner>,
    /// Which of the destinations the flow has its class of; `None`: one that is not kept here.
    pub decider: Option<Decider>,
    /// What the destination is to the policy, the strictest of several.
    pub class: Class,
    /// What happened.
    pub verdict: Verdict,
}

impl FlowId {
    /// An address of this flow as the standard library's type.
    #[must_use]
    pub fn ip(&self, address: Address) -> std::net::IpAddr {
        inner::ip(self.ip_version, address)
    }

    /// What it has in common with many others.
    #[must_use]
    pub const fn traits(&self) -> Traits {
        let Self { interface, rule, country, opaque, carrier, decider, class, verdict, .. } = *self;
        Traits { interface, rule, country, opaque, carrier, decider, class, verdict }
    }

    /// Everything but what follows from it, for hashing: the same for the same flow in one process only.
    #[must_use]
    pub fn words(&self) -> [u64; 9] {
        let Address { high, low } = self.source;
        let [to_high, to_low] = [self.destination.high, self.destination.low];
        let ports = u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        let names = u64::from(self.interface.0) << 16 | u64::from(self.rule.0);
        let bytes = [
            self.country.0[0],
            self.country.0[1],
            self.protocol,
            self.ip_version,
            self.opaque as u8,
            self.class as u8,
            self.verdict as u8,
            self.decider.map_or(0, |decider| decider as u8 + 1),
        ];
        let [mut inner, mut on_high, mut on_low] = [0; 3];
        if let Some(further) = &self.inner {
            (on_high, on_low) = (further.address.high, further.address.low);
            let bytes = [further.protocol, further.ip_version, further.via as u8, 1];
            inner = u64::from(further.port) << 32 | u64::from(u32::from_be_bytes(bytes));
        }
        [high, low, to_high, to_low, ports << 32 | names, u64::from_be_bytes(bytes), on_high, on_low, inner]
    }
}

/// What a flow has in common with many others, without a further destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traits {
    /// See [`FlowId`], as for all others.
    pub interface: Name,
    #[allow(missing_docs)]
    pub rule: Name,
    #[allow(missing_docs)]
    pub country: Country,
    #[allow(missing_docs)]
    pub opaque: Opaque,
    #[allow(missing_docs)]
    pub carrier: Option<Carrier>,
    #[allow(missing_docs)]
    pub decider: Option<Decider>,
    #[allow(missing_docs)]
    pub class: Class,
    #[allow(missing_docs)]
    pub verdict: Verdict,
}

impl Traits {
    /// A number for a small table: the same for the same traits, seldom so for others of one host.
    #[must_use]
    pub const fn mixed(&self) -> usize {
        let [first, second] = self.country.0;
        let of = [self.interface.0, self.rule.0, self.verdict as u16, self.class as u16, self.opaque as u16];
        let (mut sum, mut at) = (first as usize + 26 * second as usize, 0);
        while at < of.len() {
            sum += (2 * at + 3) * of[at] as usize;
            at += 1;
        }
        sum
    }

    /// The sum that such flows belong to.
    #[must_use]
    pub const fn group(&self) -> Group {
        Group { interface: self.interface, country: self.country, class: self.class, verdict: self.verdict }
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
    pub class: Class,
    /// What happened.
    pub verdict: Verdict,
}

/// The two name tables. Shared with readers; a copy is made when a name is added, which is rare.
#[derive(Clone, Debug)]
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
    pub fn interface(self: &mut Arc<Self>, name: &str) -> Name {
        let name = if name.is_empty() { UNREGISTERED } else { name };
        self.interfaces.find(name).unwrap_or_else(|| Arc::make_mut(self).interfaces.intern(name))
    }

    fn rule(self: &mut Arc<Self>, id: &str) -> Name {
        self.rules.find(id).unwrap_or_else(|| Arc::make_mut(self).rules.intern(id))
    }
}

/// The names of an epoch's interfaces, by index.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    by_index: HashMap<u32, Name>,
    unregistered: Name,
}

impl Interfaces {
    /// With `unregistered` for all others.
    #[must_use]
    pub fn new(by_index: HashMap<u32, Name>, unregistered: Name) -> Self {
        Self { by_index, unregistered }
    }

    /// The name of the interface with this index.
    #[must_use]
    pub fn name(&self, ifindex: u32) -> Name {
        self.by_index.get(&ifindex).copied().unwrap_or(self.unregistered)
    }
}

/// Who a flow is under one policy. Made once for each, then it needs nothing else.
#[derive(Clone, Debug)]
pub struct Resolver {
    policy: Arc<Policy>,
    /// The policy's rules: number `n` is `rules[n - 1]`.
    rules: Vec<Name>,
}

impl Resolver {
    /// One for flows that were counted under `policy`.
    pub fn new(identities: &mut Arc<Identities>, policy: &Arc<Policy>) -> Self {
        let rules = policy.rules.iter().map(|rule| identities.rule(&rule.id)).collect();
        Self { policy: Arc::clone(policy), rules }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The sum that a flow belongs to.
    #[must_use]
    #[inline]
    pub fn group(&self, key: &FlowKey, interface: Name) -> Group {
        let (country, class) = place(&self.policy, key.class_id);
        Group { interface, country, class, verdict: Verdict::from_wire(key.verdict) }
    }

    /// Who the flow is.
    #[must_use]
    #[inline]
    pub fn resolve(&self, key: &FullKey, interface: Name) -> FlowId {
        let Ends { carrier, inner, decider } = Ends::of(key, &self.policy);
        let key = &key.flow;
        let (country, class) = place(&self.policy, key.class_id);
        FlowId {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            interface,
            rule: self.rule(key.rule),
            country,
            protocol: key.protocol,
            ip_version: key.ip_version,
            opaque: Opaque::from_wire(key.flags),
            carrier,
            inner,
            decider,
            class,
            verdict: Verdict::from_wire(key.verdict),
        }
    }

    fn rule(&self, number: u16) -> Name {
        match number.checked_sub(1) {
            None => Names::NONE,
            // A number that the policy does not have can't be: the kernel gives only those. Said, not hidden.
            Some(index) => self.rules.get(usize::from(index)).copied().unwrap_or(Names::OTHER),
        }
    }
}

/// Country and class of a row; a number that the policy does not have is of unknown place.
#[must_use]
#[inline]
pub fn place(policy: &Policy, class_id: u16) -> (Country, Class) {
    policy
        .classes
        .get(usize::from(class_id))
        .map_or((Country::UNKNOWN, Class::Unknown), |info| (info.country, info.class))
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
