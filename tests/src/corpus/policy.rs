//! The policy that the corpus is evaluated by; the table stands in the documentation of [`super`].

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Result;
use monitor_common::wire::Class;

use super::build::proto;
use crate::monitor::{policy::Policy, policy_of};

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(third: u16, last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, third, 0, 0, 0, 0, last))
}

/// Inside.
pub const IN: IpAddr = v4(198, 51, 100, 7);
/// Inside, another one.
pub const IN_B: IpAddr = v4(198, 51, 100, 8);
/// Outside.
pub const OUT: IpAddr = v4(198, 18, 0, 7);
/// Outside, another one.
pub const OUT_B: IpAddr = v4(198, 18, 0, 8);
/// Outside, with a rule for [`RULED_PORTS`].
pub const RULED: IpAddr = v4(198, 19, 0, 7);
/// In a special range that no site places: unknown.
pub const UNPLACED: IpAddr = v4(192, 0, 2, 99);
/// Local: the limited broadcast.
pub const BROADCAST: IpAddr = v4(255, 255, 255, 255);
/// Inside.
pub const IN6: IpAddr = v6(1, 7);
/// Inside, another one.
pub const IN6_B: IpAddr = v6(1, 8);
/// Outside.
pub const OUT6: IpAddr = v6(2, 7);
/// Outside, another one.
pub const OUT6_B: IpAddr = v6(2, 8);
/// Outside, with a rule for [`RULED_PORTS`].
pub const RULED6: IpAddr = v6(3, 7);
/// In a special range that no site places: unknown.
pub const UNPLACED6: IpAddr = v6(9, 7);

/// Sites: network, country, what that is to a region that holds IE but not SG.
pub const SITES: [(&str, &str, Class); 6] = [
    ("198.51.100.0/24", "IE", Class::Inside),
    ("198.18.0.0/16", "SG", Class::Outside),
    ("198.19.0.0/24", "SG", Class::Outside),
    ("2001:db8:1::/48", "IE", Class::Inside),
    ("2001:db8:2::/48", "SG", Class::Outside),
    ("2001:db8:3::/48", "SG", Class::Outside),
];

/// Networks that the one rule is for.
pub const RULED_NETWORKS: [&str; 2] = ["198.19.0.0/24", "2001:db8:3::/48"];

/// What the rule allows: protocol, first and last destination port. 4500 is where ESP is carried in UDP, too.
pub const RULED_PORTS: [(u8, u16, u16); 2] = [(proto::UDP, 4500, 4510), (proto::TCP, 443, 443)];

/// What the rule is called.
pub const RULE: &str = "ruled";

/// NAT64 prefixes of the operator's (RFC 6052 knows these lengths). The /32 can only be outside of 2001:db8::/32.
pub const NAT64: [&str; 6] = [
    "3fff:640::/32",
    "2001:db8:6400::/40",
    "2001:db8:6500::/48",
    "2001:db8:6600:5600::/56",
    "2001:db8:6700:64::/64",
    "2001:db8:64::/96",
];

/// Addresses that may stand on a wire, in whatever header.
pub const ON_WIRES: [&str; 7] = [
    "198.18.0.0/15",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "255.255.255.255/32",
    "2001:db8::/32",
    "fe80::/10",
    "ff02::/16",
];

/// The policy as an operator writes it, with `zone` as further lines of `[zone]`.
#[must_use]
pub fn config(zone: &str) -> String {
    let list = |networks: &[&str]| format!("[\"{}\"]", networks.join("\", \""));
    let mut text = format!("[zone]\nname = \"corpus\"\ninside = \"EEA\"\nnat64 = {}\n{zone}\n", list(&NAT64));
    for (number, (network, country, _)) in SITES.iter().enumerate() {
        let site = format!("name = \"site-{number}\"\ncountry = \"{country}\"\nnetworks = {}", list(&[network]));
        let _ = write!(text, "\n[[site]]\n{site}\n");
    }
    let ports = RULED_PORTS.map(|(protocol, low, high)| {
        let name = if protocol == proto::UDP { "udp" } else { "tcp" };
        if low == high { format!("{name}/{low}") } else { format!("{name}/{low}-{high}") }
    });
    let ports = list(&ports.each_ref().map(String::as_str));
    let networks = list(&RULED_NETWORKS);
    let _ = write!(text, "\n[[allow]]\nid = \"{RULE}\"\nto = {networks}\nports = {ports}\nreason = \"the corpus\"\n");
    text
}

/// The same, compiled. No dataset has a say on addresses that sites, translators and the registry know.
///
/// # Errors
/// A mistake in `zone`.
pub fn compile(zone: &str) -> Result<Policy> {
    policy_of(&config(zone))
}

/// Whether a network of the form `address/prefix` holds the address.
///
/// # Panics
/// Never for the networks in this module.
#[must_use]
pub fn holds(network: &str, address: IpAddr) -> bool {
    let (base, prefix) = network.split_once('/').expect("a slash");
    let prefix: u32 = prefix.parse().expect("a prefix length");
    match (base.parse().expect("an address"), address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => (base.to_bits() ^ address.to_bits()).leading_zeros() >= prefix,
        (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits() ^ address.to_bits()).leading_zeros() >= prefix,
        _ => false,
    }
}

/// How a destination stands: what it is, and whether the rule lets traffic to it through. Knows the plain networks
/// only: of an address inside an address the case says so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is.
    pub place: Class,
    /// Whether the rule covers protocol and port.
    pub rule: bool,
}

impl Standing {
    /// Of a destination.
    #[must_use]
    pub fn of(to: IpAddr, protocol: u8, port: u16) -> Self {
        let local = ["255.255.255.255/32", "ff02::/16"].iter().any(|network| holds(network, to));
        let site = SITES.iter().find(|(network, _, _)| holds(network, to)).map(|(_, _, place)| *place);
        let place = match site {
            _ if local => Class::Local,
            _ if holds("fe80::/10", to) => Class::LinkLocal,
            site => site.unwrap_or(Class::Unknown),
        };
        let covered = RULED_PORTS.iter().any(|&(p, low, high)| p == protocol && (low..=high).contains(&port));
        Self { place, rule: covered && RULED_NETWORKS.iter().any(|network| holds(network, to)) }
    }

    /// How strict: denied, let through by the rule, allowed. (Nothing here is allowed with an alert.)
    fn rank(self) -> u8 {
        match (self.place, self.rule) {
            (_, true) => 1,
            (Class::Outside | Class::Unknown, false) => 2,
            _ => 0,
        }
    }

    /// The stricter of two, the outer one of equals.
    #[must_use]
    pub fn or_stricter(self, inner: Self) -> Self {
        if inner.rank() > self.rank() { inner } else { self }
    }
}
