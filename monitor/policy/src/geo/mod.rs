//! Address knowledge from outside: datasets in, sorted country ranges out. Called by the policy compiler and
//! by `egress-monitor geo`.
//!
//! `dataset` has the types, without any reader; `ranges` makes ranges of any order canonical. [`compact`], `mmdb` and
//! `text` read one format each, `sniff` finds out which a file has. On them stand `open` (datasets of countries, `embedded`
//! ones too), [`overlay`] and [`asn`]. [`special`] is the table of the special-purpose registries.

mod about;
pub mod asn;
pub mod compact;
mod country;
mod dataset;
mod embedded;
mod error;
mod file;
mod mmdb;
#[cfg(any(test, feature = "naive"))]
pub mod naive;
pub mod names;
mod open;
pub mod overlay;
pub mod platform;
mod progress;
mod ranges;
mod rejected;
mod rejection;
mod sniff;
mod space;
pub mod special;
mod subdivisions;
#[cfg(test)]
mod testing;
mod text;

pub use self::{
    about::{About, STALE_AFTER_DAYS},
    country::{Country, CountryError, all as all_countries},
    dataset::{
        AsDataset, AsNames, AsRange, Content, Dataset, Format, Knowledge, MAX_RANGES, Opened, Overlay, OverlayKind,
        Range,
    },
    error::{GeoError, GeoFault, MmdbDamage},
    file::{read_bounded, read_packed, unpacked},
    open::{load, merge, open, open_bytes, open_file, read_bytes, read_file},
    progress::Progress,
    rejected::Rejected,
    sniff::content,
    space::{Space, unmapped},
};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_missing_file_a_directory_and_an_unknown_kind_each_say_what_to_give() {
        let error = load("/nonexistent/x.mmdb").unwrap_err().to_string();
        assert_eq!(
            error,
            "/nonexistent/x.mmdb: No such file or directory (os error 2): check the path and the permissions, or use \
             \"embedded\" for the built-in datasets"
        );
        let dir = tempfile::tempdir().unwrap();
        let text = |path: &Path| load(path.to_str().unwrap()).unwrap_err().to_string();
        assert_eq!(
            text(dir.path()),
            format!(
                "{}: not a regular file: give the path of a .mmdb, .csv, .egm or .egm.zst file",
                dir.path().display()
            )
        );
        let odd = dir.path().join("geo.bin");
        std::fs::write(&odd, "\x7fELF\0\0").unwrap();
        assert_eq!(
            text(&odd),
            format!(
                "{}: neither MMDB nor JSON nor text nor a compact dataset: give a file of one of these",
                odd.display()
            )
        );
    }

    #[test]
    fn one_opinion_has_one_digest_in_every_format() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("a.csv");
        std::fs::write(&csv, "198.51.100.0,198.51.100.255,DE\n2001:db8::/32,SG\n").unwrap();
        let mut first = load(csv.to_str().unwrap()).unwrap().remove(0);
        first.about.provenance = "made by a test".into();
        let egm = dir.path().join("a.egm");
        std::fs::write(&egm, compact::encode(&first).unwrap()).unwrap();
        let opened = open(egm.to_str().unwrap()).unwrap().remove(0);
        assert_eq!(opened.dataset.about.provenance, "made by a test");
        assert_eq!(opened.format, Format::Compact);
        assert_eq!(opened.dataset.about.digest, first.about.digest);
        assert_eq!((opened.dataset.v4, opened.dataset.v6), (first.v4, first.v6));
    }
}
