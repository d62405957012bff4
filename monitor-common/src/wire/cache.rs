//! The flow cache's layout. A CPU's sets are written by that CPU alone; userspace reads and clears those of the closed
//! half. IPv4 and IPv6 have sets of their own, so that an IPv4 flow is one cache line.

use super::{Address, Counters, FlowKey, FlowValue, FullKey, InnerDestination, MAX_INTERFACES};
use crate::cache::HashKeys;

/// Ways of a set.
pub const CACHE_WAYS: usize = 4;

/// Bytes of a [`CacheBlock`].
pub const CACHE_BLOCK: usize = 256;

/// What a flow is beside its addresses, in one word. From the lowest bit on: 32 bits of ports as they are in the packet
/// (source, destination; ICMP: 0, type, code), 8 of the interface's slot, 8 of the IANA protocol number, 8 as
/// [`FlowKey::flags`], 8 of zeros. Never 0 for a flow: no protocol that has a flow cache entry is 0.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Endpoints(pub u64);

impl Endpoints {
    /// Of a packet whose interface is not known yet. `ports`: as they are in the packet.
    #[must_use]
    #[inline(always)]
    pub const fn new(ports: u32, protocol: u8, opaque: u8) -> Self {
        Self(ports as u64 | (protocol as u64) << 40 | (opaque as u64) << 48)
    }

    /// The same on the interface in this slot, below [`MAX_INTERFACES`].
    #[must_use]
    #[inline(always)]
    pub const fn on(self, slot: u32) -> Self {
        Self(self.0 | (slot as u64) << 32)
    }

    /// The same with bits of [`FlowKey::flags`] where there was 0.
    #[must_use]
    #[inline(always)]
    pub const fn with_flags(self, flags: u8) -> Self {
        Self(self.0 | (flags as u64) << 48)
    }

    /// Slot of the interface.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & (MAX_INTERFACES - 1)
    }

    /// Source and destination port, in host order.
    #[must_use]
    #[inline(always)]
    pub const fn ports(self) -> (u16, u16) {
        let ports = u32::from_be(self.0 as u32);
        ((ports >> 16) as u16, ports as u16)
    }

    /// IANA protocol number.
    #[must_use]
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// As [`FlowKey::flags`].
    #[must_use]
    #[inline(always)]
    pub const fn flags(self) -> u8 {
        (self.0 >> 48) as u8
    }
}

/// The key of a flow as the fast path reads it: in network order, so that comparing takes no byte swap, and without
/// what the policy made of it. Everybody else uses [`FlowKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct PlainKey {
    /// IPv4: source and destination are the first word, the others 0. IPv6: two words each.
    pub addresses: [u64; 4],
    /// Everything else.
    pub endpoints: Endpoints,
    /// 4 or 6.
    pub ip_version: u64,
}

impl PlainKey {
    /// Source and destination.
    #[inline(always)]
    fn both_addresses(&self) -> (Address, Address) {
        let [a, b, c, d] = self.addresses.map(u64::from_be);
        if self.ip_version == 4 {
            (Address::v4((a >> 32) as u32), Address::v4(a as u32))
        } else {
            (Address { high: a, low: b }, Address { high: c, low: d })
        }
    }

    /// The destination.
    #[must_use]
    #[inline(always)]
    pub fn destination(&self) -> Address {
        self.both_addresses().1
    }

    /// The flow on the interface with this index, of which the policy made that.
    #[must_use]
    #[inline(always)]
    pub fn flow(&self, ifindex: u32, decision: Decision) -> FlowKey {
        let (source, destination) = self.both_addresses();
        let (source_port, destination_port) = self.endpoints.ports();
        FlowKey {
            source,
            destination,
            ifindex,
            source_port,
            destination_port,
            protocol: self.endpoints.protocol(),
            ip_version: self.ip_version as u8,
            verdict: decision.verdict,
            flags: self.endpoints.flags(),
            class_id: decision.class_id,
            rule: decision.rule,
        }
    }
}

/// The key of a flow in a tunnel as the fast path reads it. Everybody else uses [`FullKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct TunnelKey {
    /// Of the outer headers, with the [`super::Opaque`] of the content.
    pub outer: PlainKey,
    /// Where the content goes.
    pub inner: InnerDestination,
}

impl TunnelKey {
    /// As words.
    #[inline(always)]
    pub fn words(&self) -> &[u64; 9] {
        bytemuck::must_cast_ref(self)
    }

    /// The flow, without its interface and of which the policy has made nothing yet.
    #[must_use]
    #[inline(always)]
    pub fn flow(&self) -> FullKey {
        FullKey { flow: self.outer.flow(0, Decision::default()), inner: self.inner }
    }
}

/// What the policy made of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Decision {
    /// Class id.
    pub class_id: u16,
    /// The rule that decided; 0 for none.
    pub rule: u16,
    /// A [`crate::verdict::Verdict`] as its number.
    pub verdict: u8,
    /// Always 0.
    pub _reserved: [u8; 3],
}

/// An IPv4 flow of this epoch as one CPU has counted it, and its verdict: one cache line. Times are the low half of
/// jiffies: an epoch is shorter than the 49 days (at 1000 Hz) after which they wrap.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheEntryV4 {
    /// 0 marks a free entry.
    pub endpoints: Endpoints,
    /// Source and destination as they are in the packet.
    pub addresses: u64,
    /// skbs.
    pub packets: u64,
    /// Bytes of the skbs.
    pub bytes: u64,
    /// Packets on the wire beyond one for each skb.
    pub more_segments: u64,
    /// Bytes on the wire less those of the skbs; wraps.
    pub more_wire_bytes: u64,
    /// Jiffies of the last packet.
    pub last: u32,
    /// Jiffies of the first packet.
    pub first: u32,
    /// What the policy made of it.
    pub decision: Decision,
}

/// What every packet of an IPv6 flow reads and writes: one cache line. As [`CacheEntryV4`].
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheEntryV6 {
    /// 0 marks a free entry.
    pub endpoints: Endpoints,
    /// Source and destination as they are in the packet.
    pub addresses: [u64; 4],
    /// skbs.
    pub packets: u64,
    /// Bytes of the skbs.
    pub bytes: u64,
    /// Jiffies of the last packet.
    pub last: u32,
    /// A [`crate::verdict::Verdict`] as its number.
    pub verdict: u32,
}

/// The rest of an IPv6 flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheRestV6 {
    /// As in [`CacheEntryV4`].
    pub more_segments: u64,
    /// As in [`CacheEntryV4`].
    pub more_wire_bytes: u64,
    /// Jiffies of the first packet.
    pub first: u32,
    /// Always 0.
    pub _reserved: u32,
    /// What the policy made of it.
    pub decision: Decision,
}

/// The IPv4 flows that hash to this set. A place that was taken stays taken until the epoch is drained.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheSetV4 {
    /// In the order in which their search found a place.
    pub ways: [CacheEntryV4; CACHE_WAYS],
}

/// The IPv6 flows that hash to this set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheSetV6 {
    /// In the order in which their search found a place.
    pub ways: [CacheEntryV6; CACHE_WAYS],
}

/// What a [`CacheSetV6`] has no room for, of two sets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheRestsV6 {
    /// Those of the set with the even number, then those of the other.
    pub sets: [[CacheRestV6; CACHE_WAYS]; 2],
}

/// A unit of the flow cache's memory, which is given to CPUs and IP versions as they need it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheBlock(pub [u64; CACHE_BLOCK / 8]);

/// A flow that left its place in the cache for another, whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct FlowRecord {
    /// The flow; the slot in it says on which interface.
    pub key: PlainKey,
    /// What the policy made of it.
    pub decision: Decision,
    /// Its sums.
    pub counters: Counters,
    /// Jiffies of the first packet.
    pub first: u32,
    /// Jiffies of the last packet.
    pub last: u32,
}

impl FlowRecord {
    /// As the flow table stores it. `now`: jiffies, not before the last packet.
    #[must_use]
    #[inline(always)]
    pub fn value(&self, now: u64) -> FlowValue {
        let whole = |low: u32| now - u64::from((now as u32).wrapping_sub(low));
        FlowValue { counters: self.counters, first: whole(self.first), last: whole(self.last) }
    }
}

/// Where a CPU's sets of one IP version are in the blocks of the flow cache.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheRegion {
    /// The first block. IPv6: the sets, then [`CacheRestsV6`] for each two of them.
    pub base: u32,
    /// 64 less the binary logarithm of the places; 0: there are none.
    pub shift: u32,
}

/// What a CPU has of one half beside its sets. Packets read and write their CPU's; userspace reads all, and writes the
/// closed half.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CpuHalf {
    /// For [`PlainKey`]'s hash, the same for all CPUs.
    pub keys: HashKeys,
    /// The IPv4 sets.
    pub v4: CacheRegion,
    /// The IPv6 sets.
    pub v6: CacheRegion,
    /// More IPv4 sets, for flows that find every way of theirs taken: until the next epoch, which has more of the others.
    pub v4_reserve: CacheRegion,
    /// More IPv6 sets.
    pub v6_reserve: CacheRegion,
    /// The first of the CPU's places in the log of flows that left the cache, and their number.
    pub log_base: u32,
    /// See `log_base`.
    pub log_places: u32,
    /// Places of the log in use.
    pub logged: u32,
    /// New flows that found every way of their set taken, IPv4 and IPv6.
    pub crowded: [u32; 2],
    /// Of those, as many as shall be reported: then, or when half of the log is in use, the epoch had better end.
    pub crowded_limit: [u32; 2],
    /// Events of this epoch's new flows.
    pub events: u32,
    /// Always 0.
    pub _reserved: [u32; 4],
    /// What was dropped, by interface slot. Before the totals, because a live value is read from its start: a drop that
    /// comes while it is read makes `total - dropped` too large, never too small.
    pub dropped: [Counters; MAX_INTERFACES as usize],
    /// What passed the hook, by interface slot.
    pub hook: [HookTotal; MAX_INTERFACES as usize],
}

impl CpuHalf {
    /// Notes a flow that found every way of its set taken. True: that is to be reported.
    #[inline(always)]
    pub const fn note_crowded(&mut self, is_v6: bool) -> bool {
        let count = &mut self.crowded[is_v6 as usize];
        // Never 0 again: the drain looks into the reserve only if there were any.
        *count = count.saturating_add(1);
        *count == self.crowded_limit[is_v6 as usize]
    }

    /// Takes the next place of the log. `None`: it is full. True: half of it is in use now, which is to be reported.
    #[inline(always)]
    pub const fn next_in_log(&mut self) -> Option<(u32, bool)> {
        if self.logged >= self.log_places {
            return None;
        }
        let place = self.log_base.wrapping_add(self.logged);
        self.logged += 1;
        Some((place, self.logged == self.log_places / 2))
    }
}

/// What passed a hook: as [`Counters`], but what GSO adds by itself, so that a packet without GSO writes two words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct HookTotal {
    /// skbs.
    pub packets: u64,
    /// Bytes of the skbs.
    pub bytes: u64,
    /// Packets on the wire beyond one for each skb.
    pub more_segments: u64,
    /// Bytes on the wire less those of the skbs; wraps.
    pub more_wire_bytes: u64,
}

impl HookTotal {
    /// The four sums.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        whole_counters(self.packets, self.bytes, self.more_segments, self.more_wire_bytes)
    }
}

/// The four sums of what is kept as in [`CacheEntryV4`].
#[inline(always)]
pub(crate) const fn whole_counters(packets: u64, bytes: u64, more_segments: u64, more_wire_bytes: u64) -> Counters {
    Counters {
        packets,
        segments: packets.wrapping_add(more_segments),
        bytes,
        wire_bytes: bytes.wrapping_add(more_wire_bytes),
    }
}
