//! What outlives the daemon: links and counters, pinned on a BPF file system in a directory named after the layouts'
//! number. Found by their pins alone; what is not ours is left alone.
//!
//! `<bpffs>/v<N>/links/<ifindex>` are the links. `<bpffs>/v<N>/maps/<number>/` has what the programs of one start of the
//! daemon count in: pinned before they are attached, removed when all of it is known.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use aya::{
    maps::{Array, Map, MapData, PerCpuArray},
    programs::links::{FdLink, PinnedLink},
};
use monitor_common::wire::{CpuHalf, HookSums, Hot, LAYOUT, MAX_INTERFACES};
use rustix::fs::{FlockOperation, flock, statfs};

use super::{KernelError, halves::hook_sums, links::remove_filters};

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The directory, owned: nobody else uses it meanwhile.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    /// Pins of the maps of this start.
    own: PathBuf,
    /// Those of earlier ones.
    earlier: Vec<PathBuf>,
    _lock: File,
}

impl Pins {
    /// Opens or makes the directory below `bpffs`.
    ///
    /// # Errors
    /// It is on no BPF file system, another user's, or another daemon's.
    pub fn open(bpffs: &Path) -> Result<Self, KernelError> {
        let refused = |why: String| KernelError::Pins { directory: bpffs.to_owned(), why };
        let parent = bpffs.parent().unwrap_or(Path::new("/"));
        let on = statfs(if bpffs.exists() { bpffs } else { parent });
        match on {
            Ok(found) if found.f_type == BPF_FS_MAGIC => {}
            Ok(_) => {
                return Err(refused("it is on no BPF file system: mount one there (`mount -t bpf bpf DIR`)".into()));
            }
            Err(error) => return Err(refused(format!("{error}: mount a BPF file system there"))),
        }
        let directory = bpffs.join(format!("v{LAYOUT}"));
        let make = |directory: &Path| match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(refused(error.to_string())),
            _ => Ok(()),
        };
        make(bpffs)?;
        let found = fs::symlink_metadata(bpffs).map_err(|error| refused(error.to_string()))?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(refused("it belongs to somebody else, or others may write to it: remove it".into()));
        }
        for part in [directory.clone(), directory.join("links"), directory.join("maps")] {
            make(&part)?;
        }
        let lock = File::open(&directory).map_err(|error| refused(error.to_string()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let owner = owner(&lock).map_or_else(String::new, |(pid, since)| format!(" (pid {pid}, since {since})"));
            return Err(KernelError::PinsInUse { directory: bpffs.to_owned(), owner });
        }
        let mut earlier = Vec::new();
        for entry in fs::read_dir(directory.join("maps")).map_err(|error| refused(error.to_string()))?.flatten() {
            earlier.push(entry.path());
        }
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
        let own =
            directory.join(format!("maps/{}", earlier.iter().filter_map(number).max().map_or(1, |last| last + 1)));
        Ok(Self { directory, own, earlier, _lock: lock })
    }

    /// Keeps what the programs of this start count in.
    pub(super) fn keep(&self, maps: &[(&str, &MapData)]) -> Result<(), KernelError> {
        let refused = |why: String| KernelError::Pins { directory: self.own.clone(), why };
        fs::DirBuilder::new().mode(0o700).create(&self.own).map_err(|error| refused(error.to_string()))?;
        for (name, map) in maps {
            map.pin(self.own.join(name)).map_err(|error| refused(super::error::with_causes(&error)))?;
        }
        Ok(())
    }

    fn link_path(&self, ifindex: u32) -> PathBuf {
        self.directory.join(format!("links/{ifindex}"))
    }

    /// The link on an interface, if there is one.
    pub(super) fn link(&self, ifindex: u32) -> Option<FdLink> {
        PinnedLink::from_pin(self.link_path(ifindex)).ok().map(FdLink::from)
    }

    /// Keeps a link. What was there under its name leads nowhere any more.
    pub(super) fn keep_link(&self, ifindex: u32, link: FdLink) -> Result<FdLink, KernelError> {
        let path = self.link_path(ifindex);
        let _ = fs::remove_file(&path);
        let refused = |why: String| KernelError::Pins { directory: path.clone(), why };
        link.pin(&path).map(FdLink::from).map_err(|error| refused(super::error::with_causes(&error)))
    }

    /// Removes the link on an interface: with its last descriptor it is off.
    pub(super) fn remove_link(&self, ifindex: u32) {
        let _ = fs::remove_file(self.link_path(ifindex));
    }

    /// Removes the links of all interfaces but these, and gives theirs. Nothing of ours should be on them.
    pub(super) fn remove_others(&self, keep: &[u32]) -> Vec<u32> {
        let mut removed = Vec::new();
        for ifindex in links(&self.directory) {
            if !keep.contains(&ifindex) {
                self.remove_link(ifindex);
                removed.push(ifindex);
            }
        }
        removed
    }

    /// What earlier starts' programs have counted and nobody has taken, by interface index, once none of them runs any more.
    pub(super) fn left(&self) -> Vec<(u32, HookSums)> {
        let mut sums = std::collections::BTreeMap::<u32, HookSums>::new();
        for maps in &self.earlier {
            match read(maps) {
                Ok(found) => found.into_iter().for_each(|(ifindex, of)| sums.entry(ifindex).or_default().add(&of)),
                Err(error) => tracing::warn!(maps = %maps.display(), error, "what was counted there can't be read"),
            }
        }
        sums.into_iter().collect()
    }

    /// Removes the pins of earlier starts' maps: what was in them is known.
    pub(super) fn forget_earlier(&mut self) {
        for maps in std::mem::take(&mut self.earlier) {
            remove_maps(&maps);
        }
    }

    /// Removes this start's pins: nothing outlives it.
    pub(super) fn forget_own(&self) {
        remove_maps(&self.own);
    }
}

fn remove_maps(maps: &Path) {
    for entry in fs::read_dir(maps).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    let _ = fs::remove_dir(maps);
}

fn links(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory.join("links")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What passed each interface's hook, in both halves of pinned maps.
fn read(maps: &Path) -> Result<Vec<(u32, HookSums)>, String> {
    let text = |error: aya::maps::MapError| super::error::with_causes(&error);
    let map = |name: &str| MapData::from_pin(maps.join(name)).map_err(text);
    let halves: PerCpuArray<_, CpuHalf> = PerCpuArray::try_from(Map::PerCpuArray(map("HALVES")?)).map_err(text)?;
    let hot: Array<_, [u8; size_of::<Hot>()]> = Array::try_from(Map::Array(map("HOT")?)).map_err(text)?;
    let hot = hot.get(&0, 0).map_err(text)?;
    let hot: Hot = bytemuck::pod_read_unaligned(&hot);
    let mut sums = vec![HookSums::default(); MAX_INTERFACES as usize];
    for parity in [0, 1] {
        let half = halves.get(&parity, 0).map_err(text)?;
        for (slot, sum) in sums.iter_mut().enumerate() {
            sum.add(&hook_sums(&half, slot));
        }
    }
    let of = |(slot, sum): (usize, HookSums)| (hot.ifindexes[slot], sum);
    Ok(sums.into_iter().enumerate().map(of).filter(|(_, sum)| *sum != HookSums::default()).collect())
}

/// Who holds the lock on a file, and since when it runs.
fn owner(file: &File) -> Option<(u32, jiff::Timestamp)> {
    let inode = format!(":{}", file.metadata().ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let at = words.iter().position(|word| word.ends_with(&inode))?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    })?;
    let since = fs::metadata(format!("/proc/{pid}")).ok()?.modified().ok()?;
    Some((pid, since.try_into().ok()?))
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
    let mut pins = Pins::open(bpffs)?;
    let mut removed: Vec<String> = filters().collect();
    for ifindex in pins.remove_others(&[]) {
        removed.push(format!("the program on interface {ifindex} (tcx)"));
    }
    for (ifindex, sums) in pins.left() {
        removed.push(format!(
            "counters of interface {ifindex}: {} packets, {} bytes that no daemon has reported, {} packets of them dropped",
            sums.total.packets, sums.total.bytes, sums.dropped.packets
        ));
    }
    pins.forget_earlier();
    let directory = pins.directory.clone();
    drop(pins);
    for part in ["links", "maps", ""] {
        let _ = fs::remove_dir(directory.join(part));
    }
    let _ = fs::remove_dir(bpffs);
    Ok(removed)
}
