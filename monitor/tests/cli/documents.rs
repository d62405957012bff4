//! What commands print with `--json` follows the schemas of `docs/schema/`. (What the daemon serves does, too: the tests
//! of the pages.)

use std::{collections::BTreeMap, fs};

use monitor_api::schema::documents;
use serde_json::Value;

use crate::{Ran, command, json, ran, run};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/example-europe/config.toml");

#[test]
fn every_document_that_needs_no_daemon_follows_its_schema() {
    let validators: BTreeMap<_, _> = documents()
        .into_iter()
        .map(|document| (document.name, jsonschema::validator_for(document.schema.as_value()).expect("a schema")))
        .collect();
    let follows = |name: &str, value: &Value| {
        let errors: Vec<String> = validators[name].iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}\n{value:#}");
    };
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (bad, list, compact) = (path("bad.toml"), path("list.csv"), path("list.egm"));
    fs::write(&bad, "x = 1\n[zone]\nname = 5\n").expect("written");
    fs::write(&list, "192.0.2.0/24,DE\nx,DE\n198.51.100.0/24,SG\n2001:db8::/32,NO\n").expect("written");
    for (name, code, arguments) in [
        ("check", 0, &["check", "--json", "--config", EXAMPLE][..]),
        ("check", 64, &["check", "--json", "--config", &bad]),
        ("diff", 0, &["diff", "--json", EXAMPLE, EXAMPLE]),
        ("explain", 0, &["explain", "--json", "--config", EXAMPLE, "10.64.8.1:443", "64:ff9b::808:808", "13.250.1.1"]),
        ("explain-network", 0, &["explain", "--json", "--config", EXAMPLE, "--network", "10.64.0.0/16"]),
        ("geo-import", 0, &["geo", "import", "--json", &list, "--out", &compact]),
        ("geo-info", 0, &["geo", "info", "--json", &compact]),
        ("geo-lookup", 0, &["geo", "lookup", "--json", "--source", &compact, "192.0.2.1", "64:ff9b::808:808"]),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.err);
        follows(name, &json(&ran));
    }
    // What fresh data comes to.
    fs::write(path("geo.csv"), "# built: 2026-06-01\n5.0.0.0/24,DE\n8.0.0.0/24,US\n").expect("written");
    fs::write(path("fresh.csv"), "# built: 2026-06-02\n5.0.0.0/24,FR\n8.0.0.0/24,US\n").expect("written");
    let config = path("geo.toml");
    let text = format!("[geo]\nsources = [\"geo.csv\"]\n[paths]\nstate = \"{0}\"\nruntime = \"{0}\"\n", path("state"));
    fs::write(&config, text).expect("written");
    let fresh = path("fresh.csv");
    for (name, arguments) in [
        ("geo-stage", &["geo", "stage", "--json", "--config", &config, &fresh, "--for", "geo.csv"][..]),
        ("geo-rollback", &["geo", "rollback", "--json", "--config", &config, "geo.csv"]),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {} {}", ran.out, ran.err);
        follows(name, &json(&ran));
    }
    fs::write(&list, "8.8.8.8\n10.0.0.1:53/udp\n").expect("written");
    let stdin = fs::File::open(&list).expect("there");
    let Ran { out, .. } = ran(command().args(["explain", "-", "--json", "--config", EXAMPLE]).stdin(stdin));
    assert_eq!(out.lines().count(), 2, "{out}");
    for line in out.lines() {
        follows("explain-line", &serde_json::from_str(line).expect("JSON"));
    }
}
