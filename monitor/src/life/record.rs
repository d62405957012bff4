//! What one life leaves for the next to know: a small file in `[paths] state`.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use monitor_policy::fs::open_regular;
use serde::{Deserialize, Serialize};

use crate::{
    model::rfc3339,
    storage::{self, Access},
};

/// The file's name.
const FILE: &str = "life.json";
/// What such a file says it is.
const FORMAT: &str = "egress-monitor life 1";
/// No such file is longer.
const LONGEST: u64 = 4096;

/// A daemon, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: String,
    /// The boot of the host that it was in.
    pub boot_id: String,
    /// Its process.
    pub pid: u32,
    /// Of the program.
    pub version: String,
    /// Since when, as it is shown.
    pub started: String,
    /// When it ended in order; `None`: it has not, or not in order.
    pub ended: Option<String>,
}

impl Record {
    /// Of this process.
    pub fn begun(boot_id: &str, now: i128) -> Self {
        Self {
            format: FORMAT.into(),
            boot_id: boot_id.into(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: rfc3339(now),
            ended: None,
        }
    }
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// In this directory; in none, nothing is kept.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// What the last one left; a file that is not there, or is none of ours, says nothing.
    pub fn read(&self) -> Option<Record> {
        let mut text = Vec::new();
        let file = open_regular(&self.directory.join(FILE)).ok()?;
        file.take(LONGEST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok().filter(|record: &Record| record.format == FORMAT)
    }

    /// Leaves it. Where that can't be, the next one will not know: no reason not to begin.
    pub fn write(&self, record: &Record) {
        if self.directory.as_os_str().is_empty() {
            return;
        }
        let written = serde_json::to_vec(record).map_err(std::io::Error::other).and_then(|text| {
            storage::create_directory(&self.directory)?;
            storage::replace(&self.directory.join(FILE), &text, Access::Owner)
        });
        if let Err(error) = written {
            let file = self.directory.join(FILE);
            tracing::warn!(file = %file.display(), %error, "the next start will not know how this one ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_knows_how_the_last_one_ended_and_nothing_of_a_file_that_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("state"));
        assert_eq!(store.read(), None);
        let mut record = Record::begun("boot", 0);
        store.write(&record);
        assert_eq!(store.read().unwrap().ended, None);
        record.ended = Some("1970-01-01T00:00:01Z".into());
        store.write(&record);
        assert_eq!(store.read(), Some(record));
        for none in ["{", "{\"format\":\"egress-monitor life 2\"}", &" ".repeat(5000)] {
            std::fs::write(folder.path().join("state").join(FILE), none).unwrap();
            assert_eq!(store.read(), None);
        }
    }
}
