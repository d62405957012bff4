//! A bounded read of a whole file. Called by every reader.

use std::{
    io::{self, Read as _},
    path::Path,
};

use super::error::{GeoError, GeoFault};
use crate::fs::open_regular;

/// Largest file that is read: a country dataset has 4 to 20 MB, the most detailed ones on sale a few hundred.
const MAX_FILE: u64 = 512 << 20;

/// The whole file, if it is a regular one of bearable size.
pub(crate) fn read_bounded(file: &Path) -> Result<Vec<u8>, GeoError> {
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
