//! A destination in, its classification out, and nothing counted: by BPF_PROG_TEST_RUN userspace tests that a policy
//! gives the same in the kernel as on the host. Never attached.

use aya_ebpf::bindings::__sk_buff;
use monitor_common::{
    classify::classify,
    wire::{Address, Control, ProbeQuery},
};

use crate::{maps, policy::MappedImage};

/// Replies to the query in the packet's mark and control block.
#[inline(always)]
pub fn reply(skb: *mut __sk_buff) -> i32 {
    // SAFETY: the context that the kernel gave us.
    let skb = unsafe { &*skb };
    let slot = match skb.mark {
        ProbeQuery::IN_FORCE => {
            let Some(hot) = maps::HOT.get_ptr(0) else { return ProbeQuery::NO_ANSWER as i32 };
            // SAFETY: a live map value; volatile as for any packet.
            Control(unsafe { (&raw const (*hot).control).read_volatile() }).slot()
        }
        slot => slot & 1,
    };
    let [a, b, c, d, rest] = skb.cb;
    let address = Address { high: u64::from(a) << 32 | u64::from(b), low: u64::from(c) << 32 | u64::from(d) };
    let (port, protocol, version) = ProbeQuery::unpack(rest);
    let Some(image) = MappedImage::in_slot(slot) else { return ProbeQuery::NO_ANSWER as i32 };
    match classify(&image, version, address, protocol, Some(port)) {
        Some(found) => ProbeQuery::reply(&found) as i32,
        None => ProbeQuery::NO_ANSWER as i32,
    }
}
