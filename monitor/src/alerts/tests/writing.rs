//! Sinks: a line is written whole or counted, and nobody waits for a slow one.

use std::{
    io::{self, Write},
    sync::{Mutex, atomic::Ordering::Relaxed},
};

use super::*;
use crate::alerts::sinks::{Output, Sinks};

/// A writer that takes a few bytes at a time and fails when told.
#[derive(Clone, Default)]
struct Flaky {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Bytes until the next failure.
    left: Arc<Mutex<Option<usize>>>,
}

impl Write for Flaky {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut left = self.left.lock().unwrap();
        let take = match *left {
            Some(0) => {
                *left = None;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(n) => n.min(bytes.len()),
            None => bytes.len(),
        };
        *left = left.map(|n| n - take);
        self.bytes.lock().unwrap().extend_from_slice(&bytes[..take]);
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_failing_sink_is_counted_keeps_later_lines_whole_and_does_not_hold_up_the_other() {
    let (flaky, steady) = (Flaky::default(), Flaky::default());
    *flaky.left.lock().unwrap() = Some(7);
    let outputs = vec![Output::new("a", Box::new(flaky.clone())), Output::new("b", Box::new(steady.clone()))];
    let (sinks, done) = Sinks::start(outputs, 8, String::clone).expect("a thread");
    for line in ["{\"a\":1}{", "{\"b\":2}", "{\"c\":3}"] {
        sinks.send(&line.into());
    }
    let stats = Arc::clone(sinks.stats());
    drop(sinks);
    done.await.expect("the thread ends");
    assert_eq!(steady.bytes.lock().unwrap().as_slice(), b"{\"a\":1}{\n{\"b\":2}\n{\"c\":3}\n");
    assert_eq!(flaky.bytes.lock().unwrap().as_slice(), b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
    assert_eq!((stats.written.load(Relaxed), stats.failed.load(Relaxed), stats.backlog.load(Relaxed)), (2, 1, 0));
}

#[tokio::test]
async fn a_full_queue_is_counted_and_never_waited_for() {
    let (sinks, done) = Sinks::start(vec![Output::new("stuck", Box::new(Stuck))], 2, String::clone).expect("a thread");
    for _ in 0..10 {
        sinks.send(&"{}".into());
    }
    // One line is in the stuck write at most, two are queued; all others were refused at once.
    let lost = sinks.stats().lost();
    assert!((7..=8).contains(&lost), "{lost}");
    assert_eq!(sinks.stats().backlog.load(Relaxed) + lost, 10);
    drop(done);
}

/// A pipe that nobody reads.
struct Stuck;

impl Write for Stuck {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        loop {
            std::thread::park();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
