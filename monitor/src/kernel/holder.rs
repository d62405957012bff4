//! The process that has something that another one wants: who it is, as far as anybody may know.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
};

use rustix::fs::{FlockOperation, flock};

/// Locks a file, for as long as it is open.
///
/// # Errors
/// Another process has it: which, as far as that is known.
pub(super) fn lock(file: &File) -> Result<(), Option<u32>> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|_| holder(file))
}

/// Who holds the lock on a file.
fn holder(file: &File) -> Option<u32> {
    let found = file.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
    // As /proc/locks has it (proc_locks(5)).
    let inode = format!("{major:02x}:{minor:02x}:{}", found.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == inode)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    })
}

/// A process, and since when it runs, where that is known.
pub(super) fn described(pid: Option<u32>) -> String {
    let Some(pid) = pid else { return String::new() };
    let since = || jiff::Timestamp::try_from(std::fs::metadata(format!("/proc/{pid}")).ok()?.modified().ok()?).ok();
    since().map_or_else(|| format!(" (pid {pid})"), |since| format!(" (pid {pid}, since {since})"))
}
