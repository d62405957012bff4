//! Wall clock and jiffies: what the kernel stamps, as people read it.

use monitor_api::clock::ClockStatus;

/// One moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// UTC nanoseconds since 1970.
    pub at: i128,
    /// The kernel's jiffies.
    pub jiffies: u64,
    /// Jiffies a second.
    pub hz: u32,
}

impl Moment {
    /// The time of another jiffies reading of this boot, before or after.
    pub fn wall_time(&self, jiffies: u64) -> i128 {
        let ago = i128::from(self.jiffies) - i128::from(jiffies);
        let hz = self.hz.max(1);
        match i64::try_from(ago) {
            // In 64 bits as far as they go: a division of 128 is what a million flows would wait for.
            Ok(ago) => {
                let hz = i64::from(hz);
                self.at - i128::from(ago / hz) * 1_000_000_000 - i128::from(ago % hz * 1_000_000_000 / hz)
            }
            Err(_) => self.at - ago * 1_000_000_000 / i128::from(hz),
        }
    }
}

/// How the host's clocks stand, for what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockStanding {
    /// Whether the kernel calls itself synchronised; `None`: it does not tell us.
    pub synchronised: Option<bool>,
    /// How far the time that rules and budgets go by is ahead of the wall clock, in nanoseconds; never negative.
    pub ahead: i128,
    /// The latest time at which the kernel called itself synchronised, UTC nanoseconds since 1970, as of now.
    pub latest: Option<i128>,
    /// How often the wall clock was set since the daemon began.
    pub jumps: u64,
}

impl ClockStanding {
    /// The document on it.
    pub fn document(&self) -> ClockStatus {
        ClockStatus {
            synchronised: self.synchronised,
            behind_seconds: seconds(self.ahead),
            latest_synchronised: self.latest.map(rfc3339),
            jumps: self.jumps,
        }
    }
}

/// Nanoseconds in 64 bits: good until 2262.
pub(crate) fn clamp(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

/// A time (UTC nanoseconds since 1970) as RFC 3339 with milliseconds.
pub fn rfc3339(nanoseconds: i128) -> String {
    jiff::Timestamp::from_nanosecond(nanoseconds).map_or_else(|_| "-".to_owned(), |time| format!("{time:.3}"))
}

/// The same time in whole seconds.
pub fn seconds(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX)
}

/// Now, UTC nanoseconds since 1970.
pub fn now() -> i128 {
    jiff::Timestamp::now().as_nanosecond()
}

/// For `#[serde(serialize_with)]`: see [`rfc3339`].
pub(crate) fn serialize_time<S: serde::Serializer>(nanoseconds: &i128, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(*nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Snapshot;

    #[test]
    fn jiffies_become_wall_time() {
        let snapshot = Snapshot { ended: 10_000_000_000, jiffies: 1_000, hz: 250, ..Snapshot::default() };
        assert_eq!(snapshot.wall_time(1_000), 10_000_000_000);
        assert_eq!(snapshot.wall_time(750), 9_000_000_000);
        assert_eq!(snapshot.wall_time(1_001), 10_004_000_000);
        let hours = Snapshot { ended: 10_000_000_000_000, jiffies: 1_000_000_000, hz: 250, ..Snapshot::default() };
        assert_eq!(hours.wall_time(1_000_000_000 - 2 * 3_600 * 250), 10_000_000_000_000 - 2 * 3_600_000_000_000);
        // 64 bits, from five minutes before 2^32 on as the kernel starts them or from anywhere else.
        let late = Snapshot { jiffies: u64::MAX, hz: 1_000, ..Snapshot::default() };
        assert_eq!(late.wall_time(0), -i128::from(u64::MAX) * 1_000_000);
        assert_eq!(snapshot.wall_time(1_251), 11_004_000_000);
        assert_eq!(snapshot.wall_time(0), 6_000_000_000);
        assert_eq!(rfc3339(snapshot.wall_time(750)), "1970-01-01T00:00:09.000Z");
    }
}
