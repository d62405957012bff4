//! Parses a packet that is not plain: header by header, with fragments, and evaluates every destination. A function of
//! its own, and each loop a `bpf_loop`: the verifier checks a step once, whatever the number of steps.

use aya_ebpf::{
    bindings::__sk_buff,
    cty::c_void,
    helpers::{bpf_ktime_get_boot_ns, bpf_loop, bpf_skb_pull_data},
};
use monitor_common::{
    evaluate::{Evaluation, MAX_DESTINATIONS},
    fragments::set_index,
    parse::{MAX_FRAGMENTS, MAX_STEPS, Reason},
    wire::{Control, InnerDestination, Link},
};

use crate::{
    known_tunnels,
    maps::{self, Scratch},
    packet::{Frame, MAX_OFFSET},
    policy::MappedImage,
};

/// How far a packet was parsed: a [`Reason`] as its number where it has no flow (the evaluation then covers the
/// destinations that could be read all the same), or one of these.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParseOutcome(pub u32);

impl ParseOutcome {
    /// To its end: key and evaluation are in the scratch space.
    pub const PARSED: Self = Self(Reason::COUNT);
    /// By the fast path: its key is in the scratch space, its destination is not classified yet.
    pub const FAST_PARSED: Self = Self(Reason::COUNT + 1);
}

const PARSED: u32 = ParseOutcome::PARSED.0;

/// Leaves the packet's key and its evaluation in the scratch space. `interface`: its slot.
#[inline(always)]
pub fn parse(skb: *mut __sk_buff, scratch: &mut Scratch, link: Link, control: Control, interface: u32) -> ParseOutcome {
    ParseOutcome(parse_whole(skb, scratch, link as u32, control.0, interface))
}

/// Returns a [`ParseOutcome`] as its number. Everything goes from stage to stage in the scratch space: the verifier
/// would tell apart what is in registers, and check the evaluation once for each path to it.
#[inline(never)]
fn parse_whole(skb: *mut __sk_buff, scratch: *mut Scratch, link: u32, control: u64, interface: u32) -> u32 {
    if known_tunnels::find(skb, scratch, link, control, interface) {
        return PARSED;
    }
    let slot = Control(control).slot();
    // SAFETY: the caller's references.
    let (context, scratch) = unsafe { (&*skb, &mut *scratch) };
    walk(skb, scratch, link);
    // The headers may lie outside the linear part: a little of it first, then as much as any header may need.
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
    scratch.of_first = InnerDestination::default();
    scratch.evaluation = Evaluation::default();
    let mut stage = Stage { scratch, slot };
    let context = (&raw mut stage).cast();
    if scratch.walker.fragment_at(0).is_some() {
        // SAFETY: a helper without arguments; the callback's context outlives the call.
        unsafe {
            scratch.now = bpf_ktime_get_boot_ns();
            bpf_loop(MAX_FRAGMENTS, restore as *mut c_void, context, 0);
        }
    }
    // SAFETY: as above.
    unsafe { bpf_loop(MAX_DESTINATIONS, evaluate as *mut c_void, context, 0) };
    if scratch.outcome == PARSED {
        scratch.key.flow = scratch.walker.key;
        scratch.key.inner = scratch.evaluation.inner;
        if scratch.walker.fragment_at(0).is_some() {
            // SAFETY: as above.
            unsafe { bpf_loop(MAX_FRAGMENTS, record as *mut c_void, context, 0) };
        }
        known_tunnels::keep(scratch, control);
    }
    scratch.outcome
}

/// The context of a step's callback.
struct Walk {
    skb: *mut __sk_buff,
    scratch: *mut Scratch,
}

/// Walks through the headers in the linear part.
#[inline(always)]
fn walk(skb: *mut __sk_buff, scratch: &mut Scratch, link: u32) {
    // SAFETY: the context that the kernel gave us.
    let length = unsafe { (*skb).len };
    if let Err(reason) = scratch.walker.start(Link::from_wire(link as u16), length) {
        scratch.outcome = reason as u32;
        return;
    }
    // What is left if the steps run out.
    scratch.outcome = Reason::TooDeep as u32;
    let mut walk = Walk { skb, scratch };
    // SAFETY: the callback's context outlives the call.
    unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, (&raw mut walk).cast(), 0) };
}

/// One header; 1 ends the loop.
extern "C" fn step(_number: u64, walk: *mut c_void) -> i64 {
    // SAFETY: given by `walk`; the references end with this call.
    let (skb, scratch) = unsafe {
        let walk = &*walk.cast::<Walk>();
        (&*walk.skb, &mut *walk.scratch)
    };
    match scratch.walker.step(Frame::of(skb)) {
        Err(reason) => scratch.outcome = reason as u32,
        Ok(()) if scratch.walker.is_done() => scratch.outcome = PARSED,
        Ok(()) => return 0,
    }
    1
}

/// The context of the callbacks after the walk.
struct Stage {
    scratch: *mut Scratch,
    slot: u32,
}

/// The scratch space again, and the policy's slot.
///
/// # Safety
/// `stage` is what `parse_whole` gave to the loop, and no other reference to the scratch space is in use.
#[inline(always)]
unsafe fn stage_of<'a>(stage: *mut c_void) -> (&'a mut Scratch, u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let stage = &*stage.cast::<Stage>();
        (&mut *stage.scratch, stage.slot)
    }
}

/// One fragment that the packet is: what it lacks is restored from its first. 1 ends the loop.
extern "C" fn restore(number: u64, stage: *mut c_void) -> i64 {
    // SAFETY: given by `parse_whole`.
    let (scratch, _) = unsafe { stage_of(stage) };
    if scratch.outcome != PARSED {
        return 1;
    }
    let Some(fragment) = scratch.walker.fragment_at(number as usize) else { return 1 };
    let Some(set) = maps::FRAGMENTS.get_ptr_mut(set_index(&fragment, scratch.ifindex)) else { return 1 };
    // SAFETY: this CPU's own value.
    match unsafe { &mut *set }.restore(&fragment, scratch.ifindex, scratch.now, &mut scratch.walker) {
        Ok(inner) if inner.exists() => scratch.of_first = inner,
        Ok(_) => {}
        Err(reason) => scratch.outcome = reason as u32,
    }
    0
}

/// One fragment that the packet is: if it is a first one, it is recorded for the others. 1 ends the loop.
extern "C" fn record(number: u64, stage: *mut c_void) -> i64 {
    // SAFETY: given by `parse_whole`.
    let (scratch, _) = unsafe { stage_of(stage) };
    let Some(fragment) = scratch.walker.fragment_at(number as usize) else { return 1 };
    let Some(set) = maps::FRAGMENTS.get_ptr_mut(set_index(&fragment, scratch.ifindex)) else { return 1 };
    // SAFETY: this CPU's own value.
    unsafe { &mut *set }.record(&fragment, scratch.ifindex, scratch.now, &scratch.walker, &scratch.evaluation.inner);
    0
}

/// One destination. 1 ends the loop.
extern "C" fn evaluate(number: u64, stage: *mut c_void) -> i64 {
    // SAFETY: given by `parse_whole`.
    let (scratch, slot) = unsafe { stage_of(stage) };
    if !scratch.evaluation.pick(&scratch.walker, &scratch.of_first, number as u32) {
        return 1;
    }
    // What the compiler holds in registers differs by the path to here, and the verifier would check the rest once for
    // each. SAFETY: the same scratch space.
    let scratch = unsafe { &mut *maps::barrier_var(scratch) };
    if MappedImage::in_slot(slot).and_then(|image| scratch.evaluation.evaluate(&image)).is_some() {
        return 0;
    }
    // The image is incomplete.
    if scratch.outcome == PARSED {
        scratch.outcome = Reason::NotClassified as u32;
    }
    1
}
