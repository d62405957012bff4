//! Ways past a program on the way out of an interface, each for real: what the monitor has to notice by the interface's
//! own account. To be called inside a namespace, on interfaces of the test's own.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

use crate::{
    bpf::{self, pair},
    capture::{link_address, set_option},
    netns,
    traffic::LIMIT,
};

/// Sends `frames` through AF_PACKET with PACKET_QDISC_BYPASS: straight into the driver.
///
/// # Errors
/// Not root, or the kernel did not take a frame.
pub fn packet_bypass<'a>(interface: &str, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
    // linux/if_packet.h.
    const PACKET_QDISC_BYPASS: libc::c_int = 20;
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("an AF_PACKET socket (needs root)")?;
    set_option(&socket, libc::SOL_PACKET, PACKET_QDISC_BYPASS, 1).context("PACKET_QDISC_BYPASS")?;
    let address = link_address(interface, 0)?;
    for frame in frames {
        let sent = socket.send_to(frame, &address).context("sending beside the queue")?;
        ensure!(sent == frame.len(), "{sent} bytes of {} were sent", frame.len());
    }
    Ok(())
}

/// Opens an AF_PACKET socket on an interface that may send so.
///
/// # Errors
/// Not root, or it is refused.
pub fn packet_socket(interface: &str) -> Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("an AF_PACKET socket (needs root)")?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1).context("PACKET_QDISC_BYPASS")?;
    socket.bind(&link_address(interface, 0)?).context("binding an AF_PACKET socket")?;
    Ok(socket)
}

/// Opens an AF_XDP socket with a ring to send by, on no interface yet.
///
/// # Errors
/// Not root, or the kernel has no AF_XDP.
pub fn xdp_socket() -> Result<Socket> {
    // SAFETY: plain socket(2).
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    ensure!(fd >= 0, "an AF_XDP socket: {}", io::Error::last_os_error());
    // SAFETY: the descriptor was just made for us.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    set_option(&socket, libc::SOL_XDP, libc::XDP_TX_RING, 64).context("the size of an AF_XDP ring")?;
    Ok(socket)
}

const CHUNK: usize = 2048;
const CHUNKS: usize = 512;

/// Memory that is given back.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    /// `descriptor` below 0: memory of nobody else's.
    pub(crate) fn new(descriptor: i32, offset: i64, length: usize) -> Result<Self> {
        let kind = if descriptor < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
        let flags = kind | libc::MAP_POPULATE;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let address = unsafe {
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, descriptor, offset)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mmap");
        }
        Ok(Self { address, length })
    }

    /// Where something is, `offset` bytes from the start.
    pub(crate) fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.length, "past the end of a mapping");
        // SAFETY: within the mapping, by the assertion.
        unsafe { self.address.cast::<u8>().add(offset).cast() }
    }

    /// A ring's index.
    fn index(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: aligned as the kernel lays rings out, within the mapping, and shared with the kernel as an atomic.
        unsafe { AtomicU32::from_ptr(self.at(offset as usize)) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing points to it any more.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// Sends `frames` through AF_XDP in copy mode, and waits until the kernel has sent them all.
///
/// # Errors
/// The kernel has no AF_XDP, or does not send within [`LIMIT`].
pub fn xdp_send(interface: &str, frames: &[Vec<u8>]) -> Result<()> {
    ensure!(frames.len() <= CHUNKS && frames.iter().all(|frame| frame.len() <= CHUNK), "more than there is room for");
    // SAFETY: plain socket(2).
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    ensure!(fd >= 0, "an AF_XDP socket: {}", io::Error::last_os_error());
    // SAFETY: the descriptor was just made for us.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let memory = Mapping::new(-1, 0, CHUNK * CHUNKS)?;
    // SAFETY: all-zero bytes are a valid registration.
    let mut umem: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
    (umem.addr, umem.len, umem.chunk_size) = (memory.address as u64, memory.length as u64, CHUNK as u32);
    // SAFETY: the structure outlives the call and its size is given.
    let result = unsafe {
        let size = size_of::<libc::xdp_umem_reg>() as libc::socklen_t;
        libc::setsockopt(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, (&raw const umem).cast(), size)
    };
    ensure!(result == 0, "XDP_UMEM_REG: {}", io::Error::last_os_error());
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
        set_option(&socket, libc::SOL_XDP, ring, CHUNKS as libc::c_int).context("the size of an AF_XDP ring")?;
    }
    // SAFETY: all-zero bytes are valid offsets.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
    // SAFETY: the structure outlives the call and its size is given.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, (&raw mut offsets).cast(), &raw mut size)
    };
    ensure!(result == 0, "XDP_MMAP_OFFSETS: {}", io::Error::last_os_error());
    let ring = offsets.tx.desc as usize + CHUNKS * size_of::<libc::xdp_desc>();
    let ring = Mapping::new(fd, libc::XDP_PGOFF_TX_RING, ring)?;
    bind(&socket, interface)?;

    for (number, frame) in frames.iter().enumerate() {
        let desc = libc::xdp_desc { addr: (number * CHUNK) as u64, len: frame.len() as u32, options: 0 };
        let place = offsets.tx.desc as usize + number * size_of::<libc::xdp_desc>();
        // SAFETY: one chunk for each frame, by the first line; a descriptor for each in the ring. The kernel looks at
        // neither before the index below says so.
        unsafe {
            std::ptr::copy_nonoverlapping(frame.as_ptr(), memory.at::<u8>(number * CHUNK), frame.len());
            ring.at::<libc::xdp_desc>(place).write(desc);
        }
    }
    ring.index(offsets.tx.producer).store(frames.len() as u32, Ordering::Release);
    let deadline = Instant::now() + LIMIT;
    while ring.index(offsets.tx.consumer).load(Ordering::Acquire) != frames.len() as u32 {
        // SAFETY: no data: the call makes the kernel look at the ring.
        let result = unsafe { libc::sendto(fd, std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        let error = io::Error::last_os_error();
        if result < 0 && !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS)) {
            return Err(error).context("sending through AF_XDP");
        }
        if Instant::now() > deadline {
            bail!("AF_XDP does not send: {error}");
        }
    }
    Ok(())
}

fn bind(socket: &Socket, interface: &str) -> Result<()> {
    // SAFETY: all-zero bytes are a valid address.
    let mut address: libc::sockaddr_xdp = unsafe { std::mem::zeroed() };
    address.sxdp_family = libc::AF_XDP as u16;
    address.sxdp_flags = libc::XDP_COPY;
    address.sxdp_ifindex = netns::index(interface)?;
    let size = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the address outlives the call and its size is given.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    ensure!(result == 0, "binding an AF_XDP socket to {interface}: {}", io::Error::last_os_error());
    Ok(())
}

/// Somebody else's program, in front of all others on the way out, that passes everything (TCX_PASS): no other program
/// sees a packet while this value lives.
#[derive(Debug)]
pub struct PassesEverything {
    _link: OwnedFd,
    _program: OwnedFd,
}

impl PassesEverything {
    /// Puts it on `interface`.
    ///
    /// # Errors
    /// The kernel has no TCX.
    pub fn ahead_on(interface: &str) -> Result<Self> {
        let program = passes_everything()?;
        let link = bpf::attach_first(&program, interface)?;
        Ok(Self { _link: link, _program: program })
    }
}

/// Somebody else's program, behind all others on the way out, that drops everything (TCX_DROP) while this value lives, and
/// counts nothing.
#[derive(Debug)]
pub struct DropsEverything {
    _link: OwnedFd,
    _program: OwnedFd,
}

impl DropsEverything {
    /// Puts it on `interface`.
    ///
    /// # Errors
    /// The kernel has no TCX.
    pub fn behind_on(interface: &str) -> Result<Self> {
        let program = returns(2, "drops")?;
        let link = bpf::attach_last(&program, interface)?;
        Ok(Self { _link: link, _program: program })
    }
}

/// Takes the first program off the way out of `interface`, from outside (what `bpftool link detach` does).
///
/// # Errors
/// There is none, or it has no link.
pub fn detach_first(interface: &str) -> Result<()> {
    let link = first_link(interface)?;
    bpf::call(bpf::LINK_DETACH, &mut [pair(link.as_raw_fd() as u32, 0)]).context("BPF_LINK_DETACH")?;
    Ok(())
}

/// Puts a program that passes everything in the place of the first one on the way out of `interface`, by its own link.
///
/// # Errors
/// There is none, or it has no link.
pub fn replace_first(interface: &str) -> Result<OwnedFd> {
    let (link, program) = (first_link(interface)?, passes_everything()?);
    let (link_fd, program_fd) = (link.as_raw_fd() as u32, program.as_raw_fd() as u32);
    // The program before it: any.
    bpf::call(bpf::LINK_UPDATE, &mut [pair(link_fd, program_fd), 0]).context("BPF_LINK_UPDATE")?;
    Ok(program)
}

/// A program that passes everything (TCX_PASS).
fn passes_everything() -> Result<OwnedFd> {
    returns(0, "passes")
}

/// A program that comes to this verdict, whatever the packet.
fn returns(verdict: i32, name: &str) -> Result<OwnedFd> {
    // r0 = verdict; exit.
    let code = [bpf::op(0xb7, 0, 0, 0, verdict), bpf::op(0x95, 0, 0, 0, 0)];
    bpf::load(bpf::SCHED_CLS, &code, name).context("loading a program")
}

/// The link of the first program on the way out of `interface`.
fn first_link(interface: &str) -> Result<OwnedFd> {
    let (mut programs, mut links) = ([0_u32; 16], [0_u32; 16]);
    let (program_list, link_list) = (programs.as_mut_ptr() as u64, links.as_mut_ptr() as u64);
    // Target and type, flags, programs, how many, their flags, links, their flags, revision.
    let mut attributes =
        [pair(netns::index(interface)?, bpf::TCX_EGRESS), 0, program_list, pair(16, 0), 0, link_list, 0, 0];
    bpf::call(bpf::PROG_QUERY, &mut attributes).context("BPF_PROG_QUERY")?;
    ensure!(programs[0] != 0 && links[0] != 0, "no program with a link is on {interface}");
    bpf::open(bpf::LINK_GET_FD_BY_ID, &mut [pair(links[0], 0), 0]).context("BPF_LINK_GET_FD_BY_ID")
}

/// Takes the program of a pinned link off, from outside.
///
/// # Errors
/// It is no link, or is not there.
pub fn detach_pinned(link: &Path) -> Result<()> {
    let path = CString::new(link.as_os_str().as_encoded_bytes()).context("a path")?;
    let link = bpf::open(bpf::OBJ_GET, &mut [path.as_ptr() as u64, 0]).context("BPF_OBJ_GET")?;
    bpf::call(bpf::LINK_DETACH, &mut [pair(link.as_raw_fd() as u32, 0)]).context("BPF_LINK_DETACH")?;
    Ok(())
}
