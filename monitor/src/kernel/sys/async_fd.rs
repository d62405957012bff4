//! Ring buffers that the runtime waits for.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use tokio::io::unix::AsyncFd;

/// Lets the runtime wait for a ring buffer.
pub fn async_fd<T: AsFd + AsRawFd>(ring: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the rings given here own their descriptor (`AsFd`), keep it to their end, and close it once.
    Ok(unsafe { AsyncFd::register(ring) }?)
}
