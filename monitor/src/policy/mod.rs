//! Configuration and datasets in, [`Policy`] out: the compiled image for the kernel and everything needed to
//! explain it to a person.

use monitor_common::{classify::build::Image, wire::Kind};

use crate::geo::Country;

/// What a class number stands for, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassInfo {
    /// Country that the first source (or the site) names; [`Country::UNKNOWN`], [`Country::NONE`].
    pub country: Country,
    /// Kind.
    pub kind: Kind,
}

/// A rule that can let traffic through, as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// The operator's id, or the allowlist file's name.
    pub id: String,
    /// `file:line` where it stands.
    pub origin: String,
    /// When it ceases, seconds since 1970.
    pub expires: Option<i64>,
}

/// A compiled policy.
#[derive(Debug, Default)]
pub struct Policy {
    /// For the kernel.
    pub image: Image,
    /// One for each class row.
    pub classes: Vec<ClassInfo>,
    /// Rule `n` of the image is `rules[n - 1]`.
    pub rules: Vec<RuleInfo>,
    /// SHA-256 over image, rules and datasets' digests, in hexadecimal.
    pub digest: String,
    /// `zone.name`.
    pub zone: String,
}
