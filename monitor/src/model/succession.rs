//! What a start found of the one before it.

use monitor_common::wire::HookSums;

/// What an earlier start's programs counted on an interface while no daemon was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The interface's name now; its index where it has none any more.
    pub interface: String,
    /// What passed the hook, and what of it was dropped.
    pub sums: HookSums,
}

/// What a start found of the one before it, and whether it will leave something itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// Interfaces on which something was counted since the daemon before this one took it for the last time.
    pub gaps: Vec<Gap>,
    /// Programs and counters outlive this daemon.
    pub outlives: bool,
    /// Why they do not, where they should.
    pub unpinned: Option<String>,
}
