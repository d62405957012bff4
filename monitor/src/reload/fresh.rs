//! The note of `geo stage` in `[paths] state` in, whether it says something new out. Called by `super::reloader`, which
//! hands it to whoever reports it.

use std::fs;

use super::stamps::Stamp;
use crate::{
    model::refresh::{FILE, RefreshNotes},
    storage::state::StateDirectory,
};

/// What was seen of it last.
#[derive(Debug)]
pub(super) struct FreshData {
    state: StateDirectory,
    seen: Option<Stamp>,
}

impl FreshData {
    pub(super) const fn new(state: StateDirectory) -> Self {
        Self { state, seen: None }
    }

    /// Looks; what it says, if that may be something new. One that is not there says nothing.
    pub(super) fn look(&mut self) -> Option<RefreshNotes> {
        let now = fs::symlink_metadata(self.state.path().join(FILE)).ok().as_ref().map(Stamp::of);
        if now == self.seen {
            return None;
        }
        self.seen = now;
        Some(self.state.read(FILE).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_once_for_each_time_that_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path());
        let mut data = FreshData::new(state.clone());
        assert_eq!(data.look(), None);
        let notes = |looked| RefreshNotes { looked: Some(looked), ..RefreshNotes::default() };
        for looked in [7, 8] {
            state.write(FILE, &notes(looked)).unwrap();
            assert_eq!((data.look(), data.look()), (Some(notes(looked)), None));
        }
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(data.look(), Some(RefreshNotes::default()));
        state.remove(FILE).unwrap();
        assert_eq!((data.look(), data.look()), (Some(RefreshNotes::default()), None));
    }
}
