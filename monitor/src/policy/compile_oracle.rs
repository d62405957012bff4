//! A compiled policy against a scan of everything it was compiled from.

use super::{
    tests::{ask, compiled, country, rule, special},
    *,
};

/// A random network, often next to another one.
fn random_network(random: &mut fastrand::Rng, v6: bool) -> ipnetwork::IpNetwork {
    if v6 {
        let prefix = random.u8(0..=12) * 10 + random.u8(0..=8);
        let bits = random.u128(..) & 0x3000_0001_0000_0001_0000_0001_0000_0003 | random.u128(0..4) << 62;
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        ipnetwork::IpNetwork::new(Ipv6Addr::from_bits(bits & mask).into(), prefix).expect("at most 128")
    } else {
        let prefix = random.u8(0..=32);
        let bits = random.u32(..) & 0xc001_8103 | random.u32(0..4) << 15;
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        ipnetwork::IpNetwork::new(Ipv4Addr::from_bits(bits & mask).into(), prefix).expect("at most 32")
    }
}

/// Sorted and disjoint, touching now and then.
fn random_ranges<A: Address>(
    random: &mut fastrand::Rng,
    mut next: impl FnMut(&mut fastrand::Rng) -> A,
) -> Vec<Range<A>> {
    let mut cuts: Vec<A> = (0..random.usize(0..40)).map(|_| next(random)).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let codes = ["DE", "FR", "SG", "US", "ZZ"];
    let mut ranges: Vec<Range<A>> = Vec::new();
    for pair in cuts.windows(2) {
        let first = if random.bool() { pair[0].successor() } else { Some(pair[0]) };
        let Some(first) = first else { continue };
        let free = ranges.last().is_none_or(|range| range.last < first);
        if free && first <= pair[1] {
            let country = country(codes[random.usize(0..codes.len())]);
            ranges.push(Range { first, last: pair[1], country });
        }
    }
    ranges
}

/// What an address should come to, found by looking at everything.
fn scan(config: &Config, data: &[Dataset], table: &[Special], address: IpAddr, port: u16) -> (String, u16) {
    let rule_for = |address: IpAddr| {
        config.rules.iter().zip(1_u16..).find_map(|(rule, number)| {
            let covers = rule.to.iter().any(|(network, _)| network.contains(address));
            let port = rule.ports.is_empty()
                || rule.ports.iter().any(|ports| ports.protocol == 6 && (ports.low..=ports.high).contains(&port));
            (covers && port).then_some(number)
        })
    };
    let range =
        table.iter().filter(|special| special.network.contains(address)).max_by_key(|special| special.network.prefix());
    let site = config.sites.iter().find(|site| site.networks.iter().any(|(network, _)| network.contains(address)));
    let inside = |country: Country| config.zone.inside.contains(&country);
    let nat64 = config.zone.nat64.iter().filter(|(prefix, _)| prefix.contains(address));
    let nat64 =
        nat64.max_by_key(|(prefix, _)| prefix.prefix()).and_then(|(prefix, _)| Embedded::nat64(prefix.prefix()));
    let text = match (range, site) {
        (Some(range), _) if range.kind == Kind::Local => "-- local".to_owned(),
        _ if nat64.is_some() => {
            let IpAddr::V6(v6) = address else { panic!("{address} in an IPv6 prefix") };
            let inner = nat64.and_then(|form| form.extract(v6.into())).expect("it embeds");
            let (text, rule) = scan(config, data, table, Ipv4Addr::from_bits(inner).into(), port);
            if text != "-- local" {
                return (text, rule_for(address).unwrap_or(rule));
            }
            "-- unknown".to_owned()
        }
        (_, Some(site)) => format!("{} {}", site.country, if inside(site.country) { "inside" } else { "outside" }),
        (Some(range), None) => {
            if let (IpAddr::V6(v6), true) = (address, range.embedded != Embedded::None) {
                let inner = range.embedded.extract(v6.into()).expect("it embeds");
                let (text, rule) = scan(config, data, table, Ipv4Addr::from_bits(inner).into(), port);
                if text != "-- local" {
                    return (text, rule_for(address).unwrap_or(rule));
                }
            }
            format!("-- {}", range.kind.name())
        }
        (None, None) => {
            let says: Vec<Option<Country>> = data
                .iter()
                .map(|dataset| match address {
                    IpAddr::V4(v4) => dataset
                        .v4
                        .iter()
                        .find(|range| (range.first..=range.last).contains(&v4.to_bits()))
                        .map(|range| range.country),
                    IpAddr::V6(v6) => dataset
                        .v6
                        .iter()
                        .find(|range| (range.first..=range.last).contains(&v6.to_bits()))
                        .map(|range| range.country),
                })
                .map(|country| country.filter(|country| *country != Country::UNKNOWN))
                .collect();
            let first = says.iter().flatten().next().copied().unwrap_or(Country::UNKNOWN);
            let kind = if says.iter().all(Option::is_none) {
                "unknown"
            } else if says.iter().all(|country| country.is_some_and(inside)) {
                "inside"
            } else if says.iter().flatten().any(|country| inside(*country)) {
                "ambiguous"
            } else {
                "outside"
            };
            format!("{first} {kind}")
        }
    };
    (text, rule_for(address).unwrap_or(0))
}

#[test]
fn a_compiled_policy_agrees_with_a_scan_of_everything_at_and_around_every_boundary() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let table = [
        special("10.0.0.0/8", Kind::Private, Embedded::None),
        special("127.0.0.0/8", Kind::Local, Embedded::None),
        special("192.0.0.0/16", Kind::Unknown, Embedded::None),
        special("192.1.128.0/24", Kind::Private, Embedded::None),
        special("0:0:0:1::/96", Kind::Unknown, Embedded::Low32),
        special("2000::/16", Kind::Unknown, Embedded::SixToFour),
        special("1000::/32", Kind::Unknown, Embedded::Teredo),
        special("3000::/8", Kind::Local, Embedded::None),
    ];
    for round in 0..60 {
        let data: Vec<Dataset> = (0..random.usize(1..=3))
            .map(|number| Dataset {
                name: number.to_string(),
                v4: random_ranges(&mut random, |random| random.u32(..) & 0xc001_8103),
                v6: random_ranges(&mut random, |random| random.u128(..) & 0x3000_0001_0000_0001_0000_0001_0000_0003),
                ..Dataset::default()
            })
            .collect();
        let codes = ["DE", "SG"];
        let networks = |random: &mut fastrand::Rng, count| -> Vec<(ipnetwork::IpNetwork, String)> {
            (0..count)
                .map(|_| {
                    let v6 = random.bool();
                    (random_network(random, v6), "test:1".to_owned())
                })
                .collect()
        };
        let sites: Vec<Site> = (0..random.usize(0..2))
            .map(|_| Site {
                name: "site".into(),
                country: country(codes[random.usize(0..2)]),
                networks: networks(&mut random, 4),
            })
            .collect();
        let rules: Vec<Rule> = (0..random.usize(0..6))
            .map(|number| Rule {
                to: networks(&mut random, 3),
                ..rule(&number.to_string(), &[], if random.bool() { &[] } else { &[(6, 80, 90), (17, 1, 99)] })
            })
            .collect();
        let mut zone = Zone::default();
        for _ in 0..random.usize(0..4) {
            let length = [32, 40, 48, 56, 64, 96][random.usize(0..6)];
            let bits = random.u128(..) & 0x3000_0001_0000_0001_0000_0001_0000_0003 & u128::MAX << (128 - length);
            let prefix = ipnetwork::IpNetwork::new(Ipv6Addr::from_bits(bits).into(), length).expect("at most 128");
            zone.nat64.push((prefix, "test:1".into()));
        }
        let config = Config { zone, sites, rules, ..Config::default() };
        let policy = compiled(&config, &data, &table);
        let mut probes: Vec<IpAddr> = Vec::new();
        let mut v4_probe = |at: u32| {
            probes.extend(
                [at.wrapping_sub(1), at, at.wrapping_add(1)].map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))),
            );
        };
        data.iter()
            .flat_map(|data| &data.v4)
            .for_each(|range| [range.first, range.last].into_iter().for_each(&mut v4_probe));
        let of = config.sites.iter().flat_map(|site| &site.networks);
        let of = of.chain(config.rules.iter().flat_map(|rule| &rule.to)).chain(&config.zone.nat64);
        of.clone()
            .filter_map(|(network, _)| u32::network(network))
            .for_each(|(first, last)| [first, last].into_iter().for_each(&mut v4_probe));
        table
            .iter()
            .filter_map(u32::special)
            .for_each(|(first, last)| [first, last].into_iter().for_each(&mut v4_probe));
        let mut v6_probe = |at: u128| {
            probes.extend(
                [at.wrapping_sub(1), at, at.wrapping_add(1)].map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))),
            );
        };
        data.iter()
            .flat_map(|data| &data.v6)
            .for_each(|range| [range.first, range.last].into_iter().for_each(&mut v6_probe));
        of.filter_map(|(network, _)| u128::network(network))
            .for_each(|(first, last)| [first, last].into_iter().for_each(&mut v6_probe));
        table
            .iter()
            .filter_map(u128::special)
            .for_each(|(first, last)| [first, last].into_iter().for_each(&mut v6_probe));
        for address in probes {
            for port in [80, 91] {
                let got = ask(&policy, &address.to_string(), 6, port);
                let info = &policy.classes[usize::from(got.class)];
                assert_eq!(
                    (format!("{} {}", info.country, info.kind.name()), got.rule),
                    scan(&config, &data, &table, address, port),
                    "{address} port {port}, round {round}, seed {seed}"
                );
            }
        }
    }
}
