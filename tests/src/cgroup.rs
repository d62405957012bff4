//! A control group with a bound on memory, for a process that is to run out of it. By cgroup v2 where that has the memory
//! controller, else by v1.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail};

use crate::leftovers;

/// Where memory's groups may be: v2 alone, v1, v2 beside v1.
const ROOTS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"];

/// One, removed with its value. Its processes must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    /// v2.
    unified: bool,
}

impl MemoryGroup {
    /// Makes one whose processes may have so many bytes in all.
    ///
    /// # Errors
    /// Not root, or no memory controller is mounted.
    pub fn new(bytes: u64) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}{}", leftovers::prefix(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let Some(root) = root() else {
            bail!("no memory controller in any of {ROOTS:?}: mount one (`mount -t cgroup2 none /sys/fs/cgroup`)");
        };
        let unified = !root.join("memory.limit_in_bytes").exists();
        if unified {
            std::fs::write(root.join("cgroup.subtree_control"), "+memory").context("memory's controller for groups")?;
        }
        let own = Self { folder: root.join(name), unified };
        std::fs::create_dir(&own.folder).with_context(|| format!("making {}", own.folder.display()))?;
        own.set(if unified { "memory.max" } else { "memory.limit_in_bytes" }, bytes)?;
        if unified {
            // Nothing is to be put off to a disk.
            let _ = own.set("memory.swap.max", 0);
        }
        Ok(own)
    }

    /// Moves a process there. What it has already is another group's.
    ///
    /// # Errors
    /// It is gone.
    pub fn take(&self, process: u32) -> Result<()> {
        self.set("cgroup.procs", process.into())
    }

    /// How many processes the kernel has killed there.
    ///
    /// # Errors
    /// The group is gone.
    pub fn killed(&self) -> Result<u64> {
        let file = self.folder.join(if self.unified { "memory.events" } else { "memory.oom_control" });
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
        count.with_context(|| format!("no oom_kill in {}", file.display()))
    }

    fn set(&self, file: &str, value: u64) -> Result<()> {
        let file = self.folder.join(file);
        std::fs::write(&file, value.to_string()).with_context(|| format!("writing {}", file.display()))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A process that was just reaped may be counted for a moment more.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Where groups with a bound on memory can be made.
pub(crate) fn root() -> Option<PathBuf> {
    let has_memory = |root: &&Path| {
        let controllers = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        root.join("memory.limit_in_bytes").exists() || controllers.split_whitespace().any(|one| one == "memory")
    };
    ROOTS.iter().map(Path::new).find(has_memory).map(Path::to_path_buf)
}
