//! What datasets are, what an import wrote and where sources place addresses: printed by `egress-monitor geo info`,
//! `geo import` and `geo lookup` with `--json`.

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
