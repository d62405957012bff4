//! Who a flow is once the policy that numbered its class is gone, and what many flows come to. The flow store, the sums
//! and all consumers of an epoch name flows by it.

use std::{net::IpAddr, sync::Arc};

use monitor_api::flows::{EmbeddedAddress, InnerDocument};
use monitor_common::{
    verdict::Verdict,
    wire::{Address, Class, Counters, FlowValue, FullKey, Opaque},
};
use monitor_policy::{Policy, geo::Country};

use super::{
    Snapshot,
    clock::clamp,
    identities::{Identities, Name, NameSet, RULE_BITS, RuleName},
    inner::{self, Decider, Destinations, Embedding, ResolvedInner, carried, via_name},
};

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
    /// In [`Identities::rules`]; [`RuleName::NONE`] without one.
    pub rule: RuleName,
    /// Where the destination is, the strictest of several.
    pub country: Country,
    /// IANA protocol number.
    pub protocol: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// What of it cannot be read.
    pub opaque: Opaque,
    /// By what the destination carries an IPv4 address.
    pub embedding: Option<Embedding>,
    /// Where its packets go on to.
    pub inner: Option<ResolvedInner>,
    /// Which of the destinations the flow has its class of; `None`: one that is not kept here.
    pub decider: Option<Decider>,
    /// What the destination is to the policy, the strictest of several.
    pub class: Class,
    /// What happened.
    pub verdict: Verdict,
}

/// What a flow's key comes to under its policy: all of a [`FlowId`] that is not in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in FlowId")]
pub struct ResolvedFlow {
    pub interface: Name,
    pub rule: RuleName,
    pub country: Country,
    pub class: Class,
    pub embedding: Option<Embedding>,
    /// Of the inner destination.
    pub inner_embedding: Option<Embedding>,
    pub decider: Option<Decider>,
}

// There may be a million of them while an epoch is merged.
const _: () = assert!(size_of::<ResolvedFlow>() <= 12);

impl FlowId {
    /// The flow of a key that comes to this.
    #[inline]
    pub fn new(key: &FullKey, resolved: &ResolvedFlow) -> Self {
        let ResolvedFlow { interface, rule, country, class, embedding, inner_embedding, decider } = *resolved;
        let flow = &key.flow;
        Self {
            source: flow.source,
            destination: flow.destination,
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            interface,
            rule,
            country,
            protocol: flow.protocol,
            ip_version: flow.ip_version,
            opaque: Opaque::from_wire(flow.flags),
            embedding,
            inner: ResolvedInner::of(key, inner_embedding),
            decider,
            class,
            verdict: Verdict::from_wire(flow.verdict),
        }
    }

    /// An address of this flow as the standard library's type.
    pub fn ip(&self, address: Address) -> IpAddr {
        inner::ip(self.ip_version, address)
    }

    /// What it has in common with many others.
    pub const fn traits(&self) -> Traits {
        let Self { interface, rule, country, opaque, embedding, decider, class, verdict, .. } = *self;
        Traits { interface, rule, country, opaque, embedding, decider, class, verdict }
    }

    /// Where its packets go on to: the inner destination, else the IPv4 address that the destination carries.
    pub fn inner_document(&self) -> Option<InnerDocument> {
        if let Some(inner) = &self.inner {
            return Some(InnerDocument {
                destination: inner.ip(),
                destination_port: inner.port,
                protocol: inner.protocol,
                via: via_name(inner.via).into(),
                embedded: inner.embedding.map(|embedding| carried(embedding, inner.address)),
            });
        }
        self.embedding.map(|embedding| InnerDocument {
            destination: embedding.embedded_in(self.destination).into(),
            destination_port: self.destination_port,
            protocol: self.protocol,
            via: embedding.name().into(),
            embedded: None,
        })
    }

    /// The IPv4 address that the destination carries, where [`FlowId::inner_document`] is another one.
    pub fn embedded(&self) -> Option<EmbeddedAddress> {
        self.inner.and(self.embedding).map(|embedding| carried(embedding, self.destination))
    }

    /// By what its packets go on; `None` where they don't.
    pub fn via(&self) -> Option<&'static str> {
        self.inner.map(|inner| via_name(inner.via)).or_else(|| self.embedding.map(Embedding::name))
    }

    /// The address that class, country and rule are those of; `None` where it is one that the key does not hold.
    pub fn decided_by(&self) -> Option<IpAddr> {
        let carried =
            |embedding: Option<Embedding>, address| embedding.map(|embedding| embedding.embedded_in(address).into());
        match self.decider? {
            Decider::Destination => Some(self.ip(self.destination)),
            Decider::Embedded => carried(self.embedding, self.destination),
            Decider::Inner => self.inner.map(|inner| inner.ip()),
            Decider::InnerEmbedded => self.inner.and_then(|inner| carried(inner.embedding, inner.address)),
        }
    }

    /// Everything but what follows from it, for hashing: the same for the same flow in one process only.
    pub fn words(&self) -> [u64; 9] {
        let Address { high, low } = self.source;
        let [to_high, to_low] = [self.destination.high, self.destination.low];
        let ports = u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        let names = u64::from(self.interface.number()) << RULE_BITS | u64::from(self.rule.number());
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
        let [mut rest, mut inner_high, mut inner_low] = [0; 3];
        if let Some(inner) = &self.inner {
            (inner_high, inner_low) = (inner.address.high, inner.address.low);
            let bytes = [inner.protocol, inner.ip_version, inner.via as u8, 1];
            rest = u64::from(inner.port) << 32 | u64::from(u32::from_be_bytes(bytes));
        }
        [high, low, to_high, to_low, ports << 32 | names, u64::from_be_bytes(bytes), inner_high, inner_low, rest]
    }
}

/// What a flow has in common with many others, without an inner destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "as in FlowId")]
pub struct Traits {
    pub interface: Name,
    pub rule: RuleName,
    pub country: Country,
    pub opaque: Opaque,
    pub embedding: Option<Embedding>,
    pub decider: Option<Decider>,
    pub class: Class,
    pub verdict: Verdict,
}

impl Traits {
    /// A number for a small table: the same for the same traits, seldom so for others of one host.
    pub const fn mixed(&self) -> usize {
        let [first, second] = self.country.0;
        let (interface, rule) = (self.interface.number() as usize, self.rule.number() as usize);
        let of = [interface, rule, self.verdict as usize, self.class as usize, self.opaque as usize];
        let (mut sum, mut at) = (first as usize + 26 * second as usize, 0);
        while at < of.len() {
            sum += (2 * at + 3) * of[at];
            at += 1;
        }
        sum
    }

    /// The sum that such flows belong to.
    pub const fn group(&self) -> Group {
        Group { interface: self.interface, country: self.country, class: self.class, verdict: self.verdict }
    }

    /// The same, with the rule that decided.
    pub const fn flow_group(&self) -> FlowGroup {
        FlowGroup { group: self.group(), rule: self.rule }
    }
}

impl FlowGroup {
    /// What it is once these names are gone.
    #[must_use]
    pub fn without(&self, released: &NameSet) -> Self {
        Self { group: self.group.without(released), rule: released.rule(self.rule) }
    }
}

impl Group {
    /// As [`FlowGroup::without`].
    #[must_use]
    pub fn without(&self, released: &NameSet) -> Self {
        Self { interface: released.interface(self.interface), ..*self }
    }
}

/// What flows are summed by, without a look at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowGroup {
    /// Interface, country, class and verdict.
    pub group: Group,
    /// The rule that decided; [`RuleName::NONE`] without one.
    pub rule: RuleName,
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

/// Who a flow is under one policy. Made once for each, then it needs nothing else.
#[derive(Clone, Debug)]
pub struct Resolver {
    policy: Arc<Policy>,
    digest: Arc<str>,
    /// The policy's rules: number `n` is `rules[n - 1]`.
    rules: Vec<RuleName>,
}

impl Resolver {
    /// One for flows that were counted under `policy`.
    pub fn new(identities: &mut Arc<Identities>, policy: &Arc<Policy>) -> Self {
        let rules = policy.rules.iter().map(|rule| identities.rule(&rule.id)).collect();
        Self { policy: Arc::clone(policy), digest: policy.digest.as_str().into(), rules }
    }

    /// The policy.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The names of its rules.
    pub fn names(&self) -> &[RuleName] {
        &self.rules
    }

    /// Its digest, to be kept.
    pub const fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// Who the flow is.
    #[inline]
    pub fn resolve(&self, key: &FullKey, interface: Name) -> FlowId {
        FlowId::new(key, &self.resolved(key, interface))
    }

    /// What the flow's key comes to.
    #[inline]
    pub fn resolved(&self, key: &FullKey, interface: Name) -> ResolvedFlow {
        let Destinations { embedding, inner_embedding, decider } = Destinations::of(key, &self.policy);
        let (country, class) = place(&self.policy, key.flow.class_id);
        let rule = self.rule(key.flow.rule);
        ResolvedFlow { interface, rule, country, class, embedding, inner_embedding, decider }
    }

    fn rule(&self, number: u16) -> RuleName {
        match number.checked_sub(1) {
            None => RuleName::NONE,
            // A number that the policy does not have can't be: the kernel gives only those. Said, not hidden.
            Some(index) => self.rules.get(usize::from(index)).copied().unwrap_or(RuleName::OTHER),
        }
    }
}

/// Country and class of a row; a number that the policy does not have is of unknown place.
#[inline]
pub fn place(policy: &Policy, class_id: u16) -> (Country, Class) {
    policy
        .classes
        .get(usize::from(class_id))
        .map_or((Country::UNKNOWN, Class::Unknown), |info| (info.country, info.class))
}

/// Sums of one flow since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSums {
    /// The sums.
    pub counters: Counters,
    /// First packet, UTC nanoseconds since 1970.
    pub first: i64,
    /// Last packet.
    pub last: i64,
}

impl FlowSums {
    /// What it came to in one epoch.
    pub fn of(snapshot: &Snapshot, value: &FlowValue) -> Self {
        let (first, last) = (snapshot.wall_time(value.first), snapshot.wall_time(value.last));
        Self { counters: value.counters, first: clamp(first), last: clamp(last) }
    }

    /// Takes in the sums of another flow, or of this one in a later epoch.
    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// What the flows of one group, or of one rule, come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSums {
    /// Flows that the store did not have. One that was evicted and came back counts twice.
    pub flows: u64,
    /// Their sums, and those of the flows that it had.
    pub sums: FlowSums,
}

impl GroupSums {
    /// Takes in what came later.
    pub fn add(&mut self, later: &Self) {
        self.flows += later.flows;
        self.sums.add(&later.sums);
    }
}

/// Flows that are no longer distinguished, only summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SummedFlows {
    /// How many. One that came back and went again counts twice.
    pub flows: u64,
    /// Their sums.
    pub counters: Counters,
}

impl SummedFlows {
    /// Takes in a flow.
    pub fn add(&mut self, counters: &Counters) {
        self.flows += 1;
        self.counters.add(counters);
    }

    /// Takes in others.
    pub fn merge(&mut self, others: &Self) {
        self.flows += others.flows;
        self.counters.add(&others.counters);
    }
}
