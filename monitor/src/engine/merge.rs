//! A closed epoch into the store: flows, the last hour, totals, under the store's locks.

use std::{thread, time::Instant};

use crate::{
    model::ClosedEpoch,
    privileges,
    store::{SharedState, last_hour::Recent, state::LastEpoch, totals::Kept},
};

/// An epoch with so many flows is merged by two threads.
const MANY: usize = 50_000;

/// Adds the epoch to everything that is kept of traffic. Flows are locked before the state, and both change together.
pub(super) fn merge(shared: &SharedState, epoch: &ClosedEpoch<'_>) {
    let snapshot = epoch.snapshot;
    let mut recent = shared.recent_mut();
    let recent_too: &mut Recent = &mut recent;
    let mut merge_recent = || recent_too.merge(epoch);
    let mut without_privileges = || {
        if let Err(error) = privileges::drop_all() {
            tracing::error!(%error, "capabilities can't be dropped");
        }
        merge_recent();
    };
    let beside = thread::scope(|scope| {
        // Beside the others: of a million flows whoever asks would wait for it.
        let many = snapshot.flows.len() >= MANY;
        let beside =
            many && thread::Builder::new().name("merge".into()).spawn_scoped(scope, &mut without_privileges).is_ok();
        let mut flows = shared.flows_mut();
        let sums = flows.merge(epoch);
        let kept = Kept::of(&flows);
        // Within the other lock: flows and state change together.
        let mut state = shared.write();
        state.traffic.kept = kept;
        state.closed = Some(Instant::now());
        state.last = Some(LastEpoch {
            epoch: snapshot.epoch,
            started: snapshot.started,
            ended: snapshot.ended,
            flows: snapshot.flows.len(),
            fill: snapshot.fill,
        });
        state.traffic.merge(epoch, sums);
        beside
    });
    if !beside {
        merge_recent();
    }
    recent.add(&shared.read().traffic.latest);
}
