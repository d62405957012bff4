//! The worked example of `docs/policy.md`: the files in `packaging/example-europe`, and what becomes of traffic by them.

use std::{fs, path::Path};

use crate::{json, run};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/example-europe");

#[test]
fn the_european_example_says_of_each_destination_what_the_documentation_says() {
    let expected = [
        // Between the sites.
        ("10.11.3.4:5432", "IE", "inside", None, "allowed"),
        ("[2001:db8:20::7]:5432", "NO", "inside", None, "allowed"),
        // The migration, only by its port, not to the store that is switched off.
        ("10.64.8.1:443", "SG", "outside", Some("migration-sg"), "allowed"),
        ("[2001:db8:64:8::1]:443", "SG", "outside", Some("migration-sg"), "allowed"),
        ("10.64.8.1:22", "SG", "outside", None, "denied"),
        ("10.64.8.250:443", "SG", "outside", Some("migration-retired"), "denied"),
        ("10.64.9.1:443", "SG", "outside", None, "denied"),
        // Staff, partners, management.
        ("198.51.100.20:50123", "--", "unknown", Some("staff-gateway"), "allowed"),
        ("198.51.100.20:22", "--", "unknown", None, "denied"),
        ("192.0.2.129:80", "--", "unknown", Some("partners.txt"), "allowed"),
        ("198.51.100.200:25", "--", "unknown", Some("management"), "allowed"),
        // Mail.
        ("10.11.3.4:25", "IE", "inside", Some("no-smtp"), "denied"),
        ("10.10.0.25:25", "IE", "inside", Some("mail-relay"), "allowed"),
        // The cloud, as its provider places it.
        ("52.210.1.1:443", "IE", "inside", None, "allowed"),
        ("13.250.1.1:443", "SG", "outside", None, "denied"),
        // Nothing of ours.
        ("10.99.0.1:443", "--", "private", None, "denied"),
    ];
    let config = format!("{EXAMPLE}/config.toml");
    let mut arguments = vec!["explain", "--json", "--config", &config];
    arguments.extend(expected.iter().map(|row| row.0));
    let ran = run(&arguments);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let stories = json(&ran);
    for (row, story) in expected.iter().zip(stories.as_array().expect("a list")) {
        let text = |key: &str| story[key].as_str().unwrap_or("?");
        assert_eq!(
            (row.0, text("country"), text("class"), story["rule"].as_str(), text("enforce")),
            *row,
            "{}",
            story["reason"]
        );
    }
}

#[test]
fn the_european_example_passes_check_and_its_exceptions_are_reported() {
    let ran = run(&["check", "--json", "--config", &format!("{EXAMPLE}/config.toml")]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let checked = json(&ran);
    let notes: Vec<_> = checked["notes"].as_array().expect("a list").iter().collect();
    let reported: Vec<_> = notes.iter().map(|note| [&note["why"], &note["id"], &note["others"][0]["id"]]).collect();
    assert_eq!(reported, [["exception", "migration-sg", "migration-retired"], ["exception", "no-smtp", "mail-relay"]]);
    assert_eq!(checked["management"]["networks"], serde_json::json!(["198.51.100.192/27"]));
}

#[test]
fn the_migration_of_the_european_example_ends_by_its_date() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in
        ["config.toml", "rules.d/migration.toml", "rules.d/staff.toml", "rules.d/partners.txt", "geo/cloud.json"]
    {
        let to = directory.path().join(name);
        fs::create_dir_all(to.parent().expect("a directory")).expect("made");
        let text = fs::read_to_string(Path::new(EXAMPLE).join(name)).expect("read");
        fs::write(to, text.replace("expires = 2099-06-30", "expires = 2026-06-30")).expect("written");
    }
    let config = directory.path().join("config.toml").display().to_string();
    let ran = run(&["check", "--json", "--config", &config]);
    let checked = json(&ran);
    assert_eq!((ran.code, &checked["ok"]), (Some(0), &true.into()));
    let warnings = checked["warnings"].as_array().expect("warnings");
    let expired = warnings.iter().filter_map(|warning| warning.as_str().or_else(|| warning["message"].as_str()));
    assert!(expired.clone().any(|text| text.contains("migration-sg") && text.contains("expired")), "{warnings:?}");
}
