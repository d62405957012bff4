//! Programs and maps beside the monitor's, as somebody else's would be: in the kernel's instructions, by bpf(2), so that
//! they share nothing with what they are to disturb. Called by [`crate::bypass`], [`crate::gate`], [`crate::map_memory`] and
//! [`crate::tag`].

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};

use crate::netns;

// enum bpf_cmd, bpf_map_type, bpf_prog_type and bpf_attach_type of linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const PROG_LOAD: libc::c_long = 5;
pub(crate) const PROG_QUERY: libc::c_long = 16;
pub(crate) const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
pub(crate) const OBJ_GET: libc::c_long = 7;
pub(crate) const MAP_GET_FD_BY_ID: libc::c_long = 14;
const LINK_CREATE: libc::c_long = 28;
pub(crate) const LINK_UPDATE: libc::c_long = 29;
pub(crate) const LINK_GET_FD_BY_ID: libc::c_long = 30;
pub(crate) const LINK_DETACH: libc::c_long = 34;
const ARRAY: u32 = 2;
pub(crate) const SCHED_CLS: u32 = 3;
pub(crate) const RAW_TRACEPOINT: u32 = 17;
pub(crate) const TCX_EGRESS: u32 = 47;

/// bpf(2) with the first words of its attributes.
pub(crate) fn call(command: libc::c_long, attributes: &mut [u64]) -> io::Result<libc::c_long> {
    // SAFETY: the kernel takes what is missing of the attributes as zero; pointers in them are to memory that outlives
    // the call, see each caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for commands that give a descriptor.
pub(crate) fn open(command: libc::c_long, attributes: &mut [u64]) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Two numbers of 32 bits, as they lie in memory.
pub(crate) const fn pair(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        (first as u64) << 32 | second as u64
    }
}

/// One instruction: operation, destination and source register, offset, immediate
/// (Documentation/bpf/standardization/instruction-set.rst).
pub(crate) const fn op(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    let registers = if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
    let ([offset_0, offset_1], [a, b, c, d]) = (offset.to_ne_bytes(), value.to_ne_bytes());
    u64::from_ne_bytes([code, registers, offset_0, offset_1, a, b, c, d])
}

/// An array of one value.
pub(crate) fn array(value_size: u32, flags: u32) -> io::Result<OwnedFd> {
    // Type, sizes of key and value, entries, flags.
    open(MAP_CREATE, &mut [pair(ARRAY, 4), pair(value_size, 1), pair(flags, 0)])
}

/// A program with a name of at most 15 bytes.
pub(crate) fn load(kind: u32, code: &[u64], name: &str) -> io::Result<OwnedFd> {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    let [first, second] = [0, 8].map(|at| std::array::from_fn(|byte| bytes[at + byte])).map(u64::from_ne_bytes);
    // Type, count, code, licence; the log's level, size and place, kernel version and flags: none; the name.
    let head = [pair(kind, code.len() as u32), code.as_ptr() as u64, c"GPL".as_ptr() as u64];
    open(PROG_LOAD, &mut [&head[..], &[0; 3], &[first, second]].concat())
}

/// Puts a program before all others at the way out of an interface of the calling thread's namespace.
pub(crate) fn attach_first(program: &OwnedFd, interface: &str) -> Result<OwnedFd> {
    /// `BPF_F_BEFORE`; as it names no other program: before all.
    const BEFORE: u32 = 1 << 3;
    attach(program, interface, BEFORE)
}

/// Puts it behind all others.
pub(crate) fn attach_last(program: &OwnedFd, interface: &str) -> Result<OwnedFd> {
    /// `BPF_F_AFTER`, the same way.
    const AFTER: u32 = 1 << 4;
    attach(program, interface, AFTER)
}

fn attach(program: &OwnedFd, interface: &str, place: u32) -> Result<OwnedFd> {
    let target = pair(program.as_raw_fd() as u32, netns::index(interface)?);
    open(LINK_CREATE, &mut [target, pair(TCX_EGRESS, place), 0, 0]).context("BPF_LINK_CREATE")
}
