//! An address in, every rule that covers it out: the one that decides, and why each of the others does not. The rule
//! part of [`super`], worked out from the configuration and not from the image.

use std::net::IpAddr;

use monitor_common::wire::{Class, RuleRowAction};
use serde::Serialize;

use super::{address::AddressInfo, inputs::ExplainInputs, target::Target};
use crate::{
    geo::Country,
    origin::Origin,
    precedence::{self, NumberedRules, Rank, Specificity},
    protocol,
    spec::{PortRange, Rule},
    text,
};

/// A rule that covers the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CoveringRule {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub origin: Origin,
    /// `allow`, `deny`, or `keep` for the management networks.
    pub action: &'static str,
    /// The entry of `to` that covers the address, with where that stands.
    pub network: String,
    /// Whether it is the one that decides.
    pub applies: bool,
    /// Why it does or does not.
    pub why: String,
}

/// The same with what it is ranked by.
pub(super) struct RankedRule {
    pub(super) number: u16,
    rank: Rank,
    place: Specificity,
    width: u32,
    pub(super) entry: CoveringRule,
}

/// The rules of one address, those in front that would decide first. At most one applies.
#[derive(Default)]
pub(super) struct RankedRules(pub(super) Vec<RankedRule>);

impl RankedRules {
    pub(super) fn deciding(&self) -> Option<u16> {
        self.0.iter().find(|rule| rule.entry.applies).map(|rule| rule.number)
    }

    pub(super) fn row_action(&self, numbered: &NumberedRules<'_>) -> RuleRowAction {
        self.deciding().map_or(RuleRowAction::None, |number| numbered.row_action(number))
    }

    /// The one that would decide does not after all.
    fn yield_to(&mut self, why: &str) {
        for rule in self.0.iter_mut().filter(|rule| rule.entry.applies) {
            rule.entry.applies = false;
            rule.entry.why = why.to_owned();
        }
    }

    /// With the rules of the address that this one carries: which decides of both.
    pub(super) fn with_inner(mut self, mut inside: Self, inner: &AddressInfo, numbered: &NumberedRules<'_>) -> Self {
        let (outer_row_action, row_action) = (self.row_action(numbered), inside.row_action(numbered));
        let local = Class::from_wire(inner.row.class).stays();
        if local && row_action != RuleRowAction::Deny {
            inside.yield_to("what never leaves the link or the host is not what the packet goes to");
        } else if row_action > outer_row_action {
            self.yield_to("a rule on the address inside overrides it");
        } else if outer_row_action != RuleRowAction::None {
            inside.yield_to(if row_action == outer_row_action {
                "a rule on the prefix says the same"
            } else {
                "a rule on the prefix overrides it"
            });
        }
        self.0.extend(inside.0);
        self
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = CoveringRule> {
        self.0.into_iter().map(|rule| rule.entry)
    }
}

/// Why a rule does not decide where another, which stands before it, does.
fn lost(winner: &RankedRule, loser: &RankedRule, numbered: &NumberedRules<'_>) -> String {
    let name = format!("rule '{}'", winner.entry.id);
    let what = |place: Specificity| match place {
        Specificity::Network(_) => "a network",
        Specificity::As => "an autonomous system",
        Specificity::Country => "a country",
    };
    match (winner.place, loser.place) {
        _ if numbered.row_action(winner.number) == RuleRowAction::Keep => {
            "management networks stand above all rules".into()
        }
        (Specificity::Network(a), Specificity::Network(b)) if a != b => format!("{name} names a narrower network"),
        (a, b) if a != b => format!("{name} names {}, this one {}", what(a), what(b)),
        _ if winner.width != loser.width => format!("{name} names fewer ports"),
        _ if numbered.row_action(winner.number) != numbered.row_action(loser.number) => {
            format!("{name} is as specific, and denies")
        }
        _ => format!("{name} is as specific, and its id comes first"),
    }
}

impl ExplainInputs<'_> {
    /// The autonomous system that rules on one go by: special-purpose ranges and translators' prefixes have none.
    fn system(&self, info: &AddressInfo) -> Option<u32> {
        if info.special.is_some() || info.nat64.is_some() {
            return None;
        }
        Some(self.knowledge.asn.as_ref()?.lookup(info.address)?.0)
    }

    /// The rules that cover an address.
    pub(super) fn rules_of(&self, target: &Target, info: &AddressInfo, numbered: &NumberedRules<'_>) -> RankedRules {
        let system = self.system(info);
        let country = Country(info.row.country);
        let mut rules: Vec<RankedRule> = numbered
            .iter()
            .filter_map(|(number, rule)| {
                let (place, entry) = covers(rule, info.address, system, country)?;
                let (ports, mut applies, mut why) = self.applies(rule, target);
                if applies && self.policy.suspended.contains(&number) {
                    (applies, why) = (false, "suspended until midnight UTC: its max_bytes_per_day is used up".into());
                }
                let rank = numbered.rank(number, place, ports);
                let action = match numbered.row_action(number) {
                    RuleRowAction::Keep => "keep",
                    RuleRowAction::Deny => "deny",
                    RuleRowAction::Allow | RuleRowAction::None => "allow",
                };
                let (id, origin) = (rule.id.clone(), rule.origin.clone());
                let entry = CoveringRule { id, origin, action, network: entry, applies, why };
                Some(RankedRule { number, rank, place, width: precedence::width(ports), entry })
            })
            .collect();
        rules.sort_by_key(|rule| rule.rank);
        if let Some(first) = rules.iter().position(|rule| rule.entry.applies) {
            let (before, after) = rules.split_at_mut(first + 1);
            for loser in after.iter_mut().filter(|rule| rule.entry.applies) {
                loser.entry.applies = false;
                loser.entry.why = lost(&before[first], loser, numbered);
            }
        }
        RankedRules(rules)
    }

    /// The port range by which a rule covers the target, or would; whether it applies; and why or why not.
    fn applies<'r>(&self, rule: &'r Rule, target: &Target) -> (Option<&'r PortRange>, bool, String) {
        // Nobody asks with a source port.
        let port = target.port.filter(|_| !rule.from);
        let covers = |ports: &&PortRange| {
            Some(ports.protocol) == target.protocol
                && port.map_or(ports.whole(), |port| (ports.low..=ports.high).contains(&port))
        };
        let narrowest = |ports: &&PortRange| ports.high - ports.low;
        let covering = rule.ports.iter().filter(covers).min_by_key(narrowest);
        let ports = covering.or(rule.ports.iter().min_by_key(narrowest));
        let now = self.clock.boottime_ns;
        if rule.not_before.is_some_and(|start| now < self.clock.boot_ns(start)) {
            return (ports, false, format!("not before {}", time(rule.not_before)));
        }
        if rule.expires.is_some_and(|end| self.clock.boot_ns(end) <= now) {
            return (ports, false, format!("expired at {}", time(rule.expires)));
        }
        let until = rule.expires.map_or_else(String::new, |_| format!(", until {}", time(rule.expires)));
        if rule.ports.is_empty() {
            return (None, true, format!("all traffic{until}"));
        }
        let ranges: Vec<_> = rule.ports.iter().map(ToString::to_string).collect();
        let from = if rule.from { "what comes from " } else { "" };
        let ranges = format!("{from}{}", ranges.join(", "));
        if covering.is_some() {
            return (ports, true, format!("{ranges}{until}"));
        }
        let asked = target.port.is_some() || target.protocol.is_some_and(|number| !protocol::has_ports(number));
        let hint = if asked || rule.from { "" } else { ": ask with a port" };
        (ports, false, format!("only for {ranges}{until}{hint}"))
    }
}

/// How a rule covers an address: by the most specific of what it names, and that as it stands in the file.
fn covers(rule: &Rule, address: IpAddr, system: Option<u32>, country: Country) -> Option<(Specificity, String)> {
    let networks = rule.to.iter().filter(|(network, _)| network.contains(address));
    if let Some((network, origin)) = networks.max_by_key(|(network, _)| network.prefix()) {
        return Some((Specificity::Network(network.prefix()), format!("{network} ({origin})")));
    }
    if let Some((asn, origin)) = rule.ases.iter().find(|(asn, _)| Some(*asn) == system) {
        return Some((Specificity::As, format!("AS{asn} ({origin})")));
    }
    let (country, origin) = rule.countries.iter().find(|(named, _)| *named == country)?;
    Some((Specificity::Country, format!("{country} ({origin})")))
}

/// A time of a rule; empty where it has none.
fn time(seconds: Option<i64>) -> String {
    seconds.map_or_else(String::new, text::time)
}
