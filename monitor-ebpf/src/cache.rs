//! From a packet to its set in the flow cache.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use monitor_common::wire::{CacheKey, CacheSet};

use crate::maps;

/// This CPU's set for a flow, in the half of this parity. `None` on a CPU that was not there when the maps were
/// created.
#[inline(always)]
pub fn set(parity: u32, key: &CacheKey) -> Option<*mut CacheSet> {
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let cpus = maps::CPUS.load();
    if cpu >= cpus {
        return None;
    }
    let sets = maps::CACHE_SETS.load();
    let set = key.set_index(&maps::HASH_KEYS.load(), sets);
    maps::CACHE.get_ptr_mut((parity * cpus + cpu) * sets + set)
}
