//! Address knowledge from outside: datasets in, sorted country ranges out. Called by the policy compiler and
//! by `egress-monitor geo`.

mod about;
pub mod asn;
pub mod compact;
mod country;
pub mod embedded;
pub mod file;
mod knowledge;
pub mod mmdb;
pub mod names;
pub mod overlay;
mod progress;
mod ranges;
mod rejected;
pub mod special;
#[cfg(test)]
mod testing;
mod text;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

pub use about::About;
pub use country::{Country, CountryError, all as all_countries};
pub use knowledge::Knowledge;
pub use progress::Progress;
pub use ranges::{Collector, Piece, Settled, Space, TooMany};
pub use rejected::Rejected;

/// Most ranges of one family in a dataset: ten times what the finest country datasets have.
pub const MAX_RANGES: usize = 4 << 20;

/// A dataset older than this should be renewed: the border between EEA and the rest moves 0.1 % (IPv4) to 0.4 %
/// (IPv6) a quarter.
pub const STALE_AFTER_DAYS: i64 = 90;

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

/// One source's opinion on the whole address space: ranges sorted by `first`, disjoint, known countries only,
/// neighbours of one country joined.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// What it says of itself.
    pub about: About,
    /// IPv4 ranges.
    pub v4: Vec<Range<u32>>,
    /// IPv6 ranges.
    pub v6: Vec<Range<u128>>,
}

impl Dataset {
    /// The range that holds an IPv4 address; `None` where the source does not know.
    #[must_use]
    pub fn lookup_v4(&self, address: u32) -> Option<&Range<u32>> {
        ranges::find(&self.v4, address)
    }

    /// The range that holds an IPv6 address, taken as it is: a mapped IPv4 address is not unwrapped here.
    #[must_use]
    pub fn lookup_v6(&self, address: u128) -> Option<&Range<u128>> {
        ranges::find(&self.v6, address)
    }

    /// Every country that has at least one range, sorted.
    #[must_use]
    pub fn countries(&self) -> Vec<Country> {
        let mut seen = std::collections::BTreeSet::new();
        seen.extend(self.v4.iter().map(|range| range.country));
        seen.extend(self.v6.iter().map(|range| range.country));
        seen.into_iter().collect()
    }
}

/// Why a dataset can't be used. One line with the file, where it has lines the line, the value and the mend.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The file can't be read.
    #[error("{}: {source}: check the path and the permissions, or use \"embedded\" for the built-in datasets", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {what}", .file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong and how to mend it.
        what: String,
    },
    /// The whole file is wrong.
    #[error("{}: {what}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong and how to mend it.
        what: String,
    },
}

impl GeoError {
    fn file(file: &Path, what: impl Into<String>) -> Self {
        Self::File { file: file.into(), what: what.into() }
    }

    fn line(file: &Path, line: usize, what: impl Into<String>) -> Self {
        Self::Line { file: file.into(), line, what: what.into() }
    }
}

/// What a dataset was read from.
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
}

impl Format {
    /// For people and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Mmdb => "mmdb",
            Self::Csv => "csv",
            Self::Networks => "networks",
            Self::Delegated => "delegated",
            Self::Json => "json",
        }
    }
}

/// A dataset and how it came here.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The data.
    pub dataset: Dataset,
    /// The file; `None` for an embedded dataset.
    pub file: Option<PathBuf>,
    /// The file's format.
    pub format: Format,
    /// Ranges that a text file gives two countries, and that are unknown therefore.
    pub contradictions: usize,
    /// What of the file could not be taken.
    pub rejected: Rejected,
}

/// The datasets of one entry of `[geo] sources`: `embedded` gives the two that are built in, anything else is
/// the path of a compact, MMDB or CSV file.
///
/// # Errors
/// The file can't be read or is no good.
pub fn load(source: &str) -> Result<Vec<Dataset>, GeoError> {
    Ok(open(source)?.into_iter().map(|opened| opened.dataset).collect())
}

/// As [`load`], with where each came from.
///
/// # Errors
/// The file can't be read or is no good.
pub fn open(source: &str) -> Result<Vec<Opened>, GeoError> {
    if source == "embedded" { embedded::open() } else { Ok(vec![open_file(Path::new(source))?]) }
}

/// Reads a file, told apart by its content first and its name second. All of it has to be good.
///
/// # Errors
/// The file can't be read or something in it is no good.
pub fn open_file(file: &Path) -> Result<Opened, GeoError> {
    let opened = read_file(file, &Progress::default())?;
    match &opened.rejected.first {
        Some((line, what)) => Err(text::first_wrong(file, *line, what)),
        None => Ok(opened),
    }
}

/// As [`open_file`], but what can't be taken is left out, counted, and told.
///
/// # Errors
/// The file can't be read, or more of it is wrong than good.
pub fn read_file(file: &Path, progress: &Progress) -> Result<Opened, GeoError> {
    read_bytes(file, &file::read_bounded(file)?, progress)
}

/// As [`read_file`], of a file's content; `file` is for messages and for what its name says.
///
/// # Errors
/// More of it is wrong than good.
pub fn read_bytes(file: &Path, bytes: &[u8], progress: &Progress) -> Result<Opened, GeoError> {
    let opened = |dataset, format| Opened {
        dataset,
        file: Some(file.into()),
        format,
        contradictions: 0,
        rejected: Rejected::default(),
    };
    match sniff(file, bytes) {
        Some(Format::Compact) => {
            let dataset = compact::decode(bytes).map_err(|error| GeoError::file(file, error.to_string()))?;
            Ok(opened(dataset, Format::Compact))
        }
        Some(Format::Mmdb) => {
            let (dataset, rejected) = mmdb::read(file, bytes, progress)?;
            Ok(Opened { rejected, ..opened(dataset, Format::Mmdb) })
        }
        Some(Format::Json) => {
            Err(GeoError::file(file, "JSON: a cloud provider's list goes into [geo] overlays, not into sources"))
        }
        Some(_) => {
            let text = text::read(file, bytes, progress)?;
            let Settled { mut dataset, contradictions } =
                text.ranges.finish().map_err(|TooMany| text::too_many(file))?;
            if dataset.v4.is_empty() && dataset.v6.is_empty() {
                return Err(GeoError::file(file, "places nothing: every country in it is unknown; give another file"));
            }
            let name = file.display().to_string();
            dataset.about = About { name, version: text.version, built: text.built, ..dataset.about };
            Ok(Opened { contradictions, rejected: text.rejected, ..opened(dataset, text.format) })
        }
        None => Err(GeoError::file(file, UNKNOWN_KIND)),
    }
}

const UNKNOWN_KIND: &str = "neither MMDB nor JSON nor text nor a compact dataset: give a file of one of these";

/// What a file is by its first and last bytes, else by its name.
fn sniff(file: &Path, bytes: &[u8]) -> Option<Format> {
    let name = file.to_string_lossy().to_ascii_lowercase();
    if compact::is_compact(bytes) {
        return Some(Format::Compact);
    }
    if mmdb::is_mmdb(bytes) {
        return Some(Format::Mmdb);
    }
    let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if start.starts_with(b"{") || start.starts_with(b"[") {
        return Some(Format::Json);
    }
    // Damaged files are told to be what their names say.
    if name.ends_with(".egm") || name.ends_with(".egm.zst") {
        return Some(Format::Compact);
    }
    if name.ends_with(".mmdb") {
        return Some(Format::Mmdb);
    }
    let binary = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x1b);
    let text = !start.iter().take(4096).any(binary);
    (text || name.ends_with(".csv") || name.ends_with(".txt")).then_some(Format::Csv)
}

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A dataset of countries.
    Dataset,
    /// An overlay.
    Overlay,
    /// AS numbers.
    AsNumbers,
}

/// What a file is, as far as it says so itself: a cloud provider's list is an overlay, the product's own form says
/// what it holds. Of anything else a dataset is expected.
///
/// # Errors
/// The file can't be read.
pub fn content(file: &Path) -> Result<Content, GeoError> {
    let bytes = file::read_bounded(file)?;
    Ok(match sniff(file, &bytes) {
        Some(Format::Json) => Content::Overlay,
        Some(Format::Compact) => compact::content(&bytes),
        _ => Content::Dataset,
    })
}

/// An address that both have, where there is one.
fn first_overlap<A: Space, B: Space>(v4: (&[Range<A>], &[Range<A>]), v6: (&[Range<B>], &[Range<B>])) -> Option<IpAddr> {
    let v4 =
        ranges::overlap(v4.0, v4.1).and_then(|at| u32::try_from(at.number()).ok()).map(|at| Ipv4Addr::from(at).into());
    v4.or_else(|| ranges::overlap(v6.0, v6.1).map(|at| Ipv6Addr::from(at.number()).into()))
}

/// One dataset of several files that do not overlap (the two families, usually). What is said of it is the first's;
/// its date is the oldest.
///
/// # Errors
/// Two files place the same address, or there is no file.
pub fn merge(opened: Vec<Opened>) -> Result<Dataset, GeoError> {
    let mut opened = opened.into_iter();
    let Some(first) = opened.next() else {
        return Err(GeoError::file(Path::new(""), "no file to import: name at least one"));
    };
    if opened.len() == 0 {
        return Ok(first.dataset);
    }
    let path = |file: Option<PathBuf>| file.map_or_else(|| "(embedded)".into(), |file| file.display().to_string());
    let mut sum = first.dataset;
    let mut files = vec![(path(first.file), std::mem::take(&mut sum.v4), std::mem::take(&mut sum.v6))];
    for next in opened {
        let name = path(next.file);
        let Dataset { about, v4, v6 } = next.dataset;
        for (before, before_v4, before_v6) in &files {
            if let Some(address) = first_overlap((before_v4, &v4), (before_v6, &v6)) {
                return Err(placed_again(&name, address, before));
            }
        }
        sum.about.join(&about);
        files.push((name, v4, v6));
    }
    let mut collector = Collector::default();
    for (name, v4, v6) in files {
        let v4 = v4.into_iter().map(|of| Piece::V4(of.first, of.last, of.country));
        let v6 = v6.into_iter().map(|of| Piece::V6(of.first, of.last, of.country));
        for piece in v4.chain(v6) {
            collector.push(piece).map_err(|TooMany| {
                let what = "ranges together with the files before it: import it by itself";
                GeoError::file(Path::new(&name), format!("more than {MAX_RANGES} {what}"))
            })?;
        }
    }
    let joined = collector
        .finish()
        .map_err(|TooMany| GeoError::file(Path::new(&sum.about.name), "too many ranges: import it by itself"))?;
    let Dataset { about: About { digest, .. }, v4, v6 } = joined.dataset;
    Ok(Dataset { about: About { digest, ..sum.about }, v4, v6 })
}

fn placed_again(file: &str, address: IpAddr, before: &str) -> GeoError {
    let mend = "give files that do not overlap, or import them one by one";
    GeoError::file(Path::new(file), format!("places {address} again, which {before} does too: {mend}"))
}

/// A hostile value cut to what fits in a message; the caller quotes it with `{:?}`, which escapes it.
fn shown(value: &str) -> String {
    const LONGEST: usize = 60;
    if value.chars().count() <= LONGEST {
        value.into()
    } else {
        value.chars().take(LONGEST).chain("…".chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_a_directory_and_an_unknown_kind_each_say_what_to_give() {
        let error = load("/nonexistent/x.mmdb").unwrap_err().to_string();
        assert_eq!(
            error,
            "/nonexistent/x.mmdb: No such file or directory (os error 2): check the path and the permissions, or use \
             \"embedded\" for the built-in datasets"
        );
        let dir = tempfile::tempdir().unwrap();
        let text = |path: &Path| load(path.to_str().unwrap()).unwrap_err().to_string();
        assert_eq!(
            text(dir.path()),
            format!(
                "{}: not a regular file: give the path of a .mmdb, .csv, .egm or .egm.zst file",
                dir.path().display()
            )
        );
        let odd = dir.path().join("geo.bin");
        std::fs::write(&odd, "\x7fELF\0\0").unwrap();
        assert_eq!(
            text(&odd),
            format!(
                "{}: neither MMDB nor JSON nor text nor a compact dataset: give a file of one of these",
                odd.display()
            )
        );
    }

    #[test]
    fn one_opinion_has_one_digest_in_every_format() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("a.csv");
        std::fs::write(&csv, "198.51.100.0,198.51.100.255,DE\n2001:db8::/32,SG\n").unwrap();
        let mut first = load(csv.to_str().unwrap()).unwrap().remove(0);
        first.about.provenance = "made by a test".into();
        let egm = dir.path().join("a.egm");
        std::fs::write(&egm, compact::encode(&first).unwrap()).unwrap();
        let opened = open(egm.to_str().unwrap()).unwrap().remove(0);
        assert_eq!(opened.dataset.about.provenance, "made by a test");
        assert_eq!(opened.format, Format::Compact);
        assert_eq!(opened.dataset.about.digest, first.about.digest);
        assert_eq!((opened.dataset.v4, opened.dataset.v6), (first.v4, first.v6));
    }
}
