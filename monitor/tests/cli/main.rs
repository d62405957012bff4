//! The program as a person runs it: text, JSON, exit codes. No kernel, no root.

mod asking;
mod check;
mod diff;
mod documents;
mod example_europe;
mod explain;
mod geo_stage;

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// How a command ended.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(arguments: &[&str]) -> Ran {
    ran(command().args(arguments))
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_egress-monitor"))
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
}

/// A configuration with its own geo data, so that nothing depends on what is built in.
fn configured(directory: &Path) -> String {
    fs::write(
        directory.join("geo.csv"),
        "5.0.0.0,5.255.255.255,DE\n8.0.0.0,8.255.255.255,US\n2a00::,2a00:ffff:ffff:ffff:ffff:ffff:ffff:ffff,IE\n",
    )
    .expect("written");
    let file = directory.join("config.toml");
    fs::write(
        &file,
        "[zone]\nname = \"test\"\n[geo]\nsources = [\"geo.csv\"]\n[[allow]]\nid = \"dns\"\nto = [\"8.8.8.8/32\"]\n\
         ports = [\"udp/53\"]\nreason = \"names\"\nexpires = 2099-01-01T00:00:00Z\n",
    )
    .expect("written");
    file.display().to_string()
}

#[test]
fn help_has_an_example() {
    for command in ["check", "explain"] {
        let ran = run(&[command, "--help"]);
        assert_eq!(ran.code, Some(0));
        assert!(ran.out.contains(&format!("Examples:\n  egress-monitor {command}")), "{}", ran.out);
    }
}
