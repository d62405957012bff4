//! A policy whose rules are timed anew, because the wall clock was set after it was compiled. Called when that happens and
//! when a policy is reverted to: its files are not read, since they may hold another policy by then.

use super::Policy;
use crate::clock::ClockMap;

impl Policy {
    /// The same policy by `clock`: its rules begin and end at the same wall-clock times, and none is suspended.
    #[must_use]
    pub fn retimed(&self, clock: &ClockMap) -> Self {
        let mut policy = self.clone();
        if !policy.suspended.is_empty() {
            // Whoever puts it in force suspends its rules again.
            policy.image.rules = std::mem::take(&mut policy.configured_rows);
            policy.suspended.clear();
        }
        for row in &mut policy.image.rules {
            // Rows count rules from 1.
            let Some(rule) = usize::from(row.rule).checked_sub(1).and_then(|number| self.rules.get(number)) else {
                continue;
            };
            row.not_before_ns = rule.not_before.map_or(0, |seconds| clock.boot_ns(seconds));
            row.expires_ns = rule.expires.map_or(u64::MAX, |seconds| clock.boot_ns(seconds));
        }
        policy.image.host_boot_ns = clock.boottime_ns;
        policy
    }
}
