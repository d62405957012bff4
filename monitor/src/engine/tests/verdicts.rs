//! Verdicts that a policy can't have given, and those that it can.

use monitor_common::wire::FlowKey;

use super::*;

/// What is told of one flow, as it was counted and then changed.
async fn told(mode: Mode, change: impl FnOnce(&mut FlowKey)) -> Vec<String> {
    let mut snapshot = fake::snapshot(0);
    let mut key = fake::key(7, fake::OUTSIDE, 443);
    key.verdict = if mode.enforces() { Verdict::Denied } else { Verdict::Observed } as u8;
    change(&mut key);
    fake::add(&mut snapshot, key, 3);
    let in_force = PolicyInForce { mode, ..in_force(&"a".repeat(64)) };
    let bench = bench_of(in_force, Keeper::in_memory(), [snapshot], Duration::from_secs(3_600));
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    let texts = bench.state.read().latest_alerts.iter().map(|alert| ocsf::document(&Host::default(), alert)).collect();
    let texts: Vec<Value> = texts;
    bench.end().await;
    let of = |line: &&Value| line["unmapped"]["type"] == "impossible_verdict";
    texts.iter().filter(of).map(|line| line["finding_info"]["desc"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_the_policy_cannot_give_is_told_and_any_other_is_not() {
    let is = |text: &[String], why: &str| text.len() == 1 && text[0].contains("3 packets") && text[0].contains(why);
    assert_eq!(told(Mode::Enforce, |_| {}).await, [""; 0]);
    assert_eq!(told(Mode::Observe, |_| {}).await, [""; 0]);
    // By a rule, or to a class that is allowed.
    let by_rule = |key: &mut FlowKey| (key.verdict, key.rule) = (Verdict::Allowed as u8, 1);
    assert_eq!(told(Mode::Enforce, by_rule).await, [""; 0]);
    let inside = |key: &mut FlowKey| (key.verdict, key.class_id) = (Verdict::Allowed as u8, fake::INSIDE);
    assert_eq!(told(Mode::Enforce, inside).await, [""; 0]);
    let verdict = |verdict: Verdict| move |key: &mut FlowKey| key.verdict = verdict as u8;
    assert!(is(&told(Mode::Enforce, verdict(Verdict::Observed)).await, "let through in enforce mode"));
    assert!(is(&told(Mode::Observe, verdict(Verdict::Denied)).await, "dropped in observe mode"));
    assert!(is(&told(Mode::Enforce, verdict(Verdict::Allowed)).await, "its class is denied"));
    assert!(is(&told(Mode::Enforce, |key| key.class_id = 9_999).await, "of a class that the policy has not"));
}
