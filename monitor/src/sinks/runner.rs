//! A sink's thread: lines from the outbox in, in order; each is acknowledged when the sink has taken it, and tried again
//! for ever where it has not. Nobody waits for it.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{Failure, Line, Sink, backoff};
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
pub(super) fn run(mut reader: Reader, mut sink: Box<dyn Sink>, state: &SinkState, delivery: &Delivery) {
    let (mut failures, mut reopened) = (0_u32, 0);
    let chance = RandomState::new();
    loop {
        let wanted = delivery.reopen.load(Relaxed);
        if wanted != reopened {
            reopened = wanted;
            sink.reopen();
        }
        let failed = match reader.read(sink.most(), BYTES) {
            Ok(batch) if batch.is_empty() => {
                state.oldest.store(0, Relaxed);
                if reader.is_closed() {
                    return;
                }
                reader.wait(Duration::from_secs(1));
                continue;
            }
            Ok(batch) => deliver(&mut reader, sink.as_mut(), &batch, state, delivery).err(),
            Err(error) => Some(format!("the outbox can't be read: {error}")),
        };
        match failed {
            None => {
                if failures > 0 {
                    tracing::warn!(sink = state.name, "alerts are taken again");
                }
                failures = 0;
            }
            Some(why) => {
                if failures == 0 {
                    tracing::error!(sink = state.name, why, "alerts are not taken; they are kept, and tried again");
                }
                failures = failures.saturating_add(1);
                state.retried.fetch_add(1, Relaxed);
                state.set_answer(why);
                let mut hasher = chance.build_hasher();
                hasher.write_u64(state.retried.load(Relaxed));
                let until = Instant::now() + backoff::pause(failures, sink.patience(), hasher.finish());
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

/// Hands a batch over, and keeps how much of it was taken.
fn deliver(
    reader: &mut Reader,
    sink: &mut dyn Sink,
    batch: &Batch,
    state: &SinkState,
    delivery: &Delivery,
) -> Result<(), String> {
    for missing in batch.missing() {
        let (first, last) = (*missing.start(), *missing.end());
        delivery.gone.fetch_add(last - first + 1, Relaxed);
        let text = format!("{}: alerts {first} to {last} are damaged or were removed", state.name);
        tracing::error!(sink = state.name, first, last, "alerts are damaged or were removed");
        delivery.notice(FindingKind::AlertsGone, text);
    }
    let lines: Vec<Line<'_>> = batch.lines().collect();
    if let Some((stamp, _)) = lines.first() {
        state.oldest.store(stamp.time.max(1), Relaxed);
    }
    let (taken, failed) = match if lines.is_empty() { Ok(String::new()) } else { sink.deliver(&lines) } {
        Ok(answer) => {
            if !answer.is_empty() {
                state.set_answer(answer);
            }
            (lines.len(), None)
        }
        Err(Failure { taken, why, .. }) => (taken, Some(why)),
    };
    if taken > 0 || lines.is_empty() {
        state.delivered.fetch_add(taken as u64, Relaxed);
        state.last_success.store((now() / 1_000_000) as i64, Relaxed);
        if let Err(error) = reader.acknowledge(batch, if failed.is_none() { usize::MAX } else { taken }) {
            // A restart sends again what was taken since.
            tracing::debug!(sink = state.name, %error, "how far it is could not be kept");
        }
        state.next.store(reader.next(), Relaxed);
    }
    failed.map_or(Ok(()), Err)
}
