//! One line of values, in whatever order and with whatever separator, into what it says. Called by the text reader.

use super::{
    super::{country::Country, ranges::Piece, rejection::Rejection, subdivisions},
    address::{self, is_end, is_number},
    columns::{Addresses, Columns},
    entry::{Entry, Untaken},
};
use crate::text::excerpt;

/// Columns after these are not looked at.
const MOST: usize = 16;

/// The values of a line, without quotes: separated by what stands behind the first of them, a tab, a comma or a semicolon,
/// else by blanks.
pub(in super::super) fn split(line: &str) -> Vec<&str> {
    let quoted = line.strip_prefix('"').and_then(|inner| inner.find('"')).map_or(0, |end| end + 2);
    let separator = line[quoted..].chars().find(|c| matches!(c, '\t' | ',' | ';'));
    match separator {
        None => line.split_ascii_whitespace().take(MOST).map(unquote).collect(),
        Some(separator) if !line.contains('"') => line.split(separator).take(MOST).map(str::trim).collect(),
        Some(separator) => {
            let mut values = Vec::new();
            let mut rest = Some(line);
            while let (Some(text), true) = (rest, values.len() < MOST) {
                // A separator between quotes is part of the value.
                // A blank before a quote is none of the value; a tab is where the next one begins.
                let text = text.trim_start_matches(|c: char| c != separator && c.is_whitespace());
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

/// What a line says; `line` is for messages.
pub(super) fn entry(line: &str, values: &[&str], columns: Option<Columns>) -> Result<Entry, Untaken> {
    let value = |at: usize| values.get(at).copied();
    let columns = columns.map(|of| of.without_end(values));
    let (piece, place) = match columns {
        Some(of) => (named_range(line, values, of.addresses)?, of.country),
        None => {
            let (piece, place) = range(line, values)?;
            (piece, Some(place))
        }
    };
    let Some((place, country)) = place.and_then(|place| Some((place, value(place)?))) else {
        return Ok(Entry::Bare(piece));
    };
    let untaken = |why: Rejection| Untaken { why, about: Some(piece) };
    let code = Country::parse(country).map_err(|error| untaken(error.into()))?;
    // In a geofeed (RFC 8805) the region stands behind the country; elsewhere anything may.
    let (region, bare) = match columns {
        Some(of) => (of.region.and_then(value), true),
        None => (value(place + 1), place == 1),
    };
    let region = region.unwrap_or("");
    let settled = subdivisions::settle(code, region, bare);
    let settled =
        settled.ok_or_else(|| untaken(Rejection::RegionElsewhere { country: code, region: excerpt(region) }))?;
    Ok(Entry::Piece(piece.with(settled)))
}

/// The place behind the addresses in a line without named columns.
pub(super) fn place(values: &[&str]) -> usize {
    let value = |at: usize| values.get(at).copied();
    let first = value(0).unwrap_or("");
    match (value(1), value(2).zip(value(3))) {
        _ if first.contains(['/', '-']) => 1,
        (Some("-"), _) if value(2).is_some_and(is_end) => 3,
        (Some(last), again) if is_end(last) => {
            if again.is_some_and(|(first, last)| is_number(first) && is_number(last)) { 4 } else { 2 }
        }
        _ => 1,
    }
}

/// The range that a line without named columns begins with, and the place behind it.
pub(in super::super) fn range(line: &str, values: &[&str]) -> Result<(Piece<()>, usize), Untaken> {
    let value = |at: usize| values.get(at).copied();
    let first = value(0).unwrap_or("");
    if let Some((first, last)) = hyphenated(first) {
        return Ok((address::range(first, last, ())?, 1));
    }
    match (value(1), value(2)) {
        // A hyphen behind a network, or before a name, is a value that is nothing.
        (Some("-"), Some(last)) if !first.contains('/') && is_end(last) => Ok((address::range(first, last, ())?, 3)),
        (Some(last), _) if !first.contains('/') && is_end(last) => {
            let piece = address::range(first, last, ())?;
            // GeoIPCountryWhois has the ends in both notations before the country.
            let again = value(2).zip(value(3)).filter(|(first, last)| is_number(first) && is_number(last));
            let again = again.and_then(|(first, last)| address::range(first, last, ()).ok());
            Ok((piece, if again == Some(piece) { 4 } else { 2 }))
        }
        _ if is_number(first) => Err(Rejection::NoRange(excerpt(line)).into()),
        _ => Ok((address::network(first, ())?, 1)),
    }
}

/// The range where the columns have names.
fn named_range(line: &str, values: &[&str], of: Addresses) -> Result<Piece<()>, Untaken> {
    let first = values.get(of.first).copied().unwrap_or("");
    let last = of.last.map(|last| values.get(last).copied().unwrap_or(""));
    Ok(match (last, hyphenated(first)) {
        (Some(last), _) => address::range(first, last, ())?,
        (None, Some((first, last))) => address::range(first, last, ())?,
        (None, None) if is_number(first) => return Err(Rejection::NoRange(excerpt(line)).into()),
        (None, None) => address::network(first, ())?,
    })
}

/// `192.0.2.0-192.0.2.255`.
fn hyphenated(value: &str) -> Option<(&str, &str)> {
    let (first, last) = value.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let addresses = is_end(last) && (is_number(first) || address::address(first).is_ok());
    addresses.then_some((first, last))
}
