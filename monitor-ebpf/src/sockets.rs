//! Sockets that would send past the hook, refused in enforce mode: a setsockopt(2) in, whether it goes on out. It sees
//! 64-bit system calls alone.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_cgroup_id, bpf_get_netns_cookie},
    programs::SockoptContext,
};
use monitor_common::{bypass::Bypass, wire::Control};

use crate::maps;

/// What the kernel takes for EPERM, and for going on.
const REFUSED: i32 = 0;
const GOES_ON: i32 = 1;

/// Lets through whatever opens no way past the hook, or is not to be refused.
#[inline(always)]
pub fn option(context: &SockoptContext) -> i32 {
    let call = context.sockopt;
    // SAFETY: the context, of which the verifier knows these fields.
    let (level, option) = unsafe { ((*call).level, (*call).optname) };
    if let Some(bypass) = Bypass::of(level, option)
        && is_refused(context)
    {
        count(bypass);
        return REFUSED;
    }
    // The kernel goes on with what the program has given, however long it is: of more than a page it made no copy, and would
    // refuse it (kernel/bpf/cgroup.c, __cgroup_bpf_run_filter_setsockopt: optlen 0 is "nothing changed").
    // SAFETY: as above.
    unsafe { (*call).optlen = 0 };
    GOES_ON
}

/// In enforce mode, in the network namespace that is watched, but for control groups that are named.
#[inline(always)]
fn is_refused(context: &SockoptContext) -> bool {
    let (Some(hot), Some(watched)) = (maps::HOT.get(0), maps::BYPASS_NAMESPACE.get(0)) else { return false };
    // SAFETY: plain helpers; the context is this program's own.
    let (namespace, group) = unsafe { (bpf_get_netns_cookie(context.as_ptr()), bpf_get_current_cgroup_id()) };
    // SAFETY: the value is only looked for, not read.
    let is_named = unsafe { maps::BYPASS_GROUPS.get(group) }.is_some();
    Control(hot.control).enforce() && *watched == namespace && !is_named
}

#[inline(always)]
fn count(bypass: Bypass) {
    if let Some(sum) = maps::BYPASS_REFUSED.get_ptr_mut(bypass as u32) {
        // SAFETY: this CPU's own word. A second call on it in between is not counted.
        unsafe { *sum += 1 };
    }
}
