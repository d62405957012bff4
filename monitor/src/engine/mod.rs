//! The engine: every epoch, and on request, it flips, resolves what was drained into a [`ClosedEpoch`], merges it
//! into the store and hands it to the [`pipeline`] of consumers; between flips it hands events to them. The only owner
//! of the [`EpochSource`], so that nothing here races.
//!
//! A request is answered by a flip that began after the request came, and one flip answers all that wait, at
//! most one in [`MIN_GAP`]: whoever asks may rely on every packet that left before asking.
//!
//! Here are its loop and the closing of an epoch. How others ask is in `handle`, how another policy comes in force in
//! `switch`, how devices that come and go are followed in `cover`, how what is in the kernel is looked after in `watch`, what becomes of an epoch in `merge` and [`pipeline`], and
//! of names that nothing has any more in `names`.

mod cover;
pub mod delivery;
pub mod findings;
mod handle;
pub mod heartbeat;
mod merge;
mod names;
pub mod outbox;
pub mod pipeline;
pub mod reports;
pub mod source;
mod switch;
pub mod verdicts;
mod watch;

use std::{
    collections::{BTreeSet, HashMap},
    future,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use self::handle::{EngineHandle, EpochError, Refusal};
use self::{
    handle::{Occasion, Request, Waiting},
    outbox::{AlertQueue, Outbox},
    pipeline::{Consumer, Pipeline, ReadEvent},
    source::{EpochSource, Events, News, Report},
    switch::Refused,
};
use crate::{
    model::{
        ClosedEpoch, Fill, FindingKind, Moment, Occupancy, Snapshot,
        flow::Resolver,
        identities::{Interfaces, Name},
        in_force::{PolicyInForce, Trial},
        now,
    },
    store::{MonitorState, SharedState},
};

/// Shortest time between two flips on request.
pub const MIN_GAP: Duration = Duration::from_millis(50);

/// Requests that can wait.
const REQUESTS: usize = 64;

/// Events taken at once.
const EVENT_BATCH: usize = 1024;

/// How often it looks whether the open half is filling.
const LOOK: Duration = Duration::from_millis(250);

/// A table with fewer places would be full between two looks.
const LEAST_CAPACITY: u32 = 16_384;

/// Flows of one epoch in the table that are many enough.
const MOST_FLOWS: usize = 262_144;

/// The task's state.
pub struct Engine {
    source: Box<dyn EpochSource>,
    state: SharedState,
    pipeline: Pipeline,
    /// Who flows are under the policies of the latest epochs, each from its first epoch on: for events that are read
    /// late.
    book: Vec<(u32, Resolver)>,
    /// Loaded; in force from the next successful flip.
    staged: Option<(PolicyInForce, Occasion)>,
    /// What the kernel part puts in force by itself, if nobody confirms in time what is.
    guarded: Option<Trial>,
    /// What was in force until the kernel part, left alone, began to observe.
    alone: Option<PolicyInForce>,
    /// Why files, and what was to be in force again, were refused last.
    refused: Refused,
    /// What held before a policy that came in force and was not checked there yet.
    unchecked: Option<(PolicyInForce, Occasion)>,
    /// The last flip failed: an epoch is closed and not drained.
    behind: bool,
    interfaces: Interfaces,
    /// The last epoch's end.
    clock: Option<Moment>,
    requests: mpsc::Receiver<Request>,
    /// Epochs of an earlier daemon.
    inherited: Vec<Snapshot>,
    /// When it is worth its cost to look at all devices again.
    rested: Instant,
    /// Everything is detached, or is to be.
    stopping: bool,
}

impl Engine {
    /// The task over `source`, with what is in force and who makes something of closed epochs, and the handle to ask it
    /// by.
    pub fn new(
        mut source: Box<dyn EpochSource>,
        state: SharedState,
        alerts: Box<dyn AlertQueue>,
        consumers: Vec<Box<dyn Consumer>>,
        in_force: PolicyInForce,
    ) -> (Self, EngineHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let delivery = Arc::clone(alerts.delivery());
        let mut pipeline = Pipeline::new(consumers, Outbox::new(alerts, state.clone()));
        let (interfaces, resolver) = {
            let mut state = state.write();
            state.attachments = source.attachments();
            state.coverage = source.coverage();
            state.kernel_memory = source.kernel_memory();
            let started = state.started;
            state.put_in_force(in_force, started);
            state.delivery = delivery;
            let MonitorState { attachments, traffic, in_force, .. } = &mut *state;
            let identities = &mut traffic.identities;
            let names: HashMap<u32, Name> =
                attachments.iter().map(|one| (one.ifindex, identities.interface(&one.interface))).collect();
            let names = Interfaces::new(names, identities.interface(""));
            let resolver = Resolver::new(identities, &in_force.policy);
            pipeline.begin(&mut state);
            (names, resolver)
        };
        let book = vec![(0, resolver)];
        let engine = Self {
            source,
            state,
            pipeline,
            book,
            staged: None,
            guarded: None,
            alone: None,
            refused: Refused::default(),
            unchecked: None,
            behind: false,
            interfaces,
            clock: None,
            requests,
            inherited: Vec::new(),
            rested: Instant::now(),
            stopping: false,
        };
        (engine, EngineHandle(sender))
    }

    /// Takes epochs that an earlier daemon has not closed, the oldest first: they come before all others.
    pub fn inherit(&mut self, epochs: Vec<Snapshot>) {
        self.inherited = epochs;
    }

    /// Runs until `stop`; then detaches and drains what is left, so that the state ends exact.
    ///
    /// # Errors
    /// What could not be detached or drained at the end.
    pub async fn run(mut self, mut events: Events, stop: CancellationToken) -> anyhow::Result<()> {
        let length = self.state.read().epoch_length;
        let mut tick = interval_at(Instant::now() + length, length);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let inherited = std::mem::take(&mut self.inherited);
        tokio::task::block_in_place(|| inherited.iter().for_each(|epoch| self.close_epoch(epoch)));
        let mut batch = Vec::with_capacity(EVENT_BATCH);
        let mut waiting = Waiting::default();
        let (mut may_flip, mut may_retry, mut look) = (Instant::now(), Instant::now(), Instant::now() + LOOK);
        // A flood of flows may cost half of a CPU.
        let mut rested = Instant::now();
        let (mut events_open, mut requests_open) = (true, true);
        let mut look_after = Instant::now() + watch::EVERY;
        let (mut news, mut gone, mut cover) = (self.source.news(), BTreeSet::new(), None);
        loop {
            // Fixed by when the epoch began: whatever wakes the loop at the deadline does not move it.
            let deadline = self.pipeline.deadline(self.source.began());
            let left = deadline.map(|deadline| u64::try_from(deadline - now()).unwrap_or(0));
            let at_deadline = (Instant::now() + Duration::from_nanos(left.unwrap_or(0))).max(may_retry);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(at_deadline), if left.is_some() => {
                    // The clock that sleeps and the wall clock are not the same.
                    if deadline.is_some_and(|deadline| deadline <= now()) {
                        self.close_and_answer(&mut waiting);
                        // Where it could not be closed.
                        may_retry = Instant::now() + MIN_GAP;
                    }
                }
                _ = tick.tick() => {
                    // News that were lost, and what was refused: tried again.
                    self.cover(&std::mem::take(&mut gone), &mut waiting);
                    cover = None;
                    self.close_and_answer(&mut waiting);
                    may_flip = Instant::now() + MIN_GAP;
                }
                () = sleep_until(may_flip), if !waiting.is_empty() => {
                    self.close_and_answer(&mut waiting);
                    may_flip = Instant::now() + MIN_GAP;
                }
                () = sleep_until(look) => {
                    let began = Instant::now();
                    if is_filling(self.source.fill()) {
                        self.close_and_answer(&mut waiting);
                    }
                    rested = Instant::now() + began.elapsed();
                    look = rested.max(Instant::now() + LOOK);
                }
                () = sleep_until(look_after), if cover.is_none() => {
                    // What has gone with its device is no tampering: news first.
                    match news.as_mut().and_then(|news| news.try_recv().ok()) {
                        Some(went) => {
                            gone.extend(went);
                            cover = Some(Instant::now());
                        }
                        None => look_after = self.look_after(&mut waiting),
                    }
                }
                went = next(&mut news) => {
                    gone.extend(went);
                    cover.get_or_insert_with(|| self.rested.max(Instant::now()));
                }
                () = sleep_until(cover.unwrap_or_else(Instant::now)), if cover.is_some() => {
                    self.cover(&std::mem::take(&mut gone), &mut waiting);
                    cover = None;
                }
                request = self.requests.recv(), if requests_open => match request {
                    Some(request) => self.take(request, &mut waiting),
                    None => requests_open = false,
                },
                taken = events.recv_many(&mut batch, EVENT_BATCH), if events_open => {
                    // The reader has ended: in order, or the supervisor says why. Alerts come with each drain.
                    events_open = taken > 0;
                    if batch.iter().any(|report| matches!(report, Report::Filling)) {
                        look = rested;
                    }
                    self.events(&batch);
                    batch.clear();
                }
            }
        }
        self.finish(&mut events, &mut waiting)
    }

    fn finish(&mut self, events: &mut Events, waiting: &mut Waiting) -> anyhow::Result<()> {
        self.stopping = true;
        let detached = tokio::task::block_in_place(|| self.source.detach());
        self.pipeline.stopping();
        while let Ok(event) = events.try_recv() {
            self.events(&[event]);
        }
        let (closed, swapped) = self.close_one();
        let state = self.state.clone();
        tokio::task::block_in_place(|| self.pipeline.stopped(now(), &mut state.write()));
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
            Request::Reload(next, on, trial, answer) => {
                self.stage((*next, on), trial.map(|trial| *trial), answer, waiting);
            }
            Request::Guard(trial) => tokio::task::block_in_place(|| self.guard(trial.map(|trial| *trial))),
            Request::Refused(kind, why) => {
                self.refused.held = kind == FindingKind::FileHeld;
                self.reload_refused(why, Occasion::Read);
            }
            Request::Told(kind, what) => {
                let state = self.state.clone();
                self.pipeline.report(&mut state.write(), kind, what.as_deref());
            }
            Request::Noticed(kind, detail, done) => {
                let state = self.state.clone();
                self.pipeline.notice(&mut state.write(), kind, detail);
                // Whoever asked may be gone.
                let _ = done.send(());
            }
            Request::Reverted(what) => self.reverted(what),
        }
    }

    fn reverted(&mut self, what: Option<String>) {
        let state = self.state.clone();
        let mut state = state.write();
        if let Some(what) = &what {
            tracing::warn!(what, "a policy was not confirmed");
            state.reverts += 1;
        }
        self.pipeline.report(&mut state, FindingKind::PolicyReverted, what.as_deref());
    }

    fn events(&mut self, batch: &[Report]) {
        let identities = Arc::clone(&self.state.read().traffic.identities);
        let Self { book, clock, interfaces, .. } = self;
        let read = batch.iter().filter_map(|report| {
            let Report::Event(event, read) = report else { return None };
            // The difference, for the day on which the epochs' numbers begin anew.
            let since = |from: &u32| event.epoch().wrapping_sub(*from).cast_signed() >= 0;
            let (_, resolver) = book.iter().rev().find(|(from, _)| since(from)).or(book.first())?;
            // A daemon that was away reads late.
            let time = clock.map_or(*read, |clock| clock.wall_time(event.jiffies()).min(*read));
            let interface = interfaces.name(event.ifindex());
            Some(ReadEvent { event, time, read: *read, interface, resolver })
        });
        self.pipeline.events(&read.collect::<Vec<_>>(), &identities);
    }

    /// Closes the epoch that is open, after one that an earlier call closed and could not drain, or that the kernel part
    /// has ended by itself.
    fn flip(&mut self) -> Result<(), EpochError> {
        let mut behind = self.behind;
        while self.flip_once()? || behind {
            behind = false;
        }
        Ok(())
    }

    /// Whether another epoch is open that has not ended by this.
    fn flip_once(&mut self) -> Result<bool, EpochError> {
        tokio::task::block_in_place(|| match self.source.flip() {
            Ok(snapshot) => {
                self.behind = false;
                let fell = self.source.fell();
                if let Some(fell) = fell {
                    self.fell(fell);
                }
                self.make_room_for_interfaces(&snapshot);
                self.close_epoch(&snapshot);
                Ok(fell.is_some())
            }
            Err(error) => {
                self.behind = true;
                let why = format!("{error:#}");
                let state = self.state.clone();
                let mut state = state.write();
                if state.flip_error.is_none() {
                    tracing::error!(why, "the epoch could not be closed; what it counted comes with a later one");
                }
                state.flip_failures += 1;
                self.pipeline.report(&mut state, FindingKind::EpochFailed, Some(&why));
                state.flip_error = Some(why.clone());
                // A staged policy is in force already; it is said to be when the epoch before it is merged.
                Err(EpochError::NotDrained(why))
            }
        })
    }

    fn close_epoch(&mut self, snapshot: &Snapshot) {
        self.clock = Some(snapshot.end());
        let shared = self.state.clone();
        let (interfaces, resolver, identities, in_force) = {
            let mut state = shared.write();
            let traffic = &mut state.traffic;
            let interfaces = traffic.names(snapshot);
            let known = self.book.iter().find(|(_, known)| Arc::ptr_eq(known.policy(), &snapshot.policy));
            let resolver = match known {
                Some((_, resolver)) => resolver.clone(),
                None => Resolver::new(&mut traffic.identities, &snapshot.policy),
            };
            (interfaces, resolver, Arc::clone(&traffic.identities), state.in_force.clone())
        };
        let epoch = ClosedEpoch::new(snapshot, &interfaces, &resolver, &identities);
        merge::merge(&shared, &epoch);
        self.pipeline.epoch(&epoch, &in_force);
        let mut state = shared.write();
        state.attachments = self.source.attachments();
        if !self.stopping && Instant::now() >= self.rested {
            state.coverage = self.coverage();
        }
        if state.flip_error.take().is_some() {
            tracing::warn!(epoch = snapshot.epoch, "epochs are closed again");
        }
        self.pipeline.report(&mut state, FindingKind::EpochFailed, None);
        self.pipeline.publish(&epoch, &mut state);
        if let Some(next) = self.staged.take() {
            self.put_in_force(&mut state, next, snapshot);
        }
        self.pipeline.review(&epoch, &mut state);
        drop(state);
        self.interfaces = interfaces;
    }
}

/// The next news; without any, never.
async fn next(news: &mut Option<News>) -> BTreeSet<u32> {
    match news {
        Some(receiver) => match receiver.recv().await {
            Some(gone) => gone,
            // Its task has ended: in order, or the supervisor says why.
            None => future::pending().await,
        },
        None => future::pending().await,
    }
}

/// Whether the epoch is to end before its time: before the flow table or the log is full, before there is more in the table
/// than can be merged while somebody waits, and where the next one has more room in the cache.
fn is_filling(fill: Fill) -> bool {
    let Fill { log, table, crowded, .. } = fill;
    let half = |of: Occupancy| of.capacity as usize / 2;
    crowded
        || (log.capacity > 0 && log.used >= half(log))
        || (table.capacity >= LEAST_CAPACITY && table.used >= half(table).min(MOST_FLOWS))
}

#[cfg(test)]
mod tests;
