//! Files of a kind in, nothing out, or a panic with what a reader makes of them otherwise than they say. Called by property
//! tests and fuzz targets.

use std::{net::IpAddr, path::Path};

use super::{Choose, File, Kind, SPACE, Says};
use crate::geo::{self, Progress, asn, overlay};

/// A file of this kind, written in two of its forms: the readers make of both what its lines say, of every address. Whether
/// it was read at all.
///
/// # Panics
/// They make something else of it.
pub fn check(kind: Kind, choose: Choose<'_>) -> bool {
    let file = File::chosen(kind, choose);
    let [one, other] = [(); 2].map(|()| file.written(choose));
    let digests = [&one, &other].map(|text| hold(&file, text));
    assert_eq!(digests[0], digests[1], "{file:?}\n{one:?}\n{other:?}");
    digests[0].is_some()
}

/// Reads it, and compares every address. The digest of what was read; `None`: it was refused, as it has to be.
fn hold(file: &File, text: &str) -> Option<[u8; 32]> {
    let (name, bytes, progress) = (Path::new(file.kind.file()), text.as_bytes(), Progress::default());
    if file.kind == Kind::Systems {
        let read = asn::read_bytes(name, bytes, &progress);
        assert_eq!(
            read.is_err(),
            file.is_refused(),
            "{file:?}\n{text:?}\n{:?}",
            read.err().map(|error| error.to_string())
        );
        let read = read.ok()?;
        compare(file, text, |address| match read.lookup(address) {
            Some((number, _)) => number.to_string(),
            None => "-".into(),
        });
        // A name goes with its number.
        for (number, name) in read.names.iter() {
            assert_eq!(name, format!("Name of {number}, Inc."), "{text:?}");
        }
        assert_eq!(asn::open_bytes(name, bytes).is_err(), file.has_bad_lines(), "{file:?}\n{text:?}");
        return Some(read.about.digest);
    }
    let read = overlay::read_bytes(name, bytes, &progress);
    assert_eq!(read.is_err(), file.is_refused(), "{file:?}\n{text:?}\n{:?}", read.err().map(|error| error.to_string()));
    let read = read.ok()?;
    // An overlay knows of what is in no one place.
    let said = |address| read.lookup(address).map(|range| range.country.to_string());
    for at in 0..SPACE {
        let expected = match file.says(at) {
            Says::Nothing => None,
            Says::Nowhere => Some("??"),
            Says::Is(country) => Some(country),
        };
        let found = said(file.address(at));
        assert_eq!(found.as_deref(), expected, "{} {file:?}\n{text:?}", file.address(at));
    }
    let places = (0..SPACE).any(|at| matches!(file.says(at), Says::Is(_)));
    match geo::read_bytes(name, bytes, &progress) {
        Ok(source) => {
            assert!(places && !file.kind.is_document(), "{file:?}\n{text:?}");
            compare(file, text, |address| {
                source.dataset.lookup(address).map_or_else(|| "-".into(), |range| range.country.to_string())
            });
            assert_eq!(geo::open_bytes(name, bytes).is_err(), file.has_bad_lines(), "{file:?}\n{text:?}");
        }
        Err(error) => assert!(!places || file.kind.is_document(), "{error} {file:?}\n{text:?}"),
    }
    Some(read.about.digest)
}

/// Each address is where the file says that it is, or nowhere.
fn compare(file: &File, text: &str, found: impl Fn(IpAddr) -> String) {
    for at in 0..SPACE {
        let expected = match file.says(at) {
            Says::Nothing | Says::Nowhere => "-",
            Says::Is(value) => value,
        };
        assert_eq!(found(file.address(at)), expected, "{} {file:?}\n{text:?}", file.address(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::testing::seed;

    #[test]
    fn every_reader_makes_of_every_form_what_the_lines_say_and_no_more() {
        let seed = seed();
        let mut random = fastrand::Rng::with_seed(seed);
        for kind in Kind::ALL {
            let read = (0..400).filter(|_| check(kind, &mut |below| random.u32(0..below))).count();
            assert!(read > 100, "SEED={seed} {kind:?}: {read} of 400 were read");
        }
    }
}
