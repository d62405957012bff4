//! The epoch task: every epoch, and on request, it flips, turns what was drained into a [`Snapshot`], checks that
//! it adds up, merges it into [`MonitorState`] and has the alerts made; between flips it turns events into alerts. The
//! only owner of the [`EpochSource`], so that nothing here races.
//!
//! A request is answered by a flip that began after the request came, and one flip answers all that wait, at
//! most one in [`MIN_GAP`]: whoever asks may rely on every packet that left before asking.
//!
//! Here are its loop and the closing of an epoch. How others ask is in `handle`, what it tells people in `tell`.

pub mod findings;
mod handle;
mod report;
pub mod source;

use std::{collections::HashMap, mem, sync::Arc, thread, time::Duration};

use monitor_common::wire::Event;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use self::handle::{EngineHandle, Refusal};
use self::{
    handle::{ReloadAnswer, Request, Waiting},
    report::deliver,
};
use crate::{
    alerts::{Alerter, sinks::Sinks},
    budgets::{has_any, keeper::Keeper},
    engine::{
        findings::OpenFindings,
        source::{EpochSource, Events},
    },
    model::{
        Attachment, FindingKind, Host, Moment, Places, Snapshot,
        budget::Day,
        finding::Detail,
        flow::Resolver,
        identities::{Identities, Interfaces, Name},
        in_force::PolicyInForce,
        now,
        shadow::Shadow,
    },
    reconcile::Reconciler,
    shadow::Comparison,
    store::{MonitorState, SharedState, last_hour::Recent, state::LastEpoch, totals::Kept},
};
use monitor_policy::{geo::STALE_AFTER_DAYS, times};

/// Shortest time between two flips on request.
pub const MIN_GAP: Duration = Duration::from_millis(50);

/// Age from which a geo dataset is stale, in seconds.
pub const STALE_AFTER: i64 = STALE_AFTER_DAYS * 86_400;

/// Requests that can wait.
const REQUESTS: usize = 64;

/// Events taken at once.
const EVENT_BATCH: usize = 1024;

/// How often it looks whether the flow table is filling.
const LOOK: Duration = Duration::from_millis(250);

/// A table with fewer places would be full between two looks.
const LEAST_PLACES: u32 = 16_384;

/// Flows of one epoch in the table that are many enough.
const MOST_FLOWS: usize = 262_144;

/// An epoch with so many flows is merged by two threads.
const MANY: usize = 50_000;

/// Alerts made before they are handed on: those who read facts wait for that, not for the making.
const ALERT_BATCH: usize = 256;

/// The task's state.
pub struct Engine {
    source: Box<dyn EpochSource>,
    facts: SharedState,
    sinks: Sinks,
    alerter: Alerter,
    findings: OpenFindings,
    reconciler: Reconciler,
    budgets: Keeper,
    comparison: Comparison,
    /// Whether a rule of the policy in force has a budget: its day ends at midnight.
    budgeted: bool,
    /// Who flows are under the policies of the latest epochs, each from its first epoch on: for events that are read
    /// late.
    book: Vec<(u32, Resolver)>,
    /// Loaded; in force from the next successful flip.
    staged: Option<PolicyInForce>,
    interfaces: Interfaces,
    /// What was attached at the start.
    attached: Vec<Attachment>,
    /// The last epoch's end.
    clock: Option<Moment>,
    alerts_lost: u64,
    rule_times: times::Told,
    requests: mpsc::Receiver<Request>,
}

impl Engine {
    /// The task over `source`, with what is in force, and the handle to ask it by.
    #[must_use]
    pub fn new(
        source: Box<dyn EpochSource>,
        facts: SharedState,
        sinks: Sinks,
        host: Host,
        in_force: PolicyInForce,
    ) -> (Self, EngineHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let attached = source.attachments();
        let (interfaces, resolver) = {
            let mut facts = facts.write();
            facts.attachments.clone_from(&attached);
            facts.in_force = in_force;
            let started = facts.started;
            facts.note_rules(started);
            facts.sinks = Arc::clone(sinks.stats());
            facts.boot_id.clone_from(&host.boot_id);
            let MonitorState { attachments, traffic, in_force, .. } = &mut *facts;
            let identities = &mut traffic.identities;
            let names: HashMap<u32, Name> =
                attachments.iter().map(|one| (one.ifindex, identities.interface(&one.interface))).collect();
            (Interfaces::new(names, identities.interface("")), Resolver::new(identities, &in_force.policy))
        };
        let budgeted = has_any(&facts.read().in_force.policy);
        let engine = Self {
            source,
            facts,
            sinks,
            alerter: Alerter::new(),
            findings: OpenFindings::default(),
            reconciler: Reconciler::default(),
            budgets: Keeper::in_memory(),
            comparison: Comparison::default(),
            budgeted,
            book: vec![(0, resolver)],
            staged: None,
            interfaces,
            attached,
            clock: None,
            alerts_lost: 0,
            rule_times: times::Told::default(),
            requests,
        };
        (engine, EngineHandle(sender))
    }

    /// With the day's budgets as they were kept. What is in force has them applied.
    #[must_use]
    pub fn keeping(mut self, budgets: Keeper) -> Self {
        self.budgets = budgets;
        self.tell_budgets(&mut self.facts.clone().write());
        self
    }

    /// Runs until `stop`; then detaches and drains what is left, so that the facts end exact.
    ///
    /// # Errors
    /// What could not be detached or drained at the end.
    pub async fn run(mut self, mut events: Events, stop: CancellationToken) -> anyhow::Result<()> {
        let length = self.facts.read().epoch_length;
        let mut tick = interval_at(Instant::now() + length, length);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(EVENT_BATCH);
        let mut waiting = Waiting::default();
        let (mut may_flip, mut look) = (Instant::now(), Instant::now() + LOOK);
        let (mut events_open, mut requests_open) = (true, true);
        loop {
            let midnight = until_midnight();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Each day's budgets with epochs of their own.
                () = sleep(midnight), if self.budgeted => self.close_and_answer(&mut waiting),
                _ = tick.tick() => {
                    self.close_and_answer(&mut waiting);
                    may_flip = Instant::now() + MIN_GAP;
                }
                () = sleep_until(may_flip), if !waiting.is_empty() => {
                    self.close_and_answer(&mut waiting);
                    may_flip = Instant::now() + MIN_GAP;
                }
                () = sleep_until(look) => {
                    let began = Instant::now();
                    if is_filling(self.source.table()) {
                        self.close_and_answer(&mut waiting);
                    }
                    // A flood of flows may cost half of a CPU.
                    look = Instant::now() + began.elapsed().max(LOOK);
                }
                request = self.requests.recv(), if requests_open => match request {
                    Some(request) => self.take(request, &mut waiting),
                    None => requests_open = false,
                },
                taken = events.recv_many(&mut batch, EVENT_BATCH), if events_open => {
                    // The reader has ended: in order, or the supervisor says why. Alerts come with each drain.
                    events_open = taken > 0;
                    self.events(&batch);
                    batch.clear();
                }
            }
        }
        self.finish(&mut events, &mut waiting)
    }

    fn finish(&mut self, events: &mut Events, waiting: &mut Waiting) -> anyhow::Result<()> {
        let detached = tokio::task::block_in_place(|| self.source.detach());
        // That nothing is attached any more is no news.
        self.attached.clear();
        while let Ok(event) = events.try_recv() {
            self.events(&[event]);
        }
        let (closed, swapped) = self.close_one();
        tokio::task::block_in_place(|| self.budgets.save(now()));
        waiting.answer(&closed, &swapped);
        detached?;
        closed.map_err(|why| anyhow::anyhow!("the last epoch could not be drained, the totals lack it: {why}"))
    }

    fn close_and_answer(&mut self, waiting: &mut Waiting) {
        // Requests that came before the flip are answered by it.
        let mut later = Vec::new();
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Close(answer) => waiting.closes.push(answer),
                other => later.push(other),
            }
        }
        let (closed, swapped) = self.close();
        waiting.answer(&closed, &swapped);
        for request in later {
            self.take(request, waiting);
        }
    }

    fn take(&mut self, request: Request, waiting: &mut Waiting) {
        match request {
            Request::Close(answer) => waiting.closes.push(answer),
            Request::Reload(next, answer) => self.stage(*next, answer, waiting),
            Request::Refused(why) => self.reload_refused(why),
            Request::Returned(what) => self.returned(what),
        }
    }

    /// Stages a policy. Its answer waits for the flip that puts it in force.
    fn stage(&mut self, mut next: PolicyInForce, answer: ReloadAnswer, waiting: &mut Waiting) {
        next.policy = self.budgets.hold(&next.policy);
        match tokio::task::block_in_place(|| self.source.stage(&next)) {
            Ok(()) => {
                self.staged = Some(next);
                waiting.reloads.push(answer);
            }
            Err(error) => {
                let why = format!("{error:#}");
                self.reload_refused(why.clone());
                // Whoever asked may be gone.
                let _ = answer.send(Err(Refusal::Refused(why)));
            }
        }
    }

    fn reload_refused(&mut self, why: String) {
        tracing::error!(why, "reload refused, the policy in force stays");
        let facts = self.facts.clone();
        let mut facts = facts.write();
        facts.reload_failures += 1;
        self.tell(&mut facts, FindingKind::ReloadRefused, Some(why.as_str().into()));
        facts.reload_error = Some(why);
    }

    fn returned(&mut self, what: Option<String>) {
        let facts = self.facts.clone();
        let mut facts = facts.write();
        if let Some(what) = &what {
            tracing::warn!(what, "a policy was not confirmed");
            facts.reverts += 1;
        }
        self.tell(&mut facts, FindingKind::PolicyReverted, what.as_deref().map(Detail::from));
    }

    fn events(&mut self, batch: &[(Event, i128)]) {
        let identities = Arc::clone(&self.facts.read().traffic.identities);
        let mut made = Vec::new();
        for (event, read) in batch {
            // The difference, for the day on which the epochs' numbers begin anew.
            let since = |from: &u32| event.epoch.wrapping_sub(*from).cast_signed() >= 0;
            let from = self.book.iter().rev().find(|(from, _)| since(from)).or(self.book.first());
            let Some((_, resolver)) = from else { continue };
            // A daemon that was away reads late.
            let time = self.clock.map_or(*read, |clock| clock.wall_time(event.jiffies).min(*read));
            let interface = self.interfaces.name(event.flow.flow.ifindex);
            made.extend(self.alerter.event(event, (time, *read), interface, resolver, &identities));
        }
        if !made.is_empty() {
            deliver(&self.sinks, &mut self.facts.write(), made);
        }
    }

    /// Closes the epoch, and says what came of a policy that was staged; and closes the next one at once, where a budget
    /// is used up by now or a new day has begun.
    fn close(&mut self) -> (Result<(), String>, Result<(), Refusal>) {
        let answer = self.close_one();
        if answer.0.is_err() {
            return answer;
        }
        let next = {
            let in_force = &self.facts.read().in_force;
            let policy = self.budgets.hold(&in_force.policy);
            let changed = !Arc::ptr_eq(&policy, &in_force.policy);
            changed.then(|| PolicyInForce { policy, ..in_force.clone() })
        };
        let Some(next) = next else { return answer };
        match tokio::task::block_in_place(|| self.source.stage(&next)) {
            Ok(()) => {
                self.staged = Some(next);
                // What goes wrong is told there, and tried again after the next epoch.
                let _ = self.close_one();
            }
            // The same; what passes meanwhile is counted as beyond the budget.
            Err(error) => tracing::error!(why = format!("{error:#}"), "a rule's budget could not be applied"),
        }
        answer
    }

    /// Closes the epoch, and says what came of a policy that was staged.
    fn close_one(&mut self) -> (Result<(), String>, Result<(), Refusal>) {
        let before = self.staged.is_some().then(|| self.facts.read().in_force.clone());
        let closed = self.flip();
        let swapped = match (&closed, before) {
            (Err(why), _) => Err(Refusal::Late(why.clone())),
            (Ok(()), Some(before)) => tokio::task::block_in_place(|| self.check(before)).map_err(Refusal::Refused),
            (Ok(()), None) => Ok(()),
        };
        (closed, swapped)
    }

    /// Has the policy that was just put in force checked where it is in force, and puts `before` back where it fails.
    fn check(&mut self, before: PolicyInForce) -> Result<(), String> {
        let Err(error) = self.source.verify() else {
            let facts = self.facts.clone();
            self.tell(&mut facts.write(), FindingKind::PolicyRolledBack, None);
            return Ok(());
        };
        let (failed, old) = (self.facts.read().in_force.reference(), before.reference());
        let result = self.source.roll_back().map_err(|error| format!("{error:#}"));
        let result = result.and_then(|()| {
            self.staged = Some(before);
            self.flip()
        });
        let told = match result {
            Ok(()) => format!("policy {failed} failed its check in the kernel: {error:#}: {old} is in force again"),
            Err(why) => format!(
                "policy {failed} failed its check in the kernel: {error:#}: {old} could not be put back ({why}): restart"
            ),
        };
        tracing::error!(told, "policy rolled back");
        let facts = self.facts.clone();
        let mut facts = facts.write();
        facts.rollbacks += 1;
        facts.reload_failures += 1;
        self.tell(&mut facts, FindingKind::PolicyRolledBack, Some(told.as_str().into()));
        facts.reload_error = Some(told.clone());
        Err(told)
    }

    fn flip(&mut self) -> Result<(), String> {
        tokio::task::block_in_place(|| match self.source.flip() {
            Ok(snapshot) => {
                self.merge(&snapshot);
                Ok(())
            }
            Err(error) => {
                let why = format!("{error:#}");
                let facts = self.facts.clone();
                let mut facts = facts.write();
                if facts.flip_error.is_none() {
                    tracing::error!(why, "the epoch could not be closed; what it counted comes with a later one");
                }
                facts.flip_failures += 1;
                self.tell(&mut facts, FindingKind::EpochFailed, Some(why.as_str().into()));
                facts.flip_error = Some(why.clone());
                // A staged policy is in force already; it is said to be when the epoch before it is merged.
                Err(why)
            }
        })
    }

    fn merge(&mut self, snapshot: &Snapshot) {
        self.clock = Some(snapshot.end());
        let shared = self.facts.clone();
        let (resolver, identities) = {
            let mut facts = shared.write();
            let traffic = &mut facts.traffic;
            self.interfaces = traffic.names(snapshot);
            let known = self.book.iter().find(|(_, known)| Arc::ptr_eq(known.policy(), &snapshot.policy));
            let resolver = match known {
                Some((_, resolver)) => resolver.clone(),
                None => Resolver::new(&mut traffic.identities, &snapshot.policy),
            };
            (resolver, Arc::clone(&traffic.identities))
        };
        let mut residual = snapshot.residual();
        residual.extend(snapshot.dropped_residual());
        let mut recent = shared.recent_mut();
        let recent_too: &mut Recent = &mut recent;
        let mut merge_recent = || recent_too.merge(snapshot, &self.interfaces, &resolver);
        let (beside, breaches) = thread::scope(|scope| {
            // Beside the others: of a million flows whoever asks would wait for it.
            let many = snapshot.flows.len() >= MANY;
            let beside = many && thread::Builder::new().spawn_scoped(scope, &mut merge_recent).is_ok();
            let mut flows = shared.flows_mut();
            let sums = flows.merge(snapshot, &self.interfaces, &resolver);
            let kept = Kept::of(&flows);
            // Within the other lock: flows and facts change together.
            let mut facts = shared.write();
            facts.traffic.kept = kept;
            facts.last = Some(LastEpoch {
                epoch: snapshot.epoch,
                started: snapshot.started,
                ended: snapshot.ended,
                flows: snapshot.flows.len(),
                fill: snapshot.fill,
            });
            (beside, facts.traffic.merge(snapshot, &self.interfaces, sums, &residual))
        });
        if !beside {
            merge_recent();
        }
        recent.add(&shared.read().traffic.latest);
        drop(recent);
        let suppressed = self.alert(snapshot, &resolver, &identities);
        self.budgets.count(snapshot);
        let shadow = shared.read().in_force.shadow.clone();
        self.comparison.epoch(&shadow, snapshot, &self.interfaces, &resolver);
        let mut facts = shared.write();
        facts.shadow = self.comparison.report().clone();
        facts.attachments = self.source.attachments();
        if facts.flip_error.take().is_some() {
            tracing::warn!(epoch = snapshot.epoch, "epochs are closed again");
        }
        self.tell(&mut facts, FindingKind::EpochFailed, None);
        self.tell_lost_interfaces(&mut facts);
        self.tell_breaches(&mut facts, snapshot, &breaches);
        self.reconcile(&mut facts, snapshot);
        self.tell_losses(&mut facts, snapshot, suppressed);
        if let Some(next) = self.staged.take() {
            self.put_in_force(&mut facts, next, snapshot);
        }
        self.tell_budgets(&mut facts);
        let refused = match &facts.in_force.shadow {
            Shadow::Refused(why) => Some(why.as_str().into()),
            Shadow::None | Shadow::Candidate(_) => None,
        };
        self.tell(&mut facts, FindingKind::ShadowRefused, refused);
        self.tell_stale_data(&mut facts, snapshot.ended);
        self.tell_rule_times(&mut facts, snapshot.ended);
    }

    /// The alerts that the epoch's events have not made. Gives how many flows got none.
    fn alert(&mut self, snapshot: &Snapshot, resolver: &Resolver, identities: &Identities) -> u64 {
        let (facts, sinks) = (&self.facts, &self.sinks);
        let mut made = Vec::new();
        let suppressed = self.alerter.snapshot(snapshot, &self.interfaces, resolver, identities, |alert| {
            made.push(alert);
            if made.len() == ALERT_BATCH {
                deliver(sinks, &mut facts.write(), mem::take(&mut made));
            }
        });
        deliver(sinks, &mut facts.write(), made);
        suppressed
    }

    fn put_in_force(&mut self, facts: &mut MonitorState, mut next: PolicyInForce, closed: &Snapshot) {
        let there = &facts.in_force;
        // The same policy, of which other rules are suspended.
        let by_budget = next.policy.digest == there.policy.digest && next.policy.suspended != there.policy.suspended;
        next.since = if by_budget { there.since } else { closed.ended };
        let suspended = next.policy.suspended.len();
        tracing::info!(policy = next.policy.digest, mode = next.mode.name(), suspended, "policy in force");
        self.budgeted = has_any(&next.policy);
        let resolver = Resolver::new(&mut facts.traffic.identities, &next.policy);
        self.book.push((closed.epoch.wrapping_add(1), resolver));
        let surplus = self.book.len().saturating_sub(4);
        self.book.drain(..surplus);
        facts.in_force = next;
        facts.note_rules(closed.ended);
        if !by_budget {
            facts.reload_error = None;
            self.tell(facts, FindingKind::ReloadRefused, None);
        }
    }
}

/// Whether the epoch is to end before its time: before the flow table is full, and before there is more in it than can be
/// merged while somebody waits.
fn is_filling(table: Places) -> bool {
    table.places >= LEAST_PLACES && table.used >= (table.places as usize / 2).min(MOST_FLOWS)
}

/// Until the UTC day ends, and a moment more: the clocks that sleep and tell the time are not the same.
fn until_midnight() -> Duration {
    let now = now();
    let left = u64::try_from(Day::of(now).end() - now).unwrap_or(0);
    Duration::from_nanos(left) + Duration::from_millis(1)
}

#[cfg(test)]
mod tests;
