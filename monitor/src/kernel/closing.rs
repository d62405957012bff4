//! What there is of an epoch between its end and its snapshot. Filled by the drain, kept by the kernel part's owner.

use std::sync::Arc;

use monitor_common::wire::{Clock, Control, CpuHalf};
use monitor_policy::{Policy, spec::Mode};

use super::{Interface, flows::DrainedFlows, readings};
use crate::model::{BypassReport, Fill, InterfaceCounts, Snapshot, readings::Reading};

/// An epoch that packets have left and that is not drained whole yet. It is kept over a failure, so that what was
/// taken from the maps is never lost and nothing is counted under another epoch's policy.
pub(super) struct ClosingEpoch {
    pub control: Control,
    pub policy: Arc<Policy>,
    pub started: jiff::Timestamp,
    /// When no packet was counted in it any more, and the kernel's clocks then.
    pub quiet: Option<(jiff::Timestamp, Clock)>,
    /// By slot, from that of the unregistered on.
    pub interfaces: Vec<InterfaceCounts>,
    /// Slots, from the first that can be given, for which this is the last epoch.
    pub retired: Vec<usize>,
    /// What the CPUs had of the half, once that is taken; its sums are in `interfaces`.
    pub halves: Option<Vec<CpuHalf>>,
    pub log_read: bool,
    pub flows: DrainedFlows,
    pub fill: Fill,
    pub events_lost: u64,
}

impl ClosingEpoch {
    /// An epoch under this control word and policy, of which nothing was drained yet. `interfaces`: those of slots from 1
    /// on, as far as there are any.
    pub fn new<'a>(
        control: Control,
        policy: Arc<Policy>,
        started: jiff::Timestamp,
        interfaces: impl Iterator<Item = Option<&'a Interface>>,
        fill: Fill,
    ) -> Self {
        let interface = |name: &str, ifindex| InterfaceCounts { name: name.into(), ifindex, ..Default::default() };
        let registered =
            interfaces.map(|slot| slot.map_or_else(|| interface("", 0), |of| interface(&of.name, of.index)));
        Self {
            control,
            policy,
            started,
            quiet: None,
            interfaces: std::iter::once(interface("", 0)).chain(registered).collect(),
            retired: Vec::new(),
            halves: None,
            log_read: false,
            flows: DrainedFlows::default(),
            fill,
            events_lost: 0,
        }
    }

    /// What came of it.
    pub fn snapshot(self, hz: u32, mut readings: Vec<Reading>) -> Snapshot {
        readings::add_supers(&mut readings, &self.flows.rows);
        let (ended, clock) = self.quiet.unwrap_or((self.started, Clock::default()));
        let mut interfaces = self.interfaces;
        interfaces.retain(|counts| counts.ifindex != 0 || !counts.hook.is_zero());
        Snapshot {
            epoch: self.control.epoch(),
            started: self.started.as_nanosecond(),
            ended: ended.as_nanosecond(),
            policy: self.policy,
            mode: Mode::enforcing(self.control.enforce()),
            interfaces,
            flows: self.flows.rows,
            fill: self.fill,
            events_lost: self.events_lost,
            jiffies: clock.jiffies,
            hz,
            readings,
            bypass: BypassReport::default(),
        }
    }
}
