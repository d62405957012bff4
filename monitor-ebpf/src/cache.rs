//! From a packet to its set in the flow cache.

use aya_ebpf::helpers::bpf_jiffies64;
use monitor_common::{
    cache::{FlowSet, Found, Place, WholeSetV6},
    wire::{
        CACHE_WAYS, CacheBlock, CacheRegion, CacheRestV6, CacheRestsV6, CacheSetV4, CacheSetV6, Counters, CpuHalf,
        Decision, PlainKey,
    },
};

use crate::{
    events,
    maps::{self, Evicted, Scratch},
    table, words,
};

/// What this CPU has of the half of this parity.
#[inline(always)]
pub fn half<'a>(parity: u32) -> Option<&'a mut CpuHalf> {
    // SAFETY: this CPU's own value; bottom halves are off, so one packet at a time is here.
    maps::HALVES.get_ptr_mut(parity).map(|half| unsafe { &mut *half })
}

/// A block of this CPU's. `None` where it has none: it was not there when the maps were created.
#[inline(always)]
fn block(number: u32) -> Option<*mut CacheBlock> {
    maps::CACHE.get_ptr_mut(number)
}

/// The set of an IPv4 flow.
#[inline(always)]
pub fn set_v4<'a>(region: CacheRegion, place: Place) -> Option<&'a mut CacheSetV4> {
    // SAFETY: a block that only this CPU writes, and only one program at a time; any bytes are a set.
    block(region.base.wrapping_add(place.set)).map(|block| unsafe { &mut *block.cast() })
}

/// The set of an IPv6 flow.
#[inline(always)]
pub fn set_v6<'a>(region: CacheRegion, place: Place) -> Option<&'a mut CacheSetV6> {
    // SAFETY: as above.
    block(region.base.wrapping_add(place.set)).map(|block| unsafe { &mut *block.cast() })
}

/// The rest of an IPv6 set.
#[inline(always)]
pub fn rest_v6<'a>(region: CacheRegion, place: Place) -> Option<&'a mut [CacheRestV6; CACHE_WAYS]> {
    // The compiler would add the offset before it knows whether there is a block, which the verifier does not allow.
    let rests = maps::barrier_var(block(region.rest_block(place))?).cast::<CacheRestsV6>();
    // SAFETY: as above.
    Some(unsafe { &mut (*rests).sets[(place.set & 1) as usize] })
}

/// Counts the packet that the fast path parsed and whose decision was just made. True: its flow is new in this epoch, or was
/// evicted in it, or the policy made something else of it before. `None`: it has no place.
#[inline(always)]
pub fn count(scratch: &mut Scratch, half: &mut CpuHalf, parity: u32) -> Option<bool> {
    let Scratch { plain: key, evicted, .. } = scratch;
    // Interfaces that nobody registered share a slot.
    if key.endpoints.slot() == 0 {
        return None;
    }
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    let packet = Packet { key, decision: scratch.decision, size: &scratch.size, parity, jiffies };
    if key.ip_version == 4 {
        let (mut set, mut found) = search_v4(half.v4, half, key, jiffies as u32)?;
        if found.is_taken() {
            if let Some((other, elsewhere)) = search_v4(half.v4_reserve, half, key, jiffies as u32)
                && !elsewhere.is_taken()
            {
                (set, found) = (other, elsewhere);
            }
            note_crowded(half, found, false);
        }
        packet.count_in(set, found, half, evicted)
    } else {
        let (mut set, mut found) = search_v6(half.v6, half, key, jiffies as u32)?;
        if found.is_taken() {
            if let Some((other, elsewhere)) = search_v6(half.v6_reserve, half, key, jiffies as u32)
                && !elsewhere.is_taken()
            {
                (set, found) = (other, elsewhere);
            }
            note_crowded(half, found, true);
        }
        packet.count_in(&mut set, found, half, evicted)
    }
}

/// What is counted.
struct Packet<'a> {
    key: &'a PlainKey,
    decision: Decision,
    size: &'a Counters,
    parity: u32,
    jiffies: u64,
}

impl Packet<'_> {
    #[inline(always)]
    fn count_in(
        &self,
        set: &mut impl FlowSet,
        found: Found,
        half: &mut CpuHalf,
        evicted: &mut Evicted,
    ) -> Option<bool> {
        let now = self.jiffies as u32;
        let way = match found {
            Found::Here(way) if set.decision(way) == self.decision => {
                set.count(way, self.size, now);
                return Some(false);
            }
            Found::Free(way) => way,
            // Here with another decision: another flow by now.
            Found::Here(way) | Found::Evict(way) => {
                if !log(half, set, way) {
                    // SAFETY: this CPU's own value.
                    unsafe { words::put(&raw mut evicted.record, set.record(way)) };
                    table::add_evicted(self.parity, evicted, self.jiffies);
                }
                way
            }
            Found::Crowded => return None,
        };
        set.begin(way, self.key, self.decision, self.size, now);
        Some(true)
    }
}

#[inline(always)]
fn search_v4<'a>(region: CacheRegion, half: &CpuHalf, key: &PlainKey, now: u32) -> Option<(&'a mut CacheSetV4, Found)> {
    let place = region.place_v4(&half.keys, key.addresses[0], key.endpoints);
    let set = set_v4(region, place)?;
    let found = set.search(place, key, now);
    Some((set, found))
}

#[inline(always)]
fn search_v6<'a>(region: CacheRegion, half: &CpuHalf, key: &PlainKey, now: u32) -> Option<(WholeSetV6<'a>, Found)> {
    let place = region.place_v6(&half.keys, &key.addresses, key.endpoints);
    let set = WholeSetV6 { set: set_v6(region, place)?, rest: rest_v6(region, place)? };
    let found = set.search(place, key, now);
    Some((set, found))
}

/// Notes that a new flow found every way of its set taken, wherever it went then; one that went to the table is noted when
/// it is known to be new.
#[inline(always)]
fn note_crowded(half: &mut CpuHalf, found: Found, is_v6: bool) {
    if matches!(found, Found::Free(_) | Found::Evict(_)) && half.note_crowded(is_v6) {
        events::pressure();
    }
}

/// Puts a flow that leaves the cache at the end of this CPU's log. False: that is full.
#[inline(always)]
fn log(half: &mut CpuHalf, set: &impl FlowSet, way: usize) -> bool {
    let Some((place, is_half)) = half.next_in_log() else { return false };
    let Some(place) = maps::LOG.get_ptr_mut(place) else { return false };
    // SAFETY: a live map value that only this CPU writes.
    unsafe { words::put(place, set.record(way)) };
    if is_half {
        events::pressure();
    }
    true
}
