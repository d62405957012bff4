//! Append-only segments of JSON lines that are durable before anybody reads them: lines in, each with a sequence of its
//! own; batches of them out, to any number of readers that each remember how far they have come. Called by the outbox
//! of alerts; it knows nothing of alerts.
//!
//! A segment is `<first sequence>.jsonl`, [`Settings::segment`] bytes and what the last commit was over that. It only
//! grows, so that `tail -F` and `jq` may read along, and never holds a line that is not whole, but while a commit is
//! under way or the disk is full. [`Log::commit`] writes what was pushed and waits for the disk; readers get it after
//! that. What a crash tore is cut at the next start ([`Recovered`]). All segments together take [`Settings::keep`]
//! bytes: the oldest goes, and who had not taken it is told what he lost ([`Loss`]).
//!
//! [`mod@line`] is the form of a line, `index` decides, [`files`] is what is wanted of a file system; [`view`] is for
//! who only looks.

mod cursor;
pub mod files;
mod index;
pub mod line;
mod log;
mod reader;
pub mod view;

#[cfg(test)]
mod tests;

use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use self::index::Index;
pub use self::{
    index::Loss,
    log::{Log, Recovered, Settings},
    reader::{Batch, Reader},
};

/// No line is longer.
const LONGEST: usize = 1 << 20;

/// What the writer and the readers share.
#[derive(Debug, Default)]
struct Shared {
    index: Mutex<Index>,
    /// There is more to read, or nobody writes any more.
    changed: Condvar,
    closed: AtomicBool,
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        // Each change is made in one step.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody writes any more.
    fn close(&self) {
        let _index = self.index();
        self.closed.store(true, Relaxed);
        self.changed.notify_all();
    }
}

/// The file of the segment that begins with this sequence.
fn file_name(first: u64) -> String {
    format!("{first:012}.jsonl")
}

/// The sequence that a segment begins with, by its file's name.
fn first_of(name: &str) -> Option<u64> {
    let first = name.strip_suffix(".jsonl")?.parse().ok()?;
    // One name for each.
    (file_name(first) == name).then_some(first)
}
