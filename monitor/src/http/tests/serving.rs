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
    let (status, _) =
        bench.request("POST /api/v1/flows HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status, 405);
    assert_eq!(bench.fake.script().flips, 0, "nothing on the port closes an epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_all_connections_keeps_nobody_out() {
    let bench = bench();
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(bench.address).await.expect("connects");
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.expect("writes");
        idle.push(stream);
    }
    for number in 0..3 {
        assert_eq!(bench.get("/healthz").await.0, 200, "{number}");
    }
    // The oldest gave way: end of file or a reset, and no answer.
    let mut nothing = Vec::new();
    let cut = tokio::time::timeout(Duration::from_secs(3), idle[0].read_to_end(&mut nothing)).await;
    assert!(cut.is_ok() && nothing.is_empty(), "{cut:?}, {nothing:?}");
    // The youngest did not.
    let last = idle.last_mut().expect("one");
    last.write_all(b"host: localhost\r\n\r\n").await.expect("writes");
    let mut reply = String::new();
    last.read_to_string(&mut reply).await.expect("an answer");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_gives_so_much_at_once_and_is_asked_by_its_own_name() {
    let bench = bench();
    assert_eq!(bench.get("/api/v1/flows?top=1000").await.0, 200);
    let (status, body) = bench.get("/api/v1/flows?top=1001").await;
    assert!(status == 400 && body.contains("at most 1000 on the port"), "{status} {body}");
    bench.ask::<Value>("/api/v1/flows?top=100000").await.expect("the control socket gives all");
    for (host, expected) in
        [("localhost:9477", 200), ("[::1]", 200), ("attacker.example", 421), ("192.0.2.1:9477", 421)]
    {
        let (status, body) = bench.request(&format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(status, expected, "{host}: {body}");
    }
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
