//! The flow cache: a packet's key in, the place where its flow is counted out. One set at a time; the sets of a CPU are
//! written by that CPU alone, so nothing here is atomic. The kernel part calls it in front of the flow table that all
//! CPUs share; userspace drains the closed half ([`crate::wire::CpuHalf`] says where the sets are).

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use crate::wire::{
    CACHE_WAYS, CacheEntryV4, CacheEntryV6, CacheRegion, CacheRestV6, CacheSetV4, CacheSetV6, Counters, Decision,
    Endpoints, FlowRecord, PlainKey, TunnelKey, whole_counters,
};

/// Binary logarithm of the jiffies after which the policy is evaluated again for a flow that goes on: a rule that begins
/// or ends also does so for established flows, and in the middle of an epoch.
const VERDICT_AGE_BITS: u32 = 8;

/// Jiffies for which a verdict may be kept: a quarter of a second at 1000 Hz, 2.6 s at 100 Hz. Time is cut into pieces of
/// this length, and the first packet of a flow in each evaluates the policy.
pub const VERDICT_AGE: u32 = 1 << VERDICT_AGE_BITS;

/// Jiffies without a packet after which a flow may be evicted. Active flows stay: if the oldest always had to go, a few
/// flows too many in a set would evict each other with every packet.
pub const IDLE: u32 = 64;

/// Random odd numbers, one for each word of a key: those of IPv4's first, so that they are in one cache line with what
/// else an IPv4 packet needs.
pub type HashKeys = [u64; 6];

/// A flow's set, and the way at which its search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the set in its region.
    pub set: u32,
    /// 0 to 3.
    pub way: u32,
}

/// A packet's sizes beyond what every packet has.
#[derive(Clone, Copy, Debug, Default)]
pub struct More {
    /// Packets on the wire beyond the first.
    pub segments: u64,
    /// Bytes on the wire less those of the skb; wraps.
    pub wire_bytes: u64,
}

impl More {
    /// Of a packet with these sizes.
    #[inline(always)]
    pub const fn of(size: &Counters) -> Self {
        Self { segments: size.segments - size.packets, wire_bytes: size.wire_bytes.wrapping_sub(size.bytes) }
    }
}

/// Spreads what a multilinear hash gives: a sum of products alone has consecutive addresses or ports in steps of one
/// size, which some keys make a round number of sets. Squared and multiplied they have no such step.
#[inline(always)]
const fn spread(mut sum: u64, key: u64) -> u64 {
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(sum | 1);
    sum ^= sum >> 32;
    sum.wrapping_mul(key)
}

impl CacheRegion {
    /// Where the flow with this hash is looked for.
    #[inline(always)]
    const fn place(self, hash: u64) -> Place {
        let place = hash >> (self.shift & 63);
        Place { set: (place >> 2) as u32, way: place as u32 & (CACHE_WAYS as u32 - 1) }
    }

    /// The block of [`crate::wire::CacheRestsV6`] that has the rest of an IPv6 set: after all sets, of which there are a
    /// fourth of the places.
    #[must_use]
    #[inline(always)]
    pub const fn rest_block(self, place: Place) -> u32 {
        let sets = (1_u64 << ((64 - self.shift) & 63) >> 2) as u32;
        self.base.wrapping_add(sets).wrapping_add(place.set >> 1)
    }

    /// Where an IPv4 flow is looked for. Without the keys nobody can choose flows that collide.
    #[inline(always)]
    pub const fn place_v4(self, keys: &HashKeys, addresses: u64, endpoints: Endpoints) -> Place {
        let sum = addresses.wrapping_mul(keys[0]).wrapping_add(endpoints.0.wrapping_mul(keys[1]));
        self.place(spread(sum, keys[2]))
    }

    /// Where an IPv6 flow is looked for.
    #[inline(always)]
    pub fn place_v6(self, keys: &HashKeys, addresses: impl V6Addresses, endpoints: Endpoints) -> Place {
        let sum = endpoints.0.wrapping_mul(keys[1]);
        let sum = sum.wrapping_add(addresses.word(0).wrapping_mul(keys[0]));
        let sum = sum.wrapping_add(addresses.word(1).wrapping_mul(keys[3]));
        let sum = sum.wrapping_add(addresses.word(2).wrapping_mul(keys[4]));
        let sum = sum.wrapping_add(addresses.word(3).wrapping_mul(keys[5]));
        self.place(spread(sum, keys[2]))
    }
}

impl TunnelKey {
    /// Where among `1 << bits` places a flow in a tunnel is looked for.
    #[inline(always)]
    pub fn place(&self, keys: &HashKeys, bits: u32) -> u32 {
        let words = self.words();
        let (mut sum, mut at) = (0_u64, 0);
        while at < words.len() {
            // There are fewer keys than words; the other halves of the same numbers do for the rest.
            let key = if at < keys.len() { keys[at] } else { keys[at - keys.len()].rotate_left(32) | 1 };
            sum = sum.wrapping_add(words[at].wrapping_mul(key));
            at += 1;
        }
        (spread(sum, keys[2]) >> (64 - bits)) as u32
    }

    /// Whether both are the same. Word by word: in the kernel a comparison of memory is a loop over bytes.
    #[must_use]
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        let (one, other) = (self.words(), other.words());
        let (mut difference, mut at) = (0, 0);
        while at < one.len() {
            difference |= one[at] ^ other[at];
            at += 1;
        }
        difference == 0
    }
}

/// An IPv6 packet's addresses, wherever they are: the kernel part reads them from the packet as often as it needs them.
pub trait V6Addresses: Copy {
    /// Source (0 and 1) or destination (2 and 3), in network order.
    fn word(self, number: u32) -> u64;
}

impl V6Addresses for &[u64; 4] {
    #[inline(always)]
    fn word(self, number: u32) -> u64 {
        self[number as usize]
    }
}

/// Whether a verdict that was given or used at `last` holds without evaluating the policy again.
#[must_use]
#[inline(always)]
pub const fn is_fresh(last: u32, now: u32) -> bool {
    (last ^ now) >> VERDICT_AGE_BITS == 0
}

/// Which way of a set comes at this step of a search that begins at `way`.
#[inline(always)]
const fn probed(way: u32, step: u32) -> usize {
    ((way ^ step) & (CACHE_WAYS as u32 - 1)) as usize
}

/// The same way: a bound that the kernel's verifier sees.
#[inline(always)]
const fn in_set(way: usize) -> usize {
    way & (CACHE_WAYS - 1)
}

/// Where a flow is, or may be, in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is here.
    Here(usize),
    /// It is new, and here is a free place.
    Free(usize),
    /// It is new, and the flow here, which was idle longest and at least [`IDLE`], gives way.
    Evict(usize),
    /// It is new, and all others are active.
    Crowded,
}

impl Found {
    /// Whether it is new and every way was taken.
    #[inline(always)]
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::Evict(_) | Self::Crowded)
    }
}

/// A set of either IP version, for the slow path and the drain: the fast path has its own functions below.
pub trait FlowSet {
    /// The way's endpoints, 0 if it is free, and jiffies of its last packet.
    fn way(&self, way: usize) -> (Endpoints, u32);
    /// Whether the way has these addresses.
    fn has(&self, way: usize, addresses: &[u64; 4]) -> bool;
    /// What the policy made of the flow in this way.
    fn decision(&self, way: usize) -> Decision;
    /// Adds a packet whose verdict was just found.
    fn count(&mut self, way: usize, size: &Counters, now: u32);
    /// Begins a flow with its first packet.
    fn begin(&mut self, way: usize, key: &PlainKey, decision: Decision, size: &Counters, now: u32);
    /// Everything that is known of the flow in this way.
    fn record(&self, way: usize) -> FlowRecord;
    /// Frees the way. For the drain alone: within an epoch a place stays taken.
    fn clear(&mut self, way: usize);

    /// Looks for a flow.
    #[inline(always)]
    fn search(&self, place: Place, key: &PlainKey, now: u32) -> Found {
        let mut longest = IDLE - 1;
        let mut found = Found::Crowded;
        let mut step = 0;
        while step < CACHE_WAYS as u32 {
            let way = probed(place.way, step);
            let (endpoints, last) = self.way(way);
            if endpoints == key.endpoints && self.has(way, &key.addresses) {
                return Found::Here(way);
            }
            // A place that was taken stays taken, so what is not before the first free one is not here.
            if endpoints.0 == 0 {
                return Found::Free(way);
            }
            let idle = now.wrapping_sub(last);
            if idle > longest {
                longest = idle;
                found = Found::Evict(way);
            }
            step += 1;
        }
        found
    }
}

impl CacheSetV4 {
    /// The entry of a flow, by what its packets have.
    #[inline(always)]
    pub fn find(&mut self, way: u32, addresses: u64, endpoints: Endpoints) -> Option<&mut CacheEntryV4> {
        let mut step = 0;
        while step < CACHE_WAYS as u32 {
            let way = probed(way, step);
            if self.ways[way].endpoints == endpoints && self.ways[way].addresses == addresses {
                return Some(&mut self.ways[way]);
            }
            step += 1;
        }
        None
    }
}

impl CacheSetV6 {
    /// The entry of a flow and its number, by what its packets have.
    #[inline(always)]
    pub fn find(
        &mut self,
        way: u32,
        addresses: impl V6Addresses,
        endpoints: Endpoints,
    ) -> Option<(usize, &mut CacheEntryV6)> {
        let mut step = 0;
        while step < CACHE_WAYS as u32 {
            let way = probed(way, step);
            let entry = &self.ways[way];
            if entry.endpoints == endpoints
                && entry.addresses[3] == addresses.word(3)
                && entry.addresses[2] == addresses.word(2)
                && entry.addresses[1] == addresses.word(1)
                && entry.addresses[0] == addresses.word(0)
            {
                return Some((way, &mut self.ways[way]));
            }
            step += 1;
        }
        None
    }
}

impl FlowSet for CacheSetV4 {
    #[inline(always)]
    fn way(&self, way: usize) -> (Endpoints, u32) {
        (self.ways[in_set(way)].endpoints, self.ways[in_set(way)].last)
    }
    #[inline(always)]
    fn has(&self, way: usize, addresses: &[u64; 4]) -> bool {
        self.ways[in_set(way)].addresses == addresses[0]
    }
    #[inline(always)]
    fn decision(&self, way: usize) -> Decision {
        self.ways[in_set(way)].decision
    }
    #[inline(always)]
    fn count(&mut self, way: usize, size: &Counters, now: u32) {
        let (entry, more) = (&mut self.ways[in_set(way)], More::of(size));
        entry.packets += size.packets;
        entry.bytes += size.bytes;
        entry.more_segments += more.segments;
        entry.more_wire_bytes = entry.more_wire_bytes.wrapping_add(more.wire_bytes);
        entry.last = now;
    }
    #[inline(always)]
    fn begin(&mut self, way: usize, key: &PlainKey, decision: Decision, size: &Counters, now: u32) {
        let more = More::of(size);
        self.ways[in_set(way)] = CacheEntryV4 {
            endpoints: key.endpoints,
            addresses: key.addresses[0],
            packets: size.packets,
            bytes: size.bytes,
            more_segments: more.segments,
            more_wire_bytes: more.wire_bytes,
            last: now,
            first: now,
            decision,
        };
    }
    #[inline(always)]
    fn record(&self, way: usize) -> FlowRecord {
        let entry = &self.ways[in_set(way)];
        FlowRecord {
            key: PlainKey { addresses: [entry.addresses, 0, 0, 0], endpoints: entry.endpoints, ip_version: 4 },
            decision: entry.decision,
            counters: whole_counters(entry.packets, entry.bytes, entry.more_segments, entry.more_wire_bytes),
            first: entry.first,
            last: entry.last,
        }
    }
    fn clear(&mut self, way: usize) {
        self.ways[in_set(way)] = CacheEntryV4::default();
    }
}

/// An IPv6 set and its rest.
#[derive(Debug)]
pub struct WholeSetV6<'a> {
    /// The set.
    pub set: &'a mut CacheSetV6,
    /// The rest.
    pub rest: &'a mut [CacheRestV6; CACHE_WAYS],
}

impl FlowSet for WholeSetV6<'_> {
    #[inline(always)]
    fn way(&self, way: usize) -> (Endpoints, u32) {
        (self.set.ways[in_set(way)].endpoints, self.set.ways[in_set(way)].last)
    }
    #[inline(always)]
    fn has(&self, way: usize, addresses: &[u64; 4]) -> bool {
        let [a, b, c, d] = self.set.ways[in_set(way)].addresses;
        d == addresses[3] && c == addresses[2] && b == addresses[1] && a == addresses[0]
    }
    #[inline(always)]
    fn decision(&self, way: usize) -> Decision {
        self.rest[in_set(way)].decision
    }
    #[inline(always)]
    fn count(&mut self, way: usize, size: &Counters, now: u32) {
        let (entry, rest, more) = (&mut self.set.ways[in_set(way)], &mut self.rest[in_set(way)], More::of(size));
        entry.packets += size.packets;
        entry.bytes += size.bytes;
        rest.more_segments += more.segments;
        rest.more_wire_bytes = rest.more_wire_bytes.wrapping_add(more.wire_bytes);
        entry.last = now;
    }
    #[inline(always)]
    fn begin(&mut self, way: usize, key: &PlainKey, decision: Decision, size: &Counters, now: u32) {
        let more = More::of(size);
        self.set.ways[in_set(way)] = CacheEntryV6 {
            endpoints: key.endpoints,
            addresses: key.addresses,
            packets: size.packets,
            bytes: size.bytes,
            last: now,
            verdict: decision.verdict.into(),
        };
        self.rest[in_set(way)] = CacheRestV6 {
            more_segments: more.segments,
            more_wire_bytes: more.wire_bytes,
            first: now,
            _reserved: 0,
            decision,
        };
    }
    #[inline(always)]
    fn record(&self, way: usize) -> FlowRecord {
        let (entry, rest) = (&self.set.ways[in_set(way)], &self.rest[in_set(way)]);
        let [a, b, c, d] = entry.addresses;
        FlowRecord {
            key: PlainKey { addresses: [a, b, c, d], endpoints: entry.endpoints, ip_version: 6 },
            decision: rest.decision,
            counters: whole_counters(entry.packets, entry.bytes, rest.more_segments, rest.more_wire_bytes),
            first: rest.first,
            last: entry.last,
        }
    }
    fn clear(&mut self, way: usize) {
        self.set.ways[in_set(way)] = CacheEntryV6::default();
        self.rest[in_set(way)] = CacheRestV6::default();
    }
}
