//! Lines that a receiver refuses for good: put aside in a file of the sink's, so that those behind them go on.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::storage::{append, create_directory};

/// What is put aside of a sink at most; beyond it nothing is.
const MOST: u64 = 16 << 20;

/// The file of a sink, below the outbox's directory.
pub fn file(alerts: &Path, sink: &str) -> PathBuf {
    alerts.join("rejected").join(format!("{sink}.jsonl"))
}

/// Puts a line aside.
///
/// # Errors
/// What the system said, or there is no room for more.
pub fn keep(file: &Path, line: &[u8]) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        create_directory(directory)?;
    }
    let mut file = append(file)?;
    if file.metadata()?.len() + line.len() as u64 > MOST {
        return Err(io::Error::other("16 MiB are there already"));
    }
    file.write_all(line)?;
    file.sync_data()
}
