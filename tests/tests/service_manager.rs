//! Promise: a service manager that listens (systemd's `Type=notify-reload`) hears when everything is attached, when a
//! reload begins and when it is over, that epochs are being closed, and that the end has come.

use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    daemon::{Daemon, Home, PATIENCE},
    stage::{INTERFACE, Stage},
};

/// A service manager's end of the socket, with what was heard.
struct Listener {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Listener {
    /// Waits for a message with a line that `wanted` accepts, and gives its place among all.
    fn wait(&mut self, wanted: impl Fn(&str) -> bool) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            self.heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            if self.heard.last().unwrap().lines().any(&wanted) {
                return self.heard.len() - 1;
            }
        }
        panic!("not heard: {:#?}", self.heard);
    }

    /// Whether the message at this place has such a line.
    fn has(&self, at: usize, line: &str) -> bool {
        self.heard[at].lines().any(|one| one == line)
    }
}

fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

fn start(stage: &Stage, more: &[(&str, &str)]) -> (Daemon, Listener) {
    let home = Home::new().unwrap();
    home.configure(&stage.config("epoch = \"100ms\"", "")).unwrap();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut environment = vec![("NOTIFY_SOCKET", path.as_os_str())];
    environment.extend(more.iter().map(|(name, value)| (*name, value.as_ref())));
    let daemon = Daemon::spawn_with(&stage.near, home, &[], &environment).unwrap();
    (daemon, Listener { socket, heard: Vec::new() })
}

#[test]
fn it_hears_of_the_start_of_reloads_and_of_the_end() {
    let stage = Stage::build(false).unwrap();
    let (mut daemon, mut listener) = start(&stage, &[]);
    let ready = listener.wait(|line| line == "READY=1");
    assert_eq!(ready, 0, "nothing before it: {:#?}", listener.heard);
    assert!(listener.has(ready, &format!("STATUS=observing on {INTERFACE}")), "{:#?}", listener.heard);
    // Attached by now, and asked without waiting.
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(status["interfaces"][0]["interface"], INTERFACE, "{status:#}");

    let before = monotonic_us();
    daemon.reconfigure(&stage.config("epoch = \"100ms\"\nmode = \"enforce\"", "")).unwrap();
    let reloading = listener.wait(|line| line == "RELOADING=1");
    let began = listener.heard[reloading].lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let began: u64 = began.expect("systemd wants it").parse().unwrap();
    assert!((before..=monotonic_us()).contains(&began), "{before}, {began}");
    let ready = listener.wait(|line| line == "READY=1");
    // In force by now, and said so.
    assert_eq!(daemon.json(&["status"]).unwrap()["mode"], "enforce");
    assert!(listener.has(ready, &format!("STATUS=enforcing on {INTERFACE}")), "{:#?}", listener.heard);

    daemon.reconfigure(&stage.config("epoch = \"no time\"", "")).unwrap();
    listener.wait(|line| line == "RELOADING=1");
    let ready = listener.wait(|line| line == "READY=1");
    let refused = format!("STATUS=enforcing on {INTERFACE}; the last reload was refused: ");
    if !listener.heard[ready].contains(&refused) {
        listener.wait(|line| line.starts_with(&refused));
    }
    assert!(!listener.heard.iter().any(|message| message.contains("WATCHDOG")), "nobody asked for it");

    daemon.signal(libc::SIGTERM).unwrap();
    listener.wait(|line| line == "STOPPING=1");
    assert_eq!(daemon.wait().unwrap().status.code(), Some(0));
}

#[test]
fn the_watchdog_hears_while_epochs_are_closed() {
    let stage = Stage::build(false).unwrap();
    let (mut daemon, mut listener) = start(&stage, &[("WATCHDOG_USEC", "1000000")]);
    listener.wait(|line| line == "READY=1");
    for _ in 0..4 {
        let heard = Instant::now();
        listener.wait(|line| line == "WATCHDOG=1");
        assert!(heard.elapsed() < Duration::from_secs(1), "too late for a watchdog of a second");
    }
    daemon.signal(libc::SIGTERM).unwrap();
    assert_eq!(daemon.wait().unwrap().status.code(), Some(0));

    // One that is meant for another process is not fed.
    let (mut daemon, mut listener) = start(&stage, &[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")]);
    listener.wait(|line| line == "READY=1");
    std::thread::sleep(Duration::from_millis(1_500));
    daemon.signal(libc::SIGTERM).unwrap();
    listener.wait(|line| line == "STOPPING=1");
    assert!(!listener.heard.iter().any(|message| message.contains("WATCHDOG")), "{:#?}", listener.heard);
    assert_eq!(daemon.wait().unwrap().status.code(), Some(0));
}
