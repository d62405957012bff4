//! What each CPU has of a half beside its flows: read whole by the drain and by reconciliation, and given to the half that
//! is closed.

use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use monitor_common::wire::{CpuHalf, HookSums, v1};

/// The map `HALVES`.
pub(super) enum Halves {
    /// Of these layouts.
    Own(PerCpuArray<MapData, CpuHalf>),
    /// Of those before.
    Before(PerCpuArray<MapData, v1::CpuHalf>),
}

impl Halves {
    /// Of this map.
    pub fn of(data: MapData) -> Result<Self, MapError> {
        let is_before = data.info()?.value_size() as usize == size_of::<v1::CpuHalf>();
        let map = Map::PerCpuArray(data);
        Ok(if is_before { Self::Before(map.try_into()?) } else { Self::Own(map.try_into()?) })
    }

    /// What the CPUs have of a half.
    pub fn get(&self, parity: u32) -> Result<Vec<CpuHalf>, MapError> {
        Ok(match self {
            Self::Own(map) => map.get(&parity, 0)?.to_vec(),
            Self::Before(map) => map.get(&parity, 0)?.iter().map(CpuHalf::from).collect(),
        })
    }

    /// Gives the CPUs this of a half.
    pub fn set(&mut self, parity: u32, halves: Vec<CpuHalf>) -> Result<(), MapError> {
        match self {
            Self::Own(map) => map.set(parity, PerCpuValues::try_from(halves)?, 0),
            Self::Before(map) => {
                let halves: Vec<_> = halves.iter().map(v1::CpuHalf::from).collect();
                map.set(parity, PerCpuValues::try_from(halves)?, 0)
            }
        }
    }

    /// The first element of `UNPARSED` for a slot and parity, in units of all reasons.
    pub const fn unparsed(&self, parity: u32, slot: u32) -> u32 {
        match self {
            Self::Own(_) => 2 * slot + parity,
            Self::Before(_) => parity * v1::MAX_INTERFACES + slot,
        }
    }
}

/// What all CPUs counted at the hook of the interface in this slot.
pub(super) fn hook_sums(halves: &[CpuHalf], slot: usize) -> HookSums {
    let mut sums = HookSums::default();
    for half in halves {
        sums.add(&HookSums { dropped: half.dropped[slot], total: half.hook[slot].counters() });
    }
    sums
}
