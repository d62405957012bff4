//! Geo data as text: CSV, the registries' delegated files, geofeeds, lists of networks, AS numbers. Whatever a file is, it
//! places nothing in a country that it does not name.

#![no_main]

mod geo;

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use monitor_policy::geo::{Country, Progress, overlay};

fuzz_target!(|bytes: &[u8]| {
    for name in ["t.csv", "de.zone", "anycast.txt"] {
        geo::all(name, bytes);
    }
    if let Ok(read) = overlay::read_bytes(Path::new("t.csv"), bytes, &Progress::default()) {
        let text = String::from_utf8_lossy(bytes).to_ascii_uppercase();
        let v4 = read.v4.iter().map(|range| range.country);
        for country in v4.chain(read.v6.iter().map(|range| range.country)) {
            assert!(country == Country::UNDETERMINED || is_named(country, &text), "{country} is not in {text:?}");
        }
    }
});

/// Whether a text in upper case has a country's letters, or something that stands for them.
fn is_named(country: Country, text: &str) -> bool {
    let stands_for = match &country.0 {
        b"GB" => "UK",
        b"GR" => "EL",
        // Regions of Norway with a code of their own.
        b"SJ" => "NO-2",
        // By its name, or behind an escape.
        _ => "COUNTRY",
    };
    let code = country.to_string();
    [code.as_str(), stands_for, "COUNTRY", "\\U"].into_iter().any(|letters| text.contains(letters))
}
