//! What is known of addresses, as types: countries' ranges ([`Dataset`]), what overrides them ([`Overlay`]), who
//! announces which network ([`AsDataset`]), and all of it together ([`Knowledge`]). Made by the readers; looked up by the
//! policy compiler, `explain` and `geo lookup`.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use super::{about::About, country::Country, rejected::Rejected, space::Space, special::Special};

/// Most ranges of one family in a dataset: ten times what the finest country datasets have.
pub const MAX_RANGES: usize = 4 << 20;

/// Addresses `first..=last` with a value: first, last, value.
pub(crate) type Span<A, V> = (A, A, V);

/// Addresses `first..=last` in one country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<A> {
    /// First address, host order.
    pub first: A,
    /// Last address, inclusive.
    pub last: A,
    /// The country.
    pub country: Country,
}

impl<A> From<Span<A, Country>> for Range<A> {
    fn from((first, last, country): Span<A, Country>) -> Self {
        Self { first, last, country }
    }
}

/// Where one source places addresses: ranges sorted by `first`, disjoint, of known countries only, neighbours of one
/// country joined.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// Its metadata.
    pub about: About,
    /// IPv4 ranges.
    pub v4: Vec<Range<u32>>,
    /// IPv6 ranges.
    pub v6: Vec<Range<u128>>,
}

impl Dataset {
    /// The range that holds an address; `None` where the source does not know.
    pub fn lookup(&self, address: IpAddr) -> Option<Range<IpAddr>> {
        lookup(&self.v4, &self.v6, address)
    }

    /// Every country that has at least one range, sorted.
    pub fn countries(&self) -> Vec<Country> {
        let mut seen = std::collections::BTreeSet::new();
        seen.extend(self.v4.iter().map(|range| range.country));
        seen.extend(self.v6.iter().map(|range| range.country));
        seen.into_iter().collect()
    }
}

/// The format that a file was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The product's own form.
    Compact,
    /// MaxMind DB.
    Mmdb,
    /// Text ranges, with a country on each line.
    Csv,
    /// Networks, each with a country or all of one.
    Networks,
    /// The registries' statistics.
    Delegated,
    /// A cloud provider's list.
    Json,
    /// Objects, one a line, each with a network and its country.
    JsonLines,
}

impl Format {
    /// Its name in messages and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Mmdb => "mmdb",
            Self::Csv => "csv",
            Self::Networks => "networks",
            Self::Delegated => "delegated",
            Self::Json => "json",
            Self::JsonLines => "json-lines",
        }
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A dataset of countries.
    Dataset,
    /// An overlay.
    Overlay,
    /// AS numbers.
    AsNumbers,
}

/// A dataset, and what it was read from.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The dataset.
    pub dataset: Dataset,
    /// The file; `None` for an embedded dataset.
    pub file: Option<PathBuf>,
    /// The file's format.
    pub format: Format,
    /// Ranges that a text file gives two countries, which are therefore unknown.
    pub contradictions: usize,
    /// What of the file was rejected.
    pub rejected: Rejected,
}

/// The kind of list that an overlay was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayKind {
    /// RFC 8805, or other text with a country on each line.
    Geofeed,
    /// Networks, each with a country or all of one.
    Networks,
    /// The registries' statistics.
    Delegated,
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

impl OverlayKind {
    /// Its name in messages and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Geofeed => "geofeed",
            Self::Networks => "networks",
            Self::Delegated => "delegated",
            Self::Aws => "aws",
            Self::Google => "google",
            Self::Azure => "azure",
            Self::Oracle => "oracle",
            Self::Mmdb => "mmdb",
            Self::Compact => "compact",
        }
    }
}

/// Where one list places some networks: ranges sorted by `first`, disjoint, neighbours of one country joined. A country is
/// assigned or [`Country::UNDETERMINED`].
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Its metadata; the name is the file's without its ending, unless the file has one of its own.
    pub about: About,
    /// The file.
    pub file: PathBuf,
    /// The kind of list.
    pub kind: OverlayKind,
    /// IPv4 ranges.
    pub v4: Vec<Range<u32>>,
    /// IPv6 ranges.
    pub v6: Vec<Range<u128>>,
    /// Networks that the file gives two countries, which are therefore undetermined.
    pub contradictions: usize,
    /// What of the file was rejected.
    pub rejected: Rejected,
}

impl Overlay {
    /// Ranges with a country that are wider than what anybody has: a sixteenth of IPv4, a /8 of IPv6.
    pub fn broad(&self) -> Vec<Range<IpAddr>> {
        let v4 = self.v4.iter().filter(|range| range.last - range.first >= (1 << 28) - 1).map(of);
        let v6 = self.v6.iter().filter(|range| range.last - range.first >= (1 << 120) - 1).map(of);
        v4.chain(v6).filter(|range| range.country.is_assigned()).collect()
    }

    /// The range that holds an address; `None` where the list says nothing.
    pub fn lookup(&self, address: IpAddr) -> Option<Range<IpAddr>> {
        lookup(&self.v4, &self.v6, address)
    }
}

/// Addresses `first..=last`, announced by one AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsRange<A> {
    /// First address, host order.
    pub first: A,
    /// Last address, inclusive.
    pub last: A,
    /// AS number.
    pub asn: u32,
}

impl<A> From<Span<A, u32>> for AsRange<A> {
    fn from((first, last, asn): Span<A, u32>) -> Self {
        Self { first, last, asn }
    }
}

/// A dataset of AS numbers: ranges sorted by `first`, disjoint, neighbours of one AS joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsDataset {
    /// Its metadata.
    pub about: About,
    /// IPv4 ranges.
    pub v4: Vec<AsRange<u32>>,
    /// IPv6 ranges.
    pub v6: Vec<AsRange<u128>>,
    /// Names by AS number.
    pub names: AsNames,
    /// Ranges that the file gives two AS numbers, which therefore count as announced by nobody.
    pub contradictions: usize,
    /// What of the file was rejected.
    pub rejected: Rejected,
}

/// Names by AS number, in one piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsNames {
    text: String,
    /// AS number and where its name ends in `text`; it starts where the one before ends. Sorted.
    ends: Vec<(u32, u32)>,
}

impl AsNames {
    /// The name of an AS number; empty where it has none.
    pub fn get(&self, asn: u32) -> &str {
        self.ends.binary_search_by_key(&asn, |entry| entry.0).map_or("", |at| self.at(at))
    }

    /// How many AS numbers have a name.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// AS numbers with their names, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.ends.iter().enumerate().map(|(at, (asn, _))| (*asn, self.at(at)))
    }

    fn at(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        &self.text[start as usize..self.ends[at].1 as usize]
    }

    /// Adds the name of a greater number than all before; `None` if it is not, or past 4 GiB of names.
    pub fn push(&mut self, asn: u32, name: &str) -> Option<()> {
        if self.ends.last().is_some_and(|last| last.0 >= asn) {
            return None;
        }
        let end = u32::try_from(self.text.len().checked_add(name.len())?).ok()?;
        self.text.push_str(name);
        self.ends.push((asn, end));
        Some(())
    }
}

impl AsDataset {
    /// The AS that announces the address, by number and name (empty if it has none); `None` if none is known to.
    pub fn lookup(&self, address: IpAddr) -> Option<(u32, &str)> {
        let asn = match address {
            IpAddr::V4(v4) => find_by(&self.v4, v4.to_bits(), |range| (range.first, range.last))?.asn,
            IpAddr::V6(v6) => find_by(&self.v6, v6.to_bits(), |range| (range.first, range.last))?.asn,
        };
        Some((asn, self.names.get(asn)))
    }
}

/// What is known of addresses: with the configuration, what a policy is compiled from.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The datasets, in the order in which they name countries.
    pub datasets: Vec<Dataset>,
    /// The overlays, in the order in which they name countries.
    pub overlays: Vec<Overlay>,
    /// The special-purpose ranges.
    pub special: Vec<Special>,
    /// AS numbers, if such a dataset is loaded.
    pub asn: Option<Arc<AsDataset>>,
}

impl Knowledge {
    /// Datasets and special-purpose ranges, and nothing else.
    pub fn new(datasets: &[Dataset], special: &[Special]) -> Self {
        Self { datasets: datasets.to_vec(), special: special.to_vec(), ..Self::default() }
    }
}

/// A range with its ends as addresses.
fn of<A: Space>(range: &Range<A>) -> Range<IpAddr> {
    Range { first: range.first.ip(), last: range.last.ip(), country: range.country }
}

/// The range that holds `address`. One of IPv6 is taken as it is: a mapped IPv4 address is not unwrapped here.
fn lookup(v4: &[Range<u32>], v6: &[Range<u128>], address: IpAddr) -> Option<Range<IpAddr>> {
    match address {
        IpAddr::V4(address) => find(v4, address.to_bits()).map(of),
        IpAddr::V6(address) => find(v6, address.to_bits()).map(of),
    }
}

/// The range that holds `address`, by binary search.
pub(crate) fn find<A: Space>(ranges: &[Range<A>], address: A) -> Option<&Range<A>> {
    find_by(ranges, address, |range| (range.first, range.last))
}

/// As [`find`], in ranges of any kind: `ends` says a range's first and last address.
pub(crate) fn find_by<A: Space, R>(ranges: &[R], address: A, ends: impl Fn(&R) -> (A, A)) -> Option<&R> {
    let after = ranges.partition_point(|range| ends(range).0 <= address);
    let range = &ranges[after.checked_sub(1)?];
    (address <= ends(range).1).then_some(range)
}

/// Spans with countries as [`Range`]s.
pub(crate) fn to_ranges<A>(spans: Vec<Span<A, Country>>) -> Vec<Range<A>> {
    spans.into_iter().map(Range::from).collect()
}
