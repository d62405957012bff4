//! Pages of what was counted: a host with two uplinks, a bridge and a WireGuard device, in observe and in enforce mode.

mod judged;

use monitor_api::{
    clock::ClockStatus,
    flows::{EmbeddedAddress, FlowRow, Flows, GroupRow, InnerDocument, Part, ReasonRow},
    head::Head,
    mode::{LastGood, ModeByHand, ModeStatus},
    reload::PendingStatus,
    shadow::ShadowPage,
    status::{
        AlertCount, Amount, DatasetStatus, DeviceStatus, EpochInterface, EpochStatus, FindingStatus, GroupStatus,
        HelperStatus, InterfaceStatus, Losses, NicStatus, Occupancy, PolicyStatus, ShadowStatus, SinkStatus, Status,
        Sums, TamperStatus, TamperedStatus, UnparsedStatus,
    },
};
use monitor_policy::{PolicyRef, spec::Mode, times::Upcoming};

use self::judged::{rules, shadow};
use super::{NOW, Page, digest, page};
use crate::cli::render;

pub(super) fn pages() -> Vec<Page> {
    vec![
        page("status", |_| render::summary(&good(), NOW)),
        page("status-not-ok", |_| render::summary(&bad(), NOW)),
        page("status-all", |width| render::status(&good(), NOW, width)),
        page("status-all-not-ok", |width| render::status(&bad(), NOW, width)),
        page("flows", |width| render::flows(&flows(false), None, NOW, width)),
        page("flows-ipv6", |width| render::flows(&flows(true), None, NOW, width)),
        page("flows-none", |width| {
            let window = Flows { window_seconds: Some(3_600), window_complete: Some(false), ..empty() };
            render::flows(&window, None, NOW, width)
        }),
        page("flows-by-source-peer", |width| {
            render::flows(&grouped(by_source_peer()), Some("source,peer"), NOW, width)
        }),
        page("flows-by-peer", |width| render::flows(&grouped(by_peer()), Some("peer"), NOW, width)),
        page("flows-by-country", |width| render::flows(&grouped(by(&["CN", "SG", "DE"])), Some("country"), NOW, width)),
        page("flows-by-rule", |width| render::flows(&grouped(by(&["-", "migration-sg"])), Some("rule"), NOW, width)),
        page("flows-by-port", |width| render::flows(&grouped(by(&["443", "22"])), Some("port"), NOW, width)),
        page("flows-shadow", |width| render::shadow(&shadow(), NOW, width)),
        page("flows-shadow-refused", |width| {
            let refused = Some("new.toml:3:1: unknown key 'zoen': did you mean 'zone'?".into());
            render::shadow(&ShadowPage { refused, ..ShadowPage::default() }, NOW, width)
        }),
        page("rules", |width| render::rules(&rules(), NOW, width)),
        page("mode", |_| render::mode(&ModeStatus { by_hand: Some(by_hand()), ..ModeStatus::default() }, NOW)),
        page("clock", |_| render::clock(&clock(), NOW)),
        page("run-ended", |width| render::ended(&good(), false, width)),
    ]
}

const fn sums(packets: u64, wire_bytes: u64) -> Sums {
    Sums { packets, segments: packets * 3, bytes: wire_bytes - wire_bytes / 64, wire_bytes }
}

const fn amount(packets: u64, bytes: u64) -> Amount {
    Amount { packets, bytes }
}

fn head() -> Head {
    Head {
        host: "enclave-1".into(),
        version: "0.5.0".into(),
        boot_id: "b".into(),
        mode: "observe".into(),
        zone: "eu-user-data".into(),
        policy: digest("9"),
    }
}

fn device(index: u32, name: &str, role: &str, watched: bool, why: &str) -> DeviceStatus {
    DeviceStatus {
        name: name.into(),
        index,
        role: role.into(),
        up: true,
        since: watched.then(|| "2026-11-30T09:00:00Z".into()),
        why: (!why.is_empty()).then(|| why.into()),
        wanted: watched,
        ..DeviceStatus::default()
    }
}

fn interface(name: &str, role: &str, total: Sums, nic: NicStatus) -> InterfaceStatus {
    InterfaceStatus {
        interface: name.into(),
        hook: Some("tcx".into()),
        state: Some("attached".into()),
        role: Some(role.into()),
        since: Some("2026-11-30T09:00:00Z".into()),
        total,
        nic: Some(nic),
        ..InterfaceStatus::default()
    }
}

fn group(interface: &str, country: &str, class: &str, verdict: &str, of: Sums) -> GroupStatus {
    let text = |text: &str| text.to_owned();
    GroupStatus {
        interface: text(interface),
        country: text(country),
        class: text(class),
        verdict: text(verdict),
        sums: of,
    }
}

fn nic(sent: Amount) -> NicStatus {
    let before_attach = amount(71, 8_020);
    NicStatus { counts: "skbs".into(), sent, before_attach, while_attaching: amount(1, 90), ..NicStatus::default() }
}

/// A good day, in observe mode.
fn good() -> Status {
    let mut eth0 = device(2, "eth0", "edge", true, "");
    eth0.unwatched = amount(6, 540);
    let guests =
        (0..12).map(|number| device(10 + number, &format!("veth{number}"), "guest", false, "leads to a guest"));
    let epoch = EpochInterface { interface: "eth0".into(), hook: sums(1_302, 1_500_000), ..EpochInterface::default() };
    Status {
        version: "0.5.0".into(),
        host: "enclave-1".into(),
        started: "2026-11-30T09:00:00Z".into(),
        uptime_seconds: 10_800,
        mode: "observe".into(),
        zone: "eu-user-data".into(),
        inside: "EEA + CH + GB".into(),
        findings: vec![finding("stale_geo_data", "Low", "A geo dataset is older than 90 days", "import a newer one")],
        policy: PolicyStatus {
            digest: digest("9"),
            age_seconds: 10_800,
            rules: 14,
            never_hit: 3,
            shadow: Some(ShadowStatus {
                digest: Some(digest("e")),
                stricter: sums(42, 51_000),
                ..ShadowStatus::default()
            }),
            ..PolicyStatus::default()
        },
        helper: HelperStatus { answers: Some(true), why: None },
        datasets: vec![
            dataset("dbip-country", "2.3.2026060120", 182),
            dataset("geo-whois-asn-country", "2.3.2026061719", 166),
        ],
        asn: Some(dataset("asn", "2026-11", 12)),
        interfaces: vec![
            interface("eth0", "edge", sums(1_234_567, 1_073_741_824), nic(amount(1_234_567, 1_073_000_000))),
            interface("eth1", "edge", sums(8_910, 1_200_000), nic(amount(8_910, 1_190_000))),
            interface(
                "wg0",
                "inner",
                sums(4_321, 3_000_000),
                NicStatus {
                    not_comparable: Some("it counts what it encrypts".into()),
                    ..nic(amount(4_321, 3_100_000))
                },
            ),
        ],
        coverage: [
            eth0,
            device(3, "eth1", "edge", true, ""),
            device(4, "wg0", "inner", true, "counted apart, before it is encrypted"),
            device(5, "br0", "transit", false, "its packets pass eth0"),
            device(1, "lo", "none", false, "nothing leaves the host by it"),
        ]
        .into_iter()
        .chain(guests)
        .collect(),
        epoch: Some(EpochStatus {
            number: 1_080,
            closed: "2026-11-30T11:59:56Z".into(),
            flows: 310,
            flow_table: Occupancy { used: 12, capacity: 16_384 },
            flow_cache: Occupancy { used: 310, capacity: 131_072 },
            interfaces: vec![epoch],
            ..EpochStatus::default()
        }),
        totals: vec![
            group("eth0", "DE", "inside", "allowed", sums(1_200_000, 1_070_000_000)),
            group("eth0", "CN", "outside", "observed", sums(30_000, 2_097_152)),
            group("eth0", "SG", "outside", "observed", sums(4_560, 104_857)),
            group("eth1", "FR", "inside", "allowed", sums(8_900, 1_198_000)),
            group("wg0", "US", "outside", "observed", sums(2, 142)),
        ],
        unparsed: vec![UnparsedStatus {
            interface: "eth1".into(),
            reason: "link_control_odd".into(),
            passed: sums(7, 420),
            dropped: sums(3, 180),
        }],
        alerts: vec![alerts("egress", "High", 12), alerts("stale_geo_data", "Low", 1)],
        sinks: vec![sink("stdout", "stdout", "handed over", 0), sink("siem", "webhook", "at least once", 1_234)],
        blind_spots: vec!["what a DPDK application sends: its packets never reach the kernel".into()],
        clock: clock(),
        tamper: TamperStatus {
            looked: Some("2026-11-30T11:59:58Z".into()),
            compared: Some("2026-11-30T11:59:20Z".into()),
            ..TamperStatus::default()
        },
        ..Status::default()
    }
}

/// The worst of days, in enforce mode.
fn bad() -> Status {
    let mut status = good();
    status.mode = "enforce".into();
    status.not_ready = Some("somebody took the program off eth1: restart to attach it again".into());
    status.findings.extend([
        finding("detached", "Critical", "The program was taken off an interface", "find out who did it; restart"),
        finding(
            "unaccounted_egress",
            "Critical",
            "Packets left without passing the hook",
            "`egress-monitor status --all`",
        ),
    ]);
    status.policy.suspended = vec!["backup-ch".into()];
    status.policy.last_good = Some(LastGood {
        refused: "/etc/egress-monitor/config.toml: no such file".into(),
        policy: digest("9"),
        mode: Mode::Enforce,
        since: "2026-11-28T12:00:00Z".into(),
    });
    status.mode_by_hand = Some(by_hand());
    status.unconfirmed = Some(PendingStatus {
        until: "2026-11-30T12:04:12Z".into(),
        seconds_left: 252,
        back_to: PolicyRef { digest: digest("c"), mode: Mode::Observe },
    });
    status.rule_times =
        [("ntp", "expired", "2026-11-30T11:59:54Z", -6), ("migration-sg", "expires", "2026-12-03T12:00:00Z", 259_200)]
            .map(|(rule, what, at, seconds)| Upcoming { rule: rule.into(), what: what.into(), at: at.into(), seconds })
            .into();
    status.rule_times_left_out = 4;
    status.reload_error = Some(
        "/etc/egress-monitor/allow.d/partner.txt:7: '198.51' is no network: write an address and a prefix length"
            .into(),
    );
    status.state_error = Some("/var/lib/egress-monitor: No space left on device".into());
    status.helper = HelperStatus { answers: Some(false), why: Some("connection refused".into()) };
    status.clock.behind_seconds = 7_200;
    let tampered = |kind: &str, what: &str| TamperedStatus {
        kind: kind.into(),
        what: what.into(),
        since: "2026-11-30T11:58:00Z".into(),
    };
    status.tamper.open = vec![tampered("filter_deleted", "eth1: the filter of the program is gone")];
    status.tamper.contended = vec!["filter_deleted of eth1".into()];
    (status.tamper.found, status.tamper.healed) = (4, 3);
    status.interfaces[1].state = Some("detached".into());
    if let Some(nic) = &mut status.interfaces[0].nic {
        nic.unaccounted = amount(5, 320);
        (nic.device_drops, nic.filtered) = (2, 9);
    }
    status.totals.iter_mut().filter(|of| of.verdict == "observed").for_each(|of| of.verdict = "denied".into());
    status.losses = Losses { events: 3, overflow_packets: 1_200, alerts_queue_full: 1, ..Losses::default() };
    status
}

fn dataset(name: &str, version: &str, age_days: i64) -> DatasetStatus {
    let (name, version) = (name.into(), version.into());
    DatasetStatus { name, version, built: None, age_days: Some(age_days), stale: age_days > 90 }
}

fn finding(kind: &str, severity: &str, title: &str, hint: &str) -> FindingStatus {
    FindingStatus {
        kind: kind.into(),
        severity: severity.into(),
        title: title.into(),
        hint: hint.into(),
        since: "2026-11-30T11:58:55Z".into(),
    }
}

fn sink(name: &str, kind: &str, promise: &str, backlog: u64) -> SinkStatus {
    let oldest_seconds = backlog / 20;
    SinkStatus { name: name.into(), kind: kind.into(), promise: promise.into(), backlog, oldest_seconds }
}

fn alerts(kind: &str, severity: &str, count: u64) -> AlertCount {
    AlertCount { severity: severity.into(), kind: kind.into(), count }
}

fn by_hand() -> ModeByHand {
    ModeByHand {
        mode: Mode::Observe,
        configured: Mode::Enforce,
        reason: "CHG-4711: payments are blocked".into(),
        since: "2026-11-30T11:20:00Z".into(),
        until: Some("2026-11-30T13:20:00Z".into()),
        seconds_left: Some(4_800),
    }
}

fn clock() -> ClockStatus {
    let latest_synchronised = Some("2026-11-30T11:59:59Z".into());
    ClockStatus { synchronised: Some(true), behind_seconds: 0, latest_synchronised, jumps: 1 }
}

fn empty() -> Flows {
    Flows {
        head: head(),
        since: "2026-11-30T11:00:00.000Z".into(),
        until: Some("2026-11-30T11:59:56.000Z".into()),
        ..Flows::default()
    }
}

fn rest(flows: Flows) -> Flows {
    let reason = |reason: &str, passed, dropped| ReasonRow {
        reason: reason.into(),
        meaning: "Link layer control, such as LLDP: never leaves the segment.".into(),
        passed,
        dropped,
    };
    Flows {
        truncated: true,
        rest: Part { flows: 291, sums: sums(300, 40_000) },
        other: Part { flows: 12, sums: sums(1_000, 1_234_567) },
        evicted: Part { flows: 100, sums: sums(120, 9_000) },
        overflow: sums(9, 720),
        unparsed: sums(10, 600),
        unparsed_reasons: vec![reason("link_control_odd", sums(7, 420), sums(3, 180))],
        hook: sums(1_234_567, 1_073_741_824),
        ..flows
    }
}

fn flow(protocol: (u8, &str), from: &str, to: &str, country: &str, verdict: &str, wire_bytes: u64) -> FlowRow {
    let socket = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let (from, to) = (socket(from), socket(to));
    FlowRow {
        interface: "eth0".into(),
        source: from.ip(),
        source_port: from.port(),
        destination: to.ip(),
        destination_port: to.port(),
        autonomous_system: None,
        protocol: protocol.0,
        protocol_name: Some(protocol.1.into()),
        inner: None,
        embedded: None,
        opaque: None,
        decided_by: Some(to.ip()),
        country: country.into(),
        class: if verdict == "allowed" { "inside" } else { "outside" }.into(),
        rule: None,
        verdict: verdict.into(),
        sums: sums(wire_bytes / 700 + 1, wire_bytes),
        first_seen: "2026-11-30T11:00:02Z".into(),
        last_seen: "2026-11-30T11:58:50Z".into(),
        active: false,
    }
}

fn flows(ipv6: bool) -> Flows {
    let (tcp, udp, icmp) = ((6, "tcp"), (17, "udp"), (1, "icmp"));
    let rows = if ipv6 {
        let carried = Some(EmbeddedAddress { destination: [8, 8, 8, 8].into(), via: "nat64".into() });
        let long = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:1]:54321";
        let translated = flow(tcp, long, "[64:ff9b::808:808]:443", "US", "observed", 20_000);
        vec![
            flow(udp, long, "[2001:db8:1111:2222:3333:4444:5555:6666]:53", "SG", "observed", 104_857),
            FlowRow { embedded: carried, ..translated },
        ]
    } else {
        let inner = InnerDocument {
            destination: [203, 0, 113, 9].into(),
            destination_port: 443,
            protocol: 6,
            via: "vxlan".into(),
            embedded: None,
        };
        let tunnel = flow(udp, "198.51.100.7:4789", "192.0.2.8:4789", "CN", "observed", 1_048_576);
        let wireguard = flow(udp, "198.51.100.7:51820", "192.0.2.9:51820", "DE", "allowed", 300_000);
        vec![
            FlowRow {
                active: true,
                ..flow(tcp, "198.51.100.200:54321", "203.0.113.200:443", "CN", "observed", 2_147_483_647)
            },
            FlowRow { inner: Some(inner), decided_by: Some([203, 0, 113, 9].into()), ..tunnel },
            FlowRow { opaque: Some("wireguard".into()), ..wireguard },
            FlowRow {
                rule: Some("migration-sg".into()),
                ..flow(tcp, "198.51.100.7:40000", "192.0.2.77:443", "SG", "allowed", 104_857)
            },
            flow(icmp, "198.51.100.7:0", "192.0.2.1:2048", "--", "observed", 98),
        ]
    };
    rest(Flows { flows: rows, ..empty() })
}

fn grouped(groups: Vec<GroupRow>) -> Flows {
    rest(Flows { groups, ..empty() })
}

fn row(key: &str, country: Option<&str>, verdict: &str, wire_bytes: u64) -> GroupRow {
    GroupRow {
        key: key.into(),
        peer: None,
        country: country.map(str::to_owned),
        decided_by: None,
        name: None,
        verdict: verdict.into(),
        flows: 2,
        sums: sums(wire_bytes / 700 + 1, wire_bytes),
        first_seen: "2026-11-30T11:00:02Z".into(),
        last_seen: "2026-11-30T11:58:50Z".into(),
        active: wire_bytes > 1_000_000,
    }
}

fn by_source_peer() -> Vec<GroupRow> {
    let peer = |peer: [u8; 4], of| GroupRow { peer: Some(peer.into()), ..of };
    vec![
        peer([203, 0, 113, 200], row("198.51.100.200", Some("CN"), "observed", 2_147_483_647)),
        peer([192, 0, 2, 77], row("198.51.100.7", Some("SG"), "observed", 104_857)),
    ]
}

fn by_peer() -> Vec<GroupRow> {
    let tunnel =
        GroupRow { decided_by: Some([203, 0, 113, 9].into()), ..row("192.0.2.8", Some("CN"), "observed", 1_048_576) };
    vec![
        row("203.0.113.200", Some("CN"), "observed", 2_147_483_647),
        tunnel,
        row("192.0.2.9", Some("DE"), "allowed", 300_000),
    ]
}

fn by(keys: &[&str]) -> Vec<GroupRow> {
    keys.iter().zip([2_147_483_647, 104_857, 142]).map(|(key, bytes)| row(key, None, "observed", bytes)).collect()
}
