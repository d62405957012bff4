//! What a build with the layouts before has left pinned: a start takes it over as it does what its own build left. Called by
//! `super::pins`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use monitor_common::wire::LAYOUT;
use rustix::fs::{FlockOperation, flock};

use super::{
    holder::holder,
    pins::{BYPASS_LINK, links},
};

/// The layouts that a start reads beside its own.
pub(super) const BEFORE: u32 = LAYOUT - 1;

/// The directory of the layouts before, owned.
#[derive(Debug)]
pub(super) struct Before {
    directory: PathBuf,
    /// Keeps daemons of that build from it, as theirs keeps us.
    _lock: File,
}

impl Before {
    /// That below `bpffs`, if there is one.
    ///
    /// # Errors
    /// The daemon that has it, as far as it is known.
    pub fn open(bpffs: &Path) -> Result<Option<Self>, Option<u32>> {
        let directory = bpffs.join(format!("v{BEFORE}"));
        // One that can't be opened is no daemon's either.
        let Ok(lock) = File::open(&directory) else { return Ok(None) };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { directory, _lock: lock })),
            Err(_) => Err(holder(&lock)),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the link on an interface is, if there is one.
    pub fn link(&self, ifindex: u32) -> PathBuf {
        self.directory.join(format!("links/{ifindex}"))
    }

    /// Removes the link that has sockets refused. Whether there was one.
    pub fn remove_bypass(&self) -> bool {
        fs::remove_file(self.directory.join(BYPASS_LINK)).is_ok()
    }

    /// Removes the links that nobody has taken over, and gives their interfaces.
    pub fn remove_links(&self) -> Vec<u32> {
        let left = links(&self.directory);
        for ifindex in &left {
            let _ = fs::remove_file(self.link(*ifindex));
        }
        left
    }

    /// Removes the directory, if nothing is in it any more.
    pub fn remove(&self) {
        for part in ["links", "maps", ""] {
            let _ = fs::remove_dir(self.directory.join(part));
        }
    }
}
