//! Every struct that crosses the kernel border.
//!
//! Plain integers with named padding only: no enum, bool or reference. Decoding into richer types is userspace's.

use core::mem::offset_of;

mod cache;
mod control;
mod event;
mod flow;
mod layout;
mod policy;
mod probe;
#[cfg(feature = "user")]
pub mod v1;

pub(crate) use cache::whole_counters;
pub use cache::{
    CACHE_BLOCK, CACHE_WAYS, CacheBlock, CacheEntryV4, CacheEntryV6, CacheRegion, CacheRestV6, CacheRestsV6,
    CacheSetV4, CacheSetV6, CpuHalf, Decision, Endpoints, FlowRecord, HookTotal, PlainKey, TunnelKey,
};
pub use control::Control;
#[cfg(feature = "user")]
pub use event::Reported;
pub use event::{Clock, Event, HEAD, UnparsedEvent};
pub use flow::{
    Address, Counters, FlowKey, FlowValue, FullKey, HookSums, InnerDestination, ON_LINK, Opaque, ReasonSums, Via,
    on_link, segments,
};
pub use layout::LAYOUT;
pub use policy::{Class, ClassRow, Embedded, Node, PolicyMeta, RuleRow, RuleRowAction, V6Low};
pub use probe::ProbeQuery;

/// Interfaces that one monitor can tell apart; slot 0 is reserved for those that nobody registered.
pub const MAX_INTERFACES: u32 = 256;

/// Entries of the open-addressed interface table; see [`InterfaceEntry`].
pub const INTERFACE_TABLE: u32 = 4096;

/// Probes after which an interface counts as not registered.
pub const INTERFACE_PROBES: u32 = 4;

/// Class rows in one policy: country, class and rules in every combination that occurs.
pub const MAX_CLASSES: u32 = 16_384;

/// Rule rows (one rule has a row per port range) that the kernel looks at for one class.
pub const MAX_RULES_PER_CLASS: u32 = 32;

/// What every packet reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Hot {
    /// A [`Control`].
    pub control: u64,
    /// The jiffy from which [`Self::fallback`] holds instead, whether userspace is there or not; 0: never. Looked at where
    /// a flow is judged, never where it was judged before.
    pub deadline: u64,
    /// The [`Control`] that holds then, if its epoch is the one after the open one.
    pub fallback: u64,
    /// The [`Control`] before this one: under which slot and mode the other half was counted.
    pub previous: u64,
    /// [`InterfaceEntry`]s; open addressing.
    pub interfaces: [InterfaceEntry; INTERFACE_TABLE as usize],
    /// Kernel interface index by slot.
    pub ifindexes: [u32; MAX_INTERFACES as usize],
}

impl Hot {
    /// Which 64-bit word each of the first four fields is.
    pub const CONTROL: usize = offset_of!(Self, control) / 8;
    /// As [`Self::CONTROL`].
    pub const DEADLINE: usize = offset_of!(Self, deadline) / 8;
    /// As [`Self::CONTROL`].
    pub const FALLBACK: usize = offset_of!(Self, fallback) / 8;
    /// As [`Self::CONTROL`].
    pub const PREVIOUS: usize = offset_of!(Self, previous) / 8;

    /// Which 64-bit word an element of `interfaces` is.
    #[must_use]
    pub const fn word_of_interface(element: u32) -> usize {
        (offset_of!(Self, interfaces) + element as usize * size_of::<InterfaceEntry>()) / 8
    }

    /// Which 64-bit word an element of `ifindexes` is in, and at which bit of it: the kernel part is little-endian.
    #[must_use]
    pub const fn word_of_ifindex(slot: u32) -> (usize, u32) {
        let at = offset_of!(Self, ifindexes) + slot as usize * 4;
        (at / 8, at as u32 % 8 * 8)
    }
}

/// One registered interface, at `(ifindex + probe) % INTERFACE_TABLE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct InterfaceEntry {
    /// Kernel interface index; 0 marks a free entry.
    pub ifindex: u32,
    /// Dense number below [`MAX_INTERFACES`] that the interface's counters are indexed by; never 0.
    pub slot: u16,
    /// A [`Link`] as its number.
    pub link: u16,
}

/// What precedes the network header on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Link {
    /// Ethernet header (ARPHRD_ETHER, ARPHRD_LOOPBACK).
    Ethernet = 0,
    /// Nothing: the frame starts with IP (tun, WireGuard, IPIP, SIT…).
    Ip = 1,
    /// A link layer that the parser does not know; every packet is unparsed.
    Other = 2,
}

impl Link {
    /// The link layer with this number; an unknown number is [`Link::Other`].
    #[must_use]
    #[inline(always)]
    pub const fn from_wire(number: u16) -> Self {
        match number {
            0 => Self::Ethernet,
            1 => Self::Ip,
            _ => Self::Other,
        }
    }
}

#[cfg(feature = "aya")]
mod pod {
    use super::*;
    // SAFETY: all are `bytemuck::Pod`: no padding, every bit pattern valid, which is what aya::Pod asks.
    unsafe impl aya::Pod for InterfaceEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FlowKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FullKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FlowValue {}
    // SAFETY: as above.
    unsafe impl aya::Pod for CpuHalf {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Counters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ReasonSums {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Clock {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PolicyMeta {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Node {}
    // SAFETY: as above.
    unsafe impl aya::Pod for V6Low {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Control {}
}

const _: () = {
    assert!(size_of::<InterfaceEntry>() == 8);
    assert!(offset_of!(Hot, interfaces) == 32);
    // In a key there are 8 bits for a slot.
    assert!(MAX_INTERFACES == 256);
    assert!(size_of::<FlowKey>() == 48);
    assert!(size_of::<InnerDestination>() == 24);
    assert!(size_of::<FullKey>() == 72);
    assert!(size_of::<FlowValue>() == 48);
    assert!(size_of::<PlainKey>() == 48);
    assert!(size_of::<TunnelKey>() == 72);
    assert!(size_of::<CacheEntryV4>() == 64);
    assert!(size_of::<CacheEntryV6>() == 64);
    assert!(size_of::<CacheSetV4>() == CACHE_BLOCK);
    assert!(size_of::<CacheSetV6>() == CACHE_BLOCK);
    assert!(size_of::<CacheRestsV6>() == CACHE_BLOCK);
    assert!(size_of::<CacheBlock>() == CACHE_BLOCK);
    assert!(size_of::<FlowRecord>() == 96);
    assert!(offset_of!(CpuHalf, dropped) == 128);
    assert!(offset_of!(CpuHalf, dropped) < offset_of!(CpuHalf, hook));
    assert!(size_of::<ReasonSums>() == 64);
    assert!(size_of::<HookSums>() == 64);
    assert!(offset_of!(HookSums, dropped) == 0);
    assert!(size_of::<Event>() == 96);
    assert!(size_of::<UnparsedEvent>() == 72);
    assert!(size_of::<ClassRow>() == 16);
    assert!(size_of::<RuleRow>() == 24);
    assert!(size_of::<Node>() == 64);
    assert!(size_of::<V6Low>() == 16);
    assert!(size_of::<PolicyMeta>() == 32);
};
