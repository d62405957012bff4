//! All destinations of a packet in, the strictest standing out.

#[cfg(all(test, feature = "user"))]
mod tests;

use crate::{
    classify::{Classified, Tables, classify},
    parse::{MAX_HEADERS, MAX_HOPS, Walk},
    wire::Onward,
};

/// Destinations that one packet can have: its own, further ones, and one of its first fragment's.
pub const MAX_DESTINATIONS: u32 = MAX_HOPS as u32 + 2;

/// What the policy makes of a packet as a whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The strictest standing, of equals the outermost.
    pub to: Classified,
    /// Of the further destinations the one whose standing is strictest, of equals the innermost.
    pub onward: Onward,
    onward_rank: u8,
}

impl Judgement {
    /// Considers destination `number`: 0 is the packet's own, then come the further ones in the order in which they
    /// were met, then `kept`, the one that a first fragment had. False: there are no more. `None`: a look-up had no
    /// answer, the image is not whole.
    #[inline(always)]
    pub fn consider(&mut self, tables: &impl Tables, walk: &Walk, kept: &Onward, number: u32) -> Option<bool> {
        let onward = if number == 0 {
            let key = &walk.key;
            Onward {
                address: key.destination,
                port: key.destination_port,
                protocol: key.protocol,
                ip_version: key.ip_version,
                ..Onward::default()
            }
        } else if number <= walk.hops_len {
            // The masks change nothing. They are for the kernel's verifier, which sees no bound on a number in memory.
            let hop = &walk.hops[(number as usize - 1) & (MAX_HOPS - 1)];
            let transport = &walk.headers[usize::from(hop.header) & (MAX_HEADERS - 1)];
            Onward {
                address: hop.address,
                port: transport.port,
                protocol: transport.protocol,
                ip_version: hop.ip_version,
                via: hop.via,
                ..Onward::default()
            }
        } else if number == walk.hops_len + 1 {
            *kept
        } else {
            return Some(false);
        };
        if !onward.exists() {
            return Some(false);
        }
        let standing = classify(tables, onward.ip_version, onward.address, onward.protocol, Some(onward.port))?;
        let rank = standing.rank();
        if number == 0 {
            self.to = standing;
            return Some(true);
        }
        if rank > self.to.rank() {
            self.to = standing;
        }
        if !self.onward.exists() || rank >= self.onward_rank {
            self.onward = onward;
            self.onward_rank = rank;
        }
        Some(true)
    }

    /// Considers all.
    #[cfg(feature = "user")]
    #[must_use]
    pub fn of(tables: &impl Tables, walk: &Walk, kept: &Onward) -> Option<Self> {
        let mut judgement = Self::default();
        for number in 0..MAX_DESTINATIONS {
            if !judgement.consider(tables, walk, kept, number)? {
                break;
            }
        }
        Some(judgement)
    }
}
