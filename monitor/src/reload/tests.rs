//! The task over an engine with a fake kernel: what is read, confirmed and taken back. Here is also what the other files of
//! these tests share.

mod by_hand;
mod kept;

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use monitor_api::reload::Outcome;
use monitor_common::wire::RuleRow;
use monitor_policy::{Policy, PolicyRef, spec::Mode};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{pending::CommitConfirm, *};
use crate::{
    alerts::ocsf,
    budgets::keeper::Keeper,
    clock::{TrustedClock, trust::Reading},
    engine::Engine,
    fake::{self, Fake},
    model::{
        Host,
        in_force::{LastGood, PendingConfirmation},
        now,
    },
    sinks::{Outbox, Store},
    storage::state::StateDirectory,
    store::{MonitorState, SharedState},
};

/// The task over a fake kernel; what is read is whatever the test put into `file`.
struct Bench {
    fake: Fake,
    state: SharedState,
    handle: ReloadHandle,
    file: Arc<Mutex<Result<PolicyInForce, ReloadError>>>,
    stop: CancellationToken,
    /// Of the reloader alone.
    reloads: CancellationToken,
    _events: mpsc::Sender<crate::engine::source::Report>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn in_force(digest: &str, enforce: bool) -> PolicyInForce {
    let policy = Policy { digest: digest.into(), ..fake::policy() };
    PolicyInForce { policy: policy.into(), mode: Mode::enforcing(enforce), ..PolicyInForce::default() }
}

fn named(digest: &str, mode: &str) -> PolicyRef {
    PolicyRef { digest: digest.into(), mode: Mode::enforcing(mode == "enforce") }
}

fn bench(first: PolicyInForce, confirm: Option<Duration>, confirmations: ConfirmationStore) -> Bench {
    begun(first, confirm, confirmations, (ByHand::default(), Beginning::Files(None)))
}

fn begun(
    first: PolicyInForce,
    confirm: Option<Duration>,
    confirmations: ConfirmationStore,
    (by_hand, begin): (ByHand, Beginning),
) -> Bench {
    // Never the clock that a policy of the tests was compiled by.
    let reading = Reading { realtime: 70_000_000_000, boottime: 7_000_000_000, ..Reading::default() };
    begun_by(TrustedClock::of(move || reading), first, (confirm, confirmations), (by_hand, begin))
}

fn begun_by(
    clock: TrustedClock,
    first: PolicyInForce,
    (confirm, confirmations): (Option<Duration>, ConfirmationStore),
    (by_hand, begin): (ByHand, Beginning),
) -> Bench {
    let reverted = matches!(begin, Beginning::Reverted).then(|| "policy b was not confirmed".to_owned());
    let fake = Fake::default();
    let state = SharedState::new(MonitorState { epoch_length: Duration::from_secs(3_600), ..MonitorState::default() });
    let (outbox, _) = Outbox::start(Store::Memory, Vec::new(), 100, |_, _| b"\n".to_vec()).expect("a thread");
    let consumers = fake::consumers_by(clock.clone(), Keeper::in_memory());
    let (engine, epochs) =
        Engine::new(Box::new(fake.clone()), state.clone(), Box::new(outbox), consumers, first.clone());
    let stop = CancellationToken::new();
    let (events, received) = mpsc::channel(10);
    tokio::spawn(engine.run(received, stop.clone()));
    let file = Arc::new(Mutex::new(Ok(first.clone())));
    let content = Arc::clone(&file);
    let read = move |_| Read { files: Files::default(), policy: content.lock().unwrap().clone() };
    let setup = Setup {
        read: Arc::new(read),
        files: Files::default(),
        clock,
        confirm,
        outlives: true,
        confirmations,
        by_hand,
        begin,
        reverted,
    };
    let (reloader, handle) = PolicyReloader::new(setup, epochs, state.clone(), first);
    let reloads = stop.child_token();
    tokio::spawn(reloader.run(reloads.clone()));
    Bench { reloads, fake, state, handle, file, stop, _events: events }
}

fn kept(directory: &Path) -> ConfirmationStore {
    ConfirmationStore::open(StateDirectory::open(directory))
}

impl Bench {
    async fn load(&self, next: PolicyInForce, confirm: Option<Duration>) -> Result<Outcome, String> {
        *self.file.lock().unwrap() = Ok(next);
        self.handle.reload(confirm).await.map_err(|error| error.to_string())
    }

    fn now(&self) -> PolicyRef {
        self.state.read().in_force.reference()
    }

    /// What the kernel part would put in force by itself.
    fn guarded(&self) -> Option<PolicyRef> {
        self.fake.script().guarded.as_ref().map(|(digest, mode, _)| named(digest, mode.name()))
    }

    fn back(&self) -> Option<PolicyRef> {
        self.state.read().unconfirmed.as_ref().map(|pending| pending.back_to.clone())
    }

    async fn until(&self, what: impl Fn(&MonitorState) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !what(&self.state.read()) {
            assert!(Instant::now() < deadline, "it does not come");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

const SOON: Option<Duration> = Some(Duration::from_millis(150));
const LATE: Option<Duration> = Some(Duration::from_secs(600));

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_confirms_goes_and_what_was_confirmed_last_comes_back() {
    let bench = bench(in_force("a", false), None, ConfirmationStore::default());
    let outcome = bench.load(in_force("b", true), LATE).await.expect("in force");
    assert_eq!((outcome.policy, outcome.changed), (named("b", "enforce"), true));
    assert_eq!(outcome.unconfirmed.map(|pending| pending.back_to), Some(named("a", "observe")));
    // So that it goes without this process, too.
    assert_eq!(bench.guarded(), Some(named("a", "observe")));
    // One on top of it: the way back stays the one that was confirmed.
    let outcome = bench.load(in_force("c", true), SOON).await.expect("in force");
    assert_eq!(outcome.unconfirmed.map(|pending| pending.back_to), Some(named("a", "observe")));
    assert_eq!((bench.now(), bench.guarded()), (named("c", "enforce"), Some(named("a", "observe"))));
    bench.until(|state| state.reverts == 1).await;
    assert_eq!(bench.guarded(), None);
    assert_eq!((bench.now(), bench.back()), (named("a", "observe"), None));
    let staged = [("b", true), ("c", true), ("a", false)].map(|(digest, enforce)| (digest.to_owned(), enforce));
    assert_eq!(bench.fake.script().staged, staged);
    let line = bench.state.read().latest_alerts.back().cloned().expect("an alert");
    let line = ocsf::document(&Host::default(), &line);
    assert_eq!(line["severity"], "High");
    assert_eq!(
        line["finding_info"]["desc"],
        "policy c (enforce) was not confirmed within 0 s: a (observe) is in force again"
    );
    let open = |state: &MonitorState| state.findings.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>();
    assert_eq!(open(&bench.state.read()), ["policy_reverted"]);
    // Somebody decides anew: that is over.
    bench.load(in_force("c", true), None).await.expect("in force");
    bench.until(|state| state.findings.is_empty()).await;
    assert_eq!((bench.now(), bench.back()), (named("c", "enforce"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_stays_and_is_the_way_back_from_then_on() {
    let bench = bench(in_force("a", false), LATE, kept(tempfile::tempdir().unwrap().path()));
    assert_eq!(bench.back(), None, "an observing start cuts nobody off");
    bench.load(in_force("b", true), None).await.expect("in force");
    assert_eq!(bench.back(), Some(named("a", "observe")));
    let outcome = bench.handle.confirm(None).await.expect("confirmed");
    assert_eq!((outcome.policy, outcome.unconfirmed), (named("b", "enforce"), None));
    // The same again: nothing to confirm.
    assert_eq!(bench.load(in_force("b", true), LATE).await.expect("in force").unconfirmed, None);
    bench.load(in_force("c", true), None).await.expect("in force");
    assert_eq!(bench.back(), Some(named("b", "enforce")));
    // What was confirmed is in force again by a reload: nothing is pending any more.
    assert_eq!(bench.load(in_force("b", true), None).await.expect("in force").unconfirmed, None);
    assert_eq!(bench.state.read().reverts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_refused_changes_neither_policy_nor_deadline() {
    let bench = bench(in_force("a", false), None, ConfirmationStore::default());
    bench.load(in_force("b", false), LATE).await.expect("in force");
    *bench.file.lock().unwrap() = Err(ReloadError::Invalid("config.toml:1: no".into()));
    assert_eq!(bench.handle.reload(None).await, Err(ReloadError::Invalid("config.toml:1: no".into())));
    assert_eq!(bench.load(in_force("too large", false), LATE).await, Err("it does not fit".into()));
    bench.until(|state| state.reload_failures == 2).await;
    assert_eq!((bench.now(), bench.back()), (named("b", "observe"), Some(named("a", "observe"))));
    // Without a time of its own a change takes the deadline that there is.
    bench.load(in_force("c", false), None).await.expect("in force");
    assert_eq!((bench.now(), bench.back()), (named("c", "observe"), Some(named("a", "observe"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enforcing_start_falls_back_to_observing_unless_it_was_or_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let first = bench(in_force("a", true), SOON, kept(folder.path()));
    first.until(|state| state.reverts == 1).await;
    assert_eq!((first.now(), first.back()), (named("a", "observe"), None));

    let second = bench(in_force("a", true), LATE, kept(folder.path()));
    assert_eq!(second.back(), Some(named("a", "observe")));
    assert_eq!(second.handle.confirm(None).await.expect("confirmed").warning, None);
    assert_eq!(second.back(), None);

    // After a restart it is known.
    let third = bench(in_force("a", true), SOON, kept(folder.path()));
    assert_eq!((third.now(), third.back()), (named("a", "enforce"), None));
    // One that nobody confirmed awaits confirmation again after a restart, without anybody asking.
    let loaded = bench(in_force("c", false), None, kept(folder.path()));
    loaded.load(in_force("d", true), Some(Duration::from_secs(1))).await.expect("in force");
    loaded.until(|state| state.reverts == 1).await;
    let restarted = bench(in_force("d", true), None, kept(folder.path()));
    assert_eq!(restarted.back(), Some(named("d", "observe")));
    restarted.until(|state| state.reverts == 1).await;
    assert_eq!(restarted.now(), named("d", "observe"));
    // Another policy is not.
    let fourth = bench(in_force("b", true), LATE, kept(folder.path()));
    assert_eq!(fourth.back(), Some(named("b", "observe")));
    assert_eq!(third.state.read().reverts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_come_back_is_tried_again_and_reported() {
    let bench = bench(in_force("too large", false), None, ConfirmationStore::default());
    bench.load(in_force("b", false), SOON).await.expect("in force");
    bench.until(|state| state.reverts >= 2).await;
    assert_eq!(bench.now(), named("b", "observe"));
    let lines: Vec<String> = bench
        .state
        .read()
        .latest_alerts
        .iter()
        .map(|alert| ocsf::document(&Host::default(), alert).to_string())
        .collect();
    let line = lines.iter().find(|line| line.contains("can't come back"));
    assert!(line.is_some_and(|line| line.contains("it does not fit")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_confirm_in_is_the_reloads_own_then_the_runs_and_an_equal_policy_changes_no_deadline() {
    let (own, run) = (Some(Duration::from_secs(60)), LATE);
    let left = |bench: &Bench| {
        let state = bench.state.read();
        let left = state.unconfirmed.as_ref().map(|pending| pending.status(now()).seconds_left);
        // To the minute: some of it has passed.
        left.map(|left| (left + 59) / 60)
    };
    let first = bench(in_force("a", false), run, ConfirmationStore::default());
    first.load(in_force("b", true), None).await.expect("in force");
    assert_eq!(left(&first), Some(10));
    first.load(in_force("c", true), own).await.expect("in force");
    assert_eq!(left(&first), Some(1));
    assert!(!first.load(in_force("c", true), None).await.expect("in force").changed);
    assert_eq!(left(&first), Some(1), "no later end for nothing");
    // A start: the run's own, then what the policy had.
    let folder = tempfile::tempdir().unwrap();
    let mut store = kept(folder.path());
    store.keep_pending(&named("d", "enforce"), Duration::from_secs(60), &CompiledFrom::default()).unwrap();
    let started = |confirm| bench(in_force("d", true), confirm, store.clone());
    assert_eq!([run, None].map(|confirm| left(&started(confirm))), [Some(10), Some(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_is_what_was_in_force_before_the_unconfirmed_one_whatever_is_loaded_on_top() {
    let bench = bench(in_force("a", false), None, ConfirmationStore::default());
    bench.load(in_force("b", true), None).await.expect("in force");
    assert_eq!(bench.back(), None, "it stays, and is the way back from now on");
    bench.load(in_force("c", true), SOON).await.expect("in force");
    bench.load(in_force("d", true), None).await.expect("in force");
    bench.until(|state| state.reverts == 1).await;
    assert_eq!((bench.now(), bench.back()), (named("b", "enforce"), None));
    // Whoever confirms too late is told, and what came back is nobody's concern any more when somebody has decided.
    assert_eq!(bench.state.read().findings.len(), 1);
    let late = bench.handle.confirm(None).await.expect_err("too late").to_string();
    assert!(late.starts_with("nothing is on trial: policy d (enforce) was not confirmed within 0 s: b"), "{late}");
    assert_eq!(bench.state.read().findings.len(), 1);
    bench.load(in_force("b", true), None).await.expect("in force");
    bench.until(|state| state.findings.is_empty()).await;
    // A day is the longest time to confirm in.
    let outcome = bench.load(in_force("c", true), Some(LONGEST * 9)).await.expect("in force");
    let left = outcome.unconfirmed.map(|pending| pending.seconds_left);
    assert!(left.is_some_and(|left| (86_000..=86_400).contains(&left)), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_knows_what_awaits_confirmation_for_as_long_as_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(in_force("a", true), None, kept(folder.path()));
    let pending = |digest| kept(folder.path()).pending(&named(digest, "enforce"));
    bench.load(in_force("b", true), LATE).await.expect("in force");
    assert_eq!(pending("b"), LATE);
    bench.load(in_force("a", true), None).await.expect("in force");
    assert_eq!([pending("a"), pending("b")], [None, None], "what was confirmed is in force again");
    bench.load(in_force("b", true), LATE).await.expect("in force");
    bench.handle.confirm(None).await.expect("confirmed");
    // Another one is confirmed: this one is not pending all the same.
    kept(folder.path()).keep_confirmed(&named("c", "enforce"), &CompiledFrom::default()).unwrap();
    assert_eq!(pending("b"), None);
}

#[test]
fn what_is_left_to_confirm_in_is_that_whatever_the_wall_clock_is_set_to() {
    let pending = |left: Duration| PendingConfirmation {
        ends: std::time::Instant::now().checked_add(left).expect("a time"),
        back_to: named("a", "observe"),
        candidate: None,
    };
    let second = 1_000_000_000;
    for set_to in [0, 5 * second, 3_600 * second, 1_800_000_000 * second] {
        let status = pending(Duration::from_millis(12_900)).status(set_to);
        assert_eq!(status.seconds_left, 12, "{set_to}");
        // When that is by the clock as it is now.
        let until: jiff::Timestamp = status.until.parse().expect("a time");
        assert!((12 * second..13 * second).contains(&(until.as_nanosecond() - set_to)), "{set_to}: {until}");
    }
    assert_eq!(pending(Duration::ZERO).status(5 * second).seconds_left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_times_what_is_in_force_anew_and_what_comes_back_later_too() {
    let bench = bench(in_force("a", false), None, ConfirmationStore::default());
    let timed_at = |state: &MonitorState| state.in_force.policy.image.host_boot_ns;
    bench.load(in_force("b", true), None).await.expect("in force");
    assert_eq!(timed_at(&bench.state.read()), 0);
    bench.handle.clock_set().await;
    bench.until(|state| timed_at(state) == 7_000_000_000).await;
    assert_eq!((bench.now(), bench.back()), (named("b", "enforce"), None));
    bench.load(in_force("c", true), None).await.expect("in force");
    bench.load(in_force("d", true), SOON).await.expect("in force");
    assert_eq!(timed_at(&bench.state.read()), 0);
    bench.until(|state| state.reverts == 1).await;
    assert_eq!((bench.now(), timed_at(&bench.state.read())), (named("c", "enforce"), 7_000_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_revives_no_rule_until_what_is_remembered_is_reset_on_the_record() {
    const MINUTE: i64 = 60_000_000_000;
    let wall = Arc::new(AtomicI64::new(100 * MINUTE));
    let read = Arc::clone(&wall);
    let clock = TrustedClock::of(move || Reading {
        realtime: read.load(Ordering::Relaxed).into(),
        boottime: 70 * MINUTE as u64,
        synchronised: Some(true),
    });
    let mut policy = Policy { digest: "a".into(), ..fake::policy() };
    policy.rules[0].expires = Some(90 * 60);
    policy.image.rules = vec![RuleRow { rule: 1, expires_ns: 60 * MINUTE as u64, ..RuleRow::default() }];
    let first = PolicyInForce { policy: policy.into(), ..PolicyInForce::default() };
    let begin = (ByHand::default(), Beginning::Files(None));
    let bench = begun_by(clock.clone(), first, (None, ConfirmationStore::default()), begin);
    let timed = |by: u64| move |state: &MonitorState| state.in_force.policy.image.rules[0].expires_ns == by;
    // Back to when the rule still held: ten minutes are left to it by the wall clock.
    wall.store(80 * MINUTE, Ordering::Relaxed);
    assert!(clock.look());
    bench.handle.clock_set().await;
    bench.until(|state| state.in_force.policy.image.host_boot_ns == 70 * MINUTE as u64).await;
    assert!(timed(60 * MINUTE as u64)(&bench.state.read()), "it ended ten minutes ago, as before");
    bench.until(|state| state.clock.ahead == i128::from(20 * MINUTE)).await;
    let why = "the time service was wrong".to_owned();
    let status = bench.handle.reset_clock(why).await.expect("reset");
    assert_eq!((status.behind_seconds, status.jumps), (0, 1));
    bench.until(timed(80 * MINUTE as u64)).await;
    let told = |kind| alerts(&bench, kind).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    assert_eq!(told("clock_jump"), ["the wall clock was set back by 1200 s, to 1970-01-01T01:20:00.000Z"]);
    assert_eq!(
        told("clock_reset"),
        [
            "remembered: 1970-01-01T01:40:00.000Z; the wall clock says 1970-01-01T01:20:00.000Z: the time service was wrong; by somebody"
        ]
    );
    let open = |state: &MonitorState| state.findings.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>();
    bench.until(|state| !open(state).contains(&"clock_behind")).await;
    assert_eq!(open(&bench.state.read()), [""; 0], "a reset is over when it is told");
    assert_eq!(told("clock_behind").len(), 2, "raised, and resolved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_is_a_finding_until_one_succeeds_whatever_else_comes_in_force() {
    let bench = bench(in_force("a", false), None, ConfirmationStore::default());
    let refused = || {
        let state = bench.state.read();
        let open: Vec<_> = state.findings.iter().map(|(kind, _)| kind.name()).collect();
        (open.contains(&"reload_refused"), state.reload_error.clone())
    };
    let bad = (true, Some("config.toml:1: no".to_owned()));
    bench.load(in_force("b", true), None).await.expect("in force");
    let since = bench.state.read().in_force.since;
    *bench.file.lock().unwrap() = Err(ReloadError::Invalid("config.toml:1: no".into()));
    assert!(bench.handle.reload(None).await.is_err());
    bench.until(|state| state.reload_failures == 1).await;
    assert_eq!(refused(), bad);
    // The clock is set: the same policy, in force since when it was.
    bench.handle.clock_set().await;
    bench.until(|state| state.in_force.policy.image.host_boot_ns == 7_000_000_000).await;
    assert_eq!((refused(), bench.state.read().in_force.since), (bad.clone(), since));
    bench.load(in_force("b", true), None).await.expect("in force");
    assert_eq!((refused(), bench.state.read().in_force.since), ((false, None), since));
    // One on trial goes while the file is bad.
    bench.load(in_force("c", true), SOON).await.expect("in force");
    *bench.file.lock().unwrap() = Err(ReloadError::Invalid("config.toml:1: no".into()));
    assert!(bench.handle.reload(None).await.is_err());
    bench.until(|state| state.reverts == 1).await;
    assert_eq!((bench.now(), refused()), (named("b", "enforce"), bad));
    bench.load(in_force("d", true), None).await.expect("in force");
    assert_eq!(refused(), (false, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_come_back_is_no_refused_reload_any_more_when_it_has() {
    let bench = bench(in_force("a", false), None, ConfirmationStore::default());
    bench.load(in_force("b", false), SOON).await.expect("in force");
    bench.fake.script().refuses = true;
    bench.until(|state| state.reverts >= 1).await;
    assert!(bench.state.read().reload_error.as_deref().is_some_and(|why| why.contains("no room")));
    bench.fake.script().refuses = false;
    bench.until(|state| state.reverts >= 2 && state.unconfirmed.is_none()).await;
    assert_eq!((bench.now(), bench.state.read().reload_error.clone()), (named("a", "observe"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_confirmed_does_not_outlive_the_daemon() {
    let first = bench(in_force("a", false), None, ConfirmationStore::default());
    first.load(in_force("b", true), LATE).await.expect("in force");
    first.reloads.cancel();
    first.until(|state| state.reverts == 1).await;
    assert_eq!((first.now(), first.back()), (named("a", "observe"), None));
    let line = first.state.read().latest_alerts.back().cloned().expect("an alert");
    let line = ocsf::document(&Host::default(), &line);
    let text = "policy b (enforce) was not confirmed before the daemon was stopped: a (observe) is in force again";
    assert_eq!(line["finding_info"]["desc"], text);
    // What was confirmed does.
    let second = bench(in_force("a", false), None, ConfirmationStore::default());
    second.load(in_force("b", true), LATE).await.expect("in force");
    second.handle.confirm(None).await.expect("confirmed");
    second.reloads.cancel();
    second.until(|state| state.unconfirmed.is_none()).await;
    assert_eq!((second.now(), second.state.read().reverts), (named("b", "enforce"), 0));
}

/// The finding's alerts, raised or resolved, with what they say.
fn alerts(bench: &Bench, kind: &str) -> Vec<(String, String)> {
    let state = bench.state.read();
    let documents = state.latest_alerts.iter().map(|alert| ocsf::document(&Host::default(), alert));
    let of = documents.filter(|line| line["unmapped"]["type"] == kind);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    of.map(|line| (text(&line["severity"]), text(&line["finding_info"]["desc"]))).collect()
}

fn wanted(mode: Mode, lasts: Option<Duration>) -> Option<Wanted> {
    Some(Wanted { mode, lasts, reason: "CHG-7".into() })
}
