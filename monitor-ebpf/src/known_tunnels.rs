//! Packets of flows in tunnels that were parsed and classified before: found by what stands in the packet, so that neither
//! is done again while epoch, policy and mode are the same and the verdict is fresh.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_jiffies64};
use monitor_common::{
    cache::is_fresh,
    wire::{Control, Link},
};

use crate::{
    cache,
    maps::{self, KNOWN_TUNNEL_BITS, KnownTunnel, Scratch},
    packet::Frame,
    words,
};

/// The place of a packet that has none.
const NOWHERE: u32 = 1 << KNOWN_TUNNEL_BITS;

/// Whether the packet is of a flow that was classified before: then key and classification are in the scratch space. If
/// not, its place is there for [`keep`].
#[inline(always)]
pub fn find(skb: *mut __sk_buff, scratch: *mut Scratch, link: u32, control: u64, interface: u32) -> bool {
    read(skb, scratch, link, control, interface) != 0
}

#[inline(never)]
fn read(skb: *mut __sk_buff, scratch: *mut Scratch, link: u32, control: u64, interface: u32) -> u32 {
    // SAFETY: the caller's references.
    let (context, scratch) = unsafe { (&*skb, &mut *scratch) };
    scratch.tunnel_place = NOWHERE;
    // Interfaces that nobody registered share a slot.
    if interface == 0 {
        return 0;
    }
    let frame = Frame::of(context);
    let link = Link::from_wire(link as u16);
    let Some(outer) = scratch.tunnel.outer(frame, context.len, link, interface) else { return 0 };
    // SAFETY: this CPU's own value.
    unsafe { words::put(&raw mut scratch.tunnel_key.outer, outer) };
    // In registers the outer headers would differ by the way to here, and the verifier would check the rest once for
    // each. SAFETY: the same scratch space.
    let scratch = unsafe { &mut *maps::barrier_var(scratch) };
    let Some(key) = scratch.tunnel.content(frame, scratch.tunnel_key.outer) else { return 0 };
    // SAFETY: as above.
    unsafe { words::put(&raw mut scratch.tunnel_key, key) };
    // SAFETY: as above.
    let scratch = unsafe { &mut *maps::barrier_var(scratch) };
    let Some(half) = cache::half(Control(control).parity()) else { return 0 };
    scratch.tunnel_place = scratch.tunnel_key.place(&half.keys, KNOWN_TUNNEL_BITS);
    let Some(known) = place(scratch) else { return 0 };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_jiffies64() } as u32;
    if known.control != control || !is_fresh(known.asked, now) || !known.key.is(&scratch.tunnel_key) {
        return 0;
    }
    // SAFETY: as above.
    unsafe { words::put(&raw mut scratch.key, scratch.tunnel_key.flow()) };
    scratch.evaluation.strictest = known.classification;
    1
}

/// Remembers what the policy made of the packet that [`find`] gave a place.
#[inline(always)]
pub fn keep(scratch: &mut Scratch, control: u64) {
    let Some(known) = place(scratch) else { return };
    // SAFETY: as in `place`.
    unsafe { words::put(&raw mut known.key, scratch.tunnel_key) };
    known.control = control;
    known.classification = scratch.evaluation.strictest;
    // SAFETY: a helper without arguments.
    known.asked = unsafe { bpf_jiffies64() } as u32;
}

#[inline(always)]
fn place<'a>(scratch: &Scratch) -> Option<&'a mut KnownTunnel> {
    // SAFETY: this CPU's own value; bottom halves are off, so one packet at a time is here.
    maps::KNOWN_TUNNELS.get_ptr_mut(scratch.tunnel_place).map(|known| unsafe { &mut *known })
}
