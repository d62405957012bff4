//! Pages of what a configuration comes to: `check`, `explain`, `diff` and `try`, by a small map of the world.

use std::path::Path;

use ipnetwork::IpNetwork;
use monitor_api::{
    check::{AsNumbers, Data, Good, List},
    diff::{DiffDocument, Fate, Traffic, TrafficChange},
    status::Sums,
};
use monitor_policy::{
    ExplainInputs, Target,
    diff::{Location, Side, Verdict, compare},
    explain,
    spec::Mode,
};

use super::{NOW, Page, digest, page, told::cut_off};
use crate::{
    cli::{check, explain::batch, output::joined, render},
    config::{
        self,
        inputs::{self, Inputs},
    },
};

pub(super) fn pages() -> Vec<Page> {
    vec![
        page("check", |width| {
            let (inputs, found) = checked();
            render::check(&found, &inputs.config.spec, NOW, width)
        }),
        page("diff", |width| render::diff(&difference(true), width)),
        page("diff-same", |width| {
            let side = Side::of(&inputs("EEA").policy, Mode::Observe);
            let diff = compare(&side, &side, 5);
            let diff = monitor_policy::diff::Diff { old: digest("9"), new: digest("9"), ..diff };
            render::diff(
                &DiffDocument {
                    diff,
                    traffic: Some(Traffic { since: "2026-11-30T11:00:00Z".into(), ..Traffic::default() }),
                    cut_off: Vec::new(),
                },
                width,
            )
        }),
        page("try-effect", |_| render::effect(&difference(true))),
        page("explain", |_| {
            let inputs = inputs("EEA");
            let Inputs { config, knowledge, policy, clock } = &inputs;
            let grounds = ExplainInputs { spec: &config.spec, knowledge, policy, clock: *clock };
            let of = |text: &str| {
                let mut story = explain(&text.parse::<Target>().unwrap(), &grounds).unwrap();
                story.policy = digest("9");
                let file = config.geo.files().remove(0);
                render::explanation(&story).replace(file.to_str().unwrap(), "geo.csv")
            };
            joined(["58.14.0.9:443", "8.8.8.8:443", "64:ff9b::808:808", "10.64.0.9"].into_iter().map(of))
        }),
        page("explain-network", |_| {
            let network: IpNetwork = "58.14.0.0/14".parse().unwrap();
            render::network(&(network.to_string(), batch::parts(&network, &inputs("EEA").policy)))
        }),
    ]
}

/// Where addresses are, with nothing that ages.
const GEO: &str = "5.0.0.0/8,DE\n8.0.0.0/8,US\n46.14.0.0/16,CH\n58.14.0.0/15,CN\n2a00::/16,IE\n2a02:1200::/27,CH\n";

fn inputs(inside: &str) -> Inputs {
    let folder = tempfile::tempdir().unwrap();
    let geo = folder.path().join("geo.csv");
    std::fs::write(&geo, GEO).unwrap();
    let rule =
        |id: &str, to: &str, more: &str| format!("[[allow]]\nid = \"{id}\"\nto = [{to}]\nreason = \"r\"\n{more}\n");
    let text = format!(
        "[zone]\nname = \"eu-user-data\"\ninside = \"{inside}\"\n[geo]\nsources = [\"{}\"]\n[[site]]\nname = \
         \"singapore\"\ncountry = \"SG\"\nnetworks = [\"10.64.0.0/10\"]\n[management]\nnetworks = \
         [\"198.51.100.192/27\"]\n{}{}{}",
        geo.display(),
        rule(
            "migration-sg",
            "\"8.8.8.0/24\", \"10.64.8.0/24\"",
            "ports = [\"tcp/443\"]\nexpires = 2099-12-31T00:00:00Z"
        ),
        rule("partners-of-the-foundation", "\"58.14.7.64/26\"", ""),
        "[[deny]]\nid = \"no-telnet\"\nto = [\"0.0.0.0/0\", \"::/0\"]\nports = [\"tcp/23\"]\nreason = \"r\"\n",
    );
    let config = config::parse(Path::new("/etc/egress-monitor/config.toml"), &text).map_err(|error| error.to_string());
    inputs::compile(config.unwrap()).unwrap()
}

/// What it comes to, with what depends on the host told.
fn checked() -> (Inputs, Good) {
    let inputs = inputs("EEA + CH + GB");
    let data = |name: &str| Data {
        name: name.into(),
        version: "2.3.2026060120".into(),
        built: Some("2026-06-01T00:00:00Z".into()),
        age_days: Some(182),
        ipv4_ranges: 345_678,
        ipv6_ranges: 456_789,
        attribution: "IP Geolocation by DB-IP, https://db-ip.com, CC BY 4.0".into(),
    };
    let mut found = check::document(&inputs);
    found.policy = digest("9");
    found.lists = vec![List {
        file: "/etc/egress-monitor/allow.d/partners.txt".into(),
        action: Some("allow"),
        allow_rules: 1,
        deny_rules: 0,
        networks: 1_200,
    }];
    found.sources[0].data = data("dbip-country");
    found.as_numbers = Some(AsNumbers { data: data("asn"), numbers: 75_000 });
    found.cut_off = cut_off();
    found.unresolved = vec!["ntp.example.org".into(), "deb.example.org".into()];
    found.warnings.push("geo source 'dbip-country' is 182 days old: renew sources older than 90 days".into());
    (inputs, found)
}

/// From observe and EEA to enforce and a little more.
fn difference(traffic: bool) -> DiffDocument {
    let side = |inside: &str, mode| Side::of(&inputs(inside).policy, mode);
    let mut diff = compare(&side("EEA", Mode::Observe), &side("EEA + CH", Mode::Enforce), 5);
    (diff.old, diff.new) = (digest("9"), digest("c"));
    let sums = |packets, wire_bytes| Sums { packets, segments: packets, bytes: wire_bytes, wire_bytes };
    let verdict = |verdict: &str| Verdict { verdict: verdict.into(), rule: None, alerts: true };
    let change = |country: &str, fate, old: &str, new: &str, bytes, destinations: &[&str]| TrafficChange {
        place: Location { country: country.into(), class: "outside".into() },
        old: verdict(old),
        new: verdict(new),
        fate,
        flows: 2,
        sums: sums(43, bytes),
        destinations: destinations.iter().map(|to| (*to).to_owned()).collect(),
    };
    let to = ["203.0.113.200", "203.0.113.201", "203.0.113.202", "203.0.113.203", "203.0.113.204"];
    let found = Traffic {
        since: "2026-11-30T11:00:00Z".into(),
        starts_dropping: sums(86, 2_202_009),
        stops_dropping: Sums::default(),
        changes: vec![
            change("CN", Fate::StartsDropping, "observed", "denied", 2_097_152, &to),
            change("SG", Fate::StartsDropping, "observed", "denied", 104_857, &to[..1]),
            change("CH", Fate::Passes, "observed", "allowed", 4_096, &["198.18.0.7"]),
        ],
        same: sums(1_234_567, 1_073_741_824),
        not_judged: sums(19, 1_320),
    };
    DiffDocument { diff, traffic: traffic.then_some(found), cut_off: cut_off() }
}
