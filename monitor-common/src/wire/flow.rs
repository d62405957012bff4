//! Flows and their counters.

/// An IPv4 or IPv6 address as two host-order words. IPv4 `a.b.c.d` is stored as `::ffff:a.b.c.d`; whether
/// the packet itself was IPv4 is in [`FlowKey::ip_version`].
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

/// The bit of [`FlowKey::flags`] and [`InnerDestination::flags`] for a packet to a multicast group with a time to live, or
/// hop limit, of 1: no router forwards it.
pub const ON_LINK: u8 = 1 << 4;

/// [`ON_LINK`], or 0. `group`: what the address's first bits are off a group's. Without a branch, which the kernel's
/// verifier would follow twice through all that comes after it.
#[must_use]
#[inline(always)]
pub const fn on_link(time_to_live: usize, group: usize) -> u8 {
    const SIGN: u32 = usize::BITS - 1;
    ((time_to_live.wrapping_sub(2) & group.wrapping_sub(1)) >> SIGN << 4) as u8
}

/// Content of a packet that cannot be read: the packet's destination is known, where its content ends up is not. The
/// low bits of [`FlowKey::flags`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Opaque {
    /// None.
    #[default]
    None = 0,
    /// ESP (RFC 4303), after AH, extension headers or in a readable tunnel too.
    Esp = 1,
    /// UDP from or to port 4500: ESP in UDP (RFC 3948), and the IKE that belongs to it.
    EspInUdp = 2,
    /// A WireGuard message, by type and length, at whatever port.
    WireGuard = 3,
    /// UDP from or to port 443, or a QUIC long header of version 1 or 2 (RFC 9000, 9369) at whatever port: may carry a
    /// tunnel (MASQUE, RFC 9298 and 9484).
    Quic = 4,
    /// Another tunnel whose content is compressed, not IP, or in a form that is not followed: by protocol (IPComp,
    /// L2TP, minimal encapsulation…), UDP destination port (OpenVPN 1194, L2TP 1701, LISP 4341, CAPWAP 5247, GUE 6080) or
    /// both port and form (AMT 2268).
    Other = 5,
}

impl Opaque {
    /// All forms, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::None, Self::Esp, Self::EspInUdp, Self::WireGuard, Self::Quic, Self::Other];

    /// The forms that content can have, with the name of each.
    pub const MARKS: [(Self, &'static str); 5] = [
        (Self::Esp, "esp"),
        (Self::EspInUdp, "esp_in_udp"),
        (Self::WireGuard, "wireguard"),
        (Self::Quic, "quic"),
        (Self::Other, "other"),
    ];

    /// The bit in [`super::PolicyMeta::opaque_denied`].
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// What it is, in one sentence for people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::None => "Nothing: the content can be read.",
            Self::Esp => "ESP (RFC 4303).",
            Self::EspInUdp => "UDP from or to port 4500: ESP in UDP (RFC 3948), and its IKE.",
            Self::WireGuard => "A WireGuard message, at whatever port.",
            Self::Quic => "UDP from or to port 443, or a QUIC long header at whatever port.",
            Self::Other => {
                "Another tunnel whose content is not followed: IPComp, L2TP, minimal encapsulation, OpenVPN, LISP, CAPWAP, GUE, AMT, ERSPAN or NSH in GRE, pseudowires."
            }
        }
    }

    /// The form in a key's flags; an unknown number is [`Opaque::Other`], which hides nothing.
    #[must_use]
    pub const fn from_wire(flags: u8) -> Self {
        match flags & 0x0f {
            0 => Self::None,
            1 => Self::Esp,
            2 => Self::EspInUdp,
            3 => Self::WireGuard,
            4 => Self::Quic,
            _ => Self::Other,
        }
    }

    /// The name used in flows and alerts; `None` for [`Opaque::None`].
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            mark => Some(Self::MARKS[mark as usize - 1].1),
        }
    }
}

/// How a packet gets from its destination to an inner one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Via {
    /// Not at all.
    #[default]
    None = 0,
    /// IPv4 loose or strict source route (RFC 791).
    SourceRoute = 1,
    /// IPv6 routing header: type 0 (RFC 5095), 2 (RFC 6275), 3 (RFC 6554), 4 (RFC 8754).
    RoutingHeader = 2,
    /// IP directly in IP, either in either (RFC 2003, 2473, 4213).
    IpInIp = 3,
    /// GRE (RFC 2784, 2890), with an Ethernet frame too (GRE-TAP).
    Gre = 4,
    /// VXLAN (RFC 7348).
    Vxlan = 5,
    /// Geneve (RFC 8926).
    Geneve = 6,
    /// GTP-U (3GPP TS 29.281).
    GtpU = 7,
    /// MPLS in UDP (RFC 7510), IP or GRE (RFC 4023).
    Mpls = 8,
    /// Ethernet in IP: EtherIP (RFC 3378) or next header 143 (RFC 8986).
    Ethernet = 9,
    /// IPv6 in UDP port 3544 (Teredo, RFC 4380).
    Teredo = 10,
}

impl Via {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::SourceRoute,
        Self::RoutingHeader,
        Self::IpInIp,
        Self::Gre,
        Self::Vxlan,
        Self::Geneve,
        Self::GtpU,
        Self::Mpls,
        Self::Ethernet,
        Self::Teredo,
    ];

    /// The one with this number; `None` for an unknown one.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name used in flows and alerts; `None` for [`Via::None`].
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::SourceRoute => Some("source_route"),
            Self::RoutingHeader => Some("routing_header"),
            Self::IpInIp => Some("ip_in_ip"),
            Self::Gre => Some("gre"),
            Self::Vxlan => Some("vxlan"),
            Self::Geneve => Some("geneve"),
            Self::GtpU => Some("gtp_u"),
            Self::Mpls => Some("mpls"),
            Self::Ethernet => Some("ethernet_in_ip"),
            Self::Teredo => Some("teredo"),
        }
    }
}

/// A destination beyond the packet's own: a hop of a source route or routing header, or that of a packet in a tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
pub struct InnerDestination {
    /// Where.
    pub address: Address,
    /// As [`FlowKey::destination_port`], of the headers that go there.
    pub port: u16,
    /// As [`FlowKey::protocol`], of the headers that go there.
    pub protocol: u8,
    /// 4 or 6; 0: there is no inner destination, and everything else is 0 too.
    pub ip_version: u8,
    /// A [`Via`] as its number: the last one, where one tunnel carries another.
    pub via: u8,
    /// [`ON_LINK`], or 0.
    pub flags: u8,
    /// Always 0.
    pub _reserved: [u8; 2],
}

impl InnerDestination {
    /// Whether there is one.
    #[must_use]
    #[inline(always)]
    pub const fn exists(&self) -> bool {
        self.ip_version != 0
    }
}

/// What makes a flow: the 5-tuple, the interface, and what the policy made of it. The latter is part of the key so that
/// a value is nothing but sums.
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
    /// An [`Opaque`] as its number, and [`ON_LINK`].
    pub flags: u8,
    /// Class id in the policy that was in force in this epoch: that of the strictest destination, of equals the
    /// outermost.
    pub class_id: u16,
    /// The rule that decided; 0 for none.
    pub rule: u16,
}

/// A flow and its inner destination: of several the strictest, of equals the innermost.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
pub struct FullKey {
    /// Where it goes, and what the policy made of it.
    pub flow: FlowKey,
    /// Where it ends up.
    pub inner: InnerDestination,
}

impl From<FlowKey> for FullKey {
    #[inline(always)]
    fn from(flow: FlowKey) -> Self {
        Self { flow, inner: InnerDestination::default() }
    }
}

#[cfg(feature = "user")]
impl InnerDestination {
    /// The address as the standard library's type; `None` if there is no inner destination.
    #[must_use]
    pub fn ip(&self) -> Option<core::net::IpAddr> {
        self.exists().then(|| FlowKey { ip_version: self.ip_version, ..FlowKey::default() }.ip(self.address))
    }
}

#[cfg(feature = "user")]
impl FlowKey {
    /// An [`Address`] of this flow as the standard library's type, by the packet's own IP version.
    #[must_use]
    pub fn ip(&self, address: Address) -> core::net::IpAddr {
        if self.ip_version == 4 {
            core::net::Ipv4Addr::from_bits(address.low as u32).into()
        } else {
            core::net::Ipv6Addr::from_bits(u128::from(address.high) << 64 | u128::from(address.low)).into()
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

/// Packets on the wire that an skb stands for. `gso_segs` says it, but for super-packets of virtual machines and of
/// AF_PACKET (SKB_GSO_DODGY), where the kernel counts them only when it cuts them up. It knows their bytes before
/// (`wire_len`, where all headers but the first are added), and from these the number follows.
#[must_use]
#[inline(always)]
pub const fn segments(gso_segs: u32, gso_size: u32, len: u32, wire_len: u32) -> u32 {
    if gso_segs != 0 || gso_size == 0 || wire_len <= len {
        return if gso_segs == 0 { 1 } else { gso_segs };
    }
    // Headers are in the length: right, or one too many. From that the length of the headers, a little short if it was
    // one too many; so the number is right but for a last segment of a few bytes, and never too small.
    let most = len.saturating_add(gso_size - 1) / gso_size;
    let further = if most > 1 { most - 1 } else { 1 };
    let headers = (wire_len - len) / further;
    len.saturating_sub(headers).saturating_add(gso_size - 1) / gso_size
}

/// Sums of the packets without a flow for one reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct ReasonSums {
    /// What passed.
    pub passed: Counters,
    /// What we dropped.
    pub dropped: Counters,
}

/// What one interface's hook saw, and what of it we dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct HookSums {
    /// What we dropped. First, because a live value is read from its start: a drop that comes while it is read makes
    /// `total - dropped` too large, never too small.
    pub dropped: Counters,
    /// Everything, counted before anything else.
    pub total: Counters,
}

impl HookSums {
    /// Adds `other`, for sums that nobody else writes.
    pub const fn add(&mut self, other: &Self) {
        self.dropped.add(&other.dropped);
        self.total.add(&other.total);
    }
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

impl FlowValue {
    /// Adds what another CPU, or the table at another time, has counted of the same flow.
    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn an_skb_stands_for_as_many_packets_as_the_kernel_will_cut_it_into() {
        assert_eq!(segments(0, 0, 1_500, 1_500), 1);
        assert_eq!(segments(7, 1_448, 9_000, 9_400), 7);
        assert_eq!(segments(0, 1_448, 1_400, 1_400), 1);
        let (mut all, mut more) = (0, 0);
        for headers in [42, 54, 66, 86, 136, 240] {
            for size in [536, 1_200, 1_448, 8_948] {
                for payload in (size + 1..65_000).step_by(7) {
                    let count = u32::div_ceil(payload, size);
                    let found = segments(0, size, headers + payload, headers * count + payload);
                    assert!(found == count || found == count + 1, "{headers} {size} {payload}: {found}, not {count}");
                    all += 1;
                    more += u32::from(found > count);
                }
            }
        }
        assert!(more * 100 < all, "{more} of {all}");
    }
}
