//! What it takes when no receiver answers: the backlog is on disk, and memory does not grow with it. As many alerts as ALERTS
//! says, as in `day`.

use super::*;
use crate::{
    alerts::ocsf,
    incidents::tests::Bench,
    model::{
        Host,
        receiver::{Http, Peers, SyslogAddress, Url},
    },
};

/// What all sinks together may take more.
const MOST: u64 = 48 << 20;

/// Every kind of receiver, and nobody there.
fn nobody(folder: &Path) -> Vec<Box<dyn Sink>> {
    // Taken, so that nobody else takes it, and nobody listens.
    let http =
        |path: &str| Http { url: Url::parse(&format!("http://127.0.0.1:9{path}")).unwrap(), token: None, ca: None };
    let syslog = |to: &str| SinkKind::Syslog { to: SyslogAddress::parse(to).unwrap(), peers: Peers::default() };
    let unix = |name: &str| folder.join(name).display().to_string();
    let kinds = [
        SinkKind::Webhook { at: http("/one"), ndjson: false, secret: None },
        SinkKind::Webhook { at: http("/many"), ndjson: true, secret: None },
        SinkKind::Alertmanager(http("/")),
        syslog(&format!("unix:{}", unix("log"))),
        syslog("tcp://127.0.0.1:9"),
        syslog("tls://127.0.0.1:9"),
        SinkKind::Journal(folder.join("journal")),
    ];
    let sinks = kinds.into_iter().zip(1..).map(|(to, number)| of(SinkSpec { name: format!("r{number}"), to }));
    let file = AlertsFile::new(&folder.join("no/such/folder/alerts"));
    sinks.chain([Box::new(file) as Box<dyn Sink>, Box::new(Stream::new("stuck", Box::new(Stuck)))]).collect()
}

/// This process's resident memory, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_backlog_that_no_receiver_takes_is_on_disk_and_not_in_memory() {
    let alerts: u64 = std::env::var("ALERTS").map_or(10_000, |alerts| alerts.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateDirectory::open(&folder.path().join("state"));
    let alert = Arc::new(Bench::new().event(fake::key(7, fake::OUTSIDE, 443), 1, fake::START).expect("new"));
    let host = Host::default();
    let encode = move |alert: &Alert, sequence| ocsf::kept(&host, alert, sequence, fake::START);
    let (outbox, ended) =
        Outbox::start(Store::open(&state, 4 << 30), nobody(folder.path()), QUEUE, encode).expect("threads");
    let delivery = Arc::clone(outbox.delivery());
    let made = |until: u64| wait_for("all are on disk", || delivery.kept.load(Relaxed) == until);
    // So that everything that there is has run once.
    (0..1_000).for_each(|_| outbox.send(&alert));
    made(1_000);
    wait_for("each was tried", || {
        delivery.sinks().iter().all(|sink| sink.name == "stuck" || sink.retried.load(Relaxed) > 0)
    });
    let before = resident();
    for group in 1..alerts.div_ceil(1_000) {
        (0..1_000).for_each(|_| outbox.send(&alert));
        made((group + 1) * 1_000);
    }
    let more = resident().saturating_sub(before);
    let kept = delivery.kept.load(Relaxed);
    assert_eq!(delivery.lost.load(Relaxed), 0);
    for sink in delivery.sinks() {
        assert!(delivery.backlog(sink) >= kept - 1, "{}: {}", sink.name, delivery.backlog(sink));
    }
    assert!(more <= MOST, "{} KiB more for {kept} alerts that nobody takes", more >> 10);
    println!("proven: alerts in a backlog of nine receivers that do not answer: {kept}");
    println!("proven: KiB of memory more than with the first 1,000 of them: {}", more >> 10);
    drop((outbox, ended));
}
