//! What is kept for the next start, and what a start makes of it.

use super::*;
use crate::model::refresh::{FILE, RefreshNotes};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_the_last_good_policy_says_why_until_good_files_are_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let first = bench(in_force("a", true), None, kept(folder.path()));
    first.until(|_| kept(folder.path()).is_confirmed(&named("a", "enforce"))).await;
    let last_good = LastGood { refused: "config.toml:1: no".into(), kept: 0 };
    let good = PolicyInForce { last_good: Some(last_good.into()), ..in_force("a", true) };
    let second = begun(good, None, kept(folder.path()), (ByHand::default(), Beginning::LastGood));
    let [(severity, text)] = &alerts(&second, "last_good_policy")[..] else { panic!("one alert") };
    assert!(severity == "High" && text.starts_with("config.toml:1: no. The last good policy a (enforce)"), "{text}");
    second.handle.set_mode(wanted(Mode::Observe, None)).await.expect("set");
    second.handle.set_mode(None).await.expect("given back");
    assert_eq!(alerts(&second, "last_good_policy").len(), 1, "it is still so");
    // Confirmed or not: it is what was confirmed.
    assert_eq!(second.handle.confirm(None).await.expect("confirmed").warning, None);
    second.load(in_force("a", true), None).await.expect("in force");
    second.until(|state| state.in_force.last_good.is_none()).await;
    assert_eq!(alerts(&second, "last_good_policy").len(), 2, "resolved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_place_of_what_nobody_confirmed_says_so_and_one_on_trial_has_what_was_confirmed_to_fall_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = kept(folder.path());
    store.keep_confirmed(&named("a", "enforce"), &CompiledFrom::default()).unwrap();
    store.keep_pending(&named("b", "observe"), Duration::from_secs(60), &CompiledFrom::default()).unwrap();
    let reverted = begun(in_force("a", true), None, store.clone(), (ByHand::default(), Beginning::Reverted));
    reverted.until(|state| state.reverts == 1).await;
    assert_eq!((reverted.now(), reverted.back()), (named("a", "enforce"), None));
    assert_eq!(alerts(&reverted, "policy_reverted"), [("High".to_owned(), "policy b was not confirmed".to_owned())]);
    assert!(kept(folder.path()).pending(&named("b", "observe")).is_some(), "nor does the next start put it in force");
    let begin = Beginning::Files(Some(Box::new(in_force("a", true))));
    let tried = begun(in_force("c", true), SOON, store, (ByHand::default(), begin));
    assert_eq!(tried.back(), Some(named("a", "enforce")));
    tried.until(|state| state.reverts == 1).await;
    assert_eq!(tried.now(), named("a", "enforce"));
    assert!(kept(folder.path()).is_confirmed(&named("a", "enforce")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_noted_before_it_is_in_force_and_one_that_never_is_leaves_no_note() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(in_force("a", true), None, kept(folder.path()));
    bench.until(|_| kept(folder.path()).is_confirmed(&named("a", "enforce"))).await;
    let pending = |digest| kept(folder.path()).pending(&named(digest, "enforce"));
    bench.fake.script().looks_at = Some(folder.path().join("trial.json"));
    bench.load(in_force("b", true), LATE).await.expect("in force");
    assert_eq!(pending("b"), LATE);
    bench.load(in_force("too large", true), LATE).await.expect_err("refused");
    assert_eq!((pending("too large"), pending("b")), (None, LATE));
    let looked = bench.fake.script().looked.clone();
    let [of_b, of_too_large] = &looked[..] else { panic!("{looked:?}") };
    assert!(of_b.contains("\"b\"") && of_too_large.contains("\"too large\""), "{looked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_takes_nothing_hinders_nothing_and_is_told_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::write(&state, "a file").unwrap();
    let bench = bench(in_force("a", true), None, kept(&state));
    bench.until(|state| state.state_error.is_some()).await;
    bench.load(in_force("b", true), None).await.expect("in force");
    let [(severity, text)] = &alerts(&bench, "policy_state")[..] else { panic!("one alert") };
    assert!(severity == "Medium" && text.contains("set [paths] state"), "{text}");
    let shared = SharedState::default();
    let of = (in_force("d", true), Some(CompiledFrom::default()));
    let mut again = CommitConfirm::new(kept(&state), shared.clone(), of, true);
    again.remember(&named("d", "enforce"));
    assert!(shared.read().state_error.is_some());
    std::fs::remove_file(&state).unwrap();
    again.remember_at_last(&named("d", "enforce"));
    assert!(shared.read().state_error.is_none() && kept(&state).is_confirmed(&named("d", "enforce")));
    bench.load(in_force("c", true), None).await.expect("in force");
    bench.until(|state| state.state_error.is_none()).await;
    assert!(kept(&state).is_confirmed(&named("c", "enforce")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_fresh_data_is_known_while_it_runs_and_to_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(folder.path());
    let notes = |looked| RefreshNotes { looked: Some(looked), ..RefreshNotes::default() };
    state.write(FILE, &notes(1)).unwrap();
    let bench = bench(in_force("a", true), None, kept(folder.path()));
    bench.until(|state| state.refresh == notes(1)).await;
    state.write(FILE, &notes(2)).unwrap();
    bench.until(|state| state.refresh == notes(2)).await;
}
