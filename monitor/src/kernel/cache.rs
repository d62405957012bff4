//! The flow cache from userspace: how large it is, and taking what a closed half holds.

use std::{hash::BuildHasher as _, io};

use aya::{maps::MapData, util::online_cpus};
use monitor_common::{
    cache::HashKeys,
    wire::{CACHE_WAYS, CacheEntry, CacheSet},
};

use super::{KernelError, object, sys::MappedArray};

/// Places of all CPUs' caches together by default, in each half; but no CPU has more than half of them, nor less than
/// [`LEAST`].
const PLACES: u32 = 131_072;
const LEAST: u32 = 8_192;

/// The size of the flow cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cache {
    /// CPUs that have one: those up to the last that was there at the load. One that comes later has none, and counts in the
    /// flow table.
    pub cpus: u32,
    /// Sets of a CPU, in one half.
    pub sets: u32,
    /// For the hash.
    pub keys: HashKeys,
}

impl Cache {
    /// A cache with this many places a CPU, in each half.
    pub fn of(places: Option<u32>) -> Result<Self, KernelError> {
        let online = online_cpus().map_err(|(what, error)| KernelError::Map {
            what: "counting the CPUs",
            error: io::Error::other(format!("{what}: {error}")),
        })?;
        let cpus = online.into_iter().max().unwrap_or(0) + 1;
        let places = places.unwrap_or_else(|| (PLACES / cpus).clamp(LEAST, PLACES / 2));
        // Halves begin a page, so that one alone can be mapped.
        let unit = rustix::param::page_size() / (size_of::<CacheSet>() & size_of::<CacheSet>().wrapping_neg());
        let sets = places.div_ceil(CACHE_WAYS as u32).next_multiple_of(unit as u32);
        let random = std::hash::RandomState::new();
        Ok(Self { cpus, sets, keys: std::array::from_fn(|word| random.hash_one(word) | 1) })
    }

    /// Sets in one half.
    pub const fn half(&self) -> u32 {
        self.cpus * self.sets
    }

    /// Places in one half.
    pub const fn places(&self) -> u32 {
        self.half() * CACHE_WAYS as u32
    }

    /// Takes every flow out of the half of this parity, which is closed. Mapped only meanwhile: it would count as the daemon's
    /// memory.
    pub fn drain(&self, map: &MapData, parity: u32, mut entry: impl FnMut(&CacheEntry)) -> io::Result<()> {
        let half = self.half() as usize;
        let mut window: MappedArray<CacheSet> = MappedArray::window(object::fd(map), parity as usize * half, half)?;
        for way in window.part(0, half).iter_mut().flat_map(|set| &mut set.ways).filter(|way| !way.is_empty()) {
            entry(way);
            *way = CacheEntry::default();
        }
        Ok(())
    }
}
