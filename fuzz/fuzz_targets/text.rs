//! Geo data as text: CSV, the registries' delegated files, geofeeds, lists of networks, AS numbers.

#![no_main]

mod geo;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in ["t.csv", "de.zone", "anycast.txt"] {
        geo::all(name, bytes);
    }
});
