//! What is wrong with the monitor is reported when it begins, and when it is over.

use super::*;
use crate::model::readings::{Amount, Base, Device, Presence, Reading};

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
    assert_eq!(begun, ["conservation_breach", "flow_table_overflow", "stale_geo_data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_beside_the_hook_is_reported_in_each_epoch_in_which_it_grows() {
    let base = Base { after: Device { sent: amount(40), ..Device::default() }, ..Base::default() };
    let reading = |sent: u64, presence| {
        let device = Some(Device { sent: amount(40 + sent), ..Device::default() });
        Reading { interface: "eth0".into(), ifindex: 7, base: base.clone(), device, presence, ..Reading::default() }
    };
    let (on, off) = (Presence::Attached { ahead: 0 }, Presence::Detached);
    let epochs = [(0, on), (3, on), (3, on), (5, off), (6, off)];
    let bench =
        bench(epochs.map(|(sent, presence)| Snapshot { readings: vec![reading(sent, presence)], ..fake::snapshot(0) }));
    let mut reported = Vec::new();
    for _ in epochs {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
        let state = bench.state.read();
        let standing = state.account("eth0").expect("eth0");
        assert_eq!(standing.before_attach, amount(40));
        reported.push((standing.unaccounted.packets, state.alerts.get(&("critical", "unaccounted_egress")).copied()));
        assert_eq!(state.is_counted("eth0"), standing.presence == on);
        assert_eq!(state.not_ready(std::time::Instant::now()).is_some(), standing.presence == off);
    }
    assert_eq!(reported, [(0, None), (3, Some(1)), (3, Some(1)), (5, Some(2)), (6, Some(3))]);
    let reported = bench.end().await;
    let of = |wanted: &str| {
        reported.iter().filter(|(kind, _)| kind == wanted).map(|(_, how)| how.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("unaccounted_egress"), ["Create", "Close", "Create", "Create", "Close"]);
    assert_eq!(of("detached"), ["Create"]);
}

fn amount(packets: u64) -> Amount {
    Amount { packets, bytes: packets * 100 }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_is_gone_is_reported_once_and_the_end_is_no_such_thing() {
    let bench = bench([]);
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    bench.fake.script().detached = true;
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    assert_eq!(bench.state.read().findings.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>(), ["interface_lost"]);
    assert!(
        bench
            .state
            .read()
            .not_ready(std::time::Instant::now())
            .is_some_and(|why| why.starts_with("nothing is attached"))
    );
    let line = ocsf::document(&Host::default(), &bench.state.read().latest_alerts[0]);
    assert!(line["finding_info"]["desc"].as_str().is_some_and(|text| text.starts_with("eth0 (index 7) was removed")));
    assert_eq!(bench.end().await, [alert("interface_lost", "Create")]);
}
