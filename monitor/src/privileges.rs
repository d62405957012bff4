//! Capabilities are a thread's, and those that it starts inherit them: threads that have nothing to do with the kernel part
//! do without. Called by whoever starts one, and by the helper, which keeps a few.

use std::{io, thread};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

/// Takes all capabilities from this thread, and so from every one that it starts.
///
/// # Errors
/// What the kernel said.
pub fn drop_all() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

/// Takes all capabilities from this thread but the one to write to any file: root who starts the daemon by hand may want
/// alerts in somebody else's directory. The service has none.
///
/// # Errors
/// What the kernel said.
pub fn keep_to_write() -> io::Result<()> {
    keep(CapabilitySet::DAC_OVERRIDE)
}

/// Leaves this thread what the helper needs, and no way to more: to look at programs by id and to mount (SYS_ADMIN), in
/// another mount namespace (SYS_CHROOT), for somebody else (CHOWN), and to look at others' processes (SYS_PTRACE).
///
/// # Errors
/// What the kernel said.
pub fn keep_of_helper() -> io::Result<()> {
    set_no_new_privs(true)?;
    keep(CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT | CapabilitySet::CHOWN | CapabilitySet::SYS_PTRACE)
}

fn keep(kept: CapabilitySet) -> io::Result<()> {
    let kept = capabilities(None)?.permitted & kept;
    // Ambient ones go with the inheritable.
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

/// Reads and parses files on a thread of its own that has no capability. Root who starts the daemon by hand may have the
/// files in a home directory, so CAP_DAC_READ_SEARCH stays where there is one; the service has none.
///
/// # Panics
/// As `read` does.
///
/// # Errors
/// There is no such thread.
pub fn parse<T: Send>(read: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let parser = thread::Builder::new().name("files".into()).spawn_scoped(scope, || {
            keep(CapabilitySet::DAC_READ_SEARCH)?;
            Ok(read())
        })?;
        parser.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Effective, permitted and inheritable ones of this thread, as /proc has them.
    fn own() -> Vec<u64> {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let sets = ["CapEff", "CapPrm", "CapInh", "CapAmb"].map(|name| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        });
        sets.to_vec()
    }

    #[test]
    fn a_thread_that_parses_has_no_capability_but_to_read_and_others_keep_theirs() {
        const DAC_READ_SEARCH: u64 = 1 << 2;
        let before = own();
        let readable = before[1] & DAC_READ_SEARCH;
        assert_eq!(parse(own).unwrap(), [readable, readable, 0, 0]);
        assert_eq!(own(), before);
    }

    #[test]
    fn a_thread_that_has_dropped_all_and_those_that_it_starts_have_none() {
        let (dropped, started) = thread::scope(|scope| {
            let dropped = scope.spawn(|| {
                drop_all().unwrap();
                (own(), thread::scope(|scope| scope.spawn(own).join().unwrap()))
            });
            dropped.join().unwrap()
        });
        assert_eq!((dropped, started), (vec![0; 4], vec![0; 4]));
    }
}
