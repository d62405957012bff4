//! A policy whose rules are timed by clocks that were set since it was compiled. Called when the wall clock was set, and
//! when a policy comes back: no file is read for it, since the files may hold another policy by then.

use super::{ClockMap, Policy};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, policy};

    #[test]
    fn a_policy_timed_anew_is_the_one_compiled_by_the_new_clock() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let rule = |id: &str, more: &str| {
            format!(
                "[[allow]]\nid = \"{id}\"\nto = [\"192.0.2.0/24\"]\nports = [\"tcp/1\"]\nreason = \"a test\"\n{more}\n"
            )
        };
        let text = [
            rule("always", ""),
            rule("later", "not_before = 2040-01-01T00:00:00Z"),
            rule("until", "expires = 2050-01-01T00:00:00Z"),
            rule("both", "not_before = 2041-01-01T00:00:00Z\nexpires = 2042-01-01T00:00:00Z"),
        ];
        std::fs::write(&file, text.concat()).unwrap();
        let config = config::load(Some(&file)).unwrap();
        let at = |realtime_ns, boottime_ns| {
            let clock = ClockMap { realtime_ns, boottime_ns };
            (policy::compile(&config, &policy::Knowledge::default(), &clock).unwrap(), clock)
        };
        let (first, _) = at(2_000_000_000_000_000_000, 5_000_000_000);
        // Set to 2041, between begin and end of rules.
        let (second, clock) = at(2_240_600_000_000_000_000, 9_000_000_000);
        assert_ne!(first.image, second.image);
        let retimed = first.retimed(&clock);
        assert_eq!(retimed.image, second.image);
        assert_eq!(retimed.digest, second.digest);
    }
}
