//! Notes on rules that cover the same packets: which decide nothing, which say the same, which tie, which are exceptions
//! to which. The compiler records conflicts interval by interval, so they hold for the addresses as the datasets have
//! them, by country and autonomous system too; `check` shows the notes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::{
    origin::Origin,
    precedence::NumberedRules,
    spec::{Action, PortRange, Rule},
    text,
};

/// Most of the rules that decide in a rule's stead which a note names.
pub(crate) const MAX_NAMED: usize = 4;

/// What a note says of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Another has the same terms.
    Identical,
    /// Others decide everything that it covers.
    Shadowed,
    /// It covers no address.
    Empty,
    /// Another is as specific and decides, because it denies or because its id comes first.
    Tie,
    /// A more specific rule with the opposite action decides a part of what it covers.
    Exception,
    /// It does not hold yet.
    NotYet,
    /// It has expired.
    Expired,
}

/// A rule, by id and origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleRef {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub origin: Origin,
}

/// One note on a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleNote {
    /// What it says.
    pub why: Why,
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// The rules that decide in its stead, at most four of them.
    pub others: Vec<RuleRef>,
    /// The note as a sentence.
    pub message: String,
}

/// Which rules decide in the stead of which, as far as intervals were compiled. Rules go by number.
#[derive(Default)]
pub(crate) struct RuleConflicts {
    /// Rules that cover an address.
    covering: BTreeSet<u16>,
    /// Rules that decide some packet.
    deciding: BTreeSet<u16>,
    /// By loser: rules that leave it nothing to decide in some interval.
    hidden: BTreeMap<u16, BTreeSet<u16>>,
    /// By loser: rules that are as specific.
    ties: BTreeMap<u16, BTreeSet<u16>>,
    /// By loser: more specific rules with the opposite action.
    exceptions: BTreeMap<u16, BTreeSet<u16>>,
}

fn note(of: &mut BTreeMap<u16, BTreeSet<u16>>, loser: u16, winner: u16) {
    let winners = of.entry(loser).or_default();
    if winners.len() < MAX_NAMED {
        winners.insert(winner);
    }
}

impl RuleConflicts {
    pub(crate) fn covers(&mut self, rule: u16) {
        self.covering.insert(rule);
    }

    pub(crate) fn decides(&mut self, rule: u16) {
        self.deciding.insert(rule);
    }

    pub(crate) fn hides(&mut self, winner: u16, loser: u16) {
        if winner != loser {
            note(&mut self.hidden, loser, winner);
        }
    }

    /// `winner` decides packets that `loser` covers as well; in a `tie` they are equally specific.
    pub(crate) fn conflict(&mut self, winner: u16, loser: u16, tie: bool, numbered: &NumberedRules<'_>) {
        if tie {
            note(&mut self.ties, loser, winner);
        } else if numbered.get(winner).action != numbered.get(loser).action {
            note(&mut self.exceptions, loser, winner);
        }
    }

    /// The notes at `now`, in seconds since 1970.
    pub(crate) fn notes(&self, numbered: &NumberedRules<'_>, now: i64) -> Vec<RuleNote> {
        let named = |number: u16| {
            let rule = numbered.get(number);
            RuleRef { id: rule.id.clone(), origin: rule.origin.clone() }
        };
        let mut notes = Vec::new();
        let mut add = |why, number: u16, others: &mut dyn Iterator<Item = u16>| {
            let others: Vec<RuleRef> = others.map(named).collect();
            notes.push(RuleNote {
                why,
                rule: named(number),
                message: message(why, numbered.get(number), &others),
                others,
            });
        };
        let same = identical(numbered);
        for (number, rule) in numbered.iter() {
            if rule.expires.is_some_and(|end| end <= now) {
                add(Why::Expired, number, &mut std::iter::empty());
                continue;
            }
            if rule.not_before.is_some_and(|start| now < start) {
                add(Why::NotYet, number, &mut std::iter::empty());
            }
            let winners = |to: &BTreeMap<u16, BTreeSet<u16>>| to.get(&number).cloned().unwrap_or_default();
            if let Some(first) = same.get(&number) {
                add(Why::Identical, number, &mut std::iter::once(*first));
            } else if !self.covering.contains(&number) {
                add(Why::Empty, number, &mut std::iter::empty());
            } else if !self.deciding.contains(&number) {
                add(Why::Shadowed, number, &mut winners(&self.hidden).into_iter());
            } else {
                for (why, others) in [(Why::Tie, winners(&self.ties)), (Why::Exception, winners(&self.exceptions))] {
                    if !others.is_empty() {
                        add(why, number, &mut others.into_iter());
                    }
                }
            }
        }
        notes
    }
}

fn message(why: Why, rule: &Rule, others: &[RuleRef]) -> String {
    let by: Vec<_> = others.iter().map(|other| format!("'{}' ({})", other.id, other.origin)).collect();
    let by = by.join(", ");
    let what = format!("rule '{}' ({})", rule.id, rule.origin);
    let time = |seconds: Option<i64>| seconds.map_or_else(String::new, text::time);
    match why {
        Why::Identical => format!("{what} says what {by} says: remove one of them"),
        Why::Shadowed => {
            format!("{what} decides nothing: all of it is covered more narrowly by {by}: remove it or narrow those")
        }
        Why::Empty => format!("{what} covers no address: nothing is known to be in what it names"),
        Why::Tie => format!(
            "{what} is as specific as {by} where both cover a packet: that one denies, or has the smaller id, and decides"
        ),
        Why::Exception if rule.action == Action::Deny => {
            format!("{what} denies, but a part of it is let through by {by}")
        }
        Why::Exception => format!("{what} allows, but a part of it is denied by {by}"),
        Why::NotYet => format!("{what} does not hold before {}", time(rule.not_before)),
        Why::Expired => format!("{what} expired at {}: renew it or remove it", time(rule.expires)),
    }
}

/// What a rule covers, however it was written.
type Terms<'a> = (BTreeSet<&'a ipnetwork::IpNetwork>, BTreeSet<[u8; 2]>, BTreeSet<u32>, BTreeSet<&'a PortRange>);

/// Rules with the same terms as another, each with the first of those, which decides.
fn identical(numbered: &NumberedRules<'_>) -> HashMap<u16, u16> {
    // Sets are built only of rules that are alike at first sight: there may be a million networks.
    let mut alike: HashMap<_, Vec<u16>> = HashMap::new();
    for (number, rule) in numbered.iter().filter(|(number, _)| *number != numbered.management()) {
        let network = rule.to.iter().map(|(network, _)| network).min();
        let sight = (rule.action, network, rule.not_before, rule.expires, rule.max_bytes_per_day);
        alike.entry(sight).or_default().push(number);
    }
    let mut same = HashMap::new();
    for group in alike.into_values().filter(|group| group.len() > 1) {
        let mut first: HashMap<Terms<'_>, u16> = HashMap::new();
        for number in group {
            let rule = numbered.get(number);
            let terms: Terms<'_> = (
                rule.to.iter().map(|(network, _)| network).collect(),
                rule.countries.iter().map(|(country, _)| country.0).collect(),
                rule.ases.iter().map(|(asn, _)| *asn).collect(),
                rule.ports.iter().collect(),
            );
            match first.get(&terms) {
                Some(other) => {
                    same.insert(number, *other);
                }
                None => {
                    first.insert(terms, number);
                }
            }
        }
    }
    same
}

#[cfg(test)]
mod tests;
