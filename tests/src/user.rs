//! Another user for a thread, or for a program: whoever has an account on the host and no more.

use std::{io, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

/// A user whom no file here belongs to.
pub const NOBODY: u32 = 65_534;

/// Makes the calling thread one of this user and of these groups, without any capability, for good. Others of the process
/// stay what they are.
///
/// # Errors
/// It is not root's.
pub fn become_user(user: u32, groups: &[u32]) -> io::Result<()> {
    let gids: [libc::gid_t; 8] = std::array::from_fn(|at| groups.get(at).copied().unwrap_or(NOBODY));
    let done = |result: libc::c_long| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: plain system calls (not the C library's functions, which change all threads); the list outlives them.
    unsafe {
        done(libc::syscall(libc::SYS_setgroups, groups.len().min(gids.len()), gids.as_ptr()))?;
        done(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY))?;
        done(libc::syscall(libc::SYS_setresuid, user, user, user))
    }
}

/// Has a command run as this user.
pub fn as_user(command: &mut Command, user: u32, groups: &[u32]) {
    let groups = groups.to_vec();
    // SAFETY: between fork and exec the closure makes system calls and allocates nothing.
    unsafe { command.pre_exec(move || become_user(user, &groups)) };
}

/// The number of a group of this host.
///
/// # Errors
/// There is no such group.
pub fn group(name: &str) -> Result<u32> {
    let groups = std::fs::read_to_string("/etc/group").context("reading /etc/group")?;
    let line = groups.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split(':').nth(1)?.parse().ok()).with_context(|| format!("no group {name}"))
}
