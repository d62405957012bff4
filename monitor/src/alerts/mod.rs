//! Alerts: ring-buffer events and snapshots in, one [`Alert`] per flow that leaves for a place the policy does
//! not allow out. Called by the epoch task only, so that there is one owner of who was alerted already.
//!
//! An event alerts at once; what the ring lost is rebuilt from the snapshot. A flow (with its verdict, its further
//! destination, and what the policy made of both) alerts once, and again after [`IDLE`] of silence. The memory for that is bounded by
//! [`REMEMBERED`]: beyond it the flows silent longest are forgotten, and alert again if they go on: a second
//! alert is a nuisance, a missing one a lie.

use std::{collections::HashMap, sync::Arc};

use monitor_common::wire::{Counters, Event, FlowKey, FlowValue};

use crate::{
    epochs::{
        Snapshot,
        names::{FlowId, Identities, Name},
    },
    policy::Policy,
};

pub mod findings;
pub mod ocsf;
pub mod sinks;

#[cfg(test)]
mod tests;

/// A flow silent for this long alerts again when it comes back: ten minutes, in nanoseconds.
pub const IDLE: i128 = 600_000_000_000;

/// Flows remembered as alerted; about 100 bytes each.
pub const REMEMBERED: usize = 262_144;

/// How bad, in OCSF's words and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// For the record.
    Informational = 1,
    /// The policy let it pass knowingly, or stopped something of unclear place.
    Low = 2,
    /// Stopped, or of unclear place and passed.
    Medium = 3,
    /// Left for outside.
    High = 4,
    /// The counts can't be believed.
    Critical = 5,
}

impl Severity {
    /// OCSF's caption.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// One alert, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// How bad.
    pub severity: Severity,
    /// `egress`, or a self-alert's name: the metric label.
    pub kind: &'static str,
    /// The JSON object, without a line end.
    pub line: Arc<str>,
}

/// What an alert says of the host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// `/proc/sys/kernel/random/boot_id`: makes jiffies, and so `metadata.uid`, unique.
    pub boot_id: String,
}

impl Host {
    /// This host.
    #[must_use]
    pub fn read() -> Self {
        let line = |path| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self { name: line("/proc/sys/kernel/hostname"), boot_id: line("/proc/sys/kernel/random/boot_id") }
    }
}

/// How an alert came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the ring buffer, at the first packet.
    Event,
    /// From the drained flow table, because the event was lost or overtaken.
    Drain,
}

/// When an alerted flow was seen last, UTC nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Its last packet left.
    packet: i64,
    /// We heard of it: much later if the daemon was away.
    heard: i64,
}

/// Decides which flows alert.
#[derive(Debug)]
pub struct Alerter {
    host: Host,
    alerted: HashMap<FlowId, Seen>,
    limit: usize,
}

impl Alerter {
    /// One that has alerted nothing yet.
    #[must_use]
    pub fn new(host: Host) -> Self {
        Self { host, alerted: HashMap::new(), limit: REMEMBERED }
    }

    /// The same with room for `limit` flows.
    #[must_use]
    pub fn with_limit(host: Host, limit: usize) -> Self {
        Self { limit: limit.max(1), ..Self::new(host) }
    }

    /// The host that alerts are about.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// An event of a packet that left at `time`, read at `read`, under the policy of its epoch. The kernel decided that
    /// it is alertable.
    pub fn event(
        &mut self,
        event: &Event,
        (time, read): (i128, i128),
        interface: Name,
        policy: &Policy,
        identities: &mut Identities,
    ) -> Option<Alert> {
        let flow = identities.resolve(&event.flow, interface, policy);
        self.is_new(flow, (time, time), read).then(|| {
            let bytes = u64::from(event.wire_bytes);
            let seen = ocsf::Seen {
                flow: &flow,
                identities,
                policy: &policy.digest,
                epoch: event.epoch,
                time,
                first_jiffies: event.jiffies,
                // Only the first packet so far; the event does not carry skb->len.
                counters: Counters { packets: 1, segments: 1, bytes, wire_bytes: bytes },
                origin: Origin::Event,
            };
            ocsf::egress(&self.host, &seen)
        })
    }

    /// The alerts that the epoch's events should have made and didn't, through `each`; remembers what goes on.
    pub fn snapshot(
        &mut self,
        snapshot: &Snapshot,
        interfaces: &HashMap<u32, Name>,
        identities: &mut Identities,
        mut each: impl FnMut(Alert),
    ) {
        for (key, value) in &snapshot.flows {
            if !alertable(&snapshot.policy, &key.flow) {
                continue;
            }
            let interface = interfaces.get(&key.flow.ifindex).or_else(|| interfaces.get(&0));
            let interface = interface.copied().unwrap_or_default();
            let flow = identities.resolve(key, interface, &snapshot.policy);
            let span = (snapshot.wall_time(value.first), snapshot.wall_time(value.last));
            if self.is_new(flow, span, snapshot.ended) {
                each(self.rebuilt(snapshot, &flow, value, identities));
            }
        }
        self.forget(snapshot.ended);
    }

    fn rebuilt(&self, snapshot: &Snapshot, flow: &FlowId, value: &FlowValue, identities: &Identities) -> Alert {
        let seen = ocsf::Seen {
            flow,
            identities,
            policy: &snapshot.policy.digest,
            epoch: snapshot.epoch,
            time: snapshot.wall_time(value.first),
            first_jiffies: value.first,
            counters: value.counters,
            origin: Origin::Drain,
        };
        ocsf::egress(&self.host, &seen)
    }

    /// Whether the flow, with packets from `first` to `last`, was not alerted yet or had been silent for long. Remembers
    /// it either way. An epoch may be longer than [`IDLE`] if the daemon was away.
    fn is_new(&mut self, flow: FlowId, (first, last): (i128, i128), heard: i128) -> bool {
        let [first, packet, heard] = [first, last, heard].map(|time| i64::try_from(time).unwrap_or(i64::MAX));
        match self.alerted.entry(flow) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Seen { packet, heard });
                if self.alerted.len() > self.limit {
                    self.shrink();
                }
                true
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let before = *entry.get();
                entry.insert(Seen { packet: before.packet.max(packet), heard: before.heard.max(heard) });
                i128::from(first) - i128::from(before.packet) > IDLE
            }
        }
    }

    /// Forgets flows that would alert again anyway. Twice [`IDLE`], and not before they were heard of for as long: an
    /// event may still be on its way.
    fn forget(&mut self, now: i128) {
        self.alerted.retain(|_, seen| now - i128::from(seen.packet.max(seen.heard)) <= 2 * IDLE);
    }

    /// Forgets the eighth that was silent longest.
    fn shrink(&mut self) {
        let mut times: Vec<i64> = self.alerted.values().map(|seen| seen.packet).collect();
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

/// Whether the policy wants an alert for the flow: as the kernel decides it, from the same class row.
#[must_use]
pub fn alertable(policy: &Policy, key: &FlowKey) -> bool {
    key.rule == 0 && policy.image.classes.get(usize::from(key.class)).is_none_or(|class| class.alert != 0)
}
