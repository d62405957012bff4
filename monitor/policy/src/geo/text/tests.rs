//! What text files promise: every notation, and one line for every mistake.

use super::{
    super::{
        dataset::{Dataset, Range},
        ranges::Collected,
    },
    *,
};

fn taken(name: &str, text: &[u8]) -> Result<Text, GeoError> {
    read(Path::new(name), text, &Progress::default())
}

fn settled(text: &str) -> Collected {
    let text = taken("t.csv", text.as_bytes()).unwrap();
    assert_eq!(text.rejected, Rejected::default());
    text.ranges.finish().unwrap()
}

fn good(text: &str) -> Dataset {
    settled(text).dataset
}

fn bad(text: &[u8]) -> String {
    match taken("t.csv", text) {
        Ok(text) => text.rejected.first.expect("nothing was rejected").1,
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_notation_gives_the_same_ranges() {
    let plain = good("192.0.2.0,192.0.2.255,DE\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,SG\n");
    assert_eq!(plain.v4, [Range { first: 0xc000_0200, last: 0xc000_02ff, country: Country(*b"DE") }]);
    let v6_first = 0x2001_0db8_u128 << 96;
    assert_eq!(plain.v6, [Range { first: v6_first, last: v6_first | (u128::MAX >> 32), country: Country(*b"SG") }]);
    for other in [
        "3221225984,3221226239,de\n42540766411282592856903984951653826560,42540766490510755371168322545197776895,SG",
        "\u{feff}network,country\r\n192.0.2.0/24,DE\r\n\r\n# note\r\n2001:db8::/32,SG,Region,City,\r\n",
        "\"ip_range_start\",\"ip_range_end\",\"country_code\"\n\"3221225984\",\"3221226239\",\"DE\"\n2001:db8::/32,SG",
        "192.0.2.128/25,DE\n192.0.2.0/25,DE\n2001:db8::/32,SG\n198.51.100.0/24,\n203.0.113.0/24,EU",
    ] {
        let dataset = good(other);
        assert_eq!((&dataset.v4, &dataset.v6), (&plain.v4, &plain.v6), "{other}");
        assert_eq!(dataset.about.digest, plain.about.digest, "{other}");
    }
}

#[test]
fn each_bad_line_names_file_line_value_and_what_to_do() {
    let country = |code: &str| {
        format!(
            "t.csv:1: {code:?} is not a country code: give two letters of ISO 3166-1 (DE, NO, SG...), or leave it empty for unknown"
        )
    };
    let cases: &[(&str, String)] = &[
        ("# x\n192.0.2.9,192.0.2.1,DE", "t.csv:2: the range ends at \"192.0.2.1\", before its start \"192.0.2.9\": swap the two".into()),
        ("9,1,DE", "t.csv:1: the range ends at \"1\", before its start \"9\": swap the two".into()),
        ("192.0.2.300,192.0.2.1,DE", "t.csv:1: \"192.0.2.300\" is no IP address: write it like 192.0.2.1, 2001:db8::1 or as a decimal number".into()),
        ("192.0.2.0,2001:db8::,DE", "t.csv:1: \"192.0.2.0\" and \"2001:db8::\" are of different families: a range starts and ends in IPv4 or in IPv6".into()),
        ("192.0.2.0,192.0.2.1,GERMANY", country("GERMANY")),
        ("192.0.2.0/24,QQ", country("QQ")),
        ("192.0.2.0,192.0.2.1", "t.csv:1: \"192.0.2.0,192.0.2.1\" has no country: expected first,last,CC or network/prefix,CC, or a line '# country: DE' above".into()),
        ("192.0.2.0/24", "t.csv:1: \"192.0.2.0/24\" has no country: expected first,last,CC or network/prefix,CC, or a line '# country: DE' above".into()),
        ("3221225984", "t.csv:1: \"3221225984\" is no range: expected first,last,CC or network/prefix,CC".into()),
        ("192.0.2.1/24,DE", "t.csv:1: \"192.0.2.1/24\" has bits set after its prefix: write 192.0.2.0/24, or the prefix that you mean".into()),
        ("2001:db8::1/32,DE", "t.csv:1: \"2001:db8::1/32\" has bits set after its prefix: write 2001:db8::/32, or the prefix that you mean".into()),
        ("192.0.2.0/33,DE", "t.csv:1: \"192.0.2.0/33\" has no prefix length from 0 to 32: write it like 192.0.2.0/32".into()),
        ("192.0.2.0/+4,DE", "t.csv:1: \"192.0.2.0/+4\" has no prefix length from 0 to 32: write it like 192.0.2.0/32".into()),
        ("2001:db8::/,DE", "t.csv:1: \"2001:db8::/\" has no prefix length from 0 to 128: write it like 2001:db8::/128".into()),
        ("1,999999999999999999999999999999999999999999,DE", "t.csv:1: \"999999999999999999999999999999999999999999\" is larger than any IPv6 address: correct or remove it".into()),
        ("first,last,cc\nfirst,last,cc", "t.csv:2: \"first\" is no IP address: write it like 192.0.2.1, 2001:db8::1 or as a decimal number".into()),
        ("", "t.csv: no ranges in it: expected lines like 192.0.2.0,192.0.2.255,DE".into()),
        ("# only a comment\n", "t.csv: no ranges in it: expected lines like 192.0.2.0,192.0.2.255,DE".into()),
        ("\u{1b}[31m,x,DE", "t.csv:1: \"\\u{1b}[31m\" is no IP address: write it like 192.0.2.1, 2001:db8::1 or as a decimal number".into()),
    ];
    for (text, message) in cases {
        assert_eq!(&bad(text.as_bytes()), message);
    }
    assert_eq!(
        bad(b"192.0.2.0,192.0.2.1,DE\n\xff\xfe\n\xff"),
        "t.csv:2: not text (UTF-8): save the file as UTF-8, or give an .mmdb or .egm file its name"
    );
}

#[test]
fn a_network_with_two_countries_is_unknown_and_counted() {
    let text = "192.0.2.0/24,DE\n198.51.100.0/24,SG\n192.0.2.0,192.0.2.255,NO";
    let settled = settled(text);
    assert_eq!(settled.contradictions, 1);
    assert_eq!(settled.dataset.v4, [Range { first: 0xc633_6400, last: 0xc633_64ff, country: Country(*b"SG") }]);
}

#[test]
fn a_long_hostile_value_is_cut_in_the_message() {
    let message = bad(format!("{},x,DE", "9x".repeat(100_000)).as_bytes());
    assert!(message.len() < 200, "{} bytes", message.len());
}

#[test]
fn numbers_that_reach_past_ipv4_are_ipv6() {
    let dataset = good("0,4294967295,DE\n0,4294967296,SG\n");
    assert_eq!(dataset.v4, [Range { first: 0, last: u32::MAX, country: Country(*b"DE") }]);
    assert_eq!(dataset.v6, [Range { first: 0, last: 1 << 32, country: Country(*b"SG") }]);
}

/// Ranges as `first-last CC`, IPv4 before IPv6.
fn ranges(dataset: &Dataset) -> Vec<String> {
    let v4 = dataset.v4.iter().map(|r| {
        let [first, last] = [r.first, r.last].map(std::net::Ipv4Addr::from);
        format!("{first}-{last} {}", r.country)
    });
    let v6 = dataset.v6.iter().map(|r| {
        let [first, last] = [r.first, r.last].map(std::net::Ipv6Addr::from);
        format!("{first}-{last} {}", r.country)
    });
    v4.chain(v6).collect()
}

#[test]
fn each_publishers_form_is_read() {
    let de = "192.0.2.0-192.0.2.255 DE";
    let sg = "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff SG";
    let cases: &[(&str, &str, Format, &[&str])] = &[
        ("geoip", "# Tor\n3221225984,3221226239,DE\n3221226240,3221226495,??\n", Format::Csv, &[de]),
        ("geoip6", "2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,SG\n", Format::Csv, &[sg]),
        ("ip2country.tsv", "192.0.2.0\t192.0.2.255\tDE\n198.51.100.0\t198.51.100.255\tNone\n", Format::Csv, &[de]),
        ("list.txt", "192.0.2.0/24 DE\n2001:db8::/32  SG  # Singapore\n", Format::Networks, &[de, sg]),
        ("list.txt", "192.0.2.0/24,DE\n2001:db8::/32,SG\n", Format::Networks, &[de, sg]),
        (
            "list.txt",
            "# Country: Germany (DE)\n192.0.2.0/24\n# country: SG\n2001:db8::/32\n",
            Format::Networks,
            &[de, sg],
        ),
        ("de-aggregated.zone", "192.0.2.0/25\n192.0.2.128/25\n", Format::Networks, &[de]),
        ("list.txt", "# country: DE\n192.0.2.0-192.0.2.255\n", Format::Networks, &[de]),
        ("hosts.csv", "192.0.2.7,DE,DE-BE,Berlin,\n", Format::Csv, &["192.0.2.7-192.0.2.7 DE"]),
        (
            "ipinfo.csv",
            "network,country,country_code,asn\n192.0.2.0/24,\"Germany, Federal Republic of\",DE,AS64500\n",
            Format::Csv,
            &[de],
        ),
        ("ip.csv", "start_ip,end_ip,country,name\n192.0.2.0,192.0.2.255,DE,Germany\n", Format::Csv, &[de]),
        (
            "delegated",
            "2|ripencc|1781733599|4|19830705|20260617|+0200\nripencc|*|ipv4|*|2|summary\n\
             ripencc|DE|ipv4|192.0.2.0|256|19920304|allocated|x\nripencc|SG|ipv6|2001:db8::|32|20020801|assigned|x\n\
             ripencc||ipv4|198.51.100.0|256||available|\nripencc||ipv6|2001:db9::|32||reserved|\n\
             ripencc|NL|asn|7|1|19930901|allocated|y\n",
            Format::Delegated,
            &[de, sg],
        ),
        // Not a power of two, and not at a border of one.
        ("nro", "apnic|SG|ipv4|192.0.2.1|769|20100101|assigned|y\n", Format::Delegated, &["192.0.2.1-192.0.5.1 SG"]),
    ];
    for (name, text, format, expected) in cases {
        match taken(name, text.as_bytes()) {
            Ok(read) => {
                assert_eq!(read.format, *format, "{text}");
                assert_eq!(&ranges(&read.ranges.finish().unwrap().dataset), expected, "{text}");
            }
            Err(error) => assert!(expected.is_empty(), "{error}"),
        }
    }
    let text = taken("d", cases[cases.len() - 2].1.as_bytes()).unwrap();
    assert_eq!((text.version.as_str(), text.built), ("1781733599", Some(1_781_654_400)));
    assert_eq!(taken("l", b"# built: 2026-06-01\n192.0.2.0/24 DE\n").unwrap().built, Some(1_780_272_000));
}

#[test]
fn what_can_not_be_taken_is_counted_by_kind_with_its_line_and_the_rest_is_taken() {
    let good = "192.0.2.0/24,DE\n".repeat(8);
    let text = format!("{good}203.0.113.1/24,DE\n203.0.113.0/24,GERMANY\n198.51.100.0/24,QQ\n203.0.113.0/24\n\n");
    let read = taken("t.csv", text.as_bytes()).unwrap();
    assert_eq!(read.rejected.summary(), "4 left out: 1 bits after the prefix, 1 no country, 2 no country code");
    assert_eq!(
        read.rejected.kinds["no country code"].examples,
        [
            "line 10: \"GERMANY\" is not a country code: give two letters of ISO 3166-1 (DE, NO, SG...), or leave it empty \
             for unknown",
            "line 11: \"QQ\" is not a country code: give two letters of ISO 3166-1 (DE, NO, SG...), or leave it empty for \
             unknown",
        ]
    );
    assert_eq!(ranges(&read.ranges.finish().unwrap().dataset), ["192.0.2.0-192.0.2.255 DE"]);
    // More wrong than right is another kind of file.
    let error = taken("t.csv", b"192.0.2.0/24,DE\nx\ny\n").err().unwrap().to_string();
    assert!(error.starts_with("t.csv:2: \"x\" is no IP address"), "{error}");
}

#[test]
fn continents_are_not_taken_for_countries() {
    let line = "192.0.2.0,192.0.2.255,AS,SG,x\n192.0.2.0,192.0.2.127,SA,BR,x\n";
    let error = taken("city.csv", line.repeat(5).as_bytes()).err().unwrap().to_string();
    assert_eq!(
        error,
        "city.csv: does its column 3 hold continents (AS is Asia) or countries (AS is American Samoa)? Name the columns in \
         the first line, such as start_ip,end_ip,continent,country"
    );
    let error = taken("b.csv", b"network,geoname_id,is_anycast\n192.0.2.0/24,2921044,0\n").err().unwrap().to_string();
    assert_eq!(
        error,
        "b.csv:1: this file has numbers for countries, whose codes are in another file: give the .mmdb instead"
    );
}

#[test]
fn the_version_of_a_file_is_shown_without_control_characters() {
    let read =
        taken("d", b"2|ripencc|19\x002\x1b[2J|1|1|20260617|0\nripencc|DE|ipv4|192.0.2.0|256|19920304|allocated\n");
    assert_eq!(read.unwrap().version, "19\u{fffd}2\u{fffd}[2J");
}

#[test]
fn each_bad_line_of_a_registry_is_reported() {
    let first = |line: &str| {
        let text = format!("2|ripencc|1|1|1|20260617|0\n{line}\n");
        taken("d", text.as_bytes()).err().map_or_else(String::new, |error| error.to_string())
    };
    for (line, expected) in [
        ("ripencc|DE|ipv4|192.0.2.0|0|19920304|allocated", "\"0\" addresses from 192.0.2.0 on are none, or reach past"),
        ("ripencc|DE|ipv4|255.255.255.0|257|19920304|allocated", "\"257\" addresses from 255.255.255.0 on"),
        ("ripencc|DE|ipv4|192.0.2.0|-1|19920304|allocated", "\"-1\" addresses from"),
        ("ripencc|DE|ipv4|x|256|19920304|allocated", "\"x\" is no IPv4 address"),
        ("ripencc|DE|ipv6|2001:db8::|129|20020801|assigned", "\"2001:db8::/129\" has no prefix length from 0 to 128"),
        ("ripencc|DE|ipv6|2001:db8::1|32|20020801|assigned", "\"2001:db8::1/32\" has bits set after its prefix"),
        ("ripencc|DE|ipv6|192.0.2.0|24|20020801|assigned", "\"192.0.2.0\" is no IPv4 address"),
        ("ripencc|QQ|ipv4|192.0.2.0|256|19920304|allocated", "\"QQ\" is not a country code"),
        ("ripencc|DE|ipv5|192.0.2.0|256|19920304|allocated", "\"ipv5\" is no type"),
        ("ripencc|DE|ipv4|192.0.2.0|256|19920304|legacy", "\"legacy\" is no status"),
        ("ripencc|DE", "\"\" is no status"),
    ] {
        let text = first(line);
        let expected = expected.replace("\"192.0.2.0\" is no IPv4", "\"192.0.2.0\" is no IPv6");
        assert!(text.starts_with(&format!("d:2: {expected}")), "{line}: {text}");
    }
}

/// An independent reading: each address asks every line.
fn naive(text: &str, address: u32) -> Option<String> {
    let mut best: Option<(u64, u64, Vec<String>)> = None;
    for line in text.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        if fields.len() < 7 || fields[2] != "ipv4" || !["allocated", "assigned"].contains(&fields[6]) {
            continue;
        }
        let octets: Vec<u64> = fields[3].split('.').map(|octet| octet.parse().unwrap()).collect();
        let start = octets.iter().fold(0, |sum, octet| sum * 256 + octet);
        let count: u64 = fields[4].parse().unwrap();
        if u64::from(address) < start || u64::from(address) >= start + count {
            continue;
        }
        match &mut best {
            Some((width, begun, countries)) if (*width, *begun) == (count, start) => countries.push(fields[1].into()),
            // Narrower, or as narrow and later.
            Some((width, begun, _)) if (*width, std::cmp::Reverse(*begun)) < (count, std::cmp::Reverse(start)) => {}
            _ => best = Some((count, start, vec![fields[1].into()])),
        }
    }
    let (.., countries) = best?;
    countries.iter().all(|country| *country == countries[0]).then(|| countries[0].clone())
}

#[test]
fn the_registries_lines_are_read_as_by_a_naive_decoder() {
    let seed = super::super::testing::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..300 {
        let mut text = String::from("2|x|1|1|1|20260617|0\n");
        for _ in 0..random.usize(1..30) {
            let status = ["allocated", "assigned", "available", "reserved"][random.usize(0..4)];
            let country = ["DE", "NO", "SG", "US"][random.usize(0..4)];
            let start = std::net::Ipv4Addr::from(0xc000_0200 + random.u32(0..600));
            text += &format!("x|{country}|ipv4|{start}|{}|20260101|{status}|h\n", random.u32(1..400));
        }
        let Ok(read) = taken("d", text.as_bytes()) else {
            assert!(!text.contains("allocated") && !text.contains("assigned"), "seed {seed} round {round}:\n{text}");
            continue;
        };
        let dataset = read.ranges.finish().unwrap().dataset;
        for address in 0xc000_01f0..0xc000_0600 {
            let found =
                dataset.lookup(std::net::Ipv4Addr::from_bits(address).into()).map(|range| range.country.to_string());
            assert_eq!(found, naive(&text, address), "seed {seed} round {round} address {address}\n{text}");
        }
    }
}

#[test]
fn random_damage_gives_canonical_ranges_or_one_clean_line() {
    let seed = super::super::testing::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let whole = "# country: DE\n192.0.2.0,192.0.2.255,DE\n2001:db8::/32,SG,x\n3221225984,3221226239,??\n192.0.2.0/24\n\
                 ripencc|DE|ipv4|192.0.2.0|768|20260101|allocated|x\nx|SG|ipv6|2001:db8::|32|2|assigned\n\
                 \"a\",\"b\"\n10.0.0.0\t10.0.0.255\tUS\n";
    let (mut good, mut bad) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = whole.as_bytes().to_vec();
        for _ in 0..random.usize(0..6) {
            let at = random.usize(0..bytes.len());
            match random.u8(0..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes[at] = b"0123456789.:/,|#\t\"\n"[random.usize(0..19)],
                _ => bytes.truncate(at + 1),
            }
        }
        match taken("t.csv", &bytes) {
            Ok(text) => {
                let dataset = text.ranges.finish().unwrap().dataset;
                assert!(dataset.v4.windows(2).all(|w| w[0].last < w[1].first), "seed {seed} round {round}");
                assert!(dataset.v6.windows(2).all(|w| w[0].last < w[1].first), "seed {seed} round {round}");
                good += 1;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() < 500 && !text.chars().any(char::is_control), "seed {seed} round {round}: {text:?}");
                bad += 1;
            }
        }
    }
    assert!(good > 100 && bad > 100, "seed {seed}: {good} good, {bad} bad");
}
