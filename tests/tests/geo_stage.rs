//! Promise: fresh geo data that is put in place comes in force by itself; data that somebody has to look at is a finding
//! until he has; and a staging that is killed, wherever it is, leaves every file whole.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{Command, Output},
};

use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    stage::{INTERFACE, Stage},
};

/// A network in Germany and one in the US by turns.
fn data(built: &str, ranges: usize) -> String {
    let line = |at: usize| format!("5.0.{at}.0/24,{}\n", if at.is_multiple_of(2) { "DE" } else { "US" });
    format!("# built: {built}\n{}", (0..ranges).map(line).collect::<String>())
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
}

/// `geo` of a home, ended at a fault.
fn geo(home: &Home, arguments: &[&str], fault: &str) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.arg("geo").args(arguments).arg("--config").arg(home.config());
    command.env("EGRESS_MONITOR_FAULT", fault).output().unwrap()
}

#[test]
fn a_staging_or_a_rollback_that_is_killed_anywhere_leaves_files_whole_and_the_next_one_does_it() {
    let [old, new] = [data("2026-06-01", 100), data("2026-06-02", 100)];
    let home = || {
        let home = Home::new().unwrap();
        write(&home.path().join("config/country.csv"), &old);
        write(&home.path().join("fresh.csv"), &new);
        home.configure("[geo]\nsources = [\"country.csv\"]\n").unwrap();
        home
    };
    let fresh = |home: &Home| home.path().join("fresh.csv").display().to_string();
    let (mut killed, mut rolled) = (0, 0);
    for save in 1.. {
        let home = home();
        let in_place = || fs::read_to_string(home.path().join("config/country.csv")).unwrap();
        let stage = ["stage", &fresh(&home), "--for", "country.csv"];
        let ran = geo(&home, &stage, &format!("save:{save}"));
        let dies = ran.status.signal() == Some(libc::SIGKILL);
        assert!(dies || ran.status.success(), "{save}: {}", String::from_utf8_lossy(&ran.stderr));
        assert!([&old, &new].contains(&&in_place()), "{save}: neither the old file nor the new one");
        let ran = geo(&home, &stage, "none");
        assert!(ran.status.success(), "{save}: {}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(in_place(), new, "{save}");
        let back = geo(&home, &["rollback", "country.csv"], &format!("save:{save}"));
        rolled += u32::from(back.status.signal() == Some(libc::SIGKILL));
        assert!([&old, &new].contains(&&in_place()), "{save}: neither the old file nor the new one");
        let ran = geo(&home, &["rollback", "country.csv"], "none");
        // One that was killed when the file was in its place has nothing left to do, and says so.
        assert!(
            ran.status.success() || ran.status.code() == Some(64),
            "{save}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        assert_eq!(in_place(), old, "{save}");
        // Nor does a timer undo it.
        let ran = geo(&home, &stage, "none");
        assert!(ran.status.success() && in_place() == old, "{save}: {}", String::from_utf8_lossy(&ran.stdout));
        if !dies {
            break;
        }
        killed += 1;
    }
    // Number, copy, its note, what the daemon accepts, the file, its note; of a rollback the same without number and copy.
    assert_eq!((killed, rolled), (6, 5));
}

#[test]
fn what_is_put_in_place_is_in_force_by_itself_and_what_is_held_is_a_finding_until_somebody_takes_it() {
    let stage = Stage::build(false).unwrap();
    let home = Home::new().unwrap();
    let country = home.path().join("config/country.csv");
    write(&country, &data("2026-06-01", 100));
    let text = "[monitor]\ninterfaces = [\"eth0\"]\nepoch = \"100ms\"\n[http]\nlisten = \"\"\n[geo]\nsources = \
                [\"country.csv\"]\n[management]\nnetworks = []\n";
    home.configure(&text.replace("eth0", INTERFACE)).unwrap();
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    let digest = |status: &serde_json::Value| status["policy"]["digest"].clone();
    let finding = |status: &serde_json::Value| {
        let findings = status["findings"].as_array().unwrap();
        findings.iter().any(|finding| finding["type"] == "geo_data_held")
    };
    let first = digest(&daemon.json(&["status"]).unwrap());
    let fresh = daemon.home().path().join("fresh.csv");
    let staged = |text: &str, arguments: &[&str]| {
        write(&fresh, text);
        let fresh = fresh.display().to_string();
        let mut all = vec!["stage", "--for", "country.csv"];
        all.extend(if arguments.is_empty() { vec![fresh.as_str()] } else { arguments.to_vec() });
        geo(daemon.home(), &all, "none").status.code()
    };
    assert_eq!(staged(&data("2026-06-02", 100).replacen("5.0.0.0/24,DE", "5.0.0.0/25,DE", 1), &[]), Some(0));
    let second = daemon.json_until(&["status"], |status| digest(status) != first).unwrap();
    assert!(!finding(&second));

    assert_eq!(staged(&data("2026-06-03", 80), &[]), Some(65));
    let held = daemon.json_until(&["status"], finding).unwrap();
    assert_eq!(digest(&held), digest(&second));
    assert_eq!(staged("", &["--accept"]), Some(0));
    let third = daemon.json_until(&["status"], |status| digest(status) != digest(&second)).unwrap();
    daemon.json_until(&["status"], |status| !finding(status)).unwrap();

    assert_eq!(geo(daemon.home(), &["rollback", "country.csv"], "none").status.code(), Some(0));
    daemon.json_until(&["status"], |status| digest(status) == digest(&second)).unwrap();
    assert_ne!(digest(&third), digest(&second));
    daemon.stop().unwrap();
}
