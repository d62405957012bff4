//! Address knowledge from outside: datasets in, sorted country ranges out. Called by the policy compiler and
//! by `egress-monitor geo`.

pub mod special;

use std::fmt;

/// ISO 3166-1 alpha-2 country code, upper case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country(pub [u8; 2]);

impl Country {
    /// What a source says when it does not know.
    pub const UNKNOWN: Self = Self(*b"ZZ");
    /// Where a country makes no sense (private, link-local…).
    pub const NONE: Self = Self(*b"--");
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or("??"))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Addresses `first..=last` in one country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<A> {
    /// First address, host order.
    pub first: A,
    /// Last address, inclusive.
    pub last: A,
    /// Where.
    pub country: Country,
}

/// One source's opinion on the whole address space: ranges sorted by `first`, disjoint, known countries only.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// Short name: `dbip-country`, or the file's path.
    pub name: String,
    /// Version or build date as the source gives it.
    pub version: String,
    /// When it was built, as seconds since the epoch; `None` when the source does not say.
    pub built: Option<i64>,
    /// Licence and attribution, to be shown with results; empty for the operator's own files.
    pub attribution: String,
    /// SHA-256 over the ranges in canonical form.
    pub digest: [u8; 32],
    /// IPv4 ranges.
    pub v4: Vec<Range<u32>>,
    /// IPv6 ranges.
    pub v6: Vec<Range<u128>>,
}
