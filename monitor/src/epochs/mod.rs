//! The epoch protocol and its result, the [`Snapshot`]: the one source of traffic facts. The epoch task flips
//! the parity, drains the half that is then its own, and hands the snapshot to metrics, API and alerts.

use std::collections::BTreeMap;

use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Counters, FlowKey, FlowValue, Tally},
};

/// The sums of one interface in one epoch.
#[derive(Clone, Debug, Default)]
pub struct InterfaceCounts {
    /// Interface name when the epoch ended; `""` for traffic of an interface that nobody registered.
    pub name: String,
    /// Interface index; 0 as above.
    pub ifindex: u32,
    /// Everything that passed the hook.
    pub hook: Counters,
    /// Packets whose flow found no place in the table, by class number and verdict.
    pub overflow: BTreeMap<(u16, Verdict), Counters>,
    /// Packets without a flow, by reason.
    pub unparsed: BTreeMap<Reason, Tally>,
}

/// All traffic of one epoch.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Number of the epoch.
    pub epoch: u32,
    /// When it began, UTC nanoseconds since 1970.
    pub started: i128,
    /// When it was closed.
    pub ended: i128,
    /// Digest of the policy that held, in hexadecimal.
    pub policy: std::sync::Arc<crate::policy::Policy>,
    /// Whether denied packets were dropped.
    pub enforce: bool,
    /// Per interface.
    pub interfaces: Vec<InterfaceCounts>,
    /// Flows with their sums, in no order. First and last seen are still jiffies: see [`Snapshot::wall_time`].
    pub flows: Vec<(FlowKey, FlowValue)>,
    /// Events that found the ring buffer full in this epoch.
    pub events_lost: u64,
    /// Jiffies at `ended`, and their rate a second.
    pub jiffies: u64,
    /// `CONFIG_HZ` as measured.
    pub hz: u32,
    /// Places in the flow table.
    pub flow_capacity: u32,
}

impl Snapshot {
    /// The time of a jiffies reading taken in this epoch, UTC nanoseconds since 1970, exact to a jiffy.
    #[must_use]
    pub fn wall_time(&self, jiffies: u64) -> i128 {
        let ago = i128::from(self.jiffies) - i128::from(jiffies);
        self.ended - ago * 1_000_000_000 / i128::from(self.hz.max(1))
    }

    /// Hook total minus flows, overflow and unparsed, per interface: all zero or a packet was lost or made up.
    /// In wrapping arithmetic, so that a surplus on either side shows.
    #[must_use]
    pub fn residual(&self) -> Vec<(u32, Counters)> {
        self.interfaces
            .iter()
            .map(|interface| {
                let mut counted = Counters::default();
                for counters in interface.overflow.values() {
                    counted.add(counters);
                }
                for tally in interface.unparsed.values() {
                    counted.add(&tally.passed);
                    counted.add(&tally.dropped);
                }
                for (key, value) in &self.flows {
                    let registered = self.interfaces.iter().any(|other| other.ifindex == key.ifindex);
                    if key.ifindex == interface.ifindex || (interface.ifindex == 0 && !registered) {
                        counted.add(&value.counters);
                    }
                }
                let minus = |a: u64, b: u64| a.wrapping_sub(b);
                let hook = &interface.hook;
                (
                    interface.ifindex,
                    Counters {
                        packets: minus(hook.packets, counted.packets),
                        segments: minus(hook.segments, counted.segments),
                        bytes: minus(hook.bytes, counted.bytes),
                        wire_bytes: minus(hook.wire_bytes, counted.wire_bytes),
                    },
                )
            })
            .collect()
    }
}
