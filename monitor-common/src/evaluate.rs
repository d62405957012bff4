//! All destinations of a packet in, the classification of the strictest out.

#![forbid(unsafe_code)]

#[cfg(all(test, feature = "user"))]
mod tests;

#[cfg(feature = "user")]
use crate::{classify::judge_content, wire::FullKey};
use crate::{
    classify::{Classification, Destination, Tables, classify_packet},
    parse::{HeaderWalker, MAX_HEADERS, MAX_HOPS},
    wire::{InnerDestination, ON_LINK, Via},
};

/// Destinations that one packet can have: its own, inner ones, and one of its first fragment's.
pub const MAX_DESTINATIONS: u32 = MAX_HOPS as u32 + 2;

/// What the policy makes of a packet as a whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// Of all destinations the strictest classification, of equals the outermost.
    pub strictest: Classification,
    /// Of the inner destinations the strictest, of equals the innermost.
    pub inner: InnerDestination,
    inner_rank: u8,
    /// The port that the packet comes from.
    source_port: u32,
    /// The destination to be classified next; the packet's own has no [`Via`].
    candidate: InnerDestination,
}

impl Evaluation {
    /// Picks destination `number`: 0 is the packet's own, then come the inner ones in the order of the headers, then
    /// `of_first`, the one that the first fragment had. False: there are no more.
    #[inline(always)]
    pub fn pick(&mut self, walker: &HeaderWalker, of_first: &InnerDestination, number: u32) -> bool {
        self.candidate = if number == 0 {
            let key = &walker.key;
            self.source_port = key.source_port.into();
            InnerDestination {
                address: key.destination,
                port: key.destination_port,
                protocol: key.protocol,
                ip_version: key.ip_version,
                flags: key.flags & ON_LINK,
                ..InnerDestination::default()
            }
        } else if number <= walker.hops_len {
            // The masks change nothing. They are for the kernel's verifier, which sees no bound on a number in memory.
            let hop = &walker.hops[(number as usize - 1) & (MAX_HOPS - 1)];
            let transport = &walker.headers[usize::from(hop.header) & (MAX_HEADERS - 1)];
            InnerDestination {
                address: hop.address,
                port: transport.port,
                protocol: transport.protocol,
                ip_version: hop.ip_version,
                via: hop.via,
                flags: hop.flags,
                ..InnerDestination::default()
            }
        } else if number == walker.hops_len + 1 {
            *of_first
        } else {
            InnerDestination::default()
        };
        self.candidate.exists()
    }

    /// Classifies what was picked. `None`: the image is incomplete.
    #[inline(always)]
    pub fn evaluate(&mut self, tables: &impl Tables) -> Option<()> {
        let candidate = &self.candidate;
        let own = candidate.via == Via::None as u8;
        let source_port = if own { self.source_port } else { Destination::NO_SOURCE };
        let classification = classify_packet(tables, &Destination::of(candidate, source_port))?;
        let rank = classification.rank();
        if own || rank > self.strictest.rank() {
            self.strictest = classification;
        }
        if !own && (!self.inner.exists() || rank >= self.inner_rank) {
            self.inner = self.candidate;
            self.inner_rank = rank;
        }
        Some(())
    }

    /// The classification of a counted flow: of its destination and of the inner one in its key, in the order in which
    /// a packet's are evaluated. `None`: the image is incomplete.
    #[cfg(feature = "user")]
    #[must_use]
    pub fn of_flow(tables: &impl Tables, key: &FullKey) -> Option<Classification> {
        let flow = &key.flow;
        let own = InnerDestination {
            address: flow.destination,
            port: flow.destination_port,
            protocol: flow.protocol,
            ip_version: flow.ip_version,
            flags: flow.flags & ON_LINK,
            ..InnerDestination::default()
        };
        let mut evaluation = Self { candidate: own, source_port: flow.source_port.into(), ..Self::default() };
        evaluation.evaluate(tables)?;
        if key.inner.exists() {
            evaluation.candidate = key.inner;
            evaluation.evaluate(tables)?;
        }
        judge_content(tables, evaluation.strictest, flow.flags)
    }

    /// Evaluates all destinations of a packet. `None`: the image is incomplete.
    #[cfg(feature = "user")]
    #[must_use]
    pub fn of_packet(tables: &impl Tables, walker: &HeaderWalker, of_first: &InnerDestination) -> Option<Self> {
        let mut evaluation = Self::default();
        for number in 0..MAX_DESTINATIONS {
            if !evaluation.pick(walker, of_first, number) {
                break;
            }
            evaluation.evaluate(tables)?;
        }
        evaluation.strictest = judge_content(tables, evaluation.strictest, walker.key.flags)?;
        Some(evaluation)
    }
}
