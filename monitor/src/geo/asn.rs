//! Who announces which network: AS datasets in, an address's AS number and name out. Called by the policy compiler
//! (rules on AS numbers), `explain`, and whoever names networks to people.
//!
//! Not embedded and optional. Nothing in a verdict rests on it but rules that name AS numbers.

use std::{net::IpAddr, path::Path};

use super::{GeoError, ranges};

/// Addresses `first..=last`, announced by one AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsRange<A> {
    /// First address, host order.
    pub first: A,
    /// Last address, inclusive.
    pub last: A,
    /// By whom.
    pub asn: u32,
}

/// A dataset of AS numbers: ranges sorted by `first`, disjoint, neighbours of one AS joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsDataset {
    /// Short name, or the file's path.
    pub name: String,
    /// Version as the source gives it.
    pub version: String,
    /// When it was built, seconds since 1970; `None` when the source does not say.
    pub built: Option<i64>,
    /// Licence and attribution, to be shown with results; empty for the operator's own files.
    pub attribution: String,
    /// SHA-256 over ranges and names: the same for the same content, whatever the file format.
    pub digest: [u8; 32],
    /// IPv4 ranges.
    pub v4: Vec<AsRange<u32>>,
    /// IPv6 ranges.
    pub v6: Vec<AsRange<u128>>,
    /// Each AS number's name once.
    pub names: Names,
}

/// Names by AS number, in one piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    text: String,
    /// AS number and where its name ends in `text`; it starts where the one before ends. Sorted.
    ends: Vec<(u32, u32)>,
}

impl Names {
    /// The name of an AS number; empty where it has none.
    #[must_use]
    pub fn get(&self, asn: u32) -> &str {
        let Ok(at) = self.ends.binary_search_by_key(&asn, |entry| entry.0) else { return "" };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        &self.text[start as usize..self.ends[at].1 as usize]
    }
}

impl AsDataset {
    /// Who announces the address, by number and name; `None` where nobody is known to.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Option<(u32, &str)> {
        let asn = match address {
            IpAddr::V4(v4) => ranges::find_by(&self.v4, v4.to_bits(), |range| (range.first, range.last))?.asn,
            IpAddr::V6(v6) => ranges::find_by(&self.v6, v6.to_bits(), |range| (range.first, range.last))?.asn,
        };
        Some((asn, self.names.get(asn)))
    }
}

/// Reads a file of AS numbers.
///
/// # Errors
/// The file can't be read or is no good.
pub fn open(file: &Path) -> Result<AsDataset, GeoError> {
    Err(GeoError::file(file, "AS datasets are not read yet: leave 'asn' out"))
}
