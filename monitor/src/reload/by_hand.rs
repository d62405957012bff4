//! A mode that somebody set by hand (`egress-monitor mode`): kept in `[paths] state`, put over whatever policy comes in
//! force, and over when its time is. Called by `super::reloader` and by the start.
//!
//! Its end is a time of the wall clock, which goes on while the daemon, or the host, is off. So that a clock that was set
//! back prolongs nothing it is a time of CLOCK_BOOTTIME as well, of the same boot; whichever comes first.

use std::{sync::Arc, time::Duration};

use monitor_policy::{ClockMap, spec::Mode};
use serde::{Deserialize, Serialize};

use super::NotKept;
use crate::{
    model::in_force::{ModeByHand, PolicyInForce, Trial},
    storage::state::StateDirectory,
};

const FILE: &str = "mode.json";

/// As it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    mode: Mode,
    reason: String,
    /// Nanoseconds since 1970.
    since: i64,
    ends: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    /// Nanoseconds since 1970.
    at: i64,
    /// The same by CLOCK_BOOTTIME, of this boot.
    boottime: u64,
    boot_id: String,
    /// How long it was to last, in nanoseconds.
    lasts: u64,
}

/// Who wants which mode, for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The mode.
    pub mode: Mode,
    /// `None`: until somebody says otherwise.
    pub lasts: Option<Duration>,
    /// Why.
    pub reason: String,
}

/// The mode set by hand, if there is one.
#[derive(Clone, Debug, Default)]
pub struct ByHand {
    state: StateDirectory,
    boot_id: String,
    kept: Option<Kept>,
}

impl ByHand {
    /// As it was left.
    pub fn open(state: StateDirectory, boot_id: String, clock: &ClockMap) -> Self {
        let mut kept: Option<Kept> = state.read(FILE);
        if let Some(end) = kept.as_mut().and_then(|kept| kept.ends.as_mut())
            && end.boot_id != boot_id
        {
            // Of another boot only the wall clock is known, and that it was not to last longer.
            let left = u64::try_from(end.at.saturating_sub(clock.realtime_ns)).unwrap_or(0).min(end.lasts);
            (end.boottime, end.boot_id) = (clock.boottime_ns.saturating_add(left), boot_id.clone());
        }
        Self { state, boot_id, kept }
    }

    /// The mode, where one is set.
    pub fn mode(&self) -> Option<Mode> {
        self.kept.as_ref().map(|kept| kept.mode)
    }

    /// Whether its time is over.
    pub fn is_over(&self, clock: &ClockMap) -> bool {
        self.left(clock).is_some_and(|left| left.is_zero())
    }

    /// The same with another mode set, or none: not kept yet.
    #[must_use]
    pub fn with(&self, wanted: Option<Wanted>, clock: &ClockMap) -> Self {
        let kept = wanted.map(|Wanted { mode, lasts, reason }| Kept {
            mode,
            reason,
            since: clock.realtime_ns,
            ends: lasts.map(|lasts| {
                let lasts = u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
                End {
                    at: clock.realtime_ns.saturating_add_unsigned(lasts),
                    boottime: clock.boottime_ns.saturating_add(lasts),
                    boot_id: self.boot_id.clone(),
                    lasts,
                }
            }),
        });
        Self { kept, ..self.clone() }
    }

    /// Keeps it for a restart, or that there is none.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(&self) -> Result<(), NotKept> {
        let written = match &self.kept {
            Some(kept) => self.state.write(FILE, kept),
            None => self.state.remove(FILE),
        };
        written.map_err(|error| NotKept { file: self.state.path().join(FILE), why: error.to_string() })
    }

    /// A policy with this mode in place of the configuration's.
    pub fn over(&self, configured: &PolicyInForce) -> PolicyInForce {
        let Some(Kept { mode, reason, since, ends }) = &self.kept else { return configured.clone() };
        let by_hand = ModeByHand {
            mode: *mode,
            configured: configured.mode,
            reason: reason.clone(),
            since: (*since).into(),
            until: ends.as_ref().map(|end| end.at.into()),
        };
        PolicyInForce { mode: *mode, by_hand: Some(Arc::new(by_hand)), ..configured.clone() }
    }

    /// What the kernel part is to put in force by itself, where `configured` is under this mode: what comes back where nobody
    /// confirms, and the configuration's mode when this one's time is over and no daemon is there to end it. Of both
    /// whichever comes first, and then what was confirmed.
    pub fn guard(&self, trial: Option<Trial>, configured: &PolicyInForce, clock: &ClockMap) -> Option<Trial> {
        let left = self.left(clock);
        match (trial, left) {
            (Some(trial), Some(left)) if left < trial.within => Some(Trial { within: left, mode_ends: true, ..trial }),
            (Some(trial), _) => Some(Trial { fallback: self.over(&trial.fallback), ..trial }),
            (None, Some(left)) if self.mode() != Some(configured.mode) => {
                Some(Trial { fallback: configured.clone(), within: left, mode_ends: true })
            }
            (None, _) => None,
        }
    }

    /// How long it still holds; `None`: for good, or there is none.
    fn left(&self, clock: &ClockMap) -> Option<Duration> {
        let end = self.kept.as_ref()?.ends.as_ref()?;
        let by_wall = u64::try_from(end.at.saturating_sub(clock.realtime_ns)).unwrap_or(0);
        Some(Duration::from_nanos(by_wall.min(end.boottime.saturating_sub(clock.boottime_ns))))
    }

    /// Why a policy can't be put in force with this mode.
    pub fn refuses(&self, configured: &PolicyInForce) -> Option<String> {
        let enforces = self.mode().is_some_and(Mode::enforces);
        let why = configured.not_enforceable.as_ref().filter(|_| enforces)?;
        Some(format!("mode is enforce, by hand, and that needs more: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn clock(realtime: u64, boottime: u64) -> ClockMap {
        ClockMap { realtime_ns: realtime.cast_signed(), boottime_ns: boottime }
    }

    fn open(folder: &tempfile::TempDir, boot_id: &str, clock: &ClockMap) -> ByHand {
        ByHand::open(StateDirectory::open(folder.path()), boot_id.into(), clock)
    }

    fn observe(hours: Option<u64>) -> Option<Wanted> {
        let lasts = hours.map(|hours| Duration::from_nanos(hours * HOUR));
        Some(Wanted { mode: Mode::Observe, lasts, reason: "a test".into() })
    }

    #[test]
    fn it_ends_by_its_time_whatever_becomes_of_daemon_host_and_clock() {
        let folder = tempfile::tempdir().unwrap();
        let begun = clock(100 * HOUR, 10 * HOUR);
        let first = open(&folder, "a", &begun).with(observe(Some(2)), &begun);
        first.keep().unwrap();
        let over = |by_hand: &ByHand, realtime, boottime| by_hand.is_over(&clock(realtime, boottime));
        let again = open(&folder, "a", &begun);
        for by_hand in [&first, &again] {
            assert!(!over(by_hand, 102 * HOUR - 1, 12 * HOUR - 1));
            assert!(over(by_hand, 102 * HOUR, 11 * HOUR), "the clock was set forward");
            assert!(over(by_hand, 50 * HOUR, 12 * HOUR), "the clock was set back");
        }
        // Another boot: what is left by the wall clock, and never more than there was to be.
        let next = open(&folder, "b", &clock(101 * HOUR, HOUR));
        assert!(!over(&next, 101 * HOUR, 2 * HOUR - 1) && over(&next, 101 * HOUR, 2 * HOUR));
        let back = open(&folder, "b", &clock(20 * HOUR, HOUR));
        assert!(!over(&back, 20 * HOUR, 3 * HOUR - 1) && over(&back, 20 * HOUR, 3 * HOUR));
        let late = clock(200 * HOUR, 5);
        assert!(open(&folder, "b", &late).is_over(&late));
        // Without a time it never is.
        let for_good = first.with(observe(None), &begun);
        assert!(!over(&for_good, u64::MAX >> 1, u64::MAX));
        for_good.with(None, &begun).keep().unwrap();
        assert_eq!(open(&folder, "a", &begun).mode(), None);
    }

    #[test]
    fn the_kernel_part_ends_it_where_no_daemon_does_and_has_what_was_confirmed_then() {
        let now = clock(100 * HOUR, 10 * HOUR);
        let later = clock(100 * HOUR, 11 * HOUR);
        let none = ByHand::default();
        let file = PolicyInForce { mode: Mode::Enforce, ..PolicyInForce::default() };
        let confirmed = PolicyInForce { not_enforceable: Some("the one confirmed".into()), ..file.clone() };
        let trial = |minutes| {
            let within = Duration::from_mins(minutes);
            Some(Trial { fallback: confirmed.clone(), within, mode_ends: false })
        };
        let shown = |guard: Option<Trial>| {
            guard.map(|guard| {
                let Trial { fallback, within, mode_ends } = guard;
                (fallback.mode, fallback.not_enforceable.is_some(), within.as_secs() / 60, mode_ends)
            })
        };
        let by_hand = none.with(observe(Some(2)), &now);
        let guard = |by_hand: &ByHand, trial, clock| shown(by_hand.guard(trial, &file, clock));
        assert_eq!(guard(&by_hand, None, &now), Some((Mode::Enforce, false, 120, true)));
        assert_eq!(
            guard(&by_hand, None, &later),
            Some((Mode::Enforce, false, 60, true)),
            "by whichever clock is first"
        );
        assert_eq!(guard(&by_hand, trial(119), &now), Some((Mode::Observe, true, 119, false)));
        assert_eq!(guard(&by_hand, trial(121), &now), Some((Mode::Enforce, true, 120, true)));
        // There is nothing to end, or no end.
        let enforce = Some(Wanted { mode: Mode::Enforce, ..observe(Some(2)).unwrap() });
        assert_eq!(guard(&none.with(enforce, &now), None, &now), None);
        let for_good = none.with(observe(None), &now);
        assert_eq!(guard(&for_good, None, &now), None);
        assert_eq!(guard(&for_good, trial(5), &now), Some((Mode::Observe, true, 5, false)));
        assert_eq!(
            (guard(&none, None, &now), guard(&none, trial(5), &now)),
            (None, Some((Mode::Enforce, true, 5, false)))
        );
    }

    #[test]
    fn it_outranks_the_configuration_and_needs_what_enforce_needs() {
        let now = clock(5, 5);
        let none = ByHand::default();
        let file = PolicyInForce { mode: Mode::Enforce, ..PolicyInForce::default() };
        assert_eq!((none.over(&file).mode, none.over(&file).by_hand), (Mode::Enforce, None));
        let over = none.with(observe(None), &now).over(&file);
        let by_hand = over.by_hand.unwrap();
        assert!(over.mode == Mode::Observe && by_hand.loosens() && by_hand.since == 5 && by_hand.until.is_none());
        let lacks = PolicyInForce { not_enforceable: Some("enforce needs x".into()), ..PolicyInForce::default() };
        let enforce = Some(Wanted { mode: Mode::Enforce, lasts: None, reason: "a test".into() });
        let enforce = none.with(enforce, &now);
        assert!(enforce.refuses(&lacks).unwrap().ends_with("enforce needs x"));
        assert_eq!((enforce.refuses(&file), none.refuses(&lacks)), (None, None));
        assert!(!enforce.over(&PolicyInForce::default()).by_hand.unwrap().loosens());
    }
}
