//! How much to measure, and the taking of turns.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use egress_monitor_tests::measure;

/// Something longer says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Which rows are wanted, and how well.
#[derive(Debug)]
pub struct Plan {
    quick: bool,
    only: Vec<String>,
    said: Mutex<Instant>,
}

impl Plan {
    /// `only`: parts of rows' names; none wants all.
    pub fn new(quick: bool, only: &[String]) -> Self {
        Self { quick, only: only.to_vec(), said: Mutex::new(Instant::now()) }
    }

    /// Whether a row is wanted.
    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| row.contains(part.as_str()))
    }

    /// So many rounds, or one.
    pub fn rounds(&self, full: usize) -> usize {
        if self.quick { 1 } else { full }
    }

    /// So long, or a tenth.
    pub fn time(&self, full: Duration) -> Duration {
        if self.quick { full / 10 } else { full }
    }

    /// So many runs of a program, flows or networks, or a tenth.
    pub fn repeat(&self, full: u32) -> u32 {
        if self.quick { full / 10 } else { full }
    }

    /// A line of progress.
    pub fn say(&self, what: &str) {
        eprintln!("bench: {what} …");
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether nothing was said for long.
    fn quiet(&self) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > HEARTBEAT
    }

    /// Measures each of `N` variants once a round, each round beginning with another of them. Gives each variant's
    /// figures, in the order of rounds.
    pub fn interleave<const N: usize>(
        &self,
        what: &str,
        rounds: usize,
        mut measure: impl FnMut(usize) -> Result<f64>,
    ) -> Result<[Vec<f64>; N]> {
        let mut figures = std::array::from_fn(|_| Vec::with_capacity(rounds));
        for round in 0..rounds {
            for turn in 0..N {
                ensure!(!measure::interrupted(), "interrupted; everything that it made was removed");
                if self.quiet() {
                    self.say(&format!("{what}: round {} of {rounds}", round + 1));
                }
                let variant = (round + turn) % N;
                figures[variant].push(measure(variant)?);
            }
        }
        Ok(figures)
    }

    /// Waits for `time`, or until it is interrupted.
    pub fn wait(&self, what: &str, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            ensure!(!measure::interrupted(), "interrupted; everything that it made was removed");
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.quiet() {
                self.say(&format!("{what}: {:.0} s to go", left.as_secs_f64()));
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}

/// Runs `work` on a thread of its own that stays on one CPU.
///
/// # Panics
/// With `work`.
pub fn on_cpu<T: Send>(cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            measure::pin(cpu)?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
