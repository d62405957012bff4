//! A receiver that is away for long, over restarts: what it gets when it is back, and what the bound took.

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use super::*;
use crate::storage::segments::line::whole;

const ALERTS: u64 = 10_000;

/// A receiver that is there or not.
#[derive(Clone, Default)]
struct Gate {
    open: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Sink for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure> {
        if !self.open.load(Relaxed) {
            return Err(Failure::later(0, "away"));
        }
        lines.iter().for_each(|(_, line)| self.got.lock().unwrap().extend_from_slice(line));
        Ok("here".to_owned())
    }
}

/// Alerts in four lives with the receiver away, which is back in the last: what it got, and how much went at the bound.
async fn outage(keep: u64) -> (Vec<u64>, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateDirectory::open(&folder.path().join("state"));
    let gate = Gate::default();
    let mut gone = 0;
    for life in 0..4 {
        let (outbox, ended) = start(Store::open(&state, keep), vec![Box::new(gate.clone())]);
        let delivery = Arc::clone(outbox.delivery());
        for alert in 0..ALERTS / 4 {
            while delivery.queued.load(Relaxed) > 500 {
                std::thread::yield_now();
            }
            outbox.send(&finding(&format!("{life}-{alert}")));
        }
        let last = ALERTS / 4 * (life + 1);
        wait_for("all is kept", || delivery.next.load(Relaxed) == last + 1);
        if life == 3 {
            gate.open.store(true, Relaxed);
            wait_for("all is taken", || delivery.backlog(&delivery.sinks()[0]) == 0);
        }
        drop(outbox);
        ended.wait(Duration::from_millis(300)).await.expect("kept");
        gone += delivery.gone.load(Relaxed);
        assert_eq!(delivery.lost.load(Relaxed), 0);
        let files = std::fs::read_dir(state.path().join("alerts")).expect("there");
        let segments = files.map(|file| file.expect("a file")).filter(|file| first_is_digit(&file.file_name()));
        let bytes: u64 = segments.map(|file| file.metadata().expect("its length").len()).sum();
        assert!(bytes <= keep, "{bytes} of {keep}");
    }
    let got = gate.got.lock().unwrap();
    let lines = got.split_inclusive(|byte| *byte == b'\n');
    let sequences = lines.map(|line| whole(line.trim_ascii_end()).expect("whole").sequence).collect();
    (sequences, gone)
}

fn first_is_digit(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with(|first: char| first.is_ascii_digit())
}

#[tokio::test]
async fn who_is_back_after_long_gets_everything_once_and_in_order() {
    assert_eq!(outage(64 << 20).await, ((1..=ALERTS).collect(), 0));
}

#[tokio::test]
async fn what_the_bound_took_is_counted_and_the_rest_is_delivered() {
    let (got, gone) = outage(256 << 10).await;
    assert!(gone > ALERTS / 2, "{gone}");
    assert_eq!(got.len() as u64 + gone, ALERTS);
    // The latest, each once and in order.
    assert_eq!(got, (gone + 1..=ALERTS).collect::<Vec<_>>());
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), got.len());
}
