//! Which of several rules that cover one packet decides it. Called by the compiler, which sorts rows by it, by `explain`
//! and by `check`.
//!
//! The management networks stand above all. Then the most specific: a network before an autonomous system before a
//! country, the longer prefix first; then the narrower ports; then deny before allow; then the smaller id. Where rules
//! stand in the files has no say.

use std::{borrow::Cow, cmp::Reverse};

use monitor_common::wire::Ruling;

use crate::config::{Action, Config, Management, PortRange, Rule};

/// How a rule names the place where a packet goes, the least specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The country of its class.
    Country,
    /// The autonomous system that announces it.
    As,
    /// A network. What is in it is the greater the longer the prefix.
    Network(u8),
}

/// Where one port range of a rule stands among those that cover a packet: the least decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    kept: Reverse<bool>,
    place: Reverse<Place>,
    width: u32,
    denies: Reverse<bool>,
    number: u16,
}

impl Rank {
    /// Whether only what they say or their ids tell them apart.
    pub(super) fn ties(&self, other: &Self) -> bool {
        (self.kept, self.place, self.width) == (other.kept, other.place, other.width)
    }
}

/// How many ports a rule's range has; more than any for all traffic.
pub(super) fn width(ports: Option<&PortRange>) -> u32 {
    ports.map_or(u32::MAX, |ports| u32::from(ports.high - ports.low) + 1)
}

/// The rules with their numbers, from 1: by id, so that numbers don't hang on the order of files. The management
/// networks are the last.
pub(super) struct Numbered<'a> {
    rules: Vec<Cow<'a, Rule>>,
    /// Management's number; 0 if there is none.
    kept: u16,
}

impl<'a> Numbered<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        let mut rules: Vec<_> = config.rules.iter().map(Cow::Borrowed).collect();
        // Ids are unique; where a test's are not, the order is that of the files. Plain lists come last: their ids are
        // file names, and a new name must not take a packet from a rule.
        rules.sort_by(|a, b| (a.plain, &a.id).cmp(&(b.plain, &b.id)));
        let management = config.management.as_ref().filter(|management| !management.networks.is_empty());
        rules.extend(management.map(|management| Cow::Owned(as_rule(management))));
        let kept = if management.is_some() { rules.len() as u16 } else { 0 };
        Self { rules, kept }
    }

    /// Management's number; 0 if there is none.
    pub(super) const fn kept(&self) -> u16 {
        self.kept
    }

    pub(super) fn get(&self, number: u16) -> &Rule {
        &self.rules[usize::from(number) - 1]
    }

    /// Each with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Rule)> {
        (1_u16..).zip(self.rules.iter().map(AsRef::as_ref))
    }

    pub(super) fn ruling(&self, number: u16) -> Ruling {
        match self.get(number).action {
            _ if number == self.kept => Ruling::Keep,
            Action::Allow => Ruling::Allow,
            Action::Deny => Ruling::Deny,
        }
    }

    /// Where a port range of a rule stands.
    pub(super) fn rank(&self, number: u16, place: Place, ports: Option<&PortRange>) -> Rank {
        Rank {
            kept: Reverse(number == self.kept),
            place: Reverse(place),
            width: width(ports),
            denies: Reverse(self.ruling(number) == Ruling::Deny),
            number,
        }
    }
}

/// The management networks as the rule that their traffic is attributed to.
fn as_rule(management: &Management) -> Rule {
    Rule {
        id: Management::RULE.into(),
        origin: management.origin.clone(),
        to: management.networks.clone(),
        ports: management.ports.clone(),
        reason: "never dropped".into(),
        ..Rule::default()
    }
}
