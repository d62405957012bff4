//! Copies of files, each under the SHA-256 of its content: what is the same is there once, however many name it. Called
//! by what is kept of policies.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Seek as _, Write},
    path::{Path, PathBuf},
};

use monitor_policy::text::hex;
use sha2::{Digest as _, Sha256};

use super::{Access, create_directory, replace, replace_by};

/// Read at once.
const CHUNK: usize = 1 << 16;

/// The directory.
#[derive(Clone, Debug)]
pub struct Blobs {
    directory: PathBuf,
}

impl Blobs {
    pub(super) const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Copies a file in, unless its content is there; gives the name of that.
    ///
    /// # Errors
    /// What the system said, or the file changed meanwhile.
    pub fn add(&self, file: &mut File) -> io::Result<String> {
        let name = copy(file, io::sink())?;
        if self.has(&name, file.stream_position()?) {
            return Ok(name);
        }
        create_directory(&self.directory)?;
        file.rewind()?;
        replace_by(&self.directory.join(&name), Access::Owner, |out| {
            if copy(file, out)? == name { Ok(()) } else { Err(io::Error::other("it changed while it was copied")) }
        })?;
        Ok(name)
    }

    /// The same of what was read.
    ///
    /// # Errors
    /// What the system said.
    pub fn add_bytes(&self, bytes: &[u8]) -> io::Result<String> {
        let name = hex(&Sha256::digest(bytes));
        if !self.has(&name, bytes.len() as u64) {
            create_directory(&self.directory)?;
            replace(&self.directory.join(&name), bytes, Access::Owner)?;
        }
        Ok(name)
    }

    /// Whether a copy is there, as far as its length says.
    fn has(&self, name: &str, length: u64) -> bool {
        let there = fs::symlink_metadata(self.directory.join(name));
        there.is_ok_and(|there| there.is_file() && there.len() == length)
    }

    /// Where a copy is, if its content is still what its name says.
    ///
    /// # Errors
    /// What the system said, or it is damaged.
    pub fn verified(&self, name: &str) -> io::Result<PathBuf> {
        let blob = self.path(name)?;
        if copy(&mut File::open(&blob)?, io::sink())? == name {
            Ok(blob)
        } else {
            Err(io::Error::other("its content is not what its name says"))
        }
    }

    /// Removes all but these; a draft that a crash left too.
    ///
    /// # Errors
    /// What the system said.
    pub fn retain(&self, names: &BTreeSet<&str>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// A name that leads nowhere else.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let whole = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let blob = self.directory.join(Path::new(name));
        if whole && fs::symlink_metadata(&blob)?.is_file() {
            Ok(blob)
        } else {
            Err(io::Error::other("not the name of a copy"))
        }
    }
}

/// Copies to the end; gives the SHA-256 of what was copied in hexadecimal.
fn copy(from: &mut impl Read, mut to: impl Write) -> io::Result<String> {
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(read) => {
                hash.update(&chunk[..read]);
                to.write_all(&chunk[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> BTreeSet<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_same_content_is_there_once_and_what_nobody_names_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("blobs");
        let blobs = Blobs::new(directory.clone());
        blobs.retain(&BTreeSet::new()).unwrap();
        let file = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            File::open(folder.path().join(name)).unwrap()
        };
        let one = blobs.add(&mut file("a", "one")).unwrap();
        assert_eq!(one, "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
        assert_eq!(blobs.add(&mut file("b", "one")).unwrap(), one);
        let large = "x".repeat(3 * CHUNK + 1);
        let two = blobs.add(&mut file("a", &large)).unwrap();
        assert_eq!(names(&directory), [one.clone(), two.clone()].into());
        assert_eq!(fs::read_to_string(blobs.verified(&one).unwrap()).unwrap(), "one");
        assert_eq!(fs::read_to_string(blobs.verified(&two).unwrap()).unwrap(), large);
        fs::write(directory.join(".draft.new"), "").unwrap();
        blobs.retain(&[two.as_str()].into()).unwrap();
        assert_eq!(names(&directory), [two].into());
    }

    #[test]
    fn what_was_changed_or_is_somewhere_else_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(folder.path().join("blobs"));
        fs::write(folder.path().join("a"), "one").unwrap();
        let mut file = File::open(folder.path().join("a")).unwrap();
        let name = blobs.add(&mut file).unwrap();
        let blob = blobs.verified(&name).unwrap();
        fs::write(&blob, "two").unwrap();
        assert!(blobs.verified(&name).unwrap_err().to_string().contains("not what its name says"));
        // Another length is seen, and mended.
        fs::write(&blob, "longer").unwrap();
        file.rewind().unwrap();
        assert_eq!(blobs.add(&mut file).unwrap(), name);
        blobs.verified(&name).unwrap();
        for other in ["../a", "a", &"0".repeat(64), &name.to_uppercase()] {
            assert!(blobs.verified(other).is_err(), "{other}");
        }
    }
}
