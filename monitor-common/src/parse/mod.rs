//! Frame bytes in; the flow and its inner destinations, or a [`Reason`], out. Called by the kernel program on packet
//! memory and by the host on slices, through [`Bytes`].
//!
//! For nearly every packet [`fast_parse`] is enough, or with a tunnel [`FastTunnel`]: one pass, no state. For everything else a [`HeaderWalker`] goes
//! from header to header: a state machine whose state the kernel keeps in a map, so that the verifier checks one step,
//! whatever comes before it.

#![forbid(unsafe_code)]

mod ethernet;
mod fast_parse;
mod fast_tunnel;
mod header_walker;
mod ipv4;
mod ipv6;
mod link_control;
mod opaque;
mod parts;
mod reason;
mod receiver;
#[cfg(all(test, feature = "user"))]
mod tests;
mod transport;
mod tunnel;

pub use fast_parse::{AddressesOf, Plain, fast_parse, tcp_flags};
pub use fast_tunnel::FastTunnel;
pub use header_walker::{HeaderWalker, MAX_FRAGMENTS, MAX_HEADERS, MAX_HOPS, MAX_STEPS};
#[cfg(feature = "user")]
pub use opaque::of_destination as mark_of_destination;
pub use parts::{Fragment, Hop, Transport};
pub use reason::Reason;
pub use tunnel::{is_geneve_port, is_vxlan_port};

/// Read access to a frame from its first byte. Every read is checked; `None` past the end.
pub trait Bytes: Copy {
    /// See [`Bytes::window`].
    type Window: Window;
    /// One byte.
    fn u8(self, offset: u32) -> Option<u8>;
    /// Two bytes in network order.
    fn be16(self, offset: u32) -> Option<u16>;
    /// Four bytes in network order.
    fn be32(self, offset: u32) -> Option<u32>;
    /// Eight bytes in network order.
    fn be64(self, offset: u32) -> Option<u64>;
    /// `LENGTH` bytes from `offset` on, checked once.
    fn window<const LENGTH: u32>(self, offset: u32) -> Option<Self::Window>;
    /// `number & mask`, as an index. In the kernel out of the compiler's sight, which would see that it changes nothing
    /// and leave it out: the verifier knows no other bound.
    fn index(self, number: u32, mask: usize) -> usize {
        number as usize & mask
    }
}

/// Bytes that were checked before: an offset past the end is a mistake in the program.
pub trait Window: Copy {
    /// One byte.
    fn u8(self, offset: u32) -> u8;
    /// Two bytes in network order.
    fn be16(self, offset: u32) -> u16;
    /// Two bytes in network order, as they are.
    fn raw16(self, offset: u32) -> u16;
    /// Four bytes in network order, as they are.
    fn raw32(self, offset: u32) -> u32;
    /// Eight bytes in network order, as they are.
    fn raw64(self, offset: u32) -> u64;
}

impl Window for &[u8] {
    fn u8(self, offset: u32) -> u8 {
        self[offset as usize]
    }
    fn be16(self, offset: u32) -> u16 {
        u16::from_be_bytes(bytes(self, offset))
    }
    fn raw16(self, offset: u32) -> u16 {
        u16::from_ne_bytes(bytes(self, offset))
    }
    fn raw32(self, offset: u32) -> u32 {
        u32::from_ne_bytes(bytes(self, offset))
    }
    fn raw64(self, offset: u32) -> u64 {
        u64::from_ne_bytes(bytes(self, offset))
    }
}

fn bytes<const N: usize>(window: &[u8], offset: u32) -> [u8; N] {
    core::array::from_fn(|byte| window[offset as usize + byte])
}

impl<'a> Bytes for &'a [u8] {
    type Window = &'a [u8];
    fn window<const LENGTH: u32>(self, offset: u32) -> Option<&'a [u8]> {
        self.get(offset as usize..)?.get(..LENGTH as usize)
    }
    fn u8(self, offset: u32) -> Option<u8> {
        self.get(offset as usize).copied()
    }
    fn be16(self, offset: u32) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(offset as usize..)?.first_chunk().copied()?))
    }
    fn be32(self, offset: u32) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(offset as usize..)?.first_chunk().copied()?))
    }
    fn be64(self, offset: u32) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(offset as usize..)?.first_chunk().copied()?))
    }
}

const UDP_HEADER: u32 = 8;

/// IANA protocol numbers: IPv4's protocol and IPv6's next header.
mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const MINIMAL_ENCAPSULATION: u8 = 55;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const IP_WITHIN_IP: u8 = 94;
    pub const ETHERIP: u8 = 97;
    pub const ENCAPSULATION: u8 = 98;
    pub const IPCOMP: u8 = 108;
    pub const L2TP: u8 = 115;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const UDP_LITE: u8 = 136;
    pub const MPLS: u8 = 137;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
    pub const ETHERNET: u8 = 143;
}

/// EtherTypes that the parser follows.
mod ether_type {
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
    /// Transparent Ethernet bridging: a frame inside GRE or Geneve.
    pub const BRIDGED: u16 = 0x6558;
    pub const MPLS: u16 = 0x8847;
    pub const MPLS_MULTICAST: u16 = 0x8848;
    /// A tag of IEEE 802.1Q in the frame.
    pub const VLAN: u16 = 0x8100;
    /// An outer tag of IEEE 802.1ad.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}
