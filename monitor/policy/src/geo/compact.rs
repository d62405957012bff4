//! The compact form: a dataset, an overlay or an AS dataset in, bytes out, and back. What is embedded has it, and
//! `geo import` writes it.
//!
//! ```text
//! magic "egmgeo", format version (u16): 1 for a dataset; 2 for what else there is, with its kind behind it (u8):
//!                                       1 overlay, 2 AS numbers
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
//! An overlay's list of countries may begin with `??`, for undetermined. The body of AS numbers has, in the place of
//! the countries, their names (number of names; of each the distance from the number before, length, UTF-8), and in
//! the third column 0 for none, else 1 + AS number (LEB128).
//!
//! Integers are little-endian. An interval reaches up to the next one's start, so the columns cover the whole
//! space and say "unknown" where nothing is known. Each dataset has exactly one body, so its digest names the
//! opinion, not the file. On disk all this is usually one zstd frame; the reader takes either.
//!
//! The reader believes nothing: every length is checked against what is there, memory is bounded by
//! [`MAX_UNCOMPRESSED`] and [`MAX_RANGES`], and the ranges it gives have a dataset's properties.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::{
    About, Content, Country, Dataset, MAX_RANGES, Range, Space,
    asn::{AsDataset, AsRange, Names},
    overlay::Overlay,
    ranges::Span,
};

/// Largest content, decompressed: ten times what the embedded datasets have.
pub const MAX_UNCOMPRESSED: u64 = 64 << 20;

const MAGIC: &[u8; 6] = b"egmgeo";
const DATASET: u16 = 1;
const FORMAT: u16 = 2;
const OVERLAY: u8 = 1;
const AS_NUMBERS: u8 = 2;
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
    /// Something else in the product's own form.
    #[error("it holds {0}")]
    Other(&'static str),
    /// Would need more memory than is granted.
    #[error("the compact dataset has more than {0}: use a dataset of countries, not of cities")]
    TooLarge(&'static str),
    /// A dataset that breaks the rules of [`Dataset`].
    #[error("the dataset can't be encoded: {0}")]
    Unfit(&'static str),
}

use CompactError::{Damaged, Other, TooLarge, Truncated, Unfit};

/// Whether the bytes look like the compact form, compressed or not.
#[must_use]
pub fn is_compact(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.starts_with(&ZSTD_MAGIC)
}

/// A body behind its header; `kind` is `None` for a dataset.
fn with_header(kind: Option<u8>, about: &About, body: &[u8]) -> Result<Vec<u8>, CompactError> {
    let mut out = Vec::with_capacity(body.len() + 1024);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&if kind.is_some() { FORMAT } else { DATASET }.to_le_bytes());
    out.extend(kind);
    for text in [&about.name, &about.version, &about.attribution, &about.provenance] {
        if text.len() > MAX_TEXT {
            return Err(Unfit("a text longer than 4,096 bytes"));
        }
        put_text(&mut out, text);
    }
    out.push(u8::from(about.built.is_some()));
    if let Some(built) = about.built {
        out.extend_from_slice(&built.to_le_bytes());
    }
    out.extend_from_slice(&Sha256::digest(body));
    put_number(&mut out, body.len() as u128);
    out.extend_from_slice(body);
    if out.len() as u64 > MAX_UNCOMPRESSED { Err(TooLarge("64 MiB")) } else { Ok(out) }
}

/// The dataset in compact form, not compressed.
///
/// # Errors
/// A text longer than 4,096 bytes, or ranges that are not sorted, disjoint, joined and of known countries.
pub fn encode(dataset: &Dataset) -> Result<Vec<u8>, CompactError> {
    with_header(None, &dataset.about, &body(&dataset.v4, &dataset.v6)?)
}

/// An overlay in compact form, not compressed.
///
/// # Errors
/// As [`encode`].
pub fn encode_overlay(overlay: &Overlay) -> Result<Vec<u8>, CompactError> {
    with_header(Some(OVERLAY), &overlay.about, &body(&overlay.v4, &overlay.v6)?)
}

/// A dataset of AS numbers in compact form, not compressed.
///
/// # Errors
/// As [`encode`].
pub fn encode_asn(dataset: &AsDataset) -> Result<Vec<u8>, CompactError> {
    with_header(Some(AS_NUMBERS), &dataset.about, &asn_body(&dataset.v4, &dataset.v6, &dataset.names)?)
}

/// The compressed form of what [`encode`] gives: larger than `zstd -19` makes it, but without a C library.
#[must_use]
pub fn compress(encoded: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(encoded, ruzstd::encoding::CompressionLevel::Fastest)
}

/// SHA-256 over canonical ranges; all zeros for ranges that break a dataset's rules, which have no digest.
pub(crate) fn digest(v4: &[Range<u32>], v6: &[Range<u128>]) -> [u8; 32] {
    body(v4, v6).map(|body| Sha256::digest(&body).into()).unwrap_or_default()
}

/// The same of AS numbers.
pub(crate) fn asn_digest(v4: &[AsRange<u32>], v6: &[AsRange<u128>], names: &Names) -> [u8; 32] {
    asn_body(v4, v6, names).map(|body| Sha256::digest(&body).into()).unwrap_or_default()
}

/// Reads a dataset in the compact form, compressed or not.
///
/// # Errors
/// What is wrong with the bytes; every truncation and every changed byte of the ranges is noticed.
pub fn decode(bytes: &[u8]) -> Result<Dataset, CompactError> {
    with_plain(bytes, |bytes| {
        let (kind, about, body) = read_header(bytes)?;
        match kind {
            None => with_countries(about, body, false),
            Some(OVERLAY) => Err(Other("an overlay: name it in [geo] overlays")),
            Some(_) => Err(Other("AS numbers: name it in [geo] asn")),
        }
    })
}

/// Reads an overlay in the compact form; a dataset can be one, too. Its kind, file and what was rejected are the
/// caller's.
///
/// # Errors
/// As [`decode`].
pub fn decode_overlay(bytes: &[u8]) -> Result<Dataset, CompactError> {
    with_plain(bytes, |bytes| {
        let (kind, about, body) = read_header(bytes)?;
        match kind {
            None | Some(OVERLAY) => with_countries(about, body, kind.is_some()),
            Some(_) => Err(Other("AS numbers: name it in [geo] asn")),
        }
    })
}

/// Reads AS numbers in the compact form.
///
/// # Errors
/// As [`decode`].
pub fn decode_asn(bytes: &[u8]) -> Result<AsDataset, CompactError> {
    with_plain(bytes, |bytes| {
        let (kind, about, mut body) = read_header(bytes)?;
        match kind {
            None => return Err(Other("a dataset of countries: name it in [geo] sources")),
            Some(OVERLAY) => return Err(Other("an overlay: name it in [geo] overlays")),
            Some(_) => {}
        }
        let names = body.names()?;
        let mut number = |body: &mut Input<'_>| {
            let place = body.number(33)?.checked_sub(1);
            place.map(|asn| u32::try_from(asn).map_err(|_| Damaged("an AS number is too large"))).transpose()
        };
        let v4 = body.family(&mut number)?.into_iter().map(AsRange::from).collect();
        let v6 = body.family(&mut number)?.into_iter().map(AsRange::from).collect();
        body.end()?;
        Ok(AsDataset { about, v4, v6, names, ..AsDataset::default() })
    })
}

/// What the bytes hold; a dataset where they are damaged.
pub(crate) fn content(bytes: &[u8]) -> Content {
    match with_plain(bytes, |bytes| Ok(read_header(bytes)?.0)) {
        Ok(Some(OVERLAY)) => Content::Overlay,
        Ok(Some(_)) => Content::AsNumbers,
        Ok(None) | Err(_) => Content::Dataset,
    }
}

fn with_plain<T>(bytes: &[u8], read: impl FnOnce(&[u8]) -> Result<T, CompactError>) -> Result<T, CompactError> {
    if bytes.starts_with(&ZSTD_MAGIC) { read(&decompress(bytes)?) } else { read(bytes) }
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

/// What a header says, with the countries' ranges of the body behind it.
fn with_countries(about: About, mut body: Input<'_>, undetermined: bool) -> Result<Dataset, CompactError> {
    let countries = body.countries(undetermined)?;
    let mut country = |body: &mut Input<'_>| match body.byte()? {
        0 => Ok(None),
        place => match countries.get(usize::from(place) - 1) {
            Some(country) => Ok(Some(*country)),
            None => Err(Damaged("it uses a country it does not list")),
        },
    };
    let v4 = super::ranges::countries(body.family(&mut country)?);
    let v6 = super::ranges::countries(body.family(&mut country)?);
    body.end()?;
    Ok(Dataset { about, v4, v6 })
}

/// What kind it is, what its header says, and its body, which has the header's digest.
fn read_header(bytes: &[u8]) -> Result<(Option<u8>, About, Input<'_>), CompactError> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        // A file cut within its first bytes is the same to the operator, but worth its own word.
        return Err(if MAGIC.starts_with(bytes) {
            Truncated("first bytes")
        } else {
            CompactError::NotCompact(bytes[..bytes.len().min(MAGIC.len())].into())
        });
    };
    let mut header = Input { bytes: rest, part: "header" };
    let kind = match u16::from_le_bytes(header.array()?) {
        DATASET => None,
        FORMAT => match header.byte()? {
            kind @ (OVERLAY | AS_NUMBERS) => Some(kind),
            _ => return Err(Damaged("it is of an unknown kind")),
        },
        later => return Err(CompactError::Version(later)),
    };
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
    let about = About { name, version, attribution, provenance, built, digest };
    Ok((kind, about, Input { bytes: body, part: "ranges" }))
}

/// The one body of these ranges.
fn body(v4: &[Range<u32>], v6: &[Range<u128>]) -> Result<Vec<u8>, CompactError> {
    let mut used = vec![false; 1 << 16];
    let number = |country: Country| usize::from(u16::from_be_bytes(country.0));
    v4.iter().for_each(|range| used[number(range.country)] = true);
    v6.iter().for_each(|range| used[number(range.country)] = true);
    // `??` sorts before every letter.
    let known = [Country::UNDETERMINED].into_iter().chain(super::all_countries().iter().copied());
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
fn asn_body(v4: &[AsRange<u32>], v6: &[AsRange<u128>], names: &Names) -> Result<Vec<u8>, CompactError> {
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

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u128);
    out.extend_from_slice(text.as_bytes());
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

    /// Names of AS numbers.
    fn names(&mut self) -> Result<Names, CompactError> {
        let count = self.number(64)?;
        let mut names = Names::default();
        let mut asn = 0_u32;
        for at in 0..count {
            let distance = u32::try_from(self.number(32)?).map_err(|_| Damaged("an AS number is too large"))?;
            if at > 0 && distance == 0 {
                return Err(Damaged("an AS number has two names"));
            }
            asn = asn.checked_add(distance).ok_or(Damaged("an AS number is too large"))?;
            names.push(asn, &self.text()?).ok_or(TooLarge("4 GiB of names"))?;
        }
        Ok(names)
    }

    fn end(&self) -> Result<(), CompactError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Damaged("something follows its ranges")) }
    }

    fn countries(&mut self, undetermined: bool) -> Result<Vec<Country>, CompactError> {
        let count = u16::from_le_bytes(self.array()?);
        let countries: Vec<Country> =
            self.take(usize::from(count) * 2)?.chunks_exact(2).map(|code| Country([code[0], code[1]])).collect();
        let may_be = |country: &Country| country.is_assigned() || (undetermined && *country == Country::UNDETERMINED);
        if !countries.iter().all(may_be) {
            return Err(Damaged("it lists a country that is none"));
        }
        if countries.is_sorted_by(|a, b| a < b) { Ok(countries) } else { Err(Damaged("its countries are not sorted")) }
    }

    /// One family; `value` reads an entry of the third column.
    fn family<A: Space, V: Copy + PartialEq>(
        &mut self,
        value: &mut impl FnMut(&mut Self) -> Result<Option<V>, CompactError>,
    ) -> Result<Vec<Span<A, V>>, CompactError> {
        let count = self.number(64)?;
        // With gaps there are up to two intervals a range, and one to end.
        if count > 2 * MAX_RANGES as u128 + 1 {
            return Err(TooLarge("4 Mi ranges of one family"));
        }
        let count = count as usize;
        let zeros = self.take(count)?;
        // Walked over first: the third column starts where the second ends.
        let mut starts = Input { bytes: self.bytes, part: self.part };
        for _ in 0..count {
            self.number(A::BITS)?;
        }
        // Each entry of the third column has a byte at least.
        if self.bytes.len() < count {
            return Err(Truncated(self.part));
        }
        let mut spans: Vec<Span<A, V>> = Vec::with_capacity(count / 2 + 1);
        let mut start = 0_u128;
        let mut held: Option<V> = None;
        for (index, &shift) in zeros.iter().enumerate() {
            let here = value(self)?;
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
            if let (true, Some(before)) = (held.is_some(), spans.last_mut()) {
                before.1 = A::from_number(next.number() - 1).unwrap_or(A::LAST);
            }
            if here == held {
                return Err(Damaged("two neighbouring intervals are one"));
            }
            if let Some(value) = here {
                if spans.len() == MAX_RANGES {
                    return Err(TooLarge("4 Mi ranges of one family"));
                }
                spans.push((next, A::LAST, value));
            }
            held = here;
            start = next.number();
        }
        Ok(spans)
    }
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
