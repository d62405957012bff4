//! The pages of incidents: what is open, and one of them, whose rows and rest are all that it sent.

use monitor_api::incidents::{Incidents, MOST, OneIncident};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_shows_its_largest_flows_and_the_rest_as_sums() {
    let bench = bench();
    let mut snapshot = fake::snapshot(0);
    let key = fake::key(7, fake::OUTSIDE, 443);
    for port in 0..150 {
        fake::add(&mut snapshot, FlowKey { destination_port: 1_000 + port, ..key }, 1 + u64::from(port));
    }
    fake::add(&mut snapshot, fake::to_network(key, 7), 9_999);
    fake::add(&mut snapshot, fake::key(7, fake::INSIDE, 443), 9_999);
    fake::add_unparsed(&mut snapshot, Reason::NotIp, 2, 1);
    bench.fake.script().next.push_back(snapshot);

    let open: Incidents = bench.ask("/api/v1/incidents?fresh=1").await.expect("an answer");
    let rows: Vec<_> = open
        .incidents
        .iter()
        .map(|row| {
            (row.network.as_deref().or(row.reason.as_deref()), row.severity.as_str(), row.flows, row.sums.packets)
        })
        .collect();
    let all = (1..=150).sum::<u64>();
    assert_eq!(
        rows,
        [
            (Some("198.51.100.0/24"), "High", 150, all),
            (Some("198.51.7.0/24"), "High", 1, 9_999),
            (Some("not_ip"), "Low", 0, 2),
            (Some("not_ip"), "Low", 0, 1),
        ]
    );
    let (status, body) = bench.get(&format!("/api/v1/incident?id={}", open.incidents[0].id)).await;
    assert_eq!(status, 200, "{body}");
    let one: OneIncident = serde_json::from_str(&body).expect(&body);
    assert_eq!((one.flows.len(), &one.incident), (MOST, &open.incidents[0]));
    assert!(one.flows.iter().zip((51..=150).rev()).all(|(row, packets)| row.sums.packets == packets));
    let rest = one.rest.expect("all are its own");
    assert_eq!((rest.flows, rest.sums.packets), (50, (1..=50).sum::<u64>()));
    // Packets without a flow have none to show.
    let (_, body) = bench.get(&format!("/api/v1/incident?id={}", open.incidents[2].id)).await;
    let one: OneIncident = serde_json::from_str(&body).expect(&body);
    assert_eq!((one.flows.len(), one.rest.map(|rest| rest.sums.packets)), (0, Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_no_incident_or_is_over_is_told() {
    let bench = bench();
    let (status, body) = bench.get("/api/v1/incident?id=7").await;
    assert_eq!((status, body.contains("32 hexadecimal digits")), (400, true), "{body}");
    let (status, body) = bench.get(&format!("/api/v1/incident?id={}", "0".repeat(32))).await;
    assert_eq!((status, body.contains("is open")), (404, true), "{body}");
    let (status, _) = bench.port("/api/v1/incidents").await;
    assert_eq!(status, 403);
}
