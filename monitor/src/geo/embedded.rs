//! The two datasets that are built in, for `sources = ["embedded"]`. Called by [`super::open`].
//!
//! Two, because each alone misplaces what the other knows: *inside* only where both say so. They are made from
//! their publishers' archives by `cargo xtask geo`, which names package, version and SHA-256; that stands in each
//! file's header, with licence and attribution, and is shown by `geo info`.

use std::path::Path;

use super::{Format, GeoError, Opened, compact};

/// DB-IP Lite, then the registries' and operators' own data (geofeeds, whois, AS numbers).
const FILES: [(&str, &[u8]); 2] = [
    ("(embedded) dbip-country.egm.zst", include_bytes!("../../data/dbip-country.egm.zst")),
    ("(embedded) geo-whois-asn-country.egm.zst", include_bytes!("../../data/geo-whois-asn-country.egm.zst")),
];

/// Both datasets, DB-IP first: where both agree on the side of the border it names the country.
///
/// # Errors
/// None in a released binary: the files are part of it, and a test decodes them.
pub fn open() -> Result<Vec<Opened>, GeoError> {
    // One thread each: this is most of what the start of the program takes.
    std::thread::scope(|scope| {
        let workers = FILES.map(|(name, bytes)| scope.spawn(move || (name, compact::decode(bytes))));
        let mut opened = Vec::with_capacity(FILES.len());
        for worker in workers {
            let Ok((name, decoded)) = worker.join() else {
                return Err(GeoError::file(Path::new("(embedded)"), "the decoder failed: reinstall egress-monitor"));
            };
            let (dataset, provenance) = decoded.map_err(|error| GeoError::file(Path::new(name), error.to_string()))?;
            opened.push(Opened { dataset, file: None, format: Format::Compact, provenance, contradictions: 0 });
        }
        Ok(opened)
    })
}
