//! The mode and who set it: the answer of `GET /api/v1/mode` and `POST /api/v1/policy/mode`, printed by `egress-monitor mode`, and part of the
//! status.

use monitor_policy::spec::Mode;
use serde::{Deserialize, Serialize};

use crate::reason::{ReasonError, reason};

/// The page that shows it.
pub const PAGE: &str = "/api/v1/mode";
/// The one that changes it.
const CHANGE: &str = "/api/v1/policy/mode";
/// Longest time that a mode is set for by hand, in seconds: a year. Who needs longer changes the configuration.
pub const MAX_SECONDS: u64 = 366 * 86_400;

/// The mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModeStatus {
    /// `observe` or `enforce`.
    pub mode: Mode,
    /// What the configuration in force says.
    pub configured: Mode,
    /// Who set it, where that is not the configuration.
    pub by_hand: Option<ModeByHand>,
    /// What did not go as it should all the same.
    pub warning: Option<String>,
}

/// A mode that was set by hand: it outranks the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModeByHand {
    /// `observe` or `enforce`.
    pub mode: Mode,
    /// What the configuration says instead.
    pub configured: Mode,
    /// Why, in the words of whoever set it.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Until when; none: until `egress-monitor mode file`.
    pub until: Option<String>,
    /// The same in seconds from now.
    pub seconds_left: Option<i64>,
}

/// That files were refused, and the last good policy is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LastGood {
    /// What was refused, and why.
    pub refused: String,
    /// Digest of the policy: SHA-256 in hexadecimal.
    pub policy: String,
    /// Its mode, but for one that was set by hand.
    pub mode: Mode,
    /// When it was confirmed, or put in force for good, RFC 3339.
    pub since: String,
}

/// To which mode: the parameters of `POST`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeChange {
    /// The mode.
    pub mode: To,
    /// For so many seconds; none: until somebody says otherwise.
    pub seconds: Option<u64>,
    /// Why: on the record.
    pub reason: Option<String>,
}

/// A mode, or the configuration's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum To {
    /// Nothing is dropped.
    Observe,
    /// Denied packets are dropped.
    Enforce,
    /// What the configuration says.
    File,
}

/// What is wrong with a [`ModeChange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeChangeError {
    /// It goes on the record.
    #[error(transparent)]
    Reason(#[from] ReasonError),
    /// None, or for ever.
    #[error("{0} s is no time for a mode: from 1 s to {MAX_SECONDS} s, or leave it out")]
    Seconds(u64),
    /// The configuration's mode has neither.
    #[error("mode 'file' ends what was set by hand: neither time nor reason belongs to it")]
    File,
}

impl ModeChange {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), ModeChangeError> {
        if self.mode == To::File {
            let bare = self.seconds.is_none() && self.reason.is_none();
            return if bare { Ok(()) } else { Err(ModeChangeError::File) };
        }
        reason(self.reason.as_deref())?;
        match self.seconds {
            Some(seconds) if seconds == 0 || seconds > MAX_SECONDS => Err(ModeChangeError::Seconds(seconds)),
            _ => Ok(()),
        }
    }

    /// What to post.
    pub fn path(&self) -> String {
        let mode = match self.mode {
            To::Observe => "observe",
            To::Enforce => "enforce",
            To::File => "file",
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("mode", mode);
        if let Some(seconds) = self.seconds {
            query.append_pair("seconds", &seconds.to_string());
        }
        if let Some(reason) = &self.reason {
            query.append_pair("reason", reason);
        }
        format!("{CHANGE}?{}", query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::MAX_REASON;

    #[test]
    fn a_mode_needs_a_reason_and_a_bearable_time() {
        let change = |mode, seconds, reason: Option<&str>| {
            ModeChange { mode, seconds, reason: reason.map(str::to_owned) }.check()
        };
        assert_eq!(change(To::Observe, None, Some("a \"test\" & more")), Ok(()));
        assert_eq!(change(To::Enforce, Some(MAX_SECONDS), Some(&"x".repeat(MAX_REASON))), Ok(()));
        assert_eq!(change(To::File, None, None), Ok(()));
        for reason in [None, Some(""), Some("  ")] {
            assert_eq!(change(To::Observe, None, reason), Err(ReasonError::None.into()));
        }
        assert_eq!(change(To::Observe, None, Some("a\nb")), Err(ReasonError::NoLine(3).into()));
        assert_eq!(change(To::Observe, None, Some(&"x".repeat(501))), Err(ReasonError::NoLine(501).into()));
        for seconds in [0, MAX_SECONDS + 1] {
            assert_eq!(change(To::Observe, Some(seconds), Some("x")), Err(ModeChangeError::Seconds(seconds)));
        }
        assert_eq!(change(To::File, Some(1), None), Err(ModeChangeError::File));
    }

    #[test]
    fn what_is_posted_says_the_reason_whatever_is_in_it() {
        let change = ModeChange { mode: To::Observe, seconds: Some(7), reason: Some("50% & más=1".into()) };
        assert_eq!(change.path(), "/api/v1/policy/mode?mode=observe&seconds=7&reason=50%25+%26+m%C3%A1s%3D1");
    }
}
