//! What becomes of alerts on their way out, readable at any time: how many wait for the disk, how far each sink is. Written
//! by the outbox and its sinks, read by metrics, status and whoever reports findings of it.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use super::FindingKind;

/// Notices that wait to be reported; what is more is left out, and so are its alerts.
const NOTICES: usize = 64;

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
    /// How often sinks were told to open anew what they write to.
    pub reopen: AtomicU64,
    sinks: OnceLock<Vec<Arc<SinkState>>>,
    told: Mutex<Told>,
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
    /// When what it is to take next happened, milliseconds since 1970; 0: nothing waits.
    pub oldest: AtomicI64,
    /// When it took something last, milliseconds since 1970; 0: not since the start.
    pub last_success: AtomicI64,
    answer: Mutex<String>,
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
            oldest: AtomicI64::default(),
            last_success: AtomicI64::default(),
            answer: Mutex::default(),
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

    /// For how many seconds the oldest has waited, at this time in milliseconds since 1970.
    pub fn waits(&self, now: i64) -> u64 {
        match self.oldest.load(Relaxed) {
            0 => 0,
            oldest => u64::try_from((now - oldest) / 1_000).unwrap_or(0),
        }
    }
}
