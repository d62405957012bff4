//! What threads of a process share.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives this thread a root and a working directory of its own: one that shares them stays in its mount namespace.
///
/// # Errors
/// The kernel is out of memory.
pub fn unshare_directory() -> io::Result<()> {
    // SAFETY: nothing but root, working directory and umask; open files stay shared.
    Ok(unsafe { unshare_unsafe(UnshareFlags::FS) }?)
}
