//! Sockets that send past the hook: what a program asks for with setsockopt(2) before it can.

/// A way past the queueing discipline, which the hook is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Bypass {
    /// `PACKET_QDISC_BYPASS` of a packet socket (packet(7)).
    Packet = 0,
    /// `XDP_TX_RING` of an AF_XDP socket: without that ring it sends nothing (networking/af_xdp.rst).
    Xdp = 1,
}

/// include/linux/socket.h, include/uapi/linux/if_packet.h and if_xdp.h.
const SOL_PACKET: i32 = 263;
const SOL_XDP: i32 = 283;
const PACKET_QDISC_BYPASS: i32 = 20;
const XDP_TX_RING: i32 = 3;

impl Bypass {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Packet, Self::Xdp];

    /// What an option of setsockopt(2) opens.
    #[must_use]
    #[inline(always)]
    pub const fn of(level: i32, option: i32) -> Option<Self> {
        match (level, option) {
            (SOL_PACKET, PACKET_QDISC_BYPASS) => Some(Self::Packet),
            (SOL_XDP, XDP_TX_RING) => Some(Self::Xdp),
            _ => None,
        }
    }

    /// What people call it.
    #[cfg(feature = "user")]
    #[must_use]
    pub const fn socket(self) -> &'static str {
        match self {
            Self::Packet => "packet sockets with PACKET_QDISC_BYPASS",
            Self::Xdp => "AF_XDP sockets with a ring to send by",
        }
    }

    /// What one is that is open already.
    #[cfg(feature = "user")]
    #[must_use]
    pub const fn open_socket(self) -> &'static str {
        match self {
            Self::Packet => "packet socket, which may have PACKET_QDISC_BYPASS,",
            Self::Xdp => "AF_XDP socket with a ring to send by,",
        }
    }

    /// As metrics and documents have it.
    #[cfg(feature = "user")]
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Xdp => "xdp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_opens_a_way_past_the_hook_is_one() {
        assert_eq!(Bypass::of(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS), Some(Bypass::Packet));
        assert_eq!(Bypass::of(libc::SOL_XDP, libc::XDP_TX_RING), Some(Bypass::Xdp));
        for (level, option) in [
            (libc::SOL_SOCKET, libc::PACKET_QDISC_BYPASS),
            (libc::SOL_PACKET, libc::PACKET_TX_RING),
            (libc::SOL_XDP, libc::XDP_RX_RING),
            (libc::SOL_XDP, libc::XDP_UMEM_REG),
            (0, 0),
        ] {
            assert_eq!(Bypass::of(level, option), None, "{level} {option}");
        }
    }
}
