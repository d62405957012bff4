//! What a header walker records of a packet, and what it doubts on its way.

use crate::wire::Address;

/// An inner destination: a hop of a source route or routing header, or that of a packet in a tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Where.
    pub address: Address,
    /// 4 or 6.
    pub ip_version: u8,
    /// A [`crate::wire::Via`] as its number.
    pub via: u8,
    /// Which of the walker's IP headers leads there.
    pub header: u8,
    /// [`crate::wire::ON_LINK`], or 0.
    pub flags: u8,
}

/// What follows an IP header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// See [`crate::wire::FlowKey::destination_port`].
    pub port: u16,
    /// See [`crate::wire::FlowKey::protocol`].
    pub protocol: u8,
}

/// Which part of which datagram an IP packet is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Source of the fragmented packet.
    pub source: Address,
    /// Its destination.
    pub destination: Address,
    /// Identification.
    pub id: u32,
    /// Offset of its first byte, in units of eight; 0: the first fragment.
    pub start: u16,
    /// The first unit after it.
    pub end: u16,
    /// 4 or 6.
    pub ip_version: u8,
    /// IPv4: part of the datagram's identity. IPv6: 0, it isn't (RFC 8200 4.5).
    pub protocol: u8,
    /// Which of the walker's IP headers it belongs to.
    pub header: u8,
    /// 1: more fragments follow.
    pub more: u8,
}

impl Fragment {
    /// Whether both belong to one datagram.
    #[inline(always)]
    pub(super) const fn same_datagram(&self, other: &Self) -> bool {
        self.id == other.id
            && self.ip_version == other.ip_version
            && self.protocol == other.protocol
            && self.source.low == other.source.low
            && self.source.high == other.source.high
            && self.destination.low == other.destination.low
            && self.destination.high == other.destination.high
    }
}

/// Whether a tunnel is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doubt {
    /// It is, or there is none.
    None = 0,
    /// If its content is: its header could be anything.
    Tunnel,
    /// Its header is one in all its fields, so that content which is none cannot be read.
    Content,
}

/// Whether what was just read is no tunnel after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Refused {
    /// It may be.
    No = 0,
    /// No receiver would take it.
    Tunnel,
    /// It is MPLS around a pseudowire, or nothing.
    Pseudowire,
}
