//! Regions that have a country code of their own: a region's code (ISO 3166-2) in, what it says of the country out. Called by
//! the readers of files that have both.

use super::country::Country;

/// ISO 3166-2 codes with their own ISO 3166-1 code: overseas parts that a geofeed may name under the state or by themselves.
const OWN: &[(&str, [u8; 2])] = &[
    ("CN-71", *b"TW"),
    ("CN-91", *b"HK"),
    ("CN-92", *b"MO"),
    ("CN-HK", *b"HK"),
    ("CN-MO", *b"MO"),
    ("CN-TW", *b"TW"),
    ("FI-01", *b"AX"),
    ("FR-971", *b"GP"),
    ("FR-972", *b"MQ"),
    ("FR-973", *b"GF"),
    ("FR-974", *b"RE"),
    ("FR-975", *b"PM"),
    ("FR-976", *b"YT"),
    ("FR-977", *b"BL"),
    ("FR-978", *b"MF"),
    ("FR-986", *b"WF"),
    ("FR-987", *b"PF"),
    ("FR-988", *b"NC"),
    ("FR-BL", *b"BL"),
    ("FR-GF", *b"GF"),
    ("FR-GP", *b"GP"),
    ("FR-GUA", *b"GP"),
    ("FR-LRE", *b"RE"),
    ("FR-MAY", *b"YT"),
    ("FR-MF", *b"MF"),
    ("FR-MQ", *b"MQ"),
    ("FR-NC", *b"NC"),
    ("FR-PF", *b"PF"),
    ("FR-PM", *b"PM"),
    ("FR-RE", *b"RE"),
    ("FR-TF", *b"TF"),
    ("FR-WF", *b"WF"),
    ("FR-YT", *b"YT"),
    ("NL-AW", *b"AW"),
    ("NL-BQ1", *b"BQ"),
    ("NL-BQ2", *b"BQ"),
    ("NL-BQ3", *b"BQ"),
    ("NL-CW", *b"CW"),
    ("NL-SX", *b"SX"),
    ("NO-21", *b"SJ"),
    ("NO-22", *b"SJ"),
    ("US-AS", *b"AS"),
    ("US-GU", *b"GU"),
    ("US-MP", *b"MP"),
    ("US-PR", *b"PR"),
    ("US-UM", *b"UM"),
    ("US-VI", *b"VI"),
];

/// The country of `region`, a whole ISO 3166-2 code, and the state that it is written under; `None` for text of another form.
fn read(region: &str) -> Option<(Country, Country)> {
    let (state, part) = region.split_once('-')?;
    let form = state.len() == 2 && (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let state = Country::parse(state).ok().filter(|state| form && state.is_assigned())?;
    let code = format!("{state}-{}", part.to_ascii_uppercase());
    let own = OWN.iter().find(|(known, _)| *known == code).map(|(_, own)| Country(*own));
    Some((own.unwrap_or(state), state))
}

/// Where a network is that a file puts in `country` and in `region`; `None` where the two contradict each other.
///
/// `bare`: the column is known to hold regions, so that one without its country before it (`PR` for `US-PR`) means the same.
pub(crate) fn settle(country: Country, region: &str, bare: bool) -> Option<Country> {
    if !country.is_assigned() {
        return Some(country);
    }
    let whole = read(region).or_else(|| {
        let short = bare && region.len() <= 3 && !region.contains('-');
        short.then(|| read(&format!("{country}-{region}"))).flatten()
    });
    match whole {
        None => Some(country),
        Some((own, state)) if country == own || country == state => Some(own),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_with_a_code_of_its_own_is_under_a_state_and_has_an_assigned_code() {
        assert!(OWN.is_sorted_by(|a, b| a.0 < b.0));
        for (code, own) in OWN {
            let (found, state) = read(code).unwrap();
            assert_eq!(found, Country(*own), "{code}");
            assert!(found.is_assigned() && state != found, "{code}");
        }
    }

    #[test]
    fn a_region_decides_where_it_has_a_code_and_contradicts_where_it_is_another_countrys() {
        let of = |country: &str, region: &str, bare| {
            settle(Country::parse(country).unwrap(), region, bare).map_or_else(|| "-".into(), |of| of.to_string())
        };
        for (country, region, expected) in [
            ("NL", "NL-CW", "CW"),
            ("NL", "nl-sx", "SX"),
            ("CW", "NL-CW", "CW"),
            ("FR", "FR-PF", "PF"),
            ("FR", "FR-974", "RE"),
            ("NO", "NO-21", "SJ"),
            ("NO", "NO-03", "NO"),
            ("US", "US-PR", "PR"),
            ("FI", "FI-01", "AX"),
            ("DE", "DE-BE", "DE"),
            ("GB", "UK-LND", "GB"),
            ("DE", "US-CA", "-"),
            ("PR", "US-VI", "-"),
            ("NL", "CW", "NL"),
            ("DE", "Berlin", "DE"),
            ("DE", "", "DE"),
            ("DE", "X-Y-Z", "DE"),
            ("DE", "de-", "DE"),
            ("??", "US-CA", "??"),
            ("", "US-CA", "ZZ"),
        ] {
            assert_eq!(of(country, region, false), expected, "{country} {region}");
        }
        for (country, region, expected) in
            [("NL", "CW", "CW"), ("NO", "21", "SJ"), ("US", "CA", "US"), ("FR", "974", "RE"), ("DE", "US-CA", "-")]
        {
            assert_eq!(of(country, region, true), expected, "{country} {region}");
        }
    }
}
