//! Receivers as people run them, Debian's own, each a process of the test's: `cargo xtask prove receivers` unpacks them and
//! runs these. What a receiver has of an alert is printed for `docs/alerts.md`.

mod alertmanager;
mod journald;
mod rsyslog;

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::*;
use crate::{
    alerts::ocsf,
    model::{Host, host::Zone, now},
};

/// Alerts that a receiver gets.
const ALERTS: u64 = 2_000;

/// A file of what the proof has unpacked.
fn unpacked(file: &str) -> PathBuf {
    let root = std::env::var_os("RECEIVERS").expect("RECEIVERS, which `cargo xtask prove receivers` sets");
    PathBuf::from(root).join(file)
}

/// The directory of this architecture's libraries.
fn libraries() -> PathBuf {
    unpacked(&format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

/// A program, with the libraries that were unpacked beside it.
fn program(file: &str) -> Command {
    let mut command = Command::new(unpacked(file));
    command.env("LD_LIBRARY_PATH", libraries()).stdin(Stdio::null());
    command
}

/// The same, where one of the directories that were unpacked is in the place of the system's.
fn program_with(directory: &str, file: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command.arg(unpacked(directory)).arg(format!("/{directory}")).arg(unpacked(file));
    command.stdin(Stdio::null());
    command
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    #[track_caller]
    fn start(mut command: Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// `kill -9`.
    fn kill(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port").port()
}

/// Alerts as the daemon makes them, on their way to a sink.
fn outbox(state: &Path, sink: Box<dyn Sink>) -> (Outbox, Ended) {
    let zone = Zone::default();
    zone.set("eu-user-data");
    let uid = Some("5f1c9b0e7d2a4c6381b0a4e2c97d3f58".to_owned());
    let host = Host { name: "enclave-1".into(), boot_id: "2f6f4d1c-8a6b-4c0e-9d0b-5d8f8f0f4b11".into(), uid, zone };
    let encode = move |alert: &Alert, sequence| ocsf::kept(&host, alert, sequence, now());
    let store = Store::open(&StateDirectory::open(state), 64 << 20);
    Outbox::start(store, vec![sink], ALERTS as usize, encode).expect("threads")
}

/// As many alerts on a flow.
fn send(outbox: &Outbox, alerts: u64) {
    let alert = Arc::new(fake::alert());
    (0..alerts).for_each(|_| outbox.send(&alert));
}

/// Waits until the sink has handed over so many.
#[track_caller]
fn handed_over(outbox: &Outbox, alerts: u64) {
    let delivery = Arc::clone(outbox.delivery());
    wait_for("all are handed over", || delivery.sinks()[0].delivered.load(Relaxed) >= alerts);
}

/// Waits for the sink's end.
fn finish(ended: Ended) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(ended.wait(PATIENCE)).expect("all handed over");
}

/// The sequence of an alert.
fn sequence(alert: &Value) -> u64 {
    alert["metadata"]["sequence"].as_u64().expect("a sequence")
}

/// Says what a receiver has of an alert.
fn show(receiver: &str, what: &str) {
    println!("shown: {receiver}: {what}");
}
