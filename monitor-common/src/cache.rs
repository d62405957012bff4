//! The flow cache: a packet's key in, the place where its flow is counted out. One set at a time; the sets of a CPU are
//! written by that CPU alone, so nothing here is atomic. The kernel part calls it for plain packets, in front of the flow
//! table that all CPUs share; userspace drains the closed half ([`crate::wire::CacheSet`]).

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use crate::wire::{CacheEntry, CacheSet, Counters, PlainKey};

/// Jiffies after which the policy is asked anew for a flow that goes on: a rule that begins or ends does so for established
/// flows as well, also while no epoch is closed. A quarter of a second at 1000 Hz, 2.6 s at 100 Hz.
pub const VERDICT_AGE: u32 = 256;

/// Jiffies without a packet after which a flow makes room for another. Those that are not silent stay: were the oldest always
/// to go, a few flows too many in a set would push each other out with every packet.
pub const IDLE: u32 = 64;

/// Random odd numbers, one for each word of a key.
pub type HashKeys = [u64; 6];

impl PlainKey {
    /// Interface and ports.
    #[inline(always)]
    const fn ends(&self) -> u64 {
        (self.ifindex as u64) << 32 | self.ports as u64
    }

    /// What else the packet tells; not what the policy made of it.
    #[inline(always)]
    const fn kind(&self) -> u64 {
        (self.flags as u64) << 16 | (self.ip_version as u64) << 8 | self.protocol as u64
    }

    /// Which of `sets` the flow belongs to. A multilinear hash: without the keys nobody can name flows that
    /// meet in one set.
    #[must_use]
    #[inline(always)]
    pub fn set(&self, keys: &HashKeys, sets: u32) -> u32 {
        let [a, b, c, d] = self.addresses;
        let mut sum = a.wrapping_mul(keys[0]);
        sum = sum.wrapping_add(self.ends().wrapping_mul(keys[4]));
        sum = sum.wrapping_add(self.kind().wrapping_mul(keys[5]));
        if self.ip_version != 4 {
            sum = sum.wrapping_add(b.wrapping_mul(keys[1]));
            sum = sum.wrapping_add(c.wrapping_mul(keys[2]));
            sum = sum.wrapping_add(d.wrapping_mul(keys[3]));
        }
        // A sum of products alone spreads addresses or ports in a row by steps of one size, which some keys make a round
        // number of sets. Squared they have no such step.
        sum ^= sum >> 32;
        sum = sum.wrapping_mul(sum | 1);
        (((sum >> 32) * u64::from(sets)) >> 32) as u32
    }

    /// Whether packets with this key belong to that flow, whatever the policy made of it.
    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        self.ends() == other.ends()
            && self.addresses[0] == other.addresses[0]
            && self.kind() == other.kind()
            && (self.ip_version == 4
                || self.addresses[3] == other.addresses[3]
                    && self.addresses[2] == other.addresses[2]
                    && self.addresses[1] == other.addresses[1])
    }
}

impl CacheEntry {
    /// Whether the verdict still holds without asking.
    #[must_use]
    #[inline(always)]
    pub const fn is_fresh(&self, now: u32) -> bool {
        now.wrapping_sub(self.judged) < VERDICT_AGE
    }

    /// Adds a packet.
    #[inline(always)]
    pub const fn count(&mut self, size: &Counters, now: u32) {
        self.counters.add(size);
        self.last = now;
    }

    /// Begins a flow with its first packet.
    #[inline(always)]
    pub const fn begin(&mut self, key: &PlainKey, size: &Counters, slot: u32, now: u32) {
        *self = Self { key: *key, counters: *size, first: now, last: now, judged: now, slot };
    }
}

impl CacheSet {
    /// The entry of a flow, told by what its packets have and not by what the policy made of them.
    #[inline(always)]
    pub fn find(&mut self, key: &PlainKey) -> Option<&mut CacheEntry> {
        let [a, b, c, d] = &mut self.ways;
        if key.is(&a.key) {
            Some(a)
        } else if key.is(&b.key) {
            Some(b)
        } else if key.is(&c.key) {
            Some(c)
        } else if key.is(&d.key) {
            Some(d)
        } else {
            None
        }
    }

    /// The entry that a flow which is not here may have: an empty one, else the one that was silent longest, and at least
    /// [`IDLE`]; the flow in it goes to the flow table first.
    #[inline(always)]
    pub fn vacancy(&mut self, now: u32) -> Option<&mut CacheEntry> {
        let mut longest = IDLE - 1;
        let mut found = None;
        for way in &mut self.ways {
            let silent = if way.is_empty() { u32::MAX } else { now.wrapping_sub(way.last) };
            if silent > longest {
                longest = silent;
                found = Some(way);
            }
        }
        found
    }
}
