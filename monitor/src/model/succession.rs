//! What a start found of the one before it.

use std::collections::{BTreeMap, BTreeSet};

use monitor_common::wire::{Counters, HookSums};

/// What a start found of the one before it, and whether it will leave something itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// What came to the hooks since the daemon before this one took it for the last time, by interface. It is in the epochs
    /// that this one begins with.
    pub gaps: BTreeMap<String, HookSums>,
    /// The same of an epoch that the daemon before was draining when it ended: all that was in it, which is in no total.
    pub rests: BTreeMap<String, HookSums>,
    /// Why what there was can't be read.
    pub unreadable: Vec<String>,
    /// Interfaces whose programs have changed the hook: what came while both were there was counted twice.
    pub twice: Vec<String>,
    /// Numbers of the epochs that were found and are this one's to close.
    pub left: BTreeSet<u32>,
    /// The number of the first epoch of this one's own; `None`: it took nothing over.
    pub first_epoch: Option<u32>,
    /// Programs of an earlier daemon were there, and ours are in their place.
    pub adopts: bool,
    /// Programs and counters outlive this daemon.
    pub outlives: bool,
    /// Why they do not, where they should.
    pub unpinned: Option<String>,
}

impl Succession {
    /// Adds to what came to an interface's hook.
    pub fn add(&mut self, interface: &str, total: Counters, dropped: Counters) {
        add(&mut self.gaps, interface, &HookSums { dropped, total });
    }

    /// Adds to what is in no epoch.
    pub fn add_rest(&mut self, interface: &str, sums: &HookSums) {
        add(&mut self.rests, interface, sums);
    }
}

fn add(into: &mut BTreeMap<String, HookSums>, interface: &str, sums: &HookSums) {
    if *sums != HookSums::default() {
        into.entry(interface.to_owned()).or_default().add(sums);
    }
}
