//! A day of alerts whose receiver is away for nearly all of it, by a clock of its own; the daemon is killed every three hours.
//! As many alerts as ALERTS says: a hundredth of `cargo xtask prove receivers` where it says nothing.

use std::collections::BTreeSet;

use super::*;
use crate::{
    model::delivery::SinkState,
    sinks::runner::{Runner, Step},
    storage::segments::{Log, Recovered, Settings, files::Directory, line::whole},
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Lives of the daemon.
const LIVES: u32 = 8;

/// Alerts that are committed at once.
const GROUP: u64 = 64;

/// What the receiver has come to.
#[derive(Default)]
struct Received {
    /// What it took, by sequence, in order.
    got: Vec<u64>,
    /// When it is asked.
    now: Duration,
    /// How often.
    asked: u64,
    /// After so many lines more it takes one and does not say so.
    silent_after: Option<usize>,
    /// It takes all of what comes next, and whoever sent it is killed before he hears of that.
    killed: bool,
    /// Lines that it took and that the sender was not told of.
    untold: u64,
}

/// A receiver that is away from the first hour to the last.
#[derive(Clone)]
struct Away {
    about: About,
    received: Arc<Mutex<Received>>,
}

impl Sink for Away {
    fn about(&self) -> &About {
        &self.about
    }

    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure> {
        let mut received = self.received.lock().unwrap();
        received.asked += 1;
        if (HOUR..DAY - HOUR).contains(&received.now) {
            return Err(Failure::later(0, "away"));
        }
        for (at, (stamp, line)) in lines.iter().enumerate() {
            assert_eq!(whole(line.trim_ascii_end()), Some(*stamp));
            received.got.push(stamp.sequence);
            match &mut received.silent_after {
                Some(0) => {
                    (received.silent_after, received.untold) = (None, received.untold + 1);
                    return Err(Failure::later(at, "no answer"));
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        if std::mem::take(&mut received.killed) {
            received.untold += lines.len() as u64;
            return Err(Failure::later(0, "killed"));
        }
        Ok("204".to_owned())
    }
}

/// A line as long as those of findings are.
fn long(sequence: u64) -> Vec<u8> {
    encode(&finding(&"x".repeat(700)), sequence)
}

#[test]
fn a_day_without_its_receiver_loses_nothing_repeats_only_what_nobody_acknowledged_and_keeps_to_its_bound() {
    let alerts: u64 = std::env::var("ALERTS").map_or(10_000, |alerts| alerts.parse().expect("a number"));
    let keep = alerts * 1_024;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("alerts");
    let about = About::receiver("siem", "webhook", Promise::AtLeastOnce);
    let away = Away { about, received: Arc::default() };
    let begun = Instant::now();
    let groups = alerts.div_ceil(GROUP) as u32;
    let (mut paused, mut made, mut retried, mut largest) = (None, 0, 0, 0);
    for life in 0..LIVES {
        let (mut log, recovered) =
            Log::open(Arc::new(Directory::open(&path).expect("there")), Settings::keep(keep)).expect("opened");
        assert_eq!(recovered, Recovered::default());
        let (state, delivery) = (SinkState::new("siem", "webhook", Promise::AtLeastOnce), Delivery::default());
        let reader = log.reader("siem");
        let mut runner = Runner::new(reader, Box::new(away.clone()), &state, &delivery, None);
        let of_life = |group: u32| group * LIVES / groups == life;
        let last = (0..groups).rev().find(|group| of_life(*group));
        // In the first life an answer is lost, at the end of the last all of a batch.
        away.received.lock().unwrap().silent_after = (life == 0).then_some(100);
        for group in (0..groups).filter(|group| of_life(*group)) {
            let now = DAY * group / groups;
            for _ in 0..GROUP.min(alerts - made) {
                log.push(long);
                made += 1;
            }
            log.commit().expect("committed");
            delivery.keep(log.next(), now.as_millis() as i64);
            assert_eq!(log.take_losses(), []);
            if Some(group) == last || group % 100 == 0 {
                largest = largest.max(bytes(&path));
            }
            away.received.lock().unwrap().killed = Some(group) == last && life == LIVES - 1;
            loop {
                let at = paused.unwrap_or(now);
                if at > now {
                    break;
                }
                away.received.lock().unwrap().now = at;
                let step = runner.step(begun + at);
                assert_ne!(step, Step::Ended, "the log is open");
                paused = if let Step::Paused(until) = step { Some(until - begun) } else { None };
                if step == Step::Idle {
                    break;
                }
            }
        }
        retried += state.retried.load(Relaxed);
        assert_eq!(delivery.gone.load(Relaxed), 0);
        // Killed: nobody says anything to anybody.
    }
    let (mut log, _) =
        Log::open(Arc::new(Directory::open(&path).expect("there")), Settings::keep(keep)).expect("opened");
    let (state, delivery) = (SinkState::new("siem", "webhook", Promise::AtLeastOnce), Delivery::default());
    let mut runner = Runner::new(log.reader("siem"), Box::new(away.clone()), &state, &delivery, None);
    away.received.lock().unwrap().now = DAY;
    while runner.step(begun + DAY) == Step::On {}
    assert_eq!((made, log.take_losses()), (alerts, vec![]));
    let received = away.received.lock().unwrap();
    let all: BTreeSet<u64> = received.got.iter().copied().collect();
    assert!(all.iter().copied().eq(1..=alerts), "{} of {alerts}", all.len());
    let repeated = received.got.len() as u64 - alerts;
    assert!(repeated == received.untold && repeated > 1, "{repeated}, {}", received.untold);
    assert!(alerts < 1_000_000 || repeated * 1_000 < alerts, "{repeated}");
    // Not before what it comes back to does anything come that it never had.
    let mut seen = 0;
    for sequence in &received.got {
        assert!(*sequence <= seen + 1, "{sequence} after {seen}");
        seen = seen.max(*sequence);
    }
    // Twenty-two hours at five minutes at most; and never twice in a second.
    assert!((22 * 12..22 * 3_600).contains(&retried), "{retried}");
    assert!(largest <= keep, "{largest} of {keep}");
    println!("proven: alerts of a day whose receiver was away for 22 hours of it, all of them delivered: {alerts}");
    println!("proven: of these delivered twice, since nobody said that they were taken: {repeated}");
    println!("proven: times that they were tried again: {retried}");
    println!("proven: MiB on disk at most, of those allowed: {} of {}", largest >> 20, keep >> 20);
}

/// What the segments take.
fn bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).expect("there").map(|file| file.expect("a file"));
    let segments = files.filter(|file| file.path().extension().is_some_and(|end| end == "jsonl"));
    segments.map(|file| file.metadata().expect("its length").len()).sum()
}
