//! What is wrong with the monitor is reported when it begins, and when it is over.

use monitor_common::{
    parse::Reason,
    wire::{Counters, HookSums},
};

use super::*;
use crate::model::{
    BypassReport, Coverage, FindingKind,
    coverage::{Covered, Role},
    readings::{Amount, Base, Device, Presence, Reading},
    refresh::{Aside, AsideKind, RefreshNote, RefreshNotes},
};

#[tokio::test(flavor = "multi_thread")]
async fn breach_overflow_and_stale_data_are_reported() {
    let mut snapshot = fake::snapshot(0);
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 5);
    snapshot.interfaces[0].hook.packets += 1;
    let bench = bench([snapshot]);
    let mut stale = in_force(&"b".repeat(64));
    let built = (fake::START / 1_000_000_000) as i64 - 91 * 86_400;
    stale.datasets =
        vec![crate::model::in_force::DatasetInfo { name: "old".into(), version: "1".into(), built: Some(built) }];
    assert_eq!(bench.handle.reload(stale, None).await, Ok(()));
    let conditions: Vec<_> = bench.state.read().findings.iter().map(|(kind, _)| kind.name()).collect();
    assert_eq!(conditions, ["conservation_breach", "flow_table_overflow", "stale_geo_data"]);
    let reported = bench.end().await;
    let begun: Vec<_> = reported.iter().filter(|(_, how)| how == "Create").map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(begun, ["conservation_breach", "flow_table_overflow", "policy_changed", "stale_geo_data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_only_say_that_they_are_control_are_told_and_control_is_not() {
    let of = |reason| {
        let mut snapshot = fake::snapshot(0);
        fake::add_unparsed(&mut snapshot, reason, 3, 2);
        snapshot
    };
    let bench = bench([of(Reason::LinkControl), of(Reason::LinkControlOdd), fake::snapshot(0)]);
    let mut open = Vec::new();
    for _ in 0..3 {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
        open.push(bench.state.read().findings.iter().any(|(kind, _)| kind.name() == "link_control_odd"));
    }
    assert_eq!(open, [false, true, false]);
    let reported = bench.end().await;
    let of = reported.iter().filter(|(kind, _)| kind == "link_control_odd").map(|(_, how)| how.as_str());
    assert_eq!(of.collect::<Vec<_>>(), ["Create", "Close"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_ways_past_the_hook_are_counted_and_told_for_an_epoch_and_why_none_can_be_refused_until_it_can() {
    let of = |refused, problem: Option<&str>| {
        let mut snapshot = fake::snapshot(0);
        snapshot.bypass = BypassReport { refused, problem: problem.map(str::to_owned), ..BypassReport::default() };
        snapshot
    };
    let bench = bench([of([0, 0], Some("no cgroups")), of([2, 1], None), of([0, 0], None), of([1, 0], None)]);
    let mut open = Vec::new();
    for _ in 0..4 {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
        let state = bench.state.read();
        let kinds: Vec<_> = state.findings.iter().map(|(kind, _)| kind.name()).collect();
        open.push((kinds.join(" "), state.bypass_refused));
    }
    let expected =
        [("bypass_not_refused", [0, 0]), ("bypass_refused", [2, 1]), ("", [2, 1]), ("bypass_refused", [3, 1])];
    assert_eq!(open, expected.map(|(kinds, sums)| (kinds.to_owned(), sums)));
    let reported = bench.end().await;
    let of = reported.iter().filter(|(kind, _)| kind == "bypass_refused").map(|(_, how)| how.as_str());
    assert_eq!(of.collect::<Vec<_>>(), ["Create", "Close", "Create", "Close"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_data_that_waits_for_somebody_is_reported_by_file_until_it_does_no_more() {
    let bench = bench([0, 1, 2].map(fake::snapshot));
    let note = |kind| RefreshNote {
        aside: Some(Aside { sha256: String::new(), kind, why: "it has no date".into(), at: 0 }),
        ..RefreshNote::default()
    };
    let notes = |of: &[(&str, AsideKind)]| RefreshNotes {
        looked: Some(7),
        files: of.iter().map(|(file, kind)| (file.into(), note(*kind))).collect(),
    };
    for of in [
        &[("/geo/a.csv", AsideKind::Held), ("/geo/b.csv", AsideKind::TakenBack)][..],
        &[("/geo/a.csv", AsideKind::Held), ("/geo/b.csv", AsideKind::Refused)],
        &[("/geo/b.csv", AsideKind::Refused)],
    ] {
        bench.state.write().refresh = notes(of);
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
    }
    let texts: Vec<String> = {
        let state = bench.state.read();
        let alerts = state.latest_alerts.iter().map(|alert| ocsf::document(&Host::default(), alert));
        let raised = alerts.filter(|line| line["unmapped"]["type"] == "geo_data_held" && line["severity"] == "High");
        raised.map(|line| line["message"].to_string()).collect()
    };
    let held = "/geo/a.csv: a fresh file is held, 1970-01-01T00:00:00.000Z: it has no date. Take it with `egress-monitor geo \
                stage --for /geo/a.csv --accept`";
    let refused = "/geo/b.csv: a fresh file was refused, 1970-01-01T00:00:00.000Z: it has no date";
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains(held), "{texts:?}");
    assert!(texts[1].contains(refused), "{texts:?}");
    let reported = bench.end().await;
    let how: Vec<_> =
        reported.iter().filter(|(kind, _)| kind == "geo_data_held").map(|(_, how)| how.as_str()).collect();
    assert_eq!(how, ["Create", "Create", "Close"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_beside_the_hook_is_reported_in_each_epoch_in_which_it_grows() {
    let base = Base { after: Device { sent: amount(40), ..Device::default() }, ..Base::default() };
    let reading = |sent: u64, presence| {
        let device = Some(Device { sent: amount(40 + sent), ..Device::default() });
        Reading { interface: "eth0".into(), ifindex: 7, base: base.clone(), device, presence, ..Reading::default() }
    };
    let (on, off) = (|| Presence::Attached { ahead: Vec::new() }, || Presence::Detached);
    let epochs = [(0, on()), (3, on()), (3, on()), (5, off()), (6, off())];
    let bench =
        bench(epochs.map(|(sent, presence)| Snapshot { readings: vec![reading(sent, presence)], ..fake::snapshot(0) }));
    let mut reported = Vec::new();
    for _ in 0..5 {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
        let state = bench.state.read();
        let standing = state.account("eth0").expect("eth0");
        assert_eq!(standing.before_attach, amount(40));
        reported.push((standing.unaccounted.packets, state.alerts.get(&("Critical", "unaccounted_egress")).copied()));
        assert_eq!(state.is_counted("eth0"), standing.presence == on());
        assert_eq!(state.not_ready(std::time::Instant::now()).is_some(), standing.presence == off());
    }
    assert_eq!(reported, [(0, None), (3, Some(1)), (3, Some(1)), (5, Some(2)), (6, Some(3))]);
    let reported = bench.end().await;
    let of = |wanted: &str| {
        reported.iter().filter(|(kind, _)| kind == wanted).map(|(_, how)| how.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("unaccounted_egress"), ["Create", "Close", "Create", "Create", "Close"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_behind_the_hook_is_reported_until_a_minute_was_without() {
    let reading = |seconds: u64, packets: u64| {
        let total = Counters { packets, segments: packets, bytes: packets * 100, wire_bytes: packets * 100 };
        let open = HookSums { total, ..HookSums::default() };
        let (interface, at, device) = ("eth0".into(), seconds * 1_000_000_000, Some(Device::default()));
        Reading { interface, ifindex: 7, at, closed: open, open, device, ..Reading::default() }
    };
    let epochs = [(0, 0), (1, 10), (16, 10), (40, 10), (75, 10), (76, 10)];
    let bench =
        bench(epochs.map(|(at, packets)| Snapshot { readings: vec![reading(at, packets)], ..fake::snapshot(0) }));
    let mut reported = Vec::new();
    for _ in epochs {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
        let state = bench.state.read();
        let account = state.account("eth0").expect("eth0");
        let open = state.findings.iter().any(|(kind, _)| *kind == FindingKind::EgressLost);
        reported.push((account.hidden, account.lost, open));
    }
    assert_eq!(reported, [(0, 0, false), (10, 0, false), (0, 10, true), (0, 10, true), (0, 10, true), (0, 10, false)]);
    let reported = bench.end().await;
    let how: Vec<_> = reported.iter().filter(|(kind, _)| kind == "egress_lost").map(|(_, how)| how.as_str()).collect();
    assert_eq!(how, ["Create", "Close"]);
}

fn amount(packets: u64) -> Amount {
    Amount { packets, bytes: packets * 100 }
}

fn device(name: &str, packets: u64, since: Option<i128>) -> Covered {
    Covered { name: name.into(), wanted: true, up: true, since, unwatched: amount(packets), ..Covered::default() }
}

/// What is open.
fn conditions(bench: &Bench) -> Vec<&'static str> {
    bench.state.read().findings.iter().map(|(kind, _)| kind.name()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_sends_unwatched_is_critical_and_not_ready_until_it_is_watched() {
    let bench = bench([]);
    for (devices, open) in [
        (vec![device("eth0", 9, Some(1)), device("eth1", 0, None)], vec![]),
        (vec![device("eth0", 9, Some(1)), device("eth1", 3, None)], vec!["unwatched_egress"]),
        (vec![device("eth1", 4, None), device("eth2", 1, None)], vec!["unwatched_egress"]),
        (vec![Covered { wanted: false, ..device("eth1", 4, None) }], vec![]),
        (vec![device("eth1", 4, Some(1))], vec![]),
    ] {
        bench.fake.script().coverage = Coverage { devices, ..Coverage::default() };
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
        assert_eq!(conditions(&bench), open);
        let not_ready = bench.state.read().not_ready(std::time::Instant::now());
        assert_eq!(not_ready.is_some_and(|why| why.contains("is not watched")), !open.is_empty());
    }
    let line = ocsf::document(&Host::default(), &bench.state.read().latest_alerts[0]);
    assert_eq!(line["severity"], "Critical");
    let text = line["finding_info"]["desc"].as_str().expect("text");
    assert!(text.starts_with("eth1 (edge) sent 3 packets, 300 bytes and is not watched"), "{text}");
    let created = alert("unwatched_egress", "Create");
    let closed = alert("unwatched_egress", "Close");
    assert_eq!(bench.end().await, [created.clone(), created, closed.clone(), closed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_watched_is_told_by_its_kind_and_the_end_is_no_such_thing() {
    let bench = bench([]);
    let tunnel = Covered { role: Role::Inner, wanted: false, ..device("wg0", 7, None) };
    let refused = Covered { refused: true, why: "the kernel says no".into(), ..device("eth1", 0, None) };
    bench.fake.script().coverage = Coverage {
        devices: vec![tunnel, refused],
        unfit: vec![("auto".into(), "there is no edge to watch".into())],
        no_slot: (64..90).map(|number| format!("eth{number}")).collect(),
        error: None,
        ..Coverage::default()
    };
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(conditions(&bench), ["too_many_interfaces", "interface_unavailable", "tunnel_not_watched"]);
    let texts: Vec<String> = bench
        .state
        .read()
        .latest_alerts
        .iter()
        .map(|alert| ocsf::document(&Host::default(), alert)["finding_info"]["desc"].to_string())
        .collect();
    let says = |what: &str| texts.iter().any(|text| text.contains(what));
    assert!(says("eth64, eth65") && says("eth83 and 6 more can't be told apart"), "{texts:?}");
    assert!(
        says("'auto': there is no edge to watch") && says("eth1: the kernel says no") && says("wg0: "),
        "{texts:?}"
    );
    bench.fake.script().coverage = Coverage::default();
    let alerts = bench.end().await;
    assert_eq!(alerts.len(), 4, "{alerts:?}");
    assert!(alerts.iter().all(|(_, how)| how == "Create"), "{alerts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_devices_are_followed_at_once_and_an_epoch_is_closed_where_names_or_slots_ask_for_it() {
    let bench = bench([]);
    let news = loop {
        if let Some(news) = bench.fake.script().news.clone() {
            break news;
        }
        tokio::task::yield_now().await;
    };
    for (gone, waits, flips) in
        [(vec![], [false, false], 0), (vec![9, 7], [true, false], 1), (vec![], [false, true], 2)]
    {
        let before = bench.fake.script().surveys.len();
        bench.fake.script().waits.extend(waits);
        bench.fake.script().name = Some(format!("eth{flips}"));
        let gone: std::collections::BTreeSet<u32> = gone.into_iter().collect();
        news.send(gone.clone()).await.expect("taken");
        while bench.fake.script().surveys.len() == before || bench.fake.script().flips < flips {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.fake.script().surveys[before], gone);
        while bench.state.read().attachments[0].interface != format!("eth{flips}") {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.fake.script().flips, flips);
    }
    bench.end().await;
}
