//! Text files in, ranges with countries out. Called by [`super::open_file`] and by the overlays.
//!
//! One network or range a line, each line in any of these forms:
//!
//! ```text
//! 192.0.2.0,192.0.2.255,DE         first, last, country; addresses or decimal numbers (ip-location-db, Tor, DB-IP)
//! 192.0.2.0/24,DE,DE-BE,...        network, country, region (RFC 8805 geofeeds are such files)
//! 192.0.2.0-192.0.2.255,DE         a range in one piece
//! 192.0.2.0/24 DE                  blanks or tabs separate as well as commas
//! 192.0.2.0/24                     the country is the whole file's
//! {"network":"192.0.2.0/24","country":"DE"}   an object with the names that columns have
//! add country_de 192.0.2.0/24      ipset: see `shapes`, also for the elements of nftables maps
//! ripencc|DE|ipv4|192.0.2.0|256|…  the registries' statistics: see `delegated`
//! ```
//!
//! Quotes around a value are dropped, further columns are not looked at, the first line may name the columns, `#`
//! starts a comment. `# country: DE` (a code or a name) holds for the lines after it that have no country, and so does
//! a file's name such as `de.zone`; `# built: 2026-06-01` dates the file. An empty country, EU, AP and the like mean
//! "unknown". Both families may be in one file. For overlaps see [`super::Collector`].
//!
//! A line that can't be taken is counted, and if it can be read what it is about, that is undetermined: a wider line that can
//! be taken must not decide there.

pub(crate) mod about;
pub(crate) mod address;
pub(super) mod columns;
mod delegated;
pub(super) mod entry;
mod shapes;
pub(crate) mod values;

pub(super) use self::{columns::names_addresses, shapes::object};

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use monitor_common::wire::Embedded;

use self::{
    about::Comment,
    columns::{Column, Columns},
    entry::{Entry, Untaken},
};
use super::{
    country::Country,
    dataset::Format,
    error::{GeoError, GeoFault},
    progress::Progress,
    ranges::{Collector, Piece, TooMany},
    rejected::{Position, Rejected},
    rejection::Rejection,
    special,
};
use crate::text::{excerpt, plain};

/// What a text file comes to.
pub(crate) struct Text {
    pub(crate) ranges: Collector,
    pub(crate) rejected: Rejected,
    /// IPv6 of translators, whose IPv4 addresses decide: of no effect, which a dataset of everything may have and a list of
    /// what somebody knows better should not.
    pub(crate) carried: Rejected,
    /// What most of it is.
    pub(crate) format: Format,
    /// As the file gives it; empty where it doesn't.
    pub(crate) version: String,
    /// Seconds since 1970, where the file says so; of several the oldest.
    pub(crate) built: Option<i64>,
}

/// Reads a whole text file; `file` is for messages, and its name may say the country.
///
/// # Errors
/// The first wrong line, where more lines are wrong than good; columns of which nobody knows what they hold; nothing in it;
/// too much in it.
pub(crate) fn read(file: &Path, bytes: &[u8], progress: &Progress) -> Result<Text, GeoError> {
    let mut reader = Reader {
        file,
        text: Text {
            ranges: Collector::default(),
            rejected: Rejected::default(),
            carried: Rejected::default(),
            format: Format::Csv,
            version: String::new(),
            built: None,
        },
        country: about::of_name(file),
        columns: None,
        begun: false,
        taken: 0,
        countries: 0,
        continents: Vec::new(),
        networks: 0,
        cut_short: 0,
        open: None,
    };
    for (number, line) in lines(bytes, progress) {
        reader.line(number, line)?;
    }
    reader.finish()
}

/// The lines of a file with their numbers, from 1; `progress` hears how far they have come.
pub(crate) fn lines<'a>(bytes: &'a [u8], progress: &Progress) -> impl Iterator<Item = (usize, &'a [u8])> {
    progress.begin(bytes.len());
    let mut start = 0;
    crate::text::lines(bytes).map(move |(number, line)| {
        if number % 4096 == 1 {
            progress.at(start);
        }
        start += line.len() + 1;
        (number, line)
    })
}

struct Reader<'a> {
    file: &'a Path,
    text: Text,
    /// Of lines that have none.
    country: Option<Country>,
    /// Where things stand, when a line says so.
    columns: Option<Columns>,
    /// Whether a line of data or of names has come.
    begun: bool,
    taken: usize,
    /// Lines whose country can be no continent.
    countries: usize,
    /// Lines whose country looks like the continent of the one behind it: their numbers, ranges and both.
    continents: Vec<(usize, Piece<Country>, Country)>,
    /// Ranges of IPv6, and those of them that end where a /64 begins.
    networks: usize,
    cut_short: usize,
    /// The column of a line whose country may be a continent, with nothing behind it.
    open: Option<usize>,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, bytes: &[u8]) -> Result<(), GeoError> {
        let whole = String::from_utf8_lossy(bytes);
        // Where the columns have names the first value may be empty: a tab or ';' before the addresses is its end then.
        let may_begin_empty = self.columns.is_some_and(|of| !of.begins_with_addresses());
        let line = whole.trim_matches(|c: char| c.is_whitespace() && !(c == '\t' && may_begin_empty));
        let comments = if may_begin_empty { &['#'][..] } else { &['#', ';'] };
        if let Some(comment) = line.strip_prefix(comments) {
            return self.comment(number, comment);
        }
        // RFC 8805: what follows a '#' is a comment, wherever it stands.
        let line = line.split_once('#').map_or(line, |(data, _)| data.trim_end());
        // A spreadsheet's empty rows are rows of commas.
        if line.bytes().all(|byte| matches!(byte, b',' | b';' | b'\t' | b' ')) {
            return Ok(());
        }
        let mut here = LineOf { number, why: None };
        if matches!(whole, Cow::Owned(_)) {
            here.why = Some(Rejection::NotText);
        } else if has_line_break(line) {
            here.why = Some(Rejection::LineBreak);
        }
        match shapes::read(line) {
            shapes::Shape::Plain => self.plain(here, line),
            shapes::Shape::Structure => {
                self.begun = true;
                Ok(())
            }
            shapes::Shape::Elements(elements) => {
                self.begun = true;
                for (element, country) in elements {
                    let values: Vec<&str> = std::iter::once(element).chain(country.as_deref()).collect();
                    let found = values::entry(element, &values, None);
                    self.take(LineOf { number, why: here.why.clone() }, element, found)?;
                }
                Ok(())
            }
            shapes::Shape::Object(object) => {
                if !std::mem::replace(&mut self.begun, true) {
                    self.text.format = Format::JsonLines;
                }
                let (names, values): (Vec<&str>, Vec<&str>) =
                    object.iter().map(|(name, value)| (name.as_str(), value.as_str())).unzip();
                let found = Columns::named(&names, self.country.is_some()).map_err(Untaken::from);
                let found = found.and_then(|columns| values::entry(line, &values, Some(columns)));
                self.take(here, line, found)
            }
        }
    }

    /// A line of values.
    fn plain(&mut self, here: LineOf, line: &str) -> Result<(), GeoError> {
        let first = !std::mem::replace(&mut self.begun, true);
        if line.contains('|') {
            if first {
                self.text.format = Format::Delegated;
            }
            return match delegated::line(line) {
                Ok(None) => Ok(()),
                Ok(Some(entry)) => self.take(here, line, Ok(entry)),
                Err(untaken) => self.take(here, line, Err(untaken)),
            };
        }
        let values = values::split(line);
        if if first { columns::is_header(&values) } else { columns::names_addresses(&values[..1]) } {
            let found = Columns::named(&values, self.country.is_some());
            let wrong = |why: &Rejection| GeoError::first(self.file, Some(here.number), &why.to_string());
            if first {
                self.columns = Some(found.map_err(|why| wrong(&why))?);
                return Ok(());
            }
            // The same again, as where files were put together, is a line that can't be taken; others hold other things.
            if found.ok() != self.columns {
                return Err(wrong(&Rejection::OtherColumns));
            }
        }
        if first && values.len() < 3 {
            self.text.format = Format::Networks;
        }
        let entry = values::entry(line, &values, self.columns);
        // What it is about, where that can be read.
        let about = match &entry {
            Ok(Entry::Piece(piece)) => Some(piece.with(())),
            Ok(_) => None,
            Err(untaken) => untaken.about,
        };
        if let (None, None, Some(piece)) = (self.columns, &here.why, about) {
            let at = values::place(&values);
            match columns::column(&values, at, at > 1) {
                Column::Countries => self.countries += 1,
                Column::Open => self.open = self.open.or(Some(at + 1)),
                Column::Silent => {}
                Column::Continents => {
                    let behind = Country::parse(values[at + 1]).unwrap_or(Country::UNKNOWN);
                    let country = Country::parse(values[at]).unwrap_or(Country::UNKNOWN);
                    self.open = Some(at + 1);
                    self.continents.push((here.number, piece.with(country), behind));
                    return if self.continents.len() > super::dataset::MAX_RANGES {
                        Err(self.too_many())
                    } else {
                        Ok(())
                    };
                }
            }
        }
        self.take(here, line, entry)
    }

    /// Takes what a line says, or counts it.
    fn take(&mut self, here: LineOf, line: &str, found: Result<Entry, Untaken>) -> Result<(), GeoError> {
        let found = match (found, here.why) {
            (Ok(Entry::Piece(piece)), Some(why)) => Err(Untaken { why, about: Some(piece.with(())) }),
            (Ok(Entry::Bare(piece)), Some(why)) => Err(Untaken { why, about: Some(piece) }),
            (Ok(Entry::About { .. }), Some(why)) => Err(Untaken { why, about: None }),
            (Err(untaken), Some(why)) => Err(Untaken { why, ..untaken }),
            (Ok(Entry::Bare(piece)), None) => match self.country {
                Some(country) => Ok(Entry::Piece(piece.with(country))),
                None => Err(Untaken { why: Rejection::NoCountry(excerpt(line)), about: Some(piece) }),
            },
            (found, None) => found,
        };
        match found {
            Ok(Entry::Piece(piece)) => {
                self.taken += 1;
                if let Piece::V6(first, last, _) = piece {
                    self.networks += 1;
                    self.cut_short += usize::from(first < last && last as u64 == 0);
                    if let Some(why) = carried(first, last) {
                        self.text.carried.note(Position::Line(here.number), why.kind(), &why);
                    }
                }
                self.push(piece)
            }
            // Has become a piece.
            Ok(Entry::Bare(_)) => Ok(()),
            Ok(Entry::About { version, built }) => {
                if !version.is_empty() && self.text.version.is_empty() {
                    self.text.version = plain(&excerpt(&version));
                }
                self.dated(built);
                Ok(())
            }
            Err(untaken) => self.leave_out(here.number, &untaken),
        }
    }

    fn leave_out(&mut self, number: usize, untaken: &Untaken) -> Result<(), GeoError> {
        self.text.rejected.note(Position::Line(number), untaken.why.kind(), &untaken.why);
        untaken.about.map_or(Ok(()), |piece| self.push(piece.with(Country::UNDETERMINED)))
    }

    fn push(&mut self, piece: Piece<Country>) -> Result<(), GeoError> {
        self.text.ranges.push(piece).map_err(|TooMany| self.too_many())
    }

    fn too_many(&self) -> GeoError {
        GeoError::file(self.file, GeoFault::TooManyRanges)
    }

    fn comment(&mut self, number: usize, comment: &str) -> Result<(), GeoError> {
        match about::comment(comment) {
            Some(Comment::Country(country)) => {
                self.country = None;
                match country {
                    Ok(country) => self.country = Some(country),
                    Err(why) => self.leave_out(number, &why.into())?,
                }
            }
            Some(Comment::Built(built)) => self.dated(Some(built)),
            None if !self.begun => {
                // Many feeds have their columns' names behind a '#', and not all have the usual order.
                let values = values::split(comment.trim());
                if values.len() > 1 && columns::names_addresses(&values[..1]) {
                    self.columns = Columns::named(&values, false).ok().or(self.columns);
                }
            }
            None => {}
        }
        Ok(())
    }

    fn dated(&mut self, built: Option<i64>) {
        self.text.built = self.text.built.into_iter().chain(built).min();
    }

    fn finish(mut self) -> Result<Text, GeoError> {
        let continents = std::mem::take(&mut self.continents);
        if let Some(column) = self.open
            && continents.len() >= self.countries
        {
            let example = if column > 2 { "start_ip,end_ip,continent,country" } else { "network,continent,country" };
            return Err(GeoError::file(self.file, GeoFault::Continents { column, example }));
        }
        for (number, piece, behind) in continents {
            let country = match piece {
                Piece::V4(.., country) | Piece::V6(.., country) => country,
            };
            let why = Rejection::CountryOrContinent { country, behind };
            self.leave_out(number, &Untaken { why, about: Some(piece.with(())) })?;
        }
        let Self { file, text, taken, .. } = self;
        // One in a hundred thousand is so in published data; where most are, the numbers have been through floating point.
        if self.cut_short > self.networks / 2 {
            return Err(GeoError::file(file, GeoFault::Rounded));
        }
        match &text.rejected.first {
            Some((line, what)) if text.rejected.count > taken => Err(GeoError::first(file, *line, what)),
            _ if taken == 0 => Err(GeoError::file(file, GeoFault::NoRanges)),
            _ => Ok(text),
        }
    }
}

/// Why a range of IPv6 that carries IPv4 addresses places nothing.
fn carried(first: u128, last: u128) -> Option<Rejection> {
    // Most are elsewhere, and the table is long.
    let near = matches!(first >> 112, 0 | 0x64 | 0x2002) || first >> 96 == 0x2001_0000;
    let special = near.then(|| special::lookup(Ipv6Addr::from(first).into())).flatten();
    let special = special.filter(|row| row.embedded != Embedded::None)?;
    let shift = match special.embedded {
        Embedded::SixToFour => 80,
        _ => 0,
    };
    let known = matches!(special.embedded, Embedded::SixToFour | Embedded::Low32);
    let [from, to] = [first, last].map(|end| Ipv4Addr::from((end >> shift) as u32));
    let more = u128::MAX.checked_shl(shift + 32).unwrap_or(0);
    let ipv4 = match () {
        // A part of one address is all of it; of what reaches further, nothing can be said in short.
        () if !known || first & more != last & more || (from.to_bits(), to.to_bits()) == (0, u32::MAX) => {
            "those".into()
        }
        () if from == to => from.to_string(),
        () => {
            let host = u32::from(from) ^ u32::from(to);
            let network = host & host.wrapping_add(1) == 0 && u32::from(from) & host == 0;
            if network { format!("{from}/{}", host.leading_zeros()) } else { format!("{from}-{to}") }
        }
    };
    Some(Rejection::Carried { network: first.into(), ipv4 })
}

/// Whether a line has a line break inside that ends no line here.
fn has_line_break(line: &str) -> bool {
    // Most lines are plain ASCII.
    let odd = line.bytes().any(|byte| matches!(byte, 0xb | 0xc) || byte >= 0x80);
    odd && line.contains(['\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
}

/// A line's number, and why it can't be taken whatever it says.
struct LineOf {
    number: usize,
    why: Option<Rejection>,
}

#[cfg(test)]
mod field_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
