//! What a listener takes and what it refuses, and who may connect.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::http::server::MAX_CONNECTIONS;
use monitor_api::client::ClientError;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused_with_a_reason() {
    let bench = bench();
    for (path, status, part) in [
        ("/api/v1/flows?colour=red", 400, "colour"),
        ("/api/v1/flows?by=process", 400, "process"),
        ("/api/v1/flows?top=0", 400, "from 1 to"),
        ("/api/v1/flows?top=-1", 400, "top"),
        ("/api/v1/flows?verdict=maybe", 400, "maybe"),
        ("/api/v1/flows?fresh=1", 400, "control socket"),
        ("/api/v1/status?top=1", 400, "top"),
        ("/metrics?x=1", 400, "x"),
        ("/api/v1/alerts?x=1", 400, "x"),
        ("/etc/passwd", 404, "no such page"),
    ] {
        let (got, body) = bench.get(path).await;
        assert_eq!(got, status, "{path}: {body}");
        let value: Value = serde_json::from_str(&body).expect(&body);
        assert!(value["error"].as_str().expect("a reason").contains(part), "{path}: {body}");
    }
    let (status, _) = bench.request("POST /api/v1/flows HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status, 405);
    assert_eq!(bench.fake.script().flips, 0, "nothing on the port closes an epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_free_again_when_closed() {
    let bench = bench();
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(bench.address).await.expect("connects");
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.expect("writes");
        idle.push(stream);
    }
    // Accepted in order, so all of these are being served when the next one comes.
    let mut surplus = TcpStream::connect(bench.address).await.expect("connects");
    let mut nothing = Vec::new();
    // Closed without an answer: end of file or a reset.
    let _ = surplus.read_to_end(&mut nothing).await;
    assert_eq!(nothing, b"");
    // The control socket has its own places.
    bench.ask::<Value>("/api/v1/status").await.expect("an answer");
    drop(idle);
    let asked = async {
        loop {
            let mut stream = TcpStream::connect(bench.address).await.expect("connects");
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let mut reply = String::new();
            let _ = stream.read_to_string(&mut reply).await;
            if reply.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("places are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_hung_up_on_and_a_long_one_refused() {
    let bench = bench();
    let (status, _) = bench.get(&format!("/{}", "a".repeat(20_000))).await;
    assert!(matches!(status, 414 | 431), "{status}");
    let mut slow = TcpStream::connect(bench.address).await.expect("connects");
    slow.write_all(b"GET /healthz HT").await.expect("writes");
    let mut reply = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(9), slow.read_to_end(&mut reply)).await;
    assert!(ended.is_ok(), "still open after 9 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_an_address_off_loopback_are_refused_with_the_hint() {
    let bench = bench();
    let Err(CliError::Unavailable(text)) = bind_tcp(bench.address) else { panic!("not refused") };
    assert!(text.contains(&bench.address.to_string()) && text.contains("[http] listen"), "{text}");
    let Err(CliError::Usage(text)) = bind_tcp("192.0.2.1:9477".parse().expect("an address")) else {
        panic!("not refused")
    };
    assert!(text.contains("192.0.2.1:9477") && text.contains("loopback"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_is_private_and_only_a_dead_one_is_replaced() {
    let bench = bench();
    let mode = std::fs::metadata(&bench.socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let Err(CliError::Unavailable(text)) = ControlSocket::bind(&bench.socket) else { panic!("not refused") };
    assert!(text.contains("another egress-monitor answers"), "{text}");

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    // A dead one: bound, closed, not removed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    let socket = ControlSocket::bind(&path).expect("replaced");
    drop(socket);
    assert!(!path.exists());
    std::fs::write(&path, "precious").expect("written");
    let Err(CliError::Unavailable(text)) = ControlSocket::bind(&path) else { panic!("not refused") };
    assert!(text.contains("not a socket"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_client_names_the_hint() {
    let path = PathBuf::from("/nonexistent/control.sock");
    let result = tokio::task::spawn_blocking(move || Client::new(path).get::<Value>("/api/v1/status")).await;
    let Err(error @ ClientError::NoDaemon { .. }) = result.expect("no panic") else { panic!("an answer from nobody") };
    let text = error.to_string();
    assert!(text.contains("/nonexistent/control.sock") && text.contains("egress-monitor run"), "{text}");
}
