//! `[zone]`: which countries are inside, and what happens to traffic that goes elsewhere.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use monitor_common::{parse::Reason, wire::Opaque};

use crate::{geo::Country, origin::Origin, region};

/// What the zone does with a class of destinations, and a rule with the packets that it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Packets pass.
    #[default]
    Allow,
    /// Packets are dropped when enforcing, and raise alerts in both modes.
    Deny,
}

/// `[zone]`: what counts as inside, and what is done with the rest.
#[derive(Clone, Debug)]
pub struct Zone {
    /// `name`.
    pub name: String,
    /// `inside` as written.
    pub inside_text: String,
    /// The countries of `inside`, sorted.
    pub inside: Vec<Country>,
    /// Whether `private` is part of `inside`.
    pub inside_private: bool,
    /// `on_outside`.
    pub on_outside: Action,
    /// `on_ambiguous`.
    pub on_ambiguous: Action,
    /// `on_unknown`.
    pub on_unknown: Action,
    /// `on_private`.
    pub on_private: Action,
    /// `on_link_local`: of IPv4.
    pub on_link_local: Action,
    /// `on_opaque`.
    pub on_opaque: Action,
    /// `[zone.opaque]`: marks with an action of their own.
    pub opaque: BTreeMap<Opaque, Action>,
    /// `on_undecodable`.
    pub on_undecodable: Action,
    /// `[zone.undecodable]`: reasons with an action of their own.
    pub undecodable: BTreeMap<Reason, Action>,
    /// `nat64`: prefixes of translators, each with where it stands. IPv6 networks of a length that
    /// [`monitor_common::wire::Embedded::nat64`] knows.
    pub nat64: Vec<(IpNetwork, Origin)>,
}

impl Zone {
    /// What happens to flows whose content has this mark.
    pub fn on_mark(&self, mark: Opaque) -> Action {
        self.opaque.get(&mark).copied().unwrap_or(self.on_opaque)
    }

    /// What happens to packets that can't be parsed for this reason.
    pub fn on_reason(&self, reason: Reason) -> Action {
        if reason.always_passes() {
            return Action::Allow;
        }
        let otherwise = if reason.passes_by_default() { Action::Allow } else { self.on_undecodable };
        self.undecodable.get(&reason).copied().unwrap_or(otherwise)
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "eea".into(),
            inside_text: "EEA".into(),
            inside: region::eea(),
            inside_private: false,
            on_outside: Action::Deny,
            on_ambiguous: Action::Deny,
            on_unknown: Action::Deny,
            on_private: Action::Allow,
            on_link_local: Action::Deny,
            on_opaque: Action::Allow,
            opaque: BTreeMap::new(),
            on_undecodable: Action::Deny,
            undecodable: BTreeMap::new(),
            nat64: Vec::new(),
        }
    }
}
