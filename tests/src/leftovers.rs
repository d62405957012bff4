//! Everything that outlives a process, namespaces, pins and temporary folders, is called `egm-<process>-…`. Values
//! remove what is theirs when they are dropped, also by a panic; what a killed process left behind is swept away by the
//! first thing that the next one makes.

use std::{
    ffi::{CStr, CString},
    path::{Path, PathBuf},
    sync::Once,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{cgroup, netns};

/// Where pins are.
const BPFFS: &str = "/sys/fs/bpf";

/// The beginning of all names of this process, after sweeping away what is no living process's.
pub(crate) fn prefix() -> String {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        of_the_dead(Path::new(netns::FOLDER)).for_each(|name| netns::remove(&name));
        for folder in [PathBuf::from(BPFFS), std::env::temp_dir()] {
            // Another process may be sweeping as well.
            of_the_dead(&folder).for_each(|name| {
                unmount(&folder.join(&name));
                drop(std::fs::remove_dir_all(folder.join(name)));
            });
        }
        if let Some(groups) = cgroup::root() {
            of_the_dead(&groups).for_each(|name| drop(std::fs::remove_dir(groups.join(name))));
        }
    });
    format!("egm-{}-", std::process::id())
}

/// A temporary folder, removed with its value.
///
/// # Errors
/// There is no room for it.
pub fn folder() -> Result<TempDir> {
    tempfile::Builder::new().prefix(&prefix()).tempdir().context("a temporary folder")
}

/// Where in a folder its BPF file system is.
pub(crate) const MOUNT: &str = "bpf";

/// Where in a folder there may be a small disk.
pub(crate) const DISK: &str = "state";

/// Mounts a BPF file system in a temporary folder.
///
/// # Errors
/// Not root.
pub(crate) fn mount_bpffs(folder: &Path) -> Result<()> {
    let at = folder.join(MOUNT);
    std::fs::create_dir(&at).context("a folder to mount on")?;
    mount(c"bpf", &at, c"").context("mounting a BPF file system")
}

/// Mounts a disk of a mebibyte in a temporary folder that has a folder for it.
///
/// # Errors
/// Not root.
pub(crate) fn mount_disk(folder: &Path) -> Result<()> {
    mount(c"tmpfs", &folder.join(DISK), c"size=1m,mode=0700").context("mounting a small disk")
}

fn mount(kind: &CStr, at: &Path, options: &CStr) -> Result<()> {
    let at = CString::new(at.as_os_str().as_encoded_bytes()).context("a folder's name")?;
    // SAFETY: strings that outlive the call.
    match unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

/// Takes away what is mounted in a folder, with all that is there.
pub(crate) fn unmount(folder: &Path) {
    for at in [MOUNT, DISK] {
        if let Ok(at) = CString::new(folder.join(at).as_os_str().as_encoded_bytes()) {
            // SAFETY: a string that outlives the call.
            unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// A place for pins with this number, which nobody has made.
pub(crate) fn pins(number: u32) -> PathBuf {
    Path::new(BPFFS).join(format!("{}{number}", prefix()))
}

/// Names in `folder` that carry the id of a process which is gone.
fn of_the_dead(folder: &Path) -> impl Iterator<Item = String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| {
        let owner = name.strip_prefix("egm-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists())
    })
}
