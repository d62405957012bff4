//! What text files promise: every notation, and one line for every mistake.

use super::super::{Dataset, Range, Settled};
use super::*;

fn taken(name: &str, text: &[u8]) -> Result<Text, GeoError> {
    read(Path::new(name), text, &Progress::default())
}

fn settled(text: &str) -> Settled {
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
        assert_eq!(dataset.digest, plain.digest, "{other}");
    }
}

#[test]
fn each_bad_line_names_file_line_value_and_mend() {
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
        bad(b"192.0.2.0,192.0.2.1,DE\n\xff\xfe"),
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
