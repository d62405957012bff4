//! Events to userspace.

use core::arch::asm;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_jiffies64, bpf_skb_load_bytes},
};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Control, CpuHalf, Event, FullKey, HEAD, UnparsedEvent},
};

use crate::{maps, table, words};

/// Bytes that come to wait in the ring before its reader is woken; it looks for itself many times a second, and waking it
/// costs several times what an event does.
const WAKE_EACH: u64 = 1 << 18;

/// Events of a CPU between two looks at how many bytes wait.
const LOOK_EACH: u32 = 16;

/// Submits an event for a flow that is new in this epoch; one that the ring has no room for is counted.
#[inline(always)]
pub fn submit(half: &mut CpuHalf, control: Control, key: &FullKey, wire_bytes: u32, tcp_flags: u8) {
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        table::event_lost(control.parity());
        return;
    };
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    let epoch = control.epoch();
    let event = Event { flow: *key, jiffies, epoch, wire_bytes, tcp_flags: tcp_flags.into(), _reserved: 0 };
    // SAFETY: memory of the ring that was reserved for this.
    unsafe { words::put(entry.as_mut_ptr(), event) };
    half.events = half.events.wrapping_add(1);
    let mut flags = BPF_RB_NO_WAKEUP;
    if half.events.is_multiple_of(LOOK_EACH) && maps::EVENTS.query(BPF_RB_AVAIL_DATA.into()) >= WAKE_EACH {
        flags = BPF_RB_FORCE_WAKEUP;
    }
    entry.submit(flags.into());
}

/// Reports a packet without a flow, the first of its kind, with its first bytes. `event`: this CPU's scratch space.
#[inline(always)]
pub fn submit_unparsed(
    skb: *mut __sk_buff,
    event: &mut UnparsedEvent,
    control: Control,
    reason: Reason,
    verdict: Verdict,
) {
    // SAFETY: the context that the kernel gave us; a helper without arguments.
    let (context, jiffies) = unsafe { (&*skb, bpf_jiffies64()) };
    let (ifindex, wire_bytes) = (context.ifindex, context.wire_len);
    let length = shown(context.len);
    // SAFETY: this CPU's own value.
    unsafe {
        let (epoch, reason, verdict) = (control.epoch(), reason as u8, verdict as u8);
        let head = [0; HEAD];
        words::put(
            event,
            UnparsedEvent { jiffies, ifindex, epoch, wire_bytes, reason, verdict, length: 0, _reserved: 0, head },
        );
    }
    // SAFETY: within the head, see there.
    if unsafe { bpf_skb_load_bytes(skb.cast(), 0, (&raw mut event.head).cast(), length) } == 0 {
        event.length = length as u8;
    }
    if maps::EVENTS.output::<UnparsedEvent>(event, BPF_RB_NO_WAKEUP.into()).is_err() {
        table::event_lost(control.parity());
    }
}

/// How many of a packet's bytes are shown, 1 to [`HEAD`]: of an empty one the kernel gives none, however many are asked for.
#[inline(always)]
fn shown(length: u32) -> u32 {
    let mut last = u64::from(length.wrapping_sub(1).min(HEAD as u32 - 1));
    // SAFETY: moves a register to itself. Without it the compiler compares with 0 instead of adding 1 to what is bounded, and
    // before kernel 6.8 the verifier does not learn from that that something is at least 1.
    unsafe { asm!("{0} = {0}", inout(reg) last, options(pure, nomem, nostack, preserves_flags)) };
    last as u32 + 1
}

/// Reports that the open half is filling up. One report that is waiting says as much as several.
#[inline(always)]
pub fn pressure() {
    let Some(mut entry) = maps::PRESSURE.reserve::<u64>(0) else { return };
    entry.write(0);
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
}
