//! All destinations of a packet in, the strictest standing out.

#![forbid(unsafe_code)]

#[cfg(all(test, feature = "user"))]
mod tests;

#[cfg(feature = "user")]
use crate::wire::OnwardKey;
use crate::{
    classify::{Classified, Tables, classify},
    parse::{MAX_HEADERS, MAX_HOPS, Walk},
    wire::{Onward, Via},
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
    /// The destination in question; the packet's own has no way.
    candidate: Onward,
}

impl Judgement {
    /// Picks destination `number`: 0 is the packet's own, then come the further ones in the order in which they were
    /// met, then `kept`, the one that a first fragment had. False: there are no more.
    #[inline(always)]
    pub fn pick(&mut self, walk: &Walk, kept: &Onward, number: u32) -> bool {
        self.candidate = if number == 0 {
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
            Onward::default()
        };
        self.candidate.exists()
    }

    /// Judges what was picked. `None`: the look-up had no answer, the image is not whole.
    #[inline(always)]
    pub fn judge(&mut self, tables: &impl Tables) -> Option<()> {
        let candidate = &self.candidate;
        let standing =
            classify(tables, candidate.ip_version, candidate.address, candidate.protocol, Some(candidate.port))?;
        let rank = standing.rank();
        let own = candidate.via == Via::None as u8;
        if own || rank > self.to.rank() {
            self.to = standing;
        }
        if !own && (!self.onward.exists() || rank >= self.onward_rank) {
            self.onward = self.candidate;
            self.onward_rank = rank;
        }
        Some(())
    }

    /// The standing of a flow that was counted: of its destination and of the further one that its key holds, in the
    /// order in which a packet's are considered.
    #[cfg(feature = "user")]
    #[must_use]
    pub fn of_flow(tables: &impl Tables, key: &OnwardKey) -> Option<Classified> {
        let flow = &key.flow;
        let own = Onward {
            address: flow.destination,
            port: flow.destination_port,
            protocol: flow.protocol,
            ip_version: flow.ip_version,
            ..Onward::default()
        };
        let mut judgement = Self { candidate: own, ..Self::default() };
        judgement.judge(tables)?;
        if key.onward.exists() {
            judgement.candidate = key.onward;
            judgement.judge(tables)?;
        }
        Some(judgement.to)
    }

    /// Considers all.
    #[cfg(feature = "user")]
    #[must_use]
    pub fn of(tables: &impl Tables, walk: &Walk, kept: &Onward) -> Option<Self> {
        let mut judgement = Self::default();
        for number in 0..MAX_DESTINATIONS {
            if !judgement.pick(walk, kept, number) {
                break;
            }
            judgement.judge(tables)?;
        }
        Some(judgement)
    }
}
