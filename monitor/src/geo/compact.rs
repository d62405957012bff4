//! The compact form: a dataset in, bytes out, and back. What is embedded has it, and `geo import` writes it.
//!
//! ```text
//! magic "egmgeo", format version (u16)
//! name, version, attribution, provenance      each: length (LEB128), UTF-8
//! built                                       0, or 1 and seconds since 1970 (i64)
//! SHA-256 of the body, length of the body (LEB128)
//! body: number of countries (u16), their codes, sorted
//!       IPv4, then IPv6: number of intervals (LEB128), three columns of one entry an interval:
//!         trailing zero bits of the distance from the start before (u8)
//!         the distance without them (LEB128): borders are at short prefixes, so both columns are small numbers
//!         country: 0 for unknown, else 1 + place in the list of countries (u8)
//! ```
//!
//! Integers are little-endian. An interval reaches up to the next one's start, so the columns cover the whole
//! space and say "unknown" where nothing is known. Each dataset has exactly one body, so its digest names the
//! opinion, not the file. On disk all this is usually one zstd frame; the reader takes either.
//!
//! The reader believes nothing: every length is checked against what is there, memory is bounded by
//! [`MAX_UNCOMPRESSED`] and [`MAX_RANGES`], and the ranges it gives have a dataset's properties.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::{Country, Dataset, MAX_RANGES, Range, Space};

/// Largest content, decompressed: ten times what the embedded datasets have.
pub const MAX_UNCOMPRESSED: u64 = 64 << 20;

const MAGIC: &[u8; 6] = b"egmgeo";
const FORMAT: u16 = 1;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const MAX_TEXT: usize = 4096;

/// Why bytes are no compact dataset, or a dataset has no compact form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// Cut off.
    #[error("the compact dataset ends early, in its {0}: copy or import it again")]
    Truncated(&'static str),
    /// Something in it can't be.
    #[error("the compact dataset is damaged: {0}: copy or import it again")]
    Damaged(&'static str),
    /// Another kind of file.
    #[error("not a compact dataset (it starts with {0:02x?}): make one with `egress-monitor geo import`")]
    NotCompact(Vec<u8>),
    /// Written by a later release.
    #[error("compact format {0}, and this release reads {FORMAT}: import it with this release, or use a later one")]
    Version(u16),
    /// Would need more memory than is granted.
    #[error("the compact dataset has more than {0}: use a dataset of countries, not of cities")]
    TooLarge(&'static str),
    /// A dataset that breaks the rules of [`Dataset`].
    #[error("the dataset can't be encoded: {0}")]
    Unfit(&'static str),
}

use CompactError::{Damaged, TooLarge, Truncated, Unfit};

/// Whether the bytes look like the compact form, compressed or not.
#[must_use]
pub fn is_compact(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.starts_with(&ZSTD_MAGIC)
}

/// The dataset in compact form, not compressed. `provenance` says what it was made from.
///
/// # Errors
/// A text longer than 4,096 bytes, or ranges that are not sorted, disjoint, joined and of known countries.
pub fn encode(dataset: &Dataset, provenance: &str) -> Result<Vec<u8>, CompactError> {
    let body = body(&dataset.v4, &dataset.v6)?;
    let mut out = Vec::with_capacity(body.len() + 1024);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    for text in [&dataset.name, &dataset.version, &dataset.attribution, provenance] {
        if text.len() > MAX_TEXT {
            return Err(Unfit("a text longer than 4,096 bytes"));
        }
        put_number(&mut out, text.len() as u128);
        out.extend_from_slice(text.as_bytes());
    }
    out.push(u8::from(dataset.built.is_some()));
    if let Some(built) = dataset.built {
        out.extend_from_slice(&built.to_le_bytes());
    }
    out.extend_from_slice(&Sha256::digest(&body));
    put_number(&mut out, body.len() as u128);
    out.extend_from_slice(&body);
    if out.len() as u64 > MAX_UNCOMPRESSED {
        return Err(TooLarge("64 MiB"));
    }
    Ok(out)
}

/// The compressed form of what [`encode`] gives: larger than `zstd -19` makes it, but without a C library.
#[must_use]
pub fn compress(encoded: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(encoded, ruzstd::encoding::CompressionLevel::Fastest)
}

/// SHA-256 over canonical ranges; all zeros for ranges that break a dataset's rules, which have no digest.
pub(super) fn digest(v4: &[Range<u32>], v6: &[Range<u128>]) -> [u8; 32] {
    body(v4, v6).map(|body| Sha256::digest(&body).into()).unwrap_or_default()
}

/// Reads the compact form, compressed or not: the dataset and its provenance.
///
/// # Errors
/// What is wrong with the bytes; every truncation and every changed byte of the ranges is noticed.
pub fn decode(bytes: &[u8]) -> Result<(Dataset, String), CompactError> {
    if bytes.starts_with(&ZSTD_MAGIC) { decode_plain(&decompress(bytes)?) } else { decode_plain(bytes) }
}

/// One zstd frame, with nothing behind it.
fn decompress(mut bytes: &[u8]) -> Result<Vec<u8>, CompactError> {
    let bad = Damaged("its zstd frame can't be read");
    let mut out = Vec::new();
    let mut frame = ruzstd::decoding::StreamingDecoder::new(&mut bytes).map_err(|_| bad.clone())?;
    frame.by_ref().take(MAX_UNCOMPRESSED + 1).read_to_end(&mut out).map_err(|_| bad)?;
    if out.len() as u64 > MAX_UNCOMPRESSED {
        return Err(TooLarge("64 MiB"));
    }
    let frame = frame.into_frame_decoder();
    if let (Some(written), Some(calculated)) = (frame.get_checksum_from_data(), frame.get_calculated_checksum())
        && written != calculated
    {
        return Err(Damaged("its zstd checksum differs from its content"));
    }
    if bytes.is_empty() { Ok(out) } else { Err(Damaged("something follows its zstd frame")) }
}

fn decode_plain(bytes: &[u8]) -> Result<(Dataset, String), CompactError> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        // A file cut within its first bytes is the same to the operator, but worth its own word.
        return Err(if MAGIC.starts_with(bytes) {
            Truncated("first bytes")
        } else {
            CompactError::NotCompact(bytes[..bytes.len().min(MAGIC.len())].into())
        });
    };
    let mut header = Input { bytes: rest, part: "header" };
    let format = u16::from_le_bytes(header.array()?);
    if format != FORMAT {
        return Err(CompactError::Version(format));
    }
    let name = header.text()?;
    let version = header.text()?;
    let attribution = header.text()?;
    let provenance = header.text()?;
    let built = match header.byte()? {
        0 => None,
        1 => Some(i64::from_le_bytes(header.array()?)),
        _ => return Err(Damaged("its build date has an unknown form")),
    };
    let digest: [u8; 32] = header.array()?;
    let length = header.number(64)?;
    let body = header.bytes;
    match length.cmp(&(body.len() as u128)) {
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => return Err(Truncated("ranges")),
        std::cmp::Ordering::Less => return Err(Damaged("something follows its ranges")),
    }
    if <[u8; 32]>::from(Sha256::digest(body)) != digest {
        return Err(Damaged("its SHA-256 differs from its content"));
    }
    let mut body = Input { bytes: body, part: "ranges" };
    let countries = body.countries()?;
    let v4 = body.family(&countries)?;
    let v6 = body.family(&countries)?;
    if !body.bytes.is_empty() {
        return Err(Damaged("something follows its ranges"));
    }
    Ok((Dataset { name, version, built, attribution, digest, v4, v6 }, provenance))
}

/// The one body of these ranges.
fn body(v4: &[Range<u32>], v6: &[Range<u128>]) -> Result<Vec<u8>, CompactError> {
    let mut countries: Vec<Country> =
        super::all_countries().iter().copied().filter(|country| has(v4, *country) || has(v6, *country)).collect();
    countries.sort_unstable();
    let mut out = Vec::with_capacity(v4.len() * 8 + v6.len() * 8);
    out.extend_from_slice(&(countries.len() as u16).to_le_bytes());
    for country in &countries {
        out.extend_from_slice(&country.0);
    }
    put_family(&mut out, v4, &countries)?;
    put_family(&mut out, v6, &countries)?;
    Ok(out)
}

fn has<A>(ranges: &[Range<A>], country: Country) -> bool {
    ranges.iter().any(|range| range.country == country)
}

fn put_family<A: Space>(out: &mut Vec<u8>, ranges: &[Range<A>], countries: &[Country]) -> Result<(), CompactError> {
    let mut zeros = Vec::with_capacity(ranges.len() * 2);
    let mut distances = Vec::with_capacity(ranges.len() * 6);
    let mut column = Vec::with_capacity(ranges.len() * 2);
    let mut before = 0_u128;
    let mut put = |start: u128, country: u8| {
        let distance = start - before;
        let shift = if distance == 0 { 0 } else { distance.trailing_zeros() };
        zeros.push(shift as u8);
        put_number(&mut distances, distance >> shift);
        column.push(country);
        before = start;
    };
    // The first address that no range so far holds; None once the last address is held.
    let mut free = Some(0_u128);
    let mut held: Option<Country> = None;
    for range in ranges {
        let (first, last) = (range.first.number(), range.last.number());
        let Some(start) = free.filter(|&start| start <= first && first <= last) else {
            return Err(Unfit("its ranges are not sorted and disjoint"));
        };
        if start < first && held.is_some() {
            put(start, 0);
        } else if start == first && held == Some(range.country) {
            return Err(Unfit("its ranges are not joined"));
        }
        // At most 250 countries are assigned, so the place fits.
        let place = countries.binary_search(&range.country).map_err(|_| Unfit("a range has no assigned country"))?;
        put(first, place as u8 + 1);
        held = Some(range.country);
        free = if last == A::LAST.number() { None } else { Some(last + 1) };
    }
    if let (Some(start), Some(_)) = (free, held) {
        put(start, 0);
    }
    put_number(out, column.len() as u128);
    out.append(&mut zeros);
    out.append(&mut distances);
    out.append(&mut column);
    Ok(())
}

/// LEB128: seven bits a byte, the lowest first, the top bit on all but the last.
fn put_number(out: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read.
struct Input<'a> {
    bytes: &'a [u8],
    part: &'static str,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CompactError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Truncated(self.part))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CompactError> {
        self.take(N)?.try_into().map_err(|_| Truncated(self.part))
    }

    fn byte(&mut self) -> Result<u8, CompactError> {
        Ok(self.array::<1>()?[0])
    }

    /// A LEB128 number of at most `bits` bits, in its shortest form.
    fn number(&mut self, bits: u32) -> Result<u128, CompactError> {
        let mut number = 0_u128;
        for shift in (0..bits).step_by(7) {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            if part.checked_ilog2().is_some_and(|top| top + shift >= bits) {
                return Err(Damaged("a number is too large"));
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(number) } else { Err(Damaged("a number is not in its shortest form")) };
            }
        }
        Err(Damaged("a number is too large"))
    }

    fn text(&mut self) -> Result<String, CompactError> {
        let length = self.number(64)?;
        if length > MAX_TEXT as u128 {
            return Err(Damaged("a text is longer than 4,096 bytes"));
        }
        let text = std::str::from_utf8(self.take(length as usize)?).map_err(|_| Damaged("a text is not UTF-8"))?;
        // Shown on terminals: no escape sequences from a file.
        if text.chars().any(char::is_control) { Err(Damaged("a text has control characters")) } else { Ok(text.into()) }
    }

    fn countries(&mut self) -> Result<Vec<Country>, CompactError> {
        let count = u16::from_le_bytes(self.array()?);
        let countries: Vec<Country> =
            self.take(usize::from(count) * 2)?.chunks_exact(2).map(|code| Country([code[0], code[1]])).collect();
        if !countries.iter().all(|country| country.is_assigned()) {
            return Err(Damaged("it lists a country that is none"));
        }
        if countries.is_sorted_by(|a, b| a < b) { Ok(countries) } else { Err(Damaged("its countries are not sorted")) }
    }

    fn family<A: Space>(&mut self, countries: &[Country]) -> Result<Vec<Range<A>>, CompactError> {
        let count = self.number(64)?;
        // With gaps there are up to two intervals a range, and one to end.
        if count > 2 * MAX_RANGES as u128 + 1 {
            return Err(TooLarge("4 Mi ranges of one family"));
        }
        let count = count as usize;
        let zeros = self.take(count)?;
        let mut distances = Input { bytes: self.bytes, part: self.part };
        // Found by a first pass: the third column starts where the second ends.
        for _ in 0..count {
            distances.number(A::BITS)?;
        }
        let mut starts = Input { bytes: self.bytes, part: self.part };
        self.bytes = distances.bytes;
        let column = self.take(count)?;

        let known = column.iter().filter(|&&place| place != 0).count();
        if known > MAX_RANGES {
            return Err(TooLarge("4 Mi ranges of one family"));
        }
        let mut ranges: Vec<Range<A>> = Vec::with_capacity(known);
        let mut start = 0_u128;
        let mut held = 0_u8;
        for (index, (&shift, &place)) in zeros.iter().zip(column).enumerate() {
            let odd = starts.number(A::BITS)?;
            let shift = u32::from(shift);
            // Only the first interval may start where counting starts; a distance is odd after its zeros.
            let fits = if odd == 0 { index == 0 && shift == 0 } else { odd & 1 == 1 && shift < A::BITS };
            if !fits || odd > A::LAST.number() >> shift {
                return Err(Damaged("a start has an impossible distance from the one before"));
            }
            let Some(next) = start.checked_add(odd << shift).and_then(A::from_number) else {
                return Err(Damaged("a start lies past the last address"));
            };
            if let (true, Some(before)) = (held != 0, ranges.last_mut()) {
                before.last = A::from_number(next.number() - 1).unwrap_or(A::LAST);
            }
            if place == held {
                return Err(Damaged("two neighbouring intervals are one"));
            }
            if place != 0 {
                let country =
                    *countries.get(usize::from(place) - 1).ok_or(Damaged("it uses a country it does not list"))?;
                ranges.push(Range { first: next, last: A::LAST, country });
            }
            held = place;
            start = next.number();
        }
        Ok(ranges)
    }
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
