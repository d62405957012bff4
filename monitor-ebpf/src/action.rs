//! What a program returns for a packet.

use monitor_common::{verdict::Verdict, wire::Counters};

use crate::table;

/// TCX_NEXT, and TC_ACT_UNSPEC for clsact: the next program decides. 0 (OK) would end the chain.
pub const NEXT: i32 = -1;
/// TC_ACT_SHOT.
const DROP: i32 = 2;

/// The action for a verdict; a drop is counted.
#[inline(always)]
pub fn tc_action(parity: u32, slot: u32, verdict: u8, size: &Counters) -> i32 {
    if verdict != Verdict::Denied as u8 {
        return NEXT;
    }
    table::dropped(parity, slot, size);
    DROP
}
