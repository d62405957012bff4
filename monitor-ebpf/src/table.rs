//! Counting: hook totals, flows, overflow, packets without a flow.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::bpf_jiffies64,
    maps::{HashMap, PerCpuArray},
};
use monitor_common::{
    parse::Reason,
    wire::{Counters, FlowKey, FlowValue, MAX_INTERFACES, OnwardKey, Tally},
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

/// Adds a packet to its flow; true if the flow is new in this epoch. A flow that finds no place, for whatever
/// reason, is counted under its class instead.
#[inline(always)]
pub fn flow(parity: u32, slot: u32, key: &FlowKey, size: &Counters) -> bool {
    add(if parity == 0 { &maps::FLOWS_EVEN } else { &maps::FLOWS_ODD }, parity, slot, key, key, size)
}

/// The same for a flow with a further destination.
#[inline(always)]
pub fn onward(parity: u32, slot: u32, key: &OnwardKey, size: &Counters) -> bool {
    add(if parity == 0 { &maps::ONWARD_EVEN } else { &maps::ONWARD_ODD }, parity, slot, key, &key.flow, size)
}

#[inline(always)]
fn add<K>(flows: &HashMap<K, FlowValue>, parity: u32, slot: u32, key: &K, flow: &FlowKey, size: &Counters) -> bool {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_jiffies64() };
    if let Some(value) = flows.get_ptr_mut(key) {
        // SAFETY: a live map value; nothing is removed from the half that packets write to.
        unsafe { again(value, now, size) };
        return false;
    }
    let first = FlowValue { counters: *size, first: now, last: now };
    // BPF_NOEXIST: BPF_ANY would overwrite what another CPU has just inserted and counted.
    if flows.insert(key, first, BPF_NOEXIST.into()).is_ok() {
        return true;
    }
    if let Some(value) = flows.get_ptr_mut(key) {
        // SAFETY: as above.
        unsafe { again(value, now, size) };
        return false;
    }
    overflow(parity, slot, flow, size);
    false
}

#[inline(always)]
unsafe fn again(value: *mut FlowValue, now: u64, size: &Counters) {
    // SAFETY: the caller's pointer is a live map value.
    unsafe {
        add_shared(&raw mut (*value).counters, size);
        // A race between CPUs is off by one jiffy at most.
        (*value).last = now;
    }
}

#[inline(always)]
fn overflow(parity: u32, slot: u32, key: &FlowKey, size: &Counters) {
    let class = (parity * MAX_INTERFACES + slot) * maps::CLASS_CAPACITY.load() + u32::from(key.class);
    if let Some(sums) = maps::OVERFLOW.get_ptr_mut(class * 3 + u32::from(key.verdict)) {
        // SAFETY: a live map value.
        unsafe { add_shared(sums, size) };
    }
}
