//! Control groups of version 2: where their tree is, and which one an id means. Called by what goes by control groups.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::statfs;

/// `CGROUP2_SUPER_MAGIC` (include/uapi/linux/magic.h).
const CGROUP2: i64 = 0x6367_7270;

/// Where the root of all control groups is: alone, or beside those of v1.
pub(super) const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Between two walks through the tree.
const REST: Duration = Duration::from_secs(1);

/// Groups that are known at once; more are found again by the next walk, or not at all.
const MOST: usize = 65_536;

/// The root of the tree.
pub(super) fn root() -> Option<PathBuf> {
    let is_one = |root: &&Path| statfs(*root).is_ok_and(|found| found.f_type == CGROUP2);
    ROOTS.iter().map(Path::new).find(is_one).map(Path::to_path_buf)
}

/// The groups that were there when the tree was walked last.
#[derive(Debug, Default)]
pub struct ControlGroups {
    paths: HashMap<u64, String>,
    walked: Option<Instant>,
}

impl ControlGroups {
    /// The path below the root of the group with this id: the inode number of its directory. `None`: there was none when
    /// they were looked for, at most a second ago.
    pub fn path(&mut self, id: u64) -> Option<String> {
        if !self.paths.contains_key(&id) && self.walked.is_none_or(|at| at.elapsed() >= REST) {
            self.walk();
        }
        self.paths.get(&id).cloned()
    }

    fn walk(&mut self) {
        self.walked = Some(Instant::now());
        self.paths.clear();
        let Some(root) = root() else { return };
        if let Ok(found) = fs::metadata(&root) {
            self.paths.insert(found.ino(), "/".to_owned());
        }
        let mut left = vec![String::new()];
        while let Some(above) = left.pop() {
            let folder = root.join(above.trim_start_matches('/'));
            // What went meanwhile has nothing in it.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if self.paths.len() >= MOST {
                    return;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = format!("{above}/{}", entry.file_name().to_string_lossy());
                    self.paths.insert(entry.ino(), path.clone());
                    left.push(path);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_found_by_the_number_of_its_directory_and_no_other() {
        let root = root().expect("control groups of version 2");
        let mut groups = ControlGroups::default();
        let id = |path: &str| fs::metadata(root.join(path)).expect("a group").ino();
        assert_eq!(groups.path(id("")).as_deref(), Some("/"));
        assert_eq!(groups.path(u64::MAX), None);
        let own = fs::read_to_string("/proc/self/cgroup").expect("text");
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).expect("a group").to_owned();
        assert_eq!(groups.path(id(own.trim_start_matches('/'))), Some(own));
        let known = groups.paths.len();
        assert!(groups.paths.values().all(|path| root.join(path.trim_start_matches('/')).is_dir()), "{known}");
    }
}
