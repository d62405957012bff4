//! The ring buffers as a stream.

use std::{io, time::Duration};

use aya::maps::{MapData, RingBuf};
use monitor_common::wire::Reported;
use tokio::{io::unix::AsyncFd, time::sleep};

use super::sys;

/// How often it looks for events by itself.
const LOOK: Duration = Duration::from_millis(20);

/// Reads what the kernel part reports at once: alertable flows, packets without a flow, and that the open half is filling up.
pub struct EventReader {
    events: AsyncFd<RingBuf<MapData>>,
    pressure: AsyncFd<RingBuf<MapData>>,
}

impl EventReader {
    pub(super) fn new(events: RingBuf<MapData>, pressure: RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self { events: sys::async_fd(events)?, pressure: sys::async_fd(pressure)? })
    }

    /// The next event that is there already; the last look before the end.
    pub fn ready(&mut self) -> Option<Reported> {
        let ring = self.events.get_mut();
        // Both sides are built from one definition, so there is nothing else in it.
        std::iter::from_fn(|| ring.next().map(|entry| Reported::read(&entry))).flatten().next()
    }

    /// Waits for the next event; `None`: the open half is filling up. Cancel-safe: nothing is taken from a ring before it is
    /// given.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn next(&mut self) -> io::Result<Option<Reported>> {
        loop {
            if let Some(event) = self.ready() {
                return Ok(Some(event));
            }
            let Self { events, pressure } = self;
            tokio::select! {
                // The kernel part wakes us for events only when many are waiting.
                () = sleep(LOOK) => {}
                ready = events.readable_mut() => ready?.clear_ready(),
                ready = pressure.readable_mut() => {
                    let mut ready = ready?;
                    let ring = ready.get_inner_mut();
                    let filling = ring.next().is_some();
                    while ring.next().is_some() {}
                    ready.clear_ready();
                    if filling {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
