//! A receiver that is away for long, over restarts: what it gets when it is back, and what the bound took.

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use super::*;
use crate::storage::segments::line::whole;

const ALERTS: u64 = 10_000;

/// A receiver that is there or not.
#[derive(Clone)]
struct Gate {
    about: About,
    open: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Default for Gate {
    fn default() -> Self {
        let patience = Duration::from_secs(1);
        let about = About { patience, ..About::receiver("gate", "webhook", Promise::AtLeastOnce) };
        Self { about, open: Arc::default(), got: Arc::default() }
    }
}

impl Sink for Gate {
    fn about(&self) -> &About {
        &self.about
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

#[tokio::test]
async fn what_is_missing_is_told_once_however_often_the_rest_is_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateDirectory::open(&folder.path().join("state"));
    let gate = Gate::default();
    let (outbox, ended) = start(Store::open(&state, 1 << 20), vec![Box::new(gate.clone())]);
    let texts = ["one", "two", "three"];
    texts.iter().for_each(|text| outbox.send(&finding(text)));
    drop(outbox);
    ended.wait(PATIENCE).await.expect("kept");
    let segment = state.path().join("alerts/000000000001.jsonl");
    let damaged = std::fs::read_to_string(&segment).expect("there").replace("\"two\"", "\"2wo\"");
    std::fs::write(&segment, damaged).expect("written");
    let (outbox, ended) = start(Store::open(&state, 1 << 20), vec![Box::new(gate.clone())]);
    let delivery = Arc::clone(outbox.delivery());
    wait_for("it is tried again", || delivery.sinks().iter().all(|sink| sink.retried.load(Relaxed) >= 3));
    gate.open.store(true, Relaxed);
    wait_for("all is taken", || delivery.backlog(&delivery.sinks()[0]) == 0);
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all taken");
    assert_eq!(delivery.gone.load(Relaxed), 1);
    let told = &delivery.told().notices;
    assert_eq!(*told, [(FindingKind::AlertsGone, "gate: alerts 2 to 2 are damaged or were removed".to_owned())]);
    let whole = [encode(&finding("one"), 1), encode(&finding("three"), 3)].concat();
    assert_eq!(*gate.got.lock().expect("no panic"), whole);
}
