//! The layouts before: where they differ, so that what a build with them has left pinned is taken over. `layout/1.txt`.

use core::mem::offset_of;

use super::{CacheRegion, Counters, HookTotal, InterfaceEntry};
use crate::cache::HashKeys;

/// As [`super::MAX_INTERFACES`].
pub const MAX_INTERFACES: u32 = 64;

/// As [`super::INTERFACE_TABLE`].
pub const INTERFACE_TABLE: u32 = 1024;

/// As [`super::Hot`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[expect(missing_docs, reason = "as it is now")]
pub struct Hot {
    pub control: u64,
    pub deadline: u64,
    pub fallback: u64,
    pub previous: u64,
    pub interfaces: [InterfaceEntry; INTERFACE_TABLE as usize],
    pub ifindexes: [u32; MAX_INTERFACES as usize],
}

/// As [`super::CpuHalf`].
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[expect(missing_docs, reason = "as it is now")]
pub struct CpuHalf {
    pub keys: HashKeys,
    pub v4: CacheRegion,
    pub v6: CacheRegion,
    pub v4_reserve: CacheRegion,
    pub v6_reserve: CacheRegion,
    pub log_base: u32,
    pub log_places: u32,
    pub logged: u32,
    pub crowded: [u32; 2],
    pub crowded_limit: [u32; 2],
    pub events: u32,
    pub _reserved: [u32; 4],
    pub dropped: [Counters; MAX_INTERFACES as usize],
    pub hook: [HookTotal; MAX_INTERFACES as usize],
}

/// As much of the larger array as the smaller one has, or all of it and zeros.
fn resized<T: Copy + Default, const FROM: usize, const TO: usize>(from: &[T; FROM]) -> [T; TO] {
    let mut to = [T::default(); TO];
    let both = FROM.min(TO);
    to[..both].copy_from_slice(&from[..both]);
    to
}

impl From<&Hot> for super::Hot {
    /// But for the table by which packets find their interfaces: none do any more.
    fn from(before: &Hot) -> Self {
        let Hot { control, deadline, fallback, previous, ifindexes, .. } = before;
        Self {
            control: *control,
            deadline: *deadline,
            fallback: *fallback,
            previous: *previous,
            ifindexes: resized(ifindexes),
            ..bytemuck::Zeroable::zeroed()
        }
    }
}

/// One as the other, with the interfaces that both know.
macro_rules! convert {
    ($from:ty => $into:ty) => {
        impl From<&$from> for $into {
            fn from(from: &$from) -> Self {
                Self {
                    keys: from.keys,
                    v4: from.v4,
                    v6: from.v6,
                    v4_reserve: from.v4_reserve,
                    v6_reserve: from.v6_reserve,
                    log_base: from.log_base,
                    log_places: from.log_places,
                    logged: from.logged,
                    crowded: from.crowded,
                    crowded_limit: from.crowded_limit,
                    events: from.events,
                    _reserved: [0; 4],
                    dropped: resized(&from.dropped),
                    hook: resized(&from.hook),
                }
            }
        }
    };
}

convert!(CpuHalf => super::CpuHalf);
convert!(super::CpuHalf => CpuHalf);

#[cfg(feature = "aya")]
mod pod {
    use super::*;
    // SAFETY: `bytemuck::Pod`: no padding, every bit pattern valid, which is what aya::Pod asks.
    unsafe impl aya::Pod for CpuHalf {}
}

const _: () = {
    assert!(size_of::<Hot>() == 8480);
    assert!(offset_of!(Hot, ifindexes) == 8224);
    assert!(size_of::<CpuHalf>() == 4224);
    assert!(offset_of!(CpuHalf, hook) == 2176);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_layouts_have_survives_both_ways() {
        let mut before: CpuHalf = bytemuck::Zeroable::zeroed();
        (before.log_places, before.events, before.keys[3]) = (7, 8, 9);
        before.hook[63] = HookTotal { packets: 1, bytes: 2, more_segments: 3, more_wire_bytes: 4 };
        before.dropped[63] = Counters { packets: 5, segments: 6, bytes: 7, wire_bytes: 8 };
        let now = super::super::CpuHalf::from(&before);
        assert_eq!(
            (now.hook[63], now.dropped[63], now.hook[64]),
            (before.hook[63], before.dropped[63], HookTotal::default())
        );
        assert_eq!(CpuHalf::from(&now), before);
    }
}
