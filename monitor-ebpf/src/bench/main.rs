//! For the benchmark alone, an object of its own: packets of many flows for the product's unchanged program, one that
//! does nothing as the baseline, and the product's address index beside the kernel's LPM trie.

#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the classifier macro makes functions without")]

mod maps;
#[path = "../policy.rs"]
mod policy;

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, macros::classifier, maps::lpm_trie::Key, programs::TcContext};
use monitor_common::{
    classify::{class_id_v4, class_id_v6},
    wire::{Address, Event},
};
use policy::MappedImage;

/// TCX_NEXT.
const NEXT: i32 = -1;

/// Does nothing: the baseline.
#[classifier]
pub fn empty(_context: TcContext) -> i32 {
    NEXT
}

/// Does nothing but submit an event, as the product does for a new flow: what that costs by itself.
#[classifier]
pub fn event(_context: TcContext) -> i32 {
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else { return i32::from(i16::MAX) };
    entry.write(Event::default());
    entry.submit(BPF_RB_NO_WAKEUP.into());
    NEXT
}

/// Turns an IPv4 packet without options into one of the next flow, then into the program under test.
#[classifier]
pub fn vary_v4(context: TcContext) -> i32 {
    vary::<29, 34>(&context)
}

/// The same for IPv6 without extension headers.
#[classifier]
pub fn vary_v6(context: TcContext) -> i32 {
    vary::<37, 54>(&context)
}

/// Writes the flow's number over the source port and the last byte of the source address. It stays there:
/// BPF_PROG_TEST_RUN gives every run the same packet.
#[inline(always)]
fn vary<const ADDRESS: usize, const PORT: usize>(context: &TcContext) -> i32 {
    let Some(step) = maps::STEP.get_ptr_mut(0) else { return NEXT };
    // SAFETY: one thread runs these programs, and userspace writes between runs.
    let flow = unsafe {
        let flow = (*step).next & (*step).mask;
        (*step).next += 1;
        flow
    };
    let (data, end) = (context.data(), context.data_end());
    if data + PORT + 2 > end {
        return NEXT;
    }
    // SAFETY: within the packet by the check above; the target's stores need no alignment.
    unsafe {
        *((data + ADDRESS) as *mut u8) = (flow >> 16) as u8;
        *((data + PORT) as *mut u16) = (flow as u16).to_be();
        maps::TARGET.tail_call(context, 0);
    }
    // Neither 0 nor a result of a program under test: userspace sees that there was none.
    i32::from(i16::MAX)
}

#[classifier]
pub fn none_v4(_context: TcContext) -> i32 {
    look_up(|number| Some(random_v4(number)))
}

#[classifier]
pub fn index_v4(_context: TcContext) -> i32 {
    look_up(|number| class_id_v4(&MappedImage::in_slot(0)?, random_v4(number)))
}

#[classifier]
pub fn trie_v4(_context: TcContext) -> i32 {
    look_up(|number| maps::TRIE_V4.get(Key::new(32, random_v4(number).to_be())).copied())
}

#[classifier]
pub fn none_v6(_context: TcContext) -> i32 {
    look_up(|number| Some(maps::ADDRESSES.get(number)?.high as u32))
}

#[classifier]
pub fn index_v6(_context: TcContext) -> i32 {
    look_up(|number| class_id_v6(&MappedImage::in_slot(0)?, *maps::ADDRESSES.get(number)?))
}

#[classifier]
pub fn trie_v6(_context: TcContext) -> i32 {
    look_up(|number| {
        let Address { high, low } = *maps::ADDRESSES.get(number)?;
        maps::TRIE_V6.get(Key::new(128, [high.to_be(), low.to_be()])).copied()
    })
}

/// On the way out of a real packet: where it goes, looked up in the kernel's LPM trie, and a count. No less would tell
/// one network from another.
#[classifier]
pub fn trie_out(context: TcContext) -> i32 {
    /// Ethernet and an IPv4 header up to the destination.
    const DESTINATION: usize = 14 + 16;
    let Some(destination) = field(&context, DESTINATION) else { return NEXT };
    if maps::TRIE_V4.get(Key::new(32, destination)).is_some()
        && let Some(counted) = maps::COUNTED.get_ptr_mut(0)
    {
        // SAFETY: programs on the way out run with bottom halves off, and only this CPU writes.
        unsafe { *counted += 1 };
    }
    NEXT
}

/// On the way out of a real packet: a count in a line of memory of its flow's own, and nothing else. That is the least that
/// anything costs that counts by flow.
#[classifier]
pub fn line_out(context: TcContext) -> i32 {
    /// The destination's low half, which tells the benchmark's flows apart.
    const FLOW: usize = 14 + 18;
    let Some(flow) = field::<u16>(&context, FLOW) else { return NEXT };
    // Neighbours on the wire are none in memory, as with any hash.
    let line = u32::from(flow.wrapping_mul(40_503));
    if let Some(line) = maps::LINES.get_ptr_mut(line) {
        // SAFETY: as above.
        unsafe { (*line)[0] += 1 };
    }
    NEXT
}

/// What stands in a packet's linear part from byte `at` on, if that is there.
#[inline(always)]
fn field<T: Copy>(context: &TcContext, at: usize) -> Option<T> {
    let start = context.data() + at;
    // SAFETY: within the packet by the check; the target's loads need no alignment.
    (start + size_of::<T>() <= context.data_end()).then(|| unsafe { *(start as *const T) })
}

/// A different address for each number, all over the space (the end of MurmurHash3): addresses in memory would compete
/// with the tables for the processor's caches.
#[inline(always)]
const fn random_v4(number: u32) -> u32 {
    let number = (number ^ number >> 16).wrapping_mul(0x85eb_ca6b);
    let number = (number ^ number >> 13).wrapping_mul(0xc2b2_ae35);
    number ^ number >> 16
}

/// The answer for the next number, and the sum of all answers: nothing may be optimised away, and both indexes must
/// come to the same.
#[inline(always)]
fn look_up(answer: impl FnOnce(u32) -> Option<u32>) -> i32 {
    let Some(step) = maps::STEP.get_ptr_mut(0) else { return NEXT };
    // SAFETY: as in `vary`.
    let step = unsafe { &mut *step };
    let number = (step.next & step.mask) as u32;
    step.next += 1;
    match answer(number) {
        Some(answer) => step.sum += u64::from(answer),
        None => step.missed += 1,
    }
    NEXT
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the verifier refuses programs with an endless loop.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
