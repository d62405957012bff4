//! What outlives the daemon: links and counters, pinned on a BPF file system in a directory named after the layouts'
//! number. Found by their pins alone; what is not ours is left alone. What a build with the layouts before has left is
//! taken over, link by link into the own directory. What lies where: [`super::pin_directory`].

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use aya::programs::links::{FdLink, PinnedLink};
use monitor_common::wire::{Control, HookSums, LAYOUT};
use rustix::fs::{FlockOperation, flock, fstatfs, statfs};

use super::{
    KernelError,
    error::with_causes,
    halves::hook_sums,
    holder,
    kept::{BPF_FS_MAGIC, Kept, Missing},
    links::remove_filters,
    pin_directory::{BEFORE, IN_USE, PinDirectory, remove_maps},
    predecessor::{halves, hot},
};

/// The directory, owned: nobody else uses it meanwhile.
#[derive(Debug)]
pub struct Pins {
    directory: PinDirectory,
    /// Pins of the maps of this start.
    own: PathBuf,
    /// Those of earlier ones.
    earlier: Vec<PathBuf>,
    /// Whether a program of this start may be attached.
    in_use: bool,
    /// The maps before the own ones, of this start too.
    first: Option<First>,
    kept: Kept,
    lock: File,
    /// What a build with the layouts before has left.
    before: Option<Before>,
}

/// Maps of this start that others are taking the place of.
#[derive(Debug)]
struct First {
    directory: PathBuf,
    /// Whether a program that counts in them may be attached.
    in_use: bool,
    kept: Kept,
}

/// The directory of the layouts before, owned.
#[derive(Debug)]
struct Before {
    directory: PinDirectory,
    /// Keeps daemons of that build from it, as theirs keeps us.
    _lock: File,
}

impl Drop for Pins {
    fn drop(&mut self) {
        if !self.in_use {
            remove_maps(&self.own);
        }
    }
}

impl Pins {
    /// Opens or makes the directory below `bpffs`.
    ///
    /// # Errors
    /// It is on no BPF file system, another user's, or another daemon's.
    pub fn open(bpffs: &Path) -> Result<Self, KernelError> {
        Self::open_of(bpffs, rustix::process::geteuid().as_raw())
    }

    /// The same of a user's.
    fn open_of(bpffs: &Path, user: u32) -> Result<Self, KernelError> {
        let refused = |why: String| KernelError::Pins { directory: bpffs.to_owned(), why };
        match can_pin_on(bpffs) {
            Ok(true) => {}
            Ok(false) => {
                return Err(refused("it is on no BPF file system: mount one there (`mount -t bpf bpf DIR`)".into()));
            }
            Err(error) => return Err(refused(format!("{error}: mount a BPF file system there"))),
        }
        let directory = PinDirectory::of(bpffs, LAYOUT);
        let make = |directory: &Path| make(directory).map_err(|error| refused(error.to_string()));
        make(bpffs)?;
        let found = fs::symlink_metadata(bpffs).map_err(|error| refused(error.to_string()))?;
        if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
            return Err(refused("it belongs to somebody else, or others may write to it: remove it".into()));
        }
        make(directory.path())?;
        for part in directory.parts() {
            make(&part)?;
        }
        let in_use = |process| KernelError::PinsInUse { directory: bpffs.to_owned(), process };
        let lock = File::open(directory.path()).map_err(|error| refused(error.to_string()))?;
        holder::lock(&lock).map_err(in_use)?;
        let before = PinDirectory::of(bpffs, BEFORE);
        let before = before.lock().map_err(in_use)?.map(|held| Before { directory: before, _lock: held });
        let mut earlier = before.as_ref().map_or_else(Vec::new, |before| left(&before.directory));
        earlier.extend(left(&directory));
        let own = directory.start(earlier.iter().filter_map(|maps| number(maps)).max().map_or(1, |last| last + 1));
        Ok(Self { directory, own, earlier, in_use: false, first: None, kept: Kept::on(bpffs), lock, before })
    }

    /// Keeps what the programs of this start count in, before they are attached.
    pub(super) fn keep(&mut self, maps: Vec<(&'static str, OwnedFd)>) -> Result<(), KernelError> {
        let refused = |error: io::Error| KernelError::Pins { directory: self.own.clone(), why: error.to_string() };
        fs::DirBuilder::new().mode(0o700).create(&self.own).map_err(refused)?;
        self.kept.maps = maps;
        self.kept.restore(&self.own).map_err(refused)
    }

    /// Whether a program of this start may be attached.
    pub(super) const fn are_in_use(&self) -> bool {
        self.in_use
    }

    /// Notes that a program of this start is about to be attached, or that none is.
    pub(super) fn use_them(&mut self, in_use: bool) -> Result<(), KernelError> {
        let mark = self.own.join(IN_USE);
        self.in_use = in_use;
        let marked = if in_use { fs::create_dir(&mark) } else { fs::remove_dir(&mark) };
        marked.map_err(|error| KernelError::Pins { directory: mark, why: error.to_string() })
    }

    /// Has maps of this start be kept anew, beside those that there are.
    pub(super) fn begin_another(&mut self) {
        let number = number(&self.own).map_or(1, |number| number + 1);
        let another = self.directory.start(number);
        let kept = self.kept.another();
        self.first = Some(First {
            directory: std::mem::replace(&mut self.own, another),
            in_use: std::mem::take(&mut self.in_use),
            kept: std::mem::replace(&mut self.kept, kept),
        });
    }

    /// There were none to be kept: those before are still the own ones.
    pub(super) fn keep_to_first(&mut self) {
        if let Some(First { directory, in_use, kept }) = self.first.take() {
            remove_maps(&self.own);
            (self.own, self.in_use, self.kept) = (directory, in_use, kept);
        }
    }

    /// Removes the pins of the maps before the own ones: what was in them is known.
    pub(super) fn forget_first(&mut self) {
        if let Some(first) = self.first.take() {
            remove_maps(&first.directory);
        }
    }

    /// Directories with what the programs of earlier starts have counted, the oldest first.
    pub(super) fn earlier(&self) -> impl Iterator<Item = &Path> {
        self.earlier.iter().map(PathBuf::as_path)
    }

    /// The epoch after those of earlier starts.
    pub(super) fn next_epoch(&self) -> u32 {
        let last = self.earlier().filter_map(|maps| Some(Control(hot(maps).ok()?.control).epoch())).max();
        last.map_or(0, |last| last.wrapping_add(1))
    }

    /// Where the link is that has sockets refused.
    pub(super) fn bypass(&self) -> PathBuf {
        self.directory.bypass()
    }

    /// Remembers that it is there, by a link of this start.
    pub(super) fn note_bypass(&mut self) {
        let path = self.bypass();
        self.kept.note(&path);
    }

    /// Whether it is not there as it was kept.
    pub(super) fn lacks_bypass(&self) -> bool {
        self.kept.is_missing(&self.bypass())
    }

    /// Removes the link that has sockets refused. Whether there was one.
    pub(super) fn forget_bypass(&self) -> bool {
        let before = self.before.as_ref().is_some_and(|before| before.directory.remove_bypass());
        self.directory.remove_bypass() || before
    }

    /// The link on an interface, if there is one.
    pub(super) fn link(&self, ifindex: u32) -> Option<FdLink> {
        let before = self.before.as_ref().map(|before| before.directory.link(ifindex));
        let mut paths = [Some(self.directory.link(ifindex)), before].into_iter().flatten();
        paths.find_map(|path| PinnedLink::from_pin(path).ok()).map(FdLink::from)
    }

    /// Keeps a link. What was there under its name leads nowhere any more.
    pub(super) fn keep_link(&mut self, ifindex: u32, link: FdLink) -> Result<FdLink, KernelError> {
        let path = self.directory.link(ifindex);
        let _ = fs::remove_file(&path);
        let refused = |why: String| KernelError::Pins { directory: path.clone(), why };
        let link = link.pin(&path).map(FdLink::from).map_err(|error| refused(with_causes(&error)))?;
        self.kept.note(&path);
        Ok(link)
    }

    /// Remembers the link on an interface that an earlier start has kept: from now on in the own directory.
    pub(super) fn note_link(&mut self, ifindex: u32) {
        let path = self.directory.link(ifindex);
        if let Some(before) = &self.before
            && !path.exists()
        {
            // Mostly there is none: it is in the own directory.
            let _ = fs::rename(before.directory.link(ifindex), &path);
        }
        self.kept.note(&path);
    }

    /// What is not there of what was kept.
    pub(super) fn missing(&self) -> Missing {
        if !self.in_use {
            return Missing::Nothing;
        }
        if !Kept::is_mounted(self.directory.path(), &self.lock) {
            return Missing::FileSystem;
        }
        let mut missing = self.kept.missing();
        let mark = self.own.join(IN_USE);
        if !mark.is_dir() {
            missing.push(mark);
        }
        if missing.is_empty() { Missing::Nothing } else { Missing::Pins(missing) }
    }

    /// Mounts and pins what is not there of it, but for links: those are kept anew one by one.
    pub(super) fn restore(&mut self) -> Result<(), KernelError> {
        let directory = self.directory.path().to_owned();
        let refused = |error: io::Error| KernelError::Pins { directory: directory.clone(), why: error.to_string() };
        // Somebody else may have mounted one.
        if !Kept::is_on_bpffs(&directory) {
            self.kept.mount().map_err(refused)?;
        }
        for whole in [directory.parent().unwrap_or(&directory), &directory] {
            make(whole).map_err(refused)?;
        }
        for part in self.directory.parts().chain([self.own.clone()]) {
            make(&part).map_err(refused)?;
        }
        let lock = File::open(&directory).map_err(refused)?;
        let of = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
        if of(&lock).map_err(refused)? != of(&self.lock).map_err(refused)? {
            flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| refused(error.into()))?;
            self.lock = lock;
        }
        self.kept.restore(&self.own).map_err(refused)?;
        if self.in_use {
            make(&self.own.join(IN_USE)).map_err(refused)?;
        }
        Ok(())
    }

    /// Interfaces, by index, whose link is not there as it was kept.
    pub(super) fn lacks_link(&self, ifindex: u32) -> bool {
        self.kept.is_missing(&self.directory.link(ifindex))
    }

    /// Removes the link on an interface: with its last descriptor it is off.
    pub(super) fn remove_link(&mut self, ifindex: u32) {
        let path = self.directory.link(ifindex);
        let _ = fs::remove_file(&path);
        self.kept.forget(&path);
    }

    /// Removes the links of all interfaces but these, and gives theirs.
    pub(super) fn remove_others(&mut self, keep: &[u32]) -> Vec<u32> {
        let mut removed = Vec::new();
        for ifindex in self.directory.links() {
            if !keep.contains(&ifindex) {
                self.remove_link(ifindex);
                removed.push(ifindex);
            }
        }
        let before = self.before.as_ref().map_or_else(Vec::new, |before| before.directory.remove_links());
        removed.extend(before.into_iter().filter(|ifindex| !keep.contains(ifindex)));
        removed
    }

    /// Removes the pins of earlier starts' maps: what was in them is known.
    pub(super) fn forget_earlier(&mut self) {
        for maps in std::mem::take(&mut self.earlier) {
            remove_maps(&maps);
        }
        if let Some(before) = &self.before {
            before.directory.remove();
        }
    }
}

/// Whether a directory is, or when it is made will be, on a BPF file system.
///
/// # Errors
/// What the kernel said.
pub fn can_pin_on(bpffs: &Path) -> io::Result<bool> {
    let nearest = if bpffs.exists() { bpffs } else { bpffs.parent().unwrap_or(Path::new("/")) };
    Ok(statfs(nearest)?.f_type == BPF_FS_MAGIC)
}

/// Whether what is open is on a BPF file system.
///
/// # Errors
/// What the kernel said.
pub fn is_bpf_file_system(open: impl AsFd) -> io::Result<bool> {
    Ok(fstatfs(open)?.f_type == BPF_FS_MAGIC)
}

/// Makes a directory of ours, if it is not there.
fn make(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The maps of earlier starts in a layout's directory, the oldest first.
fn left(directory: &PinDirectory) -> Vec<PathBuf> {
    // A start that came to nothing has left the others; were they kept, a start that is tried again and again would eat up
    // the memory.
    let (mut in_use, unused): (Vec<_>, Vec<_>) = directory.starts().partition(|maps| maps.join(IN_USE).exists());
    unused.iter().for_each(|maps| remove_maps(maps));
    in_use.sort_by_key(|maps| number(maps));
    in_use
}

/// The number of a start's directory of maps.
fn number(maps: &Path) -> Option<u64> {
    maps.file_name()?.to_str()?.parse().ok()
}

/// What passed each interface's hook, in both halves of pinned maps.
fn hooks(maps: &Path) -> Result<Vec<(u32, HookSums)>, KernelError> {
    let (hot, halves) = (hot(maps)?, halves(maps)?);
    let sums = hot.ifindexes.iter().enumerate().map(|(slot, ifindex)| {
        let mut sums = HookSums::default();
        halves.iter().for_each(|half| sums.add(&hook_sums(half, slot)));
        (*ifindex, sums)
    });
    Ok(sums.filter(|(_, sums)| *sums != HookSums::default()).collect())
}

/// Takes everything off that was left pinned below `bpffs`, and the filters of kernels without TCX. What was removed, a
/// line each.
///
/// # Errors
/// Another daemon's, or somebody else's.
pub fn detach_all(bpffs: &Path) -> Result<Vec<String>, KernelError> {
    let filters =
        || remove_filters().into_iter().map(|interface| format!("the program on interface {interface} (clsact)"));
    if !bpffs.exists() {
        return Ok(filters().collect());
    }
    // Root takes off what the daemon's user has left.
    let own = rustix::process::geteuid().as_raw();
    let owner = fs::symlink_metadata(bpffs).map_or(own, |found| if own == 0 { found.uid() } else { own });
    let mut pins = match Pins::open_of(bpffs, owner) {
        Ok(pins) => pins,
        Err(error @ KernelError::Pins { .. }) => {
            let removed: Vec<String> = filters().collect();
            if removed.is_empty() {
                return Err(error);
            }
            tracing::warn!(%error, "no pins were looked for");
            return Ok(removed);
        }
        Err(error) => return Err(error),
    };
    let mut removed: Vec<String> = filters().collect();
    pins.directory.take_off();
    if let Some(before) = &pins.before {
        before.directory.take_off();
    }
    for ifindex in pins.remove_others(&[]) {
        removed.push(format!("the program on interface {ifindex} (tcx)"));
    }
    if pins.forget_bypass() {
        removed.push("the program that refuses sockets which send past the hook".to_owned());
    }
    for (ifindex, sums) in pins.earlier().flat_map(|maps| hooks(maps).unwrap_or_default()) {
        removed.push(format!(
            "counters of interface {ifindex}: {} packets, {} bytes that no daemon has reported, {} packets of them dropped",
            sums.total.packets, sums.total.bytes, sums.dropped.packets
        ));
    }
    pins.forget_earlier();
    let directory = pins.directory.clone();
    drop(pins);
    directory.remove();
    let _ = fs::remove_dir(bpffs);
    Ok(removed)
}
