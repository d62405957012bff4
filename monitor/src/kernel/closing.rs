//! What there is of an epoch between its end and its snapshot. Filled by the drain, kept by the kernel part's owner.

use std::sync::Arc;

use monitor_common::wire::{Clock, Control, CpuHalf};
use monitor_policy::Policy;

use super::flows::DrainedFlows;
use crate::model::{Fill, InterfaceCounts};

/// An epoch that packets have left and that is not drained whole yet. It is kept over a failure, so that what was
/// taken from the maps is never lost and nothing is counted under another epoch's policy.
pub(super) struct ClosingEpoch {
    pub control: Control,
    pub policy: Arc<Policy>,
    pub started: jiff::Timestamp,
    /// When no packet was counted in it any more, and the kernel's clocks then.
    pub quiet: Option<(jiff::Timestamp, Clock)>,
    pub interfaces: Vec<InterfaceCounts>,
    /// What the CPUs had of the half, once that is taken; its sums are in `interfaces`.
    pub halves: Option<Vec<CpuHalf>>,
    pub log_read: bool,
    pub flows: DrainedFlows,
    pub fill: Fill,
    pub events_lost: u64,
}
