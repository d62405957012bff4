//! What one scrape shows adds up, and every number has its series.

use monitor_common::{
    parse::Reason,
    wire::{FlowKey, Opaque, Via},
};

mod reference;

use super::*;
use crate::{
    fake,
    model::{
        TamperReport,
        readings::Amount,
        tamper::{Healing, Sighting, Tampering, Times},
    },
    store::flows::FlowStore,
};

fn sum(page: &str, name: &str) -> u64 {
    let series = page.lines().filter(|line| line.starts_with(&format!("egress_monitor_{name}{{")));
    series.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect(line)).sum()
}

#[test]
fn classified_and_unparsed_packets_of_one_scrape_sum_to_the_hook_total() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut state, mut store) = (MonitorState::default(), FlowStore::default());
    for epoch in 0..20 {
        let snapshot = fake::random_snapshot(&mut random, epoch, 50);
        fake::merge(&mut state.traffic, &mut store, &snapshot);
    }
    let page = render(&state, fake::START).expect("renders");
    let hook = sum(&page, "hook_packets_total");
    assert!(hook > 0);
    assert_eq!(sum(&page, "packets_total") + sum(&page, "unparsed_packets_total"), hook, "{page}");
    assert_eq!(sum(&page, "conservation_residual_packets_total"), 0);
}

#[test]
fn every_reason_has_its_series() {
    let (mut state, mut store) = (MonitorState::default(), FlowStore::default());
    let mut snapshot = fake::snapshot(3);
    for (reason, packets) in Reason::ALL.into_iter().zip(1..) {
        fake::add_unparsed(&mut snapshot, reason, packets, 2 * packets);
    }
    fake::merge(&mut state.traffic, &mut store, &snapshot);
    let page = render(&state, fake::START).expect("renders");
    let found: Vec<&str> =
        page.lines().filter(|line| line.starts_with("egress_monitor_unparsed_packets_total{")).collect();
    let mut expected: Vec<String> = Reason::ALL
        .into_iter()
        .zip(1..)
        .flat_map(|(reason, packets): (_, u64)| {
            [("passed", packets), ("dropped", 2 * packets)].map(|(fate, packets)| {
                let labels = format!(r#"fate="{fate}",interface="eth0",reason="{}""#, reason.name());
                format!("egress_monitor_unparsed_packets_total{{{labels}}} {packets}")
            })
        })
        .collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_flow_is_found_under_its_interface_country_class_and_verdict() {
    let (mut state, mut store) = (MonitorState::default(), FlowStore::default());
    state.in_force.policy = std::sync::Arc::new(fake::policy());
    // A younger one of the same name hides no older one.
    state.in_force.datasets = [86_400, 60]
        .map(|age| crate::model::in_force::DatasetInfo {
            name: "dbip-country".into(),
            built: Some((fake::START / 1_000_000_000) as i64 - age),
            ..Default::default()
        })
        .into();
    let mut snapshot = fake::snapshot(3);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    let esp = FlowKey { flags: Opaque::Esp as u8, ..fake::key(7, fake::INSIDE, 0) };
    fake::add(&mut snapshot, esp, 2);
    fake::add(&mut snapshot, fake::with_inner(esp, Via::GtpU), 5);
    fake::add(&mut snapshot, fake::with_inner(fake::key(7, fake::OUTSIDE, 1), Via::GtpU), 7);
    fake::merge(&mut state.traffic, &mut store, &snapshot);
    state.alerts.insert(("High", "egress"), 2);
    let attached = |interface: &str| crate::model::Attachment {
        interface: interface.into(),
        hook: "tcx".into(),
        ..Default::default()
    };
    state.attachments = vec![attached("eth0"), attached("eth1")];
    state.accounts = vec![InterfaceAccount {
        interface: "eth0".into(),
        here: true,
        presence: crate::model::readings::Presence::Detached,
        sent: Amount { packets: 50, bytes: 5_000 },
        unaccounted: Amount { packets: 3, bytes: 300 },
        hidden: 12,
        ..InterfaceAccount::default()
    }];
    let sighting = Sighting { kind: FindingKind::ImageChanged, subject: String::new(), what: "x".into(), again: None };
    state.tamper = TamperReport {
        open: vec![Tampering { sighting, since: 0, healing: Healing::Contended }],
        contended: vec![(FindingKind::ImageChanged, String::new())],
        times: [(FindingKind::ImageChanged, Times { found: 4, healed: 3 })].into(),
        ..TamperReport::default()
    };
    let page = render(&state, fake::START).expect("renders");
    for line in [
        r#"egress_monitor_packets_total{class="outside",country="SG",interface="eth0",verdict="observed"} 10"#,
        r#"egress_monitor_wire_bytes_total{class="outside",country="SG",interface="eth0",verdict="observed"} 1040"#,
        r#"egress_monitor_opaque_packets_total{interface="eth0",opaque="esp",verdict="allowed"} 7"#,
        r#"egress_monitor_opaque_bytes_total{interface="eth0",opaque="esp",verdict="allowed"} 700"#,
        r#"egress_monitor_inner_packets_total{interface="eth0",verdict="allowed",via="gtp_u"} 5"#,
        r#"egress_monitor_inner_packets_total{interface="eth0",verdict="observed",via="gtp_u"} 7"#,
        r#"egress_monitor_alerts_total{severity="High",type="egress"} 2"#,
        r#"egress_monitor_geo_dataset_age_seconds{dataset="dbip-country"} 86400"#,
        r#"egress_monitor_events_lost_total{stage="ring"} 0"#,
        r#"egress_monitor_tampering_found_total{kind="image_changed"} 4"#,
        r#"egress_monitor_tampering_healed_total{kind="image_changed"} 3"#,
        r#"egress_monitor_tampering_open{kind="image_changed"} 1"#,
        r#"egress_monitor_tampering_contended{kind="image_changed"} 1"#,
        r#"egress_monitor_tampering_found_total{kind="detached"} 0"#,
        r#"egress_monitor_attached{hook="tcx",interface="eth0"} 0"#,
        r#"egress_monitor_attached{hook="tcx",interface="eth1"} 1"#,
        r#"egress_monitor_nic_packets_total{interface="eth0"} 50"#,
        r#"egress_monitor_nic_unaccounted_packets_total{interface="eth0"} 3"#,
        r#"egress_monitor_nic_unaccounted_bytes_total{interface="eth0"} 300"#,
        r#"egress_monitor_nic_hidden_at_most_packets{interface="eth0"} 12"#,
        r#"egress_monitor_nic_comparable{interface="eth0"} 1"#,
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
}

#[test]
fn each_device_that_is_up_has_its_series_guests_last_and_no_more_than_so_many() {
    use crate::model::coverage::{Coverage, Covered, Role};
    let of = |name: &str, role, since, wanted, packets| Covered {
        name: name.into(),
        role,
        up: true,
        since,
        wanted,
        unwatched: Amount { packets, bytes: 0 },
        ..Covered::default()
    };
    let mut devices = vec![
        of("eth0", Role::Edge, Some(1), true, 4),
        of("eth1", Role::Edge, None, true, 9),
        of("wg0", Role::Inner, None, false, 5),
        of("br0", Role::Transit, None, false, 5),
        of("lo", Role::None, None, false, 0),
        Covered { up: false, ..of("eth2", Role::Edge, None, false, 0) },
    ];
    let guests = (0..2_000).map(|number| of(&format!("veth{number}"), Role::Guest, None, false, 0));
    devices.splice(3..3, guests);
    let state = MonitorState { coverage: Coverage { devices, ..Coverage::default() }, ..MonitorState::default() };
    let page = render(&state, fake::START).expect("renders");
    for line in [
        r#"egress_monitor_devices{role="edge",watched="1"} 1"#,
        r#"egress_monitor_devices{role="edge",watched="0"} 1"#,
        r#"egress_monitor_devices{role="guest",watched="0"} 2000"#,
        r#"egress_monitor_devices{role="guest",watched="1"} 0"#,
        r#"egress_monitor_device_watched{interface="eth0",role="edge"} 1"#,
        r#"egress_monitor_device_watched{interface="eth1",role="edge"} 0"#,
        r#"egress_monitor_device_watched{interface="wg0",role="inner"} 0"#,
        r#"egress_monitor_device_watched{interface="br0",role="transit"} 0"#,
        r#"egress_monitor_device_watched{interface="lo",role="none"} 0"#,
        r#"egress_monitor_device_watched{interface="veth0",role="guest"} 0"#,
        r#"egress_monitor_device_unwatched_packets_total{interface="eth0"} 0"#,
        r#"egress_monitor_device_unwatched_packets_total{interface="eth1"} 9"#,
        r#"egress_monitor_device_unwatched_packets_total{interface="wg0"} 0"#,
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    let series = |name: &str| page.lines().filter(|line| line.starts_with(&format!("egress_monitor_{name}{{"))).count();
    assert_eq!((series("device_watched"), series("device_unwatched_packets_total")), (DEVICE_SERIES, DEVICE_SERIES));
    assert!(!page.contains("\"eth2\""), "it is down, and nobody asks for it");
}

#[test]
fn fresh_data_has_its_times_and_what_waits() {
    use crate::model::refresh::{Aside, AsideKind, RefreshNote, RefreshNotes, Taken};
    let taken = RefreshNote { taken: Some(Taken { sha256: String::new(), at: 1_700 }), ..RefreshNote::default() };
    let aside = |kind| Aside { sha256: String::new(), kind, why: "no".into(), at: 0 };
    let held = RefreshNote { aside: Some(aside(AsideKind::Held)), ..taken.clone() };
    let back = RefreshNote { aside: Some(aside(AsideKind::TakenBack)), ..RefreshNote::default() };
    let files = [("/geo/a", taken), ("/geo/b", held), ("/geo/c", back)].map(|(file, note)| (file.into(), note)).into();
    let refresh = RefreshNotes { looked: Some(1_800), files };
    let page = render(&MonitorState { refresh, ..MonitorState::default() }, fake::START).expect("renders");
    let found: Vec<&str> = page.lines().filter(|line| line.starts_with("egress_monitor_geo_data_")).collect();
    assert_eq!(
        found,
        [
            r#"egress_monitor_geo_data_held{file="/geo/a"} 0"#,
            r#"egress_monitor_geo_data_held{file="/geo/b"} 1"#,
            r#"egress_monitor_geo_data_held{file="/geo/c"} 0"#,
            "egress_monitor_geo_data_looked_timestamp_seconds 1800",
            r#"egress_monitor_geo_data_taken_timestamp_seconds{file="/geo/a"} 1700"#,
            r#"egress_monitor_geo_data_taken_timestamp_seconds{file="/geo/b"} 1700"#,
        ]
    );
}
