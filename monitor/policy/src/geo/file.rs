//! A bounded read of a whole file, unpacked if it is gzip. Called by every reader.

use std::{
    borrow::Cow,
    io::{self, Read as _},
    path::Path,
};

use super::error::{GeoError, GeoFault};
use crate::fs::open_regular;

/// Largest file that is read: a country dataset has 4 to 20 MB, the most detailed ones on sale a few hundred.
const MAX_FILE: u64 = 512 << 20;

/// The whole file, if it is a regular one of bearable size, unpacked.
///
/// # Errors
/// It is not, or can't be read.
pub fn read_bounded(file: &Path) -> Result<Vec<u8>, GeoError> {
    unpacked(file, read_packed(file)?)
}

/// As [`read_bounded`], byte for byte as the file is: what a hash or a signature is of.
///
/// # Errors
/// It is no regular file, too large, or can't be read.
pub fn read_packed(file: &Path) -> Result<Vec<u8>, GeoError> {
    let failed = |source| GeoError::Read { file: file.into(), source };
    let opened = open_regular(file).map_err(|error| match error.kind() {
        io::ErrorKind::Other => GeoError::file(file, GeoFault::NotRegular),
        _ => failed(error),
    })?;
    let about = opened.metadata().map_err(failed)?;
    let too_large = || GeoError::file(file, GeoFault::TooLarge { mib: MAX_FILE >> 20 });
    if about.len() > MAX_FILE {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0) + 1);
    // It may grow meanwhile.
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE { Err(too_large()) } else { Ok(bytes) }
}

/// The content of a file that may be gzip; `file` is for messages.
///
/// # Errors
/// It is packed in another way, damaged, or too large unpacked.
pub fn unpacked(file: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, GeoError> {
    match bytes.as_slice() {
        [0x1f, 0x8b, ..] => unpack(file, &bytes, MAX_FILE),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Err(GeoError::file(file, GeoFault::Packed { how: "a ZIP archive" })),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(GeoError::file(file, GeoFault::Packed { how: "packed by bzip2" })),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(GeoError::file(file, GeoFault::Packed { how: "packed by xz" })),
        _ => Ok(bytes),
    }
}

/// gzip, up to `most` bytes of content.
fn unpack(file: &Path, packed: &[u8], most: u64) -> Result<Vec<u8>, GeoError> {
    let mut unpacked = Vec::new();
    let mut unpack = flate2::read::MultiGzDecoder::new(packed).take(most + 1);
    unpack.read_to_end(&mut unpacked).map_err(|_| GeoError::file(file, GeoFault::Gzip))?;
    if unpacked.len() as u64 > most {
        return Err(GeoError::file(file, GeoFault::TooLarge { mib: most >> 20 }));
    }
    Ok(unpacked)
}

/// The name that a packed file has unpacked.
pub(crate) fn unpacked_name(file: &Path) -> Cow<'_, Path> {
    let packed = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    if packed { file.with_extension("").into() } else { file.into() }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_refused_without_reading_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.mmdb");
        // Sparse: takes no space on the disk.
        File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert_eq!(
            read_bounded(&path).unwrap_err().to_string(),
            format!("{}: larger than 512 MiB: a country dataset has 4 to 20 MB; give one of those", path.display())
        );
    }

    #[test]
    fn what_is_packed_is_unpacked_or_says_how_to() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let gzip = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, text).unwrap();
            encoder.finish().unwrap()
        };
        // Two members one after the other, as `cat` makes them.
        let packed = [gzip(b"192.0.2.0/24,DE\n"), gzip(b"198.51.100.0/24,FR\n")].concat();
        let opened = super::super::open_file(&write("country.csv.gz", &packed)).unwrap();
        assert_eq!(opened.dataset.countries().len(), 2);
        let list = super::super::open_file(&write("de.zone.gz", &gzip(b"192.0.2.0/24\n"))).unwrap();
        assert_eq!(list.dataset.countries()[0].to_string(), "DE");
        let lines = gzip(b"{\"network\":\"192.0.2.0/24\",\"country\":\"DE\"}\n");
        assert_eq!(super::super::open_file(&write("lite.json.gz", &lines)).unwrap().dataset.v4.len(), 1);
        let says = |path: &Path| super::super::open_file(path).unwrap_err().to_string();
        let cut = write("cut.csv.gz", &packed[..packed.len() - 4]);
        assert_eq!(says(&cut), format!("{}: gzip that ends early or is damaged: fetch it again", cut.display()));
        for (name, bytes, how) in [
            ("country.csv.zip", &b"PK\x03\x04\x14\0"[..], "a ZIP archive"),
            ("country.csv.bz2", b"BZh91AY", "packed by bzip2"),
            ("country.csv.xz", b"\xfd7zXZ\0\0", "packed by xz"),
        ] {
            let path = write(name, bytes);
            let expected = format!("{}: {how}: unpack it, and give the file that is in it", path.display());
            assert_eq!(says(&path), expected);
        }
    }

    #[test]
    fn gzip_that_unpacks_to_more_than_any_dataset_has_is_refused_in_time() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &[b'\n'; 4096]).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(unpack(Path::new("x.gz"), &packed, 4096).map(|bytes| bytes.len()).unwrap(), 4096);
        let error = unpack(Path::new("x.gz"), &packed, 4095).unwrap_err().to_string();
        assert_eq!(error, "x.gz: larger than 0 MiB: a country dataset has 4 to 20 MB; give one of those");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe.mmdb");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
            for error in [
                super::super::open_file(path).unwrap_err(),
                super::super::overlay::open(path).unwrap_err(),
                super::super::asn::open(path).unwrap_err(),
            ] {
                assert_eq!(
                    error.to_string(),
                    format!(
                        "{}: not a regular file: give the path of a .mmdb, .csv, .egm or .egm.zst file",
                        path.display()
                    )
                );
            }
        }
    }

    #[test]
    fn two_gibibytes_of_nothing_are_refused_by_every_reader_without_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.csv");
        File::create(&path).unwrap().set_len(2 << 30).unwrap();
        let began = std::time::Instant::now();
        for error in [
            super::super::open_file(&path).unwrap_err(),
            super::super::overlay::open(&path).unwrap_err(),
            super::super::asn::open(&path).unwrap_err(),
        ] {
            assert!(
                error.to_string().ends_with("larger than 512 MiB: a country dataset has 4 to 20 MB; give one of those")
            );
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(1), "it was read");
    }
}
