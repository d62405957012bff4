//! What a configuration comes to, or what is wrong with it: printed by `egress-monitor check --json`.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use monitor_policy::{RuleNote, geo::Rejected, spec::Mode};
use serde::Serialize;

use crate::needs::CutOff;

/// The document: `ok` says which.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Check {
    /// It can be put in force.
    Good(Box<Good>),
    /// It can't.
    Bad(Bad),
}

/// A configuration that can be put in force.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Good {
    /// `true`.
    pub ok: bool,
    /// The file; none: the built-in defaults.
    pub config: Option<PathBuf>,
    /// `observe` or `enforce`.
    pub mode: Mode,
    /// `zone.name`.
    pub zone: String,
    /// `zone.inside` as written.
    pub inside: String,
    /// The country codes that it means.
    pub countries: Vec<String>,
    /// Those of them, and of what is taken out, that `inside` names one by one, with their names.
    pub named: BTreeMap<String, &'static str>,
    /// Whether private networks are inside.
    pub private_inside: bool,
    /// Digest of the policy: SHA-256 in hexadecimal.
    pub policy: String,
    /// What becomes of flows whose content cannot be read: `allow` (by destination) or `deny`.
    pub on_opaque: &'static str,
    /// Marks for which it is something else.
    pub opaque: BTreeMap<&'static str, &'static str>,
    /// What becomes of packets without a flow: `allow` or `deny`.
    pub on_undecodable: &'static str,
    /// Reasons for which it is something else.
    pub undecodable: BTreeMap<String, &'static str>,
    /// Prefixes of translators.
    pub nat64: Vec<String>,
    /// By name of the class: inside, outside…
    pub classes: BTreeMap<String, Class>,
    /// IPv6 space of which the IPv4 address inside decides.
    pub embedded_ipv4: Extent,
    /// Addresses at which cloud platforms serve their machines.
    pub platforms: Vec<Platform>,
    /// Rows of the compiled table of classes.
    pub class_rows: usize,
    /// What the compiled policy comes to in the kernel's tables.
    pub tables: Vec<Table>,
    /// How many sites.
    pub sites: usize,
    /// Rules, those of lists among them.
    pub rules: Vec<Rule>,
    /// The files of `[policy] allowlists` and `denylists`, each with what it does.
    pub lists: Vec<List>,
    /// What enforce never drops; none: the configuration does not say.
    pub management: Option<Management>,
    /// What is to be said of rules that conflict.
    pub notes: Vec<RuleNote>,
    /// The first expiry still to come, RFC 3339.
    pub next_expiry: Option<String>,
    /// Geo sources.
    pub sources: Vec<Source>,
    /// Overlays.
    pub overlays: Vec<Overlay>,
    /// The dataset of autonomous systems.
    pub as_numbers: Option<AsNumbers>,
    /// What this host needs, by its own files and connections, and enforce would drop.
    pub cut_off: Vec<CutOff>,
    /// Names of those that have no address now.
    pub unresolved: Vec<String>,
    /// What is not wrong but should be looked at.
    pub warnings: Vec<String>,
}

/// How much address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Extent {
    /// IPv4 ranges.
    pub ipv4_ranges: u64,
    /// IPv4 addresses.
    pub ipv4_addresses: u64,
    /// IPv6 ranges.
    pub ipv6_ranges: u64,
    /// IPv6 addresses: a decimal number as text, since 128 bits are more than JSON's numbers hold.
    pub ipv6_addresses: String,
}

/// A class of destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Class {
    /// How much of the address space is in it.
    #[serde(flatten)]
    pub extent: Extent,
    /// Whether it is denied where no rule says otherwise.
    pub denied: bool,
}

/// An address at which a cloud platform serves its machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Platform {
    /// Which.
    pub address: IpAddr,
    /// What serves there, and whose it is.
    pub what: &'static str,
    /// Whether what goes there is denied.
    pub denied: bool,
}

/// A rule as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// `file:line`.
    pub origin: String,
    /// `allow` or `deny`.
    pub action: &'static str,
    /// How many networks it names.
    pub networks: usize,
    /// The countries that it names.
    pub countries: Vec<String>,
    /// The autonomous systems that it names.
    pub systems: Vec<u32>,
    /// Its daily budget.
    pub max_bytes_per_day: Option<u64>,
    /// Its ports; empty: every protocol and port.
    pub ports: Vec<String>,
    /// Why.
    pub reason: String,
    /// What it rests on.
    pub legal_basis: String,
    /// Who answers for it.
    pub owner: String,
    /// Where it was asked for.
    pub ticket: String,
    /// Holds from, RFC 3339.
    pub not_before: Option<String>,
    /// Holds until.
    pub expires: Option<String>,
}

/// A file with rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct List {
    /// Which.
    pub file: PathBuf,
    /// What becomes of its networks, `allow` or `deny`; none for TOML, whose rules say so one by one.
    pub action: Option<&'static str>,
    /// How many rules allow.
    pub allow_rules: usize,
    /// How many deny.
    pub deny_rules: usize,
    /// How many networks they name.
    pub networks: usize,
}

/// A table of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Table {
    /// Of what.
    pub name: &'static str,
    /// Entries of this policy.
    pub entries: usize,
    /// What the kernel part takes for them, in bytes, with the room that it makes for others.
    pub bytes: u64,
}

/// `[management]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Management {
    /// `file:line`.
    pub origin: String,
    /// Networks; empty: none, on purpose.
    pub networks: Vec<String>,
    /// Ports; empty: every protocol and port.
    pub ports: Vec<String>,
    /// The ports here that it is for, in place of those there.
    pub source_ports: Vec<String>,
    /// Bytes on the wire in a UTC day above which it is told.
    pub tell_bytes_per_day: Option<u64>,
}

/// What data of any kind says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Data {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it was built, RFC 3339; none where it does not say.
    pub built: Option<String>,
    /// The same in days before now.
    pub age_days: Option<i64>,
    /// IPv4 ranges.
    pub ipv4_ranges: usize,
    /// IPv6 ranges.
    pub ipv6_ranges: usize,
    /// Licence and attribution.
    pub attribution: String,
}

/// A geo source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Source {
    /// What it says of itself.
    #[serde(flatten)]
    pub data: Data,
    /// SHA-256 in hexadecimal.
    pub digest: String,
}

/// An overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Overlay {
    /// What it says of itself.
    #[serde(flatten)]
    pub data: Data,
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// Where it was read.
    pub file: PathBuf,
    /// What kind of list it is.
    pub kind: &'static str,
    /// Networks that have two countries in it; taken as undetermined.
    pub contradictions: usize,
    /// What of the file was left out.
    pub rejected: Rejected,
}

/// A dataset of autonomous systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AsNumbers {
    /// What it says of itself.
    #[serde(flatten)]
    pub data: Data,
    /// How many systems have a name in it.
    pub numbers: usize,
}

/// A configuration that can't be put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bad {
    /// `false`.
    pub ok: bool,
    /// What is wrong, in the order of the files; never empty.
    pub problems: Vec<Problem>,
    /// What a service that starts now has instead; none: it does not start.
    pub last_good: Option<Kept>,
}

/// A policy that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Kept {
    /// Its digest: SHA-256 in hexadecimal.
    pub policy: String,
    /// Its mode.
    pub mode: Mode,
    /// When it was confirmed, or put in force for good, RFC 3339.
    pub since: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// In which file; none where it is no file's fault alone.
    pub file: Option<PathBuf>,
    /// On which line, from 1; none when it is the file itself.
    pub line: Option<usize>,
    /// At which character of the line, from 1.
    pub column: Option<usize>,
    /// What is wrong with which value, and the hint.
    pub message: String,
}
