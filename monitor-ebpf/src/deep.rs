//! The long way of a packet that is not plain: header by header, fragments, and every destination judged. Its own
//! function, and each loop one of the kernel's: the verifier walks a step once, whatever the number of steps.

use core::arch::asm;

use aya_ebpf::{
    bindings::__sk_buff,
    cty::c_void,
    helpers::{bpf_ktime_get_boot_ns, bpf_loop, bpf_skb_pull_data},
};

use monitor_common::{
    fragments::set_of,
    judge::{Judgement, MAX_DESTINATIONS},
    parse::{MAX_FRAGMENTS, MAX_STEPS, Reason},
    wire::{Link, Onward},
};

use crate::{
    maps::{self, Scratch},
    packet::{Frame, MAX_OFFSET},
    policy::Image,
    settle::Way,
};

/// No reason: the packet has a flow.
const READ: u32 = Way::READ.0;

/// Leaves the packet's key and its judgement in the scratch space.
#[inline(always)]
pub fn read(skb: *mut __sk_buff, scratch: &mut Scratch, link: Link, slot: u32) -> Way {
    Way(whole(skb, scratch, link as u32, slot))
}

/// Gives a [`Way`] as its number. Between the stages everything is in the scratch space: what is in
/// registers the verifier would tell apart, and walk the judge once for each way to it.
#[inline(never)]
fn whole(skb: *mut __sk_buff, scratch: *mut Scratch, link: u32, slot: u32) -> u32 {
    // SAFETY: the caller's references.
    let (context, scratch) = unsafe { (&*skb, &mut *scratch) };
    walk(skb, scratch, link);
    // The headers may lie outside the linear part: a little of it first, then all that is ever looked at.
    for bytes in [512, MAX_OFFSET + 1] {
        let truncated = Reason::from_wire(scratch.outcome as u8).is_some_and(Reason::is_truncation);
        if !truncated || !Frame::of(context).missing(context.len) {
            break;
        }
        // SAFETY: the context that the kernel gave us.
        if unsafe { bpf_skb_pull_data(skb, context.len.min(bytes)) } != 0 {
            break;
        }
        walk(skb, scratch, link);
    }
    scratch.ifindex = context.ifindex;
    scratch.kept = Onward::default();
    scratch.judgement = Judgement::default();
    let mut judging = Judging { scratch, slot };
    let context = (&raw mut judging).cast();
    if scratch.walk.fragment_at(0).is_some() {
        // SAFETY: a helper without arguments; the callback's context outlives the call.
        unsafe {
            scratch.now = bpf_ktime_get_boot_ns();
            bpf_loop(MAX_FRAGMENTS, resume as *mut c_void, context, 0);
        }
    }
    // SAFETY: as above.
    unsafe { bpf_loop(MAX_DESTINATIONS, consider as *mut c_void, context, 0) };
    if scratch.outcome == READ {
        scratch.key.flow = scratch.walk.key;
        scratch.key.onward = scratch.judgement.onward;
        if scratch.walk.fragment_at(0).is_some() {
            // SAFETY: as above.
            unsafe { bpf_loop(MAX_FRAGMENTS, keep as *mut c_void, context, 0) };
        }
    }
    scratch.outcome
}

/// What a step of the walk is given.
struct Walking {
    skb: *mut __sk_buff,
    scratch: *mut Scratch,
}

/// One way through the headers in the linear part.
#[inline(always)]
fn walk(skb: *mut __sk_buff, scratch: &mut Scratch, link: u32) {
    // SAFETY: the context that the kernel gave us.
    let length = unsafe { (*skb).len };
    if let Err(reason) = scratch.walk.start(Link::from_wire(link as u16), length) {
        scratch.outcome = reason as u32;
        return;
    }
    // What is left if the steps run out.
    scratch.outcome = Reason::TooDeep as u32;
    let mut walking = Walking { skb, scratch };
    // SAFETY: the callback's context outlives the call.
    unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, (&raw mut walking).cast(), 0) };
}

/// One header; 1 ends the loop.
extern "C" fn step(_number: u64, walking: *mut c_void) -> i64 {
    // SAFETY: what `walk` gave; the references end with this call.
    let (skb, scratch) = unsafe {
        let walking = &*walking.cast::<Walking>();
        (&*walking.skb, &mut *walking.scratch)
    };
    match scratch.walk.step(Frame::of(skb)) {
        Err(reason) => scratch.outcome = reason as u32,
        Ok(()) if scratch.walk.done() => scratch.outcome = READ,
        Ok(()) => return 0,
    }
    1
}

/// What the stages after the walk are given.
struct Judging {
    scratch: *mut Scratch,
    slot: u32,
}

/// The scratch space again, and the policy's slot.
///
/// # Safety
/// `judging` is what `whole` gave to the loop, and no other reference to the scratch space is in use.
#[inline(always)]
unsafe fn stage<'a>(judging: *mut c_void) -> (&'a mut Scratch, u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let judging = &*judging.cast::<Judging>();
        (&mut *judging.scratch, judging.slot)
    }
}

/// One fragment that the packet is: from its first it has what it needs. 1 ends the loop.
extern "C" fn resume(number: u64, judging: *mut c_void) -> i64 {
    // SAFETY: given by `whole`.
    let (scratch, _) = unsafe { stage(judging) };
    if scratch.outcome != READ {
        return 1;
    }
    let Some(fragment) = scratch.walk.fragment_at(number as usize) else { return 1 };
    let Some(set) = maps::FRAGMENTS.get_ptr_mut(set_of(&fragment, scratch.ifindex)) else { return 1 };
    // SAFETY: this CPU's own value.
    match unsafe { &mut *set }.resume(&fragment, scratch.ifindex, scratch.now, &mut scratch.walk) {
        Ok(onward) if onward.exists() => scratch.kept = onward,
        Ok(_) => {}
        Err(reason) => scratch.outcome = reason as u32,
    }
    0
}

/// One fragment that the packet is: what it told is kept for the others. 1 ends the loop.
extern "C" fn keep(number: u64, judging: *mut c_void) -> i64 {
    // SAFETY: given by `whole`.
    let (scratch, _) = unsafe { stage(judging) };
    let Some(fragment) = scratch.walk.fragment_at(number as usize) else { return 1 };
    let Some(set) = maps::FRAGMENTS.get_ptr_mut(set_of(&fragment, scratch.ifindex)) else { return 1 };
    // SAFETY: this CPU's own value.
    unsafe { &mut *set }.keep(&fragment, scratch.ifindex, scratch.now, &scratch.walk, &scratch.judgement.onward);
    0
}

/// One destination. 1 ends the loop.
extern "C" fn consider(number: u64, judging: *mut c_void) -> i64 {
    // SAFETY: given by `whole`.
    let (scratch, slot) = unsafe { stage(judging) };
    if !scratch.judgement.pick(&scratch.walk, &scratch.kept, number as u32) {
        return 1;
    }
    // SAFETY: the same scratch space.
    let scratch = unsafe { &mut *afresh(scratch) };
    if Image::in_slot(slot).and_then(|image| scratch.judgement.judge(&image)).is_some() {
        return 0;
    }
    // The image is not whole.
    if scratch.outcome == READ {
        scratch.outcome = Reason::NotClassified as u32;
    }
    1
}

/// The same place, of which the compiler knows nothing: what is there is read from memory again. What it has in
/// registers differs by the way to here, and the verifier would walk the rest once for each.
#[inline(always)]
fn afresh(mut place: *mut Scratch) -> *mut Scratch {
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) place, options(nostack, preserves_flags)) };
    place
}
