//! The memory of a map that another process has, as root on the host can have it: what the monitor must notice when somebody
//! writes to it.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapInfo};

use crate::{
    bpf::{self, pair},
    bypass::Mapping,
};

/// A map that a process has open, by its name, of which the kernel keeps 15 letters.
fn info(process: u32, name: &str) -> Result<MapInfo> {
    let files = fs::read_dir(format!("/proc/{process}/fdinfo")).context("the process's descriptors")?;
    let texts = files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok());
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse::<u32>().ok());
    let ids: BTreeSet<u32> = texts.filter_map(id).collect();
    // The latest, where some were replaced.
    let mut infos = ids.into_iter().rev().filter_map(|id| MapInfo::from_id(id).ok());
    let kept = &name[..name.len().min(15)];
    infos.find(|info| info.name_as_str() == Some(kept)).with_context(|| format!("no map {name}"))
}

/// Writes a word of an array map that can't be mapped.
///
/// # Errors
/// The process has no such map.
pub fn set_word(process: u32, name: &str, at: u32, value: u64) -> Result<()> {
    let map = Map::Array(MapData::from_id(info(process, name)?.id())?);
    Ok(Array::<_, u64>::try_from(map)?.set(at, value, 0)?)
}

/// Adds a key to a set.
///
/// # Errors
/// The process has no such map.
pub fn add_key(process: u32, name: &str, key: u64) -> Result<()> {
    let map = Map::HashMap(MapData::from_id(info(process, name)?.id())?);
    Ok(HashMap::<_, u64, u8>::try_from(map)?.insert(key, 1, 0)?)
}

/// See the module.
#[derive(Debug)]
pub struct MapMemory {
    memory: Mapping,
    /// Words of 8 bytes.
    words: usize,
}

impl MapMemory {
    /// Of an array map of a process that is mapped there, by its name.
    ///
    /// # Errors
    /// It has none.
    pub fn of(process: u32, name: &str) -> Result<Self> {
        let info = info(process, name)?;
        let bytes = info.value_size() as usize * info.max_entries() as usize;
        let fd = bpf::open(bpf::MAP_GET_FD_BY_ID, &mut [pair(info.id(), 0), 0]).context("BPF_MAP_GET_FD_BY_ID")?;
        let memory = Mapping::new(fd.as_raw_fd(), 0, bytes.next_multiple_of(4096)).context("mapping a map")?;
        Ok(Self { memory, words: bytes / 8 })
    }

    /// How many words it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.words
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// A word.
    ///
    /// # Panics
    /// There are fewer.
    #[must_use]
    pub fn word(&self, at: usize) -> u64 {
        self.atomic(at).load(Ordering::Relaxed)
    }

    /// Writes a word.
    ///
    /// # Panics
    /// There are fewer.
    pub fn set(&self, at: usize, value: u64) {
        self.atomic(at).store(value, Ordering::Relaxed);
    }

    fn atomic(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.words, "a word past the end of a map");
        // SAFETY: within the mapping by the assertion, aligned since a mapping begins a page, and shared with the kernel and
        // another process as an atomic.
        unsafe { AtomicU64::from_ptr(self.memory.at(8 * at)) }
    }
}
