//! Telling userspace at once.

use aya_ebpf::helpers::bpf_jiffies64;
use monitor_common::wire::{Event, OnwardKey};

use crate::{maps, table};

/// One event for a flow that is new in this epoch; a full ring is counted.
#[inline(always)]
pub fn event(parity: u32, epoch: u32, key: &OnwardKey, wire_bytes: u32) {
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        table::event_lost(parity);
        return;
    };
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    entry.write(Event { flow: *key, jiffies, epoch, wire_bytes });
    entry.submit(0);
}
