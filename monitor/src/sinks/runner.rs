//! A sink's thread: lines from the outbox in, in order; each is acknowledged when the sink has taken it, and tried again
//! for ever where it has not. Nobody waits for it.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::Path,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{Failure, LINES, Line, Sink, backoff, rejected};
use crate::{
    model::{
        FindingKind,
        delivery::{Delivery, SinkState},
        now,
    },
    storage::segments::{Batch, Reader},
};

/// Bytes that are read at once.
const BYTES: usize = 256 << 10;

/// How often a pause looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There may be more to do at once.
    On,
    /// Nothing is there to be delivered.
    Idle,
    /// It failed, and is left alone until then.
    Paused(Instant),
    /// Nothing is there, and nothing comes.
    Ended,
}

/// A sink with what it reads.
pub(super) struct Runner<'a> {
    reader: Reader,
    sink: Box<dyn Sink>,
    state: &'a SinkState,
    delivery: &'a Delivery,
    /// Where lines are put that are refused for good.
    aside: Option<&'a Path>,
    /// What is missing below this sequence was told: a batch is read again until it is taken.
    told: u64,
    /// One after the other, up to now, without anything taken in between.
    failures: u32,
    /// Whether it was logged that it fails.
    failing: bool,
    /// As often it was told to open anew what it writes to.
    reopened: u64,
    /// When it repeated what still holds.
    repeated: Option<Instant>,
    chance: RandomState,
}

impl<'a> Runner<'a> {
    pub fn new(
        reader: Reader,
        sink: Box<dyn Sink>,
        state: &'a SinkState,
        delivery: &'a Delivery,
        aside: Option<&'a Path>,
    ) -> Self {
        let chance = RandomState::new();
        Self {
            reader,
            sink,
            state,
            delivery,
            aside,
            told: 0,
            failures: 0,
            failing: false,
            reopened: 0,
            repeated: None,
            chance,
        }
    }

    /// Until the outbox has ended and everything is taken, or cannot be.
    pub fn run(mut self) {
        loop {
            match self.step(Instant::now()) {
                Step::On => {}
                Step::Idle => self.reader.wait(Duration::from_secs(1)),
                Step::Paused(until) if self.pause(until) => {}
                Step::Paused(_) | Step::Ended => return,
            }
        }
    }

    /// Waits, or until it is to open anew what it writes to. `false`: it is to end.
    fn pause(&self, until: Instant) -> bool {
        while Instant::now() < until && self.reopened == self.delivery.reopen.load(Relaxed) {
            if self.reader.is_closed() {
                return false;
            }
            std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        true
    }

    /// Does what there is to do, once, at this time.
    pub fn step(&mut self, now: Instant) -> Step {
        let repeated = *self.repeated.get_or_insert(now);
        if self.sink.again().is_some_and(|again| now.duration_since(repeated) >= again) {
            self.repeated = Some(now);
            self.sink.repeat();
        }
        let wanted = self.delivery.reopen.load(Relaxed);
        if wanted != self.reopened {
            self.reopened = wanted;
            self.sink.reopen();
        }
        let failed = match self.reader.read(LINES, BYTES) {
            Ok(batch) if batch.is_empty() => {
                return if self.reader.is_closed() { Step::Ended } else { Step::Idle };
            }
            Ok(batch) => self.deliver(&batch).err(),
            Err(error) => Some(Failure::later(0, format!("the outbox can't be read: {error}"))),
        };
        let Some(failure) = failed else {
            if std::mem::take(&mut self.failing) {
                tracing::warn!(sink = self.state.name, "alerts are taken again");
            }
            self.failures = 0;
            return Step::On;
        };
        Step::Paused(now + self.failed(failure))
    }

    /// Notes a failure. For how long the sink is left alone.
    fn failed(&mut self, Failure { taken, why, after, .. }: Failure) -> Duration {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(sink = self.state.name, why, "alerts are not taken; they are kept, and tried again");
        }
        // Who takes some is there.
        self.failures = if taken > 0 { 1 } else { self.failures.saturating_add(1) };
        self.state.retried.fetch_add(1, Relaxed);
        self.state.set_answer(why);
        let mut hasher = self.chance.build_hasher();
        hasher.write_u64(self.state.retried.load(Relaxed));
        let asked = Duration::from_secs(after.unwrap_or(0)).min(backoff::LONGEST);
        backoff::pause(self.failures, self.sink.about().patience, hasher.finish()).max(asked)
    }

    /// Hands a batch over, and keeps how much of it was taken or refused for good.
    fn deliver(&mut self, batch: &Batch) -> Result<(), Failure> {
        self.tell_missing(batch);
        let lines: Vec<Line<'_>> = batch.lines().collect();
        let delivered = if lines.is_empty() { Ok(String::new()) } else { self.sink.deliver(&lines) };
        let (taken, failed) = match delivered {
            Ok(answer) => {
                if !answer.is_empty() {
                    self.state.set_answer(answer);
                }
                (lines.len(), None)
            }
            Err(failure) => (failure.taken, Some(failure)),
        };
        let refused = failed.as_ref().filter(|failure| failure.for_good);
        if let (Some(failure), Some((stamp, line))) = (refused, lines.get(taken)) {
            self.refuse(stamp.sequence, line, &failure.why);
        }
        let done = taken + usize::from(refused.is_some());
        if done > 0 || lines.is_empty() {
            let acknowledged = self.reader.acknowledge(batch, if failed.is_none() { usize::MAX } else { done });
            if let Err(error) = acknowledged {
                // A restart sends again what was taken since.
                tracing::debug!(sink = self.state.name, %error, "how far it is could not be kept");
            }
            self.state.next.store(self.reader.next(), Relaxed);
        }
        // Behind that: what is counted as delivered waits no more.
        if taken > 0 {
            self.state.delivered.fetch_add(taken as u64, Relaxed);
            self.state.last_success.store((now() / 1_000_000) as i64, Relaxed);
        }
        failed.filter(|failure| !failure.for_good).map_or(Ok(()), Err)
    }

    /// Tells once which alerts the sink will never get.
    fn tell_missing(&mut self, batch: &Batch) {
        for missing in batch.missing() {
            let (first, last) = (self.told.max(*missing.start()), *missing.end());
            if first > last {
                continue;
            }
            self.told = last + 1;
            self.delivery.gone.fetch_add(last - first + 1, Relaxed);
            let text = format!("{}: alerts {first} to {last} are damaged or were removed", self.state.name);
            tracing::error!(sink = self.state.name, first, last, "alerts are damaged or were removed");
            self.delivery.notice(FindingKind::AlertsGone, text);
        }
    }

    /// A line that will never be taken.
    fn refuse(&self, sequence: u64, line: &[u8], why: &str) {
        let kept = match self.aside.map(|file| rejected::keep(file, line)) {
            Some(Ok(())) => String::new(),
            Some(Err(error)) => format!("; it could not be put aside: {error}"),
            None => "; it is not put aside".to_owned(),
        };
        tracing::error!(sink = self.state.name, sequence, why, "the receiver refuses an alert for good");
        self.state.refused(format!("alert {sequence}: {why}{kept}"), (now() / 1_000_000) as i64);
        self.state.set_answer(why.to_owned());
    }
}
