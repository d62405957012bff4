//! The program as a person runs it: text, JSON, exit codes. No kernel, no root.

mod asking;
mod documents;
mod example_europe;
mod policy;

use std::process::Command;

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
