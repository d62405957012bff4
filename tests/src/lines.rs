//! The lines of a child's output stream, collected in the background and waited for by condition.

use std::{
    io::{BufRead as _, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Everything that a stream has given so far.
#[derive(Clone, Debug)]
pub struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Starts reading `stream`.
    pub fn collect(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                writer.lock().lines.push(line);
                writer.changed.notify_all();
            }
            writer.lock().ended = true;
            writer.changed.notify_all();
        });
        Self { shared }
    }

    /// The lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.shared.lock().lines.clone()
    }

    /// How many lines there are so far: pass it to [`Lines::wait_for`] to look at later ones alone.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.lock().lines.len()
    }

    /// Waits for a line, the `from`th or later, that `wanted` accepts.
    ///
    /// # Errors
    /// None came within `time`, or the stream ended; says what did come.
    pub fn wait_for(&self, from: usize, time: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + time;
        let mut state = self.shared.lock();
        // Each line is looked at once: whoever reads the stream waits meanwhile.
        let mut next = from;
        loop {
            if let Some(line) = state.lines.iter().skip(next).find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            next = next.max(state.lines.len());
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let why = if state.ended { "the output ended" } else { "time is over" };
                bail!("the expected line did not come: {why} after {time:?}; there was:\n{}", state.lines.join("\n"));
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the stream has ended, and gives all its lines.
    ///
    /// # Errors
    /// It did not end within `time`.
    pub fn wait_for_end(&self, time: Duration) -> Result<Vec<String>> {
        let deadline = Instant::now() + time;
        let mut state = self.shared.lock();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the output did not end within {time:?}");
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(state.lines.clone())
    }
}
