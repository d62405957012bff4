//! What holds of everything that is read of a geo file, whatever its bytes: no panic, ranges that are sorted, disjoint
//! and joined, the same again from the compact form, or one printable line of bounded length.

use std::path::Path;

use monitor_policy::geo::{self, Country, GeoError, Progress, Range, Space, asn, compact, overlay};

/// Each reader on the same bytes.
pub fn all(name: &str, bytes: &[u8]) {
    let (file, progress) = (Path::new(name), Progress::default());
    match geo::read_bytes(file, bytes, &progress) {
        Ok(read) => {
            let dataset = read.dataset;
            canonical(&dataset.v4, false);
            canonical(&dataset.v6, false);
            if let Ok(encoded) = compact::encode(&dataset) {
                let again = compact::decode(&encoded).expect("it decodes");
                assert_eq!((&again.v4, &again.v6, again.about.digest), (&dataset.v4, &dataset.v6, dataset.about.digest));
            }
        }
        Err(error) => one_line(&error),
    }
    match overlay::read_bytes(file, bytes, &progress) {
        Ok(read) => {
            canonical(&read.v4, true);
            canonical(&read.v6, true);
            if let Ok(encoded) = compact::encode_overlay(&read) {
                let again = compact::decode_overlay(&encoded).expect("it decodes");
                assert_eq!((&again.v4, &again.v6, again.about.digest), (&read.v4, &read.v6, read.about.digest));
            }
        }
        Err(error) => one_line(&error),
    }
    match asn::read_bytes(file, bytes, &progress) {
        Ok(read) => {
            assert!(read.v4.windows(2).all(|pair| pair[0].last < pair[1].first));
            assert!(read.v6.windows(2).all(|pair| pair[0].last < pair[1].first));
            if let Ok(encoded) = compact::encode_asn(&read) {
                let again = compact::decode_asn(&encoded).expect("it decodes");
                assert_eq!((&again.v4, &again.v6, &again.names), (&read.v4, &read.v6, &read.names));
            }
        }
        Err(error) => one_line(&error),
    }
}

fn canonical<A: Space>(ranges: &[Range<A>], undetermined: bool) {
    for range in ranges {
        let placed = range.country.is_assigned() || (undetermined && range.country == Country::UNDETERMINED);
        assert!(range.first <= range.last && placed, "{range:?}");
    }
    for pair in ranges.windows(2) {
        assert!(pair[0].last < pair[1].first, "{pair:?}");
        let joined = pair[0].last.number() + 1 == pair[1].first.number() && pair[0].country == pair[1].country;
        assert!(!joined, "{pair:?}");
    }
}

fn one_line(error: &GeoError) {
    let text = error.to_string();
    assert!(text.len() < 2000 && !text.chars().any(char::is_control), "{text:?}");
}
