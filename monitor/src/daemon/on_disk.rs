//! The daemon's own program and unit on disk, held against what they were when it began: a file that changed is told until
//! what is there runs. Called with each look at the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::model::{FindingKind, tamper::Sighting};

/// Where units are (systemd.unit(5)), the first outranks the others.
const UNITS: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Device, inode, size, and when content and inode changed.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// See the module.
#[derive(Debug)]
pub struct OnDisk {
    program: Option<PathBuf>,
    /// The name of our unit, where a service manager runs us.
    unit: Option<String>,
    units: PathBuf,
    known: BTreeMap<PathBuf, Stamp>,
}

impl OnDisk {
    /// As it is now.
    pub fn now() -> Self {
        let program = fs::read_link("/proc/self/exe").ok();
        // Who starts a program by hand from a session has no unit of ours.
        let unit = std::env::var_os("INVOCATION_ID")
            .and_then(|_| fs::read_to_string("/proc/self/cgroup").ok())
            .and_then(|cgroup| unit(&cgroup));
        Self::of(program, unit, "/".into())
    }

    fn of(program: Option<PathBuf>, unit: Option<String>, units: PathBuf) -> Self {
        let mut on_disk = Self { program, unit, units, known: BTreeMap::new() };
        on_disk.known = on_disk.stamps();
        on_disk
    }

    /// The files that decide what runs, as they are.
    fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let mut files: Vec<PathBuf> = self.program.iter().cloned().collect();
        if let Some(unit) = &self.unit {
            for directory in UNITS.iter().map(|directory| self.units.join(directory.trim_start_matches('/'))) {
                files.push(directory.join(unit));
                let more = fs::read_dir(directory.join(format!("{unit}.d"))).into_iter().flatten().flatten();
                files.extend(more.map(|entry| entry.path()));
            }
        }
        files.into_iter().filter_map(|file| stamp(&file).map(|stamp| (file, stamp))).collect()
    }

    /// What is not as it was.
    pub fn look(&self) -> Option<Sighting> {
        let there = self.stamps();
        let files: BTreeSet<&PathBuf> = self.known.keys().chain(there.keys()).collect();
        let changed: Vec<String> = files
            .into_iter()
            .filter_map(|file| match (self.known.get(file), there.get(file)) {
                (Some(known), Some(found)) if known == found => None,
                (Some(_), Some(_)) => Some(format!("{} has changed", file.display())),
                (Some(_), None) => Some(format!("{} is gone", file.display())),
                (None, _) => Some(format!("{} is new", file.display())),
            })
            .collect();
        let kind = FindingKind::ChangedOnDisk;
        (!changed.is_empty()).then(|| Sighting {
            kind,
            subject: String::new(),
            what: format!("{} since this daemon began", changed.join(", ")),
            again: None,
        })
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found = fs::metadata(file).ok()?;
    let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Some((found.dev(), found.ino(), found.size(), modified, changed))
}

/// The service that a process is of, from its `/proc/PID/cgroup`.
fn unit(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.split('/').rfind(|part| part.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_or_unit_that_changes_comes_or_goes_is_told_until_it_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let units = path("etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        fs::write(path("program"), "1").unwrap();
        fs::write(units.join("a.service"), "[Unit]\n").unwrap();
        let on_disk = OnDisk::of(Some(path("program")), Some("a.service".into()), folder.path().into());
        let what = || on_disk.look().map(|seen| seen.what.replace(&folder.path().display().to_string(), ""));
        assert_eq!(what(), None);
        fs::write(units.join("b.service"), "[Unit]\n").unwrap();
        assert_eq!(what(), None, "another's");
        fs::create_dir(units.join("a.service.d")).unwrap();
        fs::write(units.join("a.service.d/x.conf"), "[Service]\n").unwrap();
        let new = "/etc/systemd/system/a.service.d/x.conf is new since this daemon began";
        assert_eq!(what().as_deref(), Some(new));
        fs::remove_file(units.join("a.service.d/x.conf")).unwrap();
        assert_eq!(what(), None);
        fs::write(path("other"), "1").unwrap();
        fs::rename(path("other"), path("program")).unwrap();
        assert_eq!(what().as_deref(), Some("/program has changed since this daemon began"));
        fs::remove_file(path("program")).unwrap();
        assert_eq!(what().as_deref(), Some("/program is gone since this daemon began"));
    }

    #[test]
    fn the_unit_is_the_innermost_service_of_the_unified_hierarchy() {
        let of = |cgroup: &str| unit(cgroup);
        assert_eq!(of("0::/system.slice/egress-monitor.service\n").as_deref(), Some("egress-monitor.service"));
        let session = "0::/user.slice/user-0.slice/user@0.service/app.slice/run-1.scope\n";
        assert_eq!(of(session).as_deref(), Some("user@0.service"));
        assert_eq!(of("1:cpu:/system.slice/a.service\n"), None);
        assert_eq!(of("0::/\n"), None);
    }
}
