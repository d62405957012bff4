//! The flow cache's layout.

use super::{Address, Counters, FlowKey, FlowValue};

/// Ways of a set.
pub const CACHE_WAYS: usize = 4;

/// The key of a flow in the flow cache, as the fast path reads it: addresses and ports in network order, so that
/// comparing them takes no byte swap. Everybody else uses [`FlowKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheKey {
    /// IPv4: source and destination are the first word, the others 0. IPv6: two words each.
    pub addresses: [u64; 4],
    /// Source port, destination port; ICMP: 0, type, code.
    pub ports: u32,
    /// As in [`FlowKey`], like all that follows.
    pub ifindex: u32,
    /// IANA protocol number.
    pub protocol: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// An [`super::Opaque`] as its number.
    pub flags: u8,
    /// A [`crate::verdict::Verdict`] as its number.
    pub verdict: u8,
    /// Class id.
    pub class_id: u16,
    /// The rule that decided; 0 for none.
    pub rule: u16,
}

impl From<&CacheKey> for FlowKey {
    #[inline(always)]
    fn from(key: &CacheKey) -> Self {
        let [a, b, c, d] = key.addresses.map(u64::from_be);
        let (source, destination) = if key.ip_version == 4 {
            (Address::v4((a >> 32) as u32), Address::v4(a as u32))
        } else {
            (Address { high: a, low: b }, Address { high: c, low: d })
        };
        let ports = u32::from_be(key.ports);
        Self {
            source,
            destination,
            ifindex: key.ifindex,
            source_port: (ports >> 16) as u16,
            destination_port: ports as u16,
            protocol: key.protocol,
            ip_version: key.ip_version,
            verdict: key.verdict,
            flags: key.flags,
            class_id: key.class_id,
            rule: key.rule,
        }
    }
}

/// A flow of this epoch as one CPU has counted it, and its verdict. Times are the low half of jiffies: an epoch is
/// shorter than the 49 days (at 1000 Hz) after which they wrap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheEntry {
    /// The flow; `ip_version` 0 marks a free entry.
    pub key: CacheKey,
    /// The sums.
    pub counters: Counters,
    /// Jiffies of the first packet.
    pub first: u32,
    /// Jiffies of the last packet.
    pub last: u32,
    /// Jiffies at which the policy was last evaluated.
    pub evaluated: u32,
    /// Slot of the interface.
    pub slot: u32,
}

impl CacheEntry {
    /// Whether the entry is free.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.key.ip_version == 0
    }

    /// As the flow table stores it. `now`: jiffies, not before the last packet.
    #[must_use]
    #[inline(always)]
    pub fn value(&self, now: u64) -> FlowValue {
        let whole = |low: u32| now - u64::from((now as u32).wrapping_sub(low));
        FlowValue { counters: self.counters, first: whole(self.first), last: whole(self.last) }
    }
}

/// The flows that hash to this set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CacheSet {
    /// In no particular order.
    pub ways: [CacheEntry; CACHE_WAYS],
}
