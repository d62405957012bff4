//! One line of values, in whatever order and with whatever separator, into what it says. Called by the text reader.

use super::{
    super::{country::Country, rejection::Rejection},
    address::{self, is_number},
    entry::Entry,
};
use crate::text::excerpt;

/// Columns after these are not looked at.
const MOST: usize = 16;

/// The values of a line, without quotes: separated by tabs, else by commas or semicolons, else by blanks.
pub(in super::super) fn split(line: &str) -> Vec<&str> {
    let separator = ['\t', ',', ';'].into_iter().find(|&separator| line.contains(separator));
    match separator {
        None => line.split_ascii_whitespace().take(MOST).map(unquote).collect(),
        Some(separator) if !line.contains('"') => line.split(separator).take(MOST).map(str::trim).collect(),
        Some(separator) => {
            let mut values = Vec::new();
            let mut rest = Some(line);
            while let (Some(text), true) = (rest, values.len() < MOST) {
                // A separator between quotes is part of the value.
                let text = text.trim_start();
                let quoted = text.strip_prefix('"').and_then(|inner| inner.find('"')).map_or(0, |end| end + 2);
                let end = text[quoted..].find(separator).map(|at| at + quoted);
                values.push(unquote(&text[..end.unwrap_or(text.len())]));
                rest = end.map(|end| &text[end + 1..]);
            }
            values
        }
    }
}

fn unquote(value: &str) -> &str {
    let value = value.trim();
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value).trim()
}

/// A first line of column names: its first value is a word, neither address nor number.
pub(in super::super) fn is_header(values: &[&str]) -> bool {
    let first = values.first().copied().unwrap_or("");
    let word = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | ' ');
    first.starts_with(|c: char| c.is_ascii_alphabetic()) && first.chars().all(word)
}

/// Where things stand in a file that names its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    first: usize,
    /// `None`: `first` is a network.
    last: Option<usize>,
    country: usize,
}

impl Columns {
    /// `None` where the names say nothing, and the usual order holds.
    pub(crate) fn named(names: &[&str]) -> Result<Option<Self>, Rejection> {
        let names: Vec<String> =
            names.iter().map(|name| name.to_ascii_lowercase().replace(['-', ' ', '.'], "_")).collect();
        let place = |known: &[&str]| known.iter().find_map(|known| names.iter().position(|name| name == known));
        let network = place(&["network", "cidr", "prefix", "ip_prefix"]);
        let first = place(&["start_ip", "ip_range_start", "range_start", "ip_from", "ip_start", "start", "first"]);
        let last = place(&["end_ip", "ip_range_end", "range_end", "ip_to", "ip_end", "end", "last"]);
        // A column of codes before one that may hold names.
        let country =
            place(&["country_code", "country_iso_code", "country_iso", "iso_code", "cc", "alpha2", "country"]);
        if country.is_none() && names.iter().any(|name| name.contains("geoname_id")) {
            return Err(Rejection::CountryNumbers);
        }
        Ok(match (network, first.zip(last), country) {
            (Some(first), _, Some(country)) => Some(Self { first, last: None, country }),
            (None, Some((first, last)), Some(country)) => Some(Self { first, last: Some(last), country }),
            _ => None,
        })
    }
}

/// What a line says; `line` is for messages.
pub(super) fn entry(line: &str, values: &[&str], columns: Option<Columns>) -> Result<Entry, Rejection> {
    let value = |at: usize| values.get(at).copied();
    let (first, last, country) = match columns {
        // A network has one end, whatever the first line says.
        Some(of) if of.last.is_none() || !value(of.first).is_some_and(|first| first.contains('/')) => {
            (value(of.first), of.last.and_then(value), value(of.country))
        }
        _ => match (value(0), value(1)) {
            (Some(first), Some(last)) if !first.contains('/') && is_end(last) => (Some(first), Some(last), value(2)),
            (first, country) => (first, None, country),
        },
    };
    let first = first.unwrap_or("");
    let missing_last = is_number(first);
    if last.is_none() && missing_last {
        return Err(Rejection::NoRange(excerpt(line)));
    }
    let Some(country) = country else {
        return Ok(Entry::Bare(match last {
            Some(last) => address::range(first, last, ())?,
            None => address::network(first, ())?,
        }));
    };
    // The address first: in a line of something else it is what is wrong.
    let piece = match last {
        Some(last) => address::range(first, last, Country::UNKNOWN)?,
        None => address::network(first, Country::UNKNOWN)?,
    };
    let country = Country::parse(country)?;
    Ok(Entry::Piece(piece.with(country)))
}

/// Whether a second value is a range's end, and not a country.
fn is_end(value: &str) -> bool {
    value.contains(['.', ':']) || is_number(value)
}

/// A range whose third value is a continent's code with a country's behind it (DB-IP's and other files of cities).
pub(crate) fn may_be_continent(values: &[&str]) -> bool {
    const CONTINENTS: [&str; 8] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA", "ZZ"];
    let [_, last, third, fourth, ..] = values else { return false };
    is_end(last)
        && CONTINENTS.iter().any(|code| code.eq_ignore_ascii_case(third))
        && !fourth.is_empty()
        && Country::parse(fourth).is_ok()
}
