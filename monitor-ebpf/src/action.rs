//! What a program returns for a packet.

use aya_ebpf::bindings::__sk_buff;
use monitor_common::{verdict::Verdict, wire::CpuHalf};

use crate::table;

/// TCX_NEXT, and TC_ACT_UNSPEC for clsact: the next program decides. 0 (OK) would end the chain.
pub const NEXT: i32 = -1;
/// TC_ACT_SHOT.
const DROP: i32 = 2;

/// The action for a verdict; a drop is counted.
#[inline(always)]
pub fn tc_action(half: &mut CpuHalf, slot: u32, verdict: u8, skb: &__sk_buff) -> i32 {
    if verdict != Verdict::Denied as u8 {
        return NEXT;
    }
    table::dropped(half, slot, skb);
    DROP
}
