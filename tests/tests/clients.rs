//! Promise: whoever asks the daemon gets what is for him and no more, and nobody who is allowed to connect can wear it out
//! or keep others from being answered.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{lives::outside, load::emulated};
use egress_monitor_tests::{
    daemon::{Daemon, Home, PATIENCE, binary},
    stage::Stage,
    user::{NOBODY, as_user, become_user, group},
};

/// Two groups that every Debian has, for the test to be members of.
const AUDITORS: &str = "daemon";
const SECURITY: &str = "sys";

/// A daemon that serves these groups, and the port.
fn start(stage: &Stage, address: SocketAddr) -> Daemon {
    start_in(stage, address, "observe")
}

fn start_in(stage: &Stage, address: SocketAddr, mode: &str) -> Daemon {
    let mut home = Home::new().unwrap();
    home.serve(AUDITORS, SECURITY).unwrap();
    let config = stage
        .config(&format!("epoch = \"100ms\"\nmode = {mode:?}"), "")
        .replace("listen = \"\"", &format!("listen = \"{address}\""));
    home.configure(&config).unwrap();
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    daemon
}

fn port() -> SocketAddr {
    // In a namespace of the test's own every port is free.
    "127.0.0.1:9477".parse().unwrap()
}

/// Whatever comes after this request.
fn exchange(mut stream: impl Read + Write, request: &str) -> std::io::Result<String> {
    write!(stream, "{request} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

fn status(reply: &str) -> u16 {
    reply.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{reply}"))
}

#[test]
fn each_user_reads_what_his_groups_may_and_root_alone_changes() {
    let stage = Stage::build(false).unwrap();
    let daemon = start(&stage, port());
    let socket = daemon.home().socket();
    let [auditors, security] = [AUDITORS, SECURITY].map(|name| group(name).unwrap());
    let pages = [
        "GET /api/v1/status",
        "GET /api/v1/totals?by=country&fresh=1",
        "GET /api/v1/rules",
        "GET /api/v1/flows",
        "GET /api/v1/alerts",
        "POST /api/v1/policy/reload",
        "POST /api/v1/policy/confirm",
    ];
    for (groups, answered) in [
        (&[][..], 0),
        // The number of a group that is neither.
        (&[NOBODY - 1], 0),
        (&[NOBODY - 1, auditors], 3),
        (&[security], 5),
        (&[auditors, security], 5),
    ] {
        for (number, page) in pages.iter().enumerate() {
            let reply = as_somebody(NOBODY, groups, || exchange(UnixStream::connect(&socket).unwrap(), page).unwrap());
            let expected = if number < answered { 200 } else { 403 };
            assert_eq!(status(&reply), expected, "{page} as one of {groups:?}: {reply}");
        }
    }
    for page in pages {
        let reply = exchange(UnixStream::connect(&socket).unwrap(), page).unwrap();
        assert_eq!(status(&reply), 200, "{page} as root: {reply}");
    }
    // By the port everybody has the least role, root too.
    let by_port = |page: &str| stage.near.run(|| exchange(TcpStream::connect(port()).unwrap(), page).unwrap());
    for (page, expected) in
        [("GET /metrics", 200), ("GET /api/v1/totals?by=country", 200), ("GET /api/v1/rules", 403), (pages[3], 403)]
    {
        assert_eq!(status(&by_port(page)), expected, "{page}");
    }
}

/// Does it as another user, on a thread that ends with it.
fn as_somebody<T: Send>(user: u32, groups: &[u32], work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            become_user(user, groups).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// A command as another user runs it, from a copy that he can read.
fn command(program: &Path, daemon: &Daemon, groups: &[u32], arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    as_user(&mut command, NOBODY, groups);
    command.args(arguments).arg("--config").arg(daemon.home().config()).output().unwrap()
}

#[test]
fn commands_work_for_members_and_say_to_others_what_they_lack() {
    let stage = Stage::build(false).unwrap();
    let daemon = start(&stage, port());
    let program = daemon.home().path().join("egress-monitor");
    std::fs::copy(binary().unwrap(), &program).unwrap();
    let [auditors, security] = [AUDITORS, SECURITY].map(|name| group(name).unwrap());
    let config = daemon.home().config();
    let config = config.to_str().unwrap();
    for (groups, arguments, lacks) in [
        (&[][..], &["status"][..], Some("/api/v1/status takes the role 'metrics', and you have none")),
        (&[], &["flows"], Some("a member of group sys")),
        (&[auditors], &["status"], None),
        (&[auditors], &["rules"], None),
        (&[auditors], &["flows", "--by", "country"], None),
        (&[auditors], &["flows"], Some("/api/v1/flows takes the role 'security', and yours is 'auditor'")),
        (&[security], &["flows"], None),
        (&[security], &["flows", "--shadow"], None),
        (&[security], &["reload"], Some("/api/v1/policy/reload takes the role 'root', and yours is 'security'")),
    ] {
        let output = command(&program, &daemon, groups, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        match lacks {
            None => assert!(output.status.success(), "{arguments:?} as one of {groups:?}: {said}"),
            Some(part) => {
                assert_eq!((output.status.code(), said.lines().count()), (Some(69), 1), "{arguments:?}: {said}");
                assert!(said.contains(part), "{arguments:?} as one of {groups:?}: {said}");
            }
        }
    }
    // Networks are for auditors, what left is not.
    let stage_files = stage.folder();
    std::fs::set_permissions(stage_files, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = command(&program, &daemon, &[auditors], &["diff", "--running", config]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("traffic is not compared"), "{said}");
}

/// Who wears the daemon out, one thread each: connects, sends, and does not read, again and again.
fn wear_out(stop: &AtomicBool, tried: &AtomicU64, connect: impl Fn() -> std::io::Result<Box<dyn Stream>>) {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(1 << 20));
    let headers = format!("GET /metrics HTTP/1.1\r\n{}", "x: y\r\n".repeat(100_000));
    let requests = [
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /api/v1/totals?by=country&top=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /api/v1/flows?top=100000 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /readyz HTTP/1.1\r\n",
        "POST /api/v1/policy/reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n",
        "\0\u{7f}",
        "",
        &long,
        &headers,
    ];
    let mut held = std::collections::VecDeque::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut stream) = connect() {
            // Whatever becomes of it.
            let _ = stream.write_all(requests[number % requests.len()].as_bytes());
            held.push_back(stream);
            tried.fetch_add(1, Ordering::Relaxed);
        }
        if held.len() > 200 {
            held.pop_front();
        }
        thread::sleep(emulated());
    }
}

trait Stream: Write + Send {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// The most memory that a process has had, in KiB.
fn peak(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn whatever_somebody_without_privileges_does_every_scrape_is_answered_and_memory_is_bounded() {
    let stage = Stage::build(false).unwrap();
    let daemon = start_in(&stage, port(), "enforce");
    let socket = daemon.home().socket();
    let before = peak(daemon.id());
    let (stop, tried) = (AtomicBool::new(false), AtomicU64::new(0));
    let answered = thread::scope(|scope| {
        // Fewer where processors are emulated: they are to be short of answers, not of time.
        let threads =
            std::env::var("HOSTILE_THREADS").map_or(3, |threads| threads.parse().expect("a number of threads"));
        for number in 0..threads {
            let (stop, tried, stage, socket) = (&stop, &tried, &stage, &socket);
            scope.spawn(move || {
                stage.near.run(|| {
                    become_user(NOBODY, &[]).unwrap();
                    wear_out(stop, tried, || {
                        if number == 2 {
                            let stream = UnixStream::connect(socket)?;
                            stream.set_nonblocking(true)?;
                            return Ok(Box::new(stream));
                        }
                        let stream = TcpStream::connect_timeout(&port(), Duration::from_millis(100))?;
                        stream.set_nonblocking(true)?;
                        Ok(Box::new(stream))
                    });
                });
            });
        }
        let answered = scope.spawn(|| {
            let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scrape(&stage, &daemon)));
            stop.store(true, Ordering::Relaxed);
            asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        answered.join().unwrap()
    });
    let (tried, after) = (tried.into_inner(), peak(daemon.id()));
    println!(
        "proven: somebody without privileges: {tried} connections, {answered} scrapes beside them, each answered; at most \
         {before} KiB before, {after} KiB after"
    );
    assert!(answered >= 3 && tried >= 1_000, "{answered} scrapes beside {tried} connections");
    // 64 MiB of answers, and what 16 KiB of a head for each place come to.
    assert!(after < before + 66 * 1024, "{before} KiB before, {after} KiB after");
}

/// Scrapes as another user, each answered, for some seconds; what root asks on the control socket is, too.
fn scrape(stage: &Stage, daemon: &Daemon) -> u64 {
    let (began, mut answered) = (Instant::now(), 0);
    // Longer in `cargo xtask prove never-open`.
    let seconds = std::env::var("HOSTILE_SECONDS").map_or(30, |seconds| seconds.parse().expect("a number of seconds"));
    while began.elapsed() < Duration::from_secs(seconds) {
        for page in ["GET /metrics", "GET /readyz", "GET /healthz"] {
            let asked = Instant::now();
            let reply = stage.near.run(|| {
                become_user(NOBODY - 1, &[]).unwrap();
                let stream = TcpStream::connect(port()).unwrap();
                // By whatever else the machine does.
                stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
                exchange(stream, page)
            });
            let reply = reply.unwrap_or_else(|error| panic!("{page} after {answered}: {error}"));
            assert_eq!(status(&reply), 200, "{page} after {answered}: {reply}");
            answered += 1;
            println!("{page}: {:?}", asked.elapsed());
        }
        let asked = Instant::now();
        let status = daemon.json(&["status"]).unwrap();
        println!("status: {:?}", asked.elapsed());
        assert_eq!(status["mode"], "enforce");
        assert!(!stage.leaves(outside(), 5).unwrap(), "after {answered}");
    }
    answered
}
