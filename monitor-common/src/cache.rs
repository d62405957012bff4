//! The flow cache: a packet's key in, the entry where its flow is counted out. One set at a time; the sets of a CPU are
//! written by that CPU alone, so nothing here is atomic. The kernel part calls it on its fast path, in front of the
//! flow table that all CPUs share; userspace drains the closed half ([`crate::wire::CacheSet`]).

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use crate::wire::{CacheEntry, CacheKey, CacheSet, Counters};

/// Jiffies after which the policy is evaluated again for a flow that goes on: a rule that begins or ends also does so
/// for established flows, and in the middle of an epoch. A quarter of a second at 1000 Hz, 2.6 s at 100 Hz.
pub const VERDICT_AGE: u32 = 256;

/// Jiffies without a packet after which a flow may be evicted. Active flows stay: if the oldest always had to go, a few
/// flows too many in a set would evict each other with every packet.
pub const IDLE: u32 = 64;

/// Random odd numbers, one for each word of a key.
pub type HashKeys = [u64; 6];

impl CacheKey {
    /// Interface and ports.
    #[inline(always)]
    const fn interface_and_ports(&self) -> u64 {
        (self.ifindex as u64) << 32 | self.ports as u64
    }

    /// Flags, IP version and protocol; without what the policy made of the packet.
    #[inline(always)]
    const fn flags_and_protocol(&self) -> u64 {
        (self.flags as u64) << 16 | (self.ip_version as u64) << 8 | self.protocol as u64
    }

    /// Which of `sets` the flow belongs to. A multilinear hash: without the keys nobody can choose flows that collide.
    #[must_use]
    #[inline(always)]
    pub fn set_index(&self, keys: &HashKeys, sets: u32) -> u32 {
        let [a, b, c, d] = self.addresses;
        let mut sum = a.wrapping_mul(keys[0]);
        sum = sum.wrapping_add(self.interface_and_ports().wrapping_mul(keys[4]));
        sum = sum.wrapping_add(self.flags_and_protocol().wrapping_mul(keys[5]));
        if self.ip_version != 4 {
            sum = sum.wrapping_add(b.wrapping_mul(keys[1]));
            sum = sum.wrapping_add(c.wrapping_mul(keys[2]));
            sum = sum.wrapping_add(d.wrapping_mul(keys[3]));
        }
        // A sum of products alone spreads consecutive addresses or ports in steps of one size, which some keys make a
        // round number of sets. Squared they have no such step.
        sum ^= sum >> 32;
        sum = sum.wrapping_mul(sum | 1);
        (((sum >> 32) * u64::from(sets)) >> 32) as u32
    }

    /// Whether packets with this key belong to that flow, whatever the policy made of it.
    #[inline(always)]
    fn same_flow(&self, other: &Self) -> bool {
        self.interface_and_ports() == other.interface_and_ports()
            && self.addresses[0] == other.addresses[0]
            && self.flags_and_protocol() == other.flags_and_protocol()
            && (self.ip_version == 4
                || self.addresses[3] == other.addresses[3]
                    && self.addresses[2] == other.addresses[2]
                    && self.addresses[1] == other.addresses[1])
    }
}

impl CacheEntry {
    /// Whether the verdict holds without evaluating the policy again.
    #[must_use]
    #[inline(always)]
    pub const fn is_fresh(&self, now: u32) -> bool {
        now.wrapping_sub(self.evaluated) < VERDICT_AGE
    }

    /// Adds a packet.
    #[inline(always)]
    pub const fn count(&mut self, size: &Counters, now: u32) {
        self.counters.add(size);
        self.last = now;
    }

    /// Begins a flow with its first packet.
    #[inline(always)]
    pub const fn begin(&mut self, key: &CacheKey, size: &Counters, slot: u32, now: u32) {
        *self = Self { key: *key, counters: *size, first: now, last: now, evaluated: now, slot };
    }
}

impl CacheSet {
    /// The entry of a flow, by what its packets have and not by what the policy made of them.
    #[inline(always)]
    pub fn find(&mut self, key: &CacheKey) -> Option<&mut CacheEntry> {
        let [a, b, c, d] = &mut self.ways;
        if key.same_flow(&a.key) {
            Some(a)
        } else if key.same_flow(&b.key) {
            Some(b)
        } else if key.same_flow(&c.key) {
            Some(c)
        } else if key.same_flow(&d.key) {
            Some(d)
        } else {
            None
        }
    }

    /// The entry that a new flow may have: a free one, else the one that was idle longest, and at least [`IDLE`]; the
    /// flow in it goes to the flow table first.
    #[inline(always)]
    pub fn victim(&mut self, now: u32) -> Option<&mut CacheEntry> {
        let mut longest = IDLE - 1;
        let mut found = None;
        for way in &mut self.ways {
            let idle = if way.is_empty() { u32::MAX } else { now.wrapping_sub(way.last) };
            if idle > longest {
                longest = idle;
                found = Some(way);
            }
        }
        found
    }
}
