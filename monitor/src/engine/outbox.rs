//! Where alerts go: counted and kept in [`MonitorState`], and handed to a queue that never makes the engine wait.

use std::{mem, sync::Arc};

use crate::{
    model::{Alert, delivery::Delivery},
    store::{MonitorState, SharedState, state::LATEST_ALERTS},
};

/// Alerts made before they are delivered: those who read the state wait for that, not for the making.
const BATCH: usize = 256;

/// The near end of whatever writes alerts.
pub trait AlertQueue: Send {
    /// Takes an alert; where it has no room it counts it and drops it. Never waits.
    fn send(&self, alert: &Arc<Alert>);

    /// What becomes of the alerts that it took, and how many it dropped.
    fn delivery(&self) -> &Arc<Delivery>;
}

/// See the module.
pub struct Outbox {
    queue: Box<dyn AlertQueue>,
    state: SharedState,
}

impl Outbox {
    pub(super) fn new(queue: Box<dyn AlertQueue>, state: SharedState) -> Self {
        Self { queue, state }
    }

    /// Counts, keeps and sends alerts.
    pub(super) fn deliver(&self, state: &mut MonitorState, alerts: impl IntoIterator<Item = Alert>) {
        for alert in alerts.into_iter().map(Arc::new) {
            *state.alerts.entry((alert.severity().name(), alert.kind())).or_default() += 1;
            state.changes.note(&alert);
            self.queue.send(&alert);
            // A day of heartbeats would leave no room for what somebody is to read.
            if matches!(&*alert, Alert::Finding(finding) if finding.kind.is_heartbeat()) {
                continue;
            }
            if state.latest_alerts.len() >= LATEST_ALERTS {
                state.latest_alerts.pop_front();
            }
            state.latest_alerts.push_back(alert);
        }
    }

    /// Alerts that are delivered many at a time, by whoever does not hold the state.
    pub(super) fn batch(&self) -> AlertBatch<'_> {
        AlertBatch { outbox: self, made: Vec::new() }
    }
}

/// Alerts on their way to the [`Outbox`]: delivered when they are many, and when this is dropped.
pub struct AlertBatch<'a> {
    outbox: &'a Outbox,
    made: Vec<Alert>,
}

impl AlertBatch<'_> {
    /// Adds one.
    pub fn push(&mut self, alert: Alert) {
        self.made.push(alert);
        if self.made.len() >= BATCH {
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        if !self.made.is_empty() {
            self.outbox.deliver(&mut self.outbox.state.write(), mem::take(&mut self.made));
        }
    }
}

impl Drop for AlertBatch<'_> {
    fn drop(&mut self) {
        self.deliver();
    }
}
