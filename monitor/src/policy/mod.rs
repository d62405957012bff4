//! Configuration and datasets in, [`Policy`] out: the compiled image for the kernel and everything needed to
//! explain it to a person. [`compile::compile`] makes it, [`explain::explain`] tells its story for one address;
//! `run`, `check` and `explain` call them.

pub(crate) mod at;
mod cidr;
pub mod compile;
pub mod diff;
mod diff_wire;
mod digest;
pub mod explain;
mod layers;
mod networks;
pub mod overlaps;
mod precedence;
#[cfg(test)]
mod random;
pub mod region;
pub mod retime;
mod rows;
mod suspend;
pub mod target;
pub mod times;

use std::{collections::BTreeSet, sync::Arc};

use monitor_common::{
    classify::build::Image,
    wire::{Kind, RuleRow},
};

use crate::{
    config::RuleAction,
    geo::{Country, Dataset, asn::AsDataset, overlay::Overlay, special::Special},
};

pub(crate) use at::At;
pub use compile::{PolicyError, compile};
pub use explain::{Explanation, Grounds, explain};
pub use overlaps::RuleNote;
pub use target::Target;

/// What is known of addresses from outside the configuration: what a policy is compiled from, beside it.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The datasets, in the order in which they name countries.
    pub datasets: Vec<Dataset>,
    /// The overlays, in the order in which they name countries.
    pub overlays: Vec<Overlay>,
    /// The special-purpose ranges.
    pub special: Vec<Special>,
    /// Who announces which network, where such a dataset is loaded.
    pub asn: Option<Arc<AsDataset>>,
}

impl Knowledge {
    /// Datasets and special-purpose ranges, and nothing else.
    #[must_use]
    pub fn new(datasets: &[Dataset], special: &[Special]) -> Self {
        Self { datasets: datasets.to_vec(), special: special.to_vec(), ..Self::default() }
    }
}

/// What a class number stands for, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassInfo {
    /// Country that the first source (or the site) names; [`Country::UNKNOWN`], [`Country::NONE`].
    pub country: Country,
    /// Kind.
    pub kind: Kind,
}

/// A rule, as the operator wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleInfo {
    /// The operator's id, or the allowlist file's name.
    pub id: String,
    /// `file:line` where it stands.
    pub origin: String,
    /// What becomes of the packets that it decides.
    pub action: RuleAction,
    /// From when it holds, seconds since 1970.
    pub not_before: Option<i64>,
    /// When it ceases, seconds since 1970.
    pub expires: Option<i64>,
    /// How many bytes on the wire it lets through in a UTC day before it is suspended.
    pub max_bytes_per_day: Option<u64>,
    /// Who answers for it; may be empty, as what follows.
    pub owner: String,
    /// Where it was asked for.
    pub ticket: String,
    /// What it rests on.
    pub legal_basis: String,
    /// Why.
    pub reason: String,
}

impl Policy {
    /// The rule with this number; `None` for 0, which stands for no rule.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<&RuleInfo> {
        self.rules.get(usize::from(number).checked_sub(1)?)
    }
}

/// How much address space one kind of destination has, by interval of the compiled index.
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

/// What the address space came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// By [`Kind`], in the order of [`Kind::ALL`]; without what `embedded` holds.
    pub kinds: [Extent; Kind::ALL.len()],
    /// IPv6 that carries an IPv4 address, which decides.
    pub embedded: Extent,
}

impl Summary {
    /// The space of one kind.
    #[must_use]
    pub const fn of(&self, kind: Kind) -> &Extent {
        &self.kinds[kind as usize]
    }
}

/// How the wall clock and the clock that rules are timed by (CLOCK_BOOTTIME) stood at one moment. The caller reads
/// both; everything here only calculates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockMap {
    /// CLOCK_REALTIME, nanoseconds since 1970.
    pub realtime_ns: i64,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub boottime_ns: u64,
}

impl ClockMap {
    /// For what never reaches a kernel (`check`, `explain`): boot time is taken to have begun in 1970.
    #[must_use]
    pub fn wall(realtime_ns: i64) -> Self {
        Self { realtime_ns, boottime_ns: u64::try_from(realtime_ns).unwrap_or(0) }
    }

    /// The wall clock in whole seconds since 1970.
    #[must_use]
    pub const fn seconds(&self) -> i64 {
        self.realtime_ns.div_euclid(1_000_000_000)
    }

    /// The boot-time nanosecond of a wall-clock second: 0 for what was before the boot. Never `u64::MAX`, which
    /// stands for "never" in a rule row.
    #[must_use]
    pub fn boot_ns(&self, realtime_seconds: i64) -> u64 {
        self.boot_ns_at(i128::from(realtime_seconds) * 1_000_000_000)
    }

    /// The same of a time in nanoseconds since 1970.
    #[must_use]
    pub fn boot_ns_at(&self, realtime_ns: i128) -> u64 {
        let boot_began = i128::from(self.realtime_ns) - i128::from(self.boottime_ns);
        let since_boot = realtime_ns - boot_began;
        u64::try_from(since_boot.clamp(0, i128::from(u64::MAX) - 1)).unwrap_or(u64::MAX - 1)
    }
}

/// A compiled policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// For the kernel.
    pub image: Image,
    /// One for each class row.
    pub classes: Vec<ClassInfo>,
    /// Rule `n` of the image is `rules[n - 1]`: by id, and the management networks last.
    pub rules: Vec<RuleInfo>,
    /// What is to be told of rules that meet.
    pub notes: Vec<RuleNote>,
    /// SHA-256 over image, rules and datasets' digests, in hexadecimal: the same for the same policy on every
    /// host and after every boot.
    pub digest: String,
    /// `zone.name`.
    pub zone: String,
    /// `zone.inside` as written.
    pub inside: String,
    /// What the address space came to.
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
