//! Findings: what alerts when it begins and when it ends, and what alerts each time.

use super::*;
use crate::{
    engine::findings::OpenFindings,
    model::{
        FindingKind,
        finding::{Detail, Heartbeat, Unaccounted},
        severity::Severity,
    },
};

#[test]
fn a_finding_alerts_when_it_begins_and_when_it_ends() {
    let mut findings = OpenFindings::default();
    let mut report = |detail: Option<&str>, now| {
        let alert = findings.report(FindingKind::EventsLost, detail.map(Detail::from), now);
        alert.map(|alert| (valid(&encoded(&alert))["activity_name"].as_str().map(str::to_owned), alert.severity()))
    };
    assert_eq!(report(None, 1), None);
    assert_eq!(report(Some("3 events"), 2), Some((Some("Create".into()), Severity::Medium)));
    assert_eq!(report(Some("4 events"), 3), None);
    assert_eq!(report(None, 4), Some((Some("Close".into()), Severity::Informational)));
    assert_eq!(report(None, 5), None);
}

#[test]
fn a_heartbeat_says_how_the_monitor_is_and_is_no_alert() {
    let monitor = Heartbeat { uptime_seconds: 61, mode: "observe", policy: "ab".into(), epoch: None, alerts_kept: 3 };
    let detail = Detail { heartbeat: Some(monitor), ..Detail::from("well") };
    let line = valid(&encoded(&crate::engine::findings::notice(FindingKind::Heartbeat, detail, fake::START)));
    assert_eq!(
        line["unmapped"]["monitor"],
        serde_json::json!({
            "uptime_seconds": 61, "mode": "observe", "policy": "ab", "epoch": null, "alerts_kept": 3
        })
    );
    assert_eq!((&line["unmapped"]["type"], &line["severity"]), (&"heartbeat".into(), &"Informational".into()));
    assert_eq!((&line["is_alert"], &line["disposition"]), (&false.into(), &"Logged".into()));
    let mut other = line.clone();
    other["is_alert"] = true.into();
    assert!(!schema().is_valid(&other));
}

#[test]
fn every_breach_of_conservation_and_all_unaccounted_egress_alerts() {
    for (kind, name) in [
        (FindingKind::ConservationBreach, "conservation_breach"),
        (FindingKind::UnaccountedEgress, "unaccounted_egress"),
    ] {
        let mut findings = OpenFindings::default();
        for now in 1..4 {
            let alert = findings.report(kind, Some("eth0".into()), now).expect("an alert");
            assert_eq!((alert.severity(), alert.kind()), (Severity::Critical, name));
            valid(&encoded(&alert));
        }
    }
}

#[test]
fn the_alert_on_unaccounted_egress_says_how_much_left_where_and_when() {
    let found =
        Unaccounted { interface: "eth0".into(), epoch: 9, packets: 3, bytes: 300, total_packets: 5, total_bytes: 500 };
    let detail = Detail { text: "eth0".into(), unaccounted: vec![found], ..Detail::default() };
    let alert = OpenFindings::default().report(FindingKind::UnaccountedEgress, Some(detail), 1).expect("an alert");
    let line = valid(&encoded(&alert));
    assert_eq!(
        line["unmapped"]["unaccounted"],
        serde_json::json!([{
            "interface": "eth0", "epoch": 9, "packets": 3, "bytes": 300, "total_packets": 5, "total_bytes": 500
        }])
    );
}
