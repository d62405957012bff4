//! Promises of the MMDB reader, kept against files that a small writer here makes.

use super::{
    super::{Range, testing::seed},
    *,
};

/// A value of the data section.
enum Value<'a> {
    Text(&'a str),
    Map(&'a [(&'a str, Value<'a>)]),
    U16(u16),
    U32(u32),
    U64(u64),
    Bool(bool),
    List,
}

fn put(out: &mut Vec<u8>, value: &Value<'_>) {
    let control = |out: &mut Vec<u8>, kind: u8, size: usize| {
        assert!(size < 285, "the writer knows short values only");
        let short = size.min(29) as u8;
        if kind > 7 {
            out.extend([short, kind - 7]);
        } else {
            out.push(kind << 5 | short);
        }
        out.extend(size.checked_sub(29).map(|more| more as u8));
    };
    match value {
        Value::Text(text) => {
            control(out, 2, text.len());
            out.extend(text.as_bytes());
        }
        Value::Map(entries) => {
            control(out, 7, entries.len());
            for (key, value) in *entries {
                put(out, &Value::Text(key));
                put(out, value);
            }
        }
        Value::U16(number) => {
            control(out, 5, 2);
            out.extend(number.to_be_bytes());
        }
        Value::U32(number) => {
            control(out, 6, 4);
            out.extend(number.to_be_bytes());
        }
        Value::U64(number) => {
            control(out, 9, 8);
            out.extend(number.to_be_bytes());
        }
        Value::Bool(value) => control(out, 14, usize::from(*value)),
        Value::List => control(out, 11, 0),
    }
}

/// A record of a node under construction.
#[derive(Clone, Copy, PartialEq)]
enum Slot {
    Empty,
    Node(usize),
    Data(usize),
}

/// Writes MMDB files: networks first, then [`Writer::bytes`].
struct Writer {
    bits: u32,
    nodes: Vec<[Slot; 2]>,
    data: Vec<u8>,
}

impl Writer {
    fn new(bits: u32) -> Self {
        Self { bits, nodes: vec![[Slot::Empty; 2]], data: Vec::new() }
    }

    fn insert(&mut self, address: u128, prefix: u32, value: &Value<'_>) {
        let offset = self.data.len();
        put(&mut self.data, value);
        self.set(address, prefix, Slot::Data(offset));
    }

    fn set(&mut self, address: u128, prefix: u32, slot: Slot) {
        let mut node = 0;
        for depth in 0..prefix {
            let side = (address >> (self.bits - 1 - depth) & 1) as usize;
            if depth + 1 == prefix {
                self.nodes[node][side] = slot;
            } else if let Slot::Node(next) = self.nodes[node][side] {
                node = next;
            } else {
                self.nodes.push([Slot::Empty; 2]);
                let next = self.nodes.len() - 1;
                self.nodes[node][side] = Slot::Node(next);
                node = next;
            }
        }
    }

    fn bytes(&self, record_bits: usize) -> Vec<u8> {
        let count = self.nodes.len();
        let mut out = Vec::new();
        for node in &self.nodes {
            let [left, right] = node.map(|slot| match slot {
                Slot::Empty => count,
                Slot::Node(number) => number,
                Slot::Data(offset) => count + 16 + offset,
            });
            match record_bits {
                24 => {
                    out.extend(&(left as u32).to_be_bytes()[1..]);
                    out.extend(&(right as u32).to_be_bytes()[1..]);
                }
                28 => {
                    out.extend(&(left as u32).to_be_bytes()[1..]);
                    out.push((left >> 24 << 4 | right >> 24) as u8);
                    out.extend(&(right as u32).to_be_bytes()[1..]);
                }
                _ => {
                    out.extend((left as u32).to_be_bytes());
                    out.extend((right as u32).to_be_bytes());
                }
            }
        }
        out.extend([0; 16]);
        out.extend(&self.data);
        out.extend(METADATA_MARKER);
        put(
            &mut out,
            &Value::Map(&[
                ("binary_format_major_version", Value::U16(2)),
                ("binary_format_minor_version", Value::U16(0)),
                ("build_epoch", Value::U64(1_780_000_000)),
                ("database_type", Value::Text("Test-Country")),
                ("description", Value::Map(&[])),
                ("ip_version", Value::U16(if self.bits == 128 { 6 } else { 4 })),
                ("languages", Value::List),
                ("node_count", Value::U32(count as u32)),
                ("record_size", Value::U16(record_bits as u16)),
            ]),
        );
        out
    }
}

fn read_bytes(bytes: Vec<u8>) -> Result<Dataset, GeoError> {
    read(Path::new("t.mmdb"), &bytes, &Progress::default()).map(|(dataset, _)| dataset)
}

fn message(bytes: Vec<u8>) -> String {
    read_bytes(bytes).unwrap_err().to_string()
}

const DB8: u128 = 0x2001_0db8 << 96;

/// 192.0.2.0/24 DE, 198.51.100.0/24 without a country, 203.0.113.128/25 SG, 2001:db8::/32 NO, and IPv4 again at
/// ::ffff:0:0/96.
fn sample() -> Writer {
    let mut writer = Writer::new(128);
    let us = Value::Map(&[("iso_code", Value::Text("US"))]);
    let de = Value::Map(&[
        ("continent", Value::Map(&[("code", Value::Text("EU"))])),
        ("country", Value::Map(&[("geoname_id", Value::U32(1)), ("iso_code", Value::Text("DE"))])),
        ("registered_country", us),
    ]);
    writer.insert(0xc000_0200, 120, &de);
    let owner = Value::Map(&[("registered_country", Value::Map(&[("iso_code", Value::Text("US"))]))]);
    writer.insert(0xc633_6400, 120, &owner);
    writer.insert(0xcb00_7180, 121, &Value::Map(&[("country_code", Value::Text("SG"))]));
    writer.insert(DB8, 32, &Value::Map(&[("country", Value::Text("NO"))]));
    let mut ipv4 = 0;
    for _ in 0..96 {
        let Slot::Node(next) = writer.nodes[ipv4][0] else { panic!("no IPv4 subtree") };
        ipv4 = next;
    }
    writer.set(0xffff << 32, 96, Slot::Node(ipv4));
    writer
}

#[test]
fn three_record_shapes_and_record_sizes_are_read_and_the_owners_country_is_not() {
    for record_bits in [24, 28, 32] {
        let dataset = read_bytes(sample().bytes(record_bits)).unwrap();
        assert_eq!(
            dataset.v4,
            [
                Range { first: 0xc000_0200, last: 0xc000_02ff, country: Country(*b"DE") },
                Range { first: 0xcb00_7180, last: 0xcb00_71ff, country: Country(*b"SG") },
            ]
        );
        assert_eq!(dataset.v6, [Range { first: DB8, last: DB8 | (u128::MAX >> 32), country: Country(*b"NO") }]);
        assert_eq!((dataset.about.version.as_str(), dataset.about.built), ("Test-Country", Some(1_780_000_000)));
    }
}

#[test]
fn an_ipv4_only_file_is_read_to_both_ends_of_the_space() {
    let mut writer = Writer::new(32);
    writer.insert(0, 1, &Value::Map(&[("country", Value::Text("DE"))]));
    writer.insert(0xffff_ffff, 32, &Value::Map(&[("country", Value::Text("NO"))]));
    let dataset = read_bytes(writer.bytes(24)).unwrap();
    assert_eq!(
        dataset.v4,
        [
            Range { first: 0, last: 0x7fff_ffff, country: Country(*b"DE") },
            Range { first: u32::MAX, last: u32::MAX, country: Country(*b"NO") },
        ]
    );
    assert_eq!(dataset.v6, []);
}

#[test]
fn the_same_data_as_text_gives_the_same_digest() {
    let text = "192.0.2.0/24,DE\n203.0.113.128/25,SG\n2001:db8::/32,NO\n";
    let csv = super::super::text::read(Path::new("t.csv"), text.as_bytes(), &Progress::default())
        .unwrap()
        .ranges
        .finish()
        .unwrap()
        .dataset;
    assert_eq!(read_bytes(sample().bytes(28)).unwrap().about.digest, csv.about.digest);
}

#[test]
fn every_truncation_is_an_error() {
    let whole = sample().bytes(24);
    read_bytes(whole.clone()).unwrap();
    for length in 0..whole.len() {
        let text = message(whole[..length].to_vec());
        assert!(text.starts_with("t.mmdb: not a sound MMDB file: "), "{length}: {text}");
    }
}

#[test]
fn random_damage_gives_a_dataset_or_one_clean_line() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let whole = sample().bytes(24);
    let (mut good, mut bad) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..bytes.len());
            bytes[at] = random.u8(..);
        }
        match read_bytes(bytes) {
            Ok(dataset) => {
                assert!(dataset.v4.windows(2).all(|w| w[0].last < w[1].first), "seed {seed} round {round}");
                assert!(dataset.v6.windows(2).all(|w| w[0].last < w[1].first), "seed {seed} round {round}");
                good += 1;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control), "seed {seed} round {round}: {text:?}");
                assert!(text.starts_with("t.mmdb: ") && text.len() < 500, "seed {seed} round {round}: {text}");
                assert!(!text.contains("decoder fail"), "seed {seed} round {round}: the library panicked");
                bad += 1;
            }
        }
    }
    // Damage must be able to show, and not everything is damage (a name, a date).
    assert!(good > 100 && bad > 100, "seed {seed}: {good} good, {bad} bad");
}

#[test]
fn a_tree_with_more_paths_than_atoms_ends_at_once() {
    // 127 nodes, each with the next one on both sides: 2^127 paths to nothing at all, or to data.
    for last in [Slot::Empty, Slot::Data(0)] {
        let mut writer = Writer::new(128);
        put(&mut writer.data, &Value::Map(&[("country", Value::Text("DE"))]));
        writer.nodes = (1..127).map(|next| [Slot::Node(next); 2]).chain([[last; 2]]).collect();
        let text = message(writer.bytes(24));
        assert_eq!(
            text,
            "t.mmdb: not a sound MMDB file: its search tree shares nodes without end: fetch it again, or use another dataset"
        );
    }
}

#[test]
fn a_tree_that_loops_is_deeper_than_an_address() {
    let mut writer = Writer::new(32);
    put(&mut writer.data, &Value::Map(&[("country", Value::Text("DE"))]));
    writer.nodes = vec![[Slot::Node(0), Slot::Empty]];
    assert_eq!(
        message(writer.bytes(24)),
        "t.mmdb: not a sound MMDB file: its search tree is deeper than an address is long: fetch it again, or use another dataset"
    );
}

#[test]
fn wrong_countries_and_no_countries_are_named() {
    let mut writer = Writer::new(32);
    writer.insert(0xc000_0200, 24, &Value::Map(&[("country", Value::Text("QQ"))]));
    assert_eq!(
        message(writer.bytes(24)),
        "t.mmdb: the record of 192.0.2.0: \"QQ\" is not a country code: give two letters of ISO 3166-1 (DE, NO, SG...), \
         or leave it empty for unknown"
    );
    let mut writer = Writer::new(32);
    writer.insert(0xc000_0200, 24, &Value::Map(&[("asn", Value::U32(64_496))]));
    assert_eq!(
        message(writer.bytes(24)),
        "t.mmdb: no country in any record of this MMDB (Test-Country): give a country or city database"
    );
}

#[test]
fn each_publishers_records_are_understood() {
    let mut writer = Writer::new(32);
    let of =
        |writer: &mut Writer, at: u128, fields: &[(&str, Value<'_>)]| writer.insert(at << 8, 24, &Value::Map(fields));
    // IPinfo: a name beside the code; MaxMind: anycast and satellites under `traits`.
    of(&mut writer, 0xc0_0002, &[("country", Value::Text("Germany")), ("country_code", Value::Text("DE"))]);
    of(&mut writer, 0xc6_3364, &[("country_code", Value::Text("NO")), ("is_anycast", Value::Bool(true))]);
    let traits = Value::Map(&[("is_satellite_provider", Value::Bool(true))]);
    of(&mut writer, 0xcb_0071, &[("country", Value::Map(&[("iso_code", Value::Text("US"))])), ("traits", traits)]);
    let bytes = writer.bytes(24);
    let read = walk(Path::new("t.mmdb"), &bytes, &mut Countries, &Progress::default()).unwrap();
    let undetermined = Country::UNDETERMINED;
    assert_eq!(
        read.v4,
        [
            (0xc000_0200, 0xc000_02ff, Country(*b"DE")),
            (0xc633_6400, 0xc633_64ff, undetermined),
            (0xcb00_7100, 0xcb00_71ff, undetermined),
        ]
    );
    // What is in no one place is a gap in a dataset.
    assert_eq!(read_bytes(bytes).unwrap().v4.len(), 1);
}

#[test]
fn one_bad_record_is_left_out_and_counted() {
    let mut writer = Writer::new(32);
    writer.insert(0xc000_0200, 24, &Value::Map(&[("country", Value::Text("QQ"))]));
    writer.insert(0xcb00_7100, 24, &Value::Map(&[("country", Value::Text("DE"))]));
    let (dataset, rejected) = read(Path::new("t.mmdb"), &writer.bytes(24), &Progress::default()).unwrap();
    assert_eq!((dataset.v4.len(), rejected.summary().as_str()), (1, "1 left out: 1 no country code"));
}

#[test]
fn as_numbers_are_read_in_both_shapes_and_as_from_text() {
    let mut writer = Writer::new(128);
    let maxmind = Value::Map(&[
        ("autonomous_system_number", Value::U32(64_500)),
        ("autonomous_system_organization", Value::Text("Example")),
    ]);
    writer.insert(0xc000_0200, 120, &maxmind);
    writer.insert(0xc633_6400, 120, &Value::Map(&[("asn", Value::Text("AS64501")), ("as_name", Value::Text("Other"))]));
    writer.insert(DB8, 32, &Value::Map(&[("asn", Value::Text("AS64500")), ("name", Value::Text("Later"))]));
    let dir = tempfile::tempdir().unwrap();
    let (file, text) = (dir.path().join("asn.mmdb"), dir.path().join("asn.csv"));
    std::fs::write(&file, writer.bytes(28)).unwrap();
    std::fs::write(&text, "192.0.2.0/24,64500,Example\n198.51.100.0/24,64501,Other\n2001:db8::/32,64500,\n").unwrap();
    let (binary, text) = (super::super::asn::open(&file).unwrap(), super::super::asn::open(&text).unwrap());
    assert_eq!(binary.lookup("192.0.2.1".parse().unwrap()), Some((64_500, "Example")));
    assert_eq!((binary.about.digest, &binary.v4, &binary.v6), (text.about.digest, &text.v4, &text.v6));
}

/// Networks in 5.0.0.0/20 that have no address in common, each with what its record says.
fn networks(random: &mut fastrand::Rng) -> Vec<(u32, u32, &'static str)> {
    let mut open = vec![(0x0500_0000_u32, 20_u32)];
    let mut networks = Vec::new();
    while let Some((address, prefix)) = open.pop() {
        match random.u8(0..8) {
            // Half of it, and the other half.
            0..5 if prefix < 32 => open.extend([(address, prefix + 1), (address | 1 << (31 - prefix), prefix + 1)]),
            5 => {}
            _ => {
                let says = ["DE", "US", "NO", "", "ZZ", "anycast", "QQ"][random.usize(0..7)];
                networks.push((address, prefix, says));
            }
        }
    }
    networks
}

/// Writes a network's record in one of the publishers' shapes. That its owner is in Singapore is not where it is.
fn put_record(writer: &mut Writer, address: u128, prefix: u32, says: &str, random: &mut fastrand::Rng) {
    let code = [("geoname_id", Value::U32(7)), ("iso_code", Value::Text(says))];
    let owner = [("iso_code", Value::Text("SG"))];
    let everywhere = [("is_satellite_provider", Value::Bool(true))];
    let shape = random.usize(0..4);
    let mut record = vec![("registered_country", Value::Map(&owner))];
    record.push(match (says, shape) {
        ("anycast", 0 | 1) => ("is_anycast", Value::Bool(true)),
        ("anycast", _) => ("traits", Value::Map(&everywhere)),
        (_, 0) => ("country", Value::Text(says)),
        (_, 1) => ("country_code", Value::Text(says)),
        _ => ("country", Value::Map(&code)),
    });
    if says == "anycast" {
        record.push(("country_code", Value::Text("DE")));
    }
    if random.bool() {
        record.reverse();
    }
    writer.insert(address, prefix, &Value::Map(&record));
}

#[test]
fn no_form_of_the_same_networks_changes_where_an_address_is_and_each_is_where_its_own_network_says() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut read, mut placed) = (0, 0);
    for round in 0..300 {
        let networks = networks(&mut random);
        let written = |random: &mut fastrand::Rng| {
            let bits = if random.bool() { 32 } else { 128 };
            let (mut writer, mut networks) = (Writer::new(bits), networks.clone());
            random.shuffle(&mut networks);
            for (address, prefix, says) in networks {
                put_record(&mut writer, address.into(), prefix + bits - 32, says, random);
            }
            writer.bytes([24, 28, 32][random.usize(0..3)])
        };
        let [one, other] = [(); 2].map(|()| {
            let bytes = written(&mut random);
            walk(Path::new("t.mmdb"), &bytes, &mut Countries, &Progress::default()).map(|read| (read.v4, read.v6))
        });
        let (Ok(one), Ok(other)) = (&one, &other) else {
            // Where nothing says anything that can be understood.
            assert!(one.is_err() && other.is_err(), "SEED={seed} round {round}: {networks:?}");
            let understood = ["DE", "US", "NO", "anycast"];
            assert!(
                networks.iter().all(|(.., says)| !understood.contains(says)),
                "SEED={seed} round {round}: {networks:?}"
            );
            continue;
        };
        assert_eq!(one, other, "SEED={seed} round {round}: {networks:?}");
        assert_eq!(one.1, []);
        read += 1;
        for address in 0x0500_0000..0x0500_1000_u32 {
            let of = |(first, prefix, _): &&(u32, u32, &str)| {
                address >> (32 - prefix).min(31) == first >> (32 - prefix).min(31)
            };
            let own = networks.iter().find(|network| if network.1 == 32 { network.0 == address } else { of(network) });
            let expected = own.and_then(|(.., says)| match *says {
                "" | "ZZ" => None,
                // A record that can't be understood is no reason to take the wider one's word.
                "anycast" | "QQ" => Some("??".to_owned()),
                country => Some(country.to_owned()),
            });
            let found = one.0.iter().find(|(first, last, _)| (first..=last).contains(&&address));
            assert_eq!(
                found.map(|of| of.2.to_string()),
                expected,
                "SEED={seed} round {round}: {address:x} {networks:?}"
            );
            placed += usize::from(expected.is_some());
        }
    }
    assert!(read > 100 && placed > 10_000, "SEED={seed}: {read} files, {placed} addresses");
}
