//! Waiting for programs that are running.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use aya_obj::generated::{bpf_cmd, bpf_map_type};

use super::bpf::{attributes, bpf, create_map};

/// Waits for programs that are running. An update of an array of maps returns only after an RCU grace period
/// (`maybe_wait_bpf_programs`, kernel 4.20), and a program runs within one read-side section.
#[derive(Debug)]
pub struct GracePeriod {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl GracePeriod {
    /// Makes the two maps that the wait needs.
    pub fn new() -> io::Result<Self> {
        let one_element = |map_type: bpf_map_type, inner: u32| {
            let mut attr = attributes();
            attr.__bindgen_anon_1.map_type = map_type as u32;
            attr.__bindgen_anon_1.key_size = 4;
            attr.__bindgen_anon_1.value_size = 4;
            attr.__bindgen_anon_1.max_entries = 1;
            attr.__bindgen_anon_1.inner_map_fd = inner;
            create_map(attr)
        };
        let inner = one_element(bpf_map_type::BPF_MAP_TYPE_ARRAY, 0)?;
        let outer = one_element(bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS, inner.as_raw_fd() as u32)?;
        Ok(Self { outer, inner })
    }

    /// Keeps what another CPU reads later from being read before what it reads now. Where a CPU's loads may overtake each
    /// other, whatever a program chooses by a branch (the flow table of a parity) may be read before the branch is decided.
    pub fn order_reads(&self) -> io::Result<()> {
        if cfg!(target_arch = "x86_64") { Ok(()) } else { self.wait() }
    }

    /// Returns when every program that was running at the call has ended.
    pub fn wait(&self) -> io::Result<()> {
        let key = 0_u32;
        let value = self.inner.as_raw_fd() as u32;
        let mut attr = attributes();
        attr.__bindgen_anon_2.map_fd = self.outer.as_raw_fd() as u32;
        attr.__bindgen_anon_2.key = std::ptr::from_ref(&key) as u64;
        attr.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_ref(&value) as u64;
        // SAFETY: key and value have the sizes that the outer map was made with.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }
}
