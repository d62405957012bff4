//! What each CPU has of a half beside its flows: read whole by the drain and by reconciliation, and given to the half that
//! is closed. And what keeps readings in their order.

use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use monitor_common::wire::{CpuHalf, v1};

use super::{Kernel, KernelError, counts::Counts};

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

    fn set(&mut self, parity: u32, halves: Vec<CpuHalf>) -> Result<(), MapError> {
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

impl Counts {
    /// What the CPUs have of a half.
    pub fn read_halves(&self, parity: u32) -> Result<Vec<CpuHalf>, KernelError> {
        self.halves.get(parity).map_err(KernelError::aya("reading what the CPUs have counted"))
    }

    /// Gives the CPUs what they begin an epoch of this parity with: to the half that is closed and taken.
    pub fn give_halves(&mut self, parity: u32) -> Result<(), KernelError> {
        let fresh = self.cache.fresh(parity);
        self.halves.set(parity, fresh).map_err(KernelError::aya("clearing what the CPUs have counted"))
    }
}

impl Kernel {
    /// Keeps what another CPU reads later from being read before what it reads now. Where a CPU's loads may overtake each
    /// other, whatever a program chooses by a branch (the flow table of a parity) may be read before the branch is decided.
    pub(super) fn order_reads(&self) -> std::io::Result<()> {
        if cfg!(target_arch = "x86_64") { Ok(()) } else { self.grace_period.wait() }
    }
}
