//! `[[allow]]`, `[[deny]]` and `[management]`: what a rule covers, and what happens to it.

use ipnetwork::IpNetwork;

use super::Action;
use crate::{geo::Country, origin::Origin, protocol};

/// `[[allow]]`, `[[deny]]`, or a plain allowlist file.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `id`.
    pub id: String,
    /// Where it begins.
    pub origin: Origin,
    /// Whether it allows or denies.
    pub action: Action,
    /// The networks of `to`, each with where it stands.
    pub to: Vec<(IpNetwork, Origin)>,
    /// The countries of `to`, each with where it stands.
    pub countries: Vec<(Country, Origin)>,
    /// The autonomous systems of `to` by number, each with where it stands.
    pub ases: Vec<(u32, Origin)>,
    /// `ports`; empty: every protocol and port.
    pub ports: Vec<PortRange>,
    /// Of management, whether these are the ports that packets come from.
    pub from: bool,
    /// `max_bytes_per_day`: bytes on the wire in a UTC day.
    pub max_bytes_per_day: Option<u64>,
    /// Of management, `tell_bytes_per_day`: bytes on the wire in a UTC day above which it is told.
    pub tell_bytes_per_day: Option<u64>,
    /// `reason`; of a plain allowlist, the file's name.
    pub reason: String,
    /// `legal_basis`; may be empty, as may `owner` and `ticket`.
    pub legal_basis: String,
    /// `owner`.
    pub owner: String,
    /// `ticket`.
    pub ticket: String,
    /// `not_before`, seconds since 1970.
    pub not_before: Option<i64>,
    /// `expires`, seconds since 1970.
    pub expires: Option<i64>,
    /// Whether it is a plain allowlist: one network a line, without terms; its id is the file's name, and only a label.
    pub plain: bool,
}

/// `[management]`: networks to which enforce never drops anything.
#[derive(Clone, Debug, Default)]
pub struct Management {
    /// `networks`, each with where it stands; empty: none, on purpose.
    pub networks: Vec<(IpNetwork, Origin)>,
    /// `ports`; empty: every protocol and port.
    pub ports: Vec<PortRange>,
    /// `source_ports`, in place of the former: what packets come from.
    pub source_ports: Vec<PortRange>,
    /// `tell_bytes_per_day`: bytes on the wire in a UTC day above which it is told.
    pub tell_bytes_per_day: Option<u64>,
    /// Where it begins.
    pub origin: Origin,
}

impl Management {
    /// Id of the rule that its traffic is attributed to. No other rule has it.
    pub const RULE: &'static str = "management";
}

/// A protocol with a range of ports: `tcp/443`, `udp/4500-4510`. A protocol alone (`icmp`, `tcp`) has all ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// IANA protocol number.
    pub protocol: u8,
    /// First port.
    pub low: u16,
    /// Last port, inclusive.
    pub high: u16,
}

impl PortRange {
    /// Whether it is the whole protocol.
    pub const fn whole(&self) -> bool {
        self.low == 0 && self.high == u16::MAX
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&protocol::label(self.protocol))?;
        if self.whole() {
            return Ok(());
        }
        write!(f, "/{}", self.low)?;
        if self.low == self.high { Ok(()) } else { write!(f, "-{}", self.high) }
    }
}

/// Longer prefixes than these are networks that somebody manages hosts from; shorter ones are whole parts of the Internet.
const WIDEST: [u8; 2] = [8, 32];

/// Networks of documentation, which nobody comes from (RFC 5737, RFC 3849, RFC 9637).
const EXAMPLES: [&str; 5] = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"];

impl Management {
    /// What should be looked at before anybody relies on it.
    pub fn doubts(&self) -> Vec<String> {
        let examples: Vec<IpNetwork> = EXAMPLES.iter().filter_map(|network| network.parse().ok()).collect();
        let doubt = |network: &IpNetwork| {
            let inside = |of: &IpNetwork| of.prefix() <= network.prefix() && of.contains(network.network());
            let is_example = examples.iter().any(inside);
            if is_example {
                return Some("a network of documentation: put in the one that you come from".to_owned());
            }
            let widest = WIDEST[usize::from(network.is_ipv6())];
            let why = || format!("enforce drops nothing that goes there: name networks of /{widest} or smaller");
            (network.prefix() < widest).then(why)
        };
        let networks = self.networks.iter();
        networks
            .filter_map(|(network, origin)| Some(format!("[management] {network} ({origin}): {}", doubt(network)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn management_networks_that_are_too_wide_or_examples_are_named() {
        let of = |networks: &[&str]| {
            let networks = networks.iter().map(|text| (text.parse().unwrap(), Origin::default())).collect();
            Management { networks, ..Management::default() }.doubts()
        };
        assert_eq!(of(&["10.0.0.0/8", "2a00:1450::/32", "198.18.0.0/15", "192.0.0.0/8"]), [""; 0]);
        let wide = of(&["0.0.0.0/0", "::/0", "8.0.0.0/7", "2000::/31"]);
        assert!(wide.len() == 4 && wide.iter().all(|doubt| doubt.contains("name networks of /")), "{wide:?}");
        let examples = of(&["192.0.2.7/32", "203.0.113.0/24", "2001:db8:1::/48", "3fff::/20"]);
        assert!(examples.len() == 4 && examples.iter().all(|doubt| doubt.contains("documentation")), "{examples:?}");
    }
}
