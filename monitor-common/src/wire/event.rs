//! What the kernel part reports at once through the ring buffer, and its clocks.

use super::FullKey;

/// One alertable flow seen for the first time in an epoch. Best effort: what the ring loses is recovered from
/// the flow table at the next drain.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Event {
    /// The flow.
    pub flow: FullKey,
    /// When, in jiffies; see [`Clock`].
    pub jiffies: u64,
    /// The epoch that the packet was counted in.
    pub epoch: u32,
    /// Bytes of the first packet on the wire.
    pub wire_bytes: u32,
}

/// The kernel's clocks, read together by the `clock` program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Clock {
    /// `bpf_jiffies64()` (kernel 5.6).
    pub jiffies: u64,
    /// `bpf_ktime_get_boot_ns()` (kernel 5.8): CLOCK_BOOTTIME.
    pub boot_ns: u64,
}
