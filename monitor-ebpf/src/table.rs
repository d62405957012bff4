//! Counting: hook totals, flows, overflow, packets without a flow.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST},
    helpers::bpf_jiffies64,
    maps::{HashMap, PerCpuArray},
};
use monitor_common::{
    cache::More,
    parse::Reason,
    wire::{Counters, CpuHalf, FlowKey, FlowValue, FullKey, HookTotal, MAX_INTERFACES, ReasonSums, segments},
};

use crate::maps::{self, Evicted};

/// Adds to a value of this CPU: programs on egress run with bottom halves off, so nobody else writes it.
#[inline(always)]
fn add_here(into: &mut Counters, size: &Counters) {
    into.packets += size.packets;
    into.segments += size.segments;
    into.bytes += size.bytes;
    into.wire_bytes += size.wire_bytes;
}

/// Adds to a value that other CPUs add to as well.
#[inline(always)]
unsafe fn add_shared(into: *mut Counters, size: &Counters) {
    use core::intrinsics::{AtomicOrdering::Relaxed, atomic_xadd};
    // SAFETY: the caller's pointer is a live map value.
    unsafe {
        atomic_xadd::<u64, u64, { Relaxed }>(&raw mut (*into).packets, size.packets);
        atomic_xadd::<u64, u64, { Relaxed }>(&raw mut (*into).segments, size.segments);
        atomic_xadd::<u64, u64, { Relaxed }>(&raw mut (*into).bytes, size.bytes);
        atomic_xadd::<u64, u64, { Relaxed }>(&raw mut (*into).wire_bytes, size.wire_bytes);
    }
}

/// Changes this CPU's value; see [`add_here`].
#[inline(always)]
fn change_here<T, R: Default>(map: &PerCpuArray<T>, index: u32, change: impl FnOnce(&mut T) -> R) -> R {
    match map.get_ptr_mut(index) {
        // SAFETY: a live map value that only this CPU writes, and only one program at a time.
        Some(value) => change(unsafe { &mut *value }),
        None => R::default(),
    }
}

#[inline(always)]
fn hook_total(half: &mut CpuHalf, slot: u32) -> &mut HookTotal {
    &mut half.hook[(slot & (MAX_INTERFACES - 1)) as usize]
}

/// Adds a packet to its interface's hook total.
#[inline(always)]
pub fn hook(half: &mut CpuHalf, slot: u32, skb: &__sk_buff) {
    hook_packet(half, slot, skb);
    hook_more(half, slot, &more(skb));
}

/// Adds what every packet has.
#[inline(always)]
pub fn hook_packet(half: &mut CpuHalf, slot: u32, skb: &__sk_buff) {
    let total = hook_total(half, slot);
    total.packets += 1;
    total.bytes += u64::from(skb.len);
}

/// Adds what a packet has beyond what every packet has.
#[inline(always)]
pub fn hook_more(half: &mut CpuHalf, slot: u32, more: &More) {
    let total = hook_total(half, slot);
    total.more_segments += more.segments;
    total.more_wire_bytes = total.more_wire_bytes.wrapping_add(more.wire_bytes);
}

/// Adds a packet to what its interface's hook dropped; it is in the total already.
#[inline(always)]
pub fn dropped(half: &mut CpuHalf, slot: u32, skb: &__sk_buff) {
    add_here(&mut half.dropped[(slot & (MAX_INTERFACES - 1)) as usize], &size(skb));
}

/// Counts a packet without a flow; true if this CPU had none of its kind in this epoch.
#[inline(always)]
pub fn unparsed(parity: u32, slot: u32, reason: Reason, dropped: bool, size: &Counters) -> bool {
    let index = (2 * slot + parity) * Reason::COUNT + reason as u32;
    change_here(&maps::UNPARSED, index, |sums: &mut ReasonSums| {
        let sums = if dropped { &mut sums.dropped } else { &mut sums.passed };
        let first = sums.packets == 0;
        add_here(sums, size);
        first
    })
}

/// Counts an event that the ring had no room for.
#[inline(always)]
pub fn event_lost(parity: u32) {
    change_here(&maps::EVENTS_LOST, parity, |lost| *lost += 1);
}

/// The packet's sizes.
#[inline(always)]
pub fn size(skb: &__sk_buff) -> Counters {
    Counters {
        packets: 1,
        segments: u64::from(segments(skb.gso_segs, skb.gso_size, skb.len, skb.wire_len)),
        bytes: u64::from(skb.len),
        wire_bytes: u64::from(skb.wire_len),
    }
}

/// What the packet has beyond what every packet has.
#[inline(always)]
pub fn more(skb: &__sk_buff) -> More {
    More::of(&size(skb))
}

/// Adds a flow that left the flow cache. `now`: jiffies.
#[inline(always)]
pub fn add_evicted(parity: u32, evicted: &mut Evicted, now: u64) {
    let Some(hot) = maps::HOT.get(0) else { return };
    let slot = evicted.record.key.endpoints.slot();
    evicted.key = evicted.record.key.flow(hot.ifindexes[slot as usize], evicted.record.decision);
    evicted.value = evicted.record.value(now);
    add_sums(parity, slot, &evicted.key, &evicted.value);
}

/// Adds a packet to its flow; true if the flow is new in this epoch. A flow that finds no place, for whatever reason,
/// is counted under its class id instead.
#[inline(always)]
pub fn flow(parity: u32, slot: u32, key: &FlowKey, size: &Counters) -> bool {
    add_sums(parity, slot, key, &of_one_packet(size))
}

/// The same for a flow with an inner destination.
#[inline(always)]
pub fn inner(parity: u32, slot: u32, key: &FullKey, size: &Counters) -> bool {
    let flows = if parity == 0 { &maps::INNER_EVEN } else { &maps::INNER_ODD };
    add(flows, parity, slot, key, &key.flow, &of_one_packet(size))
}

/// Adds the sums of a flow to those in the table; true if the flow is new in this epoch.
#[inline(always)]
fn add_sums(parity: u32, slot: u32, key: &FlowKey, sums: &FlowValue) -> bool {
    add_to_flow(parity, slot, key, sums) != 0
}

/// A function of its own: it has three callers, and its stack adds to theirs.
#[inline(never)]
fn add_to_flow(parity: u32, slot: u32, key: *const FlowKey, sums: *const FlowValue) -> u32 {
    // SAFETY: the caller's references.
    let (key, sums) = unsafe { (&*key, &*sums) };
    u32::from(add(flows(parity), parity, slot, key, key, sums))
}

#[inline(always)]
fn flows(parity: u32) -> &'static HashMap<FlowKey, FlowValue> {
    if parity == 0 { &maps::FLOWS_EVEN } else { &maps::FLOWS_ODD }
}

/// The sums of one packet.
#[inline(always)]
fn of_one_packet(size: &Counters) -> FlowValue {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_jiffies64() };
    FlowValue { counters: *size, first: now, last: now }
}

#[inline(always)]
fn add<K>(flows: &HashMap<K, FlowValue>, parity: u32, slot: u32, key: &K, flow: &FlowKey, sums: &FlowValue) -> bool {
    if let Some(value) = flows.get_ptr_mut(key) {
        // SAFETY: a live map value; nothing is removed from the half that packets write to.
        unsafe { merge(value, sums) };
        return false;
    }
    // BPF_NOEXIST: BPF_ANY would overwrite what another CPU has just inserted and counted.
    if flows.insert(key, sums, BPF_NOEXIST.into()).is_ok() {
        return true;
    }
    if let Some(value) = flows.get_ptr_mut(key) {
        // SAFETY: as above.
        unsafe { merge(value, sums) };
        return false;
    }
    overflow(parity, slot, flow, &sums.counters);
    false
}

/// Adds to the sums in the table. Times that two CPUs write at once may be off by as long as a flow was in the cache.
#[inline(always)]
unsafe fn merge(value: *mut FlowValue, sums: &FlowValue) {
    // SAFETY: the caller's pointer is a live map value.
    unsafe {
        add_shared(&raw mut (*value).counters, &sums.counters);
        if sums.last > (*value).last {
            (*value).last = sums.last;
        }
        if sums.first < (*value).first {
            (*value).first = sums.first;
        }
    }
}

#[inline(always)]
fn overflow(parity: u32, slot: u32, key: &FlowKey, size: &Counters) {
    let row = (2 * slot + parity) * maps::CLASS_CAPACITY.load() + u32::from(key.class_id);
    if let Some(sums) = maps::OVERFLOW.get_ptr_mut(row * 3 + u32::from(key.verdict)) {
        // SAFETY: a live map value.
        unsafe { add_shared(sums, size) };
    }
}
