//! What a file is, by its first and last bytes, else by its name. Called by the readers, and by `geo info` and `geo import`
//! through [`content`].

use std::path::Path;

use super::{
    compact,
    dataset::{Content, Format},
    error::GeoError,
    file, mmdb, text,
};

/// The file's format; `None` for what is neither text nor anything known.
pub(crate) fn sniff(file: &Path, bytes: &[u8]) -> Option<Format> {
    let name = file::unpacked_name(file).to_string_lossy().to_ascii_lowercase();
    if compact::is_compact(bytes) {
        return Some(Format::Compact);
    }
    if mmdb::is_mmdb(bytes) {
        return Some(Format::Mmdb);
    }
    let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if start.starts_with(b"{") || start.starts_with(b"[") {
        return Some(if is_json_lines(start) { Format::JsonLines } else { Format::Json });
    }
    // A damaged file is reported as what its name says it is.
    if name.ends_with(".egm") || name.ends_with(".egm.zst") {
        return Some(Format::Compact);
    }
    if name.ends_with(".mmdb") {
        return Some(Format::Mmdb);
    }
    let binary = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x1b);
    let text = !start.iter().take(4096).any(binary);
    (text || name.ends_with(".csv") || name.ends_with(".txt")).then_some(Format::Csv)
}

/// Whether the first line is an object by itself that places a network: one of many such, and no document.
fn is_json_lines(bytes: &[u8]) -> bool {
    const LONGEST: usize = 1 << 16;
    let line = bytes[..bytes.len().min(LONGEST)].split(|byte| matches!(byte, b'\n' | b'\r')).next();
    let object = line.and_then(|line| text::object(std::str::from_utf8(line).ok()?));
    object.is_some_and(|object| object.keys().any(|name| text::names_addresses(&[name])))
}

/// What a file is, as far as it says so itself: a cloud provider's list is an overlay, the product's own form says
/// what it holds. Of anything else a dataset is expected.
///
/// # Errors
/// The file can't be read.
pub fn content(file: &Path) -> Result<Content, GeoError> {
    let bytes = file::read_bounded(file)?;
    Ok(match sniff(file, &bytes) {
        Some(Format::Json) => Content::Overlay,
        Some(Format::Compact) => compact::content(&bytes),
        _ => Content::Dataset,
    })
}
