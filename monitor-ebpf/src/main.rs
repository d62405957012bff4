//! The kernel part: a packet in, a count and a verdict out. Programs, panic handler and licence only; a packet begins
//! in [`egress`].

#![no_std]
#![no_main]
#![allow(internal_features, reason = "core::intrinsics: AtomicU64::fetch_add does not exist on this target")]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(missing_docs, reason = "the classifier macro makes functions without")]

mod action;
mod cache;
mod egress;
mod events;
mod known_tunnels;
mod maps;
mod packet;
mod policy;
mod probe;
mod slow_parse;
mod slow_path;
mod sockets;
mod table;
mod words;

use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::{cgroup_sockopt, classifier},
    programs::{SockoptContext, TcContext},
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
    action::NEXT
}

/// Classifies a destination for userspace; run with BPF_PROG_TEST_RUN, never attached.
#[classifier]
pub fn probe(context: TcContext) -> i32 {
    probe::reply(context.skb.skb)
}

/// Refuses what would have packets sent past [`egress`].
#[cgroup_sockopt(setsockopt)]
pub fn bypass(context: SockoptContext) -> i32 {
    sockets::option(&context)
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
