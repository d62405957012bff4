//! What daemons of other builds have left pinned: their layouts are neither ours nor those before, so that nothing of it can be
//! read. It is left alone, unless somebody says that it is to be replaced.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use monitor_common::wire::LAYOUT;
use rustix::fs::{FlockOperation, flock};

use super::{
    holder::{described, holder},
    layout_before::BEFORE,
    pins::{BYPASS_LINK, IN_USE, links, remove_maps},
};

/// Programs and counters that a start does not take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The number of their layouts.
    pub layout: u32,
    /// Interfaces, by index, that programs are on by a pinned link.
    pub interfaces: Vec<u32>,
    directory: PathBuf,
}

/// What is pinned below `bpffs` that a start does not take over: of other builds, or all where it takes over nothing.
pub fn beside(bpffs: &Path, takes_over: bool) -> Vec<Beside> {
    let is_read = |layout| takes_over && [LAYOUT, BEFORE].contains(&layout);
    let entries = fs::read_dir(bpffs).into_iter().flatten().flatten();
    let layouts = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix('v')?.parse().ok());
    let there = layouts.filter(|layout| !is_read(*layout)).map(|layout| {
        let directory = bpffs.join(format!("v{layout}"));
        Beside { layout, interfaces: links(&directory), directory }
    });
    let mut there: Vec<_> = there
        .filter(|beside| !beside.interfaces.is_empty() || beside.maps().any(|maps| maps.join(IN_USE).exists()))
        .collect();
    there.sort_by_key(|beside| beside.layout);
    there
}

impl Beside {
    fn maps(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(self.directory.join("maps")).into_iter().flatten().flatten().map(|entry| entry.path())
    }

    /// Takes the programs off, and lets go of what they have counted.
    ///
    /// # Errors
    /// A daemon that lives has them; who it is.
    pub fn remove(&self) -> Result<(), String> {
        // A directory that can't be opened is locked by nobody.
        let lock = File::open(&self.directory);
        if let Ok(lock) = &lock
            && flock(lock, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            return Err(format!("another egress-monitor{} has it", described(holder(lock))));
        }
        for ifindex in &self.interfaces {
            let _ = fs::remove_file(self.directory.join(format!("links/{ifindex}")));
        }
        // Mostly there is none.
        let _ = fs::remove_file(self.directory.join(BYPASS_LINK));
        self.maps().for_each(|maps| remove_maps(&maps));
        for part in ["links", "maps", ""] {
            let _ = fs::remove_dir(self.directory.join(part));
        }
        Ok(())
    }
}
