//! Frame bytes in, [`Packet`] or [`Reason`] out. Called by the kernel program on a packet's own memory and by
//! the host on slices, through [`Bytes`].

mod eth;
mod ipv4;
mod ipv6;
mod l4;
mod reason;

pub use reason::Reason;

use crate::wire::{Address, Link};

/// Read access to a frame from its first byte. Every read is checked; `None` past the end.
pub trait Bytes: Copy {
    /// One byte.
    fn u8(self, offset: usize) -> Option<u8>;
    /// Two bytes in network order.
    fn be16(self, offset: usize) -> Option<u16>;
    /// Four bytes in network order.
    fn be32(self, offset: usize) -> Option<u32>;
    /// Eight bytes in network order.
    fn be64(self, offset: usize) -> Option<u64>;
}

impl Bytes for &[u8] {
    fn u8(self, offset: usize) -> Option<u8> {
        self.get(offset).copied()
    }
    fn be16(self, offset: usize) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(offset..)?.first_chunk().copied()?))
    }
    fn be32(self, offset: usize) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(offset..)?.first_chunk().copied()?))
    }
    fn be64(self, offset: usize) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(offset..)?.first_chunk().copied()?))
    }
}

/// What the monitor needs to know of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// See [`crate::wire::FlowKey::source_port`].
    pub source_port: u16,
    /// See [`crate::wire::FlowKey::destination_port`].
    pub destination_port: u16,
    /// IANA protocol number after any IPv6 extension headers.
    pub protocol: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// A fragment after the first: its ports are in another packet.
    pub later_fragment: bool,
}

/// Parses a frame that starts with `link`'s header.
///
/// # Errors
/// The [`Reason`] why the packet has no flow.
#[inline(always)]
pub fn parse(frame: impl Bytes, link: Link) -> Result<Packet, Reason> {
    match link {
        Link::Ethernet => eth::parse(frame),
        Link::Ip => ip(frame, 0),
        Link::Other => Err(Reason::UnknownLink),
    }
}

/// Parses from an IP header of either version, told apart by its first nibble.
#[inline(always)]
fn ip(frame: impl Bytes, offset: usize) -> Result<Packet, Reason> {
    match frame.u8(offset).ok_or(Reason::TruncatedIp)? >> 4 {
        4 => ipv4::parse(frame, offset),
        6 => ipv6::parse(frame, offset),
        _ => Err(Reason::BadIpVersion),
    }
}
