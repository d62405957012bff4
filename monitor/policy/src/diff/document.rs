//! What a comparison of two policies finds: the document of `egress-monitor diff`.

use monitor_common::wire::{Class, ClassRow, Embedded};
use serde::{Deserialize, Serialize};

use crate::{geo::Country, spec::Mode};

/// What is on the record of a rule: everything but where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleTerms {
    /// Its id.
    pub id: String,
    /// `allow` or `deny`.
    pub action: String,
    /// When it begins to hold, seconds since 1970.
    pub not_before: Option<i64>,
    /// When it expires, seconds since 1970.
    pub expires: Option<i64>,
    /// How many bytes on the wire it lets through in a UTC day.
    pub max_bytes_per_day: Option<u64>,
    /// Who answers for it; may be empty, as may what follows.
    pub owner: String,
    /// The ticket in which it was requested.
    pub ticket: String,
    /// Its legal basis.
    pub legal_basis: String,
    /// Why it is there.
    pub reason: String,
    /// SHA-256 over the networks, countries, autonomous systems and ports that it names, in hexadecimal.
    pub scope: String,
}

/// What a policy says of a packet, whatever its mode: what is denied is counted when observing, dropped when enforcing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// `allowed` or `denied`.
    pub verdict: String,
    /// The rule that decides; `None`: the class does.
    pub rule: Option<String>,
    /// Whether a new flow raises an alert.
    pub alerts: bool,
}

/// Where an address is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Location {
    /// Country, by its code.
    pub country: String,
    /// Class by name; `embeds_ipv4` where the IPv4 address inside decides.
    pub class: String,
}

impl Location {
    pub(super) fn of(row: &ClassRow) -> Self {
        let class =
            if row.embedded == Embedded::None as u8 { Class::from_wire(row.class).name() } else { "embeds_ipv4" };
        Self { country: Country(row.country).to_string(), class: class.into() }
    }
}

/// A change of verdict, and for which traffic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// Where the old policy places the networks.
    pub old_place: Location,
    /// Where the new one does.
    pub new_place: Location,
    /// The old policy's verdict.
    pub old: Verdict,
    /// The new one's.
    pub new: Verdict,
    /// The ports that change; empty: all traffic does, but for `but`.
    pub only: Vec<String>,
    /// The ports that do not change.
    pub but: Vec<String>,
}

/// Networks of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Networks {
    /// How many, as CIDRs.
    pub networks: u64,
    /// Addresses in them; as text, since 128 bits are more than JSON's numbers hold.
    pub addresses: String,
    /// The largest of them, as CIDRs.
    pub largest: Vec<String>,
    /// Networks that are not listed.
    pub left_out: u64,
}

/// A change and the networks that it applies to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Group {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// IPv4.
    pub ipv4: Networks,
    /// IPv6.
    pub ipv6: Networks,
}

/// A rule that differs between the policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleChange {
    /// Its id.
    pub id: String,
    /// Its terms in the old policy, if it is there.
    pub old: Option<RuleTerms>,
    /// Its terms in the new one, if it is there.
    pub new: Option<RuleTerms>,
}

/// What differs between two policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Diff {
    /// Digest of the old policy.
    pub old: String,
    /// Digest of the new policy.
    pub new: String,
    /// Mode before and after, where that changes.
    pub mode: Option<(Mode, Mode)>,
    /// Changes of verdict, those with the most IPv4 addresses first.
    pub changes: Vec<Group>,
    /// Changes that are not listed.
    pub left_out: u64,
    /// Networks whose country or class changes, but not their verdict: IPv4 and IPv6.
    pub moved: (Networks, Networks),
    /// Rules that were added, removed or changed.
    pub rules: Vec<RuleChange>,
    /// Reasons for not parsing a packet for which the new policy drops it, when enforcing, and the old one does not.
    pub reasons_dropped: Vec<String>,
    /// Reasons for which the old one drops it and the new one does not.
    pub reasons_passed: Vec<String>,
    /// Marks of content that cannot be read which the new policy denies, and the old one does not.
    pub opaque_denied: Vec<String>,
    /// Marks that the old one denies and the new one does not.
    pub opaque_allowed: Vec<String>,
}
