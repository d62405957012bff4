//! What the AS datasets promise: every form, one name a number, the same digest for the same content.

use super::*;

fn opened(name: &str, text: &str) -> Result<AsDataset, GeoError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, text).unwrap();
    read(&file, &Progress::default())
}

fn says(dataset: &AsDataset, address: &str) -> String {
    match dataset.lookup(address.parse().unwrap()) {
        Some((asn, name)) => format!("AS{asn} {name}"),
        None => "-".into(),
    }
}

#[test]
fn each_publishers_form_gives_the_same_dataset() {
    let comma = "192.0.2.0,192.0.2.255,64500,\"Example, Inc.\"\n192.0.2.128,192.0.2.191,64501,Other\n\
                 198.51.100.0,198.51.100.255,0,Not routed\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,64500,Later name\n";
    let tabs = "192.0.2.0\t192.0.2.255\t64500\tUS\tExample, Inc.\n192.0.2.128\t192.0.2.191\t64501\tNone\tOther\n\
                198.51.100.0\t198.51.100.255\t0\tNone\tNot routed\n\
                2001:db8::\t2001:db8:ffff:ffff:ffff:ffff:ffff:ffff\t64500\tUS\tExample, Inc.\n";
    let networks = "network,asn,name\n192.0.2.0/24,AS64500,\"Example, Inc.\"\n192.0.2.128/26,as64501,Other\n2001:db8::/32,64500,\n";
    let first = opened("asn.csv", comma).unwrap();
    for (address, expected) in [
        ("192.0.2.0", "AS64500 Example, Inc."),
        ("192.0.2.128", "AS64501 Other"),
        ("192.0.2.192", "AS64500 Example, Inc."),
        ("192.0.3.0", "-"),
        ("198.51.100.1", "-"),
        ("2001:db8::1", "AS64500 Example, Inc."),
        ("::", "-"),
    ] {
        assert_eq!(says(&first, address), expected, "{address}");
    }
    assert_eq!((first.names.len(), first.names.get(64_502), first.names.get(64_501)), (2, "", "Other"));
    for (name, text) in [("ip2asn.tsv", tabs), ("networks.csv", networks)] {
        let other = opened(name, text).unwrap();
        assert_eq!((other.about.digest, &other.v4, &other.v6), (first.about.digest, &first.v4, &first.v6), "{name}");
        assert_eq!(other.names, first.names);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("asn.egm");
    std::fs::write(&file, compact::encode_asn(&first).unwrap()).unwrap();
    let again = open(&file).unwrap();
    assert_eq!(again, first);
    let error = super::super::open_file(&file).unwrap_err().to_string();
    assert!(error.ends_with("asn.egm: it holds AS numbers: name it in [geo] asn"), "{error}");
}

#[test]
fn what_is_no_as_number_is_counted_and_refused_where_all_must_be_good() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("asn.csv");
    std::fs::write(&file, "192.0.2.0/24,64500,A\n192.0.2.0/24,64501,B\n198.51.100.0/24,x,C\n2001:db8::/32,1,D\n")
        .unwrap();
    let dataset = read(&file, &Progress::default()).unwrap();
    assert_eq!((dataset.contradictions, dataset.v4.len(), dataset.v6.len()), (1, 0, 1));
    assert_eq!(dataset.rejected.summary(), "1 left out: 1 no AS number");
    assert_eq!(
        open(&file).unwrap_err().to_string(),
        format!("{}:3: \"x\" is no AS number: write it like 64500 or AS64500", file.display())
    );
    for (text, expected) in [
        ("", "no AS numbers in it: expected lines like 192.0.2.0,192.0.2.255,64500,Name"),
        ("192.0.2.0,192.0.2.255\n", "\"192.0.2.0,192.0.2.255\" has no AS number: expected first,last,number,name"),
        ("192.0.2.0/24,4294967296,A\n", "\"4294967296\" is no AS number: write it like 64500 or AS64500"),
        ("192.0.2.0/24,+1,A\n", "\"+1\" is no AS number: write it like 64500 or AS64500"),
    ] {
        let error = opened("a.csv", text).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn a_hyphen_for_a_number_is_nobody_whatever_stands_around_it() {
    for text in [
        "192.0.2.0/24,64500,A\n192.0.2.128/25,-,Example\n192.0.2.7,-,Example\n",
        "192.0.2.0 - 192.0.2.255 64500 A\n192.0.2.128 - 192.0.2.255 - Example\n192.0.2.7 - Example\n",
    ] {
        let dataset = opened("a.csv", text).unwrap();
        assert_eq!(dataset.rejected.count, 0, "{text:?}");
        for (address, expected) in [("192.0.2.1", "AS64500 A"), ("192.0.2.129", "-"), ("192.0.2.7", "-")] {
            assert_eq!(says(&dataset, address), expected, "{text:?}");
        }
    }
}

#[test]
fn names_are_short_and_without_control_characters() {
    let text = format!("192.0.2.0/24,64500,\u{1b}[31m{}\n", "é".repeat(1000));
    let dataset = opened("a.csv", &text).unwrap();
    let name = dataset.names.get(64_500);
    assert!(name.len() <= MAX_NAME && name.starts_with('\u{fffd}'), "{name:?}");
}

#[test]
fn every_truncation_and_every_changed_byte_of_the_compact_form_is_noticed() {
    let dataset = opened("a.csv", "192.0.2.0/24,64500,One\n192.0.3.0/24,4294967295,Two\n2001:db8::/32,1,\n").unwrap();
    let whole = compact::encode_asn(&dataset).unwrap();
    for length in 0..whole.len() {
        assert!(compact::decode_asn(&whole[..length]).is_err(), "{length}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x81;
        if let Ok(again) = compact::decode_asn(&changed) {
            // In a name of the dataset or the date.
            assert_eq!((&again.v4, &again.v6, &again.names), (&dataset.v4, &dataset.v6, &dataset.names), "byte {at}");
        }
    }
}
