//! Why geo data can't be used: what every reader here fails with.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{compact::CompactError, dataset::MAX_RANGES};

/// Why geo data can't be used. One line with the file, where it has lines the line, the value and a hint.
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
        /// What is wrong, and what to do about it.
        what: String,
    },
    /// The whole file is wrong.
    #[error("{}: {fault}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        fault: GeoFault,
    },
}

/// What is wrong with a whole file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeoFault {
    /// Nothing was to be imported.
    #[error("no file to import: name at least one")]
    NoFile,
    /// A pipe, a device, a folder.
    #[error("not a regular file: give the path of a .mmdb, .csv, .egm or .egm.zst file")]
    NotRegular,
    /// Larger than any dataset that is of use.
    #[error("larger than {mib} MiB: a country dataset has 4 to 20 MB; give one of those")]
    TooLarge {
        /// Largest size that is read, in MiB.
        mib: u64,
    },
    /// A packed file that ends early.
    #[error("gzip that ends early or is damaged: fetch it again")]
    Gzip,
    /// Packed in a way that is not read.
    #[error("{how}: unpack it, and give the file that is in it")]
    Packed {
        /// How.
        how: &'static str,
    },
    /// No known format.
    #[error("neither MMDB nor JSON nor text nor a compact dataset: give a file of one of these")]
    UnknownFormat,
    /// The compact form can't be read.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// The MMDB file is damaged.
    #[error("not a sound MMDB file: {0}: fetch it again, or use another dataset")]
    Mmdb(MmdbDamage),
    /// No record of an MMDB file has what is looked for.
    #[error("no {what} ({database_type}): {hint}")]
    NothingInMmdb {
        /// What is looked for.
        what: &'static str,
        /// What the file calls itself.
        database_type: String,
        /// What to give instead.
        hint: &'static str,
    },
    /// A cloud provider's list where AS numbers are expected.
    #[error("JSON: AS numbers are read from MMDB, text or compact files")]
    JsonAsAsNumbers,
    /// A cloud provider's list where a dataset of countries is expected.
    #[error("JSON: a cloud provider's list goes into [geo] overlays, not into sources")]
    JsonAsSource,
    /// A cloud provider's list that is larger than any.
    #[error("JSON larger than {mib} MiB: no provider's list is")]
    JsonTooLarge {
        /// Largest size that is read, in MiB.
        mib: usize,
    },
    /// JSON of another kind, or none.
    #[error("not a provider's list: {0}: fetch it again")]
    NotAList(String),
    /// JSON without any of the lists.
    #[error(
        "JSON without 'prefixes' (AWS, Google), 'values' (Azure), 'regions' (Oracle) or 'subnets': give one of these lists"
    )]
    UnknownList,
    /// What stands behind the addresses may be continents or countries.
    #[error(
        "does its column {column} hold continents (AS is Asia) or countries (AS is American Samoa)? Name the columns in the \
         first line, such as {example}"
    )]
    Continents {
        /// Which, from 1.
        column: usize,
        /// Such a line.
        example: &'static str,
    },
    /// Its IPv6 ranges do not end where networks do.
    #[error(
        "its IPv6 addresses were rounded, as spreadsheets do with long numbers: give the file as its publisher has it"
    )]
    Rounded,
    /// A text without ranges.
    #[error("no ranges in it: expected lines like 192.0.2.0,192.0.2.255,DE")]
    NoRanges,
    /// A text without AS numbers.
    #[error("no AS numbers in it: expected lines like 192.0.2.0,192.0.2.255,64500,Name")]
    NoAsNumbers,
    /// An overlay without networks.
    #[error("no networks in it: fetch it again, or leave it out")]
    NoNetworks,
    /// A dataset without a known country.
    #[error("places nothing: every country in it is unknown; give another file")]
    PlacesNothing,
    /// More ranges than [`MAX_RANGES`].
    #[error("more than {MAX_RANGES} ranges of one family: use a dataset of countries, not of cities")]
    TooManyRanges,
    /// More networks than [`MAX_RANGES`].
    #[error("more than {MAX_RANGES} networks of one family: use a country database")]
    TooManyNetworks,
    /// More ranges than [`MAX_RANGES`] in several files.
    #[error("more than {MAX_RANGES} ranges together with the files before it: import it by itself")]
    TooManyTogether,
    /// More ranges than [`MAX_RANGES`] once overlaps are resolved.
    #[error("too many ranges: import it by itself")]
    TooManyJoined,
    /// Two files place one address.
    #[error(
        "places {address} again, which {before} does too: give files that do not overlap, or import them one by one"
    )]
    PlacedAgain {
        /// An address that both place.
        address: IpAddr,
        /// The other file.
        before: String,
    },
    /// Two files of AS numbers have one address.
    #[error("several of the files have the same addresses: give files that do not overlap, or import them one by one")]
    Overlap,
    /// More is wrong than right; the first that is, in a file without lines.
    #[error("{0}")]
    Rejected(String),
    /// The thread that decodes an embedded dataset panicked.
    #[error("the decoder failed: reinstall egress-monitor")]
    DecoderFailed,
}

/// How an MMDB file is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MmdbDamage {
    /// The decoder panicked.
    #[error("it makes the MMDB decoder fail")]
    DecoderFailed,
    /// What the decoder says.
    #[error("{0}")]
    Decoder(String),
    /// Neither IPv4 nor IPv6.
    #[error("IP version {0}")]
    IpVersion(u16),
    /// More steps than a tree of its nodes has.
    #[error("its search tree shares nodes without end")]
    SharedNodes,
    /// A path longer than an address.
    #[error("its search tree is deeper than an address is long")]
    TooDeep,
    /// A node past the end of the file.
    #[error("its search tree ends early")]
    EndsEarly,
    /// Decoding takes longer than any real file does.
    #[error("its records take more than {seconds} s to read")]
    TooSlow {
        /// How long it may take.
        seconds: u64,
    },
}

impl GeoError {
    pub(crate) fn file(file: &Path, fault: impl Into<GeoFault>) -> Self {
        Self::File { file: file.into(), fault: fault.into() }
    }

    pub(crate) fn mmdb(file: &Path, damage: MmdbDamage) -> Self {
        Self::file(file, GeoFault::Mmdb(damage))
    }

    /// The first rejection as the error of the whole file; `line` where the file has lines.
    pub(crate) fn first(file: &Path, line: Option<usize>, what: &str) -> Self {
        match line {
            Some(line) => Self::Line { file: file.into(), line, what: what.into() },
            None => Self::file(file, GeoFault::Rejected(what.into())),
        }
    }
}
