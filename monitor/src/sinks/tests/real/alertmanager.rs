//! Prometheus Alertmanager: what is active, over a kill of it, and what has ended.

use std::{collections::BTreeSet, io::Read as _, net::TcpStream};

use super::*;
use crate::{
    engine::findings::OpenFindings,
    model::receiver::{Http, SinkKind, SinkSpec, Url},
    sinks,
};

/// It hears again of what is active each minute.
const HEARS_AGAIN: Duration = Duration::from_secs(100);

struct Alertmanager {
    folder: tempfile::TempDir,
    port: u16,
    running: Option<Running>,
}

impl Alertmanager {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let configuration = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";
        std::fs::write(folder.path().join("alertmanager.yml"), configuration).expect("written");
        let mut alertmanager = Self { folder, port: free_port(), running: None };
        alertmanager.run();
        alertmanager
    }

    fn run(&mut self) {
        let path = self.folder.path().display();
        // Its templates have no other place.
        let mut command = program_with("usr/share", "usr/bin/prometheus-alertmanager");
        command.arg(format!("--config.file={path}/alertmanager.yml")).arg(format!("--storage.path={path}/data"));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port)).arg("--cluster.listen-address=");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(Running::start(command));
        wait_for("it answers", || self.active().is_some());
    }

    fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    /// What it calls active.
    fn active(&self) -> Option<Vec<Value>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(b"GET /api/v2/alerts?active=true HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// The same by name.
    fn names(&self) -> BTreeSet<String> {
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().expect("a name").to_owned();
        self.active().unwrap_or_default().iter().map(name).collect()
    }
}

#[track_caller]
fn within(patience: Duration, what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test]
#[ignore = "cargo xtask prove receivers"]
async fn alertmanager_has_what_is_active_after_it_was_killed_and_nothing_that_has_ended() {
    let mut alertmanager = Alertmanager::start();
    let url = Url::parse(&format!("http://127.0.0.1:{}/api/v2/alerts", alertmanager.port)).expect("a URL");
    let to = SinkKind::Alertmanager(Http { url, token: None, ca: None });
    let (outbox, ended) = outbox(alertmanager.folder.path(), sinks::of(SinkSpec { name: "alertmanager".into(), to }));
    let kinds: Vec<FindingKind> = FindingKind::ALL.iter().copied().filter(|kind| !kind.is_heartbeat()).collect();
    let (early, late) = kinds.split_at(kinds.len() / 2);
    let names = |kinds: &[FindingKind]| kinds.iter().map(|kind| kind.name().to_owned()).collect::<BTreeSet<_>>();
    let mut open = OpenFindings::default();
    let mut report = |kinds: &[FindingKind], holds: bool| {
        for kind in kinds {
            let detail = holds.then(|| "eth0".into());
            outbox.send(&Arc::new(open.report(*kind, detail, now()).expect("it changes")));
        }
    };
    report(early, true);
    outbox.send(&Arc::new(notice(FindingKind::Heartbeat, "well".to_owned(), now())));
    within(PATIENCE, "it has the first", || alertmanager.names() == names(early));
    alertmanager.kill();
    report(late, true);
    let delivery = Arc::clone(outbox.delivery());
    within(PATIENCE, "nobody answers", || delivery.sinks()[0].retried.load(Relaxed) > 0);
    alertmanager.run();
    within(HEARS_AGAIN, "it has all", || alertmanager.names() == names(&kinds));
    println!("proven: findings that Alertmanager has as active, after it was killed: {} of {0}", kinds.len());
    let shown = alertmanager.active().expect("it answers");
    let detached = shown.iter().find(|alert| alert["labels"]["alertname"] == "detached").expect("there");
    show("Alertmanager", &detached.to_string());
    report(early, false);
    within(HEARS_AGAIN, "the first have ended", || alertmanager.names() == names(late));
    println!("proven: of these active when {} had ended: {}", early.len(), late.len());
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all taken");
}
