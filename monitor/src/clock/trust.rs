//! Readings of the clocks in, the time that rules and budgets go by out. Pure: what is kept of it is a value.
//!
//! The wall clock is believed, but never below the latest time at which the kernel called itself synchronised, which goes
//! on by CLOCK_BOOTTIME. So a clock that is set back revives nothing. That time in turn is believed at most
//! [`MOST_AHEAD`] beyond the boot clock: the time at which this boot was first seen, or was first synchronised, and what
//! has passed since. So a wrong one expires nothing for ever.

use monitor_policy::ClockMap;
use serde::{Deserialize, Serialize};

use crate::model::clock::clamp;

/// How far beyond the boot clock the remembered time is believed, in nanoseconds.
pub const MOST_AHEAD: i128 = 24 * 3_600 * SECOND;

/// By how much the wall clock must have moved against CLOCK_BOOTTIME between two looks to have jumped, in nanoseconds. A
/// leap second, and what a time service slews, is less.
pub const JUMP: i128 = 2 * SECOND;

const SECOND: i128 = 1_000_000_000;

/// The clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, UTC nanoseconds since 1970.
    pub realtime: i128,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub boottime: u64,
    /// Whether the kernel calls itself synchronised; `None`: it does not tell us.
    pub synchronised: Option<bool>,
}

/// A time of the wall clock, and when that was by the clock of a boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// UTC nanoseconds since 1970.
    at: i64,
    /// CLOCK_BOOTTIME, nanoseconds.
    boottime: u64,
    boot_id: String,
}

impl Mark {
    fn new(at: i128, boottime: u64, boot_id: &str) -> Self {
        Self { at: clamp(at), boottime, boot_id: boot_id.to_owned() }
    }

    /// The time now, as far as is known: what passed while another boot ended is not.
    fn now(&self, boot_id: &str, boottime: u64) -> i128 {
        let passed = if self.boot_id == boot_id { boottime.saturating_sub(self.boottime) } else { 0 };
        i128::from(self.at) + i128::from(passed)
    }
}

/// What is kept over a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// What such a file says it is.
    pub(super) format: String,
    /// The latest time at which the kernel called itself synchronised.
    latest: Option<Mark>,
    /// The boot clock.
    base: Mark,
    /// Whether the kernel called itself synchronised when that was taken.
    base_synchronised: bool,
    /// The wall clock when it was looked at last.
    seen: Mark,
}

/// That the wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// By so many nanoseconds; negative: back.
    pub by: i128,
    /// To this time.
    pub to: i128,
}

/// What there is to say of the clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether the kernel calls itself synchronised; `None`: it does not tell us.
    pub synchronised: Option<bool>,
    /// How far the time that rules and budgets go by is ahead of the wall clock, in nanoseconds.
    pub ahead: i128,
    /// The latest time at which the kernel called itself synchronised, UTC nanoseconds since 1970, as of now.
    pub latest: Option<i128>,
    /// Whether that is further ahead than is believed.
    pub beyond: bool,
}

/// The clocks of one boot, and what is remembered of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    boot_id: String,
    kept: Kept,
}

impl Trust {
    /// Begins with what was kept, if anything was, and looks for the first time.
    pub fn begin(boot_id: &str, kept: Option<Kept>, reading: Reading) -> (Self, Option<Jump>) {
        let known = kept.is_some();
        let mut trust = Self { boot_id: boot_id.to_owned(), kept: kept.unwrap_or_default() };
        if !known {
            trust.kept.seen = trust.mark(reading.realtime, reading);
            trust.kept.base = trust.kept.seen.clone();
            trust.kept.base_synchronised = reading.synchronised == Some(true);
        }
        let jump = trust.look(reading);
        (trust, jump)
    }

    /// What is to be kept.
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Takes a reading; says if the wall clock was set since the one before it in this boot.
    pub fn look(&mut self, reading: Reading) -> Option<Jump> {
        let synchronised = reading.synchronised == Some(true);
        let same_boot = self.kept.seen.boot_id == self.boot_id;
        let by = reading.realtime - self.kept.seen.now(&self.boot_id, reading.boottime);
        self.kept.seen = self.mark(reading.realtime, reading);
        let new_base = self.kept.base.boot_id != self.boot_id;
        if new_base || (synchronised && !self.kept.base_synchronised) {
            self.kept.base = self.mark(reading.realtime, reading);
            self.kept.base_synchronised = synchronised;
        }
        let before = self.kept.latest.as_ref().map(|latest| latest.now(&self.boot_id, reading.boottime));
        let now = synchronised.then(|| reading.realtime.min(self.limit(reading)));
        // Of an earlier boot it goes on from here.
        self.kept.latest = before.max(now).map(|at| self.mark(at, reading));
        (same_boot && by.abs() >= JUMP).then_some(Jump { by, to: reading.realtime })
    }

    /// Forgets what was remembered: the wall clock is right, whatever was before. The time that was forgotten.
    pub fn reset(&mut self, reading: Reading) -> Option<i128> {
        let forgotten = self.standing(reading).latest;
        self.kept = Kept { format: std::mem::take(&mut self.kept.format), ..Kept::default() };
        self.kept.seen = self.mark(reading.realtime, reading);
        self.look(reading);
        forgotten
    }

    /// How the clocks stand.
    pub fn standing(&self, reading: Reading) -> Standing {
        let latest = self.kept.latest.as_ref().map(|latest| latest.now(&self.boot_id, reading.boottime));
        let limit = self.limit(reading);
        let believed = latest.map_or(reading.realtime, |latest| latest.min(limit));
        Standing {
            synchronised: reading.synchronised,
            ahead: (believed - reading.realtime).max(0),
            latest,
            beyond: latest.is_some_and(|latest| latest > limit),
        }
    }

    /// The time that rules and budgets go by, beside CLOCK_BOOTTIME.
    pub fn map(&self, reading: Reading) -> ClockMap {
        let now = reading.realtime + self.standing(reading).ahead;
        ClockMap { realtime_ns: clamp(now), boottime_ns: reading.boottime }
    }

    /// Whether what is kept must be written: of this boot something else is known than of `written`, or so much more time.
    pub fn differs(&self, written: &Kept, more: i128) -> bool {
        let at = |kept: &Kept| kept.latest.as_ref().map(|latest| i128::from(latest.at));
        let of = |kept: &Kept| (kept.base.clone(), kept.base_synchronised, kept.latest.is_some());
        let offset = |seen: &Mark| i128::from(seen.at) - i128::from(seen.boottime);
        of(&self.kept) != of(written)
            || self.kept.seen.boot_id != written.seen.boot_id
            || (offset(&self.kept.seen) - offset(&written.seen)).abs() >= JUMP
            || at(&self.kept).zip(at(written)).is_some_and(|(now, then)| now - then >= more)
    }

    fn mark(&self, at: i128, reading: Reading) -> Mark {
        Mark::new(at, reading.boottime, &self.boot_id)
    }

    fn limit(&self, reading: Reading) -> i128 {
        self.kept.base.now(&self.boot_id, reading.boottime) + MOST_AHEAD
    }
}
