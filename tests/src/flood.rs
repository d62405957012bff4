//! Very many raw frames, some hundred thousand a second and CPU, each counted. Called by the tests that hold the
//! counters to the byte under load.

use std::{
    io,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::{
    background::Background,
    capture::link_address,
    netns::{Count, Namespace},
    stage::on_cpu,
    traffic::Frames,
};

/// Frames a system call.
const BATCH: usize = 256;

/// What `frames` come to.
#[must_use]
pub fn total<'a>(frames: impl IntoIterator<Item = &'a Vec<u8>>) -> Count {
    frames.into_iter().fold(Count::default(), |mut sum, frame| {
        sum.packet(frame.len() as u64);
        sum
    })
}

/// A sender's end of an interface.
#[derive(Debug)]
pub struct Flood {
    socket: Socket,
}

impl Flood {
    /// Out of `interface` of the calling thread's namespace.
    ///
    /// # Errors
    /// Not root, or there is no such interface.
    pub fn open(interface: &str) -> Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("an AF_PACKET socket (needs root)")?;
        // Protocol 0: it receives nothing.
        socket.bind(&link_address(interface, 0)?).with_context(|| format!("binding to {interface}"))?;
        Ok(Self { socket })
    }

    /// Sends each of `frames` once. A frame that the kernel says did not leave has passed the hook all the same: it
    /// was dropped there, or behind it.
    ///
    /// # Errors
    /// The interface is gone or down.
    pub fn send(&self, frames: &[Vec<u8>]) -> Result<Frames> {
        let (result, ended) = self.send_some(frames);
        ended.with_context(|| format!("after {result:?}"))?;
        Ok(result)
    }

    /// The same, with what was sent before it failed.
    fn send_some(&self, frames: &[Vec<u8>]) -> (Frames, io::Result<()>) {
        let mut result = Frames::default();
        let mut at = 0;
        while at < frames.len() {
            let batch = &frames[at..frames.len().min(at + BATCH)];
            match send_batch(&self.socket, batch) {
                Ok(sent) => {
                    result.sent += sent as u64;
                    at += sent;
                    if sent < batch.len() {
                        // The call ends at the frame that fails, without saying why.
                        result.refused += 1;
                        at += 1;
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    result.refused += 1;
                    at += 1;
                }
                Err(error) => return (result, Err(error)),
            }
        }
        (result, Ok(()))
    }
}

/// How many of the first of `frames` the kernel took.
fn send_batch(socket: &Socket, frames: &[Vec<u8>]) -> io::Result<usize> {
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: all-zero headers are valid: no address, no parts, no control data.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for ((part, header), frame) in parts.iter_mut().zip(&mut headers).zip(frames) {
        *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    let count = frames.len().min(BATCH) as libc::c_uint;
    // SAFETY: the headers point to parts and frames that outlive the call, which only reads them.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sends `frames` once, from one CPU, beside the caller.
///
/// # Errors
/// The namespace's handle cannot be duplicated.
pub fn from_cpu(
    namespace: &Namespace,
    interface: &'static str,
    cpu: usize,
    frames: Arc<Vec<Vec<u8>>>,
) -> Result<JoinHandle<Result<()>>> {
    on_cpu(namespace, cpu, move || {
        let sent = Flood::open(interface)?.send(&frames)?;
        ensure!(sent == Frames { sent: frames.len() as u64, refused: 0 }, "{sent:?} of {}", frames.len());
        Ok(())
    })
}

/// A sender on one CPU that sends its frames again and again until it is told to stop.
#[derive(Debug)]
pub struct Sender {
    offered: Arc<AtomicU64>,
    work: Background<Result<(Ended, io::Result<()>)>>,
}

/// What it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    /// Everything that it gave to the kernel, in batches that were all taken.
    pub offered: Count,
    /// What became of everything.
    pub frames: Frames,
    /// The longest that a batch took.
    pub longest: Duration,
}

impl Sender {
    /// Starts it.
    ///
    /// # Errors
    /// The namespace's handle cannot be duplicated.
    pub fn start(namespace: &Namespace, interface: &'static str, cpu: usize, frames: Vec<Vec<u8>>) -> Result<Self> {
        let offered = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&offered);
        let work = Background::on_cpu(namespace, cpu, move |stop| {
            let flood = Flood::open(interface)?;
            let mut ended = Ended::default();
            for batch in frames.chunks(BATCH).cycle() {
                if stop.asked() {
                    break;
                }
                let began = Instant::now();
                let (frames, result) = flood.send_some(batch);
                ended.longest = ended.longest.max(began.elapsed());
                ended.frames.sent += frames.sent;
                ended.frames.refused += frames.refused;
                if result.is_err() {
                    return Ok((ended, result));
                }
                ended.offered = ended.offered.plus(total(batch));
                counter.store(ended.offered.packets, Ordering::Relaxed);
            }
            Ok((ended, Ok(())))
        })?;
        Ok(Self { offered, work })
    }

    /// Packets so far.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.offered.load(Ordering::Relaxed)
    }

    /// Stops it.
    ///
    /// # Errors
    /// The interface was gone, or down.
    pub fn stop(self) -> Result<Ended> {
        let (ended, result) = self.work.stop()?;
        result.with_context(|| format!("after {ended:?}"))?;
        Ok(ended)
    }

    /// Waits until it can't send any more.
    ///
    /// # Errors
    /// It never could.
    pub fn failed(self) -> Result<Ended> {
        Ok(self.work.wait()?.0)
    }
}
