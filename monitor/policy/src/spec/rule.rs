//! `[[allow]]`, `[[deny]]` and `[management]`: what a rule covers and what it says.

use ipnetwork::IpNetwork;

use super::Action;
use crate::{geo::Country, origin::Origin, protocol};

/// `[[allow]]`, `[[deny]]`, or an allowlist file.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `id`.
    pub id: String,
    /// Where it begins.
    pub origin: Origin,
    /// Which of the two it is.
    pub action: Action,
    /// The networks of `to`, each with where it stands.
    pub to: Vec<(IpNetwork, Origin)>,
    /// The countries of `to`.
    pub countries: Vec<(Country, Origin)>,
    /// The autonomous systems of `to`.
    pub ases: Vec<(u32, Origin)>,
    /// `ports`; empty: every protocol and port.
    pub ports: Vec<PortRange>,
    /// `max_bytes_per_day`, on the wire.
    pub max_bytes_per_day: Option<u64>,
    /// `reason`; for an allowlist file, which file it is.
    pub reason: String,
    /// `legal_basis`; may be empty, as `owner` and `ticket`.
    pub legal_basis: String,
    /// `owner`.
    pub owner: String,
    /// `ticket`.
    pub ticket: String,
    /// `not_before`, seconds since 1970.
    pub not_before: Option<i64>,
    /// `expires`.
    pub expires: Option<i64>,
    /// One network a line, without terms of its own: the id is a file's name and no more than a label.
    pub plain: bool,
}

/// `[management]`: what enforce never drops.
#[derive(Clone, Debug, Default)]
pub struct Management {
    /// `networks`, each with where it stands; empty: none, on purpose.
    pub networks: Vec<(IpNetwork, Origin)>,
    /// `ports`; empty: every protocol and port.
    pub ports: Vec<PortRange>,
    /// Where it begins.
    pub origin: Origin,
}

impl Management {
    /// The rule that its traffic is attributed to. No other rule has this id.
    pub const RULE: &'static str = "management";
}

/// `tcp/443`, `udp/4500-4510`; a protocol alone (`icmp`, `tcp`) is all of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// IANA protocol number.
    pub protocol: u8,
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

impl PortRange {
    /// Whether it is the protocol as such.
    #[must_use]
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
