//! The ring buffer as a stream.

use std::io;

use aya::maps::{MapData, RingBuf};
use monitor_common::wire::Event;
use tokio::io::unix::AsyncFd;

use super::sys;

/// Reads alertable flows as the kernel tells of them.
pub struct EventReader {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl EventReader {
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self { ring: sys::watch(ring)? })
    }

    /// Waits for the next event. Cancel-safe: nothing is taken from the ring before it is given.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            if let Some(item) = ready.get_inner_mut().next() {
                // Both sides are built from one definition; a record of another size is not ours.
                if item.len() == size_of::<Event>() {
                    return Ok(bytemuck::pod_read_unaligned(&item));
                }
            } else {
                ready.clear_ready();
            }
        }
    }
}
