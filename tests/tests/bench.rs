//! Promise: the benchmark measures every row that it names and checks what it measures (counts, flows, events); its
//! figures are numbers. What the numbers are is for people to judge: this says nothing of it.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output().expect("the benchmark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
#[ignore = "a minute of both CPUs: `cargo xtask prove scale`"]
fn every_row_is_measured_and_has_a_number() {
    let list = String::from_utf8(bench(&["--list"]).stdout).expect("text");
    let named: BTreeSet<&str> = list.lines().collect();
    let output = bench(&["--quick", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["not_measured"], Value::Array(Vec::new()));
    let rows = ["rows", "other_packets"].iter().flat_map(|table| document[*table].as_array().expect("rows"));
    // One of the things to compare with need not be there.
    let has_nft = Command::new("nft").arg("--version").output().is_ok();
    let mut measured = BTreeSet::new();
    for row in rows {
        let id = row["id"].as_str().expect("a name");
        assert!(measured.insert(id), "{id} is there twice");
        let note = row["notes"].to_string();
        assert!(!has_nft || !note.contains("NOT measured"), "{id}: {note}");
        let compared = row["compared_with"].as_array().expect("what it is compared with");
        for figure in compared.iter().chain([&row["measured"]]) {
            let keys = ["low", "lower_quartile", "median", "upper_quartile", "high"];
            let values = keys.map(|key| figure[key].as_f64().unwrap_or(f64::NAN));
            assert!(0.0 <= values[0] && values.is_sorted(), "{id}: {figure}");
        }
    }
    assert_eq!(measured, named);
}

#[test]
fn only_the_rows_that_are_asked_for_are_measured() {
    let output = bench(&["--quick", "--only", "established/udp/ipv4", "--only", "memory"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let rows: Vec<&str> = text.lines().filter(|line| line.ends_with(" yes") || line.ends_with(" NO")).collect();
    let names: Vec<&str> = rows.iter().filter_map(|row| row.split("  ").next()).collect();
    assert_eq!(names.len(), 3, "{text}");
    assert_eq!(names[..2], ["established flow, UDP, IPv4, 1 flow", "established flow, UDP, IPv4, 1,024 flows"]);
    assert!(names[2].starts_with("kernel memory, defaults, "), "{}", names[2]);
}

#[test]
fn a_row_that_is_not_there_is_an_error() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_bench")).args(["--only", "nonsense"]).output().expect("the benchmark");
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr).trim(),
        "bench: no row has [\"nonsense\"] in its name: see --list"
    );
}
