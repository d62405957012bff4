//! The time that rules and budgets go by: the wall clock, but never below what is remembered of it ([`trust`]). Readings of
//! the kernel's clocks in, a [`ClockMap`] for rules and a shift for days out; what is remembered is kept in `[paths] state`.
//! Called by whoever times rules, and by the watcher of signals, which looks every few seconds; [`report`] is the consumer
//! that tells of it.

pub mod report;
pub mod trust;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use monitor_api::clock::ClockStatus;
use monitor_policy::ClockMap;

use self::trust::{Jump, Kept, Reading, Standing, Trust};
use crate::{
    kernel,
    model::{clock::ClockStanding, now},
    storage::state::StateDirectory,
};

/// The file's name.
pub const FILE: &str = "clock.json";
/// What such a file says it is.
const FORMAT: &str = "egress-monitor clock 1";
/// So much more time than is kept is worth writing it: what a crash of the host may lose.
const SAVE_EVERY: i128 = 60_000_000_000;
/// Jumps that wait to be told; of more than that the first are.
const MOST_JUMPS: usize = 16;

type Read = Box<dyn Fn() -> Reading + Send + Sync>;

/// The clocks, and what is remembered of them: one, however often it is cloned.
#[derive(Clone)]
pub struct TrustedClock(Arc<Inner>);

struct Inner {
    read: Read,
    state: Mutex<State>,
}

struct State {
    trust: Trust,
    directory: StateDirectory,
    written: Kept,
    /// Not told yet.
    jumps: Vec<Jump>,
    /// Since the daemon began.
    jumped: u64,
    failed: bool,
}

impl fmt::Debug for TrustedClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("TrustedClock").field(&self.standing()).finish()
    }
}

impl Default for TrustedClock {
    /// This host's clocks, and nothing is kept.
    fn default() -> Self {
        Self::of(system)
    }
}

/// This host's clocks.
fn system() -> Reading {
    Reading { realtime: now(), boottime: kernel::boot_ns(), synchronised: kernel::is_clock_synchronised() }
}

impl TrustedClock {
    /// This host's clocks, with what is kept of them in a directory.
    pub fn open(directory: StateDirectory, boot_id: &str) -> Self {
        Self::new(Box::new(system), directory, boot_id)
    }

    /// Other clocks, of which nothing is kept.
    pub fn of(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self::new(Box::new(read), StateDirectory::default(), "")
    }

    fn new(read: Read, directory: StateDirectory, boot_id: &str) -> Self {
        let kept: Option<Kept> = directory.read(FILE).filter(|kept: &Kept| kept.format == FORMAT);
        let written = kept.clone().unwrap_or_default();
        let (trust, jump) = Trust::begin(boot_id, kept, read());
        let jumps: Vec<Jump> = jump.into_iter().collect();
        let jumped = jumps.len() as u64;
        let state = Mutex::new(State { trust, directory, written, jumps, jumped, failed: false });
        Self(Arc::new(Inner { read, state }))
    }

    /// Looks at the clocks, and keeps what is to be known of them. True if the wall clock was set since.
    pub fn look(&self) -> bool {
        let mut state = self.state();
        let jump = state.trust.look((self.0.read)());
        if let Some(jump) = jump {
            state.jumped += 1;
            if state.jumps.len() < MOST_JUMPS {
                state.jumps.push(jump);
            }
        }
        state.keep(SAVE_EVERY);
        jump.is_some()
    }

    /// Forgets what was remembered. The time that was, UTC nanoseconds since 1970.
    pub fn reset(&self) -> Option<i128> {
        let mut state = self.state();
        let forgotten = state.trust.reset((self.0.read)());
        state.keep(0);
        forgotten
    }

    /// Keeps what is known at the end.
    pub fn close(&self) {
        self.look();
        self.state().keep(1);
    }

    /// The time that rules go by, beside CLOCK_BOOTTIME.
    pub fn map(&self) -> ClockMap {
        let reading = (self.0.read)();
        self.state().trust.map(reading)
    }

    /// How far that is ahead of the wall clock, in nanoseconds; never negative.
    pub fn ahead(&self) -> i128 {
        self.standing().ahead
    }

    /// How the clocks stand.
    pub fn standing(&self) -> Standing {
        let reading = (self.0.read)();
        self.state().trust.standing(reading)
    }

    /// The document on it.
    pub fn status(&self) -> ClockStatus {
        self.shown().document()
    }

    /// The same, for what is shown.
    fn shown(&self) -> ClockStanding {
        let Standing { synchronised, ahead, latest, .. } = self.standing();
        ClockStanding { synchronised, ahead, latest, jumps: self.state().jumped }
    }

    fn take_jumps(&self) -> Vec<Jump> {
        std::mem::take(&mut self.state().jumps)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is there is whole at any moment.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes what is known, if it is so much more than what is written.
    fn keep(&mut self, more: i128) {
        if !self.trust.differs(&self.written, more) {
            return;
        }
        let mut kept = self.trust.kept().clone();
        kept.format = FORMAT.into();
        match self.directory.write(FILE, &kept) {
            Ok(()) => (self.written, self.failed) = (kept, false),
            Err(error) if !self.failed => {
                self.failed = true;
                let file = self.directory.path().join(FILE);
                tracing::warn!(file = %file.display(), %error, "a restart may believe a wall clock that was set back");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
