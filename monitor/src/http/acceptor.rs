//! Connections to the port in, those that have a place out, by a thread that does nothing else: it has to be faster than
//! anybody who connects again and again, lest others wait for their turn. What has lost its place before it was served is
//! closed here, for the price of a few system calls.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_send_buffer_size, set_socket_timeout};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    connections::{Connections, Place, Pool, Source},
    roles::Role,
    sources::Sources,
};

/// Bytes that the kernel keeps for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// How soon it notices that it is to stop.
const LOOK: Duration = Duration::from_millis(500);
/// After what could not be accepted: out of file descriptors, usually.
const PAUSE: Duration = Duration::from_millis(100);

/// Those that are to be served.
#[derive(Clone, Debug, Default)]
pub struct Accepted(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<VecDeque<(TcpStream, Place)>>,
    some: Notify,
}

impl Accepted {
    fn queue(&self) -> MutexGuard<'_, VecDeque<(TcpStream, Place)>> {
        // Whole after each of its lines.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one that still has its place.
    pub async fn next(&self) -> (TcpStream, Place) {
        loop {
            while let Some((stream, place)) = { self.queue().pop_front() } {
                if place.cut().is_cancelled() {
                    reset(&stream);
                } else {
                    return (stream, place);
                }
            }
            self.0.some.notified().await;
        }
    }

    fn push(&self, stream: TcpStream, place: Place) {
        let mut queue = self.queue();
        queue.push_back((stream, place));
        if queue.len() > 2 * Pool::Port.places() {
            queue.retain(|(stream, place)| {
                let cut = place.cut().is_cancelled();
                if cut {
                    reset(stream);
                }
                !cut
            });
        }
        drop(queue);
        self.0.some.notify_one();
    }
}

/// Has it end in a way that leaves nothing of it in the kernel.
pub fn reset(stream: &TcpStream) {
    // Else it ends in order, and the kernel's own bounds hold.
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

/// Accepts until `stop`.
///
/// # Errors
/// The listener can't be used, or there is no thread.
pub fn start(
    listener: TcpListener,
    connections: Connections,
    accepted: Accepted,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(false)?;
    set_socket_timeout(&listener, Timeout::Recv, Some(LOOK))?;
    thread::Builder::new().name("http".into()).spawn(move || {
        let sources = Sources::open();
        while !stop.is_cancelled() {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let own = stream.local_addr();
                    let source = own.map_or(Source::Unknown, |own| sources.of(peer, own));
                    // Less than asked for is as good.
                    let _ = set_socket_send_buffer_size(&stream, SEND_BUFFER);
                    let place = connections.enter(Pool::Port, source, Some(Role::Metrics));
                    accepted.push(stream, place);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    thread::sleep(PAUSE);
                }
            }
        }
    })?;
    Ok(())
}
