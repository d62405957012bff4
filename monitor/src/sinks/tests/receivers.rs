//! Sinks with a receipt, against a receiver that answers as it is told: refuses, hangs up, is slow to come, or is somebody
//! else.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::mpsc,
};

use serde_json::Value;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use super::*;
use crate::{
    model::receiver::{Http, Identity, Peers, Place, SinkKind, SinkSpec, SyslogAddress, Url},
    sinks,
};

/// A request: its head in lines, and its body.
struct Asked {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ String| line.to_lowercase().starts_with(&format!("{name}: "));
        self.head.iter().find(|line| of(line)).map(|line| line[name.len() + 2..].trim())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// What is done with a request.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(u16),
    /// Closes without a word.
    HangsUp,
    /// Refuses more lines than so many.
    TakesLines(usize),
    /// Says nothing, and holds on.
    Hangs,
    /// Says nothing, and that it will not.
    HalfCloses,
    /// Says yes, a byte at a time.
    IsSlow,
    /// Says what is no answer.
    Babbles,
}

/// A receiver that does as it is told, and then takes everything. What it is asked comes out.
fn receiver(script: Vec<Does>, tls: bool) -> (u16, mpsc::Receiver<Asked>) {
    receiver_at(TcpListener::bind("127.0.0.1:0").expect("a port"), script, tls)
}

/// The same where it is bound to.
fn receiver_at(listener: TcpListener, script: Vec<Does>, tls: bool) -> (u16, mpsc::Receiver<Asked>) {
    let port = listener.local_addr().expect("a port").port();
    let (asked, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut script = script.into_iter();
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            let socket = stream.try_clone().expect("the same");
            if tls {
                let stream = StreamOwned::new(ServerConnection::new(server()).expect("TLS"), stream);
                serve(stream, &socket, &mut script, &asked);
            } else {
                serve(stream, &socket, &mut script, &asked);
            }
        }
    });
    (port, heard)
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/sinks/tests/tls")
}

fn server() -> Arc<ServerConfig> {
    server_that(false)
}

/// Of a receiver that asks for a certificate, or does not.
fn server_that(asks: bool) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(folder().join("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(folder().join("server.key")).expect("a key");
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = if asks {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(folder().join("client-ca.pem")).expect("a certificate"))
            .expect("a root");
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        config.with_client_cert_verifier(verifier.build().expect("a verifier"))
    } else {
        config.with_no_client_auth()
    };
    config.with_single_cert(chain, key).expect("a server").into()
}

fn serve<T: Read + Write>(
    stream: T,
    socket: &TcpStream,
    script: &mut impl Iterator<Item = Does>,
    asked: &mpsc::Sender<Asked>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line) {
                Ok(1..) if line == "\r\n" => break,
                Ok(1..) => head.push(line),
                // Closed, or not ours to talk to.
                _ => return,
            }
        }
        let mut request = Asked { head, body: Vec::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body).expect("the body");
        let lines = request.body.iter().filter(|byte| **byte == b'\n').count();
        let does = script.next().unwrap_or(Does::Answers(204));
        let status = match does {
            Does::Answers(status) => status,
            Does::TakesLines(most) if lines > most => 413,
            Does::TakesLines(_) | Does::IsSlow => 204,
            Does::HangsUp | Does::Hangs | Does::HalfCloses | Does::Babbles => {
                let _ = asked.send(request);
                match does {
                    Does::HalfCloses => socket.shutdown(Shutdown::Write).expect("it is open"),
                    Does::Babbles => stream.get_mut().write_all(b"SSH-2.0-OpenSSH_9.2\r\n").expect("it listens"),
                    _ => {}
                }
                if !matches!(does, Does::HangsUp) {
                    // Until whoever asked has gone.
                    let _ = stream.read_to_end(&mut Vec::new());
                }
                return;
            }
        };
        let _ = asked.send(request);
        let body = if status == 204 { "" } else { "no, \u{1b}[2J thanks" };
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nretry-after: 1\r\n\r\n{body}", body.len());
        for part in answer.as_bytes().chunks(if matches!(does, Does::IsSlow) { 1 } else { answer.len() }) {
            if matches!(does, Does::IsSlow) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if stream.get_mut().write_all(part).is_err() {
                return;
            }
        }
    }
}

fn http(port: u16) -> Http {
    Http { url: Url::parse(&format!("http://127.0.0.1:{port}/in?x=1")).expect("a URL"), token: None, ca: None }
}

fn webhook(at: Http, ndjson: bool, secret: Option<Place>) -> Box<dyn Sink> {
    sinks::of(SinkSpec { name: "siem".into(), to: SinkKind::Webhook { at, ndjson, secret } })
}

fn syslog(to: SyslogAddress, peers: Peers) -> Box<dyn Sink> {
    sinks::of(SinkSpec { name: "loghost".into(), to: SinkKind::Syslog { to, peers } })
}

/// A file of a secret.
fn secret(folder: &Path, text: &str) -> Place {
    let file = folder.join("secret");
    std::fs::write(&file, text).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    Place::File(file)
}

/// Sends findings with these texts on a sink, and waits until so many are done with.
async fn send(sink: Box<dyn Sink>, texts: &[&str], store: Store) -> Arc<Delivery> {
    let (outbox, ended) = start(store, vec![sink]);
    texts.iter().for_each(|text| outbox.send(&finding(text)));
    let delivery = Arc::clone(outbox.delivery());
    let done = texts.len() as u64 + 1;
    wait_for("it is done with them", || delivery.sinks()[0].next.load(Relaxed) == done);
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all done");
    delivery
}

#[tokio::test]
async fn a_webhook_gets_each_alert_signed_and_once_more_where_it_did_not_say_yes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, heard) = receiver(vec![Does::Answers(500), Does::HangsUp, Does::Answers(429)], false);
    let token = secret(folder.path(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let delivery = send(webhook(http(port), false, Some(token)), &["one", "two"], Store::Memory).await;
    let asked: Vec<Asked> = heard.try_iter().collect();
    let texts: Vec<Value> = asked.iter().map(|request| request.json()["unmapped"]["text"].clone()).collect();
    // A connection that was closed while it was asked is asked again at once.
    assert_eq!(texts, ["one", "one", "one", "one", "two"]);
    let ids: Vec<_> = asked.iter().map(|request| request.header("webhook-id").expect("an id")).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    assert!(asked.iter().all(|request| request.header("webhook-signature").is_some_and(|by| by.starts_with("v1,"))));
    assert!(asked[0].head[0].starts_with("POST /in?x=1 HTTP/1.1"), "{}", asked[0].head[0]);
    assert_eq!(asked[0].body, lines(&["one"]).trim_ascii_end());
    let sink = &delivery.sinks()[0];
    let counted = (sink.delivered.load(Relaxed), sink.retried.load(Relaxed), sink.rejected.load(Relaxed));
    assert_eq!((counted, sink.answer().as_str()), ((2, 2, 0), "204"));
}

/// One of each way to fail, in between and one after the other.
#[tokio::test]
#[ignore = "cargo xtask prove receivers"]
async fn however_a_receiver_fails_it_gets_everything_and_twice_only_what_it_did_not_answer_to() {
    const ALERTS: u64 = 1_000;
    let fails = [
        Does::Answers(500),
        Does::Hangs,
        Does::HalfCloses,
        Does::HangsUp,
        Does::Babbles,
        Does::Answers(401),
        Does::Answers(403),
        Does::Answers(404),
        Does::Answers(429),
        Does::Answers(503),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateDirectory::open(&folder.path().join("state"));
    // Nobody is there at first.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    drop(listener);
    let (outbox, ended) = start(Store::open(&state, 16 << 20), vec![webhook(http(port), false, None)]);
    let delivery = Arc::clone(outbox.delivery());
    let sink = &delivery.sinks()[0];
    outbox.send(&finding("1"));
    wait_for("it is refused", || sink.answer().contains("refused"));
    let between = |does| [vec![Does::Answers(204); 50], vec![Does::IsSlow, does]].concat();
    let script: Vec<Does> = fails.into_iter().flat_map(between).chain(fails.into_iter().take(4)).collect();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the same port");
    let (_, heard) = receiver_at(listener, script, false);
    for alert in 2..=ALERTS {
        while delivery.queued.load(Relaxed) > 500 {
            std::thread::yield_now();
        }
        outbox.send(&finding(&alert.to_string()));
    }
    let deadline = Instant::now() + Duration::from_mins(20);
    while sink.next.load(Relaxed) <= ALERTS {
        assert!(Instant::now() < deadline, "{}: {}", sink.next.load(Relaxed), sink.answer());
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all taken");
    let asked: Vec<u64> =
        heard.try_iter().map(|of| of.json()["metadata"]["sequence"].as_u64().expect("a sequence")).collect();
    let failed = fails.len() as u64 + 4;
    assert_eq!(asked.len() as u64, ALERTS + failed);
    let mut once = asked.clone();
    once.dedup();
    assert_eq!(once, (1..=ALERTS).collect::<Vec<_>>());
    assert_eq!((sink.delivered.load(Relaxed), sink.rejected.load(Relaxed)), (ALERTS, 0));
    println!("proven: alerts to an HTTP receiver that fails in each way, all taken: {ALERTS} of {ALERTS}");
    println!("proven: of these asked twice, since it did not say yes: {failed}");
}

#[tokio::test]
async fn what_is_refused_for_good_is_put_aside_and_those_behind_it_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateDirectory::open(&folder.path().join("state"));
    let (port, heard) = receiver(vec![Does::Answers(204), Does::Answers(400)], false);
    let store = Store::open(&state, 16 << 20);
    let delivery = send(webhook(http(port), false, None), &["one", "two", "three"], store).await;
    assert_eq!(heard.try_iter().count(), 3);
    let sink = &delivery.sinks()[0];
    assert_eq!((sink.delivered.load(Relaxed), sink.rejected.load(Relaxed)), (2, 1));
    // What the receiver says is shown without what a terminal obeys.
    assert_eq!(sink.refusal().0, "alert 2: 400: no, \u{fffd}[2J thanks");
    let aside = std::fs::read(state.path().join("alerts/rejected/siem.jsonl")).expect("there");
    assert_eq!(aside, encode(&finding("two"), 2));
}

#[tokio::test]
async fn ndjson_has_many_lines_a_request_and_fewer_where_they_are_too_many() {
    let (port, heard) = receiver(vec![Does::TakesLines(2); 20], false);
    let texts = ["one", "two", "three", "four", "five", "six", "seven"];
    send(webhook(http(port), true, None), &texts, Store::Memory).await;
    let asked: Vec<Asked> = heard.try_iter().collect();
    let count = |request: &&Asked| request.body.iter().filter(|byte| **byte == b'\n').count();
    let taken: Vec<u8> =
        asked.iter().filter(|request| count(request) <= 2).flat_map(|request| request.body.clone()).collect();
    assert_eq!(taken, lines(&texts));
    assert!(asked.iter().all(|request| request.header("content-type") == Some("application/x-ndjson")));
    assert!(asked.iter().any(|request| count(&request) == 2));
}

#[tokio::test]
async fn over_tls_only_whom_the_roots_vouch_for_gets_anything() {
    let (port, heard) = receiver(Vec::new(), true);
    let at = |host: &str, ca: Option<&str>| Http {
        url: Url::parse(&format!("https://{host}:{port}/")).expect("a URL"),
        token: None,
        ca: ca.map(|name| folder().join(name)),
    };
    for (host, ca, why) in [
        // Another name than the certificate's; certificates of others; no certificate.
        ("127.0.0.1", Some("ca.pem"), "certificate not valid for name"),
        ("localhost", Some("server.pem"), "invalid peer certificate"),
        ("localhost", Some("server.key"), "no certificate in it"),
    ] {
        let mut sink = webhook(at(host, ca), false, None);
        // A sink has a thread of its own.
        let delivered = std::thread::spawn(move || {
            let line = encode(&finding("one"), 1);
            let stamp = crate::storage::segments::line::Stamp { sequence: 1, time: 1 };
            sink.deliver(&[(stamp, line.as_slice())])
        });
        let failure = delivered.join().expect("no panic").expect_err("somebody else");
        assert!(failure.why.contains(why) && !failure.for_good, "{failure:?}");
    }
    assert_eq!(heard.try_iter().count(), 0);
    send(webhook(at("localhost", Some("ca.pem")), false, None), &["one"], Store::Memory).await;
    assert_eq!(heard.try_iter().map(|request| request.body).collect::<Vec<_>>(), [lines(&["one"]).trim_ascii_end()]);
}

#[tokio::test]
async fn a_secret_that_cant_be_read_holds_alerts_back_until_it_can_and_is_never_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, heard) = receiver(Vec::new(), false);
    let at = Http { token: Some(Place::File(folder.path().join("secret"))), ..http(port) };
    let (outbox, ended) = start(Store::Memory, vec![webhook(at, false, None)]);
    outbox.send(&finding("one"));
    let delivery = Arc::clone(outbox.delivery());
    wait_for("it fails", || delivery.sinks()[0].answer().contains("it is not there"));
    assert_eq!(heard.try_iter().count(), 0);
    secret(folder.path(), "s3cret");
    wait_for("it is taken", || delivery.sinks()[0].delivered.load(Relaxed) == 1);
    assert_eq!(heard.try_iter().next().expect("asked").header("authorization"), Some("Bearer s3cret"));
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all taken");
}

#[tokio::test]
async fn alertmanager_gets_labels_times_and_a_summary() {
    let (port, heard) = receiver(Vec::new(), false);
    let spec = SinkSpec { name: "am".into(), to: SinkKind::Alertmanager(http(port)) };
    send(sinks::of(spec), &["one"], Store::Memory).await;
    let alerts = heard.try_iter().next().expect("asked").json();
    assert_eq!(alerts[0]["labels"], serde_json::json!({ "alertname": "egress" }));
    assert_eq!(alerts[0]["startsAt"], "1970-01-01T00:00:00.001Z");
}

#[tokio::test]
async fn syslog_over_tcp_is_octet_counted_and_a_receiver_that_comes_back_gets_what_follows() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = SyslogAddress::Tcp(listener.local_addr().expect("a port").to_string());
    let (outbox, ended) = start(Store::Memory, vec![syslog(to, Peers::default())]);
    for text in ["one", "two"] {
        outbox.send(&finding(text));
        let (stream, _) = listener.accept().expect("a connection");
        let message = frame(&mut BufReader::new(stream));
        assert!(message.starts_with("<134>1 1970-01-01T00:00:00.001Z - egress-monitor-alerts - egress "), "{message}");
        assert!(message.contains(&format!("\"text\":\"{text}\"")), "{message}");
        // Closed here: the next goes by another connection.
    }
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all handed over");
}

/// Who shows what the receiver asks for.
fn enclave(folder: &Path) -> Peers {
    let key = std::fs::read_to_string(self::folder().join("client.key")).expect("a key");
    let identity = Identity { certificate: self::folder().join("client.pem"), key: secret(folder, &key) };
    Peers { ca: Some(self::folder().join("ca.pem")), identity: Some(identity) }
}

#[tokio::test]
async fn syslog_over_tls_shows_its_certificate_and_a_receiver_that_comes_back_gets_what_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let sink = syslog(SyslogAddress::Tls(format!("localhost:{port}")), enclave(folder.path()));
    let (outbox, ended) = start(Store::Memory, vec![sink]);
    for text in ["one", "two"] {
        outbox.send(&finding(text));
        let (stream, _) = listener.accept().expect("a connection");
        let connection = ServerConnection::new(server_that(true)).expect("TLS");
        let mut stream = BufReader::new(StreamOwned::new(connection, stream));
        let message = frame(&mut stream);
        assert!(message.starts_with("<134>1 1970-01-01T00:00:00.001Z - egress-monitor-alerts - egress "), "{message}");
        assert!(message.contains(&format!("\"text\":\"{text}\"")), "{message}");
        assert_eq!(stream.get_ref().conn.peer_certificates().map(<[_]>::len), Some(1));
        // Closed here: the next goes by another connection.
    }
    drop(outbox);
    ended.wait(PATIENCE).await.expect("all handed over");
}

#[test]
fn a_receiver_that_refuses_us_after_the_handshake_was_handed_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let refusing = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut stream = StreamOwned::new(ServerConnection::new(server_that(true)).expect("TLS"), stream);
        let mut heard = Vec::new();
        let refused = stream.read_to_end(&mut heard).expect_err("no certificate").to_string();
        (heard, refused)
    });
    let ca = Some(folder().join("ca.pem"));
    let mut sink = syslog(SyslogAddress::Tls(format!("localhost:{port}")), Peers { ca, identity: None });
    let line = encode(&finding("one"), 1);
    let stamp = crate::storage::segments::line::Stamp { sequence: 1, time: 1 };
    let failure = sink.deliver(&[(stamp, line.as_slice())]).expect_err("refused");
    assert!(failure.taken == 0 && !failure.for_good && failure.why.contains("CertificateRequired"), "{failure:?}");
    let (heard, refused) = refusing.join().expect("no panic");
    assert_eq!(heard, b"");
    assert!(refused.contains("certificate"), "{refused}");
}

#[test]
fn syslog_over_tls_goes_to_whom_the_roots_vouch_for_and_says_nothing_of_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(server_that(true)).expect("TLS");
            // It ends when whoever came has gone.
            let _ = StreamOwned::new(connection, stream.expect("a connection")).read(&mut [0]);
        }
    });
    let good = enclave(folder.path());
    let key = |name: &str, text: &str| {
        let other = folder.path().join(name);
        std::fs::create_dir(&other).expect("made");
        let identity = Identity { certificate: self::folder().join("client.pem"), key: secret(&other, text) };
        Peers { identity: Some(identity), ..good.clone() }
    };
    let others = std::fs::read_to_string(self::folder().join("server.key")).expect("a key");
    for (host, peers, why) in [
        ("127.0.0.1", good.clone(), "certificate not valid for name"),
        ("localhost", Peers { ca: Some(self::folder().join("client-ca.pem")), ..good.clone() }, "invalid peer"),
        ("localhost", key("none", "-----BEGIN s3cret"), "the key is none that is known"),
        ("localhost", key("others", &others), "client.pem: "),
    ] {
        let mut sink = syslog(SyslogAddress::Tls(format!("{host}:{port}")), peers);
        let line = encode(&finding("one"), 1);
        let stamp = crate::storage::segments::line::Stamp { sequence: 1, time: 1 };
        let failure = sink.deliver(&[(stamp, line.as_slice())]).expect_err("somebody else");
        assert!(failure.why.contains(why) && !failure.why.contains("s3cret"), "{failure:?}");
    }
}

/// A message with its length before it.
fn frame(stream: &mut impl BufRead) -> String {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).expect("a length");
    let length: usize = std::str::from_utf8(&length).expect("digits").trim().parse().expect("a length");
    let mut message = vec![0; length];
    stream.read_exact(&mut message).expect("the message");
    String::from_utf8(message).expect("text")
}
