//! journald, in a mount namespace of its own, where nobody else's entries are.

use super::*;
use crate::{
    model::receiver::{SinkKind, SinkSpec},
    sinks,
};

/// Where systemd has it.
const JOURNALD: &str = "usr/lib/systemd/systemd-journald";

#[test]
#[ignore = "cargo xtask prove receivers"]
fn journald_has_everything_with_its_fields() {
    // Its /run is a directory of ours.
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    std::fs::create_dir(&run).expect("made");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", "mount --bind \"$1\" /run && exec \"$0\""]);
    command.arg(unpacked(JOURNALD)).arg(&run).env("LD_LIBRARY_PATH", systemd());
    let _journald = Running::start(command);
    let socket = run.join("systemd/journal/socket");
    wait_for("it listens", || socket.exists());
    let spec = SinkSpec { name: "journal".into(), to: SinkKind::Journal(socket) };
    let (outbox, ended) = outbox(folder.path(), sinks::of(spec));
    send(&outbox, ALERTS);
    // One that is longer than any datagram.
    outbox.send(&finding(&"long ".repeat(60_000)));
    handed_over(&outbox, ALERTS + 1);
    wait_for("it has them", || entries(&run).len() as u64 > ALERTS);
    let entries = entries(&run);
    let alerts: Vec<Value> =
        entries.iter().map(|entry| serde_json::from_str(&text(entry, "OCSF")).expect("JSON")).collect();
    assert_eq!(alerts.iter().map(sequence).collect::<Vec<_>>(), (1..=ALERTS + 1).collect::<Vec<_>>());
    let first = &entries[0];
    let fields = ["PRIORITY", "EGRESS_TYPE", "EGRESS_SEVERITY", "EGRESS_SEQUENCE", "EGRESS_ZONE", "EGRESS_COUNTRY"];
    assert_eq!(fields.map(|field| text(first, field)), ["3", "egress", "High", "1", "eu-user-data", "SG"]);
    assert_eq!(text(first, "MESSAGE"), alerts[0]["message"]);
    let length = text(&entries[ALERTS as usize], "OCSF").len();
    assert!(length > 300_000, "{length}");
    println!("proven: alerts that journald has, each once and in order: {ALERTS} of {ALERTS}");
    println!("proven: bytes of the longest entry of journald's, read back: {length}");
    let shown = first.as_object().expect("an entry").iter().filter(|(name, _)| !name.starts_with('_'));
    show("journald", &Value::Object(shown.map(|(name, value)| (name.clone(), value.clone())).collect()).to_string());
    drop(outbox);
    finish(ended);
}

/// Where systemd's own library is, and those that it needs.
fn systemd() -> String {
    format!("{}:{}", libraries().join("systemd").display(), libraries().display())
}

/// The alerts in the journal.
fn entries(run: &Path) -> Vec<Value> {
    let mut command = Command::new(unpacked("usr/bin/journalctl"));
    command.env("LD_LIBRARY_PATH", systemd()).args(["--all", "--output", "json", "-D"]).arg(run.join("log/journal"));
    let read = command.arg("SYSLOG_IDENTIFIER=egress-monitor-alerts").output().expect("journalctl");
    let text = String::from_utf8(read.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A field; what has bytes that JSON does not show is a list of numbers.
fn text(entry: &Value, field: &str) -> String {
    match &entry[field] {
        Value::Array(bytes) => {
            let bytes =
                bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()).expect("a byte"));
            String::from_utf8(bytes.collect()).expect("text")
        }
        value => value.as_str().expect(field).to_owned(),
    }
}
