//! Files in, datasets of countries out: the one entrance for every format. Called by the configuration's loader and by
//! `egress-monitor geo`.

use std::path::{Path, PathBuf};

use crate::text::plain;

use super::{
    about::About,
    compact,
    dataset::{Dataset, Format, Opened},
    embedded,
    error::{GeoError, GeoFault},
    file, mmdb,
    progress::Progress,
    ranges::{Collected, Collector, Piece, TooMany, first_overlap},
    rejected::Rejected,
    sniff::sniff,
    text,
};

/// The datasets of one entry of `[geo] sources`: `embedded` gives the two that are built in, anything else is
/// the path of a compact, MMDB or CSV file.
///
/// # Errors
/// The file can't be read or is no good.
pub fn load(source: &str) -> Result<Vec<Dataset>, GeoError> {
    Ok(open(source)?.into_iter().map(|opened| opened.dataset).collect())
}

/// As [`load`], with where each came from.
///
/// # Errors
/// The file can't be read or is no good.
pub fn open(source: &str) -> Result<Vec<Opened>, GeoError> {
    if source == "embedded" { embedded::open() } else { Ok(vec![open_file(Path::new(source))?]) }
}

/// Reads a file of any format, which its content says, or else its name. All of it has to be good.
///
/// # Errors
/// The file can't be read or something in it is no good.
pub fn open_file(file: &Path) -> Result<Opened, GeoError> {
    open_bytes(file, &file::read_bounded(file)?)
}

/// As [`open_file`], of a file's content; `file` is for messages and for what its name says.
///
/// # Errors
/// Something in it is no good.
pub fn open_bytes(file: &Path, bytes: &[u8]) -> Result<Opened, GeoError> {
    let opened = read_bytes(file, bytes, &Progress::default())?;
    match &opened.rejected.first {
        Some((line, what)) => Err(GeoError::first(file, *line, what)),
        None => Ok(opened),
    }
}

/// As [`open_file`], but what can't be taken is left out and counted by kind.
///
/// # Errors
/// The file can't be read, or more of it is wrong than good.
pub fn read_file(file: &Path, progress: &Progress) -> Result<Opened, GeoError> {
    read_bytes(file, &file::read_bounded(file)?, progress)
}

/// As [`read_file`], of a file's content; `file` is for messages and for what its name says.
///
/// # Errors
/// More of it is wrong than good.
pub fn read_bytes(file: &Path, bytes: &[u8], progress: &Progress) -> Result<Opened, GeoError> {
    let opened = |dataset, format| Opened {
        dataset,
        file: Some(file.into()),
        format,
        contradictions: 0,
        rejected: Rejected::default(),
    };
    match sniff(file, bytes) {
        Some(Format::Compact) => {
            let dataset = compact::decode(bytes).map_err(|error| GeoError::file(file, error))?;
            Ok(opened(dataset, Format::Compact))
        }
        Some(Format::Mmdb) => {
            let (dataset, rejected) = mmdb::read(file, bytes, progress)?;
            Ok(Opened { rejected, ..opened(dataset, Format::Mmdb) })
        }
        Some(Format::Json) => Err(GeoError::file(file, GeoFault::JsonAsSource)),
        Some(_) => {
            let text = text::read(file, bytes, progress)?;
            let Collected { mut dataset, contradictions } =
                text.ranges.finish().map_err(|TooMany| GeoError::file(file, GeoFault::TooManyRanges))?;
            if dataset.v4.is_empty() && dataset.v6.is_empty() {
                return Err(GeoError::file(file, GeoFault::PlacesNothing));
            }
            let name = plain(&file.display().to_string());
            dataset.about = About { name, version: text.version, built: text.built, ..dataset.about };
            Ok(Opened { contradictions, rejected: text.rejected, ..opened(dataset, text.format) })
        }
        None => Err(GeoError::file(file, GeoFault::UnknownFormat)),
    }
}

/// One dataset of several files that do not overlap (the two families, usually). What is said of it is the first's;
/// its date is the oldest.
///
/// # Errors
/// Two files place the same address, or there is no file.
pub fn merge(opened: Vec<Opened>) -> Result<Dataset, GeoError> {
    let mut opened = opened.into_iter();
    let Some(first) = opened.next() else {
        return Err(GeoError::file(Path::new(""), GeoFault::NoFile));
    };
    if opened.len() == 0 {
        return Ok(first.dataset);
    }
    let path = |file: Option<PathBuf>| file.map_or_else(|| "(embedded)".into(), |file| file.display().to_string());
    let mut sum = first.dataset;
    let mut files = vec![(path(first.file), std::mem::take(&mut sum.v4), std::mem::take(&mut sum.v6))];
    for next in opened {
        let name = path(next.file);
        let Dataset { about, v4, v6 } = next.dataset;
        for (before, before_v4, before_v6) in &files {
            if let Some(address) = first_overlap((before_v4, &v4), (before_v6, &v6)) {
                let fault = GeoFault::PlacedAgain { address, before: before.clone() };
                return Err(GeoError::file(Path::new(&name), fault));
            }
        }
        sum.about.join(&about);
        files.push((name, v4, v6));
    }
    let mut collector = Collector::default();
    for (name, v4, v6) in files {
        let v4 = v4.into_iter().map(|of| Piece::V4(of.first, of.last, of.country));
        let v6 = v6.into_iter().map(|of| Piece::V6(of.first, of.last, of.country));
        for piece in v4.chain(v6) {
            collector.push(piece).map_err(|TooMany| GeoError::file(Path::new(&name), GeoFault::TooManyTogether))?;
        }
    }
    let joined =
        collector.finish().map_err(|TooMany| GeoError::file(Path::new(&sum.about.name), GeoFault::TooManyJoined))?;
    let Dataset { about: About { digest, .. }, v4, v6 } = joined.dataset;
    Ok(Dataset { about: About { digest, ..sum.about }, v4, v6 })
}
