//! The packet corpus: every packet is understood, or counted by reason. Each case is a frame as a readable builder and
//! what must come out, by the standards and by the policy below, not by the parser. [`table`] makes documentation of
//! it.
//!
//! | Network | Is | Why |
//! |---|---|---|
//! | `198.51.100.0/24`, `2001:db8:1::/48` | inside | site in IE |
//! | `198.18.0.0/16`, `2001:db8:2::/48` | outside, denied | site in SG |
//! | `198.19.0.0/24`, `2001:db8:3::/48` | outside, denied but for udp/4500-4510 and tcp/443 | site in SG with a rule |
//! | `192.0.2.0/24`, the rest of `2001:db8::/32` | unknown, denied | special-purpose registry: documentation, no site |
//! | `ff02::/16`, `255.255.255.255` | local, allowed | special-purpose registry |
//! | `fe80::/10` | link-local, allowed | special-purpose registry |
//! | `3fff:640::/32`, `2001:db8:6400::/40`, `2001:db8:6500::/48`, `2001:db8:6600:5600::/56`, `2001:db8:6700:64::/64`, `2001:db8:64::/96` | what the IPv4 address inside is | NAT64 prefixes |
//!
//! Everything comes from `192.0.2.1` or `2001:db8::1`. What stands in [`policy`] is the same for programs.
//!
//! The frame of one case never depends on another case: fragments have an identification of their own in each.

mod addresses;
pub mod build;
mod fragments;
mod ipv4;
mod ipv6;
mod lies;
mod link;
mod opaque;
pub mod policy;
#[cfg(test)]
mod tests;
mod transport;
mod tunnels;

use std::net::IpAddr;

use monitor_common::{
    parse::Reason,
    wire::{Class, Link, Opaque, Via},
};

use self::{
    build::{FROM_PORT, Stack, ip, proto},
    policy::Standing,
};

/// A packet and what must come out.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique, in snake case.
    pub name: &'static str,
    /// The standard and the trick, in one line.
    pub about: &'static str,
    /// What the device puts before the IP header.
    pub link: Link,
    /// Frames that are sent first, by the same interface: earlier fragments.
    pub before: Vec<Vec<u8>>,
    /// The packet.
    pub frame: Vec<u8>,
    /// What it was built of.
    pub packet: Stack,
    /// What comes out for it.
    pub expect: Expect,
    /// Whether it can be sent.
    pub wire: Wire,
    /// Every address that a header in it or before it names.
    pub addresses: Vec<IpAddr>,
}

/// What must come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A flow.
    Flow(Flow),
    /// No flow but a reason.
    Unread {
        /// The reason.
        reason: Reason,
        /// The strictest of the destinations that were read. In enforce a packet to a denied one is dropped whatever
        /// its reason is set to. `None`: there was none, or only in a header that contradicts itself.
        to: Option<Class>,
    },
}

/// A flow, as far as packet and policy make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Of the outermost IP header.
    pub source: IpAddr,
    /// Of the outermost IP header.
    pub destination: IpAddr,
    /// After extension headers.
    pub protocol: u8,
    /// 0 where there are no ports.
    pub source_port: u16,
    /// ICMP: type × 256 + code.
    pub destination_port: u16,
    /// What in it cannot be read.
    pub opaque: Opaque,
    /// The strictest further destination, the innermost of equals: address, protocol, port, by what.
    pub inner: Option<(IpAddr, u8, u16, Via)>,
    /// The strictest of all destinations (denied, let through by the rule, allowed), the outermost of equals.
    pub place: Class,
    /// Whether that destination is let through by the rule.
    pub rule: bool,
}

/// Whether a case can be sent in the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Through a packet socket, as it is.
    Sendable,
    /// Why not.
    Not(&'static str),
}

/// Cases that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    /// A heading.
    pub title: &'static str,
    /// The cases.
    pub cases: Vec<Case>,
}

/// All cases by group.
#[must_use]
pub fn groups() -> Vec<Group> {
    let mut groups = vec![
        Group { title: "Link layer", cases: link::cases() },
        Group { title: "Transport and policy", cases: transport::cases() },
        Group { title: "IPv4 options and authentication", cases: ipv4::cases() },
        Group { title: "IPv6 extension headers", cases: ipv6::cases() },
        Group { title: "Addresses inside addresses", cases: addresses::cases() },
    ];
    groups.extend(tunnels::groups());
    groups.push(Group { title: "Content that cannot be read", cases: opaque::cases() });
    groups.push(Group { title: "Fragments", cases: fragments::cases() });
    groups.push(Group { title: "Headers that lie or end", cases: lies::cases() });
    groups
}

/// All cases.
#[must_use]
pub fn corpus() -> Vec<Case> {
    groups().into_iter().flat_map(|group| group.cases).collect()
}

/// The corpus as a Markdown table under each heading.
#[must_use]
pub fn table() -> String {
    let mut text = String::new();
    for group in groups() {
        text += &format!("\n## {}\n\n| Case | Packet | Outcome |\n|---|---|---|\n", group.title);
        for case in group.cases {
            text += &format!("| `{}` | {} | {} |\n", case.name, case.about, case.expect);
        }
    }
    text.trim_start().to_owned()
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flow = match self {
            Self::Flow(flow) => flow,
            Self::Unread { reason, to: Some(Class::Outside) } => return write!(f, "`{}`, to outside", reason.name()),
            Self::Unread { reason, .. } => return write!(f, "`{}`", reason.name()),
        };
        write!(f, "flow to {}", end(flow.destination, flow.protocol, flow.destination_port))?;
        if let Some((to, protocol, port, via)) = flow.inner {
            write!(f, ", onward to {} via {}", end(to, protocol, port), via.name().unwrap_or("nothing"))?;
        }
        if let Some(opaque) = flow.opaque.name() {
            write!(f, ", opaque: {opaque}")?;
        }
        write!(f, ", {}{}", flow.place.name(), if flow.rule { ", allowed by rule" } else { "" })
    }
}

/// `address:port (protocol)`; ICMP with its type and code.
fn end(address: IpAddr, protocol: u8, port: u16) -> String {
    const NAMES: [(u8, &str); 15] = [
        (proto::ICMP, "ICMP"),
        (proto::IPIP, "IPv4 in IP"),
        (proto::TCP, "TCP"),
        (proto::UDP, "UDP"),
        (proto::DCCP, "DCCP"),
        (proto::IPV6, "IPv6 in IP"),
        (proto::GRE, "GRE"),
        (proto::ESP, "ESP"),
        (proto::ICMPV6, "ICMPv6"),
        (proto::NONE, "no next header"),
        (proto::ETHERIP, "EtherIP"),
        (proto::SCTP, "SCTP"),
        (proto::UDP_LITE, "UDP-Lite"),
        (proto::MPLS, "MPLS"),
        (proto::ETHERNET, "Ethernet"),
    ];
    let name = NAMES.iter().find(|(number, _)| *number == protocol);
    let name = name.map_or_else(|| format!("protocol {protocol}"), |(_, name)| (*name).to_owned());
    match (protocol, address) {
        (proto::ICMP | proto::ICMPV6, _) => format!("{address} ({name} {}/{})", port >> 8, port & 0xff),
        _ if !has_ports(protocol) => format!("{address} ({name})"),
        (_, IpAddr::V4(_)) => format!("{address}:{port} ({name})"),
        (_, IpAddr::V6(_)) => format!("[{address}]:{port} ({name})"),
    }
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP | proto::DCCP | proto::SCTP | proto::UDP_LITE)
}

/// A case on Ethernet that can be sent.
fn case(name: &'static str, about: &'static str, packet: impl Into<Stack>, expect: impl Into<Expect>) -> Case {
    let (packet, expect) = (packet.into(), expect.into());
    Case {
        name,
        about,
        link: Link::Ethernet,
        before: Vec::new(),
        frame: packet.bytes(),
        expect,
        wire: Wire::Sendable,
        addresses: packet.addresses(),
        packet,
    }
}

impl Case {
    /// Another frame that is sent first, after those that already are.
    fn after(mut self, packet: impl Into<Stack>) -> Self {
        let packet = packet.into();
        self.before.push(packet.bytes());
        self.addresses.extend(packet.addresses());
        self
    }

    fn on(self, link: Link) -> Self {
        Self { link, ..self }
    }

    fn not_sent(self, why: &'static str) -> Self {
        Self { wire: Wire::Not(why), ..self }
    }
}

/// A flow; what it is to the policy follows from the destination.
fn flow(to: IpAddr, protocol: u8, port: u16) -> Flow {
    let Standing { place, rule } = Standing::of(to, protocol, port);
    let sources = Stack::from(ip(to)).addresses();
    Flow {
        source: sources[0],
        destination: to,
        protocol,
        source_port: if has_ports(protocol) { FROM_PORT } else { 0 },
        destination_port: port,
        opaque: Opaque::None,
        inner: None,
        place,
        rule,
    }
}

impl Flow {
    fn sent_from(self, source_port: u16) -> Self {
        Self { source_port, ..self }
    }

    fn opaque(self, opaque: Opaque) -> Self {
        Self { opaque, ..self }
    }

    /// A further destination: the strictest, and the innermost of equals.
    fn inner(self, via: Via, to: IpAddr, protocol: u8, port: u16) -> Self {
        let outer = Standing { place: self.place, rule: self.rule };
        let Standing { place, rule } = outer.or_stricter(Standing::of(to, protocol, port));
        Self { inner: Some((to, protocol, port, via)), place, rule, ..self }
    }

    /// What it is to the policy where plain networks do not say.
    fn is(self, place: Class) -> Self {
        Self { place, rule: false, ..self }
    }

    fn ruled(self) -> Self {
        Self { rule: true, ..self }
    }
}

impl From<Flow> for Expect {
    fn from(flow: Flow) -> Self {
        Self::Flow(flow)
    }
}

impl From<Reason> for Expect {
    fn from(reason: Reason) -> Self {
        Self::Unread { reason, to: None }
    }
}

/// No flow, but destinations were read, of which this is the strictest.
fn met(reason: Reason, to: Class) -> Expect {
    Expect::Unread { reason, to: Some(to) }
}
