//! What the kernel says of its clock's synchronisation.

use std::io;

/// The status word of adjtimex(2) (`STA_UNSYNC` and others). Nothing is set.
pub fn clock_status() -> io::Result<libc::c_int> {
    // SAFETY: a structure of integers.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads and writes one `timex`; without a bit in `modes` it sets nothing.
    let result = unsafe { libc::adjtimex(&raw mut clock) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(clock.status) }
}
