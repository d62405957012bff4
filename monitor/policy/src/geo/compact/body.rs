//! Ranges in, the one body out that they have in the compact form, and its digest. What a body looks like: see
//! [`super`].

use sha2::{Digest, Sha256};

use super::{
    super::{
        country::{self, Country},
        dataset::{AsNames, AsRange, Range, Span},
        space::Space,
    },
    error::CompactError::{self, Unfit},
};

/// Longest text, in bytes.
pub(super) const MAX_TEXT: usize = 4096;

/// SHA-256 over canonical ranges; all zeros for ranges that break a dataset's rules, which have no digest.
pub(crate) fn digest(v4: &[Range<u32>], v6: &[Range<u128>]) -> [u8; 32] {
    body(v4, v6).map(|body| Sha256::digest(&body).into()).unwrap_or_default()
}

/// The same of AS numbers.
pub(crate) fn asn_digest(v4: &[AsRange<u32>], v6: &[AsRange<u128>], names: &AsNames) -> [u8; 32] {
    asn_body(v4, v6, names).map(|body| Sha256::digest(&body).into()).unwrap_or_default()
}

/// The one body of these ranges.
pub(super) fn body(v4: &[Range<u32>], v6: &[Range<u128>]) -> Result<Vec<u8>, CompactError> {
    let mut used = vec![false; 1 << 16];
    let number = |country: Country| usize::from(u16::from_be_bytes(country.0));
    v4.iter().for_each(|range| used[number(range.country)] = true);
    v6.iter().for_each(|range| used[number(range.country)] = true);
    // `??` sorts before every letter.
    let known = [Country::UNDETERMINED].into_iter().chain(country::all().iter().copied());
    let countries: Vec<Country> = known.filter(|country| used[number(*country)]).collect();
    let mut out = Vec::with_capacity(v4.len() * 8 + v6.len() * 8);
    out.extend_from_slice(&(countries.len() as u16).to_le_bytes());
    for country in &countries {
        out.extend_from_slice(&country.0);
    }
    // At most 251 countries are there, so the place fits.
    let put = |column: &mut Vec<u8>, country: Country| {
        let place = countries.binary_search(&country).map_err(|_| Unfit("a range has no assigned country"))?;
        column.push(place as u8 + 1);
        Ok(())
    };
    put_family(&mut out, v4.iter().map(|range| (range.first, range.last, range.country)), put)?;
    put_family(&mut out, v6.iter().map(|range| (range.first, range.last, range.country)), put)?;
    Ok(out)
}

/// The one body of these AS numbers.
pub(super) fn asn_body(v4: &[AsRange<u32>], v6: &[AsRange<u128>], names: &AsNames) -> Result<Vec<u8>, CompactError> {
    let mut out = Vec::with_capacity(v4.len() * 8 + v6.len() * 8);
    put_number(&mut out, names.len() as u128);
    let mut before = 0;
    for (asn, name) in names.iter() {
        put_number(&mut out, u128::from(asn - before));
        put_text(&mut out, name);
        before = asn;
    }
    let put = |column: &mut Vec<u8>, asn: u32| {
        put_number(column, u128::from(asn) + 1);
        Ok(())
    };
    put_family(&mut out, v4.iter().map(|range| (range.first, range.last, range.asn)), put)?;
    put_family(&mut out, v6.iter().map(|range| (range.first, range.last, range.asn)), put)?;
    Ok(out)
}

fn put_family<A: Space, V: Copy + PartialEq>(
    out: &mut Vec<u8>,
    spans: impl ExactSizeIterator<Item = Span<A, V>>,
    put_value: impl Fn(&mut Vec<u8>, V) -> Result<(), CompactError>,
) -> Result<(), CompactError> {
    let mut zeros = Vec::with_capacity(spans.len() * 2);
    let mut distances = Vec::with_capacity(spans.len() * 6);
    let mut column = Vec::with_capacity(spans.len() * 2);
    let mut before = 0_u128;
    let mut put = |start: u128, value: Option<V>| {
        let distance = start - before;
        let shift = if distance == 0 { 0 } else { distance.trailing_zeros() };
        zeros.push(shift as u8);
        put_number(&mut distances, distance >> shift);
        before = start;
        match value {
            Some(value) => put_value(&mut column, value),
            None => {
                column.push(0);
                Ok(())
            }
        }
    };
    // The first address that no range so far holds; None once the last address is held.
    let mut free = Some(0_u128);
    let mut held: Option<V> = None;
    for (first, last, value) in spans {
        let (first, last) = (first.number(), last.number());
        let Some(start) = free.filter(|&start| start <= first && first <= last) else {
            return Err(Unfit("its ranges are not sorted and disjoint"));
        };
        if start < first && held.is_some() {
            put(start, None)?;
        } else if start == first && held == Some(value) {
            return Err(Unfit("its ranges are not joined"));
        }
        put(first, Some(value))?;
        held = Some(value);
        free = if last == A::LAST.number() { None } else { Some(last + 1) };
    }
    if let (Some(start), Some(_)) = (free, held) {
        put(start, None)?;
    }
    put_number(out, zeros.len() as u128);
    out.append(&mut zeros);
    out.append(&mut distances);
    out.append(&mut column);
    Ok(())
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u128);
    out.extend_from_slice(text.as_bytes());
}

/// LEB128: seven bits a byte, the lowest first, the top bit on all but the last.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
