//! What the line of an alert says, and that the schema holds it to it.

use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Address, FlowKey, FullKey, InnerDestination, Opaque, Via},
};
use monitor_policy::Policy;

use super::*;
use crate::{incidents::tests::Bench, model::FindingKind};

#[test]
fn the_line_says_what_the_packet_was() {
    let mut bench = Bench::new();
    let alert = bench.event(fake::key(7, fake::OUTSIDE, 443), 1, fake::START).expect("new");
    let line = valid(&encoded(&alert));
    assert_eq!(line["time"], 1_800_000_000_000_u64);
    assert_eq!(line["src_endpoint"], serde_json::json!({"ip": "192.0.2.1", "port": 40000, "interface_name": "eth0"}));
    assert_eq!(
        line["dst_endpoint"],
        serde_json::json!({"ip": "198.51.100.9", "port": 443, "location": {"country": "SG"}})
    );
    assert_eq!(
        line["message"],
        "Would be dropped (observe): tcp 192.0.2.1:40000 → 198.51.100.9:443, outside the region (SG), on eth0"
    );
    let device = serde_json::json!({
        "hostname": "enclave-1", "type_id": 1, "type": "Server", "boot_uid": "b0", "uid": "0123456789abcdef".repeat(2)
    });
    assert_eq!(line["device"], device);
    assert_eq!((line["type_uid"].as_u64(), line["is_alert"].as_bool()), (Some(400_101), Some(true)));
    assert_eq!((&line["start_time"], &line["end_time"], &line["count"]), (&line["time"], &line["time"], &1.into()));
    let unmapped = &line["unmapped"];
    assert_eq!((&unmapped["network"], &unmapped["source"]), (&"198.51.100.0/24".into(), &"local".into()));
    assert_eq!(unmapped["ports"], serde_json::json!({"count": 1, "more": false, "first": ["tcp/443"]}));
    assert_eq!(line["metadata"]["tenant_uid"], "eu-user-data");
    assert_eq!(line["metadata"]["logged_time"], 1_800_000_000_020_u64);
}

#[test]
fn the_line_says_who_sends_as_far_as_it_is_known() {
    use crate::model::attribution::{Attribution, Method, Sender};
    let mut bench = Bench::new();
    let alert = bench.event(fake::key(7, fake::OUTSIDE, 443), 1, fake::START).expect("new");
    let by = |attribution: Attribution| {
        let Alert::Incident(mut alert) = alert.clone() else { panic!("{alert:?}") };
        alert.incident.attribution = Some(Box::new(attribution));
        valid(&encoded(&Alert::Incident(alert)))
    };
    let sender = Sender {
        pid: 4_121,
        started: 1_700_000_000_123_456_789,
        name: "python3".into(),
        executable: "/usr/bin/python3.11".into(),
        command: Some("/usr/bin/python3 sync.py".into()),
        user: 0,
        login: Some(1_000),
        parent: 1,
        cgroup: "/system.slice/billing-sync.service".into(),
    };
    let known = Attribution {
        method: Method::Scan,
        user: Some(991),
        cgroup: Some("/system.slice/billing-sync.service".into()),
        senders: vec![sender.clone()],
        ..Attribution::default()
    };
    let line = by(known.clone());
    assert_eq!(
        line["actor"]["process"],
        serde_json::json!({
            "pid": 4121, "name": "python3", "created_time": 1_700_000_000_123_u64, "user": {"uid": "0"},
            "parent_process": {"pid": 1}, "cmd_line": "/usr/bin/python3 sync.py",
            "file": {"name": "python3.11", "path": "/usr/bin/python3.11", "type_id": 1, "type": "Regular File"}
        })
    );
    assert_eq!(
        line["message"],
        "Would be dropped (observe): tcp 192.0.2.1:40000 → 198.51.100.9:443, outside the region (SG), on eth0, by \
         billing-sync.service, pid 4121 (/usr/bin/python3 sync.py), user 991"
    );
    let of = &line["unmapped"]["attribution"];
    assert_eq!(
        (&of["method"], &of["unit"], &of["user"]),
        (&"scan".into(), &"billing-sync.service".into(), &991.into())
    );
    assert_eq!((&of["processes"][0]["login"], &of["missing"]), (&1_000.into(), &Value::Null));
    // Who it is does not hang on who sends.
    assert_eq!(line["metadata"]["uid"], valid(&encoded(&alert))["metadata"]["uid"]);

    let thread = Sender { executable: "[kworker/0:1]".into(), command: None, login: None, ..sender };
    let line = by(Attribution { senders: vec![thread], more: true, ..known.clone() });
    assert_eq!((line["actor"]["process"].get("file"), line["actor"]["process"].get("cmd_line")), (None, None));
    let line = by(Attribution { senders: Vec::new(), missing: Some("no helper".into()), ..known });
    assert_eq!(line["actor"], serde_json::json!({"user": {"uid": "991"}}));
    let line = by(Attribution::forwarded());
    assert_eq!((line.get("actor"), &line["unmapped"]["attribution"]["method"]), (None, &"forwarded".into()));
    let line = by(Attribution::none("gone"));
    assert_eq!((line.get("actor"), &line["unmapped"]["attribution"]["missing"]), (None, &"gone".into()));
}

#[test]
fn what_is_not_known_of_the_host_is_left_out_and_who_an_alert_is_hangs_on_none_of_it() {
    let alert = crate::engine::findings::notice(FindingKind::Gap, "eth0", fake::START);
    let bare = Host { uid: None, zone: Zone::default(), ..host() };
    let line = String::from_utf8(ocsf::kept(&bare, &alert, 7, LOGGED + 1_000_000)).expect("text");
    let bare = valid(line.trim_end());
    assert_eq!((bare["device"].get("uid"), bare["metadata"].get("tenant_uid")), (None, None));
    assert_eq!(bare["metadata"]["uid"], valid(&encoded(&alert))["metadata"]["uid"]);
}

#[test]
fn what_is_no_port_is_not_called_one() {
    let mut bench = Bench::new();
    let ping = FlowKey { protocol: 1, source_port: 0, destination_port: 8 << 8, ..fake::key(7, fake::OUTSIDE, 0) };
    let line = valid(&encoded(&bench.event(ping, 1, 0).expect("new")));
    assert!(line["dst_endpoint"].get("port").is_none());
    assert_eq!((line["unmapped"]["icmp_type"].as_u64(), line["unmapped"]["icmp_code"].as_u64()), (Some(8), Some(0)));
    let six = FlowKey {
        ip_version: 6,
        protocol: 200,
        destination: "2001:db8::9".parse::<std::net::Ipv6Addr>().expect("address").into(),
        ..fake::key(7, fake::UNKNOWN, 0)
    };
    let line = valid(&encoded(&bench.event(six, 1, 0).expect("new")));
    assert_eq!(line["dst_endpoint"], serde_json::json!({"ip": "2001:db8::9"}));
    assert!(line["connection_info"].get("protocol_name").is_none());
}

/// The alert on a flow under a policy in which 5/8 is German and 8/8 American; the class is that of `strictest`.
fn placed(destination: &str, inner: Option<(&str, Via)>, opaque: Opaque, strictest: &str) -> Value {
    let range = |first, last, code: &[u8; 2]| monitor_policy::geo::Range {
        first,
        last,
        country: monitor_policy::geo::Country(*code),
    };
    let data = monitor_policy::geo::Dataset {
        v4: vec![range(0x0500_0000, 0x05ff_ffff, b"DE"), range(0x0800_0000, 0x08ff_ffff, b"US")],
        ..monitor_policy::geo::Dataset::default()
    };
    let config = crate::config::Config::default();
    let clock = monitor_policy::ClockMap::wall(0);
    let knowledge = monitor_policy::Knowledge::new(&[data], monitor_policy::geo::special::table());
    let policy = monitor_policy::compile(&config.spec, &knowledge, &clock).expect("must compile");
    let address = |text: &str| match text.parse().expect("an address") {
        std::net::IpAddr::V4(v4) => (4, Address::v4(v4.to_bits())),
        std::net::IpAddr::V6(v6) => (6, v6.into()),
    };
    let class_id =
        monitor_common::classify::class_id_v4(&policy.image, address(strictest).1.low as u32).expect("a class");
    let (ip_version, destination) = address(destination);
    let class_id = class_id.try_into().expect("few classes");
    let source = address(if ip_version == 4 { "192.0.2.1" } else { "2a00::1" }).1;
    let flow = FlowKey { ip_version, source, destination, class_id, flags: opaque as u8, ..fake::key(7, 0, 4789) };
    let mut flow = FullKey::from(FlowKey { verdict: Verdict::Observed as u8, protocol: 17, ..flow });
    if let Some((inner, via)) = inner {
        let (ip_version, address) = address(inner);
        flow.inner = InnerDestination {
            address,
            port: 443,
            protocol: 6,
            ip_version,
            via: via as u8,
            flags: 0,
            _reserved: [0; 2],
        };
    }
    let mut bench = Bench::with(policy, 9);
    valid(&encoded(&bench.event(flow, 1, fake::START).expect("new")))
}

#[test]
fn the_line_names_both_destinations_and_which_is_the_reason() {
    let line = placed("5.0.0.1", Some(("8.0.0.9", Via::Vxlan)), Opaque::None, "8.0.0.9");
    assert_eq!(line["dst_endpoint"], serde_json::json!({"ip": "5.0.0.1", "port": 4789}), "the country is not its own");
    assert_eq!(
        line["unmapped"]["inner"],
        serde_json::json!({
            "destination": "8.0.0.9", "destination_port": 443, "protocol": 6, "via": "vxlan", "embedded": null
        })
    );
    assert_eq!((&line["unmapped"]["decided_by"], &line["unmapped"]["country"]), (&"8.0.0.9".into(), &"US".into()));
    assert_eq!(line["unmapped"]["embedded"], Value::Null);
    let message = |line: &Value| {
        let text = line["message"].as_str().expect("text");
        text.replace("192.0.2.1:40000 ", "").replace("[2a00::1]:40000 ", "")
    };
    assert_eq!(
        message(&line),
        "Would be dropped (observe): udp → 5.0.0.1:4789 → 8.0.0.9:443 (vxlan), 8.0.0.9 is outside the region (US), on \
         eth0"
    );

    let line = placed("8.0.0.9", Some(("5.0.0.1", Via::SourceRoute)), Opaque::None, "8.0.0.9");
    assert_eq!(line["dst_endpoint"]["location"], serde_json::json!({"country": "US"}));
    assert_eq!(
        message(&line),
        "Would be dropped (observe): udp → 8.0.0.9:4789 → 5.0.0.1:443 (source_route), 8.0.0.9 is outside the region \
         (US), on eth0"
    );

    let line = placed("5.0.0.1", Some(("5.0.0.2", Via::RoutingHeader)), Opaque::None, "8.0.0.9");
    assert_eq!(line["unmapped"]["decided_by"], Value::Null);
    assert_eq!(
        message(&line),
        "Would be dropped (observe): udp → 5.0.0.1:4789 → 5.0.0.2:443 (routing_header), a hop on the way is outside the \
         region (US), on eth0"
    );

    let line = placed("64:ff9b::800:9", None, Opaque::None, "8.0.0.9");
    assert_eq!(line["dst_endpoint"], serde_json::json!({"ip": "64:ff9b::800:9", "port": 4789}));
    assert_eq!(
        (&line["unmapped"]["inner"]["via"], &line["unmapped"]["decided_by"]),
        (&"nat64".into(), &"8.0.0.9".into())
    );
    assert_eq!(
        message(&line),
        "Would be dropped (observe): udp → [64:ff9b::800:9]:4789 → 8.0.0.9:4789 (nat64), 8.0.0.9 is outside the region \
         (US), on eth0"
    );

    let line = placed("64:ff9b::500:1", Some(("2002:800:9::1", Via::IpInIp)), Opaque::None, "8.0.0.9");
    assert_eq!(line["unmapped"]["inner"]["embedded"], serde_json::json!({"destination": "8.0.0.9", "via": "6to4"}));
    assert_eq!(line["unmapped"]["embedded"], serde_json::json!({"destination": "5.0.0.1", "via": "nat64"}));
    assert_eq!(
        message(&line),
        "Would be dropped (observe): udp → [64:ff9b::500:1]:4789 → 5.0.0.1 (nat64) → [2002:800:9::1]:443 \
         (ip_in_ip) → 8.0.0.9 (6to4), 8.0.0.9 is outside the region (US), on eth0"
    );
}

#[test]
fn the_line_says_what_can_not_be_read() {
    let line = placed("8.0.0.9", None, Opaque::WireGuard, "8.0.0.9");
    assert_eq!((&line["unmapped"]["opaque"], &line["unmapped"]["inner"]), (&"wireguard".into(), &Value::Null));
    assert_eq!(line["dst_endpoint"]["location"], serde_json::json!({"country": "US"}));
    assert_eq!(
        line["message"],
        "Would be dropped (observe): udp 192.0.2.1:40000 → 8.0.0.9:4789, content not readable (wireguard), outside the \
         region (US), on eth0"
    );
}

#[test]
fn an_alert_says_who_announces_its_destination_where_a_dataset_does() {
    let policy = Policy { asn: Some(fake::systems().into()), ..fake::policy() };
    let mut bench = Bench::with(policy, 9);
    let to = |address| FlowKey { destination: Address::v4(address), ..fake::key(7, fake::OUTSIDE, 443) };
    let mut system = |address| {
        let alert = bench.event(to(address), 1, fake::START).expect("new");
        valid(&encoded(&alert))["dst_endpoint"]["autonomous_system"].clone()
    };
    assert_eq!(system(0xc633_6409), serde_json::json!({"number": 64_500, "name": "Example Net"}));
    assert_eq!(system(0xcb00_7109), serde_json::json!({"number": 64_501}));
    assert_eq!(system(0xc000_0209), Value::Null);
}

#[test]
fn the_schema_refuses_lines_that_contradict_themselves() {
    let alert = Bench::new().event(fake::key(7, fake::OUTSIDE, 443), 1, fake::START).expect("new");
    let good = valid(&encoded(&alert));
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
        change("/unmapped/inner", serde_json::json!({"destination": "203.0.113.5"})),
    ] {
        assert!(!schema.is_valid(&bad), "{bad}");
    }
}

#[test]
fn a_line_has_nothing_raw_that_a_terminal_would_obey() {
    let finding = crate::engine::findings::notice(FindingKind::Gap, "eth0\u{202e}\u{9b}2J: größe", 0);
    let line = encoded(&finding);
    assert!(!line.chars().any(monitor_policy::text::is_unsafe), "{line:?}");
    let text = valid(&line)["finding_info"]["desc"].as_str().map(str::to_owned);
    assert_eq!(text.as_deref(), Some("eth0\u{202e}\u{9b}2J: größe"));
}

#[test]
fn what_goes_on_and_what_is_over_say_what_it_came_to() {
    let mut bench = Bench::new();
    let mut snapshot = fake::snapshot(1);
    fake::add(&mut snapshot, fake::key(7, fake::OUTSIDE, 443), 1);
    let first = valid(&encoded(&bench.snapshot(&snapshot)[0]));
    let mut more = fake::snapshot(2);
    fake::add(&mut more, fake::key(7, fake::OUTSIDE, 443), 50_000);
    crate::incidents::tests::later(&mut more, 60);
    let more = valid(&encoded(&bench.snapshot(&more)[0]));
    assert_eq!(
        more["message"],
        "Would be dropped (observe), goes on: to 198.51.100.0/24, outside the region (SG), 4.9 MiB in 50,001 packets of \
         one flow, 2027-01-15T08:00:19.000Z to 2027-01-15T08:01:29.500Z"
    );
    let mut over = fake::snapshot(3);
    crate::incidents::tests::later(&mut over, 800);
    let over = valid(&encoded(&bench.snapshot(&over)[0]));
    let of = |line: &Value| (line["activity_id"].as_u64(), line["severity"].as_str().map(str::to_owned));
    assert_eq!(
        [&first, &more, &over].map(of),
        [(Some(1), Some("High".into())), (Some(6), Some("High".into())), (Some(2), Some("Informational".into()))]
    );
    assert_eq!((&over["traffic"]["packets"], &over["is_alert"]), (&50_001.into(), &false.into()));
    for line in [&more, &over] {
        assert_eq!(line["metadata"]["correlation_uid"], first["metadata"]["correlation_uid"]);
        assert_ne!(line["metadata"]["uid"], first["metadata"]["uid"]);
        assert_eq!(line["dst_endpoint"], first["dst_endpoint"]);
    }
    let text = over["message"].as_str().expect("text");
    assert!(text.starts_with("Over: to 198.51.100.0/24, outside the region (SG), 4.9 MiB in 50,001 packets"), "{text}");
}

#[test]
fn each_kind_of_incident_has_its_line() {
    let mut bench = Bench::new();
    let mut snapshot = fake::snapshot(1);
    for third in 0..=255 {
        fake::add(
            &mut snapshot,
            FlowKey { destination: Address::v4(0xc612_0009 + (third << 8)), ..fake::key(7, fake::OUTSIDE, 443) },
            1,
        );
    }
    fake::add_overflow(&mut snapshot, fake::AMBIGUOUS, Verdict::Observed, 9);
    fake::add_unparsed(&mut snapshot, Reason::Mpls, 2, 0);
    let reset = FlowKey { class_id: fake::UNKNOWN, ..fake::key(7, fake::OUTSIDE, 40_000) };
    let answers = bench.flagged(reset, 4, 4_750, snapshot.started).expect("new");
    let mut lines: Vec<Value> = bench.snapshot(&snapshot).iter().map(|alert| valid(&encoded(alert))).collect();
    lines.push(valid(&encoded(&answers)));
    let message = |kind: &str| {
        let line = lines.iter().find(|line| line["unmapped"]["type"] == kind).expect(kind);
        line["message"].as_str().expect("text").to_owned()
    };
    let others = message("egress_others");
    assert!(
        others.starts_with("Would be dropped (observe): too many networks, all outside the region (SG): tcp 192."),
        "{others}"
    );
    assert!(others.ends_with(":443 and others; see `egress-monitor flows --by peer`"), "{others}");
    assert_eq!(
        message("egress_overflow"),
        "Would be dropped (observe): packets that the flow table has no room for, of disputed place (DE by the first \
         source): 936 B in 9 packets; raise [monitor] flows"
    );
    assert_eq!(
        message("egress_unparsed"),
        "Allowed by the policy: packets that can't be read (mpls) on eth0: MPLS (RFC 3032) right after the link header: \
         routable, not IP"
    );
    assert_eq!(
        message("egress_answers"),
        "Would be dropped (observe): TCP resets, answers to what nobody here asked for, of unknown place: tcp \
         192.0.2.1:40000 → 198.51.100.9:40000; nothing but headers"
    );
}
