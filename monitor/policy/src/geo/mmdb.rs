//! MaxMind DB files in, ranges out. Called by [`super::open_file`], the overlays and the AS datasets.
//!
//! The records' country is looked for in three shapes: `country.iso_code` (MaxMind, DB-IP), `country_code`
//! (ip-location-db, IP2Location, IPinfo) and `country` as text (IPinfo). `registered_country` and
//! `represented_country` are not used: they say where a network's owner is registered or at home, not where the
//! network is. A record without a country is a gap. Where `is_anycast` or `is_satellite_provider` stands, at the top
//! (IPinfo) or under `traits` (MaxMind), the location is undetermined whatever country is named. AS numbers:
//! `autonomous_system_number` (MaxMind, DB-IP, ip-location-db) or `asn` (IPinfo), names beside them.
//!
//! `maxminddb` checks the file and decodes the records; the search tree is walked here, because its iterator
//! can be kept busy for ever by a file of a few hundred bytes whose nodes share children (2^128 paths), and may
//! do so without yielding anything in between. A tree has each node once, so the walk is over after a few times
//! the number of nodes that fit into the file, or the file is refused.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use maxminddb::{MaxMindDbError, Reader};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};

use crate::text::plain;

use super::{
    about::About,
    compact,
    country::Country,
    dataset::{Dataset, MAX_RANGES, Span, to_ranges},
    error::{GeoError, GeoFault, MmdbDamage},
    progress::Progress,
    ranges,
    rejected::{Position, Rejected},
    rejection::Rejection,
};

const METADATA_MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// Decoding is bounded per record by `maxminddb`; this bounds a file full of the worst records. A real one takes
/// a second.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Whether the bytes have an MMDB's metadata marker where it has to be, in the last 128 KiB.
pub fn is_mmdb(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(128 << 10)..];
    tail.windows(METADATA_MARKER.len()).any(|window| window == METADATA_MARKER)
}

/// What a file comes to.
pub(crate) struct Mmdb<V> {
    pub(crate) v4: Vec<Span<u32, V>>,
    pub(crate) v6: Vec<Span<u128, V>>,
    /// Records that say nothing that can be understood.
    pub(crate) rejected: Rejected,
    /// As the file calls itself.
    pub(crate) database_type: String,
    /// Seconds since 1970.
    pub(crate) built: Option<i64>,
}

/// What is looked for in the records of a file.
pub(crate) trait Records {
    /// What of a record is decoded.
    type Record: DeserializeOwned;
    /// What it comes to.
    type Value: Copy + Eq;
    /// For the message when no record has any: what.
    const WHAT: &'static str;
    /// And what to give instead.
    const HINT: &'static str;

    /// What a record that can't be understood comes to.
    const UNREADABLE: Option<Self::Value> = None;

    /// `None` for a record that says nothing.
    fn value(&mut self, record: Self::Record) -> Result<Option<Self::Value>, Rejection>;
}

/// Reads a whole MMDB file of countries; `file` is for messages and the dataset's name. What is undetermined is a gap.
///
/// # Errors
/// The file is truncated or damaged, has no countries, or takes more time or memory than a real one would.
pub fn read(file: &Path, bytes: &[u8], progress: &Progress) -> Result<(Dataset, Rejected), GeoError> {
    let mut read = walk(file, bytes, &mut Countries, progress)?;
    read.v4.retain(|span| span.2 != Country::UNDETERMINED);
    read.v6.retain(|span| span.2 != Country::UNDETERMINED);
    let (v4, v6) = (to_ranges(read.v4), to_ranges(read.v6));
    let about = About {
        name: file.display().to_string(),
        version: read.database_type,
        built: read.built,
        digest: compact::digest(&v4, &v6),
        ..About::default()
    };
    Ok((Dataset { about, v4, v6 }, read.rejected))
}

/// Reads a whole file for what `records` looks for.
pub(crate) fn walk<R: Records>(
    file: &Path,
    bytes: &[u8],
    records: &mut R,
    progress: &Progress,
) -> Result<Mmdb<R::Value>, GeoError> {
    // The library checks what it reads; should it overlook something, a bad file must not end the daemon.
    catch_unwind(AssertUnwindSafe(|| walk_unguarded(file, bytes, records, progress)))
        .unwrap_or_else(|_| Err(GeoError::mmdb(file, MmdbDamage::DecoderFailed)))
}

fn damaged(file: &Path, error: &MaxMindDbError) -> GeoError {
    GeoError::mmdb(file, MmdbDamage::Decoder(shown_long(&error.to_string())))
}

/// The library's messages may quote the file: keep them short and printable.
pub(crate) fn shown_long(text: &str) -> String {
    plain(text).chars().take(200).collect()
}

fn walk_unguarded<R: Records>(
    file: &Path,
    bytes: &[u8],
    records: &mut R,
    progress: &Progress,
) -> Result<Mmdb<R::Value>, GeoError> {
    let reader = Reader::from_source(bytes).map_err(|error| damaged(file, &error))?;
    let about = reader.metadata();
    if !matches!(about.ip_version, 4 | 6) {
        return Err(GeoError::mmdb(file, MmdbDamage::IpVersion(about.ip_version)));
    }
    let tree = Tree {
        bytes,
        nodes: about.node_count as usize,
        record_bits: about.record_size.into(),
        bits: if about.ip_version == 6 { 128 } else { 32 },
    };
    let mut walk = TreeWalk {
        file,
        reader: &reader,
        tree: &tree,
        records,
        values: HashMap::new(),
        v4: Vec::new(),
        v6: Vec::new(),
        rejected: Rejected::default(),
        understood: false,
        ends: Instant::now() + TIME_LIMIT,
    };
    walk.run(progress)?;
    let TreeWalk { v4, v6, rejected, understood, .. } = walk;
    let database_type = shown_long(&about.database_type);
    if !understood {
        return Err(match &rejected.first {
            Some((_, what)) => GeoError::first(file, None, what),
            None => GeoError::file(file, GeoFault::NothingInMmdb { what: R::WHAT, database_type, hint: R::HINT }),
        });
    }
    let built = i64::try_from(about.build_epoch).ok().filter(|&epoch| epoch > 0 && epoch < MAX_TIME);
    Ok(Mmdb { v4, v6, rejected, database_type, built })
}

/// The year 9999: what is later is no date but damage, and the rest of the file is good.
const MAX_TIME: i64 = 253_402_300_800;

/// The search tree: `nodes` pairs of records, then the data.
struct Tree<'a> {
    bytes: &'a [u8],
    nodes: usize,
    record_bits: usize,
    bits: u32,
}

impl Tree<'_> {
    /// A node's left (0) or right (1) record.
    fn record(&self, node: usize, side: usize) -> Option<usize> {
        let size = self.record_bits / 4;
        let node = self.bytes.get(node.checked_mul(size)?..)?.get(..size)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        Some(match (self.record_bits, side) {
            (28, 0) => usize::from(node[3] >> 4) << 24 | number(&node[..3]),
            (28, _) => usize::from(node[3] & 0x0f) << 24 | number(&node[4..]),
            (_, 0) => number(&node[..size / 2]),
            _ => number(&node[size / 2..]),
        })
    }

    /// The node where IPv4 addresses start, in an IPv6 tree: 96 zero bits down.
    fn ipv4_node(&self) -> Option<usize> {
        let mut node = 0;
        for _ in 0..96 {
            node = self.record(node, 0).filter(|&next| next < self.nodes)?;
        }
        (self.bits == 128).then_some(node)
    }
}

struct TreeWalk<'a, 'b, R: Records> {
    file: &'a Path,
    reader: &'b Reader<&'b [u8]>,
    tree: &'a Tree<'b>,
    records: &'a mut R,
    /// By record number, so that each record is decoded once.
    values: HashMap<usize, Option<R::Value>>,
    /// In order and joined as they come: the walk goes from the lowest address to the highest.
    v4: Vec<Span<u32, R::Value>>,
    v6: Vec<Span<u128, R::Value>>,
    rejected: Rejected,
    /// Whether any record says something.
    understood: bool,
    ends: Instant,
}

impl<R: Records> TreeWalk<'_, '_, R> {
    fn run(&mut self, progress: &Progress) -> Result<(), GeoError> {
        let tree = self.tree;
        progress.begin(tree.nodes);
        let mut seen = 0_usize;
        let ipv4 = tree.ipv4_node();
        // Writers may share a few subtrees; more than that is a trap.
        let mut steps = tree.nodes.saturating_mul(4).saturating_add(1024);
        // (record, address, bits of it that count)
        let mut open = vec![(0_usize, 0_u128, 0_u32)];
        while let Some((record, address, depth)) = open.pop() {
            // IPv4 again under another prefix (::ffff:0:0/96, 2002::/16…): the same data, and not about IPv6.
            if Some(record) == ipv4 && (address != 0 || depth != 96) {
                continue;
            }
            seen += 1;
            if seen.is_multiple_of(4096) {
                progress.at(seen / 2);
            }
            if record >= tree.nodes {
                if record > tree.nodes {
                    self.leaf(record, address, depth)?;
                }
                continue;
            }
            steps = steps.checked_sub(1).ok_or_else(|| GeoError::mmdb(self.file, MmdbDamage::SharedNodes))?;
            if depth >= tree.bits {
                return Err(GeoError::mmdb(self.file, MmdbDamage::TooDeep));
            }
            let child =
                |side| tree.record(record, side).ok_or_else(|| GeoError::mmdb(self.file, MmdbDamage::EndsEarly));
            let bit = 1 << (tree.bits - 1 - depth);
            open.push((child(1)?, address | bit, depth + 1));
            open.push((child(0)?, address, depth + 1));
        }
        Ok(())
    }

    /// A network with a data record.
    fn leaf(&mut self, record: usize, address: u128, depth: u32) -> Result<(), GeoError> {
        let value = match self.values.get(&record) {
            Some(&value) => value,
            None => {
                let value = self.decode(address)?;
                self.values.insert(record, value);
                value
            }
        };
        let Some(value) = value else { return Ok(()) };
        let host = u128::MAX.checked_shr(128 - self.tree.bits + depth).unwrap_or(0);
        let last = address | host;
        let in_ipv4 = self.tree.bits == 32 || (depth >= 96 && address >> 32 == 0);
        if in_ipv4 {
            ranges::append(&mut self.v4, address, last, value);
        } else {
            ranges::append(&mut self.v6, address, last, value);
        }
        if self.v4.len().max(self.v6.len()) <= MAX_RANGES {
            Ok(())
        } else {
            Err(GeoError::file(self.file, GeoFault::TooManyNetworks))
        }
    }

    /// What the record says that the tree has for this address.
    fn decode(&mut self, address: u128) -> Result<Option<R::Value>, GeoError> {
        if Instant::now() > self.ends {
            return Err(GeoError::mmdb(self.file, MmdbDamage::TooSlow { seconds: TIME_LIMIT.as_secs() }));
        }
        let address: IpAddr =
            if self.tree.bits == 32 { Ipv4Addr::from(address as u32).into() } else { Ipv6Addr::from(address).into() };
        let found = self.reader.lookup(address).map_err(|error| damaged(self.file, &error))?;
        let record: Option<R::Record> = found.decode().map_err(|error| damaged(self.file, &error))?;
        let Some(record) = record else { return Ok(None) };
        Ok(match self.records.value(record) {
            Ok(value) => {
                self.understood |= value.is_some();
                value
            }
            Err(bad) => {
                self.rejected.note(Position::Entry(&format!("the record of {address}")), bad.kind(), &bad);
                R::UNREADABLE
            }
        })
    }
}

/// Where a network is.
pub(crate) struct Countries;

impl Records for Countries {
    type Record = Record;
    type Value = Country;
    const WHAT: &'static str = "country in any record of this MMDB";
    const HINT: &'static str = "give a country or city database";
    const UNREADABLE: Option<Country> = Some(Country::UNDETERMINED);

    fn value(&mut self, record: Record) -> Result<Option<Country>, Rejection> {
        if record.is_nowhere() {
            return Ok(Some(Country::UNDETERMINED));
        }
        let Some(text) = record.country() else { return Ok(None) };
        let country = Country::parse(&text)?;
        Ok(Some(country).filter(|country| *country != Country::UNKNOWN))
    }
}

/// What is looked at of a record.
#[derive(Default, Deserialize)]
pub(crate) struct Record {
    #[serde(default)]
    country: Option<CountryShape>,
    #[serde(default)]
    country_code: Option<String>,
    #[serde(default)]
    is_anycast: Flag,
    #[serde(default)]
    is_satellite: Flag,
    #[serde(default)]
    traits: Traits,
}

/// MaxMind's.
#[derive(Default, Deserialize)]
struct Traits {
    #[serde(default)]
    is_anycast: Flag,
    #[serde(default)]
    is_satellite_provider: Flag,
}

impl Record {
    fn is_nowhere(&self) -> bool {
        [self.is_anycast, self.is_satellite, self.traits.is_anycast, self.traits.is_satellite_provider]
            .contains(&Flag(true))
    }

    /// The code first: beside one, `country` may be a name.
    fn country(self) -> Option<String> {
        let code = self.country_code.filter(|code| !code.is_empty());
        code.or(self.country.map(|shape| shape.0).filter(|code| !code.is_empty()))
    }
}

/// `true`, `1` or `"true"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl Visitor<'_> for Shape {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }

            fn visit_str<E>(self, text: &str) -> Result<Flag, E> {
                Ok(Flag(matches!(text, "true" | "True" | "1")))
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

/// `country`: text, or a map with `iso_code`. Empty where it has neither.
struct CountryShape(String);

impl<'de> Deserialize<'de> for CountryShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = CountryShape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a country code, or a map with iso_code")
            }

            fn visit_str<E>(self, text: &str) -> Result<CountryShape, E> {
                Ok(CountryShape(text.into()))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<CountryShape, M::Error> {
                let mut code = String::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "iso_code" {
                        code = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(CountryShape(code))
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

#[cfg(test)]
#[path = "mmdb_tests.rs"]
mod tests;
