//! Devices that come, go or change: the source lets go and attaches, between epochs where slots or names ask for it.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{Engine, handle::Waiting};
use crate::model::{Coverage, identities::Name};

/// Looking at all devices may take one part in so many of a CPU's time.
const SHARE: u32 = 4;

impl Engine {
    /// Follows the devices: `gone` are those that went, whatever has their index now.
    pub(super) fn cover(&mut self, gone: &BTreeSet<u32>, waiting: &mut Waiting) {
        if tokio::task::block_in_place(|| self.source.survey(gone)) {
            self.close_and_answer(waiting);
        }
        if tokio::task::block_in_place(|| self.source.cover()) {
            self.close_and_answer(waiting);
            tokio::task::block_in_place(|| self.source.cover());
            self.state.write().kernel_memory = self.source.kernel_memory();
        }
        let coverage = tokio::task::block_in_place(|| self.coverage());
        let shared = self.state.clone();
        let mut state = shared.write();
        state.coverage = coverage;
        state.attachments = self.source.attachments();
        let identities = &mut state.traffic.identities;
        let attached = self.source.attachments();
        let names: Vec<(u32, Name)> =
            attached.iter().map(|one| (one.ifindex, identities.interface(&one.interface))).collect();
        self.interfaces.extend(names);
        self.pipeline.covered(&mut state);
    }

    /// What is watched now.
    pub(super) fn coverage(&mut self) -> Coverage {
        let began = Instant::now();
        let coverage = self.source.coverage();
        self.rested = Instant::now() + (began.elapsed() * SHARE).min(Duration::from_secs(1));
        coverage
    }
}
