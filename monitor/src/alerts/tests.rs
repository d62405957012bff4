//! Alerts as whoever reads the lines gets them. A file a subject; here is what they share.

mod findings;
mod lines;

use serde_json::Value;

use super::*;
use crate::{
    fake,
    model::{Alert, Host, host::Zone},
    storage::segments::line,
};

/// When lines are written down.
const LOGGED: i128 = fake::START + 20_000_000;

fn host() -> Host {
    let zone = Zone::default();
    zone.set("enclave");
    Host { name: "enclave-1".into(), boot_id: "b0".into(), uid: Some("0123456789abcdef".repeat(2)), zone }
}

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../docs/alert.schema.json");
    let schema: Value = serde_json::from_str(text).expect("the schema is JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("the schema is a schema")
}

#[track_caller]
fn valid(line: &str) -> Value {
    assert!(!line.contains('\n'));
    let value: Value = serde_json::from_str(line).expect(line);
    let errors: Vec<String> = schema().iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{line}");
    // For `cargo xtask prove receivers`, which has somebody else look at them.
    if let Some(file) = std::env::var_os("ALERT_LINES") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("a file");
        std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).expect("written");
    }
    value
}

/// The alert as it is kept, without the line's end.
fn encoded(alert: &Alert) -> String {
    let line = String::from_utf8(ocsf::kept(&host(), alert, 7, LOGGED)).expect("text");
    let line = line.strip_suffix('\n').expect("a line");
    assert_eq!(line::whole(line.as_bytes()).map(|stamp| stamp.sequence), Some(7), "{line}");
    line.to_owned()
}
