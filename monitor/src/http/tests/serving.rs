//! What a listener takes and what it refuses, and who may connect.

use std::os::unix::fs::PermissionsExt;

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::{Request, service::Service as _};
use hyper_util::service::TowerToHyperService;

use super::*;
use crate::{
    http::{
        connections::{Connections, Pool, Source},
        roles::Role,
        routes::{PAGES, router},
    },
    model::in_force::{LastGood, ModeByHand},
};
use monitor_api::client::ClientError;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused_with_a_reason() {
    let bench = bench();
    for (path, status, part) in [
        ("/api/v1/totals?by=rule&colour=red", 400, "colour"),
        ("/api/v1/totals?by=process", 400, "process"),
        ("/api/v1/totals?by=peer", 400, "by is country, class or rule"),
        ("/api/v1/totals", 400, "by is country, class or rule"),
        ("/api/v1/totals?by=rule&top=0", 400, "from 1 to"),
        ("/api/v1/totals?by=rule&top=-1", 400, "top"),
        ("/api/v1/totals?by=rule&verdict=maybe", 400, "maybe"),
        ("/api/v1/totals?by=rule&fresh=1", 403, "totals?fresh takes the role 'auditor', and yours is 'metrics'"),
        // However it is written.
        ("/api/v1/totals?by=rule&%73ince=60", 403, "totals?since takes the role 'auditor'"),
        ("/api/v1/flows", 403, "/api/v1/flows takes the role 'security', and yours is 'metrics'"),
        ("/api/v1/status?top=1", 400, "top"),
        ("/metrics?x=1", 400, "x"),
        ("/etc/passwd", 404, "not found; there are /metrics"),
    ] {
        let (got, body) = bench.port(path).await;
        assert_eq!(got, status, "{path}: {body}");
        let value: Value = serde_json::from_str(&body).expect(&body);
        assert!(value["error"].as_str().expect("a reason").contains(part), "{path}: {body}");
    }
    let (status, _) =
        bench.by_port("POST /api/v1/totals HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status, 405);
    assert_eq!(bench.fake.script().flips, 0, "nothing on the port closes an epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_all_connections_keeps_nobody_out() {
    let bench = bench();
    let mut idle = Vec::new();
    for _ in 0..Pool::Port.places() {
        let mut stream = TcpStream::connect(bench.address).await.expect("connects");
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.expect("writes");
        idle.push(stream);
    }
    for number in 0..3 {
        assert_eq!(bench.port("/healthz").await.0, 200, "{number}");
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
    assert_eq!(bench.port("/api/v1/totals?by=rule&top=1000").await.0, 200);
    let (status, body) = bench.port("/api/v1/totals?by=rule&top=1001").await;
    assert!(status == 400 && body.contains("at most 1000 on the port"), "{status} {body}");
    bench.ask::<Value>("/api/v1/flows?top=100000").await.expect("the control socket gives all");
    for (host, expected) in
        [("localhost:9477", 200), ("[::1]", 200), ("attacker.example", 421), ("192.0.2.1:9477", 421)]
    {
        let (status, body) = bench.by_port(&format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(status, expected, "{host}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_hung_up_on_and_a_long_one_refused() {
    let bench = bench();
    let (status, _) = bench.port(&format!("/{}", "a".repeat(20_000))).await;
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
    let nobody = |path: &PathBuf| Access::of(path.clone(), "", "");
    let Err(SocketError::Taken(text)) = ControlSocket::bind(&nobody(&bench.socket)) else { panic!("not refused") };
    let already = format!("already running, pid {}: another egress-monitor answers on ", std::process::id());
    assert!(text.contains(&already), "{text}");

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    // A dead one: bound, closed, not removed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    let socket = ControlSocket::bind(&nobody(&path)).expect("replaced");
    drop(socket);
    assert!(!path.exists());
    std::fs::write(&path, "precious").expect("written");
    let Err(SocketError::Refused(text)) = ControlSocket::bind(&nobody(&path)) else { panic!("not refused") };
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

#[tokio::test(flavor = "multi_thread")]
async fn a_control_socket_that_serves_a_group_can_be_connected_to_and_so_can_its_new_directory_be_entered() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run/control.sock");
    // Every Linux has this one.
    let _socket = ControlSocket::bind(&Access::of(path.clone(), "", "root")).expect("bound");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().expect("one"))), (0o666, 0o711));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_all_places_even_those_of_scrapes_keeps_no_scrape_from_being_answered() {
    let bench = bench();
    let mut held = Vec::new();
    for (request, count) in [
        ("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n", 2 * Pool::Scrape.places()),
        ("GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n", Pool::Port.places()),
        ("GET /metrics HT", Pool::Port.places()),
    ] {
        for _ in 0..count {
            let mut stream = TcpStream::connect(bench.address).await.expect("connects");
            stream.write_all(request.as_bytes()).await.expect("writes");
            held.push(stream);
        }
        for page in ["/metrics", "/healthz"] {
            assert_eq!(bench.port(page).await.0, 200, "{page} beside {} others", held.len());
        }
        assert_eq!(bench.port("/readyz").await.0, 503, "the first epoch is not closed yet");
    }
}

/// A page as a role gets it.
async fn asked(bench: &Bench, role: Option<Role>, method: &str, path: &str) -> (u16, String) {
    let access = Arc::new(Access::of("/run/control.sock".into(), "", ""));
    let pages = router(bench.state.clone(), &access, role, Some(bench.control.clone()), "enclave-1");
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    request.extensions_mut().insert(Connections::default().enter(Pool::Control, Source::Unknown, role));
    let reply = TowerToHyperService::new(pages).call(request).await.expect("an answer");
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_gets_its_pages_and_those_of_the_roles_below_and_no_other() {
    let bench = bench();
    let roles = [None].into_iter().chain(Role::ALL.map(Some));
    for (page, least) in [
        ("GET /metrics", Role::Metrics),
        ("GET /healthz", Role::Metrics),
        ("GET /api/v1/status", Role::Metrics),
        ("GET /api/v1/totals?by=country", Role::Metrics),
        ("GET /api/v1/status?fresh=1", Role::Auditor),
        ("GET /api/v1/totals?by=country&since=60", Role::Auditor),
        ("GET /api/v1/rules", Role::Auditor),
        ("GET /api/v1/policy/image", Role::Auditor),
        ("GET /api/v1/flows", Role::Security),
        ("GET /api/v1/flows?by=country", Role::Security),
        ("GET /api/v1/policy/shadow", Role::Security),
        ("GET /api/v1/alerts", Role::Security),
        ("GET /api/v1/sinks", Role::Security),
        ("POST /api/v1/sinks/test?sink=none", Role::Root),
        ("GET /api/v1/mode", Role::Auditor),
        ("POST /api/v1/policy/mode?mode=file", Role::Root),
        ("GET /api/v1/clock", Role::Metrics),
        ("POST /api/v1/clock/reset?reason=x", Role::Root),
        ("POST /api/v1/policy/confirm", Role::Root),
        ("POST /api/v1/policy/reload", Role::Root),
    ] {
        let (method, path) = page.split_once(' ').expect("both");
        for role in roles.clone() {
            let (status, body) = asked(&bench, role, method, path).await;
            let expected = if role >= Some(least) { 200 } else { 403 };
            assert_eq!(status, expected, "{page} as {role:?}: {body}");
            if expected == 403 {
                let own = PAGES.iter().find(|page| path.split('?').next() == Some(page.path)).expect("a page").role;
                let needs = if role >= Some(own) { least } else { own };
                assert!(body.contains(&format!("takes the role '{}'", needs.name())), "{body}");
            }
        }
    }
    let all: Vec<_> = PAGES.iter().filter(|page| page.role == Role::Root).map(|page| page.path).collect();
    let others = ["/api/v1/alerts/ack", "/api/v1/clock/reset", "/api/v1/sinks/test"];
    let named = |path: &&str| path.starts_with("/api/v1/policy/") || others.contains(path);
    assert!(all.iter().all(named), "{all:?}: named above?");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_sums_say_nothing_of_the_files_of_the_policy() {
    let bench = bench();
    bench.state.write().reload_error = Some("rules.txt:7: 192.0.2.1 stands here twice".into());
    let status = |role| {
        let asked = asked(&bench, Some(role), "GET", "/api/v1/status");
        async { serde_json::from_str::<Status>(&asked.await.1).expect("the document").reload_error }
    };
    assert_eq!(status(Role::Metrics).await.as_deref(), Some("refused; why is told to the role 'auditor'"));
    assert!(status(Role::Auditor).await.is_some_and(|why| why.contains("192.0.2.1")));
    // Nor what else is read from files, or was written by people.
    let secret = || "192.0.2.1 is a secret".to_owned();
    {
        let mut state = bench.state.write();
        state.state_error = Some(secret());
        state.in_force.last_good = Some(LastGood { refused: secret(), kept: 0 }.into());
        let (mode, configured) = (Mode::Observe, Mode::Enforce);
        state.in_force.by_hand = Some(ModeByHand { mode, configured, reason: secret(), since: 0, until: None }.into());
    }
    for (role, says) in [(Role::Metrics, 0), (Role::Auditor, 3)] {
        let body = asked(&bench, Some(role), "GET", "/api/v1/status").await.1;
        assert_eq!(body.matches("is a secret").count(), says, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_serve_hold_no_capabilities() {
    let bench = bench();
    assert_eq!(bench.port("/metrics").await.0, 200);
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks").flatten();
    let text = |task: &std::fs::DirEntry, name: &str| std::fs::read_to_string(task.path().join(name));
    let mut serving = 0;
    for task in tasks {
        // Threads of other tests may end meanwhile.
        let (Ok(name), Ok(status)) = (text(&task, "comm"), text(&task, "status")) else { continue };
        if name != "http\n" {
            continue;
        }
        serving += 1;
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000\n")), "{status}");
        }
    }
    assert!(serving >= 2, "one serves, one has rendered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_tested_by_its_name_and_says_how_far_it_is() {
    let bench = bench();
    let (status, body) = asked(&bench, Some(Role::Root), "POST", "/api/v1/sinks/test?sink=nosuch").await;
    assert_eq!(status, 404);
    assert!(body.contains("no sink \\\"nosuch\\\"; there are none"), "{body}");
    let (status, body) = asked(&bench, Some(Role::Root), "POST", "/api/v1/sinks/test?sink=none").await;
    assert_eq!(status, 200, "{body}");
    let row: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((row["name"].as_str(), row["backlog"].as_u64()), (Some("none"), Some(0)), "{row}");
    let (_, body) = asked(&bench, Some(Role::Security), "GET", "/api/v1/alerts").await;
    assert!(body.contains("of none, asked for by root"), "{body}");
}
