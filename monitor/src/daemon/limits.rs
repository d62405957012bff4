//! What a process may have (getrlimit(2)), looked at before anything is begun: it takes what it may, and one that may have too
//! little does not start, since it would fail in the middle of something. What an earlier one has left goes on meanwhile.

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use super::DaemonError;
use crate::kernel;

/// Maps, links, connections and files: what 255 interfaces and all connections take.
const FILES: u64 = 65_536;

/// What it does not start without: the limit, its name in getrlimit(2) and in a unit, and how much.
const LEAST: [(Resource, &str, &str, u64); 4] = [
    (Resource::Nofile, "RLIMIT_NOFILE", "LimitNOFILE", 512),
    (Resource::As, "RLIMIT_AS", "LimitAS", 512 << 20),
    (Resource::Data, "RLIMIT_DATA", "LimitDATA", 256 << 20),
    (Resource::Stack, "RLIMIT_STACK", "LimitSTACK", 1 << 20),
];

/// The same, of all processes of a user together; root has no such limit.
const PROCESSES: (Resource, &str, &str, u64) = (Resource::Nproc, "RLIMIT_NPROC", "LimitNPROC", 64);

/// Takes as many open files as there may be, and has a file that may not grow any more be an error like that of a full disk.
///
/// # Errors
/// Something is too little.
pub(super) fn prepare() -> Result<(), DaemonError> {
    kernel::survive_file_size_limit();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(FILES).min(FILES);
    if current.is_some_and(|current| current < most) {
        // What it has may be enough.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum });
    }
    let all = LEAST.into_iter().chain((!geteuid().is_root()).then_some(PROCESSES));
    for (resource, limit, setting, least) in all {
        if let Some(is) = getrlimit(resource).current.filter(|is| *is < least) {
            return Err(DaemonError::Limit { limit, setting, is, least });
        }
    }
    Ok(())
}
