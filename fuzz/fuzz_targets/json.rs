//! The cloud providers' lists.

#![no_main]

mod geo;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| geo::all("ServiceTags_Public_20260601.json", bytes));
