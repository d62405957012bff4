//! Real traffic whose amount is known exactly: UDP datagrams, TCP transfers, raw frames. Every function is bounded
//! in time and count, and is to be called inside a namespace (`namespace.run(|| send_udp(…))`).

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

use crate::{
    capture::{link_address, set_option},
    netns::Namespace,
};

/// No call here lasts longer, whatever the network does.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How often a blocked receiver looks whether it is to stop.
const TICK: Duration = Duration::from_millis(50);

/// Sends one datagram of each of `sizes` (payload bytes) from `source` to `destination`; gives back the source
/// with the port that the kernel chose where it was 0. A datagram that the monitor drops counts as sent: that is
/// what the kernel gives a program too.
///
/// # Errors
/// The kernel refuses an address or a size.
pub fn send_udp(source: SocketAddr, destination: SocketAddr, sizes: &[usize]) -> Result<SocketAddr> {
    let socket = std::net::UdpSocket::bind(source).with_context(|| format!("binding to {source}"))?;
    let payload = vec![0x55_u8; sizes.iter().copied().max().unwrap_or(0)];
    for size in sizes {
        let datagram = payload.get(..*size).unwrap_or(&payload);
        let sent = socket.send_to(datagram, destination).with_context(|| format!("sending to {destination}"))?;
        ensure!(sent == *size, "{sent} bytes of {size} were sent to {destination}");
    }
    socket.local_addr().context("reading the source port")
}

/// The length of the Ethernet frame that carries `payload` bytes by UDP, without VLAN tags or IP options.
#[must_use]
pub const fn udp_frame(destination: IpAddr, payload: usize) -> u64 {
    (14 + if destination.is_ipv4() { 20 } else { 40 } + 8 + payload) as u64
}

/// A receiver of datagrams in the background.
#[derive(Debug)]
pub struct UdpSink {
    address: SocketAddr,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<io::Result<(u64, u64)>>,
}

impl UdpSink {
    /// Binds `address` (port 0: any) inside `namespace`.
    ///
    /// # Errors
    /// The address is not there or is taken.
    pub fn bind(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let socket =
            namespace.run(|| std::net::UdpSocket::bind(address)).with_context(|| format!("binding {address}"))?;
        let address = socket.local_addr().context("reading a local address")?;
        set_option(&Socket::from(socket.try_clone()?), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20)
            .context("SO_RCVBUFFORCE")?;
        socket.set_read_timeout(Some(TICK)).context("a read timeout")?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0_u8; 65_536];
            let (mut datagrams, mut bytes) = (0, 0);
            let mut last = false;
            loop {
                match socket.recv(&mut buffer) {
                    Ok(length) => {
                        datagrams += 1;
                        bytes += length as u64;
                    }
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                        if last {
                            return Ok((datagrams, bytes));
                        }
                        // One more round after the word to stop: what had arrived before it is counted.
                        last = !matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty));
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        });
        Ok(Self { address, stop, thread })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops once nothing more arrives; gives datagrams and payload bytes.
    ///
    /// # Errors
    /// Reading failed.
    pub fn stop(self) -> Result<(u64, u64)> {
        drop(self.stop);
        match self.thread.join() {
            Ok(result) => result.with_context(|| format!("receiving at {}", self.address)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// The bytes that TCP transfers carry: the same for sender and receiver.
fn fill(buffer: &mut [u8], position: u64) {
    for (byte, at) in buffer.iter_mut().zip(position..) {
        *byte = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    }
}

/// A server in the background that takes TCP connections one after another and checks every byte that comes.
#[derive(Debug)]
pub struct TcpSink {
    address: SocketAddr,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<Vec<u64>>>,
}

impl TcpSink {
    /// Listens at `address` (port 0: any) inside `namespace`.
    ///
    /// # Errors
    /// The address is not there or is taken.
    pub fn listen(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let listener =
            namespace.run(|| TcpListener::bind(address)).with_context(|| format!("listening at {address}"))?;
        let address = listener.local_addr().context("reading a local address")?;
        let (stop, stopped) = mpsc::channel();
        // accept has no timeout of its own but SO_RCVTIMEO.
        Socket::from(listener.try_clone()?).set_read_timeout(Some(TICK)).context("an accept timeout")?;
        let thread = std::thread::spawn(move || {
            let mut transfers = Vec::new();
            loop {
                match listener.accept() {
                    Ok((stream, from)) => {
                        transfers.push(check(stream).with_context(|| format!("a transfer from {from}"))?);
                    }
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                        if !matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                            return Ok(transfers);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context("accept"),
                }
            }
        });
        Ok(Self { address, stop, thread })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops; gives the length of each transfer, all of them checked byte for byte.
    ///
    /// # Errors
    /// A byte was wrong, or a connection broke.
    pub fn stop(self) -> Result<Vec<u64>> {
        drop(self.stop);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Reads a transfer to its end, compares, and answers with its length.
fn check(mut stream: TcpStream) -> Result<u64> {
    stream.set_read_timeout(Some(LIMIT)).context("a read timeout")?;
    let (mut got, mut expected) = (vec![0_u8; 65_536], vec![0_u8; 65_536]);
    let mut position = 0;
    loop {
        let length = stream.read(&mut got).context("reading")?;
        if length == 0 {
            break;
        }
        fill(&mut expected[..length], position);
        ensure!(got[..length] == expected[..length], "wrong bytes after byte {position}");
        position += length as u64;
    }
    stream.write_all(&position.to_be_bytes()).context("answering")?;
    Ok(position)
}

/// How a TCP transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// The receiver confirmed every byte; with the source address that the kernel chose.
    Complete(SocketAddr),
    /// No connection, or no confirmation, within the time given.
    Stopped,
}

/// Sends `bytes` bytes to a [`TcpSink`] and waits for its confirmation, at most for `time`. `source` gives the
/// address and port to send from (port 0: any).
///
/// # Errors
/// The kernel refuses an address, or the receiver confirms another length.
pub fn send_tcp(source: SocketAddr, destination: SocketAddr, bytes: u64, time: Duration) -> Result<Transfer> {
    let deadline = Instant::now() + time.min(LIMIT);
    let socket = Socket::new(Domain::for_address(destination), Type::STREAM, None).context("a TCP socket")?;
    socket.set_reuse_address(true).context("SO_REUSEADDR")?;
    socket.bind(&source.into()).with_context(|| format!("binding to {source}"))?;
    if let Err(error) = socket.connect_timeout(&destination.into(), time.min(LIMIT)) {
        return match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Ok(Transfer::Stopped),
            _ => Err(error).with_context(|| format!("connecting to {destination}")),
        };
    }
    let mut stream = TcpStream::from(socket);
    let source = stream.local_addr().context("reading a local address")?;
    match transfer(&mut stream, bytes, deadline) {
        Ok(confirmed) if confirmed == bytes => Ok(Transfer::Complete(source)),
        Ok(confirmed) => bail!("{destination} confirmed {confirmed} bytes of {bytes}"),
        Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
            Ok(Transfer::Stopped)
        }
        Err(error) => Err(error).with_context(|| format!("sending to {destination}")),
    }
}

fn transfer(stream: &mut TcpStream, bytes: u64, deadline: Instant) -> io::Result<u64> {
    // A timeout of zero would mean none.
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut buffer = vec![0_u8; 65_536];
    let mut position = 0;
    while position < bytes {
        let length = usize::try_from(bytes - position).unwrap_or(usize::MAX).min(buffer.len());
        fill(&mut buffer[..length], position);
        stream.set_write_timeout(Some(left()))?;
        stream.write_all(&buffer[..length])?;
        position += length as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(left()))?;
    let mut confirmed = [0; 8];
    stream.read_exact(&mut confirmed)?;
    Ok(u64::from_be_bytes(confirmed))
}

/// Sends a super-packet of TCP over IPv4 out of `interface`, `times` times, as a virtual machine's would come: with
/// `headers` bytes of headers and `size` bytes of payload a segment, and nobody having said how many segments that is.
///
/// # Errors
/// Not root, no such interface, or the kernel did not take it.
pub fn send_super(interface: &str, frame: &[u8], headers: u16, size: u16, times: usize) -> Result<()> {
    let refused = send_supers(interface, frame, 14, (headers, size), times)?;
    ensure!(refused == 0, "{refused} super-packets of {times} did not leave");
    Ok(())
}

/// The same of an interface with a link header of so many bytes; gives how many the kernel refused after the hooks: those
/// that it would have had to cut up and could not.
///
/// # Errors
/// Not root, or no such interface.
pub fn send_supers(
    interface: &str,
    frame: &[u8],
    link: u16,
    (headers, size): (u16, u16),
    times: usize,
) -> Result<usize> {
    // linux/virtio_net.h.
    const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;
    const VIRTIO_NET_HDR_GSO_TCPV4: u8 = 1;
    let socket = with_virtio_headers()?;
    let address = link_address(interface, libc::ETH_P_IP as u16)?;
    // `struct virtio_net_hdr`; the TCP header begins after the link's and 20 bytes of IP, its checksum is 16 bytes in.
    let mut header = vec![VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4];
    header.extend([headers, size, link + 20, 16].into_iter().flat_map(u16::to_ne_bytes));
    let packet = [&header, frame].concat();
    let mut refused = 0;
    for _ in 0..times {
        match socket.send_to(&packet, &address) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS)) => refused += 1,
            Err(error) => return Err(error).context("sending a super-packet"),
        }
    }
    Ok(refused)
}

/// Sends `times` datagrams of `segments` times `size` bytes, each as one super-packet of so many segments.
///
/// # Errors
/// The kernel refuses an address, or has no such super-packets.
pub fn send_udp_supers(
    source: SocketAddr,
    destination: SocketAddr,
    size: u16,
    segments: usize,
    times: usize,
) -> Result<()> {
    // linux/udp.h.
    const UDP_SEGMENT: libc::c_int = 103;
    let socket = std::net::UdpSocket::bind(source).with_context(|| format!("binding to {source}"))?;
    let socket = Socket::from(socket);
    set_option(&socket, libc::SOL_UDP, UDP_SEGMENT, size.into()).context("UDP_SEGMENT")?;
    let payload = vec![0x55; usize::from(size) * segments];
    for _ in 0..times {
        let sent =
            socket.send_to(&payload, &destination.into()).with_context(|| format!("sending to {destination}"))?;
        ensure!(sent == payload.len(), "{sent} bytes of {} were sent", payload.len());
    }
    Ok(())
}

/// What became of raw frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// The kernel took them.
    pub sent: u64,
    /// The kernel says that they were dropped on the way out (ENOBUFS): by the monitor, or by a full queue.
    pub refused: u64,
}

/// Sends `frames` (with their Ethernet headers) out of `interface` as they are.
///
/// # Errors
/// Not root, no such interface, or a frame longer than its MTU.
pub fn send_frames<'a>(interface: &str, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<Frames> {
    let left = send_each(interface, frames)?;
    let sent = left.iter().filter(|left| **left).count() as u64;
    Ok(Frames { sent, refused: left.len() as u64 - sent })
}

/// The same; gives for each whether it left (ENOBUFS: it was dropped on the way out). One socket for all: closing one
/// takes the kernel longer than a hundred frames.
///
/// # Errors
/// See [`send_frames`].
pub fn send_each<'a>(interface: &str, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<bool>> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("an AF_PACKET socket (needs root)")?;
    frames.into_iter().map(|frame| leaves(&socket, interface, frame, &[])).collect()
}

/// The same of frames that are not in one piece: so many bytes of each, at least an Ethernet header, are in one piece
/// of the kernel's memory and the rest in pages, if the frame fills more than one page itself.
///
/// # Errors
/// See [`send_frames`].
pub fn send_scattered<'a>(interface: &str, frames: impl IntoIterator<Item = (&'a [u8], u16)>) -> Result<Vec<bool>> {
    let socket = with_virtio_headers()?;
    let leaves = |(frame, linear): (&[u8], u16)| {
        // `struct virtio_net_hdr`: flags, kind of segmentation, length of all headers, and what goes with the former
        // two.
        let mut header = [0; 10];
        header[2..4].copy_from_slice(&linear.to_ne_bytes());
        leaves(&socket, interface, frame, &header)
    };
    frames.into_iter().map(leaves).collect()
}

/// A packet socket whose frames have a `struct virtio_net_hdr` before them.
fn with_virtio_headers() -> Result<Socket> {
    // linux/if_packet.h.
    const PACKET_VNET_HDR: libc::c_int = 15;
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("an AF_PACKET socket (needs root)")?;
    set_option(&socket, libc::SOL_PACKET, PACKET_VNET_HDR, 1).context("PACKET_VNET_HDR")?;
    Ok(socket)
}

/// Sends a frame; whether it left.
fn leaves(socket: &Socket, interface: &str, frame: &[u8], before: &[u8]) -> Result<bool> {
    let ethernet = frame.get(12..14).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
    match socket.send_to(&[before, frame].concat(), &link_address(interface, ethernet)?) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("a frame of {} bytes out of {interface}", frame.len())),
    }
}

/// Sends `frame` out of `interface` once for each of `numbers`, after `vary` has written the number into it, many in
/// one system call; gives how many there were.
///
/// # Errors
/// Not root, no such interface, or the kernel takes one of them not: with how many it had taken.
pub fn send_varied<N>(
    interface: &str,
    frame: &[u8],
    numbers: impl IntoIterator<Item = N>,
    mut vary: impl FnMut(&mut [u8], N),
) -> Result<u64> {
    const BATCH: usize = 256;
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("an AF_PACKET socket (needs root)")?;
    // Protocol 0: it sends and receives nothing.
    socket.bind(&link_address(interface, 0)?).with_context(|| format!("binding to {interface}"))?;
    let mut frames = vec![frame.to_vec(); BATCH];
    let mut numbers = numbers.into_iter().peekable();
    let mut sent = 0;
    while numbers.peek().is_some() {
        let filled = frames.iter_mut().zip(numbers.by_ref().take(BATCH)).map(|(frame, number)| vary(frame, number));
        let count = filled.count();
        send_all(&socket, &frames[..count]).with_context(|| format!("frame {sent} and on, out of {interface}"))?;
        sent += count as u64;
    }
    Ok(sent)
}

/// `sendmmsg`, as often as it takes.
fn send_all(socket: &Socket, frames: &[Vec<u8>]) -> io::Result<()> {
    let mut parts: Vec<libc::iovec> = frames
        .iter()
        .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: an all-zero header is one without address, data and control.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
            message
        })
        .collect();
    let mut left = messages.as_mut_slice();
    while !left.is_empty() {
        // SAFETY: `left` are headers whose parts and frames outlive the call, which only reads the frames.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0) };
        match usize::try_from(sent) {
            Ok(sent) => left = &mut left[sent..],
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}
