//! A sink's thread: lines from the outbox in, in order; each is acknowledged when the sink has taken it, and tried again
//! for ever where it has not. Nobody waits for it.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::Path,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{Failure, Line, Sink, backoff, rejected};
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

/// Until the outbox has ended and everything is taken, or cannot be.
pub(super) fn run(
    mut reader: Reader,
    mut sink: Box<dyn Sink>,
    state: &SinkState,
    delivery: &Delivery,
    aside: Option<&Path>,
) {
    let (mut failures, mut reopened) = (0_u32, 0);
    let chance = RandomState::new();
    let mut repeated = Instant::now();
    loop {
        if sink.again().is_some_and(|again| repeated.elapsed() >= again) {
            repeated = Instant::now();
            sink.repeat();
        }
        let wanted = delivery.reopen.load(Relaxed);
        if wanted != reopened {
            reopened = wanted;
            sink.reopen();
        }
        let failed = match reader.read(sink.most(), BYTES) {
            Ok(batch) if batch.is_empty() => {
                if reader.is_closed() {
                    return;
                }
                reader.wait(Duration::from_secs(1));
                continue;
            }
            Ok(batch) => deliver(&mut reader, sink.as_mut(), &batch, (state, delivery, aside)).err(),
            Err(error) => Some(Failure::later(0, format!("the outbox can't be read: {error}"))),
        };
        match failed {
            None => {
                if failures > 0 {
                    tracing::warn!(sink = state.name, "alerts are taken again");
                }
                failures = 0;
            }
            Some(Failure { why, after, .. }) => {
                if failures == 0 {
                    tracing::error!(sink = state.name, why, "alerts are not taken; they are kept, and tried again");
                }
                failures = failures.saturating_add(1);
                state.retried.fetch_add(1, Relaxed);
                state.set_answer(why);
                let mut hasher = chance.build_hasher();
                hasher.write_u64(state.retried.load(Relaxed));
                let asked = Duration::from_secs(after.unwrap_or(0)).min(backoff::LONGEST);
                let until = Instant::now() + backoff::pause(failures, sink.patience(), hasher.finish()).max(asked);
                while Instant::now() < until && reopened == delivery.reopen.load(Relaxed) {
                    if reader.is_closed() {
                        return;
                    }
                    std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
                }
            }
        }
    }
}

/// Hands a batch over, and keeps how much of it was taken or refused for good.
fn deliver(
    reader: &mut Reader,
    sink: &mut dyn Sink,
    batch: &Batch,
    (state, delivery, aside): (&SinkState, &Delivery, Option<&Path>),
) -> Result<(), Failure> {
    for missing in batch.missing() {
        let (first, last) = (*missing.start(), *missing.end());
        delivery.gone.fetch_add(last - first + 1, Relaxed);
        let text = format!("{}: alerts {first} to {last} are damaged or were removed", state.name);
        tracing::error!(sink = state.name, first, last, "alerts are damaged or were removed");
        delivery.notice(FindingKind::AlertsGone, text);
    }
    let lines: Vec<Line<'_>> = batch.lines().collect();
    let delivered = if lines.is_empty() { Ok(String::new()) } else { sink.deliver(&lines) };
    let (taken, failed) = match delivered {
        Ok(answer) => {
            if !answer.is_empty() {
                state.set_answer(answer);
            }
            (lines.len(), None)
        }
        Err(failure) => (failure.taken, Some(failure)),
    };
    if taken > 0 {
        state.delivered.fetch_add(taken as u64, Relaxed);
        state.last_success.store((now() / 1_000_000) as i64, Relaxed);
    }
    let refused = failed.as_ref().filter(|failure| failure.for_good);
    if let (Some(failure), Some((stamp, line))) = (refused, lines.get(taken)) {
        refuse(stamp.sequence, line, &failure.why, state, aside);
    }
    let done = taken + usize::from(refused.is_some());
    if done > 0 || lines.is_empty() {
        if let Err(error) = reader.acknowledge(batch, if failed.is_none() { usize::MAX } else { done }) {
            // A restart sends again what was taken since.
            tracing::debug!(sink = state.name, %error, "how far it is could not be kept");
        }
        state.next.store(reader.next(), Relaxed);
    }
    failed.filter(|failure| !failure.for_good).map_or(Ok(()), Err)
}

/// A line that will never be taken.
fn refuse(sequence: u64, line: &[u8], why: &str, state: &SinkState, aside: Option<&Path>) {
    let kept = match aside.map(|file| rejected::keep(file, line)) {
        Some(Ok(())) => String::new(),
        Some(Err(error)) => format!("; it could not be put aside: {error}"),
        None => "; it is not put aside".to_owned(),
    };
    tracing::error!(sink = state.name, sequence, why, "the receiver refuses an alert for good");
    state.refused(format!("alert {sequence}: {why}{kept}"), (now() / 1_000_000) as i64);
    state.set_answer(why.to_owned());
}
