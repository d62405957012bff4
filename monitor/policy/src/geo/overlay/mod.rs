//! What somebody who knows better says of some networks: cloud providers' region lists, geofeeds, lists of anycast
//! or satellite networks. Files in, country ranges out; they override the datasets. Called by the policy compiler,
//! `explain` and `egress-monitor geo`.
//!
//! Within one overlay the narrowest network wins. A network without a country ("do not geolocate", RFC 8805), one that
//! is everywhere, and one with two countries are all undetermined: [`super::Country::UNDETERMINED`]. What can't be taken is
//! left out and counted; where that is more than what can, the file is refused.

mod cloud;
pub mod regions;

use std::path::Path;

use crate::text::plain;

use super::{
    about::About,
    compact,
    dataset::{Dataset, Format, to_ranges},
    error::{GeoError, GeoFault},
    file, mmdb,
    progress::Progress,
    ranges::{Collector, Piece, Spans, TooMany, first_overlap},
    rejected::Rejected,
    sniff::sniff,
    text,
};

pub use super::dataset::{Overlay, OverlayKind};

/// Reads an overlay file.
///
/// # Errors
/// The file can't be read or is no good.
pub fn open(file: &Path) -> Result<Overlay, GeoError> {
    read(file, &Progress::default())
}

/// As [`open`], saying how far it has come.
///
/// # Errors
/// As [`open`].
pub fn read(file: &Path, progress: &Progress) -> Result<Overlay, GeoError> {
    read_bytes(file, &file::read_bounded(file)?, progress)
}

/// As [`read`], of a file's content; `file` is for messages and for what its name says.
///
/// # Errors
/// It is no good.
pub fn read_bytes(file: &Path, bytes: &[u8], progress: &Progress) -> Result<Overlay, GeoError> {
    let mut overlay = Overlay {
        about: About::named(name_of(file)),
        file: file.into(),
        kind: OverlayKind::Networks,
        v4: Vec::new(),
        v6: Vec::new(),
        contradictions: 0,
        rejected: Rejected::default(),
    };
    let collected = match sniff(file, bytes) {
        Some(Format::Compact) => {
            let Dataset { about, v4, v6 } =
                compact::decode_overlay(bytes).map_err(|error| GeoError::file(file, error))?;
            return Ok(Overlay { kind: OverlayKind::Compact, about, v4, v6, ..overlay });
        }
        Some(Format::Mmdb) => {
            let read = mmdb::walk(file, bytes, &mut mmdb::Countries, progress)?;
            (overlay.kind, overlay.rejected) = (OverlayKind::Mmdb, read.rejected);
            (overlay.about.version, overlay.about.built) = (read.database_type, read.built);
            (overlay.v4, overlay.v6) = (to_ranges(read.v4), to_ranges(read.v6));
            None
        }
        Some(Format::Json) => {
            let cloud = cloud::read(file, bytes)?;
            (overlay.kind, overlay.about.built, overlay.rejected) = (cloud.kind, cloud.built, cloud.rejected);
            if let Some((line, what)) = overlay.rejected.first.as_ref().filter(|_| overlay.rejected.count > cloud.taken)
            {
                return Err(GeoError::first(file, *line, what));
            }
            Some(cloud.ranges)
        }
        Some(_) => {
            let text = text::read(file, bytes, progress)?;
            overlay.kind = match text.format {
                Format::Delegated => OverlayKind::Delegated,
                Format::Networks => OverlayKind::Networks,
                _ => OverlayKind::Geofeed,
            };
            (overlay.about.version, overlay.about.built) = (text.version, text.built);
            overlay.rejected = text.rejected;
            overlay.rejected.add(text.carried);
            Some(text.ranges)
        }
        None => return Err(GeoError::file(file, GeoFault::UnknownFormat)),
    };
    if let Some(collected) = collected {
        let spans = collected.finish_overlay().map_err(|TooMany| GeoError::file(file, GeoFault::TooManyRanges))?;
        let Spans { v4, v6, contradictions } = spans;
        (overlay.v4, overlay.v6) = (to_ranges(v4), to_ranges(v6));
        overlay.contradictions = contradictions;
    }
    if overlay.v4.is_empty() && overlay.v6.is_empty() {
        return Err(GeoError::file(file, GeoFault::NoNetworks));
    }
    overlay.about.digest = compact::digest(&overlay.v4, &overlay.v6);
    Ok(overlay)
}

/// One overlay of several files that do not overlap. What is said of it is the first's; its date is the oldest.
///
/// # Errors
/// Two files place the same address, or there is no file.
pub fn merge(files: Vec<Overlay>) -> Result<Overlay, GeoError> {
    let mut files = files.into_iter();
    let mut sum = files.next().ok_or_else(|| GeoError::file(Path::new(""), GeoFault::NoFile))?;
    for next in files {
        if let Some(address) = first_overlap((&sum.v4, &next.v4), (&sum.v6, &next.v6)) {
            let fault = GeoFault::PlacedAgain { address, before: "a file before it".into() };
            return Err(GeoError::file(&next.file, fault));
        }
        let mut collector = Collector::default();
        let v4 = sum.v4.drain(..).chain(next.v4).map(|of| Piece::V4(of.first, of.last, of.country));
        let v6 = sum.v6.drain(..).chain(next.v6).map(|of| Piece::V6(of.first, of.last, of.country));
        for piece in v4.chain(v6) {
            collector.push(piece).map_err(|TooMany| GeoError::file(&next.file, GeoFault::TooManyRanges))?;
        }
        let spans =
            collector.finish_overlay().map_err(|TooMany| GeoError::file(&next.file, GeoFault::TooManyRanges))?;
        (sum.v4, sum.v6) = (to_ranges(spans.v4), to_ranges(spans.v6));
        sum.about.join(&next.about);
        sum.contradictions += next.contradictions;
        sum.rejected.add(next.rejected);
    }
    sum.about.digest = compact::digest(&sum.v4, &sum.v6);
    Ok(sum)
}

/// `ip-ranges` of `/a/ip-ranges.json`.
fn name_of(file: &Path) -> String {
    const ENDINGS: [&str; 9] = [".gz", ".zst", ".egm", ".json", ".csv", ".txt", ".mmdb", ".tsv", ".zone"];
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut stem = name.as_str();
    for ending in ENDINGS {
        stem = stem.strip_suffix(ending).filter(|stem| !stem.is_empty()).unwrap_or(stem);
    }
    plain(stem)
}

#[cfg(test)]
mod tests;
