//! What the parameters of pages have in common: what they can be, and what is said of one that nothing can be. Called by
//! the documents that take any.

use serde::Deserialize as _;

/// Most rows given.
pub const MAX_TOP: usize = 100_000;

/// Seconds that `since` may go back.
pub const MAX_SINCE: u32 = 3_600;

/// Alerts on a page at most, and where nobody says how many.
pub const MAX_LIMIT: usize = 1_000;

/// A parameter that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// `top`.
    #[error("top={0}: from 1 to {MAX_TOP}")]
    Top(usize),
    /// `limit`.
    #[error("limit={0}: from 1 to {MAX_LIMIT}")]
    Limit(usize),
    /// `since` or `until`.
    #[error("{0}={1}: from 1 to {MAX_SINCE} seconds ago")]
    Seconds(&'static str, u32),
    /// `until` of no window, or of one that is over.
    #[error("until={until}: later than since={since}, and without active")]
    Until {
        /// Where it would begin, in seconds ago.
        since: u32,
        /// Where it would end.
        until: u32,
    },
    /// Something in a list.
    #[error("{parameter}={value}: {expected}")]
    Value {
        /// Which.
        parameter: &'static str,
        /// What it is.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
}

/// Of every page with rows.
pub(crate) fn check_top(top: Option<usize>) -> Result<(), QueryError> {
    match top {
        Some(top) if top == 0 || top > MAX_TOP => Err(QueryError::Top(top)),
        _ => Ok(()),
    }
}

/// A time as seconds or as the command line has it.
pub(crate) fn ago<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(from)?;
    let seconds = || u32::try_from(monitor_policy::duration::parse(&text).ok()?.as_secs()).ok();
    let refused = || serde::de::Error::custom(format!("invalid time {text:?}: seconds, or such as 30min"));
    text.parse().ok().or_else(seconds).map(Some).ok_or_else(refused)
}

/// What a list has in it.
pub(crate) fn list<T>(
    parameter: &'static str,
    text: Option<&str>,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, QueryError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let one = |part: &str| {
        let refused = || QueryError::Value { parameter, value: part.chars().take(80).collect(), expected };
        Some(part.trim()).filter(|part| !part.is_empty()).and_then(&read).ok_or_else(refused)
    };
    text.split(',').map(one).collect()
}

/// 0 or 1.
pub(crate) fn flag(parameter: &'static str, of: Option<u8>) -> Result<bool, QueryError> {
    match of {
        None | Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(other) => Err(QueryError::Value { parameter, value: other.to_string(), expected: "0 or 1" }),
    }
}
