use std::sync::Mutex;

use tokio::sync::oneshot;

use super::*;
use crate::{
    clock::{TrustedClock, trust::Reading},
    engine::source::{EVENT_QUEUE, Task},
    fake::{self, Fake},
    model::Succession,
    sinks::{file::AlertsFile, stream::Stream},
};
use monitor_api::{client::Client, status::Status};

fn setup(directory: &std::path::Path, alerts: &std::path::Path) -> Setup {
    Setup {
        epoch: Duration::from_secs(3_600),
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        socket: directory.join("control.sock"),
        helper: Helper::at(directory.join("helper.sock")),
        groups: Groups::default(),
        state: directory.join("state"),
        in_force: PolicyInForce { policy: fake::policy().into(), inside: "EEA".into(), ..PolicyInForce::default() },
        keep_alerts: 16 << 20,
        attribute: true,
        command_lines: true,
        sinks: vec![Box::new(AlertsFile::new(alerts))],
        reload: reload::Setup {
            read: Arc::new(|_| reload::Read {
                files: reload::Files::default(),
                policy: Err(reload::ReloadError::Invalid("config.toml:7: expires = \"never\": not a time".into())),
            }),
            files: reload::Files::default(),
            clock: TrustedClock::of(Reading::default),
            confirm: None,
            outlives: false,
            confirmations: reload::confirmations::ConfirmationStore::default(),
            by_hand: reload::by_hand::ByHand::default(),
            begin: reload::Beginning::Files(None),
            reverted: None,
        },
        service_manager: ServiceManager::default(),
    }
}

fn opened(fake: &Fake, reader: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Opened {
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    let reader: Task = Box::pin(async move {
        let _open = sender;
        reader.await
    });
    Opened {
        source: Box::new(fake.clone()),
        events,
        tasks: vec![("event reader", reader)],
        succession: Succession::default(),
        inherited: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_answers_refuses_a_bad_reload_and_ends_exact() {
    let directory = tempfile::tempdir().expect("a directory");
    let alerts = directory.path().join("alerts.jsonl");
    let fake = Fake::default();
    let mut last = fake::snapshot(1);
    fake::add_flow(&mut last, 7, fake::OUTSIDE, 443, 3);
    fake.script().next.extend([fake::snapshot(0), last]);
    let (commands, received) = mpsc::channel(1);
    let (announce, announced) = oneshot::channel::<Started>();
    let opened = opened(&fake, std::future::pending());
    let daemon = tokio::spawn(serve(
        setup(directory.path(), &alerts),
        |_| Ok(opened),
        received,
        |started| {
            announce.send(started.clone()).expect("awaited");
        },
    ));
    let started = announced.await.expect("it starts");
    assert_eq!(started.attachments[0].interface, "eth0");
    assert_ne!(started.listen.expect("a port").port(), 0);

    commands.send(Command::Reload).await.expect("taken");
    let client = Client::new(started.socket.clone());
    let status = tokio::task::spawn_blocking(move || {
        loop {
            let status: Status = client.get("/api/v1/status").expect("an answer");
            if status.losses.reloads_refused == 1 && status.epoch.is_some() {
                return status;
            }
        }
    });
    let status = status.await.expect("no panic");
    assert_eq!(status.reload_error.as_deref(), Some("config.toml:7: expires = \"never\": not a time"));
    assert_eq!(status.policy.digest, "d".repeat(64));

    // The first epoch was closed at once.
    assert_eq!(fake.script().next.len(), 1);
    commands.send(Command::Stop).await.expect("taken");
    let state = daemon.await.expect("no panic").expect("a good end");
    assert!(fake.script().detached);
    assert_eq!(state.read().traffic.totals.hook.values().map(|sums| sums.packets).sum::<u64>(), 3);
    assert!(!started.socket.exists());
    let text = std::fs::read_to_string(&alerts).expect("written");
    // The epochs of the fake are of another minute than the start.
    let kinds = [
        "\"types\":[\"started\"]",
        "\"types\":[\"heartbeat\"]",
        "\"types\":[\"heartbeat\"]",
        "\"types\":[\"reload_refused\"]",
        "\"class_uid\":4001",
        "\"types\":[\"stopped\"]",
    ];
    assert_eq!(text.lines().count(), kinds.len(), "{text}");
    for (line, kind) in text.lines().zip(kinds) {
        assert!(line.contains(kind), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_falls_takes_the_daemon_down_in_order_with_its_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let fake = Fake::default();
    let (_commands, received) = mpsc::channel(1);
    let opened = opened(&fake, async { anyhow::bail!("ring gone") });
    let setup = setup(directory.path(), &directory.path().join("alerts"));
    let result = serve(setup, |_| Ok(opened), received, |_| {}).await;
    let Err(CliError::Unavailable(text)) = result else { panic!("no failure") };
    assert_eq!(text, "event reader failed: ring gone");
    assert!(fake.script().detached);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_opened_when_a_socket_is_taken() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(directory.path(), &directory.path().join("alerts"));
    let _taken = std::os::unix::net::UnixListener::bind(&setup.socket).expect("a socket");
    let asked = Mutex::new(false);
    let (_commands, received) = mpsc::channel(1);
    let result = serve(
        setup,
        |_| {
            *asked.lock().expect("no panic") = true;
            Err(CliError::Internal("opened".into()))
        },
        received,
        |_| {},
    );
    let Err(CliError::Unavailable(text)) = result.await else { panic!("no failure") };
    assert!(text.contains("another egress-monitor answers on"), "{text}");
    assert!(!*asked.lock().expect("no panic"));
}

/// Takes nothing, for ever.
struct Stuck;

impl std::io::Write for Stuck {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        loop {
            std::thread::park();
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes a line, but not soon.
struct Slow;

impl std::io::Write for Slow {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        std::thread::sleep(Duration::from_millis(500));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the end says of alerts that a sink has not taken, and that no directory keeps; it waits for a second, and is in order.
async fn lost_at_the_end(sink: Stream, flows: std::ops::Range<u16>) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let fake = Fake::default();
    let mut last = fake::snapshot(0);
    for port in flows {
        fake::add_flow(&mut last, 7, fake::OUTSIDE, port, 3);
    }
    fake.script().next.push_back(last);
    let (commands, received) = mpsc::channel(1);
    let opened = opened(&fake, std::future::pending());
    let mut setup = setup(directory.path(), &directory.path().join("alerts"));
    setup.sinks = vec![Box::new(sink)];
    let daemon = tokio::spawn(serve(setup, |_| Ok(opened), received, |_| {}));
    commands.send(Command::Stop).await.expect("taken");
    let begun = std::time::Instant::now();
    let Err(CliError::Unavailable(text)) = daemon.await.expect("no panic") else { panic!("no failure") };
    assert!(begun.elapsed() < Duration::from_secs(5) && fake.script().detached);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_no_alerts_holds_up_the_end_for_a_second_and_no_more() {
    let text = lost_at_the_end(Stream::new("stuck", Box::new(Stuck)), 443..444).await;
    assert!(text.starts_with("alerts: alerts that were not taken within 1 s are lost: 5 of stuck"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_alerts_one_by_one_holds_up_the_end_no_longer() {
    // All of them would take twenty seconds.
    let text = lost_at_the_end(Stream::new("slow", Box::new(Slow)), 1000..1040).await;
    assert!(text.starts_with("alerts: alerts that were not taken within 1 s are lost: "), "{text}");
}
