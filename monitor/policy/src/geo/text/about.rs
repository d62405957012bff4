//! What a text file says about itself: comments, and its name. Called by the text readers.

use std::path::Path;

use super::super::{country::Country, names, rejection::Rejection};
use crate::text::excerpt;

/// A comment that means something.
pub(in super::super) enum Comment {
    /// The lines after it that have no country are in this one.
    Country(Result<Country, Rejection>),
    /// When the file was built, seconds since 1970.
    Built(i64),
}

/// What stands behind a comment's `#`; `None` where it is for people only.
pub(in super::super) fn comment(text: &str) -> Option<Comment> {
    let of_date = |words: &str| {
        const DATED: [&str; 8] =
            ["built", "date", "generated", "updated", "modified", "created", "changed", "timestamp"];
        let lower = words.to_ascii_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphabetic()).collect();
        let other = ["next", "expires", "expiry", "valid", "until"].iter().any(|word| words.contains(word));
        !other && DATED.iter().any(|word| words.contains(word))
    };
    let Some((key, value)) = text.split_once(':') else {
        return (of_date(text) && text.len() < 200).then(|| in_words(text)).flatten().map(Comment::Built);
    };
    let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
    match key.as_str() {
        "country" | "country code" | "country-code" | "country_code" => Some(Comment::Country(country(value))),
        // `Generated 2026-06-01 at 10:00:06` has a colon, too.
        _ if key.len() < 60 && of_date(&key) => time(value).or_else(|| in_words(&key)).map(Comment::Built),
        _ => None,
    }
}

/// `DE`, `Germany`, `Germany (DE)`, `undetermined`.
fn country(text: &str) -> Result<Country, Rejection> {
    let in_brackets = text.strip_suffix(')').and_then(|text| text.rsplit_once('(')).map(|(_, code)| code);
    let found = Country::parse(text).ok().or_else(|| names::named(text));
    let found = found.or_else(|| Country::parse(in_brackets?).ok()).filter(|country| *country != Country::UNKNOWN);
    found.ok_or_else(|| Rejection::CountryComment(excerpt(text)))
}

/// A date or a time, in seconds since 1970: RFC 3339, with a blank for the T or without an offset, which means UTC; as
/// `date`, mail (RFC 5322) and web servers write it; `20260601`; seconds since 1970.
pub(in super::super) fn time(text: &str) -> Option<i64> {
    let utc = |time: jiff::civil::DateTime| {
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second()).filter(|time| *time > 0)
    };
    let time: Result<jiff::Timestamp, _> = text.parse();
    if let Ok(time) = time {
        return Some(time.as_second());
    }
    if let Ok(time) = text.trim_end_matches("UTC").trim_end().parse() {
        return utc(time);
    }
    if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return utc(jiff::civil::Date::strptime("%Y%m%d", text).ok()?.to_datetime(jiff::civil::Time::midnight()));
    }
    if text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let date = text.get(..10).and_then(|date| date.replace('/', "-").parse::<jiff::civil::Date>().ok());
    match date {
        Some(date) => utc(date.to_datetime(jiff::civil::Time::midnight())),
        None => in_words(text),
    }
}

/// `Wed Jun  6 12:07:36 UTC 2018`, `Wed, 24 Jul 2025 10:00:06 GMT`, `on 2025-07-24`: to the second where that is there.
fn in_words(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (mut year, mut month, mut day, mut clock) = (None, None, None, jiff::civil::Time::midnight());
    for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
        if let Ok(date) = word.parse::<jiff::civil::Date>() {
            (year, month, day) = (Some(date.year()), Some(date.month()), Some(date.day()));
        } else if word.contains(':') {
            clock = word.parse().unwrap_or(clock);
        }
        // `24-Jul-2025` is three words.
        for word in word.split('-').filter(|_| !word.contains(':')) {
            let lower = word.to_ascii_lowercase();
            let named = MONTHS.iter().position(|name| lower.starts_with(name) && lower.len() < 10);
            match (word.parse::<i16>(), named) {
                (Ok(number @ 1..=31), _) if word.len() < 3 && day.is_none() => day = i8::try_from(number).ok(),
                (Ok(number @ 1990..), _) if year.is_none() => year = Some(number),
                (Err(_), Some(at)) if month.is_none() => month = i8::try_from(at + 1).ok(),
                _ => {}
            }
        }
    }
    let date = jiff::civil::Date::new(year?, month?, day?).ok()?;
    let time = date.to_datetime(clock).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(time.timestamp().as_second())
}

/// The country that a file's name gives to all of it: `de.zone`, `ipv4-de.txt`, `de-aggregated.zone`,
/// `ip2location_country_de.netset`; and for lists of networks that are in no one place `anycast` or `satellite` as a part of
/// it.
pub(crate) fn of_name(file: &Path) -> Option<Country> {
    /// What stands beside a code without meaning anything else. Words of two letters are words more often than codes: only
    /// where nothing else is in the name.
    const PLAIN: [&str; 19] = [
        "aggregated",
        "cidr",
        "cidrs",
        "csv",
        "gz",
        "ip",
        "ips",
        "ipset",
        "ipv4",
        "ipv6",
        "list",
        "netset",
        "nft",
        "save",
        "txt",
        "v4",
        "v6",
        "zone",
        "zones",
    ];
    let stem = file.file_name()?.to_string_lossy().to_ascii_lowercase();
    let parts: Vec<&str> = stem.split(['.', '-', '_']).filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "anycast" | "satellite")) {
        return Some(Country::UNDETERMINED);
    }
    let code = |part: &&str| {
        let known = <[u8; 2]>::try_from(part.as_bytes()).is_ok();
        Country::parse(part).ok().filter(|country| known && country.is_assigned())
    };
    // The publisher stands before the word, the code behind it.
    if let Some(at) = parts.iter().position(|part| *part == "country") {
        return parts.get(at + 1).and_then(code);
    }
    let mut others = parts.iter().filter(|part| !PLAIN.contains(part));
    let found = others.next().and_then(code)?;
    others.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<Country> {
        of_name(Path::new(text))
    }

    #[test]
    fn a_files_name_gives_a_country_only_where_it_can_mean_nothing_else() {
        for de in [
            "de.zone",
            "/a/DE.txt",
            "de-aggregated.zone",
            "country_de.netset",
            "de.ipv4.cidr",
            "de",
            "ipv4-de.txt",
            "id_country_de.netset",
            "ip2location_country_de.netset",
            "ipip_country_de",
            "v4_de.list",
            "de.zone.gz",
        ] {
            assert_eq!(name(de), Some(Country(*b"DE")), "{de}");
        }
        assert_eq!([name("uk.zone"), name("country_uk.netset")], [Some(Country(*b"GB")); 2]);
        for undetermined in ["anycast.txt", "bgp-anycast-v4.txt", "satellite_networks.csv"] {
            assert_eq!(name(undetermined), Some(Country::UNDETERMINED), "{undetermined}");
        }
        for none in [
            "my-sites.txt",
            "in-house.csv",
            "t.csv",
            "data.txt",
            "is-it.txt",
            "",
            "qq.zone",
            "de-fr.zone",
            "de-customers.txt",
            "countries.csv",
            "country.csv",
            "country_germany.txt",
            "eu.zone",
        ] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    #[test]
    fn a_comment_gives_country_or_date() {
        let of = |text: &str| match comment(text) {
            Some(Comment::Country(Ok(country))) => country.to_string(),
            Some(Comment::Country(Err(bad))) => bad.to_string(),
            Some(Comment::Built(built)) => built.to_string(),
            None => "-".into(),
        };
        for (text, expected) in [
            (" country: DE", "DE"),
            (" Country: Germany", "DE"),
            ("Country code: no ", "NO"),
            (" country: Germany (DE)", "DE"),
            (" country: undetermined", "??"),
            (" country: ??", "??"),
            (" built: 2026-06-01", "1780272000"),
            (" generated: 2026-06-01T00:00:05Z", "1780272005"),
            (" Last modified: 2025-07-24 10:00:06.525037", "1753351206"),
            (" Last modified: 2025-07-24 10:00:06 UTC", "1753351206"),
            (" Source File Date: Wed Jun  6 12:07:36 UTC 2018", "1528286856"),
            (" This File Date  : Wed Jun  6 12:07:36 UTC 2018", "1528286856"),
            (" Last-Modified: Thu, 24 Jul 2025 10:00:06 GMT", "1753351206"),
            (" Date: 24-Jul-2025", "1753315200"),
            (" Version date: July 24, 2025", "1753315200"),
            (" Updated: 2025/07/24", "1753315200"),
            (" Updated: 20250724", "1753315200"),
            (" timestamp: 1753351206", "1753351206"),
            (" Generated by a tool on 2025-07-24 at 10:00:06", "1753315200"),
            (" Generated by a tool on 2025-07-24", "1753315200"),
            (" Next update: 2035-07-24", "-"),
            (" A date in a sentence, may it be long", "-"),
            (" built: yesterday", "-"),
            (" a note: DE", "-"),
            (" country", "-"),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
        assert_eq!(
            of("country: EU"),
            "\"EU\" is no country: write '# country: DE', a name, or 'undetermined' for anycast and satellite networks"
        );
    }
}
