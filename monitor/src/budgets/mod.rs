//! Daily byte budgets of rules (`max_bytes_per_day`): closed epochs in; what each rule let through this UTC day, and
//! which rules are used up, out. Called by the engine, which suspends these (see [`monitor_policy`]'s
//! `suspending`). [`store`] keeps the day's sums over a restart.
//!
//! Bytes are bytes on the wire, of flows: what overflowed has no rule. What is watched above another device that the same
//! packets pass is not charged a second time. An epoch belongs to the day in which it began,
//! and the engine ends the one that is open at midnight. A clock that is set back comes to a day that has begun already,
//! so that no day is given twice; as far as is remembered what it was before, it comes to no other day at all
//! ([`crate::clock`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{BudgetUse, BudgetUses, Snapshot, budget::Day};
use monitor_policy::Policy;

pub mod keeper;
pub mod store;

/// Whether a rule of the policy has a budget, or a volume that is told.
pub fn has_any(policy: &Policy) -> bool {
    policy.rules.iter().any(monitor_policy::RuleInfo::is_summed)
}

/// Days beside the running one whose sums are kept, for a clock that is set back.
const OTHER_DAYS: usize = 4;

/// Bytes on the wire, by the rule's id: also of rules that have no budget any more, or are not there.
type Used = BTreeMap<String, u64>;

/// What rules with a budget let through in one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// The day.
    pub day: Day,
    /// What they let through in it.
    pub used: Used,
    /// The same of other days.
    others: BTreeMap<Day, Used>,
    /// When the epoch counted last ended, UTC nanoseconds since 1970.
    latest: Option<i128>,
    /// How far the time that days go by is ahead of the wall clock that epochs have theirs of, in nanoseconds.
    pub(super) ahead: i128,
}

impl Budgets {
    /// Nothing used yet on this day.
    pub const fn new(day: Day) -> Self {
        Self::with(day, Used::new())
    }

    /// So much used on this day.
    pub const fn with(day: Day, used: Used) -> Self {
        Self { day, used, others: BTreeMap::new(), latest: None, ahead: 0 }
    }

    /// Adds an epoch to the day in which it began; begins the next day with one that ends in it. True if anything has
    /// changed.
    pub fn count(&mut self, snapshot: &Snapshot) -> bool {
        let ended = snapshot.ended + self.ahead;
        let (before, today) = (self.day, Day::of(ended));
        // An earlier daemon's epochs are of earlier days, and no reason to return to these.
        let set_back = self.latest.is_some_and(|latest| ended < latest);
        let changed = self.add(snapshot);
        if today > self.day || set_back {
            self.turn_to(today);
        }
        while self.others.len() > OTHER_DAYS {
            self.others.pop_first();
        }
        self.latest = Some(ended);
        changed || before != self.day
    }

    fn add(&mut self, snapshot: &Snapshot) -> bool {
        let rules = &snapshot.policy.rules;
        let mut changed = false;
        if !has_any(&snapshot.policy) {
            return changed;
        }
        // By number first: there are a hundred thousand flows and few rules.
        let mut sums = vec![0_u64; rules.len() + 1];
        let again = snapshot.interfaces.iter().filter(|interface| interface.role.is_seen_again());
        let again: BTreeSet<u32> = again.map(|interface| interface.ifindex).collect();
        for (key, value) in &snapshot.flows {
            if key.flow.rule != 0
                && !again.contains(&key.flow.ifindex)
                && let Some(sum) = sums.get_mut(usize::from(key.flow.rule))
            {
                *sum = sum.saturating_add(value.counters.wire_bytes);
            }
        }
        // A clock that was set back meanwhile is ahead of what it said at the beginning by less.
        let day =
            Day::of(if self.ahead > 0 { snapshot.started.min(snapshot.ended) } else { snapshot.started } + self.ahead);
        for (rule, bytes) in rules.iter().zip(sums.into_iter().skip(1)) {
            if rule.is_summed() && bytes > 0 {
                let of_day = if day == self.day { &mut self.used } else { self.others.entry(day).or_default() };
                let used = of_day.entry(rule.id.clone()).or_default();
                *used = used.saturating_add(bytes);
                changed = true;
            }
        }
        changed
    }

    /// Another day goes on with what is known of it: nothing, as a rule.
    fn turn_to(&mut self, day: Day) {
        if day == self.day {
            return;
        }
        let next = self.others.remove(&day).unwrap_or_default();
        self.others.insert(std::mem::replace(&mut self.day, day), std::mem::replace(&mut self.used, next));
    }

    /// What a rule has used.
    pub fn used(&self, rule: &str) -> u64 {
        self.used.get(rule).copied().unwrap_or(0)
    }

    /// What the rules of this policy have used; `before` knows since when rules are suspended.
    pub fn uses(&self, policy: &Policy, before: &BudgetUses, now: i128) -> BudgetUses {
        let of = |(rule, number): (&monitor_policy::RuleInfo, u16)| {
            let since = before.rules.get(&rule.id).and_then(|before| before.suspended).unwrap_or(now);
            let suspended = policy.suspended.contains(&number).then_some(since);
            Some((rule.id.clone(), BudgetUse { most: rule.max_bytes_per_day?, used: self.used(&rule.id), suspended }))
        };
        BudgetUses { day: self.day, rules: policy.rules.iter().zip(1..).filter_map(of).collect() }
    }

    /// What there is to say of rules that let more through today than is to pass untold.
    pub fn told(&self, policy: &Policy) -> Option<String> {
        let told = policy.rules.iter().filter_map(|rule| {
            let (most, used) = (rule.tell_bytes_per_day?, self.used(&rule.id));
            (used > most).then(|| {
                format!(
                    "'{}' ({}) has let through {used} bytes on the wire on {}, more than the {most} that are to pass                      untold; it goes on",
                    rule.id,
                    rule.origin,
                    self.day.text()
                )
            })
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// The rules of this policy (numbered from 1) that have nothing left.
    pub fn used_up(&self, policy: &Policy) -> BTreeSet<u16> {
        let rules = policy.rules.iter().zip(1..);
        let used_up = rules.filter(|(rule, _)| rule.max_bytes_per_day.is_some_and(|most| self.used(&rule.id) >= most));
        used_up.map(|(_, number)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use monitor_common::wire::FlowKey;

    use super::*;
    use crate::{
        fake,
        model::{budget::DAY_NS, coverage::Role},
    };
    use monitor_policy::RuleInfo;

    /// Rule 1 may send 1,000 bytes a day, rule 2 has no budget.
    fn policy() -> Arc<Policy> {
        let mut policy = fake::policy();
        policy.rules[0].max_bytes_per_day = Some(1_000);
        policy.rules.push(RuleInfo { id: "free".into(), ..RuleInfo::default() });
        policy.into()
    }

    /// An epoch of ten seconds in which rule `rule` let through packets of 104 bytes.
    fn epoch(began: i128, rule: u16, packets: u64) -> Snapshot {
        let mut snapshot =
            Snapshot { policy: policy(), started: began, ended: began + 10_000_000_000, ..fake::snapshot(1) };
        for port in 1..=2 {
            fake::add(&mut snapshot, FlowKey { rule, ..fake::key(7, fake::OUTSIDE, port) }, packets);
        }
        snapshot
    }

    #[test]
    fn a_rule_is_used_up_when_its_bytes_on_the_wire_reach_the_budget_and_not_before() {
        let mut budgets = Budgets::new(Day::of(fake::START));
        assert!(!budgets.count(&epoch(fake::START, 2, 100)), "a rule without a budget");
        assert!(budgets.count(&epoch(fake::START, 1, 4)));
        assert_eq!((budgets.used("migration-sg"), budgets.used_up(&policy())), (832, BTreeSet::new()));
        budgets.count(&epoch(fake::START, 1, 1));
        assert_eq!((budgets.used("migration-sg"), budgets.used_up(&policy())), (1_040, BTreeSet::from([1])));
        // The same rule with a greater budget goes on.
        let mut more = fake::policy();
        more.rules[0].max_bytes_per_day = Some(1_041);
        assert_eq!(budgets.used_up(&more), BTreeSet::new());
        more.rules[0].max_bytes_per_day = Some(1_040);
        assert_eq!(budgets.used_up(&more), BTreeSet::from([1]));
    }

    #[test]
    fn a_volume_that_is_told_suspends_nothing_and_is_told_from_the_first_byte_beyond_it() {
        let mut policy = fake::policy();
        policy.rules[0].tell_bytes_per_day = Some(832);
        let policy = Arc::new(policy);
        let mut budgets = Budgets::new(Day::of(fake::START));
        let mut told = |packets| {
            let snapshot = Snapshot { policy: Arc::clone(&policy), ..epoch(fake::START, 1, packets) };
            budgets.count(&snapshot);
            assert_eq!(budgets.used_up(&policy), BTreeSet::new());
            assert_eq!(budgets.uses(&policy, &BudgetUses::default(), 0).rules.len(), 0);
            budgets.told(&policy).map(|text| text.contains("1040 bytes on the wire on 2027-01-15, more than the 832"))
        };
        assert_eq!([told(4), told(0), told(1)], [None, None, Some(true)]);
        budgets.count(&epoch(Day::of(fake::START).end(), 1, 0));
        assert_eq!(budgets.told(&policy), None, "another day");
    }

    #[test]
    fn what_is_seen_again_beneath_is_charged_once_and_what_is_encrypted_in_between_each_time() {
        let charged = |role| {
            let mut budgets = Budgets::new(Day::of(fake::START));
            let mut snapshot = epoch(fake::START, 1, 1);
            snapshot.interfaces[0].role = role;
            budgets.count(&snapshot);
            budgets.used("migration-sg")
        };
        assert_eq!(Role::ALL.map(charged), [208, 208, 0, 0, 0]);
    }

    #[test]
    fn an_epoch_belongs_to_the_day_in_which_it_began_and_the_next_day_begins_with_nothing() {
        let day = Day::of(fake::START);
        let mut budgets = Budgets::new(day);
        budgets.count(&epoch(day.end() - 20_000_000_000, 1, 4));
        assert_eq!((budgets.day, budgets.used("migration-sg")), (day, 832));
        // Begins before midnight and ends after it.
        assert!(budgets.count(&epoch(day.end() - 1, 1, 5)));
        assert_eq!((budgets.day, budgets.used("migration-sg")), (Day(day.0 + 1), 0));
        budgets.count(&epoch(day.end(), 1, 1));
        assert_eq!(budgets.used("migration-sg"), 208);
        assert_eq!((day.text(), Day(0).text()), ("2027-01-15".into(), "1970-01-01".into()));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_day_anew_and_no_byte_is_free() {
        let day = Day::of(fake::START);
        let mut budgets = Budgets::new(day);
        let mut used = |began, packets| {
            budgets.count(&epoch(began, 1, packets));
            (budgets.day.0 - day.0, budgets.used("migration-sg") / 208)
        };
        assert_eq!(used(fake::START, 4), (0, 4));
        assert_eq!(used(day.end(), 1), (1, 1));
        // By an hour, after midnight: what passes then is of the day before, which goes on with what it had.
        assert_eq!(used(day.end() - 3_600_000_000_000, 2), (0, 6));
        assert_eq!(used(day.end() - 3_000_000_000_000, 2), (0, 8));
        assert_eq!(used(day.end() + 20_000_000_000, 3), (1, 4));
        // A year ahead and back: no day is lost.
        assert_eq!(used(day.end() + 366 * DAY_NS, 9), (367, 9));
        assert_eq!(used(day.end() + 40_000_000_000, 1), (1, 5));
        for later in 400..500 {
            used(day.end() + later * DAY_NS, 1);
        }
        assert_eq!(budgets.others.len(), OTHER_DAYS);
    }

    #[test]
    fn an_epoch_that_began_before_the_one_before_it_was_drained_at_midnight_is_counted() {
        let day = Day::of(fake::START);
        let mut budgets = Budgets::new(day);
        // Closed before midnight; its last packet was out of it a moment after.
        budgets.count(&Snapshot { ended: day.end() + 2_000_000, ..epoch(day.end() - 5_000_000_000, 1, 1) });
        let next = Snapshot { ended: day.end() + 5_000_000, ..epoch(day.end() - 1_000_000, 1, 2) };
        assert!(budgets.count(&next), "it is not of the new day, and yet was sent");
        assert_eq!((budgets.day, budgets.used("migration-sg")), (Day(day.0 + 1), 0));
        assert_eq!(budgets.others[&day]["migration-sg"], 3 * 208);
    }

    #[test]
    fn what_an_earlier_daemon_counted_yesterday_is_not_of_today_and_today_stays() {
        let day = Day::of(fake::START);
        let mut budgets = Budgets::with(day, [("migration-sg".to_owned(), 7)].into());
        budgets.count(&epoch(fake::START - DAY_NS, 1, 9));
        assert_eq!((budgets.day, budgets.used("migration-sg")), (day, 7));
        budgets.count(&epoch(fake::START, 1, 1));
        assert_eq!((budgets.day, budgets.used("migration-sg")), (day, 215));
    }

    #[test]
    fn what_an_epoch_sends_is_of_its_own_day_also_after_a_pause_and_before_1970() {
        let day = Day::of(fake::START);
        let mut budgets = Budgets::new(day);
        budgets.count(&epoch(fake::START, 1, 4));
        // Nothing ran over two midnights.
        assert!(budgets.count(&epoch(day.end() + DAY_NS + 5, 1, 1)));
        assert_eq!((budgets.day, budgets.used("migration-sg")), (Day(day.0 + 2), 208));
        // A new day is a change, whatever was sent.
        assert!(budgets.count(&epoch(Day(day.0 + 2).end() - 1, 2, 1)));
        assert!(!budgets.count(&epoch(Day(day.0 + 2).end(), 2, 1)));
        assert_eq!([-1, 0, DAY_NS - 1, DAY_NS].map(Day::of), [Day(-1), Day(0), Day(0), Day(1)]);
    }

    #[test]
    fn one_byte_counts_and_the_sum_never_wraps() {
        let mut budgets = Budgets::new(Day::of(fake::START));
        let mut one = epoch(fake::START, 1, 0);
        one.flows[0].1.counters.wire_bytes = 1;
        assert!(budgets.count(&one));
        assert_eq!(budgets.used, BTreeMap::from([("migration-sg".to_owned(), 1)]));
        assert!(!budgets.count(&epoch(fake::START, 1, 0)), "no bytes");
        budgets.used.insert("migration-sg".to_owned(), u64::MAX - 1);
        budgets.count(&epoch(fake::START, 1, 9));
        assert_eq!(budgets.used("migration-sg"), u64::MAX);
    }

    #[test]
    fn a_standing_keeps_since_when_the_rule_is_suspended_for_as_long_as_it_is() {
        let mut sums = Budgets::new(Day(5));
        sums.used.insert("migration-sg".to_owned(), 1_040);
        let open = policy();
        let suspended = open.suspending(&sums.used_up(&open));
        let use_of = |policy: &Policy, before: &BudgetUses, now| {
            let uses = sums.uses(policy, before, now);
            assert_eq!((uses.day, uses.rules.len()), (Day(5), 1));
            let use_of = uses.rules["migration-sg"];
            assert_eq!((use_of.most, use_of.used, use_of.beyond()), (1_000, 1_040, 40));
            (use_of.suspended, uses)
        };
        let (never, before) = use_of(&open, &BudgetUses::default(), 7);
        let (since, before) = use_of(&suspended, &before, 8);
        let (still, before) = use_of(&suspended, &before, 9);
        let (over, before) = use_of(&open, &before, 10);
        let (again, _) = use_of(&suspended, &before, 11);
        assert_eq!([never, since, still, over, again], [None, Some(8), Some(8), None, Some(11)]);
    }
}
