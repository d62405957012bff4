//! Alerts on their way to the outbox's thread: whoever has one never waits. Findings have places of their own, so that no
//! flood of flows takes them; and where there is little room on disk they go alone.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::model::{Alert, delivery::Delivery};

/// Alerts on flows that can wait: several epochs' worth, a quarter of a kilobyte each.
pub const QUEUE: usize = 65_536;

/// Findings that can wait besides.
const FINDINGS: usize = 1_024;

#[derive(Debug, Default)]
struct Waiting {
    /// Each with its number in the order of arrival.
    findings: VecDeque<(u64, Arc<Alert>)>,
    /// Flows, and heartbeats.
    flows: VecDeque<(u64, Arc<Alert>)>,
    arrived: u64,
    closed: bool,
}

impl Waiting {
    fn len(&self) -> usize {
        self.findings.len() + self.flows.len()
    }

    /// The one that came first.
    fn pop(&mut self, flows: bool) -> Option<Arc<Alert>> {
        let first = |lane: &VecDeque<(u64, _)>| lane.front().map_or(u64::MAX, |(arrived, _)| *arrived);
        let flow = flows && first(&self.flows) < first(&self.findings);
        let lane = if flow { &mut self.flows } else { &mut self.findings };
        lane.pop_front().map(|(_, alert)| alert)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    capacity: usize,
    delivery: Arc<Delivery>,
}

impl Queue {
    pub fn new(capacity: usize, delivery: Arc<Delivery>) -> Self {
        Self { waiting: Mutex::default(), filled: Condvar::new(), capacity, delivery }
    }

    pub const fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    /// Adds an alert; one that finds no room is counted.
    pub fn push(&self, alert: &Arc<Alert>) {
        let mut waiting = self.waiting();
        waiting.arrived += 1;
        let arrived = waiting.arrived;
        let (lane, room) = match **alert {
            // What is left of a full disk is not for heartbeats.
            Alert::Finding(ref finding) if !finding.kind.is_heartbeat() => (&mut waiting.findings, FINDINGS),
            Alert::Finding(_) | Alert::Incident(_) => (&mut waiting.flows, self.capacity),
        };
        if lane.len() >= room {
            self.delivery.lost.fetch_add(1, Relaxed);
            return;
        }
        lane.push_back((arrived, Arc::clone(alert)));
        self.delivery.queued.fetch_add(1, Relaxed);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Nobody adds any more.
    pub fn close(&self) {
        self.waiting().closed = true;
        self.filled.notify_all();
    }

    pub fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    /// Waits for alerts: until there are `enough`, `window` has passed since there are some, or nobody adds any more. At
    /// most `most` of them, in the order in which they came; `flows`: not only findings. `None`: nobody adds any more and none is left.
    pub fn take(&self, (enough, most): (usize, usize), window: Duration, flows: bool) -> Option<Vec<Arc<Alert>>> {
        let mut waiting = self.waiting();
        let there = |waiting: &Waiting| if flows { waiting.len() } else { waiting.findings.len() };
        while there(&waiting) == 0 && !waiting.closed {
            if !flows {
                // Whoever does not take all has something else to try meanwhile.
                waiting = self.filled.wait_timeout(waiting, window).unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + window;
        while there(&waiting) < enough && there(&waiting) > 0 && !waiting.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.filled.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let closed = waiting.closed;
        let taken: Vec<_> = std::iter::from_fn(|| waiting.pop(flows || closed)).take(most).collect();
        (!taken.is_empty() || !closed).then_some(taken)
    }

    /// Waits so long, or until nobody adds any more.
    pub fn pause(&self, time: Duration) {
        let waiting = self.waiting();
        drop(self.filled.wait_timeout_while(waiting, time, |waiting| !waiting.closed));
    }

    /// What is left, given up.
    pub fn give_up(&self) -> usize {
        let mut waiting = self.waiting();
        let left = waiting.len();
        waiting.findings.clear();
        waiting.flows.clear();
        left
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
