//! Events to userspace.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_jiffies64,
};
use monitor_common::wire::{Control, CpuHalf, Event, FullKey};

use crate::{maps, table, words};

/// Bytes that come to wait in the ring before its reader is woken; it looks for itself many times a second, and waking it
/// costs several times what an event does.
const WAKE_EACH: u64 = 1 << 18;

/// Events of a CPU between two looks at how many bytes wait.
const LOOK_EACH: u32 = 16;

/// Submits an event for a flow that is new in this epoch; one that the ring has no room for is counted.
#[inline(always)]
pub fn submit(half: &mut CpuHalf, control: Control, key: &FullKey, wire_bytes: u32) {
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        table::event_lost(control.parity());
        return;
    };
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    let event = Event { flow: *key, jiffies, epoch: control.epoch(), wire_bytes };
    // SAFETY: memory of the ring that was reserved for this.
    unsafe { words::put(entry.as_mut_ptr(), event) };
    half.events = half.events.wrapping_add(1);
    let mut flags = BPF_RB_NO_WAKEUP;
    if half.events.is_multiple_of(LOOK_EACH) && maps::EVENTS.query(BPF_RB_AVAIL_DATA.into()) >= WAKE_EACH {
        flags = BPF_RB_FORCE_WAKEUP;
    }
    entry.submit(flags.into());
}

/// Reports that the open half is filling up. One report that is waiting says as much as several.
#[inline(always)]
pub fn pressure() {
    let Some(mut entry) = maps::PRESSURE.reserve::<u64>(0) else { return };
    entry.write(0);
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
}
