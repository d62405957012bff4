//! What overlays make of a policy: they override datasets, and stand below registries, sites and translators.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    random::country,
    tests::{ask, special},
    *,
};
use crate::{
    explain::{ExplainInputs, explain},
    geo::{About, Dataset, Overlay, OverlayKind, Rejected},
    origin::at_line,
    spec::{Action, Site},
};

fn list(name: &str, v4: &[(u32, u32, &str)], v6: &[(u128, u128, &str)]) -> Overlay {
    Overlay {
        about: About { built: Some(1_780_272_000), digest: [9; 32], ..About::named(name) },
        file: format!("{name}.csv").into(),
        kind: OverlayKind::Geofeed,
        v4: v4.iter().map(|(first, last, code)| Range { first: *first, last: *last, country: country(code) }).collect(),
        v6: v6.iter().map(|(first, last, code)| Range { first: *first, last: *last, country: country(code) }).collect(),
        contradictions: 0,
        rejected: Rejected::default(),
    }
}

const NET: u32 = 0x0500_0000;

/// 5/8 is German for both datasets but for 5.1/16, on which they differ. Overlay `one` knows 5.0.0/24 (US), 5.0.1/24
/// (NO), 5.0.2/24 (NO), 5.0.3/24 (undetermined), 5.1.0/24 (DE), 10.0.0/24 (DE); `two` 5.0.2/24 (US), 5.0.3/24 (DE).
fn knowledge() -> Knowledge {
    let dataset = |code: &str| Dataset {
        about: About::named("data"),
        v4: vec![
            Range { first: NET, last: NET + 0xffff, country: country("DE") },
            Range { first: NET + 0x1_0000, last: NET + 0x1_ffff, country: country(code) },
        ],
        v6: Vec::new(),
    };
    let net = |third: u32, code: &'static str| (NET + (third << 8), NET + (third << 8) + 255, code);
    let one = [
        net(0, "US"),
        net(1, "NO"),
        net(2, "NO"),
        net(3, "??"),
        net(0x100, "DE"),
        (0x0a00_0000, 0x0a00_00ff, "DE"),
        (0x1400_0000, 0x1400_00ff, "NO"),
    ];
    let two = [net(2, "US"), net(3, "DE")];
    Knowledge {
        datasets: vec![dataset("NO"), dataset("US")],
        overlays: vec![list("one", &one, &[(1 << 125, 1 << 125 | 0x63, "IE")]), list("two", &two, &[])],
        special: vec![special("10.0.0.0/8", Class::Private, Embedded::None)],
        asn: None,
    }
}

fn spec() -> Spec {
    let site = Site {
        name: "site".into(),
        country: country("SG"),
        networks: vec![("5.0.1.128/25".parse().unwrap(), at_line("c.toml", 9))],
    };
    Spec { sites: vec![site], ..Spec::default() }
}

#[test]
fn overlays_override_datasets_and_nothing_else_and_their_doubts_are_reported() {
    let (spec, knowledge) = (spec(), knowledge());
    let clock = ClockMap::wall(0);
    let policy = compile(&spec, &knowledge, &clock).unwrap();
    let inputs = ExplainInputs { spec: &spec, knowledge: &knowledge, policy: &policy, clock };
    for (address, expected) in [
        ("5.0.9.9", "DE inside by sources: data says DE, data says DE: inside EEA"),
        (
            "5.1.9.9",
            "NO ambiguous by sources: data says NO, data says US: not all agree that it is inside EEA; on_ambiguous = deny",
        ),
        ("5.0.0.9", "US outside by overlays: overlay one says US: outside EEA; on_outside = deny"),
        ("5.1.0.9", "DE inside by overlays: overlay one says DE: inside EEA"),
        ("5.0.1.9", "NO inside by overlays: overlay one says NO: inside EEA"),
        (
            "5.0.2.9",
            "NO ambiguous by overlays: overlay one says NO, overlay two says US: not all agree that it is inside EEA; \
             on_ambiguous = deny",
        ),
        ("5.0.3.9", "ZZ unknown by overlays: location undetermined (one); on_unknown = deny"),
        ("5.0.1.200", "SG outside by site: site 'site' (c.toml:9) is in SG, outside EEA; on_outside = deny"),
        (
            "10.0.0.9",
            "-- private by special: test (RFC 0): no dataset can place it and no site does; on_private = allow",
        ),
        ("20.0.0.9", "NO inside by overlays: overlay one says NO: inside EEA"),
        ("20.0.1.9", "ZZ unknown by sources: no source knows it; on_unknown = deny"),
        ("2000::9", "IE inside by overlays: overlay one says IE: inside EEA"),
    ] {
        let story = explain(&address.parse().unwrap(), &inputs).unwrap();
        assert_eq!(
            format!("{} {} by {}: {}", story.country, story.class, story.basis, story.reason),
            expected,
            "{address}"
        );
    }
    let story = explain(&"5.0.3.9".parse().unwrap(), &inputs).unwrap();
    let overlays = serde_json::to_value(&story.destination.overlays).unwrap();
    assert_eq!(
        overlays,
        serde_json::json!([
            { "overlay": "one", "kind": "geofeed", "built": "2026-06-01T00:00:00Z", "country": null,
              "range": "5.0.3.0 - 5.0.3.255" },
            { "overlay": "two", "kind": "geofeed", "built": "2026-06-01T00:00:00Z", "country": "DE",
              "range": "5.0.3.0 - 5.0.3.255" },
        ])
    );
    // `on_unknown` decides on what is in no one place.
    let mut lenient = spec.clone();
    lenient.zone.on_unknown = Action::Allow;
    let policy = compile(&lenient, &knowledge, &clock).unwrap();
    assert!(!ask(&policy, "5.0.3.9", 6, 443).deny && ask(&policy, "5.0.0.9", 6, 443).deny);
}

#[test]
fn an_overlay_out_of_order_is_refused() {
    let mut broken = knowledge();
    broken.overlays[0].v4.swap(0, 1);
    assert_eq!(
        compile(&Spec::default(), &broken, &ClockMap::wall(0)).unwrap_err().to_string(),
        "geo source 'one': IPv4 range 1 overlaps or precedes the one before it: import it anew"
    );
}

/// What overlays should come to, found by looking at everything.
fn scan(spec: &Spec, knowledge: &Knowledge, address: u32) -> String {
    let network = IpAddr::from(Ipv4Addr::from(address));
    if let Some(special) = knowledge.special.iter().find(|special| special.network.contains(network)) {
        return format!("-- {}", special.class.name());
    }
    let find = |ranges: &[Range<u32>]| {
        ranges.iter().find(|range| range.first <= address && address <= range.last).map(|range| range.country)
    };
    let inside = |country: &Country| spec.zone.inside.contains(country);
    let says: Vec<Country> = knowledge.overlays.iter().filter_map(|overlay| find(&overlay.v4)).collect();
    if says.contains(&Country::UNDETERMINED) {
        return "ZZ unknown".into();
    }
    if let Some(first) = says.first() {
        let class = match says.iter().filter(|country| inside(country)).count() {
            0 => "outside",
            all if all == says.len() => "inside",
            _ => "ambiguous",
        };
        return format!("{first} {class}");
    }
    let says: Vec<Option<Country>> = knowledge.datasets.iter().map(|dataset| find(&dataset.v4)).collect();
    let class = match (says.iter().flatten().any(inside), says.iter().all(|says| says.as_ref().is_some_and(inside))) {
        (_, true) => "inside",
        (true, false) => "ambiguous",
        (false, _) if says.iter().all(Option::is_none) => "unknown",
        (false, _) => "outside",
    };
    format!("{} {class}", says.iter().flatten().next().unwrap_or(&Country::UNKNOWN))
}

#[test]
fn a_policy_with_overlays_agrees_with_a_scan_of_everything() {
    let seed = fastrand::u64(..);
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let spec = Spec::default();
    for round in 0..200 {
        let mut ranges = |codes: &[&str]| {
            let mut at = 0;
            let mut list = Vec::new();
            while at < 400 && random.u8(0..12) > 0 {
                let first = at + random.u32(0..40);
                let last = first + random.u32(0..60);
                list.push(Range { first, last, country: country(codes[random.usize(0..codes.len())]) });
                at = last + 1;
            }
            list
        };
        let mut knowledge =
            Knowledge { special: vec![special("0.0.0.64/28", Class::Private, Embedded::None)], ..Knowledge::default() };
        for number in 0..3 {
            let v4 = ranges(&["DE", "NO", "SG", "US"]);
            knowledge.datasets.push(Dataset { about: About::named(number.to_string()), v4, v6: Vec::new() });
            let v4 = ranges(&["DE", "NO", "SG", "??"]);
            knowledge.overlays.push(Overlay { v4, ..list(&number.to_string(), &[], &[]) });
        }
        let policy = compile(&spec, &knowledge, &ClockMap::wall(0)).unwrap();
        for address in 0..520_u32 {
            let found = ask(&policy, &Ipv4Addr::from(address).to_string(), 6, 443);
            let info = &policy.classes[usize::from(found.class_id)];
            let found = format!("{} {}", info.country, info.class.name());
            assert_eq!(found, scan(&spec, &knowledge, address), "seed {seed} round {round} address {address}");
        }
    }
}
