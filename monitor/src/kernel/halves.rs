//! What each CPU has of a half beside its flows: read whole by the drain and by reconciliation, and given to the half that
//! is closed. And what keeps readings in their order.

use aya::maps::PerCpuValues;
use monitor_common::wire::CpuHalf;

use super::{Kernel, KernelError, counts::Counts};

impl Counts {
    /// What the CPUs have of a half.
    pub fn read_halves(&self, parity: u32) -> Result<PerCpuValues<CpuHalf>, KernelError> {
        self.halves.get(&parity, 0).map_err(KernelError::aya("reading what the CPUs have counted"))
    }

    /// Gives the CPUs what they begin an epoch of this parity with: to the half that is closed and taken.
    pub fn give_halves(&mut self, parity: u32) -> Result<(), KernelError> {
        let fresh =
            PerCpuValues::try_from(self.cache.fresh(parity)).map_err(KernelError::map("clearing the counters"))?;
        self.halves.set(parity, fresh, 0).map_err(KernelError::aya("clearing what the CPUs have counted"))
    }
}

impl Kernel {
    /// Keeps what another CPU reads later from being read before what it reads now. Where a CPU's loads may overtake each
    /// other, whatever a program chooses by a branch (the flow table of a parity) may be read before the branch is decided.
    pub(super) fn order_reads(&self) -> std::io::Result<()> {
        if cfg!(target_arch = "x86_64") { Ok(()) } else { self.grace_period.wait() }
    }
}
