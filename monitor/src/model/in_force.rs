//! The policy in force, with what was read to make it, and whether it is yet to be confirmed.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use monitor_api::mode::{self, ModeStatus};
use monitor_policy::{Policy, PolicyRef, geo::STALE_AFTER_DAYS, perimeter::Perimeter, spec::Mode};

use super::{clock::rfc3339, seconds, shadow::Shadow};

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
    /// Why it can't be enforced, where it can't.
    pub not_enforceable: Option<Arc<str>>,
    /// Who set the mode, where that is not the configuration.
    pub by_hand: Option<Arc<ModeByHand>>,
    /// That it is the last good one, in place of files that were refused.
    pub last_good: Option<Arc<LastGood>>,
    /// `zone.inside` as written.
    pub inside: String,
    /// What of it nobody changes without trying.
    pub perimeter: Arc<Perimeter>,
    /// Who had it put in force, and how.
    pub by: Arc<str>,
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

    /// The mode that the configuration says.
    pub fn configured_mode(&self) -> Mode {
        self.by_hand.as_ref().map_or(self.mode, |by_hand| by_hand.configured)
    }

    /// The mode and who set it, as it is shown at `now` (UTC nanoseconds since 1970).
    pub fn mode_status(&self, now: i128) -> ModeStatus {
        ModeStatus {
            mode: self.mode,
            configured: self.configured_mode(),
            by_hand: self.by_hand.as_ref().map(|by_hand| by_hand.document(now)),
            warning: None,
        }
    }

    /// That it is the last good policy, as it is shown.
    pub fn last_good_status(&self) -> Option<mode::LastGood> {
        let LastGood { refused, kept } = &**self.last_good.as_ref()?;
        let (policy, mode) = (self.policy.digest.clone(), self.configured_mode());
        Some(mode::LastGood { refused: refused.clone(), policy, mode, since: rfc3339(*kept) })
    }
}

/// A mode that somebody set by hand, which outranks the configuration's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeByHand {
    /// The mode.
    pub mode: Mode,
    /// What the configuration says instead.
    pub configured: Mode,
    /// Why, in the words of whoever set it.
    pub reason: String,
    /// Since when, UTC nanoseconds since 1970.
    pub since: i128,
    /// Until when; `None`: until somebody says otherwise.
    pub until: Option<i128>,
}

impl ModeByHand {
    /// Whether what the configuration would have dropped passes.
    pub const fn loosens(&self) -> bool {
        self.configured.enforces() && !self.mode.enforces()
    }

    /// As it is shown at `now` (UTC nanoseconds since 1970).
    pub fn document(&self, now: i128) -> mode::ModeByHand {
        mode::ModeByHand {
            mode: self.mode,
            configured: self.configured,
            reason: self.reason.clone(),
            since: rfc3339(self.since),
            until: self.until.map(rfc3339),
            seconds_left: self.until.map(|until| seconds((until - now).max(0))),
        }
    }
}

/// Why the last good policy is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    /// What was refused, and why.
    pub refused: String,
    /// When it was confirmed, or put in force for good: UTC nanoseconds since 1970.
    pub kept: i128,
}

/// What is to be in force when a time is over, where nobody says otherwise before.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// What comes back.
    pub fallback: PolicyInForce,
    /// When nobody has confirmed within this time.
    pub within: Duration,
    /// What ends then is a mode that was set by hand: there is nothing to confirm.
    pub mode_ends: bool,
}

/// What the kernel part put in force by itself: its deadline came before the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fell {
    /// What was guarded: what was on trial was not confirmed, or the time of a mode set by hand is over.
    InTime,
    /// The daemon closed no epochs: the kernel part only observes, by what was before where something was on trial.
    Alone,
}

/// That what is in force is yet to be confirmed: see `reload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingConfirmation {
    /// Until when, by the clock that nobody sets.
    pub ends: Instant,
    /// What comes back then.
    pub back_to: PolicyRef,
    /// The configuration that was handed in for it, and the file that it is to be in.
    pub candidate: Option<(PathBuf, Arc<str>)>,
}
