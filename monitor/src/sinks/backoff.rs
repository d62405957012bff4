//! When a sink that failed is tried again. Pure: chance is handed in.

use std::time::Duration;

/// The shortest and the longest pause.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// See [`SHORTEST`].
pub const LONGEST: Duration = Duration::from_mins(5);
/// The longest for something on this host.
pub const LOCAL: Duration = Duration::from_secs(5);

/// The pause after so many failures one after the other (from 1 on): any time from a second to what doubles with each
/// failure, so that hosts that failed together do not come back together.
pub fn pause(failures: u32, longest: Duration, chance: u64) -> Duration {
    let ceiling = SHORTEST.saturating_mul(2_u32.saturating_pow(failures)).min(longest).max(SHORTEST);
    let span = (ceiling - SHORTEST).as_millis() as u64 + 1;
    SHORTEST + Duration::from_millis(chance % span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_from_a_second_to_a_bound_that_doubles_up_to_the_longest() {
        for (failures, most) in [(1, 2), (2, 4), (8, 256), (9, 300), (1_000, 300)] {
            let most = Duration::from_secs(most);
            let span = (most - SHORTEST).as_millis() as u64;
            assert_eq!(pause(failures, LONGEST, 0), SHORTEST, "{failures}");
            assert_eq!(pause(failures, LONGEST, span), most, "{failures}");
            assert_eq!(pause(failures, LONGEST, span + 1), SHORTEST, "{failures}");
        }
        assert_eq!(pause(9, Duration::from_secs(5), 4_000), Duration::from_secs(5));
    }
}
