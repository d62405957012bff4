//! Everything that metrics, API and the closing table are rendered from, under one lock, so that what one
//! reader sees adds up. Written by the engine and, for what is yet to be confirmed, by the reloader.
//!
//! The flows, of which there can be a million, have a lock of their own, which is taken first: whoever holds it sees
//! flows and state of the same epoch, and whoever wants the state alone does not wait for those who go through the
//! flows.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use monitor_common::bypass::Bypass;

use crate::{
    model::{
        Alert, Attachment, Attributions, BudgetUses, Coverage, Fill, FindingKind, Host, InterfaceAccount, Neighbours,
        OpenSockets, ShadowReport,
        changes::ChangeRecord,
        clock::ClockStanding,
        coverage::Covered,
        delivery::Delivery,
        flow::SummedFlows,
        identities::Identities,
        in_force::{PendingConfirmation, PolicyInForce},
        incident::{Incident, IncidentId},
        readings::Presence,
        refresh::RefreshNotes,
        tamper::TamperReport,
    },
    store::{
        Traffic,
        flows::FlowStore,
        last_hour::Recent,
        totals::{Kept, Totals},
    },
};

/// Latest alerts kept for the API.
pub const LATEST_ALERTS: usize = 1_000;

/// The epoch closed last; its sums are in [`Traffic::latest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastEpoch {
    /// Its number.
    pub epoch: u32,
    /// When it began, UTC nanoseconds since 1970.
    pub started: i128,
    /// When it was closed.
    pub ended: i128,
    /// Flows that it had.
    pub flows: usize,
    /// How full the kernel's half was.
    pub fill: Fill,
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub struct MonitorState {
    /// The host. Its boot distinguishes, with `started`, counters that began anew from ones that went back.
    pub host: Host,
    /// Since when the daemon runs, UTC nanoseconds since 1970.
    pub started: i128,
    /// Intended length of an epoch.
    pub epoch_length: Duration,
    /// All traffic.
    pub traffic: Traffic,
    /// What was attached.
    pub attachments: Vec<Attachment>,
    /// All devices: what is watched, and what is not.
    pub coverage: Coverage,
    /// Since when the totals count, UTC nanoseconds since 1970: before `started`, where they were taken over.
    pub since: i128,
    /// Bytes that the kernel part's maps take.
    pub kernel_memory: u64,
    /// Sockets refused that would send past the hook, by [`monitor_common::bypass::Bypass`], since the start.
    pub bypass_refused: [u64; Bypass::ALL.len()],
    /// Sockets that are open from before it was enforced, and send past the hook, or may.
    pub bypass_open: OpenSockets,
    /// What the devices sent beside what passed the hooks.
    pub accounts: Vec<InterfaceAccount>,
    /// The policy in force.
    pub in_force: PolicyInForce,
    /// Since when each of its rules is, by id, UTC nanoseconds since 1970.
    pub rules_since: BTreeMap<String, i128>,
    /// Its budgets.
    pub budgets: BudgetUses,
    /// What the shadow policy would have made of the traffic.
    pub shadow: ShadowReport,
    /// Whether it is yet to be confirmed.
    pub unconfirmed: Option<PendingConfirmation>,
    /// `None` until the first epoch is closed.
    pub last: Option<LastEpoch>,
    /// When that was, by the clock that nobody sets.
    pub closed: Option<Instant>,
    /// Epochs that could not be closed.
    pub flip_failures: u64,
    /// Why, while it lasts.
    pub flip_error: Option<String>,
    /// Why HTTP is not served, while it is not.
    pub http_error: Option<String>,
    /// Why there is no control socket, while there is none.
    pub control_error: Option<String>,
    /// What there is of others.
    pub neighbours: Neighbours,
    /// Reloads that were refused.
    pub reload_failures: u64,
    /// Policies that failed their check in the kernel and were taken back.
    pub rollbacks: u64,
    /// Policies that nobody confirmed in time.
    pub reverts: u64,
    /// Why the last reload was refused; `None` after a good one.
    pub reload_error: Option<String>,
    /// Why a restart will not know which policy holds, while it will not.
    pub state_error: Option<String>,
    /// What somebody changed of what the kernel part has.
    pub tamper: TamperReport,
    /// What became of fresh geo data.
    pub refresh: RefreshNotes,
    /// Incidents that are open.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// Alerts made, by severity and type.
    pub alerts: BTreeMap<(&'static str, &'static str), u64>,
    /// The latest alerts, oldest first.
    pub latest_alerts: VecDeque<Arc<Alert>>,
    /// What changed of policy and mode, and who did it.
    pub changes: ChangeRecord,
    /// How the clocks stand that rules and budgets go by.
    pub clock: ClockStanding,
    /// The findings that are open, and since when.
    pub findings: Vec<(FindingKind, i128)>,
    /// What becomes of alerts.
    pub delivery: Arc<Delivery>,
    /// Who incidents come from, as it is found out.
    pub attributions: Arc<Attributions>,
}

impl MonitorState {
    /// Another policy is in force: rules that it does not have are forgotten, others are known since `now`.
    pub(crate) fn put_in_force(&mut self, next: PolicyInForce, now: i128) {
        self.host.zone.set(&next.policy.zone);
        self.in_force = next;
        let before = std::mem::take(&mut self.rules_since);
        let since = |id: &String| before.get(id).copied().unwrap_or(now);
        self.rules_since = self.in_force.policy.rules.iter().map(|rule| (rule.id.clone(), since(&rule.id))).collect();
    }

    /// What an interface sent; `None` before the first epoch is closed.
    pub fn account(&self, interface: &str) -> Option<&InterfaceAccount> {
        self.accounts.iter().find(|account| account.interface == interface)
    }

    /// Whether somebody took the program off an interface that is still there.
    fn is_detached(&self, interface: &str) -> bool {
        self.account(interface).is_some_and(|account| account.here && account.presence == Presence::Detached)
    }

    /// Whether an interface is there and counted, as far as is known.
    pub fn is_counted(&self, interface: &str) -> bool {
        self.account(interface).is_none_or(|account| account.here && account.presence != Presence::Detached)
    }

    /// Why the monitor is not to be relied on now; `None` when it is. For `/readyz`.
    pub fn not_ready(&self, now: Instant) -> Option<String> {
        if self.attachments.is_empty() {
            return Some("nothing is attached: no traffic is counted".into());
        }
        let leaking: Vec<String> = self.coverage.leaking().map(Covered::leak).collect();
        if !leaking.is_empty() {
            return Some(leaking.join("; "));
        }
        let off: Vec<&str> =
            self.attachments.iter().map(|one| one.interface.as_str()).filter(|name| self.is_detached(name)).collect();
        if !off.is_empty() {
            return Some(format!("somebody took the program off {}: restart to attach it again", off.join(", ")));
        }
        if let Some(error) = &self.flip_error {
            return Some(format!("the last epoch could not be closed: {error}"));
        }
        let Some(closed) = self.closed else { return Some("the first epoch is not closed yet".into()) };
        let late = now.saturating_duration_since(closed);
        let limit = self.epoch_length.saturating_mul(3).max(Duration::from_secs(5));
        (late > limit).then(|| format!("the last epoch was closed {} s ago", late.as_secs()))
    }
}

#[derive(Debug, Default)]
struct Shared {
    flows: RwLock<FlowStore>,
    recent: RwLock<Recent>,
    state: RwLock<MonitorState>,
}

/// [`MonitorState`] and flows behind their locks.
#[derive(Clone, Debug, Default)]
pub struct SharedState(Arc<Shared>);

impl SharedState {
    /// Puts them behind a lock, beside an empty store.
    pub fn new(state: MonitorState) -> Self {
        Self(Arc::new(Shared { state: RwLock::new(state), ..Shared::default() }))
    }

    /// Goes on from the totals of an earlier daemon, of whose flows nothing but the sums is known.
    pub fn go_on(&self, identities: Arc<Identities>, totals: Totals) {
        let mut flows = self.flows_mut();
        for (of, sums) in &totals.flows {
            flows.absorb_sums(*of, &SummedFlows { flows: sums.flows, counters: sums.sums.counters });
        }
        let kept = Kept::of(&flows);
        self.write().traffic = Traffic { identities, totals, latest: Totals::default(), kept };
    }

    /// To read. A writer that panicked has stopped the daemon (its task ended), so what is left is only shown.
    pub fn read(&self) -> RwLockReadGuard<'_, MonitorState> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To write, for a moment.
    pub fn write(&self) -> RwLockWriteGuard<'_, MonitorState> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// To read flows. Never to be asked for by whoever holds the state.
    pub fn flows(&self) -> RwLockReadGuard<'_, FlowStore> {
        self.0.flows.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To read the traffic of the last hour, with the same rule.
    pub fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.0.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To write it.
    pub fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.0.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// To write flows, with the same rule.
    pub fn flows_mut(&self) -> RwLockWriteGuard<'_, FlowStore> {
        self.0.flows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_late_by_the_time_that_passes_and_not_by_what_the_wall_clock_says() {
        let eth0 = Attachment { interface: "eth0".into(), ifindex: 7, hook: "tcx".into(), since: 0 };
        let mut state = MonitorState {
            attachments: vec![eth0],
            epoch_length: Duration::from_secs(10),
            // The clock was set forward since, by a year.
            last: Some(LastEpoch { ended: crate::model::now() - 31_536_000_000_000_000, ..LastEpoch::default() }),
            ..MonitorState::default()
        };
        let now = Instant::now();
        assert_eq!(state.not_ready(now).as_deref(), Some("the first epoch is not closed yet"));
        state.closed = Some(now);
        let after = |seconds| state.not_ready(now + Duration::from_secs(seconds));
        assert_eq!([0, 30].map(after), [None, None]);
        assert_eq!(after(31).as_deref(), Some("the last epoch was closed 31 s ago"));
    }
}
