//! Who announces which network: AS datasets in, an address's AS number and name out. Called by the policy compiler
//! (rules on AS numbers), `explain`, and whoever names networks to people.
//!
//! Not embedded and optional. Nothing in a verdict rests on it but rules that name AS numbers. Read from MMDB (MaxMind,
//! DB-IP, ip-location-db, IPinfo), from text and from the product's own form. Lines of text are
//! `first,last,number,name` or `network,number,name` with commas, or `first<TAB>last<TAB>number<TAB>country<TAB>name`
//! as iptoasn.com has it; AS number 0 means that nobody announces it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de::Visitor};

use super::{
    about::About,
    compact,
    dataset::Format,
    error::{GeoError, GeoFault},
    file, mmdb,
    progress::Progress,
    ranges::{Collector, Piece, Spans, TooMany},
    rejected::{Position, Rejected},
    rejection::Rejection,
    sniff::sniff,
    text::{
        self, about, address,
        columns::{self, SystemColumns},
        entry::Untaken,
        values,
    },
};
use crate::text::{excerpt, plain};

pub use super::dataset::{AsDataset, AsNames, AsRange};

/// Longest name that is kept, in bytes: longer ones are cut.
const MAX_NAME: usize = 120;

/// Reads a file of AS numbers. All of it has to be good.
///
/// # Errors
/// The file can't be read or something in it is no good.
pub fn open(file: &Path) -> Result<AsDataset, GeoError> {
    open_bytes(file, &file::read_bounded(file)?)
}

/// As [`open`], of a file's content; `file` is for messages.
///
/// # Errors
/// Something in it is no good.
pub fn open_bytes(file: &Path, bytes: &[u8]) -> Result<AsDataset, GeoError> {
    let dataset = read_bytes(file, bytes, &Progress::default())?;
    match &dataset.rejected.first {
        Some((line, what)) => Err(GeoError::first(file, *line, what)),
        None => Ok(dataset),
    }
}

/// As [`open`], but what can't be taken is left out and counted by kind.
///
/// # Errors
/// The file can't be read, or more of it is wrong than good.
pub fn read(file: &Path, progress: &Progress) -> Result<AsDataset, GeoError> {
    read_bytes(file, &file::read_bounded(file)?, progress)
}

/// As [`read`], of a file's content; `file` is for messages.
///
/// # Errors
/// More of it is wrong than good.
pub fn read_bytes(file: &Path, bytes: &[u8], progress: &Progress) -> Result<AsDataset, GeoError> {
    let about = About::named(file.display().to_string());
    match sniff(file, bytes) {
        Some(Format::Compact) => compact::decode_asn(bytes).map_err(|error| GeoError::file(file, error)),
        Some(Format::Mmdb) => {
            let mut records = AsRecords::default();
            let read = mmdb::walk(file, bytes, &mut records, progress)?;
            let about = About { version: read.database_type, built: read.built, ..about };
            let spans = Spans { v4: read.v4, v6: read.v6, contradictions: 0 };
            finish(file, spans, records.names, about, read.rejected)
        }
        Some(Format::Json) => Err(GeoError::file(file, GeoFault::JsonAsAsNumbers)),
        Some(_) => read_text(file, bytes, about, progress),
        None => Err(GeoError::file(file, GeoFault::UnknownFormat)),
    }
}

/// One dataset of several files that do not overlap. What is said of it is the first's; its date is the oldest.
///
/// # Errors
/// Two files have the same address, or there is no file.
pub fn merge(files: Vec<AsDataset>) -> Result<AsDataset, GeoError> {
    let mut files = files.into_iter();
    let first = files.next().ok_or_else(|| GeoError::file(Path::new(""), GeoFault::NoFile))?;
    if files.len() == 0 {
        return Ok(first);
    }
    let mut collector: Collector<u32> = Collector::default();
    let mut names = NamesByNumber::new();
    let (mut about, mut rejected) = (first.about.clone(), first.rejected.clone());
    let mut contradictions = first.contradictions;
    let file = PathBuf::from(&first.about.name);
    for (at, next) in std::iter::once(first).chain(files).enumerate() {
        let v4 = next.v4.iter().map(|range| Piece::V4(range.first, range.last, range.asn));
        let v6 = next.v6.iter().map(|range| Piece::V6(range.first, range.last, range.asn));
        for piece in v4.chain(v6) {
            collector.push(piece).map_err(|TooMany| GeoError::file(&file, GeoFault::TooManyRanges))?;
        }
        for (asn, name) in next.names.iter() {
            names.entry(asn).or_insert_with(|| name.into());
        }
        if at > 0 {
            about.join(&next.about);
            contradictions += next.contradictions;
            rejected.add(next.rejected);
        }
    }
    if collector.overlaps() {
        return Err(GeoError::file(&file, GeoFault::Overlap));
    }
    let spans = collector.canonical(0, false).map_err(|TooMany| GeoError::file(&file, GeoFault::TooManyRanges))?;
    Ok(AsDataset { contradictions, ..finish(&file, spans, names, about, rejected)? })
}

/// The first name that a file gives to each AS number.
type NamesByNumber = BTreeMap<u32, Box<str>>;

fn finish(
    file: &Path,
    spans: Spans<u32>,
    named: NamesByNumber,
    about: About,
    rejected: Rejected,
) -> Result<AsDataset, GeoError> {
    let v4: Vec<AsRange<u32>> = spans.v4.into_iter().map(AsRange::from).collect();
    let v6: Vec<AsRange<u128>> = spans.v6.into_iter().map(AsRange::from).collect();
    if v4.is_empty() && v6.is_empty() {
        return Err(GeoError::file(file, GeoFault::NoAsNumbers));
    }
    let mut names = AsNames::default();
    for (asn, name) in named {
        names.push(asn, &name).ok_or_else(|| GeoError::file(file, GeoFault::TooManyRanges))?;
    }
    let digest = compact::asn_digest(&v4, &v6, &names);
    let about = About { digest, ..about };
    Ok(AsDataset { about, v4, v6, names, contradictions: spans.contradictions, rejected })
}

fn read_text(file: &Path, bytes: &[u8], about: About, progress: &Progress) -> Result<AsDataset, GeoError> {
    let mut collector: Collector<u32> = Collector::default();
    let mut names = NamesByNumber::new();
    let mut rejected = Rejected::default();
    let mut built = None;
    let (mut begun, mut taken, mut columns) = (false, 0_usize, None);
    let too_many = |TooMany| GeoError::file(file, GeoFault::TooManyRanges);
    for (number, line) in text::lines(bytes, progress) {
        // A name may hold anything; in names alone what is no UTF-8 is replaced.
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            if let Some(about::Comment::Built(at)) = about::comment(comment) {
                built = built.into_iter().chain([at]).min();
            }
            continue;
        }
        let values = values::split(line);
        if values.iter().all(|value| value.is_empty()) {
            continue;
        }
        if !std::mem::replace(&mut begun, true) && columns::is_header(&values) {
            let named = SystemColumns::named(&values);
            columns = Some(named.map_err(|why| GeoError::first(file, Some(number), &why.to_string()))?);
            continue;
        }
        match parse(line, &values, columns) {
            Err(Untaken { why, about }) => {
                rejected.note(Position::Line(number), why.kind(), &why);
                // Nobody's, rather than whoever's the wider range around it is.
                about.map_or(Ok(()), |piece| collector.push(piece.with(0))).map_err(too_many)?;
            }
            Ok((piece, asn, name)) => {
                taken += 1;
                // Narrower ranges that nobody announces are gaps in wider ones.
                collector.push(piece).map_err(too_many)?;
                if asn != 0 && !name.is_empty() && !names.contains_key(&asn) {
                    names.insert(asn, cut(name));
                }
            }
        }
    }
    if let Some((line, what)) = rejected.first.as_ref().filter(|_| rejected.count > taken) {
        return Err(GeoError::first(file, *line, what));
    }
    let spans = collector.canonical(0, false).map_err(|TooMany| GeoError::file(file, GeoFault::TooManyRanges))?;
    finish(file, spans, names, About { built, ..about }, rejected)
}

/// One line: range, number (0 for nobody), name.
fn parse<'a>(
    line: &str,
    values: &[&'a str],
    columns: Option<SystemColumns>,
) -> Result<(Piece<u32>, u32, &'a str), Untaken> {
    let value = |at: usize| values.get(at).copied().unwrap_or("");
    let (piece, at, name) = match columns {
        Some(of) => {
            let last = of.last.filter(|_| !value(of.first).contains('/'));
            let piece = match last {
                Some(last) => address::range(value(of.first), value(last), ())?,
                None => values::range(line, &[value(of.first)])?.0,
            };
            (piece, of.number, of.name.map_or("", value))
        }
        None => {
            let (piece, at) = values::range(line, values)?;
            // iptoasn.com has the country of the number before the name, which is the last.
            (piece, at, if line.contains('\t') { value(values.len() - 1) } else { value(at + 1) })
        }
    };
    let untaken = |why: Rejection| Untaken { why, about: Some(piece) };
    if values.len() <= at {
        return Err(untaken(Rejection::NoAsNumber(excerpt(line))));
    }
    let asn = number(value(at)).map_err(untaken)?;
    Ok((piece.with(asn), asn, if name == "Not routed" { "" } else { name }))
}

/// `64500` or `AS64500`; empty and `-` are nobody's.
fn number(text: &str) -> Result<u32, Rejection> {
    if matches!(text, "" | "-") {
        return Ok(0);
    }
    let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
    let parsed = digits.parse().ok().filter(|_| address::is_number(digits));
    parsed.ok_or_else(|| Rejection::AsNumber(excerpt(text)))
}

/// Short and without control characters: names are other people's text.
fn cut(name: &str) -> Box<str> {
    let mut out = String::new();
    for c in plain(name).chars() {
        if out.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        out.push(c);
    }
    out.into()
}

/// AS numbers in MMDB records.
#[derive(Default)]
struct AsRecords {
    names: NamesByNumber,
}

#[derive(Deserialize)]
struct AsRecord {
    #[serde(default)]
    autonomous_system_number: Option<Number>,
    #[serde(default)]
    autonomous_system_organization: Option<String>,
    #[serde(default)]
    asn: Option<Number>,
    #[serde(default)]
    as_name: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

/// A number, or text with one in it.
struct Number(Result<u32, Rejection>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl Visitor<'_> for Shape {
            type Value = Number;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an AS number")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(number(&value.to_string())))
            }

            fn visit_str<E>(self, text: &str) -> Result<Number, E> {
                Ok(Number(number(text)))
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

impl mmdb::Records for AsRecords {
    type Record = AsRecord;
    type Value = u32;
    const WHAT: &'static str = "AS number in any record of this MMDB";
    const HINT: &'static str = "give an ASN database";

    fn value(&mut self, record: AsRecord) -> Result<Option<u32>, Rejection> {
        let Some(Number(asn)) = record.autonomous_system_number.or(record.asn) else { return Ok(None) };
        let asn = asn?;
        let name = record.autonomous_system_organization.or(record.as_name).or(record.name).unwrap_or_default();
        if asn != 0 && !name.is_empty() && !self.names.contains_key(&asn) {
            self.names.insert(asn, cut(&name));
        }
        Ok(Some(asn).filter(|asn| *asn != 0))
    }
}

#[cfg(test)]
#[path = "asn_tests.rs"]
mod tests;
