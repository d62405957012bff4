//! A compiled policy: the image for the kernel, and everything that is needed to explain it to a person. Made by the
//! compiler; what changes it afterwards without a compilation (a clock that was set, a budget that is used up) is here.

mod image_at;
mod reference;
mod retime;
mod suspend;

use std::{collections::BTreeSet, sync::Arc};

use monitor_common::{
    classify::build::Image,
    wire::{Class, RuleRow},
};

use crate::{
    geo::{AsDataset, Country},
    lint::RuleNote,
    origin::Origin,
    spec::Action,
};

pub use self::{
    image_at::{Asked, ImageAt},
    reference::PolicyRef,
};

/// A compiled policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The tables for the kernel.
    pub image: Image,
    /// One for each class row.
    pub classes: Vec<ClassInfo>,
    /// Rule `n` of the image is `rules[n - 1]`: by id, and the management networks last.
    pub rules: Vec<RuleInfo>,
    /// Notes on rules that cover the same packets.
    pub notes: Vec<RuleNote>,
    /// SHA-256 over image, rules and datasets' digests, in hexadecimal: the same for the same policy on every
    /// host and after every boot.
    pub digest: String,
    /// `zone.name`.
    pub zone: String,
    /// `zone.inside` as written.
    pub inside: String,
    /// How much address space each class has.
    pub summary: Summary,
    /// Who announces which network, where such a dataset is loaded.
    pub asn: Option<Arc<AsDataset>>,
    /// The first expiry still to come when the policy was compiled, seconds since 1970.
    pub next_expiry: Option<i64>,
    /// Rules (numbered from 1) that do not hold for now: see [`Policy::suspending`].
    pub suspended: BTreeSet<u16>,
    /// While there are any, the image's rule rows as they were compiled.
    pub configured_rows: Vec<RuleRow>,
}

impl Policy {
    /// The rule with this number; `None` for 0, which stands for no rule.
    pub fn rule(&self, number: u16) -> Option<&RuleInfo> {
        self.rules.get(usize::from(number).checked_sub(1)?)
    }
}

/// What a class number stands for, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassInfo {
    /// Country that the first source (or the site) names; [`Country::UNKNOWN`], [`Country::NONE`].
    pub country: Country,
    /// Class.
    pub class: Class,
}

/// A rule, as the operator wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleInfo {
    /// The operator's id, or the allowlist file's name.
    pub id: String,
    /// Where it stands.
    pub origin: Origin,
    /// What happens to the packets that it decides.
    pub action: Action,
    /// When it begins to hold, seconds since 1970; `None`: it always has.
    pub not_before: Option<i64>,
    /// When it expires, seconds since 1970; `None`: never.
    pub expires: Option<i64>,
    /// How many bytes on the wire it lets through in a UTC day before it is suspended.
    pub max_bytes_per_day: Option<u64>,
    /// How many bytes on the wire in a UTC day are told.
    pub tell_bytes_per_day: Option<u64>,
    /// Who answers for it; may be empty, as may what follows.
    pub owner: String,
    /// The ticket in which it was requested.
    pub ticket: String,
    /// Its legal basis.
    pub legal_basis: String,
    /// Why it is there.
    pub reason: String,
    /// SHA-256 over what it names (networks, countries, autonomous systems, ports), in hexadecimal.
    pub scope: String,
}

impl RuleInfo {
    /// Whether what it lets through in a day is summed up.
    pub const fn is_summed(&self) -> bool {
        self.max_bytes_per_day.is_some() || self.tell_bytes_per_day.is_some()
    }
}

/// How much address space one class of destination has, by interval of the compiled index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// IPv4 ranges.
    pub v4_ranges: u64,
    /// IPv4 addresses.
    pub v4_addresses: u64,
    /// IPv6 ranges.
    pub v6_ranges: u64,
    /// IPv6 addresses, at most `u128::MAX`.
    pub v6_addresses: u128,
}

/// How much address space each class has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// By [`Class`], in the order of [`Class::ALL`]; without what `embedded` holds.
    pub classes: [Extent; Class::ALL.len()],
    /// IPv6 that carries an IPv4 address, which decides.
    pub embedded: Extent,
}

impl Summary {
    /// The space of one class.
    pub const fn of(&self, class: Class) -> &Extent {
        &self.classes[class as usize]
    }
}
