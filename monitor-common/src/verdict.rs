//! Classification and mode in, verdict out.

#![forbid(unsafe_code)]

use crate::{classify::Classification, parse::Reason};

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum Verdict {
    /// The policy allows it.
    Allowed = 0,
    /// The policy denies it, but the mode is observe: it passed.
    Observed = 1,
    /// The policy denies it: dropped.
    Denied = 2,
}

impl Verdict {
    /// All verdicts, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Observed, Self::Denied];

    /// The verdict with this number; an unknown number is [`Verdict::Denied`], which hides nothing.
    #[must_use]
    pub const fn from_wire(number: u8) -> Self {
        match number {
            0 => Self::Allowed,
            1 => Self::Observed,
            _ => Self::Denied,
        }
    }

    /// The name used in metrics, flows and alerts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Observed => "observed",
            Self::Denied => "denied",
        }
    }
}

/// The verdict on a packet with a flow.
#[must_use]
#[inline(always)]
pub const fn decide(classification: &Classification, enforce: bool) -> Verdict {
    if !classification.deny {
        Verdict::Allowed
    } else if enforce {
        Verdict::Denied
    } else {
        Verdict::Observed
    }
}

/// Whether enforce mode drops a packet without a flow: if its reason says so (bits of
/// [`crate::wire::PolicyMeta::drop_reasons`]) and it goes to no management network, or if one of the destinations that
/// could be read all the same is denied.
#[must_use]
#[inline(always)]
pub const fn drops(reason: Reason, drop_reasons: u64, classification: &Classification) -> bool {
    !reason.always_passes() && (classification.deny || (drop_reasons & reason.bit() != 0 && !classification.keep))
}
