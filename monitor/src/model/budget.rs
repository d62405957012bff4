//! The UTC day, and what rules have used of their daily budgets in it, for status, rules and metrics.

use std::collections::BTreeMap;

/// Nanoseconds of a day.
pub const DAY_NS: i128 = 86_400_000_000_000;

/// A UTC day, counted from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

impl Day {
    /// The day of a time (UTC nanoseconds since 1970).
    pub fn of(nanoseconds: i128) -> Self {
        Self(i64::try_from(nanoseconds.div_euclid(DAY_NS)).unwrap_or(0))
    }

    /// The midnight at which it ends.
    #[must_use]
    pub fn end(self) -> i128 {
        (i128::from(self.0) + 1) * DAY_NS
    }

    /// `2026-11-22`.
    #[must_use]
    pub fn text(self) -> String {
        monitor_policy::text::time(self.0.saturating_mul(86_400)).chars().take(10).collect()
    }
}

/// What a rule with a daily budget has used of it today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetUse {
    /// What it may let through, in bytes on the wire.
    pub most: u64,
    /// What it has let through.
    pub used: u64,
    /// Since when it is suspended, UTC nanoseconds since 1970.
    pub suspended: Option<i128>,
}

impl BudgetUse {
    /// What passed before it was suspended, and should not have.
    pub const fn beyond(&self) -> u64 {
        self.used.saturating_sub(self.most)
    }
}

/// The budgets of the policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetUses {
    /// Of which day.
    pub day: Day,
    /// By the rule's id.
    pub rules: BTreeMap<String, BudgetUse>,
}
