//! Files in, what tells one state of them from another out: their stamps, and a digest of their contents. Called by
//! `super::watch` and by whoever reads the files.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use monitor_policy::fs::{is_leftover, open_regular};
use sha2::{Digest as _, Sha256};

/// File times are those of the kernel's last tick: a file that changed so shortly before a look can change again and
/// look the same.
const TICK: Duration = Duration::from_millis(50);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The stamps of files at a look; `None`: not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStamps(pub(super) BTreeMap<PathBuf, Option<Stamp>>);

impl Stamp {
    pub(super) fn of(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

impl FileStamps {
    /// Looks at files; symbolic links are followed.
    pub fn look(files: &[PathBuf]) -> Self {
        let stamp = |file: &PathBuf| fs::metadata(file).ok().as_ref().map(Stamp::of);
        Self(files.iter().map(|file| (file.clone(), stamp(file))).collect())
    }

    /// Adds the stamps of other files; of those in both, `earlier` holds.
    #[must_use]
    pub fn after(mut self, earlier: Self) -> Self {
        self.0.extend(earlier.0);
        self
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.0.keys().cloned().collect()
    }

    /// Those that are there.
    pub(super) fn there(&self) -> Vec<PathBuf> {
        self.0.iter().filter(|(_, stamp)| stamp.is_some()).map(|(file, _)| file.clone()).collect()
    }

    /// Whether this one was looked for in vain.
    pub(super) fn is_missing(&self, file: &Path) -> bool {
        self.0.get(file).is_some_and(Option::is_none)
    }

    /// Whether a file that `other` knows is not there.
    pub(super) fn lacks_one_of(&self, other: &Self) -> bool {
        self.0.iter().any(|(file, stamp)| stamp.is_none() && other.0.get(file).is_some_and(Option::is_some))
    }

    /// Whether every change is so long ago that the next one will show.
    pub(super) fn is_old(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let newest = self.0.values().flatten().map(|stamp| stamp.changed).max();
        newest.is_none_or(|(seconds, nanoseconds)| {
            let at = Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
            // One of the future says nothing, as on a file system with a clock of its own.
            now.checked_sub(at).is_none_or(|age| age > TICK)
        })
    }
}

/// SHA-256 over what the files hold.
pub(super) fn contents(files: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        let one = content(file).unwrap_or_else(|error| Sha256::digest(format!("{:?}", error.kind())).into());
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(one);
    }
    hash.finalize().into()
}

fn content(file: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    if fs::metadata(file)?.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(file)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
        names.retain(|name| !is_leftover(&name.to_string_lossy()));
        names.sort_unstable();
        for name in names {
            hash.update(name.as_encoded_bytes());
            hash.update([0]);
        }
        return Ok(hash.finalize().into());
    }
    let mut open = open_regular(file)?;
    let mut chunk = vec![0; 1 << 16];
    loop {
        match open.read(&mut chunk)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&chunk[..read]),
        }
    }
}
