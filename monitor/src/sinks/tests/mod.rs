//! The outbox with sinks that fail, stand still, and are killed: what was committed reaches each of them, in order.

mod day;
mod lines;
mod memory;
mod outage;
mod real;
mod receivers;

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{file::AlertsFile, stream::Stream, *};
use crate::{
    engine::{findings::notice, outbox::AlertQueue as _},
    fake,
    model::{Alert, FindingKind, delivery::Delivery},
    storage::{segments::line::seal, state::StateDirectory},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// An alert that is a finding, with a text.
fn finding(text: &str) -> Arc<Alert> {
    Arc::new(notice(FindingKind::Started, text.to_owned(), 0))
}

/// The line of it.
fn encode(alert: &Alert, sequence: u64) -> Vec<u8> {
    let Alert::Finding(finding) = alert else { panic!("a finding") };
    let text = &finding.detail.text;
    let json = format!(r#"{{"metadata":{{"sequence":{sequence}}},"time":1,"unmapped":{{"text":"{text}"}}}}"#);
    seal(&json).expect("sealed")
}

fn lines(texts: &[&str]) -> Vec<u8> {
    texts.iter().zip(1..).flat_map(|(text, sequence)| encode(&finding(text), sequence)).collect()
}

fn start(store: Store, sinks: Vec<Box<dyn Sink>>) -> (Outbox, Ended) {
    Outbox::start(store, sinks, 100, encode).expect("threads")
}

#[track_caller]
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

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

#[tokio::test]
async fn a_failing_sink_gets_every_line_whole_and_does_not_hold_up_the_other() {
    let (flaky, steady) = (Flaky::default(), Flaky::default());
    *flaky.left.lock().unwrap() = Some(7);
    let sinks: Vec<Box<dyn Sink>> =
        vec![Box::new(Stream::new("a", Box::new(flaky.clone()))), Box::new(Stream::new("b", Box::new(steady.clone())))];
    let (outbox, ended) = start(Store::Memory, sinks);
    ["one", "two", "three"].iter().for_each(|text| outbox.send(&finding(text)));
    let delivery = Arc::clone(outbox.delivery());
    let sinks = delivery.sinks();
    wait_for("both have them", || sinks.iter().all(|sink| sink.delivered.load(Relaxed) == 3));
    let expected = lines(&["one", "two", "three"]);
    assert_eq!(*steady.bytes.lock().unwrap(), expected);
    assert_eq!(*flaky.bytes.lock().unwrap(), expected);
    assert_eq!((sinks[0].retried.load(Relaxed), sinks[1].retried.load(Relaxed)), (1, 0));
    assert_eq!((delivery.kept.load(Relaxed), delivery.lost.load(Relaxed)), (3, 0));
    assert_eq!(sinks.iter().map(|sink| delivery.backlog(sink)).sum::<u64>(), 0);
    drop(outbox);
    ended.wait(PATIENCE).await.expect("nothing is lost");
}

#[tokio::test]
async fn who_stands_still_holds_up_nothing_is_seen_and_has_it_all_after_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateDirectory::open(&folder.path().join("state"));
    let steady = Flaky::default();
    let sinks: Vec<Box<dyn Sink>> =
        vec![Box::new(Stream::new("a", Box::new(Stuck))), Box::new(Stream::new("b", Box::new(steady.clone())))];
    let (outbox, ended) = start(Store::open(&state, 16 << 20), sinks);
    ["one", "two"].iter().for_each(|text| outbox.send(&finding(text)));
    let delivery = Arc::clone(outbox.delivery());
    wait_for("the other has them", || delivery.sinks()[1].delivered.load(Relaxed) == 2);
    let stuck = &delivery.sinks()[0];
    assert_eq!(delivery.backlog(stuck), 2);
    let now = (crate::model::now() / 1_000_000) as i64;
    assert!((19..=21).contains(&delivery.waits(stuck, now + 20_000)));
    assert_eq!(delivery.waits(&delivery.sinks()[1], now + 20_000), 0);
    drop(outbox);
    ended.wait(Duration::from_millis(100)).await.expect("it is kept");
    let next = Flaky::default();
    let sinks: Vec<Box<dyn Sink>> =
        vec![Box::new(Stream::new("a", Box::new(next.clone()))), Box::new(Stream::new("b", Box::new(steady.clone())))];
    let (outbox, ended) = start(Store::open(&state, 16 << 20), sinks);
    outbox.send(&finding("three"));
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all taken");
    let expected = lines(&["one", "two", "three"]);
    assert_eq!((&*next.bytes.lock().unwrap(), &*steady.bytes.lock().unwrap()), (&expected, &expected));
}

#[test]
fn a_full_queue_is_counted_and_never_waited_for_and_findings_have_places_of_their_own() {
    let delivery = Arc::new(Delivery::default());
    let queue = queue::Queue::new(2, Arc::clone(&delivery));
    let flow = Arc::new(fake::alert());
    (0..5).for_each(|_| queue.push(&flow));
    queue.push(&finding("one"));
    queue.push(&flow);
    assert_eq!((delivery.lost.load(Relaxed), delivery.queued.load(Relaxed)), (4, 3));
    // Without room on disk findings go alone; else in the order in which they came.
    let taken = |flows| queue.take((1, 10), Duration::ZERO, flows).map(|alerts| alerts.len());
    assert_eq!((taken(false), taken(false), taken(true)), (Some(1), Some(0), Some(2)));
    // What is put aside on a full disk is not for heartbeats.
    queue.push(&Arc::new(notice(FindingKind::Heartbeat, "well".to_owned(), 0)));
    assert_eq!((taken(false), taken(true)), (Some(0), Some(1)));
    queue.close();
    assert_eq!(taken(true), None);
}

#[test]
fn what_is_kept_is_in_the_order_in_which_it_came() {
    let queue = queue::Queue::new(10, Arc::default());
    let order = [finding("one"), Arc::new(fake::alert()), finding("two"), Arc::new(fake::alert())];
    order.iter().for_each(|alert| queue.push(alert));
    assert_eq!(queue.take((1, 10), Duration::ZERO, true).as_deref(), Some(&order[..]));
}

#[tokio::test]
async fn a_file_that_was_renamed_is_left_alone_and_the_next_line_is_in_a_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, rotated) = (folder.path().join("alerts.jsonl"), folder.path().join("alerts.jsonl.1"));
    let (outbox, ended) = start(Store::Memory, vec![Box::new(AlertsFile::new(&path))]);
    let delivery = Arc::clone(outbox.delivery());
    let taken = |count| wait_for("taken", || delivery.sinks()[0].delivered.load(Relaxed) == count);
    outbox.send(&finding("one"));
    taken(1);
    std::fs::rename(&path, &rotated).expect("renamed");
    outbox.send(&finding("two"));
    taken(2);
    // As with `create` of logrotate, and with SIGHUP.
    std::fs::rename(&path, folder.path().join("alerts.jsonl.2")).expect("renamed");
    std::fs::write(&path, "").expect("made");
    delivery.reopen.fetch_add(1, Relaxed);
    outbox.send(&finding("three"));
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all taken");
    let read = |path: &Path| std::fs::read(path).expect("there");
    let all = [read(&rotated), read(&folder.path().join("alerts.jsonl.2")), read(&path)];
    assert_eq!(all.concat(), lines(&["one", "two", "three"]));
    assert!(all.iter().all(|lines| lines.iter().filter(|byte| **byte == b'\n').count() == 1), "{all:?}");
}

#[tokio::test]
async fn a_part_of_a_line_that_a_crash_left_in_a_file_is_ended_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("alerts.jsonl");
    std::fs::write(&path, "{\"a").expect("written");
    let (outbox, ended) = start(Store::Memory, vec![Box::new(AlertsFile::new(&path))]);
    outbox.send(&finding("one"));
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all taken");
    assert_eq!(std::fs::read(&path).expect("there"), [b"{\"a\n".to_vec(), lines(&["one"])].concat());
}

#[tokio::test]
async fn a_file_that_cant_be_opened_is_tried_again_and_then_has_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let later = folder.path().join("later");
    let path = later.join("alerts.jsonl");
    let (outbox, ended) = start(Store::Memory, vec![Box::new(AlertsFile::new(&path))]);
    let delivery = Arc::clone(outbox.delivery());
    outbox.send(&finding("one"));
    wait_for("it was tried", || delivery.sinks()[0].retried.load(Relaxed) > 0);
    assert!(delivery.sinks()[0].answer().contains("No such file"), "{}", delivery.sinks()[0].answer());
    std::fs::create_dir(&later).expect("made");
    wait_for("it is taken", || delivery.sinks()[0].delivered.load(Relaxed) == 1);
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all taken");
    assert_eq!(std::fs::read(&path).expect("there"), lines(&["one"]));
}
