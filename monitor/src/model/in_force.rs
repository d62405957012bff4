//! The policy in force, with what was read to make it, and whether it is yet to be confirmed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use monitor_policy::{Policy, PolicyRef, geo::STALE_AFTER_DAYS, spec::Mode};

use super::shadow::Shadow;

/// A geo dataset as status and metrics show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetInfo {
    /// Short name or file.
    pub name: String,
    /// Version as the source gives it.
    pub version: String,
    /// When it was built, seconds since 1970.
    pub built: Option<i64>,
}

impl DatasetInfo {
    /// Its age in seconds at `now` (nanoseconds since 1970); `None` when the source does not say.
    pub fn age_seconds(&self, now: i128) -> Option<i64> {
        self.built.and_then(|built| i64::try_from(now / 1_000_000_000 - i128::from(built)).ok())
    }

    /// Whether it is too old to be relied on at `now` (nanoseconds since 1970).
    pub fn is_stale(&self, now: i128) -> bool {
        self.age_seconds(now).is_some_and(|age| age > STALE_AFTER)
    }
}

/// Age from which a geo dataset is stale, in seconds.
const STALE_AFTER: i64 = STALE_AFTER_DAYS * 86_400;

/// A policy with what was read to make it.
#[derive(Clone, Debug, Default)]
pub struct PolicyInForce {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Whether denied packets are dropped.
    pub mode: Mode,
    /// `zone.inside` as written.
    pub inside: String,
    /// Its datasets.
    pub datasets: Vec<DatasetInfo>,
    /// The policy that is evaluated beside it.
    pub shadow: Shadow,
    /// Since when it holds, UTC nanoseconds since 1970.
    pub since: i128,
}

impl PolicyInForce {
    /// Which policy, and in which mode.
    pub fn reference(&self) -> PolicyRef {
        PolicyRef { digest: self.policy.digest.clone(), mode: self.mode }
    }
}

/// What is to be in force again, where nobody confirms in time what is now.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// What comes back.
    pub fallback: PolicyInForce,
    /// When nobody has confirmed within this time.
    pub within: Duration,
}

/// What the kernel part put in force by itself: its deadline came before the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fell {
    /// What was in force was on trial, and nobody confirmed it: what was before is in force again.
    Unconfirmed,
    /// The daemon closed no epochs: the kernel part only observes.
    Alone,
}

/// That what is in force is yet to be confirmed: see `reload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingConfirmation {
    /// Until when, by the clock that nobody sets.
    pub ends: Instant,
    /// What comes back then.
    pub back_to: PolicyRef,
}
