//! What the benchmark needs of the kernel directly: a thread on one CPU and the time it takes there, frames sent as
//! fast as can be or at a pace, and how long datagrams are on their way. All of it is bounded in time, and called
//! inside a namespace.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::capture::{link_address, set_option};

/// Frames given to the kernel at once.
const BATCH: usize = 128;

/// Keeps the calling thread, and threads that it makes, on one CPU; on a machine that has only one, on that.
///
/// # Errors
/// The kernel refuses CPU 0.
pub fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: all-zero bytes are an empty set; the set outlives the calls, which change this thread alone.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 || cpu > 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// CPU time of the calling thread so far, the kernel's share included.
#[must_use]
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads so far.
#[must_use]
pub fn process_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; the clocks that are asked for are always there.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    duration(time)
}

const fn duration(time: libc::timespec) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Frames of one length, sent one after the other, again and again, through the interface's hooks as any other
/// program's are.
pub struct Flood<'a> {
    socket: Socket,
    messages: Vec<libc::mmsghdr>,
    next: usize,
    // What the messages point to.
    _parts: Vec<libc::iovec>,
    _frames: &'a [u8],
}

/// What a [`Flood`] sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames.
    pub frames: u64,
    /// Within this time.
    pub time: Duration,
}

impl Sent {
    /// Frames a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.time.as_secs_f64()
    }
}

impl<'a> Flood<'a> {
    /// `frames` are `size` bytes each, with their Ethernet headers.
    ///
    /// # Errors
    /// Not root, or no such interface.
    pub fn new(interface: &str, frames: &'a [u8], size: usize) -> Result<Self> {
        ensure!(!frames.is_empty() && frames.len().is_multiple_of(size), "no whole frames of {size} bytes");
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("an AF_PACKET socket (needs root)")?;
        // Protocol 0: nothing is received, so that the kernel makes no copies for this socket.
        socket.bind(&link_address(interface, 0)?).with_context(|| format!("binding to {interface}"))?;
        let mut parts: Vec<libc::iovec> = frames
            .chunks(size)
            .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: size })
            .collect();
        let messages = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: all-zero bytes are a valid message.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        Ok(Self { socket, messages, next: 0, _parts: parts, _frames: frames })
    }

    /// The next `count` frames, or those up to the last; gives how many.
    fn send(&mut self, count: usize) -> Result<u64> {
        let end = self.messages.len().min(self.next + count);
        let batch = &mut self.messages[self.next..end];
        // SAFETY: the messages point to `_parts` and these to `_frames`, which are not changed while this value lives;
        // the kernel reads them and writes each message's length.
        let sent =
            unsafe { libc::sendmmsg(self.socket.as_raw_fd(), batch.as_mut_ptr(), batch.len() as libc::c_uint, 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error()).context("sending frames");
        }
        self.next = (self.next + sent as usize) % self.messages.len();
        Ok(sent as u64)
    }

    /// As many as can be for `time`.
    ///
    /// # Errors
    /// The kernel refuses a frame.
    pub fn send_for(&mut self, time: Duration) -> Result<Sent> {
        let began = Instant::now();
        let mut frames = 0;
        loop {
            for _ in 0..8 {
                frames += self.send(BATCH)?;
            }
            let elapsed = began.elapsed();
            if elapsed >= time {
                return Ok(Sent { frames, time: elapsed });
            }
        }
    }

    /// Every frame once, and then as many as can be for `time`; gives how many.
    ///
    /// # Errors
    /// The kernel refuses a frame.
    pub fn warm(&mut self, time: Duration) -> Result<u64> {
        let mut frames = 0;
        while frames < self.messages.len() as u64 {
            frames += self.send(BATCH)?;
        }
        Ok(frames + self.send_for(time)?.frames)
    }

    /// `rate` frames a second until `stop` says so or `limit` is over.
    ///
    /// # Errors
    /// The kernel refuses a frame.
    pub fn paced(&mut self, rate: f64, limit: Duration, stop: impl Fn() -> bool) -> Result<u64> {
        let began = Instant::now();
        let mut frames = 0;
        while began.elapsed() < limit && !stop() {
            let due = (began.elapsed().as_secs_f64() * rate) as u64;
            while frames < due {
                frames += self.send(BATCH.min((due - frames) as usize))?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(frames)
    }
}

/// How long datagrams are on their way: from just before the sender's system call to the moment when the kernel takes
/// them in at the other end, both by the wall clock. Nobody waits at that end, so no time of waking up is in it.
#[derive(Debug)]
pub struct Way {
    from: UdpSocket,
    to: UdpSocket,
}

impl Way {
    /// `from` is called in the sender's namespace, `to` has been bound in the receiver's.
    ///
    /// # Errors
    /// An address that is not there.
    pub fn new(from: UdpSocket, to: UdpSocket) -> Result<Self> {
        let socket = Socket::from(to.try_clone().context("duplicating a socket")?);
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).context("SO_TIMESTAMPNS")?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20).context("SO_RCVBUFFORCE")?;
        to.set_nonblocking(true).context("a socket that does not block")?;
        let address: SocketAddr = to.local_addr().context("reading a local address")?;
        from.connect(address).with_context(|| format!("connecting to {address}"))?;
        Ok(Self { from, to })
    }

    /// One datagram each `interval` for `time`; the delay of each. None is lost.
    ///
    /// # Errors
    /// The kernel refuses a datagram, or one did not arrive.
    pub fn delays(&self, interval: Duration, time: Duration) -> Result<Vec<Duration>> {
        let began = Instant::now();
        let (mut due, mut sent) = (began, Vec::new());
        while began.elapsed() < time {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            // After a pause, not a burst.
            due = Instant::now() + interval;
            let at = clock(libc::CLOCK_REALTIME);
            self.from.send(&sent.len().to_ne_bytes()).context("sending a datagram")?;
            sent.push(at);
        }
        let mut delays = Vec::with_capacity(sent.len());
        // The receiving end of a veth pair is served before the sender's system call returns, or soon after.
        let deadline = Instant::now() + Duration::from_secs(2);
        while delays.len() < sent.len() {
            if let Some((number, arrived)) = self.receive()? {
                let left = sent.get(number).context("a datagram that was not sent")?;
                // The wall clock may be set back in between.
                delays.push(arrived.saturating_sub(*left));
            } else {
                ensure!(Instant::now() < deadline, "{} of {} datagrams arrived", delays.len(), sent.len());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(delays)
    }

    /// The next datagram's number and when it came; `None` if there is none now.
    fn receive(&self) -> Result<Option<(usize, Duration)>> {
        let mut number = [0_u8; size_of::<usize>()];
        // Aligned as a control message must be.
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: number.as_mut_ptr().cast(), iov_len: number.len() };
        // SAFETY: all-zero bytes are a valid message header; it points to the three buffers above with their lengths,
        // and they outlive the call.
        let (length, header) = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control);
            (libc::recvmsg(self.to.as_raw_fd(), &raw mut header, 0), header)
        };
        if length < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error).context("receiving") };
        }
        ensure!(length as usize == number.len(), "a datagram of {length} bytes");
        // SAFETY: the kernel has filled in the header, and the macros stay within the control buffer that it names.
        let arrived = unsafe {
            let mut at = libc::CMSG_FIRSTHDR(&raw const header);
            while !at.is_null() && ((*at).cmsg_level, (*at).cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                at = libc::CMSG_NXTHDR(&raw const header, at);
            }
            if at.is_null() { None } else { Some(libc::CMSG_DATA(at).cast::<libc::timespec>().read_unaligned()) }
        };
        let arrived = arrived.context("a datagram without the kernel's time")?;
        Ok(Some((usize::from_ne_bytes(number), duration(arrived))))
    }
}

/// Set by Ctrl-C and looked at between two measurements.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed since [`catch_interrupts`].
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// From now on Ctrl-C only sets what [`interrupted`] gives, so that everything can be taken down; a second one ends the
/// process.
pub fn catch_interrupts() {
    extern "C" fn note(_: libc::c_int) {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // SAFETY: _exit may be called in a signal handler.
            unsafe { libc::_exit(130) };
        }
    }
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler touches an atomic and nothing else; the cast is how libc takes it.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}
