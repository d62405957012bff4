//! What becomes of alerts on their way out, readable at any time: how many wait for the disk, how far each sink is. Written
//! by the outbox and its sinks, read by metrics, status and whoever reports findings of it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use super::FindingKind;

/// Notices that wait to be reported; what is more is left out, and so are its alerts.
const NOTICES: usize = 64;

/// Times that are remembered.
const MARKS: usize = 4_096;

/// The way of all alerts.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Alerts that wait for the disk.
    pub queued: AtomicU64,
    /// Alerts that found no room to wait, or were not on disk when the daemon ended.
    pub lost: AtomicU64,
    /// Alerts that are kept: on disk since the start.
    pub kept: AtomicU64,
    /// The sequence after the last one that is kept.
    pub next: AtomicU64,
    /// Alerts that went before a sink had taken them, counted for each such sink.
    pub gone: AtomicU64,
    /// Whether what is kept outlives the process.
    pub durable: AtomicBool,
    /// How often sinks were told to open anew what they write to.
    pub reopen: AtomicU64,
    sinks: OnceLock<Vec<Arc<SinkState>>>,
    told: Mutex<Told>,
    marks: Mutex<Marks>,
}

/// When what was kept: lines below a sequence, at the latest by a time in milliseconds since 1970. To a second, and of a long
/// time in fewer steps.
#[derive(Debug, Default)]
struct Marks(VecDeque<(u64, i64)>);

impl Marks {
    fn note(&mut self, next: u64, now: i64) {
        match self.0.back_mut() {
            Some(last) if now - last.1 < 1_000 => last.0 = next,
            _ => self.0.push_back((next, now)),
        }
        if self.0.len() > MARKS {
            // Every other one: what is between is taken for a little younger.
            let mut at = 0;
            self.0.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
    }

    /// Since when the line of a sequence is there.
    fn since(&self, sequence: u64) -> Option<i64> {
        self.0.get(self.0.partition_point(|(next, _)| *next <= sequence)).map(|(_, at)| *at)
    }
}

/// What there is to report.
#[derive(Debug, Default)]
pub struct Told {
    /// Why nothing can be kept on disk, while that is so.
    pub unwritable: Option<String>,
    /// What happened and is over.
    pub notices: Vec<(FindingKind, String)>,
}

impl Delivery {
    /// Says which sinks there are; once.
    pub fn set_sinks(&self, sinks: Vec<Arc<SinkState>>) {
        let _ = self.sinks.set(sinks);
    }

    /// The sinks.
    pub fn sinks(&self) -> &[Arc<SinkState>] {
        self.sinks.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Lines that are kept and that a sink has not taken.
    pub fn backlog(&self, sink: &SinkState) -> u64 {
        self.next.load(Relaxed).saturating_sub(sink.next.load(Relaxed))
    }

    /// Everything below this sequence is kept by now, in milliseconds since 1970.
    pub fn keep(&self, next: u64, now: i64) {
        self.marks().note(next, now);
        self.next.store(next, Relaxed);
    }

    /// For how many seconds what a sink is to take next has waited for it, as far as this process knows.
    pub fn waits(&self, sink: &SinkState, now: i64) -> u64 {
        if self.backlog(sink) == 0 {
            return 0;
        }
        let since = self.marks().since(sink.next.load(Relaxed)).unwrap_or(now);
        u64::try_from((now - since) / 1_000).unwrap_or(0)
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to report.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened and is over.
    pub fn notice(&self, kind: FindingKind, text: String) {
        let notices = &mut self.told().notices;
        if notices.len() < NOTICES {
            notices.push((kind, text));
        }
    }

    /// Grows with whatever is kept or taken.
    pub fn progress(&self) -> u64 {
        self.sinks().iter().map(|sink| sink.next.load(Relaxed)).sum::<u64>() + self.kept.load(Relaxed)
    }
}

/// What a sink promises of what it has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It is on this host's disk.
    Durable,
    /// The receiver said that it has it; it may get it twice.
    AtLeastOnce,
    /// It was handed over: a receiver that fails later loses it.
    HandedOver,
}

impl Promise {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::AtLeastOnce => "at least once",
            Self::HandedOver => "handed over",
        }
    }
}

/// One sink.
#[derive(Debug)]
pub struct SinkState {
    /// Its name.
    pub name: String,
    /// `stdout`, `file`, `webhook`…
    pub kind: &'static str,
    /// What it promises.
    pub promise: Promise,
    /// The sequence that it is to take next.
    pub next: AtomicU64,
    /// Alerts that it took since the start.
    pub delivered: AtomicU64,
    /// Times that it was tried again.
    pub retried: AtomicU64,
    /// Alerts that its receiver refused for good.
    pub rejected: AtomicU64,
    /// When it took something last, milliseconds since 1970; 0: not since the start.
    pub last_success: AtomicI64,
    answer: Mutex<String>,
    /// What was refused last, and why; and when, milliseconds since 1970.
    refusal: Mutex<(String, i64)>,
}

impl SinkState {
    /// One that has taken nothing yet.
    pub fn new(name: &str, kind: &'static str, promise: Promise) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            promise,
            next: AtomicU64::new(1),
            delivered: AtomicU64::default(),
            retried: AtomicU64::default(),
            rejected: AtomicU64::default(),
            last_success: AtomicI64::default(),
            answer: Mutex::default(),
            refusal: Mutex::default(),
        }
    }

    /// What it, or its receiver, said last.
    pub fn answer(&self) -> String {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It, or its receiver, says something.
    pub fn set_answer(&self, answer: String) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Its receiver refused an alert for good.
    pub fn refused(&self, what: String, at: i64) {
        self.rejected.fetch_add(1, Relaxed);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = (what, at);
    }

    /// What its receiver refused last, and whether it has taken nothing since.
    pub fn refusal(&self) -> (String, bool) {
        let (what, at) = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (what, at > 0 && self.last_success.load(Relaxed) <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_as_old_as_when_it_was_kept_however_long_ago() {
        let delivery = Delivery::default();
        let sink = SinkState::new("a", "file", Promise::Durable);
        assert_eq!(delivery.waits(&sink, 5_000), 0);
        for second in 1..=20_000 {
            delivery.keep(second as u64 * 3, second * 1_000);
        }
        assert!(delivery.marks().0.len() <= MARKS);
        let waits = |next: u64| {
            sink.next.store(next, Relaxed);
            delivery.waits(&sink, 20_000_000)
        };
        // Of the latest to the second; of the first to a few.
        assert_eq!([waits(60_000), waits(59_999), waits(59_996)], [0, 0, 1]);
        assert!((19_990..=19_999).contains(&waits(1)), "{}", waits(1));
    }
}
