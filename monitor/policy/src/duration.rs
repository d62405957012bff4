//! Durations as people write them, wherever they do: `[monitor] epoch`, `--duration`, `--confirm`, `--since`. How short
//! or long one may be is for the caller to say.
//!
//! Numbers with units, such as `500ms`, `10s`, `5min`, `1h 30min`; jiff's friendly format and ISO 8601 (`PT10S`).

use std::time::Duration;

use jiff::SignedDuration;

/// Not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration: use s, min or h, such as 30s, 10min or 1h")]
pub struct DurationError;

/// Reads a duration above zero.
///
/// # Errors
/// The text is no duration, or not above zero.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    parsed.filter(|time| !time.is_zero()).ok_or(DurationError)
}

/// Reads the part of the grammar that configuration keys have: one whole number with `ms`, `s` or `min`. It may be 0,
/// and is cut to what a [`Duration`] of 64 bits of milliseconds holds.
///
/// # Errors
/// The text is anything else.
pub fn parse_single(text: &str) -> Result<Duration, DurationError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        _ => return Err(DurationError),
    };
    let number: u64 = number.parse().map_err(|_| DurationError)?;
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_positive_times() {
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("1h 30min"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "0s", "-5s", "10", "soon"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_key_takes_is_a_part_of_the_grammar_and_means_the_same() {
        for text in ["500ms", "10s", "10 s", "2min", "0010s", "300s"] {
            assert_eq!(parse_single(text), parse(text), "{text}");
        }
        for wider in ["1h", "1min 5s", "PT10S", "10", "", "s", "1.5s"] {
            assert_eq!(parse_single(wider), Err(DurationError), "{wider}");
        }
        assert_eq!(parse_single("0s"), Ok(Duration::ZERO));
        assert!(parse_single("18446744073709551615min").is_ok());
    }
}
