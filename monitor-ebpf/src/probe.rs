//! A destination in, what the policy makes of it out, and nothing counted: userspace asks with BPF_PROG_TEST_RUN whether
//! a policy answers in the kernel as it does on the host. Never attached.

use aya_ebpf::bindings::__sk_buff;
use monitor_common::{
    classify::classify,
    wire::{Address, Control, Question},
};

use crate::{maps, policy::Image};

/// Answers the question in the packet's control block.
#[inline(always)]
pub fn answer(skb: *mut __sk_buff) -> i32 {
    // SAFETY: the context that the kernel gave us.
    let skb = unsafe { &*skb };
    let slot = match skb.mark {
        Question::IN_FORCE => {
            let Some(control) = maps::CONTROL.get_ptr(0) else { return Question::NO_ANSWER as i32 };
            // SAFETY: a live map value; volatile as for any packet.
            Control(unsafe { control.read_volatile() }).slot()
        }
        slot => slot & 1,
    };
    let [a, b, c, d, rest] = skb.cb;
    let address = Address { high: (a as u64) << 32 | b as u64, low: (c as u64) << 32 | d as u64 };
    let (port, protocol, version) = Question::unpack(rest);
    let Some(image) = Image::in_slot(slot) else { return Question::NO_ANSWER as i32 };
    match classify(&image, version, address, protocol, Some(port)) {
        Some(found) => Question::reply(&found) as i32,
        None => Question::NO_ANSWER as i32,
    }
}
