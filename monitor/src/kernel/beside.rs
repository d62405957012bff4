//! What daemons of other builds have left pinned: their layouts are neither ours nor those before, so that nothing of it can be
//! read. It is left alone, unless somebody says that it is to be replaced.

use std::path::Path;

use monitor_common::wire::LAYOUT;

use super::{
    holder::described,
    pin_directory::{BEFORE, IN_USE, PinDirectory, remove_maps},
};

/// Programs and counters that a start does not take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The number of their layouts.
    pub layout: u32,
    /// Interfaces, by index, that programs are on by a pinned link.
    pub interfaces: Vec<u32>,
    directory: PinDirectory,
}

/// What is pinned below `bpffs` that a start does not take over: of other builds, or all where it takes over nothing.
pub fn beside(bpffs: &Path, takes_over: bool) -> Vec<Beside> {
    let is_read = |layout: &u32| takes_over && [LAYOUT, BEFORE].contains(layout);
    let there = PinDirectory::layouts(bpffs).into_iter().filter(|layout| !is_read(layout)).map(|layout| {
        let directory = PinDirectory::of(bpffs, layout);
        Beside { layout, interfaces: directory.links(), directory }
    });
    let has_any = |directory: &PinDirectory| directory.starts().any(|maps| maps.join(IN_USE).exists());
    there.filter(|beside| !beside.interfaces.is_empty() || has_any(&beside.directory)).collect()
}

impl Beside {
    /// Takes the programs off, and lets go of what they have counted.
    ///
    /// # Errors
    /// A daemon that lives has them; who it is.
    pub fn remove(&self) -> Result<(), String> {
        // A directory that can't be opened is locked by nobody.
        let _lock = self.directory.lock().map_err(|pid| format!("another egress-monitor{} has it", described(pid)))?;
        self.directory.take_off();
        self.directory.remove_links();
        // Mostly there is none.
        self.directory.remove_bypass();
        self.directory.starts().for_each(|maps| remove_maps(&maps));
        self.directory.remove();
        Ok(())
    }
}
