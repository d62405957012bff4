//! The ring buffer as a stream.

use std::io;

use aya::maps::{MapData, RingBuf};
use monitor_common::wire::Event;
use tokio::io::unix::AsyncFd;

use super::sys;

/// Reads alertable flows as the kernel reports them.
pub struct EventReader {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl EventReader {
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self { ring: sys::async_fd(ring)? })
    }

    /// The next event that is there already; the last look before the end.
    pub fn ready(&mut self) -> Option<Event> {
        next_record(self.ring.get_mut())
    }

    /// Waits for the next event. Cancel-safe: nothing is taken from the ring before it is given.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            match next_record(ready.get_inner_mut()) {
                Some(event) => return Ok(event),
                None => ready.clear_ready(),
            }
        }
    }
}

fn next_record(ring: &mut RingBuf<MapData>) -> Option<Event> {
    // Both sides are built from one definition, so the size is always this.
    ring.next().map(|item| bytemuck::pod_read_unaligned(&item))
}
