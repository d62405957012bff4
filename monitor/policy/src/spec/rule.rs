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
