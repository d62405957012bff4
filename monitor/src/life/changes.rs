//! The record of changes over restarts: a file in `[paths] state`.

use monitor_api::changes::Change;
use serde::{Deserialize, Serialize};

use crate::{model::changes::ChangeRecord, storage::state::StateDirectory};

/// The file's name.
pub const FILE: &str = "changes.json";
/// What such a file says it is.
const FORMAT: &str = "egress-monitor changes 1";

#[derive(Deserialize, Serialize)]
struct Document {
    format: String,
    forgotten: bool,
    changes: Vec<Change>,
}

/// What is kept; a file that is not there, or is none of ours, has nothing on record.
pub fn read(state: &StateDirectory) -> ChangeRecord {
    let document = state.read(FILE).filter(|document: &Document| document.format == FORMAT);
    document.map(|document| ChangeRecord::of(document.changes, document.forgotten)).unwrap_or_default()
}

/// Keeps it. Where that can't be, a restart forgets it: the alerts were sent all the same.
pub fn write(state: &StateDirectory, record: &ChangeRecord) {
    let changes = record.all().cloned().collect();
    let document = Document { format: FORMAT.into(), forgotten: record.forgotten(), changes };
    if let Err(error) = state.write(FILE, &document) {
        let file = state.path().join(FILE);
        tracing::warn!(file = %file.display(), %error, "a restart will not know what has changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_goes_on_with_the_record_and_a_file_that_is_none_has_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path());
        assert_eq!(read(&state), ChangeRecord::default());
        let change = Change { kind: "started".into(), by: Some("uid 0".into()), ..Change::default() };
        let record = ChangeRecord::of(vec![change], true);
        write(&state, &record);
        assert_eq!(read(&state), record);
        std::fs::write(folder.path().join(FILE), r#"{"format":"egress-monitor changes 2","changes":[]}"#).unwrap();
        assert_eq!(read(&state), ChangeRecord::default());
    }
}
