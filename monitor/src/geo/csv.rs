//! Text ranges in, a dataset out. Called by [`super::open_file`].
//!
//! One range a line: `first,last,CC` (addresses, or decimal numbers as in files named `-num`), or
//! `network/prefix,CC` (RFC 8805 geofeeds are such files). Further columns are not looked at, quotes around a
//! value are dropped, `#` starts a comment line, the first line may name the columns. An empty country, EU, AP
//! and the like mean "unknown". Both families may be in one file. For overlaps see [`super::Collector`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use super::{Collector, Country, Dataset, GeoError, MAX_RANGES, Range, Settled, TooMany, shown};

/// Reads a whole CSV file; `file` is for messages and the dataset's name.
///
/// # Errors
/// The first line that is wrong.
pub fn read(file: &Path, bytes: &[u8]) -> Result<Settled, GeoError> {
    let mut collector = Collector::default();
    read_into(file, bytes, &mut collector)?;
    if collector.is_empty() {
        return Err(GeoError::file(file, "no ranges in it: expected lines like 192.0.2.0,192.0.2.255,DE"));
    }
    let settled = collector.finish().map_err(|TooMany| too_many(file))?;
    let dataset = Dataset { name: file.display().to_string(), ..settled.dataset };
    Ok(Settled { dataset, ..settled })
}

fn too_many(file: &Path) -> GeoError {
    GeoError::file(
        file,
        format!("more than {MAX_RANGES} ranges of one family: use a dataset of countries, not of cities"),
    )
}

/// Adds a file's ranges to what `collector` has.
fn read_into(file: &Path, bytes: &[u8], collector: &mut Collector) -> Result<(), GeoError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut header_allowed = true;
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let wrong = |what: String| GeoError::line(file, number, what);
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(wrong(
                "not text (UTF-8): save the file as UTF-8, or give an .mmdb or .egm file its name".into(),
            ));
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if std::mem::take(&mut header_allowed) && is_header(line) {
            continue;
        }
        let taken = match parse(line).map_err(wrong)? {
            Parsed::V4(range) => collector.push_v4(range),
            Parsed::V6(range) => collector.push_v6(range),
        };
        if !taken {
            return Err(too_many(file));
        }
    }
    Ok(())
}

/// A first line of column names: its first value is a word, neither address nor number.
fn is_header(line: &str) -> bool {
    let first = unquote(line.split(',').next().unwrap_or(""));
    let word = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | ' ');
    first.starts_with(|c: char| c.is_ascii_alphabetic()) && first.chars().all(word)
}

fn unquote(value: &str) -> &str {
    let value = value.trim();
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value).trim()
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    V4(Range<u32>),
    V6(Range<u128>),
}

fn parse(line: &str) -> Result<Parsed, String> {
    let mut values = line.split(',').map(unquote);
    let first = values.next().unwrap_or("");
    if first.contains('/') {
        let country = values.next().ok_or_else(|| missing_country(line))?;
        let country = Country::parse(country).map_err(|error| error.to_string())?;
        return network(first, country);
    }
    let last = values
        .next()
        .ok_or_else(|| format!("{:?} is no range: expected first,last,CC or network/prefix,CC", shown(line)))?;
    let ends = if is_number(first) && is_number(last) {
        let (first, last) = (decimal(first)?, decimal(last)?);
        match (u32::try_from(first), u32::try_from(last)) {
            (Ok(first), Ok(last)) => Ends::V4(first, last),
            _ => Ends::V6(first, last),
        }
    } else {
        match (address(first)?, address(last)?) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Ends::V4(first.into(), last.into()),
            (IpAddr::V6(first), IpAddr::V6(last)) => Ends::V6(first.into(), last.into()),
            _ => {
                return Err(format!(
                    "{first:?} and {last:?} are of different families: a range starts and ends in IPv4 or in IPv6"
                ));
            }
        }
    };
    let reversed = match ends {
        Ends::V4(first, last) => last < first,
        Ends::V6(first, last) => last < first,
    };
    if reversed {
        return Err(format!("the range ends at {:?}, before its start {:?}: swap the two", shown(last), shown(first)));
    }
    let country = values.next().ok_or_else(|| missing_country(line))?;
    let country = Country::parse(country).map_err(|error| error.to_string())?;
    Ok(match ends {
        Ends::V4(first, last) => Parsed::V4(Range { first, last, country }),
        Ends::V6(first, last) => Parsed::V6(Range { first, last, country }),
    })
}

/// A range's ends.
enum Ends {
    V4(u32, u32),
    V6(u128, u128),
}

fn missing_country(line: &str) -> String {
    format!("{:?} has no country: expected first,last,CC or network/prefix,CC", shown(line))
}

fn is_number(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn decimal(value: &str) -> Result<u128, String> {
    value.parse().map_err(|_| format!("{:?} is larger than any IPv6 address: correct or remove it", shown(value)))
}

fn address(value: &str) -> Result<IpAddr, String> {
    value.parse().map_err(|_| {
        format!("{:?} is no IP address: write it like 192.0.2.1, 2001:db8::1 or as a decimal number", shown(value))
    })
}

fn network(value: &str, country: Country) -> Result<Parsed, String> {
    let (ip, prefix) = value.split_once('/').unwrap_or((value, ""));
    let ip = address(ip)?;
    let longest: u8 = if ip.is_ipv4() { 32 } else { 128 };
    // Digits only: a sign or a blank would pass `parse`, but is a typo here.
    let prefix =
        prefix.parse::<u8>().ok().filter(|&length| length <= longest && is_number(prefix)).ok_or_else(|| {
            format!("{:?} has no prefix length from 0 to {longest}: write it like {ip}/{longest}", shown(value))
        })?;
    let host_bits = |network: IpAddr| {
        format!("{value:?} has bits set after its prefix: write {network}/{prefix}, or the prefix that you mean")
    };
    match ip {
        IpAddr::V4(ip) => {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let first = u32::from(ip);
            if first & host != 0 {
                return Err(host_bits(Ipv4Addr::from(first & !host).into()));
            }
            Ok(Parsed::V4(Range { first, last: first | host, country }))
        }
        IpAddr::V6(ip) => {
            let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let first = u128::from(ip);
            if first & host != 0 {
                return Err(host_bits(Ipv6Addr::from(first & !host).into()));
            }
            Ok(Parsed::V6(Range { first, last: first | host, country }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Dataset {
        read(Path::new("t.csv"), text.as_bytes()).unwrap().dataset
    }

    fn bad(text: &[u8]) -> String {
        read(Path::new("t.csv"), text).unwrap_err().to_string()
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
            ("192.0.2.0,192.0.2.1", "t.csv:1: \"192.0.2.0,192.0.2.1\" has no country: expected first,last,CC or network/prefix,CC".into()),
            ("192.0.2.0/24", "t.csv:1: \"192.0.2.0/24\" has no country: expected first,last,CC or network/prefix,CC".into()),
            ("192.0.2.0", "t.csv:1: \"192.0.2.0\" is no range: expected first,last,CC or network/prefix,CC".into()),
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
        let settled = read(Path::new("t.csv"), text.as_bytes()).unwrap();
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
}
