//! Events to userspace.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_jiffies64,
};
use monitor_common::wire::{Event, FullKey};

use crate::{maps, table};

/// Bytes that come to wait in the ring before its reader is woken, and woken again; it looks for itself many times a
/// second, and waking it costs several times what an event does.
const WAKE_EACH: u64 = 1 << 18;

/// Submits an event for a flow that is new in this epoch; one that the ring has no room for is counted.
#[inline(always)]
pub fn submit(parity: u32, epoch: u32, key: &FullKey, wire_bytes: u32) {
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        table::event_lost(parity);
        return;
    };
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    entry.write(Event { flow: *key, jiffies, epoch, wire_bytes });
    let waiting = maps::EVENTS.query(BPF_RB_AVAIL_DATA.into());
    let wake = waiting % WAKE_EACH < size_of::<Event>() as u64 && waiting >= WAKE_EACH;
    entry.submit(u64::from(if wake { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
}

/// Reports that the open half is filling up. One report that is waiting says as much as several.
#[inline(always)]
pub fn pressure() {
    let Some(mut entry) = maps::PRESSURE.reserve::<u64>(0) else { return };
    entry.write(0);
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
}
