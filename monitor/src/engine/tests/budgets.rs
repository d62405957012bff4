//! Daily budgets: a rule that has nothing left is suspended at once, over restarts, until midnight.

use super::*;
use crate::model::budget::Day;

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
        by_rule(midnight + 9_000_000_000, 0),
    ];
    let bench = bench_of(budgeted("a"), Keeper::in_memory(), epochs, Duration::from_secs(3_600));
    let standing = || {
        let state = bench.state.read();
        let standing = state.budgets.rules["migration-sg"];
        let suspended = state.in_force.policy.suspended.iter().copied().collect::<Vec<_>>();
        assert_eq!(standing.suspended.is_some(), !suspended.is_empty());
        let reported = state.findings.iter().any(|(kind, _)| kind.name() == "budget_used_up");
        assert_eq!(reported, !suspended.is_empty());
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
    assert_eq!(bench.handle.reload(budgeted("a"), None).await, Ok(()));
    assert_eq!(standing().2, [1]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(standing(), (0, 0, vec![], 7), "the day is over");
    let reported: Vec<_> = bench.end().await.into_iter().filter(|(kind, _)| kind == "budget_used_up").collect();
    assert_eq!(reported, [alert("budget_used_up", "Create"), alert("budget_used_up", "Close")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_used_up_resolves_nothing_that_is_wrong_with_files_or_maps() {
    let midnight = Day::of(fake::START).end();
    let epochs = [by_rule(fake::START, 1), by_rule(fake::START, 1), by_rule(fake::START, 10)];
    let bench = bench_of(budgeted("a"), Keeper::in_memory(), epochs, Duration::from_secs(3_600));
    let open = || {
        let state = bench.state.read();
        let open: Vec<_> = state.findings.iter().map(|(kind, _)| kind.name()).collect();
        (open, state.reload_error.clone(), state.in_force.policy.suspended.len())
    };
    bench.fake.script().checks.push_back(Err(anyhow::anyhow!("class 7 is not what was written")));
    assert!(bench.handle.reload(budgeted("b"), None).await.is_err());
    let rolled_back = bench.state.read().reload_error.clone();
    assert!(rolled_back.as_deref().is_some_and(|why| why.contains("failed its check in the kernel")));
    assert_eq!(open(), (vec!["policy_rolled_back"], rolled_back.clone(), 0));
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(open(), (vec!["budget_used_up", "policy_rolled_back"], rolled_back, 1));
    // Nor does the next day.
    bench.handle.reload_refused("config.toml:1: no".into()).await;
    bench.fake.script().next.extend([by_rule(midnight - 1, 0), by_rule(midnight + 9_000_000_000, 0)]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    let refused = Some("config.toml:1: no".to_owned());
    assert_eq!(open(), (vec!["reload_refused", "policy_rolled_back"], refused, 0));
    bench.fake.script().next.push_back(by_rule(midnight + 19_000_000_000, 0));
    assert_eq!(bench.handle.reload(budgeted("b"), None).await, Ok(()));
    assert_eq!(open(), (vec![], None, 0));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_begins_with_the_days_sums_and_a_disk_that_takes_nothing_is_reported() {
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
