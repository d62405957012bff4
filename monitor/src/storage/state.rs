//! `[paths] state`: the daemon's own documents in it, JSON in and out, and the number of their form (`FORMAT`). Called
//! by what is kept of policies and of modes set by hand.
//!
//! A directory without a number is of a version before there was one, and is read. What a later version wrote is left
//! alone, as is a directory that is refused: nothing is read from it and nothing written, and whoever asks is told why.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{Access, blobs::Blobs, create_directory, overwrite, read, replace, replace_for_this_boot};

/// What this build writes; it reads this, and the one before, which had no number.
pub const FORMAT: u32 = 1;
const NUMBER: &str = "FORMAT";
/// No document is longer: one may name as many files as a configuration can.
const LONGEST: u64 = 16 << 20;

/// The directory.
#[derive(Clone, Debug, Default)]
pub struct StateDirectory {
    path: PathBuf,
    refused: Option<String>,
}

impl StateDirectory {
    /// Looks at its number.
    pub fn open(path: &Path) -> Self {
        let file = path.join(NUMBER);
        let refused = match read(&file, 64) {
            Ok(None) => None,
            Ok(Some(text)) => {
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                (text != FORMAT.to_string()).then(|| {
                    format!(
                        "{} says {:?}, and this version reads {FORMAT} and what had no number: use the version that \
                         wrote it, or move {} away",
                        file.display(),
                        text.chars().take(20).collect::<String>(),
                        path.display()
                    )
                })
            }
            // Nothing is there to be read, and whoever writes is told.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
            Err(error) => Some(format!("{}: {error}: move it away", file.display())),
        };
        Self { path: path.to_owned(), refused }
    }

    /// Nothing is read from it, and nothing written.
    pub fn refuse(&mut self, why: String) {
        self.refused.get_or_insert(why);
    }

    /// Why it is of no use.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept of policies' files by content.
    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.path.join("blobs"))
    }

    /// Where alerts are kept.
    pub fn alerts(&self) -> PathBuf {
        self.path.join("alerts")
    }

    /// What is kept of geo data by content.
    pub fn geo_blobs(&self) -> Blobs {
        Blobs::new(self.path.join("geo"))
    }

    /// A document; one that is not there, or is none of ours, is none.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.usable().ok()?;
        serde_json::from_slice(&read(&self.path.join(name), LONGEST).ok()??).ok()
    }

    /// Replaces a document in one step.
    ///
    /// # Errors
    /// It can't be written, or the directory is refused.
    pub fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        if self.path.as_os_str().is_empty() {
            // Made by default, for tests: nothing outlives the process.
            return Ok(());
        }
        self.prepare()?;
        replace(&self.path.join(name), &serde_json::to_vec_pretty(value)?, Access::Owner)
    }

    /// Writes a document that nobody reads after a reboot over itself, at a length that stays: also where the disk has been
    /// full since it was there first.
    ///
    /// # Errors
    /// As [`Self::write`], or it is longer than `length` bytes.
    pub fn write_in_its_place(&self, name: &str, value: &impl Serialize, length: usize) -> io::Result<()> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        self.prepare()?;
        let mut text = serde_json::to_vec(value)?;
        if text.len() > length {
            return Err(io::Error::other("too long"));
        }
        text.resize(length, b' ');
        let file = self.path.join(name);
        if overwrite(&file, &text)? { Ok(()) } else { replace(&file, &text, Access::Owner) }
    }

    /// Replaces a document that nobody reads after a reboot: nothing waits for the disk. How long it is.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_for_this_boot(&self, name: &str, value: &impl Serialize) -> io::Result<usize> {
        if self.path.as_os_str().is_empty() {
            return Ok(0);
        }
        self.prepare()?;
        let text = serde_json::to_vec(value)?;
        replace_for_this_boot(&self.path.join(name), &text, Access::Owner).map(|()| text.len())
    }

    /// Removes a document.
    ///
    /// # Errors
    /// It can't be removed, or the directory is refused.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.usable()?;
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the directory, with its number.
    ///
    /// # Errors
    /// What the system said, or it is refused.
    pub fn prepare(&self) -> io::Result<()> {
        self.usable()?;
        create_directory(&self.path)?;
        let file = self.path.join(NUMBER);
        if file.exists() {
            return Ok(());
        }
        match replace(&file, format!("{FORMAT}\n").as_bytes(), Access::Owner) {
            // Somebody else of this daemon is at it, and writes the same.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            written => written,
        }
    }

    fn usable(&self) -> io::Result<()> {
        self.refused.as_ref().map_or(Ok(()), |why| Err(io::Error::other(why.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_once_and_what_has_none_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x.json"), "[1]").unwrap();
        let state = StateDirectory::open(&path);
        assert_eq!(state.read::<Vec<u8>>("x.json"), Some(vec![1]));
        state.write("x.json", &[2]).unwrap();
        assert_eq!(fs::read_to_string(path.join(NUMBER)).unwrap(), "1\n");
        let again = StateDirectory::open(&path);
        assert_eq!((again.read::<Vec<u8>>("x.json"), again.refused()), (Some(vec![2]), None));
        again.remove("x.json").unwrap();
        again.remove("x.json").unwrap();
        assert_eq!(again.read::<Vec<u8>>("x.json"), None);
    }

    #[test]
    fn what_a_later_version_wrote_is_neither_read_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.json"), "[1]").unwrap();
        for number in ["2\n", "", "x"] {
            fs::write(folder.path().join(NUMBER), number).unwrap();
            let state = StateDirectory::open(folder.path());
            let why = state.refused().unwrap().to_owned();
            assert!(why.contains("FORMAT says") && why.contains("use the version that wrote it"), "{why}");
            assert_eq!(state.read::<Vec<u8>>("x.json"), None);
            assert_eq!(state.write("x.json", &[2]).unwrap_err().to_string(), why);
            assert_eq!(state.remove("x.json").unwrap_err().to_string(), why);
            assert_eq!(fs::read_to_string(folder.path().join("x.json")).unwrap(), "[1]");
        }
    }

    #[test]
    fn what_is_no_document_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path());
        for text in [&b"{"[..], b"{}", &[0xff; 5000]] {
            fs::write(folder.path().join("x.json"), text).unwrap();
            assert_eq!(state.read::<Vec<u8>>("x.json"), None);
        }
        fs::remove_file(folder.path().join("x.json")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join("x.json")).status().unwrap().success());
        assert_eq!(state.read::<Vec<u8>>("x.json"), None);
    }
}
