//! Counting: hook totals, flows, overflow, packets without a flow.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST},
    helpers::bpf_jiffies64,
    maps::{HashMap, PerCpuArray},
};
use monitor_common::{
    parse::Reason,
    wire::{Counters, FlowKey, FlowValue, MAX_INTERFACES, OnwardKey, Tally, segments},
};

use crate::maps;

/// Adds to a value of this CPU: programs on egress run with bottom halves off, so nobody else is at it.
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

/// Does something to this CPU's value; see [`add_here`].
#[inline(always)]
fn here<T>(map: &PerCpuArray<T>, index: u32, change: impl FnOnce(&mut T)) {
    if let Some(value) = map.get_ptr_mut(index) {
        // SAFETY: a live map value that only this CPU writes, and only one program at a time.
        change(unsafe { &mut *value });
    }
}

/// Adds a packet to its interface's hook total.
#[inline(always)]
pub fn hook(parity: u32, slot: u32, size: &Counters) {
    here(&maps::HOOK, parity * MAX_INTERFACES + slot, |sums| add_here(&mut sums.total, size));
}

/// Adds a packet to what its interface's hook dropped; it is in the total already.
#[inline(always)]
pub fn dropped(parity: u32, slot: u32, size: &Counters) {
    here(&maps::HOOK, parity * MAX_INTERFACES + slot, |sums| add_here(&mut sums.dropped, size));
}

/// Counts a packet without a flow.
#[inline(always)]
pub fn unparsed(parity: u32, slot: u32, reason: Reason, dropped: bool, size: &Counters) {
    let index = (parity * MAX_INTERFACES + slot) * Reason::COUNT + reason as u32;
    here(&maps::UNPARSED, index, |tally: &mut Tally| {
        add_here(if dropped { &mut tally.dropped } else { &mut tally.passed }, size);
    });
}

/// Counts an event that the ring had no place for.
#[inline(always)]
pub fn event_lost(parity: u32) {
    here(&maps::EVENTS_LOST, parity, |lost| *lost += 1);
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

/// Adds a packet to its flow; true if the flow is new in this epoch. A flow that finds no place, for whatever
/// reason, is counted under its class instead.
#[inline(always)]
pub fn flow(parity: u32, slot: u32, key: &FlowKey, size: &Counters) -> bool {
    put(parity, slot, key, &first(size))
}

/// The same for a flow with a further destination.
#[inline(always)]
pub fn onward(parity: u32, slot: u32, key: &OnwardKey, size: &Counters) -> bool {
    let flows = if parity == 0 { &maps::ONWARD_EVEN } else { &maps::ONWARD_ODD };
    add(flows, parity, slot, key, &key.flow, &first(size))
}

/// Adds the sums of a flow to what the table has of it.
#[inline(always)]
pub fn put(parity: u32, slot: u32, key: &FlowKey, sums: &FlowValue) -> bool {
    put_whole(parity, slot, key, sums) != 0
}

/// A function of its own: it is called from three places, and its stack adds to theirs.
#[inline(never)]
fn put_whole(parity: u32, slot: u32, key: *const FlowKey, sums: *const FlowValue) -> u32 {
    // SAFETY: the caller's references.
    let (key, sums) = unsafe { (&*key, &*sums) };
    u32::from(add(flows(parity), parity, slot, key, key, sums))
}

/// Whether the table has this flow.
#[inline(always)]
pub fn has(parity: u32, key: &FlowKey) -> bool {
    flows(parity).get_ptr(key).is_some()
}

#[inline(always)]
fn flows(parity: u32) -> &'static HashMap<FlowKey, FlowValue> {
    if parity == 0 { &maps::FLOWS_EVEN } else { &maps::FLOWS_ODD }
}

/// The sums of one packet.
#[inline(always)]
fn first(size: &Counters) -> FlowValue {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_jiffies64() };
    FlowValue { counters: *size, first: now, last: now }
}

#[inline(always)]
fn add<K>(flows: &HashMap<K, FlowValue>, parity: u32, slot: u32, key: &K, flow: &FlowKey, sums: &FlowValue) -> bool {
    if let Some(value) = flows.get_ptr_mut(key) {
        // SAFETY: a live map value; nothing is removed from the half that packets write to.
        unsafe { again(value, sums) };
        return false;
    }
    // BPF_NOEXIST: BPF_ANY would overwrite what another CPU has just inserted and counted.
    if flows.insert(key, sums, BPF_NOEXIST.into()).is_ok() {
        return true;
    }
    if let Some(value) = flows.get_ptr_mut(key) {
        // SAFETY: as above.
        unsafe { again(value, sums) };
        return false;
    }
    overflow(parity, slot, flow, &sums.counters);
    false
}

/// Times that two CPUs write at once may be off by as long as a flow was in the cache.
#[inline(always)]
unsafe fn again(value: *mut FlowValue, sums: &FlowValue) {
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
    let class = (2 * slot + parity) * maps::CLASS_CAPACITY.load() + u32::from(key.class);
    if let Some(sums) = maps::OVERFLOW.get_ptr_mut(class * 3 + u32::from(key.verdict)) {
        // SAFETY: a live map value.
        unsafe { add_shared(sums, size) };
    }
}
