//! Promise: `run` answers every bad input with exactly one line that names file, line, value and mend, with exit code
//! 64 or 69, and attaches nothing.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use aya::programs::{SchedClassifier, TcAttachType};
use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    stage::{INTERFACE, Stage},
};

/// Runs the monitor with a configuration; gives its only line. `{config}` and `{folder}` in the expectations stand
/// for the configuration file and the stage's folder.
fn refused(stage: &Stage, config: &str, arguments: &[&str], code: i32, wanted: &[&str]) {
    let home = Home::new().unwrap();
    home.configure(config).unwrap();
    let file = home.config().display().to_string();
    let mut daemon = Daemon::spawn(&stage.near, home, arguments).unwrap();
    let ended = daemon.wait().unwrap();
    assert_eq!(ended.log.len(), 1, "{:#?}", ended.log);
    assert_eq!(ended.status.code(), Some(code), "{:#?}", ended.log);
    assert!(ended.alerts.is_empty(), "{:#?}", ended.alerts);
    for part in wanted {
        let part = part.replace("{config}", &file).replace("{folder}", &stage.folder().display().to_string());
        assert!(ended.log[0].contains(&part), "`{part}` is not in: {}", ended.log[0]);
    }
    let programs = stage.near.run(|| SchedClassifier::query_tcx(INTERFACE, TcAttachType::Egress)).unwrap().1;
    assert!(programs.is_empty());
    assert!(!daemon.home().socket().exists());
}

/// The stage's configuration with one more line at the end of `[monitor]`, or tables at its end.
fn with(stage: &Stage, monitor: &str, tables: &str) -> String {
    format!("{}{tables}", stage.config(monitor, ""))
}

fn sources(stage: &Stage, file: &str) -> String {
    let config = stage.config("", "");
    let begin = config.find("sources = ").unwrap();
    let end = begin + config[begin..].find('\n').unwrap();
    format!("{}sources = [\"{}/{file}\"]{}", &config[..begin], stage.folder().display(), &config[end..])
}

#[test]
fn a_bad_configuration_is_refused_with_its_line() {
    let stage = Stage::build(false).unwrap();
    let site = |networks: &str| format!("[[site]]\nname = \"x\"\ncountry = \"IE\"\nnetworks = [{networks}]\n");
    let allow = |to: &str, more: &str| format!("[[allow]]\nid = \"x\"\nto = [\"{to}\"]\nreason = \"y\"\n{more}");
    for (config, wanted) in [
        (with(&stage, "epohc = \"1s\"", ""), &["{config}:3", "epohc", "epoch"][..]),
        (with(&stage, "flows = \"many\"", ""), &["{config}:3", "flows", "number"]),
        (with(&stage, "flows = 3", ""), &["{config}:3", "'3'", "1024"]),
        (with(&stage, "", &site("\"10.0.0.0/33\"")), &["{config}:", "10.0.0.0/33"]),
        (with(&stage, "", &site("\"10.0.0.1/8\"")), &["{config}:", "10.0.0.1/8", "10.0.0.0/8"]),
        (with(&stage, "", &site("\"198.18.7.2/32\"")), &["{config}:", "198.18.7.2/32", "dublin"]),
        (
            with(
                &stage,
                "",
                &allow("192.0.2.0/24", "not_before = 2001-01-01T00:00:00Z\nexpires = 2001-01-01T00:00:00Z\n"),
            ),
            &["{config}:", "2001-01-01"],
        ),
        (with(&stage, "", "[zone"), &["{config}:"]),
    ] {
        refused(&stage, &config, &[], 64, wanted);
    }
}

#[test]
fn a_bad_dataset_is_refused_with_its_name() {
    let stage = Stage::build(false).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(stage.folder().join(name), bytes).unwrap();
    write("reversed.csv", b"192.0.0.0,192.0.1.255,IE\n198.51.100.9,198.51.100.1,SG\n");
    // The marker of the metadata, and then nothing; a metadata map that claims to be endless; no marker.
    write("truncated.mmdb", b"\0\0\0\0\xab\xcd\xefMaxMind.com");
    write("hostile.mmdb", &[&[0xff; 64][..], b"\xab\xcd\xefMaxMind.com", &[0xff; 32]].concat());
    write("empty.mmdb", b"");
    for (name, more) in [
        ("missing.csv", "{config}:"),
        ("reversed.csv", "reversed.csv:2"),
        ("truncated.mmdb", ""),
        ("hostile.mmdb", ""),
        ("empty.mmdb", ""),
    ] {
        refused(&stage, &sources(&stage, name), &[], 64, &[name, more]);
    }
}

#[test]
fn a_configuration_file_that_is_not_there_is_named() {
    let output = Command::new(binary().unwrap()).args(["run", "--config", "/nonexistent/x.toml"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(64), 1), "{said}");
    assert!(said.contains("/nonexistent/x.toml"), "{said}");
}

#[test]
fn without_privilege_it_says_which_is_needed() {
    let stage = Stage::build(false).unwrap();
    let home = Home::new().unwrap();
    home.configure(&stage.config("", "")).unwrap();
    for folder in [home.path(), &home.path().join("run"), stage.folder()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o1777)).unwrap();
    }
    // Its own place may be where others can't go: a copy can be run by anybody.
    let copy = home.path().join("egress-monitor");
    std::fs::copy(binary().unwrap(), &copy).unwrap();
    let mut command = stage.near.command("setpriv").unwrap();
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
    let output = command.args(["run", "--config"]).arg(home.config()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(69), 1), "{said}");
    for part in ["root", "CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!home.socket().exists());
}
