//! Work beside a test that goes on until it is told to stop, or until its value is dropped: a test that fails leaves no
//! thread behind, which would keep its namespace alive and, among threads (`cargo test`), take the others' CPU.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::Result;

use crate::{netns::Namespace, stage::on_cpu};

/// Whether the work is to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Looked at again and again.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The work.
#[derive(Debug)]
pub struct Background<T> {
    stop: Stop,
    // `None` only while it is joined.
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Background<T> {
    /// Starts it inside `namespace` on one CPU.
    ///
    /// # Errors
    /// The namespace's handle cannot be duplicated.
    pub fn on_cpu(namespace: &Namespace, cpu: usize, work: impl FnOnce(&Stop) -> T + Send + 'static) -> Result<Self> {
        let stop = Stop::default();
        let asked = stop.clone();
        Ok(Self { stop, thread: Some(on_cpu(namespace, cpu, move || work(&asked))?) })
    }

    /// Has it stop, and gives its result.
    ///
    /// # Panics
    /// With the work.
    #[allow(clippy::must_use_candidate, reason = "the work of most has no result")]
    pub fn stop(self) -> T {
        self.stop.0.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// With the work.
    #[allow(clippy::must_use_candidate, reason = "the work of most has no result")]
    pub fn wait(mut self) -> T {
        let thread = self.thread.take().expect("it is joined once, here");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Background<()> {
    /// Does the same again and again.
    ///
    /// # Errors
    /// The namespace's handle cannot be duplicated.
    pub fn repeat(namespace: &Namespace, cpu: usize, mut work: impl FnMut() + Send + 'static) -> Result<Self> {
        Self::on_cpu(namespace, cpu, move |stop| {
            while !stop.asked() {
                work();
            }
        })
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test has failed already; a second failure adds nothing.
            let _ = thread.join();
        }
    }
}
