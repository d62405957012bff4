//! Where packets end up beyond their destination: a flow's key and the policy that held in; the inner destination
//! (source route, tunnel), the IPv4 address that an IPv6 address carries, and which of them decides, out. Called
//! by [`crate::model::flow`].

use std::net::{IpAddr, Ipv4Addr};

use monitor_api::flows::EmbeddedAddress;
use monitor_common::{
    classify::{Tables as _, class_id_v4, class_id_v6, isatap},
    wire::{Address, Embedded, FlowKey, FullKey, Via},
};
use monitor_policy::Policy;

/// By what an IPv6 address carries the IPv4 address that its packets end up at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Embedding {
    /// `::ffff:a.b.c.d` (RFC 4291 2.5.5.2).
    V4Mapped,
    /// `::a.b.c.d` (RFC 4291 2.5.5.1).
    V4Compatible,
    /// A translator's prefix (RFC 6052), in this form.
    Nat64(Embedded),
    /// 2002::/16 (RFC 3056).
    SixToFour,
    /// 2001::/32 (RFC 4380): the client.
    Teredo,
    /// An interface identifier (RFC 5214), under any prefix that carries none itself.
    Isatap,
}

impl Embedding {
    /// The embedding of an address under a prefix with this form.
    pub const fn of(form: Embedded, address: Address) -> Option<Self> {
        match form {
            Embedded::None => None,
            Embedded::SixToFour => Some(Self::SixToFour),
            Embedded::Teredo => Some(Self::Teredo),
            Embedded::Low32 if address.high == 0 && address.low >> 32 == 0xffff => Some(Self::V4Mapped),
            Embedded::Low32 if address.high == 0 && address.low >> 32 == 0 => Some(Self::V4Compatible),
            form => Some(Self::Nat64(form)),
        }
    }

    /// The name used in flows, alerts and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4Mapped => "v4_mapped",
            Self::V4Compatible => "v4_compatible",
            Self::Nat64(_) => "nat64",
            Self::SixToFour => "6to4",
            // The tunnel itself is "teredo".
            Self::Teredo => "teredo_address",
            Self::Isatap => "isatap",
        }
    }

    /// The IPv4 address inside `address`.
    #[must_use]
    pub fn embedded_in(self, address: Address) -> Ipv4Addr {
        let form = match self {
            Self::V4Mapped | Self::V4Compatible | Self::Isatap => Embedded::Low32,
            Self::Nat64(form) => form,
            Self::SixToFour => Embedded::SixToFour,
            Self::Teredo => Embedded::Teredo,
        };
        Ipv4Addr::from_bits(form.extract(address).unwrap_or(0))
    }
}

/// Which of a flow's destinations its class and rule are those of: the one with the strictest classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decider {
    /// The packet's own.
    Destination,
    /// The IPv4 address that it carries.
    Embedded,
    /// The inner one.
    Inner,
    /// The IPv4 address that the inner one carries.
    InnerEmbedded,
}

/// An inner destination: see [`monitor_common::wire::InnerDestination`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResolvedInner {
    /// Where.
    pub address: Address,
    /// Destination port of the headers that go there; ICMP: type × 256 + code.
    pub port: u16,
    /// IANA protocol number of the headers that go there.
    pub protocol: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// By what.
    pub via: Via,
    /// By what the address carries an IPv4 address.
    pub embedding: Option<Embedding>,
}

impl ResolvedInner {
    /// The address as the standard library's type.
    pub fn ip(&self) -> IpAddr {
        ip(self.ip_version, self.address)
    }
}

/// What a key's destinations come to under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Destinations {
    /// By what the destination carries an IPv4 address.
    pub(crate) embedding: Option<Embedding>,
    /// By what the inner one does.
    pub(crate) inner_embedding: Option<Embedding>,
    pub(crate) decider: Option<Decider>,
}

impl Destinations {
    /// Reads them off the key; the policy is the one that held when the flow was counted.
    #[inline]
    pub(crate) fn of(key: &FullKey, policy: &Policy) -> Self {
        let (flow, inner) = (&key.flow, &key.inner);
        if flow.ip_version == 4 && !inner.exists() {
            // By far the most, and there is nothing to look up.
            return Self { embedding: None, inner_embedding: None, decider: Some(Decider::Destination) };
        }
        let class_id = u32::from(flow.class_id);
        let outer = Candidate::of(policy, flow.ip_version, flow.destination, class_id);
        let beyond = if inner.exists() {
            Candidate::of(policy, inner.ip_version, inner.address, class_id)
        } else {
            Candidate::default()
        };
        // The outermost of equals, as the kernel takes it.
        let decider = match () {
            () if outer.decides => Some(Decider::Destination),
            () if outer.embedded_decides => Some(Decider::Embedded),
            () if beyond.decides => Some(Decider::Inner),
            () if beyond.embedded_decides => Some(Decider::InnerEmbedded),
            // One destination only, whatever its number means; or one of several that the key does not hold.
            () => (outer.embedding.is_none() && !inner.exists()).then_some(Decider::Destination),
        };
        Self { embedding: outer.embedding, inner_embedding: beyond.embedding, decider }
    }
}

impl ResolvedInner {
    /// The inner destination of a key, if it has one.
    #[inline]
    pub(crate) fn of(key: &FullKey, embedding: Option<Embedding>) -> Option<Self> {
        let inner = &key.inner;
        inner.exists().then(|| Self {
            address: inner.address,
            port: inner.port,
            protocol: inner.protocol,
            ip_version: inner.ip_version,
            via: Via::from_wire(inner.via).unwrap_or_default(),
            embedding,
        })
    }
}

/// One address under a policy, and whether its class is the one that the flow has.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate {
    embedding: Option<Embedding>,
    decides: bool,
    embedded_decides: bool,
}

impl Candidate {
    fn of(policy: &Policy, ip_version: u8, address: Address, flow_class_id: u32) -> Self {
        let image = &policy.image;
        if ip_version == 4 {
            let decides = class_id_v4(image, address.low as u32) == Some(flow_class_id);
            return Self { decides, ..Self::default() };
        }
        let class_id = class_id_v6(image, address);
        let row = class_id.and_then(|number| image.class_row(number));
        let form = row.map_or(Embedded::None, |row| Embedded::from_wire(row.embedded));
        // As `classify` has it: an interface identifier counts where the prefix carries nothing.
        let embedding = Embedding::of(form, address).or_else(|| isatap(address).map(|_| Embedding::Isatap));
        let inside = embedding.and_then(|embedding| class_id_v4(image, embedding.embedded_in(address).to_bits()));
        Self { embedding, decides: class_id == Some(flow_class_id), embedded_decides: inside == Some(flow_class_id) }
    }
}

/// An address as the standard library's type.
pub(crate) fn ip(ip_version: u8, address: Address) -> IpAddr {
    FlowKey { ip_version, ..FlowKey::default() }.ip(address)
}

/// The IPv4 address inside `address`, in flows and alerts.
pub(super) fn carried(embedding: Embedding, address: Address) -> EmbeddedAddress {
    EmbeddedAddress { destination: embedding.embedded_in(address).into(), via: embedding.name().into() }
}

/// The name of a way to an inner destination, or of an embedding, that has this text; `None`: none has it.
pub fn via_of(text: &str) -> Option<&'static str> {
    use Embedding::{Isatap, Nat64, SixToFour, Teredo, V4Compatible, V4Mapped};
    let embeddings = [V4Mapped, V4Compatible, Nat64(Embedded::Low32), SixToFour, Teredo, Isatap];
    let names = Via::ALL.into_iter().map(via_name).chain(embeddings.map(Embedding::name));
    names.into_iter().find(|name| *name == text)
}

/// The name of the way to an inner destination.
pub(super) fn via_name(via: Via) -> &'static str {
    via.name().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use monitor_api::flows::InnerDocument;
    use monitor_common::wire;

    use super::*;
    use crate::model::{
        flow::{FlowId, Resolver},
        identities::Name,
    };
    use monitor_policy::{
        ClockMap, Knowledge, Spec, compile,
        geo::{Country, Dataset, Range, special},
    };

    /// 5/8 and 2a00::/16 in Germany, 8/8 and 2600::/16 in the US; a NAT64 prefix of 40 bits.
    fn policy() -> Arc<Policy> {
        let range = |first, last, code| Range { first, last, country: Country(code) };
        let range6 =
            |top: u128, code| Range { first: top << 112, last: ((top + 1) << 112) - 1, country: Country(code) };
        let data = Dataset {
            v4: vec![range(0x0500_0000, 0x05ff_ffff, *b"DE"), range(0x0800_0000, 0x08ff_ffff, *b"US")],
            v6: vec![range6(0x2600, *b"US"), range6(0x2a00, *b"DE")],
            ..Dataset::default()
        };
        let mut config = Spec::default();
        config.zone.nat64 = vec![("2a00:db8::/40".parse().expect("a network"), monitor_policy::Origin::default())];
        compile(&config, &Knowledge::new(&[data], special::table()), &ClockMap::wall(0)).expect("must compile").into()
    }

    fn address(text: &str) -> (u8, Address) {
        match text.parse().expect("an address") {
            IpAddr::V4(v4) => (4, Address::v4(v4.to_bits())),
            IpAddr::V6(v6) => (6, v6.into()),
        }
    }

    /// The flow whose class is that of `strictest`, an address without another inside.
    fn flow(policy: &Arc<Policy>, destination: &str, inner: Option<&str>, strictest: &str) -> FlowId {
        let (version, bits) = address(strictest);
        let class_id =
            if version == 4 { class_id_v4(&policy.image, bits.low as u32) } else { class_id_v6(&policy.image, bits) };
        let (ip_version, destination) = address(destination);
        let mut key = FullKey::from(FlowKey {
            destination,
            ip_version,
            destination_port: 443,
            protocol: 6,
            class_id: class_id.and_then(|number| number.try_into().ok()).expect("a class"),
            ..FlowKey::default()
        });
        if let Some(inner) = inner {
            let (ip_version, address) = address(inner);
            key.inner = wire::InnerDestination {
                address,
                port: 80,
                protocol: 17,
                ip_version,
                via: Via::Gre as u8,
                flags: 0,
                _reserved: [0; 2],
            };
        }
        Resolver::new(&mut Default::default(), policy).resolve(&key, Name::default())
    }

    fn reported(flow: &FlowId) -> (Option<String>, Option<String>, Option<String>) {
        let text = |carried: EmbeddedAddress| format!("{} {}", carried.destination, carried.via);
        let further = flow.inner_document().map(|further| {
            let InnerDocument { destination, destination_port, protocol, via, embedded } = further;
            let embedded = embedded.map_or_else(String::new, |embedded| format!(" ({})", text(embedded)));
            format!("{destination} {destination_port}/{protocol} {via}{embedded}")
        });
        (further, flow.embedded().map(text), flow.decided_by().map(|address| address.to_string()))
    }

    #[test]
    fn an_address_inside_the_destination_is_shown_as_the_further_one() {
        let policy = policy();
        for (destination, inside, via) in [
            ("64:ff9b::808:808", "8.8.8.8", "nat64"),
            ("64:ff9b:1::808:808", "8.8.8.8", "nat64"),
            ("2a00:db8:8:808:8::", "8.8.8.8", "nat64"),
            ("2002:808:808::1", "8.8.8.8", "6to4"),
            ("2001::f7f7:f7f7", "8.8.8.8", "teredo_address"),
            ("::ffff:8.8.8.8", "8.8.8.8", "v4_mapped"),
            ("::8.8.8.8", "8.8.8.8", "v4_compatible"),
            ("2a00::5efe:808:808", "8.8.8.8", "isatap"),
            ("2a00::200:5efe:808:808", "8.8.8.8", "isatap"),
            ("fe80::5efe:808:808", "8.8.8.8", "isatap"),
        ] {
            let flow = flow(&policy, destination, None, inside);
            assert_eq!(
                reported(&flow),
                (Some(format!("{inside} 443/6 {via}")), None, Some(inside.to_owned())),
                "{destination}"
            );
            assert_eq!(flow.via(), Some(via));
        }
    }

    #[test]
    fn what_carries_nothing_and_goes_nowhere_else_decides_for_itself() {
        let policy = policy();
        for destination in ["8.8.8.8", "2600::1", "2a00::1", "fe80::1"] {
            let flow = flow(&policy, destination, None, destination);
            assert_eq!(reported(&flow), (None, None, Some(destination.to_owned())), "{destination}");
            assert_eq!(flow.via(), None);
        }
    }

    #[test]
    fn the_destination_whose_class_the_flow_has_is_named_the_outermost_of_equals() {
        let policy = policy();
        let of = |destination, inner, strictest| flow(&policy, destination, Some(inner), strictest).decided_by();
        let ip = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(of("5.0.0.1", "8.0.0.1", "8.0.0.1"), ip("8.0.0.1"));
        assert_eq!(of("8.0.0.1", "5.0.0.1", "8.0.0.1"), ip("8.0.0.1"));
        assert_eq!(of("8.0.0.1", "8.0.0.2", "8.0.0.1"), ip("8.0.0.1"));
        assert_eq!(of("5.0.0.1", "2002:800:1::1", "8.0.0.1"), ip("8.0.0.1"));
        assert_eq!(of("64:ff9b::800:1", "5.0.0.1", "8.0.0.1"), ip("8.0.0.1"));
        assert_eq!(
            of("2a00::5efe:800:1", "5.0.0.1", "2a00::1"),
            ip("2a00::5efe:800:1"),
            "its own class, not the inner one's"
        );
        assert_eq!(of("5.0.0.1", "5.0.0.2", "9.0.0.1"), None, "a hop that the key does not hold");
    }

    #[test]
    fn a_further_destination_goes_before_what_the_addresses_carry_and_both_are_shown() {
        let policy = policy();
        let flow = flow(&policy, "64:ff9b::505:505", Some("2002:808:808::1"), "8.8.8.8");
        assert_eq!(
            reported(&flow),
            (
                Some("2002:808:808::1 80/17 gre (8.8.8.8 6to4)".into()),
                Some("5.5.5.5 nat64".into()),
                Some("8.8.8.8".into())
            )
        );
        assert_eq!((flow.via(), flow.decider), (Some("gre"), Some(Decider::InnerEmbedded)));
    }

    #[test]
    fn an_address_inside_that_is_never_routed_leaves_the_standing_to_the_prefix() {
        let policy = policy();
        let destination = "64:ff9b:1::";
        let flow = flow(&policy, destination, None, destination);
        assert_eq!(reported(&flow), (Some("0.0.0.0 443/6 nat64".into()), None, Some(destination.to_owned())));
    }

    #[test]
    fn a_flow_stays_small() {
        assert!(size_of::<FlowId>() <= 80, "{}", size_of::<FlowId>());
    }
}
