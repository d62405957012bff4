//! Counting at one end of a wire: an AF_PACKET socket and **etherparse**, which share nothing with the monitor's
//! parser. Frames come in, exact counts a flow go out; a frame that the socket had no room for is an error, never
//! a smaller number.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::netns::{self, Count, Namespace};

/// Room for frames that arrive while we count; truesize of some hundred thousand small frames.
const BUFFER: usize = 256 << 20;

/// The largest frame: an IP packet of 65,535 bytes, a link header and tags.
const FRAME: usize = 65_535 + 64;

/// What a flow is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IANA protocol number, after extension headers.
    pub protocol: u8,
    /// TCP and UDP; else 0. Also 0 in a fragment after the first.
    pub source_port: u16,
    /// TCP and UDP; ICMP: type × 256 + code; else 0.
    pub destination_port: u16,
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "icmp6".to_owned(),
            other => format!("protocol {other}"),
        };
        write!(f, "{} → {} {protocol}", self.source, self.destination)?;
        if matches!(self.protocol, 6 | 17) {
            write!(f, " {} → {}", self.source_port, self.destination_port)?;
        }
        Ok(())
    }
}

/// What arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Everything.
    pub total: Count,
    /// IP packets by flow.
    pub flows: BTreeMap<FlowId, Count>,
    /// Frames that are not IP, by EtherType (0 where there is none).
    pub other: BTreeMap<u16, Count>,
    /// Frames that etherparse refuses, by its complaint.
    pub malformed: BTreeMap<String, Count>,
}

impl Captured {
    /// The sum of the flows that `wanted` picks.
    pub fn sum(&self, wanted: impl Fn(&FlowId) -> bool) -> Count {
        self.flows.iter().filter(|(id, _)| wanted(id)).fold(Count::default(), |sum, (_, count)| sum.plus(*count))
    }

    /// Counts one frame.
    fn add(&mut self, frame: &[u8]) {
        let bytes = frame.len() as u64;
        self.total.packet(bytes);
        match identify(frame) {
            Ok(Identity::Flow(id)) => self.flows.entry(id).or_default().packet(bytes),
            Ok(Identity::Other(ether_type)) => self.other.entry(ether_type).or_default().packet(bytes),
            Err(complaint) => self.malformed.entry(complaint).or_default().packet(bytes),
        }
    }
}

/// What etherparse makes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An IP packet.
    Flow(FlowId),
    /// Something else, by EtherType.
    Other(u16),
}

/// Reads an Ethernet frame with etherparse.
///
/// # Errors
/// etherparse's complaint.
pub fn identify(frame: &[u8]) -> Result<Identity, String> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    let (source, destination, payload): (IpAddr, IpAddr, _) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload())
        }
        Some(NetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload())
        }
        Some(NetSlice::Arp(_)) | None => {
            let ether_type = frame.get(12..14).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
            return Ok(Identity::Other(ether_type));
        }
    };
    let (source_port, destination_port) = match &packet.transport {
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Icmpv4(icmp)) => (0, u16::from_be_bytes([icmp.type_u8(), icmp.code_u8()])),
        Some(TransportSlice::Icmpv6(icmp)) => (0, u16::from_be_bytes([icmp.type_u8(), icmp.code_u8()])),
        _ => (0, 0),
    };
    Ok(Identity::Flow(FlowId { source, destination, protocol: payload.ip_number.0, source_port, destination_port }))
}

/// Which frames count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the interface received.
    Incoming,
    /// What it sent (after the monitor's hook).
    Outgoing,
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    stop: OwnedFd,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    captured: Mutex<Captured>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    /// Starts counting; when this returns, every later frame counts.
    ///
    /// # Errors
    /// Not root, or there is no such interface.
    pub fn start(namespace: &Namespace, interface: &str, direction: Direction) -> Result<Self> {
        let socket = namespace.run(|| packet_socket(interface))?;
        let shared = Arc::new(Shared::default());
        let (wake, stop) = io::pipe().context("making a pipe")?;
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || count(&socket, &wake.into(), direction, &shared))
        };
        Ok(Self { shared, stop: stop.into(), thread: Some(thread) })
    }

    /// Waits until what was captured satisfies `enough`.
    ///
    /// # Errors
    /// It did not within `time`; says what there was.
    pub fn wait_until(&self, time: Duration, enough: impl Fn(&Captured) -> bool) -> Result<Captured> {
        let deadline = Instant::now() + time;
        let mut captured = self.shared.lock();
        while !enough(&captured) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("not captured within {time:?}; so far: {captured:?}");
            }
            captured = self.shared.changed.wait_timeout(captured, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(captured.clone())
    }

    /// Stops, after counting what the socket still holds.
    ///
    /// # Errors
    /// The socket lost a frame.
    pub fn stop(mut self) -> Result<Captured> {
        let thread = self.thread.take();
        let shared = Arc::clone(&self.shared);
        // Closes the pipe, which the thread sees.
        drop(self.stop);
        match thread.map(JoinHandle::join) {
            Some(Ok(result)) => result?,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {}
        }
        let captured = shared.lock().clone();
        Ok(captured)
    }
}

/// Frames kept whole, for tests that tell them apart by their destination's Ethernet address.
#[derive(Debug)]
pub struct Recorder {
    socket: Socket,
}

impl Recorder {
    /// From when this returns, every frame that the interface receives is kept.
    ///
    /// # Errors
    /// Not root, or there is no such interface.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        Ok(Self { socket: namespace.run(|| packet_socket(interface))? })
    }

    /// What came until the frame to `last`, and that one. Of a VLAN tag that the receiving kernel takes for its own the
    /// frame has nothing here.
    ///
    /// # Errors
    /// It did not come within `time`, or there was no room for a frame.
    pub fn until(&self, last: [u8; 6], time: Duration) -> Result<Vec<Vec<u8>>> {
        let deadline = Instant::now() + time;
        let mut buffer = vec![0_u8; FRAME];
        let mut frames: Vec<Vec<u8>> = Vec::new();
        while frames.last().is_none_or(|frame| !frame.starts_with(&last)) {
            match receive(&self.socket, &mut buffer).context("reading from an AF_PACKET socket")? {
                Some((_, true)) => {}
                Some((length, false)) => {
                    frames.push(buffer.get(..length).with_context(|| format!("a frame of {length} bytes"))?.to_vec());
                }
                None => {
                    ensure!(Instant::now() < deadline, "the last frame did not come within {time:?}");
                    let mut ready = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                    // SAFETY: one structure, which outlives the call.
                    unsafe { libc::poll(&raw mut ready, 1, 100) };
                }
            }
        }
        let lost = dropped(&self.socket).context("PACKET_STATISTICS")?;
        ensure!(lost == 0, "the capturing socket had no room for {lost} frames");
        Ok(frames)
    }
}

/// A raw socket bound to one interface of the calling thread's namespace.
pub(crate) fn packet_socket(interface: &str) -> Result<Socket> {
    // Protocol 0 until it is bound: otherwise frames of other interfaces get in first.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("an AF_PACKET socket (needs root)")?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER as libc::c_int).context("SO_RCVBUFFORCE")?;
    socket
        .bind(&link_address(interface, libc::ETH_P_ALL as u16)?)
        .with_context(|| format!("binding to {interface}"))?;
    Ok(socket)
}

/// The address of an interface for AF_PACKET.
pub(crate) fn link_address(interface: &str, protocol: u16) -> Result<SockAddr> {
    let index = netns::index(interface)?;
    // SAFETY: the closure fills in a sockaddr_ll, which fits into the zeroed storage, and gives its true length.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_protocol = protocol.to_be();
            (*address).sll_ifindex = index as i32;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }
    .context("an AF_PACKET address")?;
    Ok(address)
}

/// `setsockopt` with an int.
pub(crate) fn set_option(socket: &Socket, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value outlives the call and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The capture thread: counts until the other end of `wake` is closed and the socket is empty.
fn count(socket: &Socket, wake: &OwnedFd, direction: Direction, shared: &Shared) -> Result<()> {
    let mut buffer = vec![0_u8; FRAME];
    let mut stopping = false;
    loop {
        let mut ready = [
            libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: wake.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
        // SAFETY: the array outlives the call and its length is given.
        if unsafe { libc::poll(ready.as_mut_ptr(), 2, -1) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error).context("poll");
        }
        stopping |= ready[1].revents != 0;
        let mut captured = shared.lock();
        while let Some((length, outgoing)) = receive(socket, &mut buffer).context("reading from an AF_PACKET socket")? {
            if outgoing == (direction == Direction::Outgoing) {
                let frame = buffer.get(..length).with_context(|| format!("a frame of {length} bytes"))?;
                captured.add(frame);
            }
        }
        drop(captured);
        shared.changed.notify_all();
        if stopping {
            let lost = dropped(socket).context("PACKET_STATISTICS")?;
            ensure!(lost == 0, "the capturing socket had no room for {lost} frames: its counts are too small");
            return Ok(());
        }
    }
}

/// One frame's true length and whether this host sent it; `None` when there is none.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
    loop {
        // SAFETY: all-zero bytes are a valid sockaddr_ll.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut from_length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer and address outlive the call, their sizes are given.
        let length = unsafe {
            libc::recvfrom(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                (&raw mut from).cast(),
                &raw mut from_length,
            )
        };
        if let Ok(length) = usize::try_from(length) {
            return Ok(Some((length, from.sll_pkttype == libc::PACKET_OUTGOING)));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(None),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

/// Frames that the socket had no room for.
fn dropped(socket: &Socket) -> io::Result<u32> {
    /// `struct tpacket_stats` of linux/if_packet.h.
    #[repr(C)]
    #[derive(Default)]
    struct Statistics {
        packets: u32,
        drops: u32,
    }
    let mut statistics = Statistics::default();
    let mut length = size_of::<Statistics>() as libc::socklen_t;
    // SAFETY: the structure outlives the call and its size is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(statistics.drops) } else { Err(io::Error::last_os_error()) }
}

/// The flow of a UDP or TCP packet from `source` to `destination`.
#[must_use]
pub fn flow(source: SocketAddr, destination: SocketAddr, protocol: u8) -> FlowId {
    FlowId {
        source: source.ip(),
        destination: destination.ip(),
        protocol,
        source_port: source.port(),
        destination_port: destination.port(),
    }
}
