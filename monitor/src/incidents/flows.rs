//! Which flows were seen: so that each counts once in its incident. Bounded: beyond that the flows that were silent longest
//! are forgotten, and count again if they go on. Called by the incidents.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::{
    model::{clock::clamp, flow::FlowId},
    store::{cut::Cut, table::Table},
};

/// Flows that are remembered, at 42 bytes each.
pub const REMEMBERED: usize = 1_048_576;

/// A flow silent for twice this long is forgotten: ten minutes, in nanoseconds.
pub const IDLE: i64 = 600_000_000_000;

/// What is known of one.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When its last packet left, UTC nanoseconds since 1970.
    packet: i64,
    /// When we heard of it, in seconds: much later if the daemon was away.
    heard: u32,
    /// Whether a TCP reset began it, and nothing but headers followed.
    pub answers: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Flows {
    /// By the flow's [`fingerprint`](Self::fingerprint).
    seen: Table<[u64; 2], Seen>,
    keys: [RandomState; 2],
    limit: usize,
}

impl Flows {
    /// With room for so many.
    pub fn new(limit: usize) -> Self {
        Self { seen: Table::default(), keys: [RandomState::new(), RandomState::new()], limit: limit.max(1) }
    }

    /// The flow has packets until `last`, of which we hear at `heard`: what is known of it, and when its packet before was
    /// seen. `answers`: where it is new.
    pub fn sight(&mut self, flow: &FlowId, last: i128, heard: i128, answers: bool) -> (&mut Seen, Option<i64>) {
        let (packet, heard) = (clamp(last), seconds(clamp(heard)));
        if self.seen.len() >= self.limit {
            self.shrink();
        }
        let key = self.fingerprint(flow);
        let (seen, there) = self.seen.upsert(key, || Seen { packet, heard, answers });
        let before = there.then_some(seen.packet);
        (seen.packet, seen.heard) = (seen.packet.max(packet), seen.heard.max(heard));
        (seen, before)
    }

    /// Who the flow is in 128 bits, by two hashes with keys that nobody knows: that two of a million are the same is
    /// less likely than that the memory errs.
    fn fingerprint(&self, flow: &FlowId) -> [u64; 2] {
        let words = flow.words();
        self.keys.each_ref().map(|key| {
            let mut hasher = key.build_hasher();
            hasher.write(bytemuck::bytes_of(&words));
            hasher.finish()
        })
    }

    /// Forgets flows that have been silent for long, and not before they were heard of for as long: an event may still be on
    /// its way.
    pub fn forget(&mut self, now: i128) {
        let (now, idle) = (clamp(now), seconds(2 * IDLE));
        self.seen.retain(|_, seen| {
            now.saturating_sub(seen.packet) <= 2 * IDLE || seconds(now).saturating_sub(seen.heard) <= idle
        });
    }

    /// Forgets the eighth that was silent longest.
    fn shrink(&mut self) {
        let keep = (self.limit - self.limit / 8).min(self.limit - 1);
        let mut cut = Cut::of(self.seen.iter().map(|(_, seen)| seen.packet).collect(), keep);
        self.seen.retain(|_, seen| cut.keeps(seen.packet));
    }

    /// Forgets all: a flow under a name that has the number of one that is gone would pass for that one's.
    pub fn clear(&mut self) {
        self.seen = Table::default();
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.seen.len()
    }
}

/// Until 2106.
fn seconds(nanoseconds: i64) -> u32 {
    u32::try_from(nanoseconds / 1_000_000_000).unwrap_or(if nanoseconds < 0 { 0 } else { u32::MAX })
}
