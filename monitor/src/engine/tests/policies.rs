//! Another policy: in force from an epoch on, refused, rolled back, late.

use super::*;

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
    assert_eq!(bench.handle.reload(next, None).await, Ok(()));
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
    assert_eq!(
        bench.end().await,
        [alert("egress", "drain"), alert("policy_changed", "Create"), alert("mode_changed", "Create")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_leaves_the_policy_and_is_reported() {
    let bench = bench([]);
    let refused = Err(Refusal::Refused("it does not fit".into()));
    assert_eq!(bench.handle.reload(in_force("too large"), None).await, refused);
    bench.handle.reload_refused("config.toml:3: no".into()).await;
    assert_eq!(bench.handle.reload(in_force(&"c".repeat(64)), None).await, Ok(()));
    {
        let state = bench.state.read();
        assert_eq!((state.reload_failures, &state.reload_error), (2, &None));
        assert_eq!(state.in_force.policy.digest, "c".repeat(64));
    }
    let told = [alert("reload_refused", "Create"), alert("policy_changed", "Create"), alert("reload_refused", "Close")];
    assert_eq!(bench.end().await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_without_room_has_some_made_and_what_was_counted_before_keeps_its_own() {
    let mut first = fake::snapshot(0);
    fake::add_flow(&mut first, 7, fake::OUTSIDE, 443, 3);
    let bench = bench([first]);
    bench.fake.script().roomy = Some(Vec::new());
    let refused = |why: &str| Err(Refusal::Refused(why.into()));
    assert_eq!(bench.handle.reload(in_force("huge"), None).await, refused("memory_max"));
    assert_eq!((bench.fake.script().flips, bench.state.read().kernel_memory), (0, 1 << 20));
    // What could not be drained at once is not counted with what comes.
    bench.fake.script().broken = true;
    let large = "b".repeat(64);
    let late = bench.handle.reload(in_force(&large), None).await;
    assert_eq!(late, refused("the last epoch is not drained yet"));
    bench.fake.script().broken = false;
    let mut next = in_force(&large);
    let mut policy = Policy { digest: large.clone(), ..fake::policy() };
    policy.classes.reverse();
    next.policy = policy.into();
    assert_eq!(bench.handle.reload(next, None).await, Ok(()));
    {
        let state = bench.state.read();
        assert_eq!((state.in_force.policy.digest.as_str(), state.kernel_memory), (large.as_str(), 2 << 20));
        let countries: Vec<_> = state.traffic.totals.groups.keys().map(|group| group.country.to_string()).collect();
        assert_eq!(countries, ["SG"], "the flow was counted under the old numbers");
    }
    assert_eq!(bench.fake.script().roomy, Some(vec![large]));
    assert_eq!(
        bench.end().await,
        [
            alert("reload_refused", "Create"),
            alert("epoch_failed", "Create"),
            alert("egress", "drain"),
            alert("epoch_failed", "Close"),
            alert("policy_changed", "Create"),
            alert("reload_refused", "Close")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_fails_its_check_in_the_kernel_is_taken_back_and_reported_by_name() {
    let (old, new) = ("a".repeat(64), "b".repeat(64));
    let mut under = [fake::snapshot(0), fake::snapshot(1), fake::snapshot(2)];
    for (snapshot, port) in under.iter_mut().zip([441, 442, 443]) {
        fake::add_flow(snapshot, 7, fake::INSIDE, port, 3);
    }
    let bench = bench(under);
    bench.fake.script().checks.push_back(Err(anyhow::anyhow!("class 7 is not what was written")));
    let mut next = in_force(&new);
    let mut policy = Policy { digest: new.clone(), ..fake::policy() };
    policy.classes.reverse();
    let meanwhile = policy.classes[usize::from(fake::INSIDE)].country.to_string();
    assert_ne!(meanwhile, "IE");
    (next.policy, next.mode) = (policy.into(), Mode::Enforce);
    let reported = format!(
        "policy {new} (enforce) failed its check in the kernel: class 7 is not what was written: {old} (observe) is in \
         force again"
    );
    assert_eq!(bench.handle.reload(next, None).await, Err(Refusal::Refused(reported.clone())));
    let (flips, rollbacks) = {
        let script = bench.fake.script();
        (script.flips, script.rollbacks)
    };
    assert_eq!((flips, rollbacks), (2, 1));
    {
        let state = bench.state.read();
        assert_eq!((state.in_force.policy.digest.as_str(), state.in_force.mode.enforces()), (old.as_str(), false));
        assert_eq!((state.rollbacks, state.reload_failures), (1, 1));
        assert_eq!(state.reload_error, Some(reported));
        assert_eq!(state.findings.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>(), ["policy_rolled_back"]);
        // What passed while it was in force is counted under its numbers, as it was evaluated.
        let countries: Vec<_> = state.traffic.totals.groups.keys().map(|group| group.country.to_string()).collect();
        let mut expected = ["IE".to_owned(), meanwhile];
        expected.sort_unstable();
        assert_eq!(countries, expected);
    }
    assert_eq!(bench.handle.reload(in_force(&"c".repeat(64)), None).await, Ok(()));
    assert_eq!(bench.state.read().traffic.totals.hook.values().map(|sums| sums.packets).sum::<u64>(), 9);
    let reported: Vec<_> = bench.end().await.into_iter().filter(|(kind, _)| kind != "egress").collect();
    let (policy, mode) = (alert("policy_changed", "Create"), alert("mode_changed", "Create"));
    let (failed, good) = (alert("policy_rolled_back", "Create"), alert("policy_rolled_back", "Close"));
    // There, back, and another.
    assert_eq!(reported, [policy.clone(), mode.clone(), policy.clone(), mode, failed, policy, good]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_comes_late_is_merged_under_its_own_policy_before_the_switch_is_reported() {
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 443, 3);
    let bench = bench([snapshot]);
    bench.fake.script().broken = true;
    let mut next = in_force(&"b".repeat(64));
    let mut policy = Policy { digest: "b".repeat(64), ..fake::policy() };
    policy.classes.reverse();
    next.policy = policy.into();
    assert_eq!(
        bench.handle.reload(next, None).await,
        Err(Refusal::Late(EpochError::NotDrained("bpf(2) says no".into())))
    );
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
    let reported = bench.end().await;
    assert_eq!(
        reported,
        [alert("epoch_failed", "Create"), alert("epoch_failed", "Close"), alert("policy_changed", "Create")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_part_took_back_by_itself_is_what_is_in_force() {
    let (old, new) = ("a".repeat(64), "b".repeat(64));
    let bench = bench([]);
    let trial = Trial { fallback: in_force(&old), within: Duration::from_secs(60), mode_ends: false };
    assert_eq!(bench.handle.reload(in_force(&new), Some(trial)).await, Ok(()));
    assert_eq!(bench.fake.script().guarded, Some((old.clone(), Mode::Observe, Duration::from_secs(60))));
    bench.fake.script().fell = Some(Fell::InTime);
    bench.handle.close_epoch().await.unwrap();
    assert_eq!(bench.state.read().in_force.policy.digest, old);
    assert_eq!(bench.state.read().reverts, 1);
    assert_eq!(
        bench.end().await,
        [alert("policy_changed", "Create"), alert("policy_reverted", "Create"), alert("policy_changed", "Create")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stood_still_enforces_again_as_soon_as_it_goes_on() {
    let bench = bench([]);
    let enforced = PolicyInForce { mode: Mode::Enforce, ..in_force(&"b".repeat(64)) };
    assert_eq!(bench.handle.reload(enforced, None).await, Ok(()));
    bench.fake.script().fell = Some(Fell::Alone);
    bench.handle.close_epoch().await.unwrap();
    assert_eq!(bench.state.read().in_force.mode, Mode::Enforce);
    assert_eq!(bench.fake.script().staged, [("b".repeat(64), true), ("b".repeat(64), true)]);
    let open: Vec<_> = bench.state.read().findings.iter().map(|(kind, _)| kind.name()).collect();
    assert!(!open.contains(&"observed_alone"), "it is over when it is told: {open:?}");
    let (policy, mode) = (alert("policy_changed", "Create"), alert("mode_changed", "Create"));
    assert_eq!(bench.end().await, [policy, mode.clone(), alert("observed_alone", "Create"), mode.clone(), mode]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stood_still_under_a_mode_set_by_hand_enforces_until_its_time_is_over() {
    let bench = bench([]);
    let by_hand = PolicyInForce { mode: Mode::Enforce, ..in_force(&"b".repeat(64)) };
    let trial = Trial { fallback: in_force(&"b".repeat(64)), within: Duration::from_secs(60), mode_ends: true };
    assert_eq!(bench.handle.reload(by_hand, Some(trial)).await, Ok(()));
    bench.fake.script().fell = Some(Fell::Alone);
    bench.handle.close_epoch().await.unwrap();
    assert_eq!(bench.fake.script().staged, [("b".repeat(64), true), ("b".repeat(64), true)]);
    assert_eq!(bench.state.read().in_force.reference().to_string(), format!("{} (enforce)", "b".repeat(64)));
    assert_eq!(bench.state.read().reverts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stood_still_during_a_trial_enforces_what_was_confirmed() {
    let bench = bench([]);
    let fallback = PolicyInForce { mode: Mode::Enforce, ..in_force(&"b".repeat(64)) };
    let trial = Trial { fallback, within: Duration::from_secs(60), mode_ends: false };
    assert_eq!(bench.handle.reload(in_force(&"c".repeat(64)), Some(trial)).await, Ok(()));
    bench.fake.script().fell = Some(Fell::Alone);
    bench.handle.close_epoch().await.unwrap();
    let enforced = |script: &fake::Script| script.staged.last().cloned();
    assert_eq!(enforced(&bench.fake.script()), Some(("b".repeat(64), true)));
    assert_eq!(bench.state.read().in_force.reference().to_string(), format!("{} (enforce)", "b".repeat(64)));
    assert_eq!(bench.state.read().reverts, 1);
    let (policy, mode) = (alert("policy_changed", "Create"), alert("mode_changed", "Create"));
    let told = [policy.clone(), alert("policy_reverted", "Create"), alert("observed_alone", "Create"), policy, mode];
    assert_eq!(bench.end().await, told);
}
