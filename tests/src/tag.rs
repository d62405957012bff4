//! VLAN tags beside the frame ("offloaded", `vlan_tci` of the skb): a program ahead of the monitor's gives one to every
//! packet that leaves, and a receiver tells them from tags in the frame. It needs neither VLAN devices nor act_vlan.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use socket2::Socket;

use crate::{
    bpf,
    capture::{Direction, packet_socket, set_option},
    netns::Namespace,
};

/// The program's name.
pub const NAME: &str = "tagger";

/// The longest frame that is received whole.
const FRAME: usize = 2048;

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// EtherType: 0x8100 (802.1Q) or 0x88a8 (802.1ad); the kernel makes 0x8100 of any other.
    pub protocol: u16,
    /// Priority (3 bits), drop eligible (1), VLAN (12).
    pub tci: u16,
}

impl Tag {
    /// As it stands in a frame.
    #[must_use]
    pub fn bytes(self) -> [u8; 4] {
        (u32::from(self.protocol) << 16 | u32::from(self.tci)).to_be_bytes()
    }
}

/// The tagging program, for as long as this lives.
#[derive(Debug)]
pub struct Tagger {
    /// Detaches when closed, and with it goes the program.
    _link: OwnedFd,
}

impl Tagger {
    /// Has every packet that leaves `interface` given `tag` ahead of what is attached by TCX so far.
    ///
    /// # Errors
    /// Not root, no such interface, or a kernel without TCX.
    pub fn attach(namespace: &Namespace, interface: &str, tag: Tag) -> Result<Self> {
        let program = load(tag).context("loading the tagging program")?;
        let link = namespace.run(|| bpf::attach_first(&program, interface)).context("attaching the tagging program")?;
        Ok(Self { _link: link })
    }
}

/// `bpf_skb_vlan_push(skb, tag)`, then on to the next program.
fn load(tag: Tag) -> io::Result<OwnedFd> {
    const VLAN_PUSH: i32 = 18;
    /// `TCX_NEXT`.
    const NEXT: i32 = -1;
    // BPF_ALU | BPF_MOV | BPF_K and with BPF_ALU64; BPF_JMP | BPF_CALL; BPF_JMP | BPF_EXIT.
    let (move_32, move_64, call, exit) = (0xb4, 0xb7, 0x85, 0x95);
    let code = [
        // The skb is in r1 already.
        bpf::op(move_32, 2, 0, 0, tag.protocol.to_be().into()),
        bpf::op(move_32, 3, 0, 0, tag.tci.into()),
        bpf::op(call, 0, 0, 0, VLAN_PUSH),
        bpf::op(move_64, 0, 0, 0, NEXT),
        bpf::op(exit, 0, 0, 0, 0),
    ];
    bpf::load(bpf::SCHED_CLS, &code, NAME)
}

/// A frame and the tag beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Beside the frame.
    pub tag: Option<Tag>,
    /// With the tags that are in it.
    pub frame: Vec<u8>,
}

/// An AF_PACKET socket that reports tags beside the frame.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    direction: Direction,
}

impl Receiver {
    /// From when this returns, every frame is kept. A tag that comes in the frame, the receiving kernel puts beside it
    /// before this sees it, if there is none; of what goes out this sees what the device gets.
    ///
    /// # Errors
    /// Not root, or there is no such interface.
    pub fn start(namespace: &Namespace, interface: &str, direction: Direction) -> Result<Self> {
        let socket = namespace.run(|| packet_socket(interface))?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1).context("PACKET_AUXDATA")?;
        Ok(Self { socket, direction })
    }

    /// What came until the first frame that ends with `last`, without that one.
    ///
    /// # Errors
    /// It did not come within `time`, or a frame is longer than expected.
    pub fn until(&self, last: &[u8], time: Duration) -> Result<Vec<Seen>> {
        let deadline = Instant::now() + time;
        let mut all = Vec::new();
        loop {
            if let Some((seen, outgoing)) = receive(&self.socket).context("reading from an AF_PACKET socket")? {
                if outgoing != (self.direction == Direction::Outgoing) {
                    continue;
                }
                if seen.frame.ends_with(last) {
                    return Ok(all);
                }
                all.push(seen);
            } else {
                ensure!(Instant::now() < deadline, "the last frame did not come within {time:?}: {all:?}");
                let mut ready = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one structure, which outlives the call.
                unsafe { libc::poll(&raw mut ready, 1, 100) };
            }
        }
    }
}

/// One frame and whether this host sent it; `None` when there is none.
fn receive(socket: &Socket) -> io::Result<Option<(Seen, bool)>> {
    let mut frame = vec![0_u8; FRAME];
    // Room for a header and `tpacket_auxdata`, aligned as headers must be.
    let mut control = [0_u64; 16];
    let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: FRAME };
    // SAFETY: all-zero bytes are valid for both.
    let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: what the message points to outlives the call, with the sizes given.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_TRUNC) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    };
    if length > FRAME {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    frame.truncate(length);
    // SAFETY: the kernel has filled in the message, whose control data is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let header =
        header.filter(|header| (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA));
    let header = header.ok_or_else(|| io::Error::other("a frame without PACKET_AUXDATA"))?;
    // SAFETY: behind such a header is this structure; it may be less aligned.
    let beside = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    let valid = libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
    let tag =
        (beside.tp_status & valid == valid).then_some(Tag { protocol: beside.tp_vlan_tpid, tci: beside.tp_vlan_tci });
    Ok(Some((Seen { tag, frame }, from.sll_pkttype == libc::PACKET_OUTGOING)))
}
