//! Flows and their counters.

/// An IPv4 or IPv6 address as two host-order words. IPv4 `a.b.c.d` is kept as `::ffff:a.b.c.d`; whether the
/// packet itself was IPv4 is told by [`FlowKey::ip_version`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Address {
    /// The first 64 bits.
    pub high: u64,
    /// The last 64 bits.
    pub low: u64,
}

impl Address {
    /// The IPv4 address given as a host-order number.
    #[must_use]
    #[inline(always)]
    pub const fn v4(address: u32) -> Self {
        Self { high: 0, low: 0xffff_0000_0000 | address as u64 }
    }
}

#[cfg(feature = "user")]
impl From<core::net::Ipv6Addr> for Address {
    fn from(address: core::net::Ipv6Addr) -> Self {
        let bits = address.to_bits();
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }
}

/// In [`FlowKey::flags`]: a fragment after the first, so ports are not known and are 0.
pub const FLAG_FRAGMENT: u8 = 1;

/// What makes a flow: the 5-tuple, the interface, and what the policy made of it. The last fields are part of
/// the key so that a value is nothing but sums.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
pub struct FlowKey {
    /// Source address of the outermost IP header.
    pub source: Address,
    /// Destination address of the outermost IP header.
    pub destination: Address,
    /// Interface index that the packet left by.
    pub ifindex: u32,
    /// TCP, UDP, UDP-Lite, SCTP or DCCP source port; else 0.
    pub source_port: u16,
    /// Destination port; ICMP and ICMPv6: type × 256 + code (as NetFlow does); else 0.
    pub destination_port: u16,
    /// IANA protocol number after any IPv6 extension headers.
    pub protocol: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// A [`crate::verdict::Verdict`] as its number.
    pub verdict: u8,
    /// [`FLAG_FRAGMENT`].
    pub flags: u8,
    /// Class number in the policy that held in this epoch.
    pub class: u16,
    /// Rule that let the packet through; 0 for none.
    pub rule: u16,
}

#[cfg(feature = "user")]
impl FlowKey {
    /// An [`Address`] of this flow as the standard library's type, by the packet's own IP version.
    #[must_use]
    pub fn ip(&self, address: Address) -> core::net::IpAddr {
        if self.ip_version == 4 {
            core::net::Ipv4Addr::from_bits(address.low as u32).into()
        } else {
            core::net::Ipv6Addr::from_bits((address.high as u128) << 64 | address.low as u128).into()
        }
    }
}

/// The four sums kept for everything. Sizes: `bytes` is `skb->len` (with the link header, one header per GSO
/// super-packet), `wire_bytes` is `skb->wire_len` (headers of every segment counted).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Counters {
    /// skbs: what a virtual device counts as a packet.
    pub packets: u64,
    /// Packets on the wire: `gso_segs`, 1 where that is 0.
    pub segments: u64,
    /// Bytes of the skbs.
    pub bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
}

impl Counters {
    /// Adds `other`, for sums that nobody else writes.
    #[inline(always)]
    pub const fn add(&mut self, other: &Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.segments = self.segments.wrapping_add(other.segments);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.wire_bytes = self.wire_bytes.wrapping_add(other.wire_bytes);
    }

    /// Whether nothing was counted.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.packets == 0 && self.segments == 0 && self.bytes == 0 && self.wire_bytes == 0
    }
}

/// Sums of what passed and of what was dropped, side by side.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Tally {
    /// Let through.
    pub passed: Counters,
    /// Dropped by us.
    pub dropped: Counters,
}

/// Sums of one flow in one epoch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct FlowValue {
    /// The sums.
    pub counters: Counters,
    /// Jiffies of the first packet.
    pub first: u64,
    /// Jiffies of the last packet.
    pub last: u64,
}
