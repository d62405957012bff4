//! Binary geo data: MaxMind DB and the product's own form, each as dataset, overlay and AS numbers.

#![no_main]

mod geo;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in ["t.mmdb", "t.egm"] {
        geo::all(name, bytes);
    }
});
