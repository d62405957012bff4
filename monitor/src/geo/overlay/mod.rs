//! What somebody who knows better says of some networks: cloud providers' region lists, geofeeds, lists of anycast
//! or satellite networks. Files in, country ranges out; they override the datasets. Called by the policy compiler,
//! `explain` and `egress-monitor geo`.

use std::path::{Path, PathBuf};

use super::{GeoError, Range, ranges};

/// What an overlay was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 8805.
    Geofeed,
    /// Networks, with a country on each line or for the whole file.
    Networks,
    /// AWS `ip-ranges.json`.
    Aws,
    /// Google Cloud `cloud.json`.
    Google,
    /// Azure service tags.
    Azure,
    /// Oracle Cloud `public_ip_ranges.json`.
    Oracle,
    /// MaxMind DB.
    Mmdb,
    /// The product's own form.
    Compact,
}

/// One list's opinion on some networks: ranges sorted by `first`, disjoint, neighbours of one country joined. A country
/// is assigned or [`super::Country::UNDETERMINED`].
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Short name: the file's name without its ending, or what it calls itself.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// What it was read from.
    pub kind: Kind,
    /// When it was built, seconds since 1970; `None` when the source does not say.
    pub built: Option<i64>,
    /// SHA-256 over the ranges in canonical form.
    pub digest: [u8; 32],
    /// IPv4 ranges.
    pub v4: Vec<Range<u32>>,
    /// IPv6 ranges.
    pub v6: Vec<Range<u128>>,
}

impl Overlay {
    /// The range that holds an IPv4 address; `None` where the list says nothing.
    #[must_use]
    pub fn lookup_v4(&self, address: u32) -> Option<&Range<u32>> {
        ranges::find(&self.v4, address)
    }

    /// The range that holds an IPv6 address, taken as it is.
    #[must_use]
    pub fn lookup_v6(&self, address: u128) -> Option<&Range<u128>> {
        ranges::find(&self.v6, address)
    }
}

/// Reads an overlay file.
///
/// # Errors
/// The file can't be read or is no good.
pub fn open(file: &Path) -> Result<Overlay, GeoError> {
    Err(GeoError::file(file, "overlays are not read yet: leave 'overlays' out"))
}
