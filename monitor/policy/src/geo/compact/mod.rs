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
//! [`MAX_UNCOMPRESSED`] and [`MAX_RANGES`](super::MAX_RANGES), and the ranges it gives have a dataset's properties.

mod body;
mod error;
mod input;

use std::io::Read;

use sha2::{Digest, Sha256};

use self::{
    body::{MAX_TEXT, asn_body, body, put_number, put_text},
    error::CompactError::{Damaged, Other, TooLarge, Truncated, Unfit},
    input::Input,
};
use super::{
    about::About,
    dataset::{AsDataset, AsRange, Content, Dataset, Overlay, to_ranges},
};
use crate::text::plain;

pub(crate) use self::body::{asn_digest, digest};
pub use self::error::CompactError;

/// Largest content, decompressed: ten times what the embedded datasets have.
pub const MAX_UNCOMPRESSED: u64 = 64 << 20;

const MAGIC: &[u8; 6] = b"egmgeo";
const DATASET: u16 = 1;
const FORMAT: u16 = error::LATEST;
const OVERLAY: u8 = 1;
const AS_NUMBERS: u8 = 2;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether the bytes look like the compact form, compressed or not.
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
        // A path may have control characters, which nobody reads back.
        let text = plain(text);
        if text.len() > MAX_TEXT {
            return Err(Unfit("a text longer than 4,096 bytes"));
        }
        put_text(&mut out, &text);
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
pub fn compress(encoded: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(encoded, ruzstd::encoding::CompressionLevel::Fastest)
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
    let v4 = to_ranges(body.family(&mut country)?);
    let v6 = to_ranges(body.family(&mut country)?);
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
    let about = About { name, version, built, attribution, provenance, digest };
    Ok((kind, about, Input { bytes: body, part: "ranges" }))
}

#[cfg(test)]
mod tests;
