use std::{os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{FlowKey, HookSums, Onward, Opaque, Via},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::{
    flows::Flows,
    server::{ControlSocket, MAX_CONNECTIONS, bind_tcp, serve_tcp, serve_unix},
    status::{NicStatus, Status, Sums},
    *,
};
use crate::{
    alerts::{
        Host,
        sinks::{Output, Sinks},
    },
    epochs::{
        Facts,
        facts::InForce,
        fake::{self, Fake},
        task::Engine,
    },
    failure::Failure,
    policy::{ClockMap, Policy},
    reconcile::{Amount, Base, Device, Presence, Queue, Reading},
};

/// The API over a fake source, on a loopback port and a control socket.
struct Bench {
    address: std::net::SocketAddr,
    socket: PathBuf,
    fake: Fake,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
    _events: tokio::sync::mpsc::Sender<(monitor_common::wire::Event, i128)>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn bench() -> Bench {
    bench_of(InForce { policy: fake::policy().into(), inside: "EEA".into(), ..InForce::default() }).await
}

async fn bench_of(in_force: InForce) -> Bench {
    let fake = Fake::new(in_force.clone());
    let facts =
        SharedFacts::new(Facts { started: now(), epoch_length: Duration::from_secs(3_600), ..Facts::default() });
    let (sinks, _) = Sinks::start(vec![Output::new("none", Box::new(std::io::sink()))], 100).expect("a thread");
    let host = Host { boot_id: "b0".into(), ..Host::default() };
    let (engine, handle) = Engine::new(Box::new(fake.clone()), facts.clone(), sinks, host, in_force.clone());
    let directory = tempfile::tempdir().expect("a directory");
    let stop = CancellationToken::new();
    let (events, received) = tokio::sync::mpsc::channel(10);
    tokio::spawn(engine.run(received, stop.clone()));
    let next = || InForce { policy: Policy { digest: "b".repeat(64), ..fake::policy() }.into(), ..InForce::default() };
    let setup = change::Setup {
        read: Arc::new(move || change::Read { files: change::Files::default(), policy: Ok(next()) }),
        files: change::Files::default(),
        clocks: Arc::new(ClockMap::default),
        confirm: None,
        memory: change::memory::Memory::open(directory.path()),
    };
    let (changer, changes) = change::Changer::new(setup, handle.clone(), facts.clone(), in_force);
    tokio::spawn(changer.run(stop.clone()));
    let socket = directory.path().join("run/control.sock");
    let control = ControlSocket::bind(&socket).expect("a socket");
    let asked = Control { epochs: handle, changes };
    tokio::spawn(serve_unix(control, router(facts.clone(), Some(asked), "enclave-1"), stop.clone()));
    let listener = bind_tcp("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(serve_tcp(listener, router(facts, None, "enclave-1"), stop.clone()));
    Bench { address, socket, fake, stop, _directory: directory, _events: events }
}

impl Bench {
    /// A whole exchange over TCP: status and body.
    async fn request(&self, head: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("writes");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("reads");
        let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok()).expect(&reply);
        (status, reply.split_once("\r\n\r\n").expect(&reply).1.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
    }

    /// Over the control socket.
    async fn ask<T: serde::de::DeserializeOwned + Send + 'static>(&self, path: &'static str) -> Result<T, Failure> {
        let socket = self.socket.clone();
        tokio::task::spawn_blocking(move || client::get(&socket, path)).await.expect("no panic")
    }
}

fn plus(sums: &mut Sums, other: &Sums) {
    sums.packets += other.packets;
    sums.segments += other.segments;
    sums.bytes += other.bytes;
    sums.wire_bytes += other.wire_bytes;
}

/// Rows + rest + evicted + overflow + unparsed.
fn accounted(reply: &Flows) -> Sums {
    let mut sums = Sums::default();
    for row in reply.flows.iter().map(|row| &row.sums).chain(reply.groups.iter().map(|row| &row.sums)) {
        plus(&mut sums, row);
    }
    for part in [&reply.rest.sums, &reply.evicted.sums, &reply.overflow, &reply.unparsed] {
        plus(&mut sums, part);
    }
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_changed_over_the_control_socket_alone() {
    let bench = bench().await;
    for path in ["/api/v1/policy/reload", "/api/v1/policy/reload?confirm=60", "/api/v1/policy/confirm"] {
        let (status, _) =
            bench.request(&format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(status, 404, "{path} over TCP");
    }
    assert_eq!(bench.fake.script().staged, []);
    let post = |path: &'static str| {
        let socket = bench.socket.clone();
        tokio::task::spawn_blocking(move || client::post::<change::Outcome>(&socket, path))
    };
    for bad in ["0", "86401", "-1", "x"] {
        let path: &'static str = format!("/api/v1/policy/reload?confirm={bad}").leak();
        assert!(post(path).await.expect("no panic").is_err(), "{bad}");
    }
    let named = |digest: &str| change::Named { digest: digest.repeat(64), mode: "observe".into() };
    let outcome = post("/api/v1/policy/reload?confirm=60").await.expect("no panic").expect("an answer");
    assert_eq!((outcome.policy, outcome.changed), (named("b"), true));
    let trial = outcome.unconfirmed.expect("a trial");
    assert_eq!(trial.back_to.digest, fake::policy().digest);
    assert!((58..=60).contains(&trial.seconds_left), "{trial:?}");
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert_eq!(status.unconfirmed.map(|trial| trial.back_to.digest), Some(fake::policy().digest));
    assert!(text::status(&bench.ask("/api/v1/status").await.expect("an answer")).contains("UNCONFIRMED, returns to"));
    let outcome = post("/api/v1/policy/confirm").await.expect("no panic").expect("an answer");
    assert_eq!((outcome.policy, outcome.unconfirmed, outcome.warning), (named("b"), None, None));
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert_eq!((status.unconfirmed, status.policy.digest), (None, "b".repeat(64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_flows_are_exact_and_every_grouping_adds_up_to_the_hook() {
    let bench = bench().await;
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
async fn rules_show_what_they_decided_and_which_decided_nothing() {
    let mut policy = fake::policy();
    policy.rules[0].owner = "dpo@example.org".into();
    policy.rules[0].expires = Some(4_102_358_400);
    policy.rules[0].max_bytes_per_day = Some(1_000);
    let past = crate::policy::RuleInfo {
        id: "never".into(),
        action: crate::config::Action::Deny,
        expires: Some(1),
        ..Default::default()
    };
    policy.rules.push(past);
    let bench = bench_of(InForce { policy: policy.into(), inside: "EEA".into(), ..InForce::default() }).await;
    let mut snapshot = fake::snapshot(0);
    let key = |port| FlowKey { rule: 1, verdict: Verdict::Allowed as u8, ..fake::key(7, fake::OUTSIDE, port) };
    fake::add(&mut snapshot, key(1), 3);
    fake::add(&mut snapshot, key(2), 2);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 3, 7);
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Allowed, 4);
    bench.fake.script().next.push_back(snapshot);
    let reply: rules::Rules = bench.ask("/api/v1/rules?fresh=1").await.expect("an answer");
    let rows: Vec<_> = reply
        .rules
        .iter()
        .map(|row| (row.rule.as_str(), row.action.as_deref(), row.state.as_str(), row.flows, row.sums.wire_bytes))
        .collect();
    assert_eq!(rows, [("migration-sg", Some("allow"), "holds", 2, 520), ("never", Some("deny"), "expired", 0, 0)]);
    assert_eq!((reply.never_hit.as_slice(), reply.overflow.packets), (&["never".to_owned()][..], 4));
    let first = &reply.rules[0];
    assert_eq!(first.first_hit.as_deref(), Some("2027-01-15T08:00:09.000Z"));
    assert_eq!(first.last_hit.as_deref(), Some("2027-01-15T08:00:09.500Z"));
    assert_eq!((first.owner.as_str(), first.expires.as_deref()), ("dpo@example.org", Some("2099-12-31T00:00:00Z")));
    let budget = first.budget.as_ref().expect("it has one");
    assert_eq!((budget.bytes_per_day, budget.used, budget.beyond), (1_000, 520, 0));
    assert_eq!(budget.suspended_since, None);
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert_eq!((status.policy.rules, status.policy.never_hit, status.policy.suspended.len()), (2, 1, 0));
    let page = bench.get("/metrics").await.1;
    for line in [
        r#"egress_monitor_rule_packets_total{rule="migration-sg"} 5"#,
        r#"egress_monitor_rule_wire_bytes_total{rule="migration-sg"} 520"#,
        r#"egress_monitor_rule_flows_total{rule="migration-sg"} 2"#,
        r#"egress_monitor_rule_last_hit_timestamp_seconds{rule="migration-sg"} 1800000009"#,
        r#"egress_monitor_rule_budget_used_bytes{rule="migration-sg"} 520"#,
        r#"egress_monitor_rule_suspended{rule="migration-sg"} 0"#,
        "egress_monitor_rules_suspended 0",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    let text = text::rules(&reply);
    let shown: Vec<&str> = text.lines().nth(2).expect("a row").split_whitespace().collect();
    assert_eq!(
        shown,
        [
            "migration-sg",
            "allow",
            "holds",
            "2",
            "5",
            "520",
            "B",
            "2027-01-15T08:00:09.500Z",
            "520",
            "B",
            "1000",
            "B",
            "2099-12-31T00:00:00Z",
            "dpo@example.org",
            "-"
        ]
    );
    assert!(text.contains("which rules decided 4 packets is not known"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shadow_page_says_what_would_have_been_otherwise_and_adds_up() {
    // To the candidate every address is of class 1, and that is denied.
    let mut classes = fake::policy().image.classes;
    classes[1].deny = 1;
    let image = monitor_common::classify::build::Image::build(&[(0, 1)], &[(0, 1)], classes, vec![]).expect("fits");
    let candidate = crate::policy::Policy { digest: "e".repeat(64), image, ..fake::policy() };
    let candidate = crate::shadow::Candidate {
        file: "/etc/candidate.toml".into(),
        policy: candidate.into(),
        clock: Default::default(),
    };
    let shadow = crate::shadow::Shadow::Candidate(candidate.into());
    let bench = bench_of(InForce { policy: fake::policy().into(), shadow, ..InForce::default() }).await;
    let mut snapshot = fake::snapshot(0);
    for (port, packets) in [(1, 5), (2, 9), (3, 7)] {
        fake::add_flow(&mut snapshot, 7, fake::INSIDE, port, packets);
    }
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 4, 30);
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 4);
    fake::add_unparsed(&mut snapshot, Reason::LinkControl, 2, 0);
    bench.fake.script().next.push_back(snapshot);
    let page: shadow::ShadowPage = bench.ask("/api/v1/policy/shadow?fresh=1&top=2").await.expect("an answer");
    assert_eq!(page.candidate.as_ref().map(|candidate| candidate.digest.clone()), Some("e".repeat(64)));
    assert_eq!((page.stricter.packets, page.looser.packets, page.hook.packets), (21, 0, 57));
    assert_eq!((page.not_evaluated.overflow.packets, page.not_evaluated.unparsed.packets), (4, 0));
    let mut all = Sums::default();
    for row in page.verdicts.iter().chain(&page.unparsed) {
        plus(&mut all, &row.sums);
    }
    let not = &page.not_evaluated;
    for sums in [not.overflow, not.unparsed, not.hops, not.unanswered] {
        plus(&mut all, &sums);
    }
    assert_eq!(all, page.hook);
    let rows: Vec<_> = page
        .flows
        .iter()
        .map(|row| {
            let flow = &row.flow;
            (flow.destination_port, flow.sums.packets, flow.verdict.as_str(), row.shadow_verdict.as_str())
        })
        .collect();
    assert_eq!(rows, [(2, 9, "allowed", "observed"), (3, 7, "allowed", "observed")]);
    assert_eq!((page.rest.flows, page.rest.sums.packets, page.summed_up.flows), (1, 5, 0));
    let text = text::shadow(&page);
    assert!(text.contains("it denies what is allowed now: 21 packets, 2.1 KiB on the wire"), "{text}");
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    let shadow = status.policy.shadow.as_ref().expect("it has one");
    assert_eq!((shadow.stricter.packets, shadow.refused.as_ref()), (21, None));
    assert!(text::status(&status).contains("would deny 21 packets (2.1 KiB) more and allow 0 (0 B) more"));
    let metrics = bench.get("/metrics").await.1;
    for line in [
        r#"egress_monitor_shadow_bytes_total{shadow="observed",verdict="allowed"} 2100"#,
        r#"egress_monitor_shadow_wire_bytes_total{shadow="allowed",verdict="allowed"} 208"#,
        r#"egress_monitor_shadow_not_evaluated_packets_total{why="overflow"} 4"#,
        "egress_monitor_shadow_refused 0",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(bench.get("/api/v1/policy/shadow?top=0").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_policy_that_is_no_good_is_told_and_stops_nothing() {
    let shadow = crate::shadow::Shadow::Refused("candidate.toml:3: no".into());
    let bench = bench_of(InForce { policy: fake::policy().into(), shadow, ..InForce::default() }).await;
    let status: Status = bench.ask("/api/v1/status?fresh=1").await.expect("an answer");
    assert_eq!(status.conditions.iter().map(|one| one.kind.as_str()).collect::<Vec<_>>(), ["shadow_refused"]);
    assert!(text::status(&status).contains("shadow      REFUSED: candidate.toml:3: no"), "{}", text::status(&status));
    let page: shadow::ShadowPage = bench.ask("/api/v1/policy/shadow").await.expect("an answer");
    assert_eq!(page.refused.as_deref(), Some("candidate.toml:3: no"));
    assert!(bench.get("/metrics").await.1.contains("\negress_monitor_shadow_refused 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_the_last_minutes_are_those_of_the_last_minutes_and_add_up() {
    let bench = bench().await;
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
    for bad in ["0", "3601", "-1", "1h"] {
        assert_eq!(bench.get(&format!("/api/v1/flows?since={bad}")).await.0, 400, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_named_by_who_announces_them_where_a_dataset_says() {
    let policy = crate::policy::Policy { asn: Some(fake::systems().into()), ..fake::policy() };
    let bench = bench_of(InForce { policy: policy.into(), ..InForce::default() }).await;
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
    let text = text::flows(&flows, None);
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
    let bench = bench().await;
    let mut snapshot = fake::snapshot(0);
    let key = fake::key(7, fake::OUTSIDE, 4789);
    let opaque = |form: Opaque| FlowKey { flags: form as u8, ..key };
    fake::add(&mut snapshot, fake::onward(key, Via::Vxlan), 30);
    let mut six = fake::onward(opaque(Opaque::Quic), Via::SourceRoute);
    six.onward = Onward {
        address: "2001:db8::9".parse::<std::net::Ipv6Addr>().expect("an address").into(),
        port: 128 << 8,
        protocol: 58,
        ip_version: 6,
        ..six.onward
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
        rows[0]["onward"],
        serde_json::json!({
            "destination": "203.0.113.5", "destination_port": 53, "protocol": 17, "via": "vxlan", "embedded": null
        })
    );
    assert_eq!(
        rows.iter().map(|row| (row["opaque"].as_str(), row["onward"]["via"].as_str())).collect::<Vec<_>>(),
        [(None, Some("vxlan")), (Some("quic"), Some("source_route")), (Some("esp"), None), (None, None)]
    );
    assert_eq!(rows[3]["decided_by"], "198.51.100.9");
    assert_eq!(rows[3]["onward"], Value::Null);
    let reply: Flows = serde_json::from_value(document).expect("the document");
    let reasons: Vec<_> = reply
        .unparsed_reasons
        .iter()
        .map(|row| (row.reason.as_str(), row.passed.packets, row.dropped.packets, row.dropped.bytes))
        .collect();
    assert_eq!(reasons, [("link_control", 3, 0, 0), ("mpls", 0, 2, 200)]);
    assert_eq!(accounted(&reply), reply.hook);

    let text = text::flows(&reply, None);
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
    let unparsed: Vec<&str> = lines.skip_while(|line| !line.starts_with("  not parsed    fate")).collect();
    assert_eq!(
        unparsed,
        [
            "  not parsed    fate     packets  segments  bytes  on the wire  meaning".to_owned(),
            format!(
                "  link_control  passed         3         3  300 B        312 B  {}",
                Reason::LinkControl.meaning()
            ),
            format!("  mpls          dropped        2         2  200 B        208 B  {}", Reason::Mpls.meaning()),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_what_is_attached_counted_and_lost() {
    let bench = bench().await;
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 30);
    fake::add_overflow(&mut snapshot, fake::UNKNOWN, Verdict::Observed, 4);
    snapshot.events_lost = 2;
    let sent = |packets| Amount { packets, bytes: packets * 100 };
    let total = fake::sums(34);
    snapshot.readings = vec![Reading {
        interface: "eth0".into(),
        ifindex: 7,
        base: Base { before: sent(70), after: Device { sent: sent(71), ..Device::default() }, ..Base::default() },
        queue_after: Queue { waiting: 2, ..Queue::default() },
        device: Some(Device { sent: sent(71 + 37), ..Device::default() }),
        open: HookSums { total, ..HookSums::default() },
        presence: Presence::Attached { ahead: 1 },
        ..Reading::default()
    }];
    bench.fake.script().next.push_back(snapshot);
    let status: Status = bench.ask("/api/v1/status?fresh=1").await.expect("an answer");
    assert_eq!(status.interfaces.len(), 1);
    let eth0 = &status.interfaces[0];
    assert_eq!((eth0.interface.as_str(), eth0.hook.as_deref(), eth0.total.packets), ("eth0", Some("tcx"), 34));
    assert_eq!(eth0.residual, Sums::default());
    assert_eq!((eth0.state.as_deref(), eth0.ahead), (Some("attached"), 1));
    let nic = NicStatus {
        counts: "undetermined".into(),
        sent: sent(37),
        before_attach: sent(71),
        while_attaching: sent(1),
        in_flight: 2,
        // 37 sent and 2 waiting, of 34; the device's bytes over those on the wire.
        unaccounted: Amount { packets: 5, bytes: 3_700 - 34 * 104 },
        ..NicStatus::default()
    };
    assert_eq!(eth0.nic, Some(nic));
    assert_eq!((status.losses.events, status.losses.overflow_packets), (2, 4));
    assert_eq!((status.mode.as_str(), status.host.as_str()), ("observe", "enclave-1"));
    assert_eq!(status.blind_spots.len(), 4);
    let text = text::status(&status);
    for part in [
        "observe: nothing is dropped",
        "eth0",
        "flow_table_overflow since",
        "residual 0",
        "DPDK",
        "tcx, 1 ahead",
        "WRONG: 5 packets left without passing a hook",
        "eth0 had sent 71 packets",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_epoch_is_told_alone_beside_all_since_the_start_and_both_name_boot_and_start() {
    let bench = bench().await;
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
    let inside = |rows: &[super::status::GroupStatus]| {
        rows.iter().filter(|row| row.class == "inside").map(|row| row.sums.packets).sum::<u64>()
    };
    assert_eq!((inside(&epoch.totals), inside(&status.totals)), (34, 134));
    let flows: Flows = bench.ask("/api/v1/flows").await.expect("an answer");
    assert_eq!((flows.epoch, flows.until, flows.boot_id.as_str()), (Some(1), Some(epoch.closed), "b0"));
    assert_eq!((status.boot_id, status.started), (flows.boot_id, flows.since));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused_with_a_reason() {
    let bench = bench().await;
    for (path, status, part) in [
        ("/api/v1/flows?colour=red", 400, "colour"),
        ("/api/v1/flows?by=process", 400, "process"),
        ("/api/v1/flows?top=0", 400, "from 1 to"),
        ("/api/v1/flows?top=-1", 400, "top"),
        ("/api/v1/flows?verdict=maybe", 400, "maybe"),
        ("/api/v1/flows?fresh=1", 400, "control socket"),
        ("/api/v1/status?top=1", 400, "top"),
        ("/metrics?x=1", 400, "x"),
        ("/api/v1/alerts?x=1", 400, "x"),
        ("/etc/passwd", 404, "no such page"),
    ] {
        let (got, body) = bench.get(path).await;
        assert_eq!(got, status, "{path}: {body}");
        let value: Value = serde_json::from_str(&body).expect(&body);
        assert!(value["error"].as_str().expect("a reason").contains(part), "{path}: {body}");
    }
    let (status, _) = bench.request("POST /api/v1/flows HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status, 405);
    assert_eq!(bench.fake.script().flips, 0, "nothing on the port closes an epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_only_while_epochs_are_closed_and_the_page_adds_up() {
    let bench = bench().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_free_again_when_closed() {
    let bench = bench().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(bench.address).await.expect("connects");
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.expect("writes");
        idle.push(stream);
    }
    // Accepted in order, so all of these are being served when the next one comes.
    let mut surplus = TcpStream::connect(bench.address).await.expect("connects");
    let mut nothing = Vec::new();
    // Closed without an answer: end of file or a reset.
    let _ = surplus.read_to_end(&mut nothing).await;
    assert_eq!(nothing, b"");
    // The control socket has its own places.
    bench.ask::<Value>("/api/v1/status").await.expect("an answer");
    drop(idle);
    let asked = async {
        loop {
            let mut stream = TcpStream::connect(bench.address).await.expect("connects");
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let mut reply = String::new();
            let _ = stream.read_to_string(&mut reply).await;
            if reply.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("places are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_hung_up_on_and_a_long_one_refused() {
    let bench = bench().await;
    let (status, _) = bench.get(&format!("/{}", "a".repeat(20_000))).await;
    assert!(matches!(status, 414 | 431), "{status}");
    let mut slow = TcpStream::connect(bench.address).await.expect("connects");
    slow.write_all(b"GET /healthz HT").await.expect("writes");
    let mut reply = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(9), slow.read_to_end(&mut reply)).await;
    assert!(ended.is_ok(), "still open after 9 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_an_address_off_loopback_are_refused_with_the_mend() {
    let bench = bench().await;
    let Err(Failure::Unavailable(text)) = bind_tcp(bench.address) else { panic!("not refused") };
    assert!(text.contains(&bench.address.to_string()) && text.contains("[http] listen"), "{text}");
    let Err(Failure::Usage(text)) = bind_tcp("192.0.2.1:9477".parse().expect("an address")) else {
        panic!("not refused")
    };
    assert!(text.contains("192.0.2.1:9477") && text.contains("loopback"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_is_private_and_only_a_dead_one_is_replaced() {
    let bench = bench().await;
    let mode = std::fs::metadata(&bench.socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let Err(Failure::Unavailable(text)) = ControlSocket::bind(&bench.socket) else { panic!("not refused") };
    assert!(text.contains("another egress-monitor answers"), "{text}");

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    // A dead one: bound, closed, not removed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    let socket = ControlSocket::bind(&path).expect("replaced");
    drop(socket);
    assert!(!path.exists());
    std::fs::write(&path, "precious").expect("written");
    let Err(Failure::Unavailable(text)) = ControlSocket::bind(&path) else { panic!("not refused") };
    assert!(text.contains("not a socket"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_client_names_the_mend() {
    let path = PathBuf::from("/nonexistent/control.sock");
    let result = tokio::task::spawn_blocking(move || client::get::<Value>(&path, "/api/v1/status")).await;
    let Err(Failure::Unavailable(text)) = result.expect("no panic") else { panic!("an answer from nobody") };
    assert!(text.contains("/nonexistent/control.sock") && text.contains("egress-monitor run"), "{text}");
}
