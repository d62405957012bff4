//! What leaves by a device, from a stage's host to its peer: sent, judged, counted, and heard at the other end.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    daemon::Daemon,
    stage::{PATIENCE, Stage, flows, status},
};
use serde_json::Value;

use super::cards::{FAR, PACKETS, SECOND, auto, device, ends_well, know, send};

/// Where the peer hears that a way is open, before anything is counted.
const PROBE: u16 = 7;

/// Epochs that pass with nothing sent by the test.
const IDLE: u64 = 4;

/// By what packets are sent, and what is to be said of it.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub device: &'a str,
    pub role: &'a str,
    pub why: &'a str,
    /// Where they are counted: interfaces, and packets on all of them together.
    pub counted: &'a [(&'a [&'a str], u64)],
    /// Copies of each that the peer gets.
    pub copies: u64,
    /// More lines of the configuration.
    pub config: &'a str,
}

impl Default for Way<'_> {
    /// Above the second card.
    fn default() -> Self {
        Self {
            device: "",
            role: "transit",
            why: "its packets pass eth1",
            counted: &[(&[SECOND], PACKETS)],
            copies: 1,
            config: "",
        }
    }
}

/// The far address, at the peer.
pub struct Peer {
    packets: UdpSocket,
    probes: UdpSocket,
}

impl Peer {
    pub fn open(stage: &Stage) -> Self {
        stage.far.ip(&["address", "add", &format!("{}/32", FAR.ip()), "dev", "lo"]).unwrap();
        let open = |port| {
            let socket = stage.far.run(|| UdpSocket::bind(SocketAddr::new(FAR.ip(), port))).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self { packets: open(FAR.port()), probes: open(PROBE) }
    }

    /// Sends by a device until something arrives: neighbours have to find each other, and keys to be exchanged.
    pub fn hears(&self, stage: &Stage, device: &str) {
        let deadline = Instant::now() + 2 * PATIENCE;
        while received(&self.probes) == 0 {
            assert!(Instant::now() < deadline, "nothing comes by {device}");
            stage.near.run(|| {
                let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
                socket.bind_device(Some(device.as_bytes())).unwrap();
                let _ = UdpSocket::from(socket).send_to(&[0], SocketAddr::new(FAR.ip(), PROBE));
            });
            // An exchange of keys is tried again after seconds, and the ports of a bond agree once a second.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits for so many packets; gives what has come.
    pub fn gets(&self, packets: u64) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        let mut got = received(&self.packets);
        while got < packets && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            got += received(&self.packets);
        }
        got
    }
}

/// How many datagrams wait.
fn received(socket: &UdpSocket) -> u64 {
    let mut datagrams = 0;
    loop {
        match socket.recv(&mut [0; 64]) {
            Ok(_) => datagrams += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return datagrams,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Brings a device up, and has it send what goes to the far address to this neighbour.
pub fn lead(stage: &Stage, device: &str, mac: &str) {
    stage.near.ip(&["link", "set", device, "arp", "off", "up"]).unwrap();
    route(stage, device, &[]);
    know(&stage.near, device, mac);
}

pub fn route(stage: &Stage, device: &str, more: &[&str]) {
    stage.near.ip(&[&["route", "add", &FAR.ip().to_string(), "dev", device][..], more].concat()).unwrap();
}

/// What was counted to the far address with this verdict, on these interfaces.
fn counted(daemon: &Daemon, verdict: &str, interfaces: &[&str]) -> u64 {
    let rows = flows(daemon).unwrap().flows;
    let rows = rows.iter().filter(|row| row.destination == FAR.ip() && row.verdict == verdict);
    let rows: Vec<_> = rows.inspect(|row| assert_eq!(row.class, "outside", "{row:?}")).collect();
    rows.iter().filter(|row| interfaces.contains(&row.interface.as_str())).map(|row| row.sums.packets).sum()
}

/// Some epochs pass.
fn idle(daemon: &Daemon) {
    let epoch = |status: &Value| status["epoch"]["number"].as_u64();
    let begun = daemon.json_until(&["status"], |status| epoch(status).is_some()).unwrap();
    daemon.json_until(&["status"], |status| epoch(status) >= epoch(&begun).map(|begun| begun + IDLE)).unwrap();
}

/// Everything adds up on every interface that is watched.
fn adds_up(daemon: &Daemon) {
    let status = status(daemon).unwrap();
    for interface in &status.interfaces {
        assert_eq!(interface.residual.packets, 0, "{interface:#?}");
        assert_eq!(interface.nic.as_ref().unwrap().unaccounted.packets, 0, "{interface:#?}");
    }
    assert_eq!(status.not_ready, None);
}

/// Whatever is sent by a way is judged and counted as it says; a daemon that only observes lets it through, and one that
/// enforces lets nothing.
#[track_caller]
pub fn is_judged(stage: &Stage, peer: &Peer, way: Way<'_>) -> Daemon {
    let config = |mode| auto(stage, mode).replace("100ms", "1s") + way.config;
    let daemon = Daemon::start(&stage.near, &config("observe"), &[]).unwrap();
    let row = device(&daemon.json(&["status"]).unwrap(), way.device);
    assert_eq!((row["role"].as_str(), row["why"].as_str().unwrap_or_default()), (Some(way.role), way.why), "{row:#}");
    let is_watched = way.counted.iter().any(|(interfaces, _)| interfaces.contains(&way.device));
    assert_eq!(row["since"].is_string(), is_watched, "{row:#}");
    idle(&daemon);
    for (mode, verdict, copies) in [("observe", "observed", way.copies), ("enforce", "denied", 0)] {
        if mode == "enforce" {
            daemon.reconfigure(&config(mode)).unwrap();
            daemon.json_until(&["status"], |status| status["mode"] == mode).unwrap();
        }
        send(&stage.near, Some(way.device));
        let got = peer.gets(copies * PACKETS);
        for (interfaces, packets) in way.counted {
            assert_eq!(counted(&daemon, verdict, interfaces), *packets, "{mode}, {interfaces:?}");
        }
        let all: u64 = way.counted.iter().map(|(_, packets)| packets).sum();
        let rows = flows(&daemon).unwrap().flows;
        let rows: Vec<_> = rows.iter().filter(|row| row.destination == FAR.ip() && row.verdict == verdict).collect();
        assert_eq!(rows.iter().map(|row| row.sums.packets).sum::<u64>(), all, "{mode}: {rows:#?}");
        idle(&daemon);
        assert_eq!(got + received(&peer.packets), copies * PACKETS, "{mode}");
        adds_up(&daemon);
    }
    daemon
}

/// Like [`is_judged`] for the one way there is.
#[track_caller]
pub fn way_is_judged(stage: &Stage, way: Way<'_>) {
    let peer = Peer::open(stage);
    peer.hears(stage, way.device);
    ends_well(is_judged(stage, &peer, way));
}
