//! Alerts: ring-buffer events and snapshots in, one [`Alert`] per flow that leaves for a place the policy does
//! not allow out. Called by the engine only, so that there is one owner of who was alerted already.
//!
//! An event alerts at once; what the ring lost is rebuilt from the snapshot. A flow (with its verdict, its further
//! destination, and what the policy made of both) alerts once, and again after [`IDLE`] of silence. The memory for that
//! is bounded by [`REMEMBERED`]: beyond it the flows silent longest are forgotten, and alert again if they go on: a
//! second alert is a nuisance, a missing one a lie.
//!
//! An epoch makes at most [`PER_EPOCH`] alerts: a million lines help nobody and would hold up the epochs. Flows beyond
//! are counted at the drain, which is reported; they are not remembered, so one that goes on gets its alert later.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use monitor_common::wire::{Counters, Event, FlowKey};

use crate::{
    engine::{
        outbox::AlertBatch,
        pipeline::{Consumer, Findings, ReadEvent},
    },
    model::{
        Alert, ClosedEpoch, FindingKind,
        alert::{FlowSighting, Origin, Sighted},
        clock::clamp,
        flow::{FlowId, Resolver},
        identities::{Identities, Name, NameSet},
        in_force::PolicyInForce,
    },
    store::{MonitorState, cut::Cut, table::Table},
};
use monitor_policy::{Policy, spec::Action};

pub mod ocsf;

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

    /// Whether a packet that leaves at `time` comes after so long a silence that it alerts again.
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
    /// Flows of the epoch drained last that got no alert.
    suppressed: u64,
}

impl Consumer for Alerter {
    fn events(&mut self, events: &[ReadEvent<'_>], identities: &Identities, alerts: &mut AlertBatch<'_>) {
        for ReadEvent { event, time, read, interface, resolver } in events {
            if let Some(alert) = self.event(event, (*time, *read), *interface, resolver, identities) {
                alerts.push(alert);
            }
        }
    }

    fn epoch(&mut self, epoch: &ClosedEpoch<'_>, _: &PolicyInForce, alerts: &mut AlertBatch<'_>) {
        self.suppressed = self.drain(epoch, |alert| alerts.push(alert));
    }

    fn publish(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let suppressed = self.suppressed;
        state.alerts_suppressed += suppressed;
        let detail = (suppressed > 0).then(|| {
            format!(
                "{suppressed} flows of epoch {} have no alert of their own, only the first {PER_EPOCH}: see \
                 `egress-monitor flows --by country`, `--by peer`. Those that go on get theirs in later epochs",
                epoch.snapshot.epoch
            )
        });
        findings.report(FindingKind::AlertsSuppressed, detail);
    }

    fn forget(&mut self, _: &NameSet) {
        // A flow under a name that has the number of one that is gone would pass for that one's. A second alert is a
        // nuisance, a missing one a lie.
        self.alerted = Table::default();
    }
}

impl Default for Alerter {
    /// With room for [`REMEMBERED`] flows and [`PER_EPOCH`] alerts.
    fn default() -> Self {
        Self::new(REMEMBERED, PER_EPOCH)
    }
}

impl Alerter {
    /// One that has alerted nothing yet, with room for `remembered` flows and at most `per_epoch` alerts an epoch.
    pub fn new(remembered: usize, per_epoch: usize) -> Self {
        let keys = [RandomState::new(), RandomState::new()];
        Self {
            alerted: Table::default(),
            keys,
            limit: remembered.max(1),
            per_epoch,
            left: per_epoch,
            drained: None,
            overflowed: None,
            suppressed: 0,
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
        // An event that is read after its epoch's drain says nothing that the drain has not seen, if all flows had a
        // place.
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
    pub fn drain(&mut self, epoch: &ClosedEpoch<'_>, mut each: impl FnMut(Alert)) -> u64 {
        let ClosedEpoch { snapshot, resolver, identities, .. } = *epoch;
        let mut suppressed = 0;
        for flow in epoch.flows() {
            if !alertable(&snapshot.policy, &flow.key.flow) {
                continue;
            }
            let (flow, value) = (flow.id(), flow.value);
            let span = (snapshot.wall_time(value.first), snapshot.wall_time(value.last));
            if self.left == 0 && !self.is_alerted(&flow, span, snapshot.ended) {
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

    /// Whether the flow, with packets from `first` to `last`, was not alerted yet or had been silent for long.
    /// Remembers it either way; a new one takes one of the epoch's alerts. An epoch may be longer than [`IDLE`] if the
    /// daemon was away.
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
    fn is_alerted(&mut self, flow: &FlowId, span: (i128, i128), heard: i128) -> bool {
        let Some(seen) = self.alerted.get_mut(&self.fingerprint(flow)) else { return false };
        let alerted = !seen.is_forgotten(span.0);
        if alerted {
            seen.update(LastSeen::of(span.1, heard));
        }
        alerted
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
        let keep = (self.limit - self.limit / 8).max(1);
        let mut cut = Cut::of(self.alerted.iter().map(|(_, seen)| seen.packet).collect(), keep);
        self.alerted.retain(|_, seen| cut.keeps(seen.packet));
    }
}

/// Whether the policy wants an alert for the flow: as the kernel decides it, from the same rows.
pub fn alertable(policy: &Policy, key: &FlowKey) -> bool {
    match policy.rule(key.rule) {
        Some(rule) => rule.action == Action::Deny,
        None => policy.image.classes.get(usize::from(key.class_id)).is_none_or(|row| row.alert != 0),
    }
}
