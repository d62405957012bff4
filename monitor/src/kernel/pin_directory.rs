//! The directory of a layouts' number on a BPF file system, and what lies where in it: the same for this build's own, for
//! that of the layouts before, and for those of other builds.
//!
//! `<bpffs>/v<N>/links/<ifindex>` are the links, and `bypass` beside them that of [`super::bypass`].
//! `<bpffs>/v<N>/maps/<number>/` has what the programs of one start of the daemon count in: pinned before they are attached,
//! removed when all of it is known.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use monitor_common::wire::LAYOUT;

use super::{holder, sys};

/// The layouts that a start reads beside its own.
pub(super) const BEFORE: u32 = LAYOUT - 1;

/// In a start's directory of maps: its programs may be attached. Else nothing was ever counted there.
pub(super) const IN_USE: &str = "in-use";

/// What its name begins with; the layouts' number follows.
const PREFIX: char = 'v';

/// The parts of it.
const PARTS: [&str; 2] = ["links", "maps"];

/// A layouts' directory, whether it is there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PinDirectory(PathBuf);

impl PinDirectory {
    /// That of these layouts.
    pub fn of(bpffs: &Path, layout: u32) -> Self {
        Self(bpffs.join(format!("{PREFIX}{layout}")))
    }

    /// The layouts that there are directories of, in their order.
    pub fn layouts(bpffs: &Path) -> Vec<u32> {
        let entries = fs::read_dir(bpffs).into_iter().flatten().flatten();
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok();
        let mut layouts: Vec<_> = entries.filter_map(number).collect();
        layouts.sort_unstable();
        layouts
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where its parts are.
    pub fn parts(&self) -> impl Iterator<Item = PathBuf> {
        PARTS.iter().map(|part| self.0.join(part))
    }

    /// Owns it: no daemon of any build has it beside us. `None`: it can't be opened, then it is nobody's.
    ///
    /// # Errors
    /// The daemon that has it, as far as it is known.
    pub fn lock(&self) -> Result<Option<File>, Option<u32>> {
        let Ok(file) = File::open(&self.0) else { return Ok(None) };
        holder::lock(&file)?;
        Ok(Some(file))
    }

    /// Where the link on an interface is, if there is one.
    pub fn link(&self, ifindex: u32) -> PathBuf {
        self.0.join(format!("links/{ifindex}"))
    }

    /// Interfaces, by index, of which there are links.
    pub fn links(&self) -> Vec<u32> {
        let entries = fs::read_dir(self.0.join("links")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Where the link is that has sockets refused, if there is one.
    pub fn bypass(&self) -> PathBuf {
        self.0.join("links/bypass")
    }

    /// Takes the programs off whose links are there: at once, and not when the kernel gets to it. One that is on nothing any
    /// more, or of a kernel without that, goes with its pin.
    pub fn take_off(&self) {
        let links = self.links().into_iter().map(|ifindex| self.link(ifindex));
        for link in links.chain([self.bypass()]) {
            let _ = sys::take_off(&link);
        }
    }

    /// Removes all links on interfaces, and gives these.
    pub fn remove_links(&self) -> Vec<u32> {
        let links = self.links();
        for ifindex in &links {
            let _ = fs::remove_file(self.link(*ifindex));
        }
        links
    }

    /// Removes the link that has sockets refused. Whether there was one.
    pub fn remove_bypass(&self) -> bool {
        fs::remove_file(self.bypass()).is_ok()
    }

    /// Where a start's maps are.
    pub fn start(&self, number: u64) -> PathBuf {
        self.0.join(format!("maps/{number}"))
    }

    /// Where the maps of all starts are.
    pub fn starts(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(self.0.join("maps")).into_iter().flatten().flatten().map(|entry| entry.path())
    }

    /// Removes it, if nothing is in it any more.
    pub fn remove(&self) {
        for part in self.parts().chain([self.0.clone()]) {
            let _ = fs::remove_dir(part);
        }
    }
}

/// Removes a start's directory of maps.
pub(super) fn remove_maps(maps: &Path) {
    for entry in fs::read_dir(maps).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    let _ = fs::remove_dir(maps.join(IN_USE));
    let _ = fs::remove_dir(maps);
}
