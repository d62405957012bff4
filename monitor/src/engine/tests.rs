//! The engine over a fake source, whole: what is asked, what is written, what the state says. A file a subject; here is
//! what they share, and the closing of epochs.

mod budgets;
mod events;
mod findings;
mod names;
mod policies;
mod verdicts;

use std::sync::Mutex;

use monitor_common::{verdict::Verdict, wire::Reported};
use serde_json::Value;

use super::*;
use crate::{
    alerts::ocsf,
    budgets::keeper::Keeper,
    engine::source::EVENT_QUEUE,
    fake::{self, Fake},
    model::{
        Alert, Host,
        in_force::{Fell, Trial},
    },
    sinks::{Ended, Outbox, Sink, Store, stream::Stream},
};
use monitor_policy::{Policy, spec::Mode};

/// A running engine over a fake source.
struct Bench {
    fake: Fake,
    state: SharedState,
    handle: EngineHandle,
    events: mpsc::Sender<Report>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    lines: Arc<Mutex<Vec<u8>>>,
    written: Ended,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn in_force(digest: &str) -> PolicyInForce {
    let policy = Policy { digest: digest.into(), ..fake::policy() };
    PolicyInForce { policy: policy.into(), inside: "EEA".into(), ..PolicyInForce::default() }
}

/// Epochs of an hour: only requests flip.
fn bench(snapshots: impl IntoIterator<Item = Snapshot>) -> Bench {
    bench_with(snapshots, Duration::from_secs(3_600))
}

fn bench_with(snapshots: impl IntoIterator<Item = Snapshot>, epoch_length: Duration) -> Bench {
    bench_of(in_force(&"a".repeat(64)), Keeper::in_memory(), snapshots, epoch_length)
}

fn bench_of(
    in_force: PolicyInForce,
    budgets: Keeper,
    snapshots: impl IntoIterator<Item = Snapshot>,
    epoch_length: Duration,
) -> Bench {
    bench_for(in_force, fake::consumers(budgets), snapshots, epoch_length)
}

fn bench_for(
    in_force: PolicyInForce,
    consumers: Vec<Box<dyn Consumer>>,
    snapshots: impl IntoIterator<Item = Snapshot>,
    epoch_length: Duration,
) -> Bench {
    bench_in(MonitorState { epoch_length, ..MonitorState::default() }, in_force, consumers, snapshots)
}

fn bench_in(
    state: MonitorState,
    in_force: PolicyInForce,
    consumers: Vec<Box<dyn Consumer>>,
    snapshots: impl IntoIterator<Item = Snapshot>,
) -> Bench {
    let fake = Fake::new(in_force.clone());
    fake.script().next.extend(snapshots);
    let state = SharedState::new(state);
    let lines = Memory::default();
    let encode = |alert: &Alert, sequence| ocsf::kept(&Host::default(), alert, sequence, 0);
    let sink: Box<dyn Sink> = Box::new(Stream::new("memory", Box::new(lines.clone())));
    let (outbox, written) = Outbox::start(Store::Memory, vec![sink], 1_000, encode).expect("a thread");
    let (engine, handle) = Engine::new(Box::new(fake.clone()), state.clone(), Box::new(outbox), consumers, in_force);
    let (events, received) = mpsc::channel(EVENT_QUEUE);
    let stop = CancellationToken::new();
    let task = tokio::spawn(engine.run(received, stop.clone()));
    Bench { fake, state, handle, events, stop, task, lines: lines.0, written }
}

impl Bench {
    /// The alerts on incidents, when there are so many.
    async fn egress(&self, wanted: usize) -> Vec<Value> {
        loop {
            let lines: Vec<Value> = self
                .state
                .read()
                .latest_alerts
                .iter()
                .map(|alert| ocsf::document(&Host::default(), alert))
                .filter(|line: &Value| line["class_uid"] == 4001)
                .collect();
            if lines.len() >= wanted {
                return lines;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Stops it and returns the alerts written, as `(type, origin or activity)`.
    async fn end(self) -> Vec<(String, String)> {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a good end");
        self.written.wait(Duration::from_secs(10)).await.expect("all written");
        let bytes = self.lines.lock().unwrap();
        let text = std::str::from_utf8(&bytes).expect("UTF-8");
        let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect(line))
            .map(|line| match line["class_uid"].as_u64() {
                Some(4001) => ("egress".to_owned(), text_of(&line["unmapped"]["origin"])),
                _ => (text_of(&line["unmapped"]["type"]), text_of(&line["activity_name"])),
            })
            .collect()
    }
}

fn alert(kind: &str, how: &str) -> (String, String) {
    (kind.to_owned(), how.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_by_an_epoch_that_ended_after_it() {
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 443, 3);
    let bench = bench([snapshot]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.fake.script().flips, 1);
    assert_eq!(bench.state.read().traffic.totals.groups.values().map(|sums| sums.packets).sum::<u64>(), 3);
    assert_eq!(
        bench.state.read().last.map(|last| (last.epoch, last.flows, last.fill.table.capacity)),
        Some((0, 1, 1_000))
    );
    assert_eq!(bench.end().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_flips_and_are_all_answered() {
    let bench = bench([]);
    let started = Instant::now();
    let asked: Vec<_> = (0..200)
        .map(|_| {
            let handle = bench.handle.clone();
            tokio::spawn(async move { handle.close_epoch().await })
        })
        .collect();
    for one in asked {
        assert_eq!(one.await.expect("no panic"), Ok(()));
    }
    let flips = bench.fake.script().flips;
    let most = 2 + u32::try_from(started.elapsed().as_millis() / MIN_GAP.as_millis()).expect("short");
    assert!(flips >= 1 && flips <= most, "{flips} flips in {:?}", started.elapsed());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_are_closed_without_being_asked() {
    let bench = bench_with([], Duration::from_millis(10));
    while bench.state.read().traffic.totals.epochs < 3 {
        tokio::task::yield_now().await;
    }
    assert!(bench.fake.script().flips >= 3);
    bench.end().await;
}

/// As the budgets' days, but for their length.
struct Days;

impl Days {
    const LONG: i128 = 100_000_000;
}

impl Consumer for Days {
    fn deadline(&self, began: i128) -> Option<i128> {
        Some((began.div_euclid(Self::LONG) + 1) * Self::LONG)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_at_midnight_however_often_the_loop_is_woken_then() {
    let bench = bench_for(in_force("a"), vec![Box::new(Days)], [], Duration::from_secs(3_600));
    let began = now();
    let event = monitor_common::wire::Event::default();
    // A machine that has other things to do may be late for some.
    while bench.fake.script().flips < 9 {
        bench.events.send(Report::Event(Reported::Flow(event), now())).await.expect("taken");
        assert!(now() < began + 300 * Days::LONG, "{} ends of days", bench.fake.script().flips);
    }
    let (flips, days) = (i128::from(bench.fake.script().flips), (now() - began) / Days::LONG);
    assert!(flips <= days + 1, "{flips} ends of {days} days");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_midnight_at_which_nothing_can_be_drained_is_tried_again_and_not_without_a_pause() {
    let bench = bench_for(in_force("a"), vec![Box::new(Days)], [], Duration::from_secs(3_600));
    bench.fake.script().broken = true;
    let began = now();
    while bench.state.read().flip_failures < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let passed = now() - began;
    let most = 2 + passed / i128::try_from(MIN_GAP.as_nanos()).expect("short");
    assert!(i128::from(bench.state.read().flip_failures) <= most, "in {passed} ns");
    bench.fake.script().broken = false;
    while bench.state.read().flip_error.is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_early_when_the_flow_table_fills() {
    let bench = bench_with([], Duration::from_secs(300));
    bench.fake.script().fill.table = Occupancy { used: 131_072, capacity: 262_144 };
    while bench.state.read().traffic.totals.epochs < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bench.fake.script().flips, 1);
    bench.end().await;
}

#[test]
fn half_of_a_table_is_enough_or_as_many_flows_as_are_merged_in_no_time() {
    let filling = |capacity, used| {
        [used - 1, used].map(|used| is_filling(Fill { table: Occupancy { used, capacity }, ..Fill::default() }))
    };
    for (places, used) in [(16_384, 8_192), (262_144, 131_072), (524_288, 262_144), (1_048_576, 262_144)] {
        assert_eq!(filling(places, used), [false, true], "{places}");
    }
    assert_eq!(filling(16_383, 16_383), [false, false]);
}

#[test]
fn half_of_the_log_is_enough_and_so_is_a_cache_that_may_grow() {
    let filling = |used| is_filling(Fill { log: Occupancy { used, capacity: 2_048 }, ..Fill::default() });
    assert_eq!([0, 1_023, 1_024].map(filling), [false, false, true]);
    assert!(is_filling(Fill { crowded: true, ..Fill::default() }));
}

/// Two epochs: one whose drain fails, and the one that is open then.
fn failed_and_open() -> [Snapshot; 2] {
    let [mut failed, mut open] = [fake::snapshot(0), fake::snapshot(1)];
    fake::add_flow(&mut failed, 7, fake::OUTSIDE, 443, 3);
    fake::add_flow(&mut open, 7, fake::OUTSIDE, 443, 4);
    [failed, open]
}

fn counted(state: &SharedState) -> u64 {
    state.read().traffic.totals.hook.values().map(|sums| sums.packets).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_drain_that_failed_a_question_is_answered_by_an_epoch_that_ended_after_it() {
    let bench = bench(failed_and_open());
    bench.fake.script().broken = true;
    assert_eq!(bench.handle.close_epoch().await, Err(EpochError::NotDrained("bpf(2) says no".into())));
    bench.fake.script().broken = false;
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!((counted(&bench.state), bench.fake.script().flips), (7, 2));
    // And no more than one from then on.
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.fake.script().flips, 3);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_the_kernel_part_ended_by_itself_is_not_the_last_before_an_answer() {
    let bench = bench(failed_and_open());
    bench.fake.script().fell = Some(Fell::InTime);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert!(counted(&bench.state) == 7 && bench.fake.script().flips >= 2);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_drains_the_open_epoch_after_a_drain_that_failed() {
    let bench = bench(failed_and_open());
    let state = bench.state.clone();
    bench.fake.script().broken = true;
    assert!(bench.handle.close_epoch().await.is_err());
    bench.fake.script().broken = false;
    bench.end().await;
    assert_eq!(counted(&state), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_comes_in_force_while_nothing_can_be_drained_is_said_to_be_from_its_first_epoch_on() {
    let bench = bench(failed_and_open());
    bench.fake.script().broken = true;
    let next = in_force(&"b".repeat(64));
    assert!(matches!(bench.handle.reload(next, None).await, Err(Refusal::Late(_))));
    assert_eq!(bench.state.read().in_force.policy.digest, "a".repeat(64));
    // Nor does another one come in its place until it can.
    let refused = bench.handle.reload(in_force(&"c".repeat(64)), None).await;
    assert_eq!(refused, Err(Refusal::Refused("the last epoch is not drained yet".into())));
    bench.fake.script().broken = false;
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    {
        let state = bench.state.read();
        let in_force = state.in_force.policy.digest.as_str();
        assert_eq!((in_force, state.last.map(|last| last.epoch)), (&*"b".repeat(64), Some(1)));
        // That of the epoch before it.
        assert_eq!(state.in_force.since, fake::snapshot(0).ended);
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_after_a_drain_that_failed_is_no_worse_off() {
    let bench = bench(failed_and_open());
    bench.fake.script().broken = true;
    assert!(bench.handle.close_epoch().await.is_err());
    bench.fake.script().broken = false;
    assert_eq!(bench.handle.reload(in_force(&"b".repeat(64)), None).await, Ok(()));
    assert_eq!(bench.state.read().in_force.policy.digest, "b".repeat(64));
    assert_eq!(counted(&bench.state), 7);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_detaches_and_drains_what_is_left() {
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    let bench = bench([snapshot]);
    let (fake, state) = (bench.fake.clone(), bench.state.clone());
    assert_eq!(bench.end().await, [alert("egress", "drain")]);
    assert!(fake.script().detached);
    assert_eq!(state.read().traffic.totals.hook.values().map(|sums| sums.packets).sum::<u64>(), 3);
    assert!(state.read().attachments.is_empty());
}
