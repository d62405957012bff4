//! Text files in, ranges with countries out. Called by [`super::open_file`] and by the overlays.
//!
//! One network or range a line, each line in any of these forms:
//!
//! ```text
//! 192.0.2.0,192.0.2.255,DE         first, last, country; addresses or decimal numbers (ip-location-db, Tor, DB-IP)
//! 192.0.2.0/24,DE,...              network, country (RFC 8805 geofeeds are such files)
//! 192.0.2.0/24 DE                  blanks or tabs separate as well as commas
//! 192.0.2.0/24                     the country is the whole file's
//! ripencc|DE|ipv4|192.0.2.0|256|…  the registries' statistics: see `delegated`
//! ```
//!
//! Quotes around a value are dropped, further columns are not looked at, the first line may name the columns, `#`
//! starts a comment. `# country: DE` (a code or a name) holds for the lines after it that have no country, and so does
//! a file's name such as `de.zone`; `# built: 2026-06-01` dates the file. An empty country, EU, AP and the like mean
//! "unknown". Both families may be in one file. For overlaps see [`super::Collector`].

pub(crate) mod about;
pub(crate) mod address;
mod delegated;
mod entry;
pub(crate) mod values;

use std::path::Path;

use self::{about::Comment, entry::Entry, values::Columns};
use super::{
    country::Country,
    dataset::Format,
    error::{GeoError, GeoFault},
    progress::Progress,
    ranges::{Collector, Piece, TooMany},
    rejected::{Position, Rejected},
    rejection::Rejection,
};
use crate::text::{excerpt, plain};

/// What a text file comes to.
pub(crate) struct Text {
    pub(crate) ranges: Collector,
    pub(crate) rejected: Rejected,
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
/// The first wrong line, where more lines are wrong than good; nothing in it; too much in it.
pub(crate) fn read(file: &Path, bytes: &[u8], progress: &Progress) -> Result<Text, GeoError> {
    let mut reader = Reader {
        text: Text {
            ranges: Collector::default(),
            rejected: Rejected::default(),
            format: Format::Csv,
            version: String::new(),
            built: None,
        },
        country: about::of_name(file),
        columns: None,
        begun: false,
        taken: 0,
        continents: 0,
    };
    for (number, line) in lines(bytes, progress) {
        match reader.line(line) {
            Ok(None) => {}
            Ok(Some(piece)) => {
                reader.taken += 1;
                reader.text.ranges.push(piece).map_err(|TooMany| GeoError::file(file, GeoFault::TooManyRanges))?;
            }
            Err(bad) => reader.text.rejected.note(Position::Line(number), bad.kind(), &bad),
        }
    }
    reader.finish(file)
}

/// The lines of a file with their numbers, from 1; `progress` hears how far they have come.
pub(crate) fn lines<'a>(bytes: &'a [u8], progress: &Progress) -> impl Iterator<Item = (usize, &'a [u8])> {
    progress.begin(bytes.len());
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut start = 0;
    bytes.split(|&byte| byte == b'\n').enumerate().map(move |(index, line)| {
        if index % 4096 == 0 {
            progress.at(start);
        }
        start += line.len() + 1;
        (index + 1, line)
    })
}

struct Reader {
    text: Text,
    /// Of lines that have none.
    country: Option<Country>,
    /// Where things stand, when the first line says so.
    columns: Option<Columns>,
    /// Whether a line of data or of names has come.
    begun: bool,
    taken: usize,
    /// Lines whose country may be a continent.
    continents: usize,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<Option<Piece<Country>>, Rejection> {
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(Rejection::NotText);
        };
        let line = line.trim();
        if let Some(comment) = line.strip_prefix(['#', ';']) {
            return self.comment(comment);
        }
        // RFC 8805: what follows a '#' is a comment, wherever it stands.
        let line = line.split_once('#').map_or(line, |(data, _)| data.trim_end());
        if line.is_empty() {
            return Ok(None);
        }
        let first = !std::mem::replace(&mut self.begun, true);
        let entry = if line.contains('|') {
            if first {
                self.text.format = Format::Delegated;
            }
            delegated::line(line)?
        } else {
            let values = values::split(line);
            if first && values::is_header(&values) {
                self.columns = Columns::named(&values)?;
                return Ok(None);
            }
            if first && values.len() < 3 {
                self.text.format = Format::Networks;
            }
            self.continents += usize::from(values::may_be_continent(&values));
            Some(values::entry(line, &values, self.columns)?)
        };
        Ok(match entry {
            None => None,
            Some(Entry::Piece(piece)) => Some(piece),
            Some(Entry::Bare(piece)) => Some(self.in_whole_file(line, piece)?),
            Some(Entry::About { version, built }) => {
                if !version.is_empty() && self.text.version.is_empty() {
                    self.text.version = plain(&excerpt(&version));
                }
                self.dated(built);
                None
            }
        })
    }

    fn comment(&mut self, comment: &str) -> Result<Option<Piece<Country>>, Rejection> {
        match about::comment(comment) {
            Some(Comment::Country(country)) => {
                self.country = None;
                self.country = Some(country?);
            }
            Some(Comment::Built(built)) => self.dated(Some(built)),
            None => {}
        }
        Ok(None)
    }

    fn dated(&mut self, built: Option<i64>) {
        self.text.built = self.text.built.into_iter().chain(built).min();
    }

    fn in_whole_file(&self, line: &str, piece: Piece<()>) -> Result<Piece<Country>, Rejection> {
        Ok(piece.with(self.country.ok_or_else(|| Rejection::NoCountry(excerpt(line)))?))
    }

    fn finish(self, file: &Path) -> Result<Text, GeoError> {
        let Self { text, taken, continents, .. } = self;
        // The two letters of five continents are a country's, too: read on, and all of Asia were in Samoa.
        if taken >= 8 && continents == taken {
            return Err(GeoError::file(file, GeoFault::Continents));
        }
        match &text.rejected.first {
            Some((line, what)) if text.rejected.count >= taken.max(1) => Err(GeoError::first(file, *line, what)),
            _ if taken == 0 => Err(GeoError::file(file, GeoFault::NoRanges)),
            _ => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests;
