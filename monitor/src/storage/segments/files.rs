//! The few things that segments want of a file system, so that tests can have one that forgets what was not synced, stops
//! at any byte, or is full; and the two that are used: a directory on disk, and memory where there is none.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::super::{create_directory, give};

/// A flat directory.
pub trait Files: Send + Sync {
    /// The names of what is in it.
    ///
    /// # Errors
    /// What the system said; as for all others.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file; `make`: one that is not there is made, empty.
    ///
    /// # Errors
    /// It is not there.
    fn open(&self, name: &str, make: bool) -> io::Result<Box<dyn Bytes>>;

    /// Removes a file.
    ///
    /// # Errors
    /// It is not there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// What was made and removed until now outlasts a power cut.
    ///
    /// # Errors
    /// What the system said.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait Bytes: Send {
    /// Its length.
    ///
    /// # Errors
    /// What the system said; as for all others.
    fn length(&self) -> io::Result<u64>;

    /// Whether it still has a name.
    ///
    /// # Errors
    /// What the system said.
    fn is_named(&self) -> io::Result<bool>;

    /// Reads as much as is there, at most as much as fits.
    ///
    /// # Errors
    /// What the system said.
    fn read(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes, perhaps a part.
    ///
    /// # Errors
    /// What the system said.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Takes room up to a length that it need not have yet. Where the file system can't, nothing.
    ///
    /// # Errors
    /// There is no room.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Cuts it, and gives back what room it has taken beyond.
    ///
    /// # Errors
    /// What the system said.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// What was written until now outlasts a power cut.
    ///
    /// # Errors
    /// What the system said.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of it.
pub(super) fn write_all(file: &dyn Bytes, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends: how much that is.
pub(super) fn read_all(file: &dyn Bytes, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read(&mut into[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A directory on disk, its owner's alone.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes it where it is not there.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(path: &Path) -> io::Result<Self> {
        create_directory(path)?;
        let there = fs::symlink_metadata(path)?;
        if !there.is_dir() || there.mode() & 0o022 != 0 {
            return Err(io::Error::other("not a directory of the daemon's own"));
        }
        Ok(Self(path.to_owned()))
    }
}

impl Files for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let named = fs::read_dir(&self.0)?.map(|entry| entry.map(|entry| entry.file_name().into_string()));
        // What is no text is none of ours.
        Ok(named.collect::<io::Result<Vec<_>>>()?.into_iter().filter_map(Result::ok).collect())
    }

    fn open(&self, name: &str, make: bool) -> io::Result<Box<dyn Bytes>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(make).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.0.join(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        if make {
            give(&file, &self.0)?;
        }
        Ok(Box::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Bytes for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn is_named(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }

    fn read(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(into, offset)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at(bytes, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match fallocate(self, FallocateFlags::KEEP_SIZE, 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            done => Ok(done?),
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Files that end with the process: where there is no directory.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<String, MemoryFile>>>);

/// One of them.
#[derive(Clone, Debug, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, MemoryFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files for Memory {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn open(&self, name: &str, make: bool) -> io::Result<Box<dyn Bytes>> {
        let mut files = self.files();
        if make {
            return Ok(Box::new(files.entry(name.to_owned()).or_default().clone()));
        }
        let file = files.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bytes for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn is_named(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn read(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (mut there, at) = (self.bytes(), offset as usize);
        let end = at + bytes.len();
        if there.len() < end {
            there.resize(end, 0);
        }
        there[at..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.bytes().truncate(length as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_makes_in_the_directory_of_the_daemons_user_is_that_users() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(12_345), Some(54_321)).unwrap();
        let path = folder.path().join("alerts");
        let files = Directory::open(&path).unwrap();
        files.open("x", true).unwrap();
        for made in [path.clone(), path.join("x")] {
            let owner = fs::metadata(&made).map(|found| (found.uid(), found.gid(), found.mode() & 0o077)).unwrap();
            assert_eq!(owner, (12_345, 54_321, 0), "{}", made.display());
        }
    }
}
