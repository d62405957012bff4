//! Lines of the registries' statistics files (delegated and delegated-extended of AFRINIC, APNIC, ARIN, LACNIC and the
//! RIPE NCC, and the NRO's of all five). Called by the text reader.
//!
//! `registry|country|type|start|value|date|status[|holder…]`: IPv4 has a number of addresses, which need not be a
//! power of two, IPv6 a prefix length. Only what is allocated or assigned is somebody's.

use std::net::Ipv4Addr;

use super::{
    super::{country::Country, ranges::Piece, rejection::Rejection},
    address,
    entry::{Entry, Untaken},
};
use crate::text::excerpt;

/// One line; `None` for what is about the file, about AS numbers, or about space that nobody has.
pub(super) fn line(line: &str) -> Result<Option<Entry>, Untaken> {
    let mut fields = [""; 8];
    for (field, value) in fields.iter_mut().zip(line.split('|')) {
        *field = value.trim();
    }
    let [registry, country, kind, start, value, _, status, _] = fields;
    // `2|ripencc|1781733599|138456|19830705|20260617|+0200` comes first: version, registry, serial, count, from, to.
    if registry.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Some(Entry::About { version: kind.into(), built: date(fields[5]) }));
    }
    if status == "summary" || value == "summary" || line.ends_with("|summary") {
        return Ok(None);
    }
    match status {
        "available" | "reserved" => return Ok(None),
        _ if kind == "asn" => return Ok(None),
        _ => {}
    }
    let piece = range(kind, start, value);
    if !matches!(status, "allocated" | "assigned") {
        return Err(Untaken { why: Rejection::Status(excerpt(status)), about: piece.ok() });
    }
    let piece = piece?;
    let country = Country::parse(country).map_err(|error| Untaken { why: error.into(), about: Some(piece) })?;
    Ok(Some(Entry::Piece(piece.with(country))))
}

fn range(kind: &str, start: &str, value: &str) -> Result<Piece<()>, Rejection> {
    match kind {
        "ipv4" => {
            let start: Ipv4Addr = start.parse().map_err(|_| Rejection::NotIpv4(excerpt(start)))?;
            let first = u32::from(start);
            let bad = || Rejection::Count { count: excerpt(value), start };
            let count: u64 =
                Some(value).filter(|v| address::is_number(v)).and_then(|v| v.parse().ok()).ok_or_else(bad)?;
            let last = count.checked_sub(1).and_then(|more| u64::from(first).checked_add(more));
            let last = last.and_then(|last| u32::try_from(last).ok()).ok_or_else(bad)?;
            Ok(Piece::V4(first, last, ()))
        }
        "ipv6" => match address::network(&format!("{start}/{value}"), ())? {
            piece @ Piece::V6(..) => Ok(piece),
            Piece::V4(..) => Err(Rejection::NotIpv6(excerpt(start))),
        },
        _ => Err(Rejection::Type(excerpt(kind))),
    }
}

/// `20260617` in seconds since 1970.
fn date(text: &str) -> Option<i64> {
    let date = jiff::civil::Date::strptime("%Y%m%d", text).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}
