//! Events to userspace.

use aya_ebpf::helpers::bpf_jiffies64;
use monitor_common::wire::{Event, FullKey};

use crate::{maps, table};

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
    entry.submit(0);
}
