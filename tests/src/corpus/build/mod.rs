//! Packets as readable builders, put together with `/` from the outside in:
//! `eth().vlan(10) / ip(INSIDE) / gre() / ip(OUTSIDE) / udp(53) / payload(20)`.
//!
//! Lengths, checksums of IPv4 headers and the number by which each header announces the next one are right unless a
//! builder lies on purpose: [`Layer::set`] overwrites a field, [`Layer::next`] announces something else, [`part`] takes
//! some bytes of what would have been there, [`Stack::cut`] and [`Stack::pad`] change the end of the frame.

mod headers;

use std::{net::IpAddr, ops::Div};

pub use self::headers::*;

/// EtherTypes.
pub mod ether {
    #![allow(missing_docs, reason = "each is what its name says")]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const IPV6: u16 = 0x86dd;
    pub const VLAN: u16 = 0x8100;
    pub const SERVICE_VLAN: u16 = 0x88a8;
    pub const MPLS: u16 = 0x8847;
    pub const MPLS_MULTICAST: u16 = 0x8848;
    pub const BRIDGED: u16 = 0x6558;
    /// For local experiments (IEEE 802): what a [`super::raw`] layer is announced as.
    pub const EXPERIMENT: u16 = 0x88b5;
}

/// IP protocol numbers.
pub mod proto {
    #![allow(missing_docs, reason = "each is what its name says")]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const MINIMAL: u8 = 55;
    pub const ICMPV6: u8 = 58;
    pub const NONE: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const OSPF: u8 = 89;
    pub const ETHERIP: u8 = 97;
    pub const IPCOMP: u8 = 108;
    pub const L2TP: u8 = 115;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const UDP_LITE: u8 = 136;
    pub const MPLS: u8 = 137;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
    pub const ETHERNET: u8 = 143;
    /// For experiments (RFC 3692): what a [`super::raw`] layer is announced as.
    pub const EXPERIMENT: u8 = 253;
}

/// Where a header says what follows it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Nowhere,
    Ether(usize),
    Protocol(usize),
}

/// One header, or whatever else is told apart.
#[derive(Clone, Debug)]
pub struct Layer {
    bytes: Vec<u8>,
    ether: u16,
    protocol: u8,
    next: Next,
    /// Writes the header's length field, given the bytes that follow.
    length: fn(&mut [u8], usize),
    lies: Vec<(usize, Vec<u8>)>,
    addresses: Vec<IpAddr>,
}

/// Headers and data, outermost first.
#[derive(Clone, Debug)]
pub struct Stack {
    layers: Vec<Layer>,
    keep: usize,
    padding: usize,
}

impl From<Layer> for Stack {
    fn from(layer: Layer) -> Self {
        Self { layers: vec![layer], keep: usize::MAX, padding: 0 }
    }
}

impl<T: Into<Stack>> Div<T> for Stack {
    type Output = Self;
    fn div(mut self, inner: T) -> Self {
        self.layers.extend(inner.into().layers);
        self
    }
}

impl<T: Into<Stack>> Div<T> for Layer {
    type Output = Stack;
    fn div(self, inner: T) -> Stack {
        Stack::from(self) / inner
    }
}

impl Stack {
    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        let mut inner: Option<&Layer> = None;
        for layer in self.layers.iter().rev() {
            packet = [layer.finished(inner, packet.len()), packet].concat();
            inner = Some(layer);
        }
        packet.truncate(self.keep);
        packet.resize(packet.len() + self.padding, 0);
        packet
    }

    /// The first `bytes` of the frame only, while the headers still speak of all.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Self {
        Self { keep: bytes, ..self }
    }

    /// Zeroes behind what the headers speak of, as a card pads a short frame.
    #[must_use]
    pub fn pad(self, bytes: usize) -> Self {
        Self { padding: bytes, ..self }
    }

    /// How many headers and pieces of data it is made of.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// With two of them in each other's place, each announced as what it is.
    #[must_use]
    pub fn swapped(mut self, one: usize, other: usize) -> Self {
        self.layers.swap(one, other);
        self
    }

    /// With one of them twice.
    #[must_use]
    pub fn doubled(mut self, which: usize) -> Self {
        self.layers.insert(which, self.layers[which].clone());
        self
    }

    /// Without one of them.
    #[must_use]
    pub fn without(mut self, which: usize) -> Self {
        self.layers.remove(which);
        self
    }

    /// Every address that a header in it names.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.layers.iter().flat_map(|layer| layer.addresses.iter().copied()).collect()
    }
}

fn no_length(_: &mut [u8], _: usize) {}

impl Layer {
    fn new(bytes: Vec<u8>, ether: u16, protocol: u8, next: Next) -> Self {
        Self { bytes, ether, protocol, next, length: no_length, lies: Vec::new(), addresses: Vec::new() }
    }

    fn with_length(self, length: fn(&mut [u8], usize)) -> Self {
        Self { length, ..self }
    }

    /// The header's bytes in front of `inner` and `payload` bytes.
    fn finished(&self, inner: Option<&Self>, payload: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(inner) = inner {
            match self.next {
                Next::Ether(at) => bytes[at..at + 2].copy_from_slice(&inner.ether.to_be_bytes()),
                Next::Protocol(at) => bytes[at] = inner.protocol,
                Next::Nowhere => {}
            }
        }
        (self.length)(&mut bytes, payload);
        for (at, lie) in &self.lies {
            bytes[*at..at + lie.len()].copy_from_slice(lie);
        }
        // Only an IPv4 header has the next protocol there, and a piece of one announces nothing.
        if self.next == Next::Protocol(9) {
            let sum = checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// Overwrites bytes of the finished header: a lie. An IPv4 header's checksum stays right.
    #[must_use]
    pub fn set(mut self, at: usize, value: &[u8]) -> Self {
        self.lies.push((at, value.to_vec()));
        self
    }

    /// Announces `number` (an EtherType, a protocol) whatever follows.
    #[must_use]
    pub fn next(self, number: u16) -> Self {
        match self.next {
            Next::Ether(at) => self.set(at, &number.to_be_bytes()),
            Next::Protocol(at) => self.set(at, &[number as u8]),
            Next::Nowhere => self,
        }
    }

    /// The IP protocol that it is announced as.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.protocol
    }

    /// With more bytes at the header's end.
    #[must_use]
    pub fn extended(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// Is itself announced as this EtherType.
    #[must_use]
    pub fn ether(self, ether: u16) -> Self {
        Self { ether, ..self }
    }

    /// Is itself announced as this IP protocol.
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Self {
        Self { protocol, ..self }
    }

    /// Ethernet: an 802.1Q tag more, inside of those that are there.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(ether::VLAN, id)
    }

    /// Ethernet: an 802.1ad tag more.
    #[must_use]
    pub fn service_vlan(self, id: u16) -> Self {
        self.tag(ether::SERVICE_VLAN, id)
    }

    /// Ethernet: a tag of any EtherType more.
    #[must_use]
    pub fn tag(mut self, tag: u16, id: u16) -> Self {
        let end = self.bytes.len();
        self.bytes[end - 2..].copy_from_slice(&tag.to_be_bytes());
        self.bytes.extend(id.to_be_bytes());
        self.bytes.extend([0, 0]);
        Self { next: Next::Ether(end + 2), ..self }
    }

    /// 802.3: with its length behind a tag.
    #[must_use]
    pub fn in_vlan(mut self, id: u16) -> Self {
        let tag = [ether::VLAN.to_be_bytes(), id.to_be_bytes()].concat();
        self.bytes.splice(12..12, tag);
        self.length = |header, payload| {
            let length = (header.len() - 18 + payload) as u16;
            header[16..18].copy_from_slice(&length.to_be_bytes());
        };
        if let Next::Ether(at) = &mut self.next {
            *at += 4;
        }
        self
    }

    /// IPv4: identification.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.bytes[4..6].copy_from_slice(&id.to_be_bytes());
        self
    }

    /// IPv4: a piece of datagram `id`, `offset` bytes into it; whether `more` follow.
    #[must_use]
    pub fn fragment(mut self, id: u16, offset: usize, more: bool) -> Self {
        let field = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        self.bytes[6..8].copy_from_slice(&field.to_be_bytes());
        self.id(id)
    }

    /// IPv4: options, filled up with zeroes to whole words.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.bytes.extend(options);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes[0] = 0x40 | (self.bytes.len() / 4) as u8;
        self
    }

    /// IPv4: a loose source route with its pointer (4: at the first hop).
    #[must_use]
    pub fn lsrr(self, pointer: u8, hops: &[IpAddr]) -> Self {
        self.source_route(131, pointer, hops)
    }

    /// IPv4: a strict source route.
    #[must_use]
    pub fn ssrr(self, pointer: u8, hops: &[IpAddr]) -> Self {
        self.source_route(137, pointer, hops)
    }

    fn source_route(mut self, kind: u8, pointer: u8, hops: &[IpAddr]) -> Self {
        self.addresses.extend(hops);
        let route: Vec<u8> = hops.iter().flat_map(|hop| octets(*hop)).collect();
        self.options(&[&[1, kind, 3 + route.len() as u8, pointer], route.as_slice()].concat())
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).enumerate().filter(|(i, _)| *i != 5);
    let sum: u32 = words.map(|(_, pair)| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    !(sum % 0xffff) as u16
}
