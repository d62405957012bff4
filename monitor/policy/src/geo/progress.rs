//! How far the reading of a file has come: set by the readers, shown by `geo import`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Steps done, and all steps: bytes of a text, nodes of a tree.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Starts over.
    pub(crate) fn begin(&self, total: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total as u64, Ordering::Relaxed);
    }

    /// Sets the steps done so far.
    pub(crate) fn at(&self, done: usize) {
        self.done.store(done as u64, Ordering::Relaxed);
    }

    /// In percent, at most 100; `None` before the first step.
    pub fn percent(&self) -> Option<u64> {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        (total > 0).then(|| (u128::from(done.min(total)) * 100 / u128::from(total)) as u64)
    }
}
