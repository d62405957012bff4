//! What was pinned, so that it is noticed when it is there no more, and can be pinned again. Called by `super::pins`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::statfs;

use super::sys;

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
pub(super) const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// What is not there of what was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// All is there.
    Nothing,
    /// The file system that it was on.
    FileSystem,
    /// These.
    Pins(Vec<PathBuf>),
}

/// Where the file system is mounted.
#[derive(Clone, Debug)]
struct Mount {
    at: PathBuf,
    /// Who may write to its root.
    mode: u32,
    user: (u32, u32),
}

/// Pins of ours.
#[derive(Debug)]
pub(super) struct Kept {
    mount: Option<Mount>,
    /// Maps, with their names. They are held, so that they can be pinned again.
    pub maps: Vec<(&'static str, OwnedFd)>,
    /// Device and inode of each pin as it was made: another object there is not ours.
    pins: BTreeMap<PathBuf, (u64, u64)>,
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// The innermost directory that is there: one that was removed is missing, and its file system is not.
fn present(directory: &Path) -> &Path {
    directory.ancestors().find(|path| path.exists()).unwrap_or(directory)
}

impl Kept {
    /// None yet, on the file system that has this path or is to have it.
    pub fn on(bpffs: &Path) -> Self {
        Self { mount: Mount::of(bpffs), maps: Vec::new(), pins: BTreeMap::new() }
    }

    /// The same for other maps; links stay the same.
    pub fn another(&self) -> Self {
        let is_link = |path: &Path| path.parent().is_some_and(|parent| parent.ends_with("links"));
        let links = self.pins.iter().filter(|(path, _)| is_link(path)).map(|(path, of)| (path.clone(), *of));
        Self { mount: self.mount.clone(), maps: Vec::new(), pins: links.collect() }
    }

    /// Remembers a pin as it is now.
    pub fn note(&mut self, path: &Path) {
        if let Some(found) = identity(path) {
            self.pins.insert(path.to_owned(), found);
        }
    }

    /// One that is not to be there any more.
    pub fn forget(&mut self, path: &Path) {
        self.pins.remove(path);
    }

    /// Whether it is not there, or somebody else's.
    pub fn is_missing(&self, path: &Path) -> bool {
        self.pins.get(path).is_some_and(|known| identity(path) != Some(*known))
    }

    /// Those that are not there, or somebody else's.
    pub fn missing(&self) -> Vec<PathBuf> {
        self.pins.keys().filter(|path| self.is_missing(path)).cloned().collect()
    }

    /// Whether a directory's file system, of which `inside` was opened, is still to be found there.
    pub fn is_mounted(directory: &Path, inside: &File) -> bool {
        let device = |found: io::Result<fs::Metadata>| found.ok().map(|found| found.dev());
        Self::is_on_bpffs(directory) && device(fs::metadata(present(directory))) == device(inside.metadata())
    }

    /// Whether any BPF file system is there.
    pub fn is_on_bpffs(directory: &Path) -> bool {
        statfs(present(directory)).is_ok_and(|found| found.f_type == BPF_FS_MAGIC)
    }

    /// Mounts a file system where it was.
    pub fn mount(&self) -> io::Result<()> {
        let Some(Mount { at, mode, user: (user, group) }) = &self.mount else {
            return Err(io::Error::other("where it was mounted is not known"));
        };
        sys::mount_bpffs(at)?;
        std::os::unix::fs::chown(at, Some(*user), Some(*group))?;
        fs::set_permissions(at, fs::Permissions::from_mode(*mode))
    }

    /// Pins the maps that are not pinned in a directory.
    pub fn restore(&mut self, directory: &Path) -> io::Result<()> {
        for (name, map) in &self.maps {
            let path = directory.join(name);
            if self.pins.get(&path).is_some_and(|known| identity(&path) == Some(*known)) {
                continue;
            }
            let _ = fs::remove_file(&path);
            sys::pin(map.as_fd(), &path)?;
            if let Some(found) = identity(&path) {
                self.pins.insert(path, found);
            }
        }
        Ok(())
    }
}

impl Mount {
    /// The one that a path is on: its topmost directory of the same device.
    fn of(path: &Path) -> Option<Self> {
        let there = path.ancestors().find(|path| path.exists())?;
        let device = fs::metadata(there).ok()?.dev();
        let same = |path: &&Path| fs::metadata(path).is_ok_and(|found| found.dev() == device);
        let at = there.ancestors().take_while(same).last()?.to_owned();
        let found = fs::metadata(&at).ok()?;
        Some(Self { at, mode: found.mode() & 0o7777, user: (found.uid(), found.gid()) })
    }
}
