//! Wall clock and boot-time clock at one moment: rules have wall-clock times, the kernel times them by
//! CLOCK_BOOTTIME.

/// How the wall clock and the clock that rules are timed by (CLOCK_BOOTTIME) stood at one moment. The caller reads
/// both; everything here only calculates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockMap {
    /// CLOCK_REALTIME, nanoseconds since 1970.
    pub realtime_ns: i64,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub boottime_ns: u64,
}

impl ClockMap {
    /// For what never reaches a kernel (`check`, `explain`): boot time is taken to have begun in 1970.
    pub fn wall(realtime_ns: i64) -> Self {
        Self { realtime_ns, boottime_ns: u64::try_from(realtime_ns).unwrap_or(0) }
    }

    /// The wall clock in whole seconds since 1970.
    pub const fn seconds(&self) -> i64 {
        self.realtime_ns.div_euclid(1_000_000_000)
    }

    /// The boot-time nanosecond of a wall-clock second: 0 for what was before the boot. Never `u64::MAX`, which
    /// stands for "never" in a rule row.
    pub fn boot_ns(&self, realtime_seconds: i64) -> u64 {
        self.boot_ns_at(i128::from(realtime_seconds) * 1_000_000_000)
    }

    /// The same of a time in nanoseconds since 1970.
    pub fn boot_ns_at(&self, realtime_ns: i128) -> u64 {
        let boot_began = i128::from(self.realtime_ns) - i128::from(self.boottime_ns);
        let since_boot = realtime_ns - boot_began;
        u64::try_from(since_boot.clamp(0, i128::from(u64::MAX) - 1)).unwrap_or(u64::MAX - 1)
    }
}
