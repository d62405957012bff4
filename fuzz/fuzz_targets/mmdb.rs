//! Binary geo data: MaxMind DB and the product's own form, each as dataset, overlay and AS numbers. What is read of a
//! MaxMind DB is held against the library's own search for each end of each range, and against a reading of the record that
//! knows no shapes.

#![no_main]

mod geo;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use libfuzzer_sys::fuzz_target;
use maxminddb::Reader;
use monitor_policy::geo::{OverlayKind, Progress, overlay};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    for name in ["t.mmdb", "t.egm"] {
        geo::all(name, bytes);
    }
    if let (Ok(read), Ok(reader)) =
        (overlay::read_bytes(Path::new("t.mmdb"), bytes, &Progress::default()), Reader::from_source(bytes))
        && read.kind == OverlayKind::Mmdb
    {
        let v4 = read.v4.iter().map(|of| [of.first, of.last].map(|end| (Ipv4Addr::from(end).into(), of.country)));
        let v6 = read.v6.iter().map(|of| [of.first, of.last].map(|end| (Ipv6Addr::from(end).into(), of.country)));
        for (address, country) in v4.chain(v6).take(64).flatten() {
            places(&reader, address, &country.to_string());
        }
    }
});

/// The record that the library finds for an address has to place it there.
fn places(reader: &Reader<&[u8]>, address: IpAddr, country: &str) {
    let record = reader.lookup(address).ok().and_then(|found| found.decode::<Value>().ok().flatten());
    // What has no place in JSON is not compared.
    let Some(record) = record else { return };
    let flag = |value: &Value| match value {
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => matches!(text.as_str(), "true" | "True" | "1"),
        _ => false,
    };
    let traits = &record["traits"];
    let nowhere =
        [&record["is_anycast"], &record["is_satellite"], &traits["is_anycast"], &traits["is_satellite_provider"]];
    let code = record["country_code"].as_str().filter(|code| !code.is_empty());
    let code = code.or(record["country"].as_str()).or(record["country"]["iso_code"].as_str()).unwrap_or("").trim();
    let code = match code.to_ascii_uppercase().as_str() {
        "UK" => "GB".to_owned(),
        "EL" => "GR".to_owned(),
        code => code.to_owned(),
    };
    // That it is in no one place, or can't be understood, is all the same here.
    let expected = if nowhere.into_iter().any(flag) { "??" } else { &code };
    assert!(country == "??" || country == expected, "{address}: {country} by {record}");
    assert!(!nowhere.into_iter().any(flag) || country == "??", "{address}: {country} by {record}");
}
