//! A mode that somebody sets by hand.

use monitor_policy::ClockMap;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_set_by_hand_outranks_whatever_is_in_force_and_comes_back() {
    let bench = bench(in_force("a", true), None, ConfirmationStore::default());
    let status = bench.handle.set_mode(wanted(Mode::Observe, None)).await.expect("set");
    assert_eq!((status.mode, status.configured, status.warning), (Mode::Observe, Mode::Enforce, None));
    assert_eq!(bench.now(), named("a", "observe"));
    let [(severity, text)] = &alerts(&bench, "observe_by_hand")[..] else { panic!("one alert") };
    assert!(severity == "High" && text.contains("the configuration says enforce: CHG-7"), "{text}");
    // Refused files stay refused, whatever becomes of the mode.
    *bench.file.lock().unwrap() = Err(ReloadError::Invalid("config.toml:1: no".into()));
    bench.handle.reload(None).await.expect_err("refused");
    bench.until(|state| state.reload_error.is_some()).await;
    bench.handle.set_mode(wanted(Mode::Observe, Some(Duration::from_secs(3_600)))).await.expect("set");
    assert_eq!(bench.state.read().reload_error.as_deref(), Some("config.toml:1: no"));
    // Another policy comes in force under it, goes, and so does what the kernel part would put in force by itself.
    assert_eq!(bench.load(in_force("b", true), LATE).await.expect("in force").policy, named("b", "observe"));
    assert_eq!((bench.now(), bench.guarded()), (named("b", "observe"), Some(named("a", "observe"))));
    assert_eq!(bench.load(in_force("c", true), SOON).await.expect("in force").policy, named("c", "observe"));
    bench.until(|state| state.reverts == 1).await;
    assert_eq!(bench.now(), named("a", "observe"));
    let status = bench.handle.set_mode(None).await.expect("given back");
    assert_eq!((status.mode, status.by_hand), (Mode::Enforce, None));
    assert_eq!(bench.now(), named("a", "enforce"));
    let said: Vec<bool> = alerts(&bench, "observe_by_hand").iter().map(|(of, _)| of == "High").collect();
    assert_eq!(said, [true, false, true, false], "each time that it is set or ends");
    // One that is no looser than the file.
    bench.handle.set_mode(wanted(Mode::Enforce, None)).await.expect("set");
    assert_eq!(alerts(&bench, "mode_by_hand").len(), 1);
    assert_eq!(bench.load(in_force("d", false), None).await.expect("in force").policy, named("d", "enforce"));
    assert_eq!(bench.now(), named("d", "enforce"));
}

#[tokio::test(flavor = "multi_thread")]
async fn enforce_by_hand_needs_what_enforce_needs_of_all_that_may_be_in_force() {
    let lacks = |digest| PolicyInForce { not_enforceable: Some("enforce needs x".into()), ..in_force(digest, false) };
    let bench = bench(lacks("a"), None, ConfirmationStore::default());
    let refused = |result: Result<_, ReloadError>| {
        let why = result.err().map(|error| error.to_string());
        assert!(why.as_ref().is_some_and(|why| why.ends_with("enforce needs x")), "{why:?}");
    };
    refused(bench.handle.set_mode(wanted(Mode::Enforce, None)).await);
    assert_eq!(bench.now(), named("a", "observe"));
    // It would come back.
    bench.load(in_force("b", false), LATE).await.expect("in force");
    refused(bench.handle.set_mode(wanted(Mode::Enforce, None)).await);
    bench.handle.confirm(None).await.expect("confirmed");
    bench.handle.set_mode(wanted(Mode::Enforce, None)).await.expect("set");
    assert_eq!(bench.now(), named("b", "enforce"));
    let why = bench.load(lacks("c"), None).await.expect_err("refused");
    assert!(why.ends_with("enforce needs x"), "{why}");
    assert_eq!(bench.now(), named("b", "enforce"));
    bench.handle.set_mode(None).await.expect("given back");
    bench.load(lacks("c"), None).await.expect("in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_whose_time_is_over_ends_by_itself_and_one_that_lasts_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // That of the bench's clock, which stands still: over as soon as it begins.
    let clock = ClockMap { realtime_ns: 70_000_000_000, boottime_ns: 7_000_000_000 };
    let open = || ByHand::open(StateDirectory::open(folder.path()), "a boot".into(), &clock);
    let start = |by_hand| begun(in_force("a", true), None, kept(folder.path()), (by_hand, Beginning::Files(None)));
    let first = start(open());
    let hour = Some(Duration::from_secs(3_600));
    first.handle.set_mode(wanted(Mode::Observe, hour)).await.expect("set");
    assert_eq!(open().mode(), Some(Mode::Observe));
    let second = start(open());
    second.handle.clock_set().await;
    second.until(|state| !state.in_force.mode.enforces()).await;
    second.handle.set_mode(wanted(Mode::Observe, Some(Duration::ZERO))).await.expect("set");
    second.until(|state| state.in_force.mode.enforces() && state.in_force.by_hand.is_none()).await;
    assert_eq!(second.now(), named("a", "enforce"));
    second.until(|_| open().mode().is_none()).await;
}
