use std::{
    collections::BTreeSet,
    io::{self, Write},
    sync::{Mutex, atomic::Ordering::Relaxed},
};

use monitor_common::{
    verdict::Verdict,
    wire::{Address, Onward, OnwardKey, Opaque, Via},
};
use serde_json::Value;

use super::{
    findings::{Condition, Conditions, Detail, Unaccounted},
    sinks::{Output, Sinks},
    *,
};
use crate::epochs::fake;

const IDLE_TIME: i128 = IDLE as i128;

fn host() -> Host {
    Host { name: "enclave-1".into(), boot_id: "b0".into() }
}

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../docs/alert.schema.json");
    let schema: Value = serde_json::from_str(text).expect("the schema is JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("the schema is a schema")
}

#[track_caller]
fn valid(line: &str) -> Value {
    assert!(!line.contains('\n'));
    let value: Value = serde_json::from_str(line).expect(line);
    let errors: Vec<String> = schema().iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{line}");
    value
}

/// An alerter with its names and the fake policy.
struct Bench {
    alerter: Alerter,
    identities: Arc<Identities>,
    resolver: Resolver,
    interfaces: Interfaces,
    /// Of events.
    epoch: u32,
}

impl Bench {
    fn new(limit: usize) -> Self {
        Self::with(fake::policy(), limit, PER_EPOCH)
    }

    fn with(policy: Policy, remembered: usize, per_epoch: usize) -> Self {
        let mut identities = Arc::new(Identities::default());
        let (eth0, unregistered) = (identities.interface("eth0"), identities.interface(""));
        Self {
            alerter: Alerter::with_limits(host(), remembered, per_epoch),
            resolver: Resolver::new(&mut identities, &policy.into()),
            interfaces: Interfaces::new([(7, eth0)].into(), unregistered),
            identities,
            epoch: 1,
        }
    }

    fn event(&mut self, flow: impl Into<OnwardKey>, jiffies: u64, wall: i128) -> Option<Alert> {
        let event = Event { flow: flow.into(), jiffies, epoch: self.epoch, wire_bytes: 104 };
        self.alerter.event(&event, (wall, wall), self.interfaces.name(7), &self.resolver, &self.identities)
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> Vec<Alert> {
        let (alerts, suppressed) = self.counted(snapshot);
        assert_eq!(suppressed, 0);
        alerts
    }

    /// The alerts, and how many flows got none.
    fn counted(&mut self, snapshot: &Snapshot) -> (Vec<Alert>, u64) {
        let mut alerts = Vec::new();
        let push = |alert| alerts.push(alert);
        let suppressed = self.alerter.snapshot(snapshot, &self.interfaces, &self.resolver, &self.identities, push);
        (alerts, suppressed)
    }
}

#[test]
fn a_flow_alerts_once_whether_its_event_came_or_not() {
    let mut bench = Bench::new(100);
    let mut snapshot = fake::snapshot(1);
    let told = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    fake::add_flow(&mut snapshot, 7, fake::UNKNOWN, 444, 5);
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 445, 5);
    fake::add(&mut snapshot, FlowKey { rule: 1, ..fake::key(7, fake::OUTSIDE, 446) }, 5);
    assert!(bench.event(told, 4_750, snapshot.started).is_some());
    assert!(bench.event(told, 4_750, snapshot.started).is_none());
    let rebuilt = bench.snapshot(&snapshot);
    assert_eq!(rebuilt.len(), 1);
    let line = valid(&rebuilt[0].line);
    assert_eq!((&line["unmapped"]["class"], &line["unmapped"]["origin"]), (&"unknown".into(), &"drain".into()));
    assert_eq!((&line["traffic"]["packets"], &line["traffic"]["bytes"]), (&5.into(), &520.into()));
    assert!(bench.snapshot(&snapshot).is_empty());
}

/// The flow with further destinations that differ in one thing each.
fn onwards(key: FlowKey) -> Vec<OnwardKey> {
    let with = fake::onward(key, Via::Vxlan);
    let of = |onward| OnwardKey { onward, ..with };
    vec![
        with,
        of(Onward { address: Address::v4(0xcb00_7106), ..with.onward }),
        of(Onward { port: 54, ..with.onward }),
        of(Onward { protocol: 6, ..with.onward }),
        of(Onward { ip_version: 6, ..with.onward }),
        of(Onward { via: Via::Gre as u8, ..with.onward }),
    ]
}

#[test]
fn the_uid_is_the_same_from_event_and_drain_and_differs_for_anything_else() {
    let mut snapshot = fake::snapshot(1);
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    let first = snapshot.flows[0].1.first;
    let uid = |alert: &Alert| valid(&alert.line)["metadata"]["uid"].as_str().map(str::to_owned);
    let told = Bench::new(9).event(key, first, snapshot.started).expect("new");
    let rebuilt = Bench::new(9).snapshot(&snapshot);
    assert_eq!(uid(&told), uid(&rebuilt[0]));
    let mut uids = BTreeSet::from([uid(&told)]);
    let others = [
        FlowKey { source_port: 1, ..key },
        FlowKey { destination_port: 1, ..key },
        FlowKey { protocol: 17, ..key },
        FlowKey { verdict: Verdict::Denied as u8, ..key },
        FlowKey { class: fake::AMBIGUOUS, ..key },
        FlowKey { flags: Opaque::Esp as u8, ..key },
        FlowKey { flags: Opaque::Quic as u8, ..key },
    ]
    .map(OnwardKey::from)
    .into_iter()
    .chain(onwards(key))
    .collect::<Vec<_>>();
    for other in others {
        uids.insert(uid(&Bench::new(9).event(other, first, 0).expect("new")));
    }
    uids.insert(uid(&Bench::new(9).event(key, first + 1, 0).expect("new")));
    assert_eq!(uids.len(), 15);
}

#[test]
fn each_further_destination_and_each_opaque_form_alerts_once() {
    let mut bench = Bench::new(100);
    let key = fake::key(7, fake::OUTSIDE, 443);
    let opaque = FlowKey { flags: Opaque::WireGuard as u8, ..key };
    let flows: Vec<OnwardKey> = onwards(key).into_iter().chain([key.into(), opaque.into()]).collect();
    let mut told = || flows.iter().filter(|flow| bench.event(**flow, 1, fake::START).is_some()).count();
    assert_eq!((told(), told()), (8, 0));
    let mut snapshot = fake::snapshot(1);
    for flow in flows {
        fake::add(&mut snapshot, flow, 1);
    }
    assert_eq!(bench.snapshot(&snapshot), []);
}

#[test]
fn a_flow_alerts_again_after_ten_minutes_of_silence_and_not_before() {
    let mut bench = Bench::new(100);
    let key = fake::key(7, fake::OUTSIDE, 443);
    assert!(bench.event(key, 1, fake::START).is_some());
    assert!(bench.event(key, 2, fake::START + IDLE_TIME).is_none());
    assert!(bench.event(key, 3, fake::START + 2 * IDLE_TIME).is_none());
    assert!(bench.event(key, 4, fake::START + 3 * IDLE_TIME + 1).is_some());
}

#[test]
fn a_flow_that_goes_on_for_longer_than_that_alerts_once() {
    let mut bench = Bench::new(100);
    let mut snapshot = fake::snapshot(1);
    let key = fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    assert!(bench.event(key, 4_750, snapshot.started).is_some());
    // The daemon was away for an hour, so that the epoch was as long, and there were packets until its end.
    snapshot.ended += 6 * IDLE_TIME;
    snapshot.jiffies += 6 * 600 * 250;
    snapshot.flows[0].1.last = snapshot.jiffies;
    assert_eq!(bench.snapshot(&snapshot), []);
    let mut next = fake::snapshot(2);
    (next.ended, next.jiffies) = (snapshot.ended + 1, snapshot.jiffies + 100);
    let (_, value) = {
        fake::add_flow(&mut next, 7, fake::OUTSIDE, 443, 3);
        &mut next.flows[0]
    };
    (value.first, value.last) = (snapshot.jiffies + 1, snapshot.jiffies + 2);
    assert_eq!(bench.snapshot(&next), []);
}

#[test]
fn a_flow_that_goes_on_in_every_epoch_never_alerts_again() {
    let mut bench = Bench::new(100);
    let mut alerts = 0;
    for epoch in 0..200 {
        let mut snapshot = fake::snapshot(epoch);
        fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
        alerts += bench.snapshot(&snapshot).len();
    }
    assert_eq!(alerts, 1);
}

#[test]
fn memory_is_bounded_and_the_flows_silent_longest_are_forgotten_first() {
    let mut bench = Bench::new(16);
    for port in 0..17 {
        assert!(bench.event(fake::key(7, fake::OUTSIDE, port), 1, fake::START + i128::from(port)).is_some());
    }
    assert_eq!(bench.alerter.alerted.len(), 14);
    assert!(bench.event(fake::key(7, fake::OUTSIDE, 16), 1, fake::START + 20).is_none());
    assert!(bench.event(fake::key(7, fake::OUTSIDE, 0), 1, fake::START + 20).is_some());
}

#[test]
fn an_epoch_makes_so_many_alerts_and_counts_the_flows_that_got_none() {
    let mut bench = Bench::with(fake::policy(), 1_000, 10);
    let mut snapshot = fake::snapshot(1);
    let keys: Vec<FlowKey> = (0..100).map(|port| fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, port, 1)).collect();
    fake::add_flow(&mut snapshot, 7, fake::INSIDE, 1, 1);
    let told = keys[..4].iter().filter(|key| bench.event(**key, 1, snapshot.started).is_some()).count();
    assert_eq!(told, 4);
    let (alerts, suppressed) = bench.counted(&snapshot);
    assert_eq!((alerts.len(), suppressed), (6, 90));
    // An event that comes after its drain is no news.
    assert_eq!(bench.event(keys[99], 1, snapshot.started), None);
    // Events beyond the number are for the drain.
    bench.epoch = 2;
    snapshot.epoch = 2;
    let told = keys[50..].iter().filter(|key| bench.event(**key, 1, snapshot.started).is_some()).count();
    assert_eq!(told, 10);
    let (alerts, suppressed) = bench.counted(&snapshot);
    assert_eq!((alerts.len(), suppressed), (0, 80));
    // What goes on gets its alert, ten an epoch; nothing twice.
    for left in [70, 60, 50, 40, 30, 20, 10, 0] {
        let (alerts, suppressed) = bench.counted(&snapshot);
        assert_eq!((alerts.len(), suppressed), (10, left));
    }
    assert_eq!(bench.counted(&snapshot), (Vec::new(), 0));
}

#[test]
fn a_change_of_verdict_or_class_is_another_alert() {
    let mut bench = Bench::new(100);
    let key = fake::key(7, fake::OUTSIDE, 443);
    let lines = [
        bench.event(key, 1, fake::START),
        bench.event(FlowKey { verdict: Verdict::Denied as u8, ..key }, 1, fake::START),
        bench.event(FlowKey { class: fake::AMBIGUOUS, ..key }, 1, fake::START),
    ];
    let of = |alert: &Option<Alert>| {
        let line = valid(&alert.as_ref().expect("new").line);
        (line["action_id"].as_u64(), line["disposition_id"].as_u64(), line["severity_id"].as_u64())
    };
    assert_eq!(
        lines.each_ref().map(of),
        [(Some(3), Some(19), Some(4)), (Some(2), Some(2), Some(3)), (Some(3), Some(19), Some(3))]
    );
}

#[test]
fn the_line_says_what_the_packet_was() {
    let mut bench = Bench::new(100);
    let alert = bench.event(fake::key(7, fake::OUTSIDE, 443), 1, fake::START).expect("new");
    let line = valid(&alert.line);
    assert_eq!(line["time"], 1_800_000_000_000_u64);
    assert_eq!(line["src_endpoint"], serde_json::json!({"ip": "192.0.2.1", "port": 40000, "interface_name": "eth0"}));
    assert_eq!(
        line["dst_endpoint"],
        serde_json::json!({"ip": "198.51.100.9", "port": 443, "location": {"country": "SG"}})
    );
    assert_eq!(
        line["message"],
        "Left (observe mode): tcp from 192.0.2.1:40000 to 198.51.100.9:443, outside the region (SG), on eth0"
    );
    assert_eq!(line["device"]["hostname"], "enclave-1");
    assert_eq!((line["type_uid"].as_u64(), line["is_alert"].as_bool()), (Some(400_106), Some(true)));
}

#[test]
fn what_is_no_port_is_not_called_one() {
    let mut bench = Bench::new(100);
    let ping = FlowKey { protocol: 1, source_port: 0, destination_port: 8 << 8, ..fake::key(7, fake::OUTSIDE, 0) };
    let line = valid(&bench.event(ping, 1, 0).expect("new").line);
    assert!(line["dst_endpoint"].get("port").is_none());
    assert_eq!((line["unmapped"]["icmp_type"].as_u64(), line["unmapped"]["icmp_code"].as_u64()), (Some(8), Some(0)));
    let six = FlowKey {
        ip_version: 6,
        protocol: 200,
        destination: "2001:db8::9".parse::<std::net::Ipv6Addr>().expect("address").into(),
        ..fake::key(7, fake::UNKNOWN, 0)
    };
    let line = valid(&bench.event(six, 1, 0).expect("new").line);
    assert_eq!(line["dst_endpoint"], serde_json::json!({"ip": "2001:db8::9"}));
    assert!(line["connection_info"].get("protocol_name").is_none());
}

/// The alert on a flow under a policy in which 5/8 is German and 8/8 American; the class is that of `strictest`.
fn placed(destination: &str, onward: Option<(&str, Via)>, opaque: Opaque, strictest: &str) -> Value {
    let range = |first, last, code: &[u8; 2]| crate::geo::Range { first, last, country: crate::geo::Country(*code) };
    let data = crate::geo::Dataset {
        v4: vec![range(0x0500_0000, 0x05ff_ffff, b"DE"), range(0x0800_0000, 0x08ff_ffff, b"US")],
        ..crate::geo::Dataset::default()
    };
    let config = crate::config::Config::default();
    let clock = crate::policy::ClockMap::wall(0);
    let knowledge = crate::policy::Knowledge::new(&[data], crate::geo::special::table());
    let policy = crate::policy::compile(&config, &knowledge, &clock).expect("must compile");
    let address = |text: &str| match text.parse().expect("an address") {
        std::net::IpAddr::V4(v4) => (4, Address::v4(v4.to_bits())),
        std::net::IpAddr::V6(v6) => (6, v6.into()),
    };
    let class = monitor_common::classify::class_v4(&policy.image, address(strictest).1.low as u32).expect("a class");
    let (ip_version, destination) = address(destination);
    let class = class.try_into().expect("few classes");
    let source = address(if ip_version == 4 { "192.0.2.1" } else { "2a00::1" }).1;
    let flow = FlowKey { ip_version, source, destination, class, flags: opaque as u8, ..fake::key(7, 0, 4789) };
    let mut flow = OnwardKey::from(FlowKey { verdict: Verdict::Observed as u8, protocol: 17, ..flow });
    if let Some((onward, via)) = onward {
        let (ip_version, address) = address(onward);
        flow.onward = Onward { address, port: 443, protocol: 6, ip_version, via: via as u8, _reserved: [0; 3] };
    }
    let mut bench = Bench::with(policy, 9, 9);
    valid(&bench.event(flow, 1, fake::START).expect("new").line)
}

#[test]
fn the_line_names_both_destinations_and_which_is_the_reason() {
    let line = placed("5.0.0.1", Some(("8.0.0.9", Via::Vxlan)), Opaque::None, "8.0.0.9");
    assert_eq!(line["dst_endpoint"], serde_json::json!({"ip": "5.0.0.1", "port": 4789}), "the country is not its own");
    assert_eq!(
        line["unmapped"]["onward"],
        serde_json::json!({
            "destination": "8.0.0.9", "destination_port": 443, "protocol": 6, "via": "vxlan", "embedded": null
        })
    );
    assert_eq!((&line["unmapped"]["decided_by"], &line["unmapped"]["country"]), (&"8.0.0.9".into(), &"US".into()));
    assert_eq!(line["unmapped"]["embedded"], Value::Null);
    let message = |line: &Value| {
        let text = line["message"].as_str().expect("text");
        text.replace("from 192.0.2.1:40000 ", "").replace("from [2a00::1]:40000 ", "")
    };
    assert_eq!(
        message(&line),
        "Left (observe mode): udp to 5.0.0.1:4789 and on to 8.0.0.9:443 (vxlan), 8.0.0.9 is outside the region (US), on \
         eth0"
    );

    let line = placed("8.0.0.9", Some(("5.0.0.1", Via::SourceRoute)), Opaque::None, "8.0.0.9");
    assert_eq!(line["dst_endpoint"]["location"], serde_json::json!({"country": "US"}));
    assert_eq!(
        message(&line),
        "Left (observe mode): udp to 8.0.0.9:4789 and on to 5.0.0.1:443 (source_route), 8.0.0.9 is outside the region \
         (US), on eth0"
    );

    let line = placed("5.0.0.1", Some(("5.0.0.2", Via::RoutingHeader)), Opaque::None, "8.0.0.9");
    assert_eq!(line["unmapped"]["decided_by"], Value::Null);
    assert_eq!(
        message(&line),
        "Left (observe mode): udp to 5.0.0.1:4789 and on to 5.0.0.2:443 (routing_header), a hop on the way is outside the \
         region (US), on eth0"
    );

    let line = placed("64:ff9b::800:9", None, Opaque::None, "8.0.0.9");
    assert_eq!(line["dst_endpoint"], serde_json::json!({"ip": "64:ff9b::800:9", "port": 4789}));
    assert_eq!(
        (&line["unmapped"]["onward"]["via"], &line["unmapped"]["decided_by"]),
        (&"nat64".into(), &"8.0.0.9".into())
    );
    assert_eq!(
        message(&line),
        "Left (observe mode): udp to [64:ff9b::800:9]:4789 and on to 8.0.0.9:4789 (nat64), 8.0.0.9 is outside the region \
         (US), on eth0"
    );

    let line = placed("64:ff9b::500:1", Some(("2002:800:9::1", Via::IpInIp)), Opaque::None, "8.0.0.9");
    assert_eq!(line["unmapped"]["onward"]["embedded"], serde_json::json!({"destination": "8.0.0.9", "via": "6to4"}));
    assert_eq!(line["unmapped"]["embedded"], serde_json::json!({"destination": "5.0.0.1", "via": "nat64"}));
    assert_eq!(
        message(&line),
        "Left (observe mode): udp to [64:ff9b::500:1]:4789 and on to 5.0.0.1 (nat64) and on to [2002:800:9::1]:443 \
         (ip_in_ip) and on to 8.0.0.9 (6to4), 8.0.0.9 is outside the region (US), on eth0"
    );
}

#[test]
fn the_line_says_what_can_not_be_read() {
    let line = placed("8.0.0.9", None, Opaque::WireGuard, "8.0.0.9");
    assert_eq!((&line["unmapped"]["opaque"], &line["unmapped"]["onward"]), (&"wireguard".into(), &Value::Null));
    assert_eq!(line["dst_endpoint"]["location"], serde_json::json!({"country": "US"}));
    assert_eq!(
        line["message"],
        "Left (observe mode): udp from 192.0.2.1:40000 to 8.0.0.9:4789, content not readable (wireguard), outside the \
         region (US), on eth0"
    );
}

#[test]
fn an_alert_says_who_announces_its_destination_where_a_dataset_does() {
    let policy = Policy { asn: Some(fake::systems().into()), ..fake::policy() };
    let mut bench = Bench::with(policy, 9, PER_EPOCH);
    let to = |address| FlowKey { destination: Address::v4(address), ..fake::key(7, fake::OUTSIDE, 443) };
    let mut system = |address| {
        let alert = bench.event(to(address), 1, fake::START).expect("new");
        valid(&alert.line)["dst_endpoint"]["autonomous_system"].clone()
    };
    assert_eq!(system(0xc633_6409), serde_json::json!({"number": 64_500, "name": "Example Net"}));
    assert_eq!(system(0xcb00_7109), serde_json::json!({"number": 64_501}));
    assert_eq!(system(0xc000_0209), Value::Null);
}

#[test]
fn the_schema_refuses_lines_that_contradict_themselves() {
    let alert = Bench::new(9).event(fake::key(7, fake::OUTSIDE, 443), 1, fake::START).expect("new");
    let good = valid(&alert.line);
    let change = |path: &str, value: Value| {
        let mut line = good.clone();
        *line.pointer_mut(path).expect(path) = value;
        line
    };
    let schema = schema();
    for bad in [
        change("/action_id", 2.into()),
        change("/severity", "Low".into()),
        change("/unmapped/verdict", "denied".into()),
        change("/dst_endpoint/ip", "198.51.100.256".into()),
        change("/dst_endpoint/location/country", "sg".into()),
        change("/metadata/uid", "".into()),
        change("/traffic/packets", 0.into()),
        change("/time", "now".into()),
        change("/unmapped/policy", "abc".into()),
        change("/unmapped/opaque", "none".into()),
        change("/unmapped/decided_by", "outside".into()),
        change("/unmapped/onward", serde_json::json!({"destination": "203.0.113.5"})),
    ] {
        assert!(!schema.is_valid(&bad), "{bad}");
    }
}

#[test]
fn a_condition_alerts_when_it_begins_and_when_it_ends() {
    let mut conditions = Conditions::default();
    let mut tell = |detail: Option<&str>, now| {
        let alert = conditions.tell(&host(), Condition::EventsLost, detail.map(Detail::from), now);
        alert.map(|alert| (valid(&alert.line)["activity_name"].as_str().map(str::to_owned), alert.severity))
    };
    assert_eq!(tell(None, 1), None);
    assert_eq!(tell(Some("3 events"), 2), Some((Some("Create".into()), Severity::Medium)));
    assert_eq!(tell(Some("4 events"), 3), None);
    assert_eq!(tell(None, 4), Some((Some("Close".into()), Severity::Informational)));
    assert_eq!(tell(None, 5), None);
}

#[test]
fn every_breach_of_conservation_and_all_unaccounted_egress_alerts() {
    for (condition, name) in
        [(Condition::ConservationBreach, "conservation_breach"), (Condition::UnaccountedEgress, "unaccounted_egress")]
    {
        let mut conditions = Conditions::default();
        for now in 1..4 {
            let alert = conditions.tell(&host(), condition, Some("eth0".into()), now).expect("an alert");
            assert_eq!((alert.severity, alert.kind), (Severity::Critical, name));
            valid(&alert.line);
        }
    }
}

#[test]
fn the_alert_on_unaccounted_egress_says_how_much_left_where_and_when() {
    let found =
        Unaccounted { interface: "eth0".into(), epoch: 9, packets: 3, bytes: 300, total_packets: 5, total_bytes: 500 };
    let detail = Detail { text: "eth0".into(), unaccounted: vec![found] };
    let alert = Conditions::default().tell(&host(), Condition::UnaccountedEgress, Some(detail), 1).expect("an alert");
    let line = valid(&alert.line);
    assert_eq!(
        line["unmapped"]["unaccounted"],
        serde_json::json!([{
            "interface": "eth0", "epoch": 9, "packets": 3, "bytes": 300, "total_packets": 5, "total_bytes": 500
        }])
    );
}

/// A writer that takes a few bytes at a time and fails when told.
#[derive(Clone, Default)]
struct Flaky {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Bytes until the next failure.
    left: Arc<Mutex<Option<usize>>>,
}

impl Write for Flaky {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut left = self.left.lock().unwrap();
        let take = match *left {
            Some(0) => {
                *left = None;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(n) => n.min(bytes.len()),
            None => bytes.len(),
        };
        *left = left.map(|n| n - take);
        self.bytes.lock().unwrap().extend_from_slice(&bytes[..take]);
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_failing_sink_is_counted_keeps_later_lines_whole_and_does_not_hold_up_the_other() {
    let (flaky, steady) = (Flaky::default(), Flaky::default());
    *flaky.left.lock().unwrap() = Some(7);
    let outputs = vec![Output::new("a", Box::new(flaky.clone())), Output::new("b", Box::new(steady.clone()))];
    let (sinks, done) = Sinks::start(outputs, 8).expect("a thread");
    for line in ["{\"a\":1}{", "{\"b\":2}", "{\"c\":3}"] {
        sinks.send(&line.into());
    }
    let stats = Arc::clone(sinks.stats());
    drop(sinks);
    done.await.expect("the thread ends");
    assert_eq!(steady.bytes.lock().unwrap().as_slice(), b"{\"a\":1}{\n{\"b\":2}\n{\"c\":3}\n");
    assert_eq!(flaky.bytes.lock().unwrap().as_slice(), b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
    assert_eq!((stats.written.load(Relaxed), stats.failed.load(Relaxed), stats.backlog.load(Relaxed)), (2, 1, 0));
}

#[tokio::test]
async fn a_full_queue_is_counted_and_never_waited_for() {
    let (sinks, done) = Sinks::start(vec![Output::new("stuck", Box::new(Stuck))], 2).expect("a thread");
    for _ in 0..10 {
        sinks.send(&"{}".into());
    }
    // One line is in the stuck write at most, two are queued; all others were refused at once.
    let lost = sinks.stats().lost();
    assert!((7..=8).contains(&lost), "{lost}");
    assert_eq!(sinks.stats().backlog.load(Relaxed) + lost, 10);
    drop(done);
}

/// A pipe that nobody reads.
struct Stuck;

impl Write for Stuck {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        loop {
            std::thread::park();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
