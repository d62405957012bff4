//! The kernel's clocks: CLOCK_BOOTTIME, jiffies, and how many of these make a second.

use std::time::Duration;

use aya::{
    maps::{Array, MapData},
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use monitor_common::wire::Clock;
use rustix::time::{ClockId, clock_gettime};

use super::{KernelError, sys};

/// A frame that BPF_PROG_TEST_RUN accepts; its content is never looked at.
const FRAME: [u8; 64] = [0; 64];

/// CLOCK_BOOTTIME in nanoseconds.
pub fn boot_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Whether the kernel calls its clock synchronised (`STA_UNSYNC`, adjtimex(2)): a time service says so, and whoever sets
/// the clock takes it back. `None`: it does not tell us (a seccomp filter without adjtimex).
pub fn is_clock_synchronised() -> Option<bool> {
    sys::clock_status().ok().map(|status| status & libc::STA_UNSYNC == 0)
}

/// Reads jiffies and CLOCK_BOOTTIME together, by running the `clock` program once.
pub(super) fn read(program: &SchedClassifier, map: &Array<MapData, Clock>) -> Result<Clock, KernelError> {
    program
        .test_run(TestRunOptions { data_in: Some(&FRAME), ..TestRunOptions::default() })
        .map_err(|error| KernelError::Load(format!("the clock program does not run: {error}")))?;
    map.get(&0, 0).map_err(KernelError::aya("reading the clock map"))
}

/// `CONFIG_HZ`: one of 100, 250, 300 and 1000 on the usual kernels, any whole number otherwise. It takes as long as is still
/// missing since the first reading.
pub(super) fn measure_hz(first: Clock, read: impl FnOnce() -> Result<Clock, KernelError>) -> Result<u32, KernelError> {
    const LONG_ENOUGH: Duration = Duration::from_millis(120);
    let passed = Duration::from_nanos(boot_ns().saturating_sub(first.boot_ns));
    std::thread::sleep(LONG_ENOUGH.saturating_sub(passed));
    let second = read()?;
    Ok(nearest_hz(second.jiffies - first.jiffies, second.boot_ns - first.boot_ns))
}

fn nearest_hz(jiffies: u64, nanoseconds: u64) -> u32 {
    let measured = u128::from(jiffies) * 1_000_000_000 / u128::from(nanoseconds.max(1));
    let measured = u32::try_from(measured).unwrap_or(u32::MAX).max(1);
    [100, 250, 300, 1000].into_iter().find(|hz| measured.abs_diff(*hz) <= hz / 11).unwrap_or(measured)
}

#[cfg(test)]
mod tests {
    use super::nearest_hz;

    #[test]
    fn the_rate_is_found_within_a_jiffy_of_error() {
        for hz in [100_u64, 250, 300, 1000] {
            let exact = hz * 120 / 1000;
            for jiffies in exact - 1..=exact + 1 {
                assert_eq!(nearest_hz(jiffies, 120_000_000 + 400_000), hz as u32, "{jiffies} jiffies");
            }
        }
    }
}
