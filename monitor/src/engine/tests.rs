use std::sync::Mutex;

use monitor_common::verdict::Verdict;
use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::{
    alerts::{
        ocsf,
        sinks::{Output, Sinks},
    },
    budgets::keeper::Keeper,
    engine::source::EVENT_QUEUE,
    fake::{self, Fake},
    model::{
        Alert, Host,
        budget::Day,
        readings::{Amount, Base, Device, Presence, Reading},
    },
};
use monitor_policy::{Policy, spec::Mode};

/// A running engine over a fake source.
struct Bench {
    fake: Fake,
    state: SharedState,
    handle: EngineHandle,
    events: mpsc::Sender<(Event, i128)>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    lines: Arc<Mutex<Vec<u8>>>,
    written: oneshot::Receiver<()>,
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
    let fake = Fake::new(in_force.clone());
    fake.script().next.extend(snapshots);
    let state = SharedState::new(MonitorState { epoch_length, ..MonitorState::default() });
    let lines = Memory::default();
    let encode = |alert: &Arc<Alert>| ocsf::line(&Host::default(), alert);
    let output = Output::new("memory", Box::new(lines.clone()));
    let (sinks, written) = Sinks::start(vec![output], 1_000, encode).expect("a thread");
    let consumers = fake::consumers(budgets);
    let (engine, handle) = Engine::new(Box::new(fake.clone()), state.clone(), Box::new(sinks), consumers, in_force);
    let (events, received) = mpsc::channel(EVENT_QUEUE);
    let stop = CancellationToken::new();
    let task = tokio::spawn(engine.run(received, stop.clone()));
    Bench { fake, state, handle, events, stop, task, lines: lines.0, written }
}

impl Bench {
    /// The alerts on flows, when there are so many.
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
        self.written.await.expect("all written");
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

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_early_when_the_flow_table_fills() {
    let bench = bench_with([], Duration::from_secs(300));
    bench.fake.script().table = Occupancy { used: 131_072, capacity: 262_144 };
    while bench.state.read().traffic.totals.epochs < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bench.fake.script().flips, 1);
    bench.end().await;
}

#[test]
fn half_of_a_table_is_enough_or_as_many_flows_as_are_merged_in_no_time() {
    let filling = |places, used| [used - 1, used].map(|used| is_filling(Occupancy { used, capacity: places }));
    for (places, used) in [(16_384, 8_192), (262_144, 131_072), (524_288, 262_144), (1_048_576, 262_144)] {
        assert_eq!(filling(places, used), [false, true], "{places}");
    }
    assert_eq!(filling(16_383, 16_383), [false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_alerts_at_once_and_the_drain_only_what_was_lost() {
    let mut snapshot = fake::snapshot(0);
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 444, 3);
    snapshot.events_lost = 1;
    let bench = bench([snapshot]);
    let event = Event { flow: key.into(), jiffies: 2_250, epoch: 0, wire_bytes: 104 };
    bench.events.send((event, fake::START)).await.expect("taken");
    while bench.state.read().alerts.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.fake.script().flips, 0, "no flip was needed");
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.state.read().alerts, [(("high", "egress"), 2), (("medium", "events_lost"), 1)].into());
    assert_eq!(
        bench.end().await,
        [
            alert("egress", "event"),
            alert("egress", "drain"),
            alert("events_lost", "Create"),
            alert("events_lost", "Close")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_holds_from_the_next_epoch_and_the_drained_one_keeps_its_policy() {
    let mut first = fake::snapshot(0);
    fake::add_flow(&mut first, 7, fake::OUTSIDE, 443, 3);
    let bench = bench([first]);
    let mut next = in_force(&"b".repeat(64));
    next.mode = Mode::Enforce;
    let mut policy = Policy { digest: "b".repeat(64), ..fake::policy() };
    policy.classes.reverse();
    next.policy = policy.into();
    assert_eq!(bench.handle.reload(next).await, Ok(()));
    assert_eq!(bench.fake.script().staged, [("b".repeat(64), true)]);
    {
        let state = bench.state.read();
        assert_eq!(
            (state.in_force.policy.digest.as_str(), state.in_force.mode.enforces()),
            ("b".repeat(64).as_str(), true)
        );
        let countries: Vec<_> = state.traffic.totals.groups.keys().map(|group| group.country.to_string()).collect();
        assert_eq!(countries, ["SG"], "the flow was counted under the old numbers");
    }
    assert_eq!(bench.end().await, [alert("egress", "drain")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_leaves_the_policy_and_is_told() {
    let bench = bench([]);
    let refused = Err(Refusal::Refused("it does not fit".into()));
    assert_eq!(bench.handle.reload(in_force("too large")).await, refused);
    bench.handle.reload_refused("config.toml:3: no".into()).await;
    assert_eq!(bench.handle.reload(in_force(&"c".repeat(64))).await, Ok(()));
    {
        let state = bench.state.read();
        assert_eq!((state.reload_failures, &state.reload_error), (2, &None));
        assert_eq!(state.in_force.policy.digest, "c".repeat(64));
    }
    assert_eq!(bench.end().await, [alert("reload_refused", "Create"), alert("reload_refused", "Close")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_fails_its_check_in_the_kernel_is_taken_back_and_told_by_name() {
    let (old, new) = ("a".repeat(64), "b".repeat(64));
    let mut under = [fake::snapshot(0), fake::snapshot(1), fake::snapshot(2)];
    for (snapshot, port) in under.iter_mut().zip([441, 442, 443]) {
        fake::add_flow(snapshot, 7, fake::INSIDE, port, 3);
    }
    let bench = bench(under);
    bench.fake.script().checks.push_back(Err("class 7 is not what was written".into()));
    let mut next = in_force(&new);
    let mut policy = Policy { digest: new.clone(), ..fake::policy() };
    policy.classes.reverse();
    let meanwhile = policy.classes[usize::from(fake::INSIDE)].country.to_string();
    assert_ne!(meanwhile, "IE");
    (next.policy, next.mode) = (policy.into(), Mode::Enforce);
    let told = format!(
        "policy {new} (enforce) failed its check in the kernel: class 7 is not what was written: {old} (observe) is in \
         force again"
    );
    assert_eq!(bench.handle.reload(next).await, Err(Refusal::Refused(told.clone())));
    let (flips, rollbacks) = {
        let script = bench.fake.script();
        (script.flips, script.rollbacks)
    };
    assert_eq!((flips, rollbacks), (2, 1));
    {
        let state = bench.state.read();
        assert_eq!((state.in_force.policy.digest.as_str(), state.in_force.mode.enforces()), (old.as_str(), false));
        assert_eq!((state.rollbacks, state.reload_failures), (1, 1));
        assert_eq!(state.reload_error, Some(told));
        assert_eq!(state.findings.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>(), ["policy_rolled_back"]);
        // What passed while it was in force is counted under its numbers, as it was judged.
        let countries: Vec<_> = state.traffic.totals.groups.keys().map(|group| group.country.to_string()).collect();
        let mut expected = ["IE".to_owned(), meanwhile];
        expected.sort_unstable();
        assert_eq!(countries, expected);
    }
    assert_eq!(bench.handle.reload(in_force(&"c".repeat(64))).await, Ok(()));
    assert_eq!(bench.state.read().traffic.totals.hook.values().map(|sums| sums.packets).sum::<u64>(), 9);
    let told: Vec<_> = bench.end().await.into_iter().filter(|(kind, _)| kind != "egress").collect();
    assert_eq!(told, [alert("policy_rolled_back", "Create"), alert("policy_rolled_back", "Close")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_comes_late_is_merged_under_its_own_policy_before_the_switch_is_told() {
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 443, 3);
    let bench = bench([snapshot]);
    bench.fake.script().broken = true;
    let mut next = in_force(&"b".repeat(64));
    let mut policy = Policy { digest: "b".repeat(64), ..fake::policy() };
    policy.classes.reverse();
    next.policy = policy.into();
    assert_eq!(bench.handle.reload(next).await, Err(Refusal::Late("bpf(2) says no".into())));
    assert_eq!(bench.state.read().flip_failures, 1);
    assert_eq!(bench.state.read().in_force.policy.digest, "a".repeat(64));
    bench.fake.script().broken = false;
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    {
        let state = bench.state.read();
        assert_eq!(state.in_force.policy.digest, "b".repeat(64));
        assert_eq!(state.flip_error, None);
        let countries: Vec<_> = state.traffic.totals.groups.keys().map(|group| group.country.to_string()).collect();
        assert_eq!(countries, ["IE"], "the flow was counted under the old numbers");
        assert_eq!(state.traffic.totals.hook.values().map(|sums| sums.packets).sum::<u64>(), 3);
    }
    let told = bench.end().await;
    assert_eq!(told, [alert("epoch_failed", "Create"), alert("epoch_failed", "Close")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn breach_overflow_and_stale_data_are_told() {
    let mut snapshot = fake::snapshot(0);
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 5);
    snapshot.interfaces[0].hook.packets += 1;
    let bench = bench([snapshot]);
    let mut stale = in_force(&"b".repeat(64));
    let built = (fake::START / 1_000_000_000) as i64 - 91 * 86_400;
    stale.datasets =
        vec![crate::model::in_force::DatasetInfo { name: "old".into(), version: "1".into(), built: Some(built) }];
    assert_eq!(bench.handle.reload(stale).await, Ok(()));
    let conditions: Vec<_> = bench.state.read().findings.iter().map(|(kind, _)| kind.name()).collect();
    assert_eq!(conditions, ["conservation_breach", "flow_table_overflow", "stale_geo_data"]);
    let told = bench.end().await;
    let begun: Vec<_> = told.iter().filter(|(_, how)| how == "Create").map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(begun, ["conservation_breach", "flow_table_overflow", "stale_geo_data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_beside_the_hook_is_told_in_each_epoch_in_which_it_grows() {
    let base = Base { after: Device { sent: amount(40), ..Device::default() }, ..Base::default() };
    let reading = |sent: u64, presence| {
        let device = Some(Device { sent: amount(40 + sent), ..Device::default() });
        Reading { interface: "eth0".into(), ifindex: 7, base: base.clone(), device, presence, ..Reading::default() }
    };
    let (on, off) = (Presence::Attached { ahead: 0 }, Presence::Detached);
    let epochs = [(0, on), (3, on), (3, on), (5, off), (6, off)];
    let bench =
        bench(epochs.map(|(sent, presence)| Snapshot { readings: vec![reading(sent, presence)], ..fake::snapshot(0) }));
    let mut told = Vec::new();
    for _ in epochs {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
        let state = bench.state.read();
        let standing = state.account("eth0").expect("eth0");
        assert_eq!(standing.before_attach, amount(40));
        told.push((standing.unaccounted.packets, state.alerts.get(&("critical", "unaccounted_egress")).copied()));
        assert_eq!(state.is_counted("eth0"), standing.presence == on);
        assert_eq!(state.not_ready(fake::START + 50_000_000_000).is_some(), standing.presence == off);
    }
    assert_eq!(told, [(0, None), (3, Some(1)), (3, Some(1)), (5, Some(2)), (6, Some(3))]);
    let told = bench.end().await;
    let of =
        |wanted: &str| told.iter().filter(|(kind, _)| kind == wanted).map(|(_, how)| how.as_str()).collect::<Vec<_>>();
    assert_eq!(of("unaccounted_egress"), ["Create", "Close", "Create", "Create", "Close"]);
    assert_eq!(of("detached"), ["Create"]);
}

/// Rule 1 may send 1,000 bytes a day.
fn budgeted(digest: &str) -> PolicyInForce {
    let mut policy = Policy { digest: digest.repeat(64), ..fake::policy() };
    policy.rules[0].max_bytes_per_day = Some(1_000);
    PolicyInForce { policy: policy.into(), ..PolicyInForce::default() }
}

/// An epoch in which rule 1 let through `packets` of 104 bytes.
fn by_rule(began: i128, packets: u64) -> Snapshot {
    let mut snapshot = Snapshot { started: began, ended: began + 10_000_000_000, ..fake::snapshot(0) };
    let key =
        monitor_common::wire::FlowKey { rule: 1, verdict: Verdict::Allowed as u8, ..fake::key(7, fake::OUTSIDE, 443) };
    fake::add(&mut snapshot, key, packets);
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_whose_budget_is_used_up_is_suspended_at_once_and_holds_again_after_midnight() {
    let midnight = Day::of(fake::START).end();
    // The third is what passes until the rule is suspended.
    let epochs = [
        by_rule(fake::START, 9),
        by_rule(fake::START, 2),
        by_rule(fake::START, 1),
        by_rule(fake::START, 0),
        by_rule(fake::START, 0),
        by_rule(midnight - 1_000_000_000, 0),
    ];
    let bench = bench_of(budgeted("a"), Keeper::in_memory(), epochs, Duration::from_secs(3_600));
    let standing = || {
        let state = bench.state.read();
        let standing = state.budgets.rules["migration-sg"];
        let suspended = state.in_force.policy.suspended.iter().copied().collect::<Vec<_>>();
        assert_eq!(standing.suspended.is_some(), !suspended.is_empty());
        let told = state.findings.iter().any(|(kind, _)| kind.name() == "budget_used_up");
        assert_eq!(told, !suspended.is_empty());
        assert_eq!(state.in_force.policy.digest, "a".repeat(64));
        (standing.used, standing.beyond(), suspended, bench.fake.script().flips)
    };
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(standing(), (936, 0, vec![], 1));
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(standing(), (1_248, 248, vec![1], 3));
    assert_eq!(bench.fake.script().staged, [("a".repeat(64), false)]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(standing(), (1_248, 248, vec![1], 4));
    // Another policy does not give the rule its bytes back; one with a greater budget does.
    assert_eq!(bench.handle.reload(budgeted("a")).await, Ok(()));
    assert_eq!(standing().2, [1]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(standing(), (0, 0, vec![], 7), "the day is over");
    let told: Vec<_> = bench.end().await.into_iter().filter(|(kind, _)| kind == "budget_used_up").collect();
    assert_eq!(told, [alert("budget_used_up", "Create"), alert("budget_used_up", "Close")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_begins_with_the_days_sums_and_a_disk_that_takes_nothing_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let hour = Duration::from_secs(3_600);
    let bench = bench_of(budgeted("a"), Keeper::open(&state, fake::START), [by_rule(fake::START, 5)], hour);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    bench.end().await;
    let again = Keeper::open(&state, fake::START + 60_000_000_000);
    assert!(again.hold(&budgeted("a").policy).suspended.is_empty());
    let bench = bench_of(budgeted("a"), again, [by_rule(fake::START, 5)], hour);
    assert_eq!(bench.state.read().budgets.rules["migration-sg"].used, 520);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.state.read().in_force.policy.suspended, [1].into());
    bench.end().await;
    // Suspended from the first packet on; and where its directory was is a file now.
    std::fs::remove_dir_all(&state).expect("removed");
    std::fs::write(&state, "").expect("written");
    let broken = Keeper::open(&state, fake::START);
    assert_eq!(broken.problem(&fake::policy()), None, "of no use to a policy without budgets");
    assert!(broken.problem(&budgeted("a").policy).is_some_and(|why| why.contains("budgets.json")), "{broken:?}");
    let bench = bench_of(budgeted("a"), broken, [by_rule(fake::START, 5)], hour);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.state.read().findings.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>(), ["budget_state"]);
    assert_eq!(bench.state.read().budgets.rules["migration-sg"].used, 520);
    std::fs::remove_file(&state).expect("removed");
    bench.fake.script().next.push_back(by_rule(fake::START + 10_000_000_000, 1));
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.state.read().findings, []);
    bench.end().await;
    let kept = Keeper::open(&state, fake::START);
    assert_eq!((kept.sums().used("migration-sg"), kept.problem(&budgeted("a").policy)), (624, None));
}

fn amount(packets: u64) -> Amount {
    Amount { packets, bytes: packets * 100 }
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

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_read_an_hour_late_makes_no_second_alert_and_has_the_time_of_its_packet() {
    const HOUR: i128 = 3_600_000_000_000;
    let mut snapshot = fake::snapshot(0);
    // The daemon was away; there was one packet at the beginning.
    snapshot.ended += HOUR;
    snapshot.jiffies += 3_600 * 250;
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 1);
    let (first, ended) = (2_250, snapshot.ended);
    (snapshot.flows[0].1.first, snapshot.flows[0].1.last) = (first, first);
    let sent = snapshot.wall_time(first);
    // Another flow found no place: of it there is only the event.
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 1);
    let bench = bench([snapshot]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    let another = fake::key(7, fake::OUTSIDE, 444);
    for key in [key, another] {
        let event = Event { flow: key.into(), jiffies: first, epoch: 0, wire_bytes: 104 };
        bench.events.send((event, ended + 1)).await.expect("the task runs");
    }
    let late = &bench.egress(2).await[1];
    assert_eq!(late["dst_endpoint"]["port"], 444);
    assert_eq!(i128::from(late["time"].as_i64().expect("milliseconds")), sent / 1_000_000);
    let alerts = bench.end().await;
    let of_flows: Vec<_> = alerts.into_iter().filter(|(kind, _)| kind == "egress").collect();
    assert_eq!(of_flows, [alert("egress", "drain"), alert("egress", "event")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_epoch_number_comes_the_first_and_events_keep_their_policy() {
    let full = || {
        let mut snapshot = fake::snapshot(0);
        fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 3);
        snapshot
    };
    let bench = bench([full(), full()]);
    bench.fake.script().flips = u32::MAX - 1;
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    // In force from epoch 0 on, the second one of that number.
    assert_eq!(bench.handle.reload(in_force(&"b".repeat(64))).await, Ok(()));
    for (epoch, port) in [(u32::MAX, 1), (0, 2), (1, 3)] {
        let flow = fake::key(7, fake::OUTSIDE, port).into();
        let event = Event { flow, jiffies: 1, epoch, wire_bytes: 104 };
        bench.events.send((event, fake::START)).await.expect("the task runs");
    }
    let alerts = bench.egress(3).await;
    let policies: Vec<&str> =
        alerts.iter().map(|line| &line["unmapped"]["policy"].as_str().expect("a digest")[..1]).collect();
    assert_eq!(policies, ["a", "b", "b"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_is_gone_is_told_once_and_the_end_is_no_such_thing() {
    let bench = bench([]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    bench.fake.script().detached = true;
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.state.read().findings.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>(), ["interface_lost"]);
    assert!(bench.state.read().not_ready(0).is_some_and(|why| why.starts_with("nothing is attached")));
    let line = ocsf::document(&Host::default(), &bench.state.read().latest_alerts[0]);
    assert!(line["finding_info"]["desc"].as_str().is_some_and(|text| text.starts_with("eth0 (index 7) was removed")));
    assert_eq!(bench.end().await, [alert("interface_lost", "Create")]);
}
