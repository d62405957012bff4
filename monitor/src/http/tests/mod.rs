//! The whole interface over a fake source, as somebody who asks sees it. A file a subject; here is what they share.

mod documented;
mod flow_pages;
mod incident_pages;
mod policy_pages;
mod serving;
mod status_page;

use std::{path::PathBuf, sync::Arc, time::Duration};

use monitor_common::{parse::Reason, verdict::Verdict, wire::FlowKey};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cli::render;
use crate::http::{
    listeners::{ControlSocket, SocketError, bind_tcp},
    server::{Served, serve},
};
use crate::{
    alerts::ocsf,
    archive::Archive,
    budgets::keeper::Keeper,
    clock::{TrustedClock, trust::Reading},
    engine::Engine,
    error::CliError,
    fake::{self, Fake},
    model::{Alert, Host, in_force::PolicyInForce, now},
    reload,
    sinks::{Outbox, Sink, Store, stream::Stream},
    storage::state::StateDirectory,
    store::{MonitorState, SharedState},
};
use monitor_api::{
    client::Client,
    flows::Flows,
    mode::{ModeChange, ModeStatus, To},
    reload::Outcome,
    rules::Rules,
    shadow::ShadowPage,
    status::{Status, Sums},
};
use monitor_policy::{Policy, PolicyRef, spec::Mode};

/// The API over a fake source, on a loopback port and a control socket.
struct Bench {
    address: std::net::SocketAddr,
    socket: PathBuf,
    state: SharedState,
    control: Control,
    fake: Fake,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
    _events: tokio::sync::mpsc::Sender<crate::engine::source::Report>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn bench() -> Bench {
    bench_of(PolicyInForce { policy: fake::policy().into(), inside: "EEA".into(), ..PolicyInForce::default() })
}

fn bench_of(in_force: PolicyInForce) -> Bench {
    let fake = Fake::new(in_force.clone());
    let state = SharedState::new(MonitorState {
        host: Host { boot_id: "b0".into(), ..Host::default() },
        started: now(),
        since: now() - 1_000_000_000,
        epoch_length: Duration::from_hours(1),
        ..MonitorState::default()
    });
    let encode = |alert: &Alert, sequence| ocsf::kept(&Host::default(), alert, sequence, 0);
    let sink: Box<dyn Sink> = Box::new(Stream::new("none", Box::new(std::io::sink())));
    let (outbox, _) = Outbox::start(Store::Memory, vec![sink], 100, encode).expect("threads");
    let consumers = fake::consumers(Keeper::in_memory());
    let (engine, handle) =
        Engine::new(Box::new(fake.clone()), state.clone(), Box::new(outbox), consumers, in_force.clone());
    let directory = tempfile::tempdir().expect("a directory");
    let stop = CancellationToken::new();
    let (events, received) = tokio::sync::mpsc::channel(10);
    tokio::spawn(engine.run(received, stop.clone()));
    let next = || PolicyInForce {
        policy: Policy { digest: "b".repeat(64), ..fake::policy() }.into(),
        ..PolicyInForce::default()
    };
    let setup = reload::Setup {
        read: Arc::new(move |_| reload::Read { files: reload::Files::default(), policy: Ok(next()) }),
        files: reload::Files::default(),
        clock: TrustedClock::of(Reading::default),
        confirm: None,
        outlives: false,
        confirmations: reload::confirmations::ConfirmationStore::open(StateDirectory::open(directory.path())),
        by_hand: reload::by_hand::ByHand::default(),
        begin: reload::Beginning::Files(None),
        reverted: None,
    };
    let (reloader, reloads) = reload::PolicyReloader::new(setup, handle.clone(), state.clone(), in_force);
    tokio::spawn(reloader.run(stop.clone()));
    let socket = directory.path().join("run/control.sock");
    let access = Access::of(socket.clone(), "", "");
    let listener = bind_tcp("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("bound");
    let (port, ports) = tokio::sync::mpsc::channel(1);
    port.try_send(listener).expect("room");
    let control = Control { epochs: handle, reloads, archive: Archive::of(&StateDirectory::open(directory.path())) };
    let (made, sockets) = tokio::sync::mpsc::channel(1);
    made.try_send(ControlSocket::bind(&access).expect("a socket")).expect("room");
    let host = "enclave-1".into();
    let served = Served { state: state.clone(), control: control.clone(), host, access, sockets, ports };
    tokio::spawn(serve(served, stop.clone()));
    Bench { address, socket, state, control, fake, stop, _directory: directory, _events: events }
}

impl Bench {
    /// A whole exchange by the port: status and body.
    async fn by_port(&self, head: &str) -> (u16, String) {
        exchange(TcpStream::connect(self.address).await.expect("connects"), head).await
    }

    /// The same of a page.
    async fn port(&self, path: &str) -> (u16, String) {
        self.by_port(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
    }

    /// The same by the control socket.
    async fn get(&self, path: &str) -> (u16, String) {
        let stream = UnixStream::connect(&self.socket).await.expect("connects");
        exchange(stream, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
    }

    /// Over the control socket.
    async fn ask<T: serde::de::DeserializeOwned + Send + 'static>(&self, path: &'static str) -> Result<T, CliError> {
        let socket = self.socket.clone();
        let asked = tokio::task::spawn_blocking(move || Client::new(socket).get::<Value>(path)).await;
        let value = asked.expect("no panic")?;
        documented::check(path, &value);
        Ok(serde_json::from_value(value).expect("the document"))
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> (u16, String) {
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("reads");
    let (start, body) = reply.split_once("\r\n\r\n").expect(&reply);
    let status = start.split(' ').nth(1).and_then(|code| code.parse().ok()).expect(start);
    let body = if start.contains("chunked") { unchunked(body) } else { body.to_owned() };
    documented::check_reply(head, status, &body);
    (status, body)
}

/// What comes in pieces (RFC 9112, 7.1), whole.
fn unchunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = text.split_once("\r\n") {
        let (piece, rest) = rest.split_at(usize::from_str_radix(length, 16).expect(length));
        whole += piece;
        text = rest.strip_prefix("\r\n").expect("the end of a piece");
    }
    whole
}

fn plus(sums: &mut Sums, other: &Sums) {
    sums.packets += other.packets;
    sums.segments += other.segments;
    sums.bytes += other.bytes;
    sums.wire_bytes += other.wire_bytes;
}

/// Rows + rest + evicted + overflow + unparsed.
fn accounted(reply: &Flows) -> Sums {
    let mut sums = Sums::default();
    for row in reply.flows.iter().map(|row| &row.sums).chain(reply.groups.iter().map(|row| &row.sums)) {
        plus(&mut sums, row);
    }
    for part in [&reply.rest.sums, &reply.other.sums, &reply.evicted.sums, &reply.overflow, &reply.unparsed] {
        plus(&mut sums, part);
    }
    sums
}
