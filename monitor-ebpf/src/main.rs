//! The kernel part: a packet in, a count and a verdict out. Programs, panic handler and licence only; the way of
//! a packet is in [`egress`].

#![no_std]
#![no_main]
#![allow(internal_features)] // core::intrinsics: AtomicU64::fetch_add does not exist on this target
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(missing_docs)] // the classifier macro makes functions without

mod cache;
mod deep;
mod egress;
mod emit;
mod maps;
mod packet;
mod policy;
mod probe;
mod settle;
mod table;

use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::classifier,
    programs::TcContext,
};
use monitor_common::wire::Clock;

/// Counts a packet that leaves, and decides on it.
#[classifier]
pub fn egress(context: TcContext) -> i32 {
    egress::packet(&context)
}

/// Reads the kernel's clocks for userspace; run with BPF_PROG_TEST_RUN, never attached.
#[classifier]
pub fn clock(_context: TcContext) -> i32 {
    if let Some(clock) = maps::CLOCK.get_ptr_mut(0) {
        // SAFETY: a map value, written by nobody else while userspace waits for this run.
        unsafe { clock.write(Clock { jiffies: bpf_jiffies64(), boot_ns: bpf_ktime_get_boot_ns() }) };
    }
    egress::NEXT
}

/// Says what the policy makes of a destination; run with BPF_PROG_TEST_RUN, never attached.
#[classifier]
pub fn probe(context: TcContext) -> i32 {
    probe::answer(context.skb.skb)
}

/// Does nothing: what the benchmark compares with.
#[classifier]
pub fn empty(_context: TcContext) -> i32 {
    egress::NEXT
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No path reaches a panic: the verifier refuses an endless loop that one could reach.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
