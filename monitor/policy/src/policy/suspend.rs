//! A policy and rules in, the same policy with these rules suspended out: for budgets that are used up. Called by the
//! engine and at the daemon's start.
//!
//! Only the rule rows differ. The digest stays that of the policy as configured; what is suspended, and until when, is
//! shown beside it.

use std::{collections::BTreeSet, sync::Arc};

use monitor_common::classify::build::Image;

use super::{Policy, RuleInfo};

impl Policy {
    /// This policy with exactly these rules (numbered from 1) suspended, whatever is suspended in it now.
    #[must_use]
    pub fn suspending(self: &Arc<Self>, rules: &BTreeSet<u16>) -> Arc<Self> {
        if self.suspended == *rules {
            return Arc::clone(self);
        }
        let mut policy = Self::clone(self);
        if self.suspended.is_empty() {
            policy.configured_rows.clone_from(&self.image.rules);
        } else {
            policy.image.rules.clone_from(&self.configured_rows);
        }
        if rules.is_empty() {
            policy.configured_rows = Vec::new();
        }
        for row in policy.image.rules.iter_mut().filter(|row| rules.contains(&row.rule)) {
            // A row that ended at boot holds at no time.
            (row.not_before_ns, row.expires_ns) = (0, 0);
        }
        policy.suspended.clone_from(rules);
        Arc::new(policy)
    }

    /// The image as it is configured, with every rule that is suspended.
    #[must_use]
    pub fn configured_image(&self) -> Image {
        let rules = if self.suspended.is_empty() { &self.image.rules } else { &self.configured_rows };
        Image { rules: rules.clone(), ..self.image.clone() }
    }

    /// The rules that are suspended.
    pub fn suspended_rules(&self) -> impl Iterator<Item = &RuleInfo> {
        self.suspended.iter().filter_map(|number| self.rules.get(usize::from(*number).checked_sub(1)?))
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::{
        classify::{Classification, classify},
        wire::Address,
    };

    use super::*;
    use crate::{
        ClockMap, Knowledge, compile,
        geo::special,
        origin::Origin,
        spec::{Rule, Spec},
    };

    /// What the policy makes of 192.0.2.1 and 192.0.2.200, TCP port 443.
    fn rules(policy: &Policy) -> [u16; 2] {
        [1, 200].map(|host| {
            let found = classify(&policy.image, 4, Address::v4(0xc000_0200 + host), 6, Some(443));
            found.map(|Classification { rule, .. }| rule).expect("whole")
        })
    }

    #[test]
    fn a_suspended_rule_does_not_hold_the_next_does_and_nothing_is_lost() {
        let rule = |id: &str, network: &str, max_bytes_per_day| Rule {
            id: id.into(),
            to: vec![(network.parse().expect("a network"), Origin::default())],
            max_bytes_per_day,
            ..Rule::default()
        };
        let spec = Spec {
            rules: vec![rule("a", "192.0.2.0/25", Some(1 << 30)), rule("b", "192.0.2.0/24", None)],
            ..Spec::default()
        };
        let knowledge = Knowledge { special: special::table().to_vec(), ..Knowledge::default() };
        let policy = Arc::new(compile(&spec, &knowledge, &ClockMap::wall(0)).expect("compiles"));
        assert_eq!(rules(&policy), [1, 2]);
        let (none, first, both) = (BTreeSet::new(), BTreeSet::from([1]), BTreeSet::from([1, 2]));
        let without = policy.suspending(&first);
        assert_eq!((rules(&without), &without.digest), ([2, 2], &policy.digest));
        let ids = |policy: &Policy| policy.suspended_rules().map(|rule| rule.id.clone()).collect::<Vec<_>>();
        assert_eq!([ids(&policy), ids(&without)], [vec![], vec!["a".to_owned()]]);
        let neither = without.suspending(&both);
        assert_eq!(rules(&neither), [0, 0]);
        assert_eq!(rules(&neither.suspending(&first)), [2, 2]);
        let again = neither.suspending(&none);
        assert_eq!((&again.image, &again.configured_rows), (&policy.image, &Vec::new()));
        assert!(Arc::ptr_eq(&policy, &policy.suspending(&none)));
        // A clock that was set times the rules as they were compiled; who is suspended is asked anew then.
        let retimed = Arc::new(without.retimed(&ClockMap::wall(0)));
        assert_eq!((&retimed.image, retimed.suspended.len()), (&policy.image, 0));
        assert_eq!(rules(&retimed.suspending(&first)), [2, 2]);
    }
}
