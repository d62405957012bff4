//! A policy whose rules are timed by clocks that were set since it was compiled. Called when the wall clock was set, and
//! when a policy comes back: no file is read for it, since the files may hold another policy by then.

use super::Policy;
use crate::clock::ClockMap;

impl Policy {
    /// The same policy by `clock`: its rules begin and end at the same time of the wall clock.
    #[must_use]
    pub fn retimed(&self, clock: &ClockMap) -> Self {
        let mut policy = self.clone();
        if !policy.suspended.is_empty() {
            // Rules that are suspended are suspended anew when it comes into force.
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
