//! Looking after what is in the kernel: once a second, between everything else.

use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, handle::Waiting, source::Watched};

/// How often.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// After what has to be seen twice.
const SOON: Duration = Duration::from_millis(250);

/// A look may take one part in so many of a CPU's time.
const SHARE: u32 = 50;

impl Engine {
    /// Looks; when to look again.
    pub(super) fn look_after(&mut self, waiting: &mut Waiting) -> Instant {
        let began = Instant::now();
        let watched = tokio::task::block_in_place(|| self.source.watch());
        let took = began.elapsed();
        let Some(Watched { report, judged, soon }) = watched else { return Instant::now() + EVERY };
        let state = self.state.clone();
        let mut state = state.write();
        state.tamper = report;
        state.attachments = self.source.attachments();
        self.pipeline.watched(&mut state);
        drop(state);
        if judged {
            self.close_and_answer(waiting);
        }
        Instant::now() + (took * SHARE).max(if soon { SOON } else { EVERY })
    }
}
