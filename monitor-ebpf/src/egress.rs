//! The way of a packet: total → parse → flow cache → verdict. A flow that is not in the cache goes on in [`settle`].

use aya_ebpf::{helpers::bpf_jiffies64, programs::TcContext};
use monitor_common::{
    parse::plain,
    wire::{Control, INTERFACE_PROBES, INTERFACE_TABLE, Link, PlainKey},
};

use crate::{
    cache, deep,
    maps::{self, Scratch},
    packet::Frame,
    settle::{self, Way},
    table,
};

/// TCX_NEXT, and TC_ACT_UNSPEC for clsact: the next program decides. 0 (OK) would end the chain.
pub const NEXT: i32 = -1;
/// TC_ACT_SHOT.
pub const DROP: i32 = 2;

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

    let Some(key) = plain(Frame::of(skb), skb.len, link) else {
        let Some(scratch) = scratch() else { return NEXT };
        let way = deep::read(context.skb.skb, scratch, link, control.slot());
        return settle::packet(context.skb.skb, scratch, control, slot, way);
    };
    let key = PlainKey { ifindex: skb.ifindex, ..key };
    if let Some(set) = cache::set(control.parity(), &key) {
        // SAFETY: a helper without arguments; a set that only this CPU writes, and only one program at a time.
        let (now, set) = unsafe { (bpf_jiffies64() as u32, &mut *set) };
        if let Some(entry) = set.find(&key)
            && entry.is_fresh(now)
        {
            entry.count(&size, now);
            return settle::fate(control.parity(), slot, entry.key.verdict, &size);
        }
    }
    let Some(scratch) = scratch() else { return NEXT };
    scratch.plain = key;
    settle::packet(context.skb.skb, scratch, control, slot, Way::PLAIN)
}

/// Where a packet is put together.
#[inline(always)]
fn scratch<'a>() -> Option<&'a mut Scratch> {
    // SAFETY: this CPU's own value; one packet at a time is between bottom halves off and on, and it asks once.
    maps::SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// Slot and link layer of an interface; slot 0 and Ethernet for one that nobody registered (a device that was
/// moved to another namespace takes our program along).
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
