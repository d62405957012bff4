//! `geo stage` and `geo rollback`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{json, run};

/// A configuration with two files, and where fresh ones are dropped.
fn home(folder: &Path) -> String {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("set");
    for name in ["geo", "incoming"] {
        fs::create_dir(folder.join(name)).expect("made");
    }
    write(folder, "geo/country.csv", &data("2026-06-01", 100));
    write(folder, "geo/feed.csv", "# built: 2026-06-01\n5.0.0.0/24,NO,,,\n");
    let text = format!(
        "[geo]\nsources = [\"geo/country.csv\"]\noverlays = [\"geo/feed.csv\"]\nincoming = \"incoming\"\n[paths]\nstate = \
         \"{state}\"\nruntime = \"{state}\"\n",
        state = folder.join("state").display()
    );
    write(folder, "config.toml", &text);
    folder.join("config.toml").display().to_string()
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("written");
}

fn data(built: &str, ranges: usize) -> String {
    let line = |at: usize| format!("5.0.{at}.0/24,{}\n", if at.is_multiple_of(2) { "DE" } else { "US" });
    format!("# built: {built}\n{}", (0..ranges).map(line).collect::<String>())
}

#[test]
fn stage_takes_what_was_dropped_holds_what_changes_too_much_and_rollback_puts_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path();
    let config = home(folder);
    let stage = |arguments: &[&str]| run(&[&["geo", "stage", "--config", &config], arguments].concat());
    let none = stage(&[]);
    assert_eq!((none.code, none.err.as_str()), (Some(0), ""));
    assert!(
        none.out.contains("geo/country.csv: no fresh file\n") && none.out.contains("geo/feed.csv: no fresh file\n")
    );

    write(folder, "incoming/country.csv", &data("2026-06-02", 98));
    let ran = stage(&["--json"]);
    assert_eq!(ran.code, Some(65), "{}", ran.err);
    let why = json(&ran)[0]["reasons"][0].as_str().expect("a reason").to_owned();
    assert!(why.contains("nothing vouches for it: write its checksum beside it (`sha256sum "), "{why}");

    let sum = |name: &str| {
        let sum = std::process::Command::new("sha256sum").arg(folder.join(name)).output().expect("sha256sum");
        fs::write(folder.join(format!("{name}.sha256")), sum.stdout).expect("written");
    };
    sum("incoming/country.csv");
    let ran = stage(&[]);
    let file = folder.join("geo/country.csv").display().to_string();
    assert_eq!(ran.code, Some(65), "{}", ran.err);
    assert_eq!(ran.err, format!("egress-monitor: not taken: {file}\n"));
    // Two networks of a hundred are not too much, but the one of them is 2 % of what is inside.
    let expected = format!(
        "{file}: HELD: what is in place stays\n  built 2026-06-02T00:00:00Z, before 2026-06-01T00:00:00Z; vouched for by \
         sha256\n  IPv4: 98 ranges, 100 before; 256 addresses change sides (2.0000 % of the smaller side)\n  IPv6: 0 ranges, \
         0 before; 0 addresses change sides (0.0000 % of the smaller side)\n  - 256 addresses of IPv4 change sides of the \
         border, whose smaller side has 12,800: more than 1 %\n  to take it all the same: egress-monitor geo stage --for {file} \
         --accept\n"
    );
    assert!(ran.out.starts_with(&expected), "{}", ran.out);
    assert_eq!(fs::read_to_string(&file).expect("read"), data("2026-06-01", 100));

    let ran = stage(&["--for", "country.csv", "--accept"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.starts_with(&format!("{file}: taken; a running daemon reads it by itself\n")), "{}", ran.out);
    assert_eq!(fs::read_to_string(&file).expect("read"), data("2026-06-02", 98));

    let ran = run(&["geo", "rollback", "geo/country.csv", "--config", &config]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(fs::read_to_string(&file).expect("read"), data("2026-06-01", 100));
    let ran = run(&["geo", "rollback", "country.csv", "--config", &config]);
    assert_eq!(ran.code, Some(64), "{}", ran.err);
    assert!(ran.err.contains("nothing from before is kept"), "{}", ran.err);
    let ran = stage(&["--json"]);
    assert_eq!((ran.code, json(&ran)[0]["outcome"].as_str()), (Some(0), Some("taken_back")), "{}", ran.err);

    write(folder, "country.csv", &data("2026-06-03", 100));
    let fresh = folder.join("country.csv").display().to_string();
    let ran = stage(&[&fresh, "--json"]);
    assert_eq!((ran.code, json(&ran)[0]["outcome"].as_str()), (Some(0), Some("taken")), "{}", ran.err);
}

#[test]
fn stage_says_what_to_write_where_it_does_not_know_what_is_meant() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path();
    let config = home(folder);
    let fresh = folder.join("incoming/other.csv").display().to_string();
    write(folder, "incoming/other.csv", "");
    let refused = |arguments: &[&str], why: &str| {
        let ran = run(&[&["geo", "stage", "--config", &config], arguments].concat());
        assert_eq!(ran.code, Some(64), "{}", ran.err);
        assert!(ran.err.contains(why), "{why}: {}", ran.err);
    };
    refused(&[&fresh], "other.csv is none of [geo] in the configuration, which names ");
    refused(&["--accept"], "--for");
    refused(&["--sha256", "0", &fresh], "not a SHA-256: give 64 hexadecimal digits");
    refused(&["--for", "geo/country.csv", "--accept"], "nothing is held: name the file to take");
    let text = fs::read_to_string(&config).expect("read");
    fs::create_dir(folder.join("more")).expect("made");
    write(folder, "more/country.csv", "# built: 2026-06-01\n5.0.0.0/24,NO,,,\n");
    write(folder, "config.toml", &text.replace("geo/feed.csv", "more/country.csv"));
    refused(&[], "country.csv is the name of ");
    write(folder, "config.toml", &text.replace("incoming = ", "# "));
    refused(&[], "no [geo] incoming in the configuration");
}
