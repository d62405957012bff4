//! The fast path of a packet: total → fast parse → flow cache → verdict. Whatever the flow cache has no answer for
//! continues in [`slow_path`], and packets that are not plain go through [`slow_parse`] first.

use aya_ebpf::{helpers::bpf_jiffies64, programs::TcContext};
use monitor_common::{
    parse::fast_parse,
    wire::{CacheKey, Control, INTERFACE_PROBES, INTERFACE_TABLE, Link},
};

use crate::{
    action::{NEXT, tc_action},
    cache,
    maps::{self, Scratch},
    packet::Frame,
    slow_parse::{self, ParseOutcome},
    slow_path, table,
};

/// Counts a packet and decides on it.
#[inline(always)]
pub fn packet(context: &TcContext) -> i32 {
    let Some(control) = maps::CONTROL.get_ptr(0) else { return NEXT };
    // SAFETY: a live map value. Volatile: read once, so that the packet belongs wholly to one epoch and policy.
    let control = Control(unsafe { control.read_volatile() });
    // SAFETY: the context that the kernel gave us.
    let skb = unsafe { &*context.skb.skb };
    let size = table::size(skb);
    let (slot, link) = interface(skb.ifindex);
    table::hook(control.parity(), slot, &size);

    let Some(key) = fast_parse(Frame::of(skb), skb.len, link) else {
        let Some(scratch) = scratch() else { return NEXT };
        let outcome = slow_parse::parse(context.skb.skb, scratch, link, control.slot());
        return slow_path::packet(context.skb.skb, scratch, control, slot, outcome);
    };
    let key = CacheKey { ifindex: skb.ifindex, ..key };
    if let Some(set) = cache::set(control.parity(), &key) {
        // SAFETY: a helper without arguments; a set that only this CPU writes, and only one program at a time.
        let (now, set) = unsafe { (bpf_jiffies64() as u32, &mut *set) };
        if let Some(entry) = set.find(&key)
            && entry.is_fresh(now)
        {
            entry.count(&size, now);
            return tc_action(control.parity(), slot, entry.key.verdict, &size);
        }
    }
    let Some(scratch) = scratch() else { return NEXT };
    scratch.cache_key = key;
    slow_path::packet(context.skb.skb, scratch, control, slot, ParseOutcome::FAST_PARSED)
}

/// This CPU's scratch space.
#[inline(always)]
fn scratch<'a>() -> Option<&'a mut Scratch> {
    // SAFETY: this CPU's own value; bottom halves are off, so one packet at a time is here, and it asks once.
    maps::SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// Slot and link layer of an interface; slot 0 and Ethernet for one that nobody registered (a device that moves to
/// another namespace takes our program along).
#[inline(always)]
fn interface(ifindex: u32) -> (u32, Link) {
    for probe in 0..INTERFACE_PROBES {
        if let Some(entry) = maps::INTERFACES.get(ifindex.wrapping_add(probe) & (INTERFACE_TABLE - 1))
            && entry.ifindex == ifindex
        {
            return (u32::from(entry.slot), Link::from_wire(entry.link));
        }
    }
    (0, Link::Ethernet)
}
