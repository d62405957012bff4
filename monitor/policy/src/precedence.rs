//! Which of several rules that cover one packet decides it. Called by the compiler, which sorts rows by it, by `explain`
//! and by `check`.
//!
//! The management networks stand above all. Then the most specific: a network before an autonomous system before a
//! country, the longer prefix first; then the narrower ports; then deny before allow; then the smaller id. Where rules
//! stand in the files does not matter.

use std::{borrow::Cow, cmp::Reverse};

use monitor_common::wire::RuleRowAction;

use crate::spec::{Action, Management, PortRange, Rule, Spec};

/// How specifically a rule covers a destination, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Specificity {
    /// By the country of its class.
    Country,
    /// By the autonomous system that announces it.
    As,
    /// By a network with a prefix of this length.
    Network(u8),
}

/// The rank of one port range of a rule among those that cover a packet: the least decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    management: Reverse<bool>,
    specificity: Reverse<Specificity>,
    width: u32,
    denies: Reverse<bool>,
    number: u16,
}

impl Rank {
    /// Whether they differ in action and id alone.
    pub(crate) fn ties(&self, other: &Self) -> bool {
        (self.management, self.specificity, self.width) == (other.management, other.specificity, other.width)
    }
}

/// How many ports a rule's range has; more than any for all traffic.
pub(crate) fn width(ports: Option<&PortRange>) -> u32 {
    ports.map_or(u32::MAX, |ports| u32::from(ports.high - ports.low) + 1)
}

/// The rules with their numbers, from 1: by id, so that numbers don't depend on the order of files. The management
/// networks are the last.
pub(crate) struct NumberedRules<'a> {
    rules: Vec<Cow<'a, Rule>>,
    /// Management's number; 0 if there is none.
    management: u16,
}

impl<'a> NumberedRules<'a> {
    pub(crate) fn of(spec: &'a Spec) -> Self {
        let mut rules: Vec<_> = spec.rules.iter().map(Cow::Borrowed).collect();
        // Ids are unique; where a test's are not, the order is that of the files. Plain lists come last: their ids are
        // file names, and a new name must not take a packet from a rule.
        rules.sort_by(|a, b| (a.plain, &a.id).cmp(&(b.plain, &b.id)));
        let management = spec.management.as_ref().filter(|management| !management.networks.is_empty());
        rules.extend(management.map(|management| Cow::Owned(as_rule(management))));
        let management = if management.is_some() { rules.len() as u16 } else { 0 };
        Self { rules, management }
    }

    /// Management's number; 0 if there is none.
    pub(crate) const fn management(&self) -> u16 {
        self.management
    }

    pub(crate) fn get(&self, number: u16) -> &Rule {
        &self.rules[usize::from(number) - 1]
    }

    /// Each with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Rule)> {
        (1_u16..).zip(self.rules.iter().map(AsRef::as_ref))
    }

    pub(crate) fn row_action(&self, number: u16) -> RuleRowAction {
        match self.get(number).action {
            _ if number == self.management => RuleRowAction::Keep,
            Action::Allow => RuleRowAction::Allow,
            Action::Deny => RuleRowAction::Deny,
        }
    }

    /// The rank of one port range of a rule.
    pub(crate) fn rank(&self, number: u16, specificity: Specificity, ports: Option<&PortRange>) -> Rank {
        Rank {
            management: Reverse(number == self.management),
            specificity: Reverse(specificity),
            width: width(ports),
            denies: Reverse(self.row_action(number) == RuleRowAction::Deny),
            number,
        }
    }
}

/// The management networks as the rule that their traffic is attributed to.
fn as_rule(management: &Management) -> Rule {
    let from = !management.source_ports.is_empty();
    Rule {
        id: Management::RULE.into(),
        origin: management.origin.clone(),
        to: management.networks.clone(),
        ports: if from { management.source_ports.clone() } else { management.ports.clone() },
        from,
        tell_bytes_per_day: management.tell_bytes_per_day,
        reason: "never dropped".into(),
        ..Rule::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::at_line;

    fn rule(id: &str, action: Action, plain: bool) -> Rule {
        Rule { id: id.into(), action, plain, ..Rule::default() }
    }

    #[test]
    fn rules_are_numbered_by_id_plain_lists_after_them_and_management_last() {
        let mut spec = Spec {
            rules: vec![
                rule("a", Action::Allow, true),
                rule("c", Action::Deny, false),
                rule("b", Action::Allow, false),
                rule("0", Action::Deny, true),
            ],
            ..Spec::default()
        };
        let ids = |spec: &Spec| -> Vec<(u16, String, RuleRowAction)> {
            let numbered = NumberedRules::of(spec);
            numbered.iter().map(|(number, rule)| (number, rule.id.clone(), numbered.row_action(number))).collect()
        };
        let of = |number, id: &str, row_action| (number, id.to_owned(), row_action);
        let mut expected = vec![
            of(1, "b", RuleRowAction::Allow),
            of(2, "c", RuleRowAction::Deny),
            of(3, "0", RuleRowAction::Deny),
            of(4, "a", RuleRowAction::Allow),
        ];
        assert_eq!((ids(&spec), NumberedRules::of(&spec).management()), (expected.clone(), 0));
        spec.management = Some(Management::default());
        assert_eq!(
            (ids(&spec), NumberedRules::of(&spec).management()),
            (expected.clone(), 0),
            "no networks on purpose"
        );
        let networks = vec![("192.0.2.0/24".parse().expect("a network"), at_line("c.toml", 1))];
        spec.management = Some(Management { networks, ..Management::default() });
        expected.push(of(5, Management::RULE, RuleRowAction::Keep));
        assert_eq!((ids(&spec), NumberedRules::of(&spec).management()), (expected, 5));
    }

    #[test]
    fn place_then_ports_then_deny_then_number_decide_and_only_the_last_two_tie() {
        let networks = vec![("192.0.2.0/24".parse().expect("a network"), at_line("c.toml", 1))];
        let spec = Spec {
            rules: vec![
                rule("a", Action::Allow, false),
                rule("b", Action::Allow, false),
                rule("c", Action::Deny, false),
            ],
            management: Some(Management { networks, ..Management::default() }),
            ..Spec::default()
        };
        let numbered = NumberedRules::of(&spec);
        let ports = |low, high| PortRange { protocol: 6, low, high };
        let (one, every) = (ports(9, 9), ports(0, u16::MAX));
        assert_eq!([width(Some(&one)), width(Some(&every)), width(None)], [1, 65_536, u32::MAX]);
        // Each before the next; the second of a pair that ties is marked.
        let ranks = [
            (4, Specificity::Country, None, false),
            (2, Specificity::Network(25), None, false),
            (1, Specificity::Network(24), Some(&one), false),
            (3, Specificity::Network(24), Some(&every), false),
            (1, Specificity::Network(24), Some(&every), true),
            (2, Specificity::Network(24), Some(&every), true),
            (3, Specificity::Network(24), None, false),
            (1, Specificity::Network(24), None, true),
            (1, Specificity::Network(0), Some(&one), false),
            (1, Specificity::As, Some(&one), false),
            (1, Specificity::Country, Some(&one), false),
        ]
        .map(|(number, place, ports, ties)| (numbered.rank(number, place, ports), ties));
        for pair in ranks.windows(2) {
            let [(before, _), (after, ties)] = pair else { unreachable!("windows of two") };
            assert!(before < after, "{before:?} {after:?}");
            assert_eq!((before.ties(after), after.ties(before)), (*ties, *ties), "{before:?} {after:?}");
        }
        // As specific as a rule, but above it.
        let [management, rule] = [4, 1].map(|number| numbered.rank(number, Specificity::Network(24), None));
        assert_eq!((management < rule, management.ties(&rule)), (true, false));
    }
}
