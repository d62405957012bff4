//! The flow pages: every one adds up to what passed the hooks.

use monitor_common::wire::{InnerDestination, Opaque, Via};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn fresh_flows_are_exact_and_every_grouping_adds_up_to_the_hook() {
    let bench = bench();
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 30);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 444, 20);
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 443, 10);
    fake::add_overflow(&mut snapshot, fake::UNKNOWN, Verdict::Observed, 5);
    fake::add_unparsed(&mut snapshot, Reason::NotIp, 2, 1);
    bench.fake.script().next.push_back(snapshot);

    let reply: Flows = bench.ask("/api/v1/flows?fresh=1&top=2").await.expect("an answer");
    let rows: Vec<_> =
        reply.flows.iter().map(|row| (row.destination_port, row.sums.packets, row.country.as_str())).collect();
    assert_eq!(rows, [(443, 30, "SG"), (444, 20, "SG")]);
    assert_eq!((reply.rest.flows, reply.rest.sums.packets), (1, 10));
    assert_eq!((reply.overflow.packets, reply.unparsed.packets, reply.hook.packets), (5, 3, 68));
    assert_eq!(accounted(&reply), reply.hook);
    assert_eq!(reply.flows[0].first_seen, "2027-01-15T08:00:09.000Z");
    assert_eq!(reply.flows[0].last_seen, "2027-01-15T08:00:09.500Z");

    for (by, expected) in [
        ("country", vec![("SG", "observed", 2, 50), ("IE", "allowed", 1, 10)]),
        ("network", vec![("198.51.100.0/24", "observed", 2, 50), ("198.51.100.0/24", "allowed", 1, 10)]),
        ("rule", vec![("-", "observed", 2, 50), ("-", "allowed", 1, 10)]),
        ("peer", vec![("198.51.100.9", "observed", 2, 50), ("198.51.100.9", "allowed", 1, 10)]),
    ] {
        let (status, body) = bench.get(&format!("/api/v1/flows?by={by}")).await;
        assert_eq!(status, 200);
        let reply: Flows = serde_json::from_str(&body).expect(&body);
        let rows: Vec<_> = reply
            .groups
            .iter()
            .map(|row| (row.key.as_str(), row.verdict.as_str(), row.flows, row.sums.packets))
            .collect();
        assert_eq!(rows, expected);
        assert_eq!(accounted(&reply), reply.hook);
    }
    let (_, body) = bench.get("/api/v1/flows?verdict=allowed").await;
    let reply: Flows = serde_json::from_str(&body).expect(&body);
    assert_eq!(reply.flows.iter().map(|row| row.sums.packets).collect::<Vec<_>>(), [10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_the_last_minutes_are_those_of_the_last_minutes_and_add_up() {
    let bench = bench();
    let nothing: Flows = bench.ask("/api/v1/flows?since=60").await.expect("an answer");
    assert_eq!((nothing.flows.len(), nothing.hook, nothing.window_seconds), (0, Sums::default(), Some(60)));
    for epoch in 0..60 {
        let mut snapshot = fake::snapshot(epoch);
        fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 1);
        fake::add_unparsed(&mut snapshot, Reason::NotIp, 1, 0);
        bench.fake.script().next.push_back(snapshot);
    }
    for _ in 0..60 {
        let _: Status = bench.ask("/api/v1/status?fresh=1").await.expect("an answer");
    }
    // Ten minutes of epochs; six of them a slice.
    for (since, packets, began) in [
        (60, 6, "2027-01-15T08:09:00.000Z"),
        (61, 12, "2027-01-15T08:08:00.000Z"),
        (3_600, 60, "2027-01-15T08:00:00.000Z"),
    ] {
        for by in ["", "&by=country"] {
            let (status, body) = bench.get(&format!("/api/v1/flows?since={since}{by}")).await;
            assert_eq!(status, 200, "{body}");
            let reply: Flows = serde_json::from_str(&body).expect(&body);
            assert_eq!((reply.since.as_str(), reply.until.as_deref()), (began, Some("2027-01-15T08:10:00.000Z")));
            let rows = reply.flows.iter().map(|row| row.sums.packets);
            assert_eq!(rows.chain(reply.groups.iter().map(|row| row.sums.packets)).collect::<Vec<_>>(), [packets]);
            assert_eq!((reply.unparsed.packets, reply.hook.packets), (packets, 2 * packets));
            assert_eq!(accounted(&reply), reply.hook);
        }
    }
    // What is over, in whole slices; and the command line's words for times.
    for (window, packets, began, ended) in [
        ("since=1h&until=5min", 30, "00", "05"),
        ("until=300", 30, "00", "05"),
        ("since=390&until=330", 12, "03", "05"),
        ("since=570&until=540", 6, "00", "01"),
    ] {
        for by in ["", "&by=country"] {
            let (status, body) = bench.get(&format!("/api/v1/flows?{window}{by}")).await;
            assert_eq!(status, 200, "{body}");
            let reply: Flows = serde_json::from_str(&body).expect(&body);
            let at = |minute: &str| format!("2027-01-15T08:{minute}:00.000Z");
            assert_eq!((reply.since.clone(), reply.until.clone()), (at(began), Some(at(ended))), "{window}");
            assert_eq!(reply.hook.packets, 2 * packets, "{window}");
            assert_eq!(accounted(&reply), reply.hook);
        }
    }
    for bad in ["since=0", "since=3601", "since=-1", "since=2h", "until=1x", "since=60&until=60", "until=60&active=1"] {
        assert_eq!(bench.get(&format!("/api/v1/flows?{bad}")).await.0, 400, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_named_by_who_announces_them_where_a_dataset_says() {
    let policy = monitor_policy::Policy { asn: Some(fake::systems().into()), ..fake::policy() };
    let bench = bench_of(PolicyInForce { policy: policy.into(), ..PolicyInForce::default() });
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 1, 30);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 2, 10);
    let to =
        |address| FlowKey { destination: monitor_common::wire::Address::v4(address), ..fake::key(7, fake::OUTSIDE, 3) };
    fake::add(&mut snapshot, to(0xcb00_7109), 20);
    fake::add(&mut snapshot, to(0xc000_0209), 5);
    bench.fake.script().next.push_back(snapshot);
    let flows: Flows = bench.ask("/api/v1/flows?fresh=1").await.expect("an answer");
    let rows: Vec<_> = flows
        .flows
        .iter()
        .map(|row| row.autonomous_system.as_ref().map(|system| (system.number, system.name.as_str())))
        .collect();
    let example = Some((64_500, "Example Net"));
    assert_eq!(rows, [example, Some((64_501, "")), example, None]);
    let text = render::flows(&flows, None, now(), render::Width::Wide);
    let column: Vec<&str> = text.lines().skip(1).take(5).map(|line| line.rsplit("  ").next().unwrap_or(line)).collect();
    assert_eq!(column, ["announced by", "AS64500 Example Net", "AS64501", "AS64500 Example Net", "-"]);
    for window in ["", "&since=60"] {
        let (_, body) = bench.get(&format!("/api/v1/flows?by=network{window}")).await;
        let reply: Flows = serde_json::from_str(&body).expect(&body);
        let rows: Vec<_> = reply.groups.iter().map(|row| (row.key.as_str(), row.name.as_deref(), row.flows)).collect();
        assert_eq!(rows, [("AS64500", Some("Example Net"), 2), ("AS64501", None, 1), ("192.0.2.0/24", None, 1)]);
    }
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert_eq!(status.asn.map(|asn| (asn.name, asn.version)), Some(("as.csv".into(), "7".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_show_where_they_go_on_to_and_what_can_not_be_read() {
    let bench = bench();
    let mut snapshot = fake::snapshot(0);
    let key = fake::key(7, fake::OUTSIDE, 4789);
    let opaque = |form: Opaque| FlowKey { flags: form as u8, ..key };
    fake::add(&mut snapshot, fake::with_inner(key, Via::Vxlan), 30);
    let mut six = fake::with_inner(opaque(Opaque::Quic), Via::SourceRoute);
    six.inner = InnerDestination {
        address: "2001:db8::9".parse::<std::net::Ipv6Addr>().expect("an address").into(),
        port: 128 << 8,
        protocol: 58,
        ip_version: 6,
        ..six.inner
    };
    fake::add(&mut snapshot, six, 20);
    fake::add(&mut snapshot, FlowKey { protocol: 50, destination_port: 0, ..opaque(Opaque::Esp) }, 10);
    fake::add(&mut snapshot, key, 5);
    fake::add_unparsed(&mut snapshot, Reason::Mpls, 0, 2);
    fake::add_unparsed(&mut snapshot, Reason::LinkControl, 3, 0);
    bench.fake.script().next.push_back(snapshot);

    let document: Value = bench.ask("/api/v1/flows?fresh=1").await.expect("an answer");
    let rows = document["flows"].as_array().expect("rows");
    assert_eq!(
        rows[0]["inner"],
        serde_json::json!({
            "destination": "203.0.113.5", "destination_port": 53, "protocol": 17, "via": "vxlan", "embedded": null
        })
    );
    assert_eq!(
        rows.iter().map(|row| (row["opaque"].as_str(), row["inner"]["via"].as_str())).collect::<Vec<_>>(),
        [(None, Some("vxlan")), (Some("quic"), Some("source_route")), (Some("esp"), None), (None, None)]
    );
    assert_eq!(rows[3]["decided_by"], "198.51.100.9");
    assert_eq!(rows[3]["inner"], Value::Null);
    let reply: Flows = serde_json::from_value(document).expect("the document");
    let reasons: Vec<_> = reply
        .unparsed_reasons
        .iter()
        .map(|row| (row.reason.as_str(), row.passed.packets, row.dropped.packets, row.dropped.bytes))
        .collect();
    assert_eq!(reasons, [("link_control", 3, 0, 0), ("mpls", 0, 2, 200)]);
    assert_eq!(accounted(&reply), reply.hook);

    let text = render::flows(&reply, None, now(), render::Width::Wide);
    let mut lines = text.lines();
    let destinations: Vec<String> = lines
        .by_ref()
        .skip(2)
        .take(4)
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).nth(3).expect(line).to_owned())
        .collect();
    assert_eq!(
        destinations,
        [
            "198.51.100.9:4789 → 203.0.113.5:53 (vxlan)",
            "198.51.100.9:4789 → 2001:db8::9 type 128 code 0 (source_route) [not readable: quic]",
            "198.51.100.9 [not readable: esp]",
            "198.51.100.9:4789",
        ]
    );
    let unparsed: Vec<&str> = lines.skip_while(|line| !line.starts_with("  unparsed      fate")).collect();
    assert_eq!(
        unparsed,
        [
            "  unparsed      fate     packets  segments  bytes  on wire  meaning".to_owned(),
            format!("  link_control  passed         3         3  300 B    312 B  {}", Reason::LinkControl.meaning()),
            format!("  mpls          dropped        2         2  200 B    208 B  {}", Reason::Mpls.meaning()),
        ]
    );
}
