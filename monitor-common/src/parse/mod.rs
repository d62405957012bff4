//! Frame bytes in, the packet's part of a [`FlowKey`] or a [`Reason`] out. Called by the kernel program on a packet's own memory and by
//! the host on slices, through [`Bytes`].

mod eth;
mod ipv4;
mod ipv6;
mod l4;
mod reason;

pub use reason::Reason;

use crate::wire::{FlowKey, Link};

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
    /// The offset itself. In the kernel, one of which the verifier knows nothing but a bound, so that ways through
    /// the parser that differ only in it are walked once.
    fn forget(self, offset: usize) -> usize {
        offset
    }
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

/// Parses a frame that starts with `link`'s header into the packet's part of a flow key: addresses, ports,
/// protocol, IP version and flags, all of them, so that `key` may hold anything before. In place, because the
/// kernel's verifier then sees one state after it and not one for each way through.
///
/// # Errors
/// The [`Reason`] why the packet has no flow; `key` is then partly written.
#[inline(always)]
pub fn parse(frame: impl Bytes, link: Link, key: &mut FlowKey) -> Result<(), Reason> {
    match link {
        Link::Ethernet => eth::parse(frame, key),
        Link::Ip => ip(frame, key),
        Link::Other => Err(Reason::UnknownLink),
    }
}

/// Parses a frame that begins with an IP header of either version, told by its first four bits.
#[inline(always)]
fn ip(frame: impl Bytes, key: &mut FlowKey) -> Result<(), Reason> {
    match frame.u8(0).ok_or(Reason::TruncatedIp)? >> 4 {
        4 => ipv4::parse(frame, 0, key),
        6 => ipv6::parse(frame, 0, key),
        _ => Err(Reason::BadIpVersion),
    }
}
