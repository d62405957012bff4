//! What datasets are, what an import wrote, where sources place addresses and what became of fresh data: printed by
//! `egress-monitor geo info`, `geo import`, `geo lookup`, `geo stage` and `geo rollback` with `--json`.

use std::net::IpAddr;

use monitor_policy::geo::Rejected;
use serde::Serialize;

/// One family's share of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Family {
    /// Ranges.
    pub ranges: usize,
    /// Addresses in them: a decimal number as text, since 128 bits are more than JSON's numbers hold.
    pub addresses: String,
}

/// A dataset, an overlay or AS numbers; `geo info` prints a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Info {
    /// `dataset`, `overlay` or `asn`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Where it was read; none: built in.
    pub file: Option<String>,
    /// The file's format.
    pub format: &'static str,
    /// Version as the publisher gives it.
    pub version: String,
    /// When the publisher built it, RFC 3339.
    pub built: Option<String>,
    /// The same in days before now.
    pub age_days: Option<i64>,
    /// Whether that is too old to rely on.
    pub stale: bool,
    /// IPv4.
    pub ipv4: Family,
    /// IPv6.
    pub ipv6: Family,
    /// Of AS numbers: how many have a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<usize>,
    /// Country codes in it.
    pub countries: usize,
    /// Ranges that a text file says two things of; taken as unknown.
    pub contradictions: usize,
    /// What of the file was left out.
    pub rejected: Rejected,
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// What it was made from.
    pub provenance: String,
    /// Licence and attribution.
    pub attribution: String,
}

/// What an import wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Imported {
    /// The file.
    pub file: String,
    /// `dataset`, `overlay` or `asn`.
    pub kind: &'static str,
    /// Its size.
    pub bytes: usize,
    /// The dataset's name.
    pub name: String,
    /// When the publisher built it, RFC 3339.
    pub built: Option<String>,
    /// The same in days before now.
    pub age_days: Option<i64>,
    /// Whether that is too old to rely on.
    pub stale: bool,
    /// IPv4 ranges.
    pub ipv4_ranges: usize,
    /// IPv6 ranges.
    pub ipv6_ranges: usize,
    /// Ranges that the files say two things of; taken as unknown.
    pub contradictions: usize,
    /// What of the files was left out.
    pub rejected: Rejected,
    /// SHA-256 in hexadecimal.
    pub digest: String,
}

/// Addresses looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lookup {
    /// In the order of the question.
    pub results: Vec<Found>,
    /// What the sources ask to be shown with results.
    pub attributions: Vec<String>,
}

/// What is known of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Found {
    /// The address.
    pub address: IpAddr,
    /// The special-purpose range that it is in.
    pub special: Option<SpecialRange>,
    /// The IPv4 address inside, where there is one, and what is known of that.
    pub embedded: Option<Box<Found>>,
    /// What each source says.
    pub sources: Vec<Answer>,
}

/// A special-purpose range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SpecialRange {
    /// Which.
    pub network: String,
    /// What it is to the policy; `embedded` where the IPv4 address inside decides.
    pub kind: &'static str,
    /// Its name in the registry.
    pub name: &'static str,
    /// The standard.
    pub reference: &'static str,
}

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Answer {
    /// The source.
    pub source: String,
    /// `null` where the source does not know.
    pub country: Option<String>,
    /// First address of the range that it says this of.
    pub first: Option<IpAddr>,
    /// Last address of it.
    pub last: Option<IpAddr>,
}

/// What became of fresh data for one file; `geo stage` prints a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Staged {
    /// The file of the configuration.
    pub file: String,
    /// `taken`, `in_place` (it is the same), `nothing` (no file was dropped), `taken_back` (it was in place and somebody took
    /// it back), `held` (it is good, and somebody has to look at it) or `refused`.
    pub outcome: &'static str,
    /// Why it is held or refused; of what was taken all the same, what spoke against it.
    pub reasons: Vec<String>,
    /// SHA-256 of the fresh file in hexadecimal.
    pub sha256: Option<String>,
    /// What vouches for it: `minisign`, `sha256`, or none.
    pub proof: Option<&'static str>,
    /// When the publisher built it, RFC 3339.
    pub built: Option<String>,
    /// When he built what is in place.
    pub built_before: Option<String>,
    /// What changes, as far as it came to that.
    pub change: Option<DataChange>,
    /// Whether a running daemon reads it by itself.
    pub read_by_itself: bool,
}

/// What fresh data changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DataChange {
    /// Of IPv4.
    pub ipv4: FamilyChange,
    /// Of IPv6.
    pub ipv6: FamilyChange,
    /// Of the last hour's traffic; none: no daemon has told of it.
    pub traffic: Option<DestinationsChange>,
}

/// What fresh data changes of one family. Addresses are decimal numbers as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FamilyChange {
    /// Ranges in the file that is in place.
    pub ranges_before: usize,
    /// Ranges in the fresh one.
    pub ranges: usize,
    /// Addresses that change sides of the border.
    pub moved: String,
    /// Addresses on the smaller side of it, inside or outside.
    pub smaller_side: String,
}

/// What fresh data changes of the last hour's traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DestinationsChange {
    /// Destinations that could be judged.
    pub judged: u64,
    /// Of these, those that change sides of the border.
    pub moved: u64,
    /// The first of them.
    pub examples: Vec<IpAddr>,
}

/// What a rollback did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolledBack {
    /// The file of the configuration.
    pub file: String,
    /// SHA-256 of what is in place again.
    pub sha256: String,
    /// SHA-256 of what was, which is not taken again by itself.
    pub taken_back: String,
    /// Whether a running daemon reads it by itself.
    pub read_by_itself: bool,
}
