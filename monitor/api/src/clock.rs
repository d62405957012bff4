//! The clocks that rules and budgets go by: the answer of `GET /api/v1/clock` and `POST /api/v1/clock/reset`, printed by
//! `egress-monitor clock`, and part of the status.

use serde::{Deserialize, Serialize};

use crate::reason::{ReasonError, reason};

/// The page that shows it.
pub const PAGE: &str = "/api/v1/clock";
/// The one that has what is remembered forgotten.
const RESET: &str = "/api/v1/clock/reset";

/// How the clocks stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockStatus {
    /// Whether the kernel calls its clock synchronised; none: it does not tell the daemon.
    pub synchronised: Option<bool>,
    /// How many seconds the wall clock is behind the time that rules and budgets go by.
    pub behind_seconds: i64,
    /// The latest time at which the kernel called it synchronised, as of now, RFC 3339; none: it never has.
    pub latest_synchronised: Option<String>,
    /// How often the wall clock was set since the daemon began.
    pub jumps: u64,
}

/// That what is remembered is to be forgotten: the parameters of `POST`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockReset {
    /// Why: on the record.
    pub reason: Option<String>,
}

impl ClockReset {
    /// The reason, checked.
    ///
    /// # Errors
    /// There is none, or it is no line of text.
    pub fn reason(&self) -> Result<&str, ReasonError> {
        reason(self.reason.as_deref())
    }

    /// What to post.
    pub fn path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(reason) = &self.reason {
            query.append_pair("reason", reason);
        }
        format!("{RESET}?{}", query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_needs_a_reason_and_says_it_whatever_is_in_it() {
        let of = |reason: Option<&str>| ClockReset { reason: reason.map(str::to_owned) };
        assert_eq!(of(Some(" the RTC was wrong ")).reason(), Ok("the RTC was wrong"));
        assert_eq!(of(None).reason(), Err(ReasonError::None));
        assert_eq!(of(Some("a\u{1b}b")).reason(), Err(ReasonError::NoLine(3)));
        assert_eq!(of(Some("50% & más=1")).path(), "/api/v1/clock/reset?reason=50%25+%26+m%C3%A1s%3D1");
    }
}
