//! What one life leaves for the next to know: a small file in `[paths] state`.

use std::io;

use serde::{Deserialize, Serialize};

use crate::{model::rfc3339, storage::state::StateDirectory};

/// The file's name.
pub const FILE: &str = "life.json";
/// How long it always is, in bytes, so that its end is noted over its beginning.
const LENGTH: usize = 512;
/// What such a file says it is.
const FORMAT: &str = "egress-monitor life 1";

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

    /// What the last one left; a file that is not there, or is none of ours, says nothing.
    pub fn read(state: &StateDirectory) -> Option<Self> {
        state.read(FILE).filter(|record: &Self| record.format == FORMAT)
    }

    /// Leaves it. Where that can't be, none is left: the next one will not take an older one's end for this one's.
    ///
    /// # Errors
    /// What the system said, or the state directory is refused.
    pub fn write(&self, state: &StateDirectory) -> io::Result<()> {
        state.write_in_its_place(FILE, self, LENGTH).inspect_err(|_| {
            // Where nothing can be removed either, whoever asked is told of the other.
            let _ = state.remove(FILE);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_knows_how_the_last_one_ended_and_nothing_of_a_file_that_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(&folder.path().join("state"));
        assert_eq!(Record::read(&state), None);
        let mut record = Record::begun("boot", 0);
        record.write(&state).unwrap();
        assert_eq!(Record::read(&state).unwrap().ended, None);
        record.ended = Some("1970-01-01T00:00:01Z".into());
        record.write(&state).unwrap();
        assert_eq!(Record::read(&state), Some(record.clone()));
        for none in ["{", "{\"format\":\"egress-monitor life 2\"}", &" ".repeat(5000)] {
            std::fs::write(folder.path().join("state").join(FILE), none).unwrap();
            assert_eq!(Record::read(&state), None);
            record.write(&state).unwrap();
            assert_eq!(Record::read(&state), Some(record.clone()));
        }
    }
}
