//! The fast path of a packet: parse → flow cache → total → verdict. Whatever the flow cache has no answer for continues in
//! [`slow_path`], and packets that are not plain go through [`slow_parse`] first.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_jiffies64, programs::TcContext};
use monitor_common::{
    cache::is_fresh,
    parse::{Plain, fast_parse},
    wire::{
        CacheEntryV4, CacheEntryV6, Control, CpuHalf, Hot, INTERFACE_PROBES, INTERFACE_TABLE, Link, MAX_INTERFACES,
    },
};

use crate::{
    action::{NEXT, tc_action},
    cache,
    maps::{self, Scratch},
    packet::{Checked, Frame},
    slow_parse::{self, ParseOutcome},
    slow_path, table,
};

/// Counts a packet and decides on it.
#[inline(always)]
pub fn packet(context: &TcContext) -> i32 {
    let Some(hot) = maps::HOT.get_ptr_mut(0) else { return NEXT };
    // SAFETY: a live map value. Volatile: read once, so that the packet belongs wholly to one epoch and policy.
    let control = Control(unsafe { (&raw const (*hot).control).read_volatile() });
    // SAFETY: the context that the kernel gave us.
    let skb = unsafe { &*context.skb.skb };
    let (slot, link) = interface(hot, skb.ifindex);
    let Some(half) = cache::half(control.parity()) else { return NEXT };

    let plain = fast_parse(Frame::of(skb), skb.len, link);
    if let Some(plain) = &plain
        && let Some(verdict) = cached(skb, half, slot, plain)
    {
        return tc_action(half, slot, verdict, skb);
    }
    let control = in_force(hot, control);
    let Some(half) = cache::half(control.parity()) else { return NEXT };
    table::hook(half, slot, skb);
    let Some(scratch) = scratch() else { return NEXT };
    scratch.link = link as u32;
    let outcome = match plain {
        Some(plain) => {
            scratch.plain = plain.key(slot);
            ParseOutcome::FAST_PARSED
        }
        None => slow_parse::parse(context.skb.skb, scratch, link, control, slot),
    };
    slow_path::packet(context.skb.skb, scratch, control, slot, outcome)
}

/// The control word for a packet that is to be judged: the one that it read, until the deadline. The first packet after it
/// puts the fallback in force for all that come later, with an epoch of its own.
#[inline(always)]
fn in_force(hot: *mut Hot, control: Control) -> Control {
    // SAFETY: a helper without arguments. Before the deadline is read: who moves it and then reads the clock knows whether
    // any packet has seen it passed.
    let now = unsafe { bpf_jiffies64() };
    // SAFETY: a live map value. Volatile: userspace writes.
    let deadline = unsafe { (&raw const (*hot).deadline).read_volatile() };
    if deadline == 0 || now < deadline {
        return control;
    }
    // SAFETY: as above.
    let Some(fallback) = control.fall_back(Control(unsafe { (&raw const (*hot).fallback).read_volatile() })) else {
        return control;
    };
    // SAFETY: as above. Several CPUs may come here, and write the same.
    unsafe {
        (&raw mut (*hot).previous).write_volatile(control.0);
        (&raw mut (*hot).control).write_volatile(fallback.0);
    }
    fallback
}

/// Counts a packet of a flow that this CPU has counted in this epoch and whose verdict holds, and gives that. `None`:
/// nothing was counted.
#[inline(always)]
fn cached(skb: &__sk_buff, half: &mut CpuHalf, slot: u32, plain: &Plain<Checked>) -> Option<u8> {
    // Interfaces that nobody registered share a slot.
    if slot == 0 {
        return None;
    }
    let (verdict, more) = match *plain {
        Plain::V4 { addresses, endpoints } => {
            let endpoints = endpoints.on(slot);
            let place = half.v4.place_v4(&half.keys, addresses, endpoints);
            let entry = cache::set_v4(half.v4, place)?.find(place.way, addresses, endpoints)?;
            let CacheEntryV4 { packets, bytes, last, .. } = entry;
            count(skb, packets, bytes, last)?;
            if !has_more(skb) {
                table::hook_packet(half, slot, skb);
                return Some(entry.decision.verdict);
            }
            let more = table::more(skb);
            entry.more_segments += more.segments;
            entry.more_wire_bytes = entry.more_wire_bytes.wrapping_add(more.wire_bytes);
            (entry.decision.verdict, more)
        }
        Plain::V6 { addresses, endpoints } => {
            let endpoints = endpoints.on(slot);
            let place = half.v6.place_v6(&half.keys, addresses, endpoints);
            let (way, entry) = cache::set_v6(half.v6, place)?.find(place.way, addresses, endpoints)?;
            let CacheEntryV6 { packets, bytes, last, verdict, .. } = entry;
            let rest = if has_more(skb) { Some(cache::rest_v6(half.v6, place)?) } else { None };
            count(skb, packets, bytes, last)?;
            let Some(rest) = rest else {
                table::hook_packet(half, slot, skb);
                return Some(*verdict as u8);
            };
            let (more, rest) = (table::more(skb), &mut rest[way & 3]);
            rest.more_segments += more.segments;
            rest.more_wire_bytes = rest.more_wire_bytes.wrapping_add(more.wire_bytes);
            (*verdict as u8, more)
        }
    };
    table::hook_packet(half, slot, skb);
    table::hook_more(half, slot, &more);
    Some(verdict)
}

/// Counts the packet in its flow's entry, if its verdict holds.
#[inline(always)]
fn count(skb: &__sk_buff, packets: &mut u64, bytes: &mut u64, last: &mut u32) -> Option<()> {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_jiffies64() } as u32;
    if !is_fresh(*last, now) {
        return None;
    }
    *last = now;
    *packets += 1;
    *bytes += u64::from(skb.len);
    Some(())
}

/// Whether the packet stands for several, or its bytes on the wire are others than its own.
#[inline(always)]
fn has_more(skb: &__sk_buff) -> bool {
    skb.wire_len != skb.len || skb.gso_segs > 1
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
fn interface(hot: *const Hot, ifindex: u32) -> (u32, Link) {
    // SAFETY: a live map value, and an index within it. One load for all of an entry, which userspace writes meanwhile.
    let entry = |probe| unsafe {
        #[expect(clippy::cast_ptr_alignment, reason = "they begin at the eighth byte of a map value")]
        let entries = (&raw const (*hot).interfaces).cast::<u64>();
        entries.add((ifindex.wrapping_add(probe) & (INTERFACE_TABLE - 1)) as usize).read_volatile()
    };
    for probe in 0..INTERFACE_PROBES {
        let entry = entry(probe);
        if entry as u32 == ifindex {
            return ((entry >> 32) as u32 & (MAX_INTERFACES - 1), Link::from_wire((entry >> 48) as u16));
        }
    }
    (0, Link::Ethernet)
}
