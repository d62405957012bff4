//! Mounting the BPF file system that the daemon pins on: at the one place that whoever started the helper has named, and in
//! the mount namespace that he has named. A service's own goes away with it, and nobody else sees what is mounted there.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, openat2},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen, move_mount,
    },
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{kernel, storage::writable};

/// Where, and in which mount namespace.
#[derive(Debug)]
pub struct MountPoint {
    /// The directory.
    pub bpffs: PathBuf,
    /// The namespace's file; `None`: the helper's own.
    pub namespace: Option<File>,
}

/// Why it is not mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Others could have something else mounted over.
    #[error("{} is not safe to mount on: {why}", at.display())]
    Unsafe {
        /// Where.
        at: PathBuf,
        /// Who can do what there, and the mend.
        why: String,
    },
    /// The kernel refuses.
    #[error("{what}: {error}")]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's word.
        error: io::Error,
    },
}

/// As an error of the kernel's.
fn refused<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> MountError {
    move |error| MountError::Refused { what, error: error.into() }
}

impl MountPoint {
    /// Mounts it where it is missing, for `user` alone.
    ///
    /// # Errors
    /// Others can write to where it is to be, or the kernel refuses.
    pub fn mount(&self, user: u32) -> Result<(), MountError> {
        // A thread of its own has a root and a directory of its own, and so can be in another mount namespace.
        let mounted = thread::scope(|scope| {
            let mounter = thread::Builder::new().spawn_scoped(scope, || {
                if let Some(namespace) = &self.namespace {
                    enter(namespace)?;
                }
                mount(&self.bpffs, user)
            });
            mounter.map(|mounter| mounter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        mounted.map_err(refused("starting a thread"))?
    }
}

/// Takes this thread to a mount namespace.
fn enter(namespace: &File) -> Result<(), MountError> {
    let alone = kernel::unshare_directory();
    alone.map_err(refused("leaving the other threads' directory"))?;
    let there = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount));
    there.map_err(refused("entering the mount namespace"))
}

fn mount(at: &Path, user: u32) -> Result<(), MountError> {
    let safe = |path: &Path, users: &[u32]| match writable::by_others_than(path, users) {
        Some(why) => Err(MountError::Unsafe { at: at.to_owned(), why }),
        None => Ok(()),
    };
    let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
        return Err(refused("mounting on the root")(Errno::INVAL));
    };
    safe(parent, &[])?;
    // Symbolic links could lead elsewhere than what was just looked at.
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat2(CWD, parent, flags, Mode::empty(), resolve).map_err(refused("opening the directory above"))?;
    match mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(refused("making the directory")(error)),
    }
    let on = openat2(&parent, name, flags, Mode::empty(), resolve).map_err(refused("opening the directory"))?;
    if kernel::is_bpf_file_system(&on).map_err(refused("looking at the directory"))? {
        return Ok(());
    }
    let made = make(user).map_err(refused("making a BPF file system"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&made, "", &on, "", flags).map_err(refused("mounting"))
}

/// A BPF file system that is nowhere yet. It is its user's before anybody can see it.
fn make(user: u32) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "bpf")?;
    fsconfig_set_string(&context, "mode", "0700")?;
    fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let made = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    chownat(&made, "", Some(Uid::from_raw(user)), Some(Gid::from_raw(user)), AtFlags::EMPTY_PATH)?;
    Ok(made)
}
