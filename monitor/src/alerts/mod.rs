//! Alerts: ring-buffer events and snapshots in, one [`Alert`] per flow that leaves for a place the policy does
//! not allow out. Called by the epoch task only, so that there is one owner of who was alerted already.
//!
//! An event alerts at once; what the ring lost is rebuilt from the snapshot. A flow (with its verdict, its further
//! destination, and what the policy made of both) alerts once, and again after [`IDLE`] of silence. The memory for that
//! is bounded by [`REMEMBERED`]: beyond it the flows silent longest are forgotten, and alert again if they go on: a
//! second alert is a nuisance, a missing one a lie.
//!
//! An epoch makes at most [`PER_EPOCH`] alerts: a million lines help nobody and would hold up the epochs. Flows beyond
//! are counted at the drain, which is told; they are not remembered, so one that goes on gets its alert later.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use monitor_common::wire::{Counters, Event, FlowKey};

use crate::{
    model::{
        Alert, Snapshot,
        alert::{FlowSighting, Origin, Sighted},
        clock::clamp,
        flow::{FlowId, Resolver},
        identities::{Identities, Interfaces, Name},
    },
    store::table::Table,
};
use monitor_policy::{Policy, spec::Action};

pub mod ocsf;
pub mod sinks;

#[cfg(test)]
mod tests;

/// A flow silent for this long alerts again when it comes back: ten minutes, in nanoseconds.
pub const IDLE: i64 = 600_000_000_000;

/// Flows remembered as alerted, at 42 bytes each.
pub const REMEMBERED: usize = 1_048_576;

/// Alerts on flows that one epoch makes: twice what the ring holds events, and less than a second's work.
pub const PER_EPOCH: usize = 20_480;

/// When an alerted flow was seen last, UTC nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct LastSeen {
    /// Its last packet left.
    packet: i64,
    /// We heard of it: much later if the daemon was away.
    heard: i64,
}

impl LastSeen {
    fn of(packet: i128, heard: i128) -> Self {
        Self { packet: clamp(packet), heard: clamp(heard) }
    }

    fn update(&mut self, now: Self) {
        *self = Self { packet: self.packet.max(now.packet), heard: self.heard.max(now.heard) };
    }

    /// Whether a packet that leaves at `time` comes after so long a silence that it is told again.
    fn is_forgotten(&self, time: i128) -> bool {
        clamp(time).saturating_sub(self.packet) > IDLE
    }
}

/// Decides which flows alert.
#[derive(Debug)]
pub struct Alerter {
    /// By the flow's [`fingerprint`](Self::fingerprint).
    alerted: Table<[u64; 2], LastSeen>,
    keys: [RandomState; 2],
    limit: usize,
    per_epoch: usize,
    /// Alerts that this epoch may still make.
    left: usize,
    /// The epoch that was drained last.
    drained: Option<u32>,
    /// The last one in which flows found no place in the kernel: they have no row at the drain.
    overflowed: Option<u32>,
}

impl Alerter {
    /// One that has alerted nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(REMEMBERED, PER_EPOCH)
    }

    /// The same with room for `remembered` flows, and at most `per_epoch` alerts an epoch.
    #[must_use]
    pub fn with_limits(remembered: usize, per_epoch: usize) -> Self {
        let keys = [RandomState::new(), RandomState::new()];
        Self {
            alerted: Table::default(),
            keys,
            limit: remembered.max(1),
            per_epoch,
            left: per_epoch,
            drained: None,
            overflowed: None,
        }
    }

    /// An event of a packet that left at `time`, read at `read`, under the policy of its epoch. The kernel decided that
    /// it is alertable.
    pub fn event(
        &mut self,
        event: &Event,
        (time, read): (i128, i128),
        interface: Name,
        resolver: &Resolver,
        identities: &Identities,
    ) -> Option<Alert> {
        // An event that is read after its epoch's drain tells nothing that the drain has not seen, if all flows had a place.
        let until = |last: Option<u32>| last.is_some_and(|last| last.wrapping_sub(event.epoch).cast_signed() >= 0);
        let seen = until(self.drained) && !until(self.overflowed);
        if seen || self.left == 0 {
            // With none left the drain will count the flow.
            return None;
        }
        let flow = resolver.resolve(&event.flow, interface);
        if !self.is_new(&flow, (time, time), read) {
            return None;
        }
        let bytes = u64::from(event.wire_bytes);
        let seen = Sighted {
            epoch: event.epoch,
            time,
            first_jiffies: event.jiffies,
            // Only the first packet so far; the event does not carry skb->len.
            counters: Counters { packets: 1, segments: 1, bytes, wire_bytes: bytes },
            origin: Origin::Event,
        };
        Some(Alert::Flow(FlowSighting::new(flow, seen, identities, resolver)))
    }

    /// The alerts that the epoch's events should have made and didn't, through `each`; remembers what goes on, and
    /// gives how many flows got no alert because there were too many.
    pub fn snapshot(
        &mut self,
        snapshot: &Snapshot,
        interfaces: &Interfaces,
        resolver: &Resolver,
        identities: &Identities,
        mut each: impl FnMut(Alert),
    ) -> u64 {
        let mut suppressed = 0;
        for (key, value) in &snapshot.flows {
            if !alertable(&snapshot.policy, &key.flow) {
                continue;
            }
            let flow = resolver.resolve(key, interfaces.name(key.flow.ifindex));
            let span = (snapshot.wall_time(value.first), snapshot.wall_time(value.last));
            if self.left == 0 && !self.is_told(&flow, span, snapshot.ended) {
                suppressed += 1;
            } else if self.is_new(&flow, span, snapshot.ended) {
                let seen = Sighted {
                    epoch: snapshot.epoch,
                    time: span.0,
                    first_jiffies: value.first,
                    counters: value.counters,
                    origin: Origin::Drain,
                };
                each(Alert::Flow(FlowSighting::new(flow, seen, identities, resolver)));
            }
        }
        self.forget(snapshot.ended);
        (self.left, self.drained) = (self.per_epoch, Some(snapshot.epoch));
        if snapshot.interfaces.iter().any(|interface| !interface.overflow.is_empty()) {
            self.overflowed = self.drained;
        }
        suppressed
    }

    /// Whether the flow, with packets from `first` to `last`, was not alerted yet or had been silent for long. Remembers
    /// it either way; a new one takes one of the epoch's alerts. An epoch may be longer than [`IDLE`] if the daemon was
    /// away.
    fn is_new(&mut self, flow: &FlowId, span: (i128, i128), heard: i128) -> bool {
        let now = LastSeen::of(span.1, heard);
        let (seen, there) = self.alerted.upsert(self.fingerprint(flow), || now);
        let new = !there || seen.is_forgotten(span.0);
        seen.update(now);
        if self.alerted.len() > self.limit {
            self.shrink();
        }
        self.left = self.left.saturating_sub(usize::from(new));
        new
    }

    /// Whether it was alerted already and not long ago; if so, remembers that it goes on.
    fn is_told(&mut self, flow: &FlowId, span: (i128, i128), heard: i128) -> bool {
        let Some(seen) = self.alerted.get_mut(&self.fingerprint(flow)) else { return false };
        let told = !seen.is_forgotten(span.0);
        if told {
            seen.update(LastSeen::of(span.1, heard));
        }
        told
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

    /// Forgets flows that would alert again anyway. Twice [`IDLE`], and not before they were heard of for as long: an
    /// event may still be on its way.
    fn forget(&mut self, now: i128) {
        let now = clamp(now);
        self.alerted.retain(|_, seen| now.saturating_sub(seen.packet.max(seen.heard)) <= 2 * IDLE);
    }

    /// Forgets the eighth that was silent longest.
    fn shrink(&mut self) {
        let mut times: Vec<i64> = self.alerted.iter().map(|(_, seen)| seen.packet).collect();
        let mut surplus = times.len() - (self.limit - self.limit / 8).max(1);
        let (_, cut, _) = times.select_nth_unstable(surplus - 1);
        let cut = *cut;
        self.alerted.retain(|_, seen| {
            let goes = seen.packet <= cut && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// Whether the policy wants an alert for the flow: as the kernel decides it, from the same rows.
#[must_use]
pub fn alertable(policy: &Policy, key: &FlowKey) -> bool {
    match policy.rule(key.rule) {
        Some(rule) => rule.action == Action::Deny,
        None => policy.image.classes.get(usize::from(key.class_id)).is_none_or(|row| row.alert != 0),
    }
}
