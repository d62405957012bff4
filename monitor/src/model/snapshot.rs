//! All traffic of one closed epoch: the one source of all that is known of traffic. The kernel part makes it, the
//! engine hands it to its consumers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub use monitor_api::status::Occupancy;
use monitor_common::{
    bypass::Bypass,
    parse::Reason,
    verdict::Verdict,
    wire::{Counters, FlowValue, FullKey, ReasonSums},
};
use monitor_policy::{Policy, spec::Mode};

use super::{clock::Moment, coverage::Role, open_sockets::OpenSockets, readings::Reading};

/// The sums of one interface in one epoch.
#[derive(Clone, Debug, Default)]
pub struct InterfaceCounts {
    /// Interface name when the epoch ended; `""` for traffic of an interface that nobody registered.
    pub name: String,
    /// Interface index; 0 as above.
    pub ifindex: u32,
    /// What it is.
    pub role: Role,
    /// Everything that passed the hook.
    pub hook: Counters,
    /// Of that, what we dropped.
    pub dropped: Counters,
    /// Packets whose flow found no place in the table, by class number and verdict.
    pub overflow: BTreeMap<(u16, Verdict), Counters>,
    /// Packets without a flow, by reason.
    pub unparsed: BTreeMap<Reason, ReasonSums>,
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
    /// The policy that held.
    pub policy: Arc<Policy>,
    /// Whether denied packets were dropped.
    pub mode: Mode,
    /// Per interface; first the traffic of interfaces that nobody registered (`ifindex` 0), if there was any.
    pub interfaces: Vec<InterfaceCounts>,
    /// Flows with their sums, each key once, in no order. First and last seen are still jiffies: see
    /// [`Snapshot::wall_time`].
    pub flows: Vec<(FullKey, FlowValue)>,
    /// Events that found the ring buffer full in this epoch.
    pub events_lost: u64,
    /// Jiffies at `ended`, and their rate a second.
    pub jiffies: u64,
    /// `CONFIG_HZ` as measured.
    pub hz: u32,
    /// How full the kernel's half was.
    pub fill: Fill,
    /// What the devices say they sent, each held against its hook, read after the epoch was closed and before anything
    /// was detached.
    pub readings: Vec<Reading>,
    /// Sockets that would send past the hook.
    pub bypass: BypassReport,
}

/// What became of sockets that would send past the hook, which are refused in enforce mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BypassReport {
    /// Refused since the epoch before, by [`Bypass`].
    pub refused: [u64; Bypass::ALL.len()],
    /// Why they can't be, in enforce mode.
    pub problem: Option<String>,
    /// Open from before it was enforced, while it is.
    pub open: OpenSockets,
}

impl Snapshot {
    /// The time of a jiffies reading taken in this epoch, UTC nanoseconds since 1970, exact to a jiffy.
    pub fn wall_time(&self, jiffies: u64) -> i128 {
        self.end().wall_time(jiffies)
    }

    /// When it was closed, by both clocks.
    pub fn end(&self) -> Moment {
        Moment { at: self.ended, jiffies: self.jiffies, hz: self.hz }
    }

    /// Hook total minus flows, overflow and unparsed, per interface index: all zero or a packet was lost or
    /// made up. In wrapping arithmetic, so that a surplus on either side shows. Flows of an interface that is
    /// not listed are held against the unregistered one (index 0), listed or not.
    pub fn residual(&self) -> Vec<(u32, Counters)> {
        self.rest(false)
    }

    /// The same of what was dropped: the hook's sum minus denied flows, denied overflow and unparsed packets dropped.
    pub fn dropped_residual(&self) -> Vec<(u32, Counters)> {
        self.rest(true)
    }

    fn rest(&self, dropped: bool) -> Vec<(u32, Counters)> {
        let listed: HashMap<u32, usize> =
            self.interfaces.iter().enumerate().map(|(at, interface)| (interface.ifindex, at)).collect();
        let hook = |interface: &InterfaceCounts| if dropped { interface.dropped } else { interface.hook };
        let mut rest: Vec<(u32, Counters)> =
            self.interfaces.iter().map(|interface| (interface.ifindex, hook(interface))).collect();
        for (at, interface) in self.interfaces.iter().enumerate() {
            for ((_, verdict), counters) in &interface.overflow {
                if !dropped || *verdict == Verdict::Denied {
                    subtract(&mut rest[at].1, counters);
                }
            }
            for reason_sums in interface.unparsed.values() {
                subtract(&mut rest[at].1, &reason_sums.dropped);
                if !dropped {
                    subtract(&mut rest[at].1, &reason_sums.passed);
                }
            }
        }
        let mut nowhere = Counters::default();
        let place = |ifindex: u32| listed.get(&ifindex).or_else(|| listed.get(&0)).copied();
        // Looked up once for a run of flows of one interface: there are a million of them.
        let mut run = (0, place(0));
        for (key, value) in &self.flows {
            if dropped && key.flow.verdict != Verdict::Denied as u8 {
                continue;
            }
            if key.flow.ifindex != run.0 {
                run = (key.flow.ifindex, place(key.flow.ifindex));
            }
            subtract(run.1.map_or(&mut nowhere, |at| &mut rest[at].1), &value.counters);
        }
        if !nowhere.is_zero() {
            rest.push((0, nowhere));
        }
        rest
    }
}

/// `from - what`, wrapping.
fn subtract(from: &mut Counters, what: &Counters) {
    from.packets = from.packets.wrapping_sub(what.packets);
    from.segments = from.segments.wrapping_sub(what.segments);
    from.bytes = from.bytes.wrapping_sub(what.bytes);
    from.wire_bytes = from.wire_bytes.wrapping_sub(what.wire_bytes);
}

#[cfg(test)]
mod tests {
    use monitor_common::wire::FlowKey;

    use super::*;

    fn sums(packets: u64) -> Counters {
        Counters { packets, segments: packets + 1, bytes: packets * 60, wire_bytes: packets * 64 }
    }

    fn flow(ifindex: u32, packets: u64) -> (FullKey, FlowValue) {
        let key = FlowKey { ifindex, ..FlowKey::default() };
        (key.into(), FlowValue { counters: sums(packets), first: 0, last: 0 })
    }

    #[test]
    fn residual_is_zero_when_every_packet_is_accounted_and_names_the_interface_when_not() {
        let mut hook = sums(3);
        hook.add(&sums(4));
        hook.add(&sums(5));
        let mut snapshot = Snapshot {
            interfaces: vec![
                InterfaceCounts {
                    ifindex: 2,
                    hook,
                    overflow: [((0, Verdict::Observed), sums(4))].into(),
                    unparsed: [(Reason::NotIp, ReasonSums { passed: Counters::default(), dropped: sums(5) })].into(),
                    ..InterfaceCounts::default()
                },
                InterfaceCounts { hook: sums(7), ..InterfaceCounts::default() },
            ],
            flows: vec![flow(2, 3), flow(99, 7)],
            ..Snapshot::default()
        };
        assert_eq!(snapshot.residual(), [(2, Counters::default()), (0, Counters::default())]);
        snapshot.flows[0].1.counters.packets -= 1;
        assert_eq!(snapshot.residual()[0], (2, Counters { packets: 1, ..Counters::default() }));
        snapshot.flows[0].1.counters.packets += 2;
        assert_eq!(snapshot.residual()[0], (2, Counters { packets: u64::MAX, ..Counters::default() }));
    }

    #[test]
    fn what_was_dropped_is_what_was_denied_and_what_could_not_be_read_and_was_dropped() {
        let mut denied = flow(2, 3);
        denied.0.flow.verdict = Verdict::Denied as u8;
        let mut dropped = sums(3);
        dropped.add(&sums(4));
        dropped.add(&sums(5));
        let mut snapshot = Snapshot {
            interfaces: vec![InterfaceCounts {
                ifindex: 2,
                dropped,
                overflow: [((0, Verdict::Denied), sums(4)), ((0, Verdict::Observed), sums(9))].into(),
                unparsed: [(Reason::NotIp, ReasonSums { passed: sums(8), dropped: sums(5) })].into(),
                ..InterfaceCounts::default()
            }],
            flows: vec![denied, flow(2, 6)],
            ..Snapshot::default()
        };
        assert_eq!(snapshot.dropped_residual(), [(2, Counters::default())]);
        snapshot.interfaces[0].dropped.packets += 1;
        assert_eq!(snapshot.dropped_residual(), [(2, Counters { packets: 1, ..Counters::default() })]);
    }

    #[test]
    fn flows_of_no_listed_interface_show_as_residual_even_without_an_entry_for_them() {
        let snapshot = Snapshot { flows: vec![flow(5, 1)], ..Snapshot::default() };
        assert_eq!(snapshot.residual()[0].1.packets, u64::MAX);
        assert_eq!(snapshot.residual()[0].0, 0);
    }
}

/// How full the kernel's half was. A flow that several CPUs, or a CPU and the table, have counts in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// The flow caches of all CPUs.
    pub cache: Occupancy,
    /// The logs of flows that gave way to others in them.
    pub log: Occupancy,
    /// The flow table.
    pub table: Occupancy,
    /// Whether flows found no place in the cache, which can be larger in the next epoch.
    pub crowded: bool,
}
