//! The status page, and whether the monitor says that it is ready.

use monitor_common::wire::HookSums;

use super::*;
use crate::model::readings::{self, Base, Device, Presence, Queue, Reading};
use monitor_api::status::{Amount, GroupStatus, NicStatus};

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_is_attached_counted_and_lost() {
    let bench = bench();
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 30);
    fake::add_overflow(&mut snapshot, fake::UNKNOWN, Verdict::Observed, 4);
    snapshot.events_lost = 2;
    let sent = |packets| readings::Amount { packets, bytes: packets * 100 };
    let total = fake::sums(34);
    snapshot.readings = vec![Reading {
        interface: "eth0".into(),
        ifindex: 7,
        base: Base { before: sent(70), after: Device { sent: sent(71), ..Device::default() }, ..Base::default() },
        queue_after: Queue { waiting: 2, ..Queue::default() },
        device: Some(Device { sent: sent(71 + 37), ..Device::default() }),
        open: HookSums { total, ..HookSums::default() },
        presence: Presence::Attached { ahead: vec![17] },
        ..Reading::default()
    }];
    bench.fake.script().next.push_back(snapshot);
    let status: Status = bench.ask("/api/v1/status?fresh=1").await.expect("an answer");
    assert_eq!(status.interfaces.len(), 1);
    let eth0 = &status.interfaces[0];
    assert_eq!((eth0.interface.as_str(), eth0.hook.as_deref(), eth0.total.packets), ("eth0", Some("tcx"), 34));
    assert_eq!(eth0.residual, Sums::default());
    assert_eq!((eth0.state.as_deref(), eth0.ahead), (Some("attached"), 1));
    let [ahead] = &eth0.programs_ahead[..] else { panic!("{:?}", eth0.programs_ahead) };
    assert_eq!((ahead.id, ahead.name.as_str(), ahead.held_by.len()), (17, "unknown (no helper)", 1));
    // What others run is not for everybody.
    let page = bench.port("/api/v1/status").await.1;
    let on_port: Status = serde_json::from_str(&page).expect("the document");
    assert_eq!((on_port.interfaces[0].ahead, on_port.interfaces[0].programs_ahead.len()), (1, 0));
    let shown = |packets| Amount { packets, bytes: packets * 100 };
    let nic = NicStatus {
        counts: "undetermined".into(),
        sent: shown(37),
        before_attach: shown(71),
        while_attaching: shown(1),
        in_flight: 2,
        // 37 sent and 2 waiting, of 34; the device's bytes over those on the wire.
        unaccounted: Amount { packets: 5, bytes: 3_700 - 34 * 104 },
        ..NicStatus::default()
    };
    assert_eq!(eth0.nic, Some(nic));
    assert_eq!((status.losses.events, status.losses.overflow_packets), (2, 4));
    assert_eq!((status.mode.as_str(), status.host.as_str()), ("observe", "enclave-1"));
    assert_eq!(status.blind_spots, monitor_api::blind_spots::BLIND_SPOTS);
    let text = render::status(&status, now(), render::Width::Wide);
    for part in [
        "observe: nothing is dropped",
        "eth0",
        "flow_table_overflow: ",
        "residual 0",
        "DPDK",
        "tcx, 1 ahead",
        "ahead of ours on eth0: program 17: unknown (no helper)",
        "not asked yet",
        "FINDING: 5 packets left without passing a hook",
        "eth0 had sent 71 packets",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_epoch_is_shown_alone_beside_all_since_the_start_and_both_name_boot_and_start() {
    let bench = bench();
    let mut first = fake::snapshot(0);
    fake::add_flow(&mut first, 7, fake::INSIDE, 443, 100);
    let mut second = fake::snapshot(1);
    fake::add_flow(&mut second, 7, fake::INSIDE, 443, 30);
    fake::add(&mut second, FlowKey { verdict: Verdict::Denied as u8, ..fake::key(7, fake::OUTSIDE, 444) }, 20);
    fake::add_overflow(&mut second, fake::UNKNOWN, Verdict::Denied, 5);
    fake::add_overflow(&mut second, fake::INSIDE, Verdict::Allowed, 4);
    fake::add_unparsed(&mut second, Reason::NotIp, 2, 1);
    second.events_lost = 3;
    bench.fake.script().next.extend([first, second]);
    for packets in [100, 62] {
        let status: Status = bench.ask("/api/v1/status?fresh=1").await.expect("an answer");
        assert_eq!(status.epoch.expect("closed").interfaces[0].hook.packets, packets);
    }
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    let epoch = status.epoch.expect("closed");
    assert_eq!((epoch.number, epoch.count, epoch.flows, epoch.events_lost), (1, 2, 2, 3));
    assert_eq!((epoch.began.as_str(), epoch.closed.as_str()), ("2027-01-15T08:00:10.000Z", "2027-01-15T08:00:20.000Z"));
    let of = |packets| Sums::from(&fake::sums(packets));
    let eth0 = &epoch.interfaces[0];
    assert_eq!((eth0.interface.as_str(), eth0.hook, eth0.flows), ("eth0", of(62), of(50)));
    assert_eq!((eth0.overflow, eth0.unparsed, eth0.dropped), (of(9), of(3), of(26)));
    assert!(epoch.interfaces[1..].iter().all(|interface| interface.hook == Sums::default()));
    assert_eq!(status.interfaces[0].total, of(162));
    let inside =
        |rows: &[GroupStatus]| rows.iter().filter(|row| row.class == "inside").map(|row| row.sums.packets).sum::<u64>();
    assert_eq!((inside(&epoch.totals), inside(&status.totals)), (34, 134));
    let flows: Flows = bench.ask("/api/v1/flows").await.expect("an answer");
    assert_eq!((flows.epoch, flows.until, flows.head.boot_id.as_str()), (Some(1), Some(epoch.closed), "b0"));
    assert_eq!((status.boot_id, status.totals_since), (flows.head.boot_id, flows.since));
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_only_while_epochs_are_closed_and_the_page_adds_up() {
    let bench = bench();
    assert_eq!(bench.get("/healthz").await, (200, "ok\n".into()));
    assert_eq!(bench.get("/readyz").await, (503, "not ready: the first epoch is not closed yet\n".into()));
    let mut snapshot = fake::snapshot(0);
    snapshot.ended = now();
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 30);
    bench.fake.script().next.push_back(snapshot);
    bench.ask::<Value>("/api/v1/status?fresh=1").await.expect("an answer");
    assert_eq!(bench.get("/readyz").await, (200, "ready\n".into()));
    let (_, page) = bench.get("/metrics").await;
    assert!(page.contains("egress_monitor_hook_packets_total{interface=\"eth0\"} 30\n"), "{page}");
    let (_, alerts) = bench.get("/api/v1/alerts").await;
    let alerts: Value = serde_json::from_str(&alerts).expect("JSON");
    assert_eq!(alerts["alerts"][0]["dst_endpoint"]["ip"], "198.51.100.9");
    bench.fake.script().broken = true;
    let failure = bench.ask::<Value>("/api/v1/status?fresh=1").await.expect_err("no epoch");
    assert!(failure.to_string().contains("bpf(2) says no"), "{failure}");
    assert_eq!(bench.get("/readyz").await.0, 503);
}
