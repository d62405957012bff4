//! Promise: what leaves beside the hook is found whole, whatever covers it: packets that passed the hook and die behind
//! it, or pass it twice. Where nobody counts these it is found but for as many, and how many that are at most is said.
//! And nobody is accused, whatever the devices count.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    background::Background,
    bypass::{DropsEverything, packet_bypass},
    corpus::build::{eth, ip, payload, tcp, udp},
    daemon::Daemon,
    offload,
    stage::{INSIDE, INTERFACE, OUTSIDE, PATIENCE, Stage, v4},
    traffic::{TcpSink, send_frames, send_supers, send_tcp, send_udp, send_udp_supers},
    tun::{self, tun0},
};
use serde_json::{Value, json};

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It takes every super-packet whole.
    Veth,
    /// It takes those of UDP whole; those of TCP the kernel cuts up.
    Partial,
    /// It takes none, and counts a packet when somebody reads it.
    Tun,
}

/// A watched device, and the other end of it.
struct Road {
    kind: Kind,
    stage: Stage,
    device: Option<File>,
    daemon: Daemon,
}

impl Road {
    fn new(kind: Kind, hook: &str) -> Self {
        let stage = Stage::build(true).unwrap();
        // The far end of a veth that puts packets together counts what the near end sent, and does so later.
        offload::set(&stage.far, INTERFACE, false).unwrap();
        let device = (kind == Kind::Tun).then(|| stage.near.run(tun0).unwrap());
        if device.is_some() {
            for arguments in
                [&["link", "set", tun::NAME, "up"][..], &["address", "add", "198.18.49.1/24", "dev", tun::NAME]]
            {
                stage.near.ip(arguments).unwrap();
            }
        }
        if kind == Kind::Partial {
            offload::tcp_segmentation(&stage.near, INTERFACE, false).unwrap();
        }
        // Longer than the test: epochs end when asked for.
        let config = stage.config("epoch = \"5min\"", "");
        let config = config.replace(&format!("[\"{INTERFACE}\"]"), &format!("[\"{}\"]", name(kind)));
        let daemon = Daemon::start(&stage.near, &config, &["--hook", hook]).unwrap();
        Self { kind, stage, device, daemon }
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        let [from, to] = match self.kind {
            Kind::Tun => ["198.18.49.1".parse().unwrap(), "198.18.49.2".parse().unwrap()],
            _ => [self.stage.source(v4(OUTSIDE).into()), v4(OUTSIDE).into()],
        };
        [SocketAddr::new(from, 0), SocketAddr::new(to, 9)]
    }

    /// A frame as this device has it.
    fn frame(&self, frame: &[u8]) -> Vec<u8> {
        let link = if self.kind == Kind::Tun { 14 } else { 0 };
        frame[link..].to_vec()
    }

    /// Packets that pass the hook.
    fn send(&self, count: usize) {
        let [from, to] = self.addresses();
        self.stage.near.run(|| send_udp(from, to, &vec![200; count])).unwrap();
    }

    /// Packets that don't.
    fn bypass(&self, count: u64) {
        let frame = self.frame(&(eth() / ip(v4(OUTSIDE).into()) / udp(9) / payload(200)).bytes());
        let frames = vec![frame.as_slice(); count as usize];
        self.stage.near.run(|| packet_bypass(name(self.kind), frames)).unwrap();
    }

    /// Super-packets of three segments that pass the hook and which the kernel can't cut up: their TCP header is too short.
    fn doomed(&self, count: usize) {
        let mut frame = (eth() / ip(v4(OUTSIDE).into()) / tcp(9) / payload(4_000)).bytes();
        frame[14 + 20 + 12] &= 0x0f;
        let (frame, link) = (self.frame(&frame), if self.kind == Kind::Tun { 0 } else { 14 });
        self.stage.near.run(|| send_supers(name(self.kind), &frame, link, (link + 40, 1_400), count)).unwrap();
    }

    /// Has it known that the device counts super-packets as one, where it does.
    fn learn(&mut self) {
        let [from, to] = self.addresses();
        if self.kind != Kind::Tun {
            self.stage.near.run(|| send_udp_supers(from, to, 1_000, 20, 10)).unwrap();
            let nic = self.nic_after(10);
            assert_eq!(nic["counts"], "skbs", "{:?}: {nic:#}", self.kind);
        }
    }

    /// The interface, after an epoch that this question closes, when everything that left has arrived.
    fn interface(&mut self) -> Value {
        if let Some(device) = &mut self.device {
            let mut packet = [0; 2048];
            loop {
                match device.read(&mut packet) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("reading {}: {error}", tun::NAME),
                }
            }
        }
        self.daemon.json(&["status"]).unwrap()["interfaces"][0].clone()
    }

    fn nic(&mut self) -> Value {
        self.interface()["nic"].clone()
    }

    /// The same, when so many have left.
    fn nic_after(&mut self, sent: u64) -> Value {
        self.nic_until(|nic| &nic["sent"]["packets"], sent)
    }

    /// The same, when so many were found.
    fn nic_found(&mut self, packets: u64) -> Value {
        self.nic_until(|nic| &nic["unaccounted"]["packets"], packets)
    }

    fn nic_until(&mut self, what: fn(&Value) -> &Value, expected: u64) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let nic = self.nic();
            if *what(&nic) == expected {
                return nic;
            }
            let more = number(what(&nic)) > expected;
            assert!(!more && Instant::now() < deadline, "{:?}: not {expected}, but {nic:#}", self.kind);
        }
    }

    /// Ends it; gives the findings of this kind.
    fn findings(self, kind: &str) -> Vec<String> {
        let ended = self.daemon.stop().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
        ended.alerts.into_iter().filter(|line| line.contains(kind)).collect()
    }
}

const fn name(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Tun) { tun::NAME } else { INTERFACE }
}

/// For the proof: how many may be hidden at most under this cover.
fn proven(kind: Kind, cover: &str, hook: &str, nic: &Value) {
    println!("proven: {kind:?} by {hook}, {cover}: hidden at most {}", nic["hidden_at_most"]);
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn packets_that_die_behind_the_hook_hide_no_more_than_is_said() {
    for kind in [Kind::Veth, Kind::Partial, Kind::Tun] {
        let mut road = Road::new(kind, "tcx");
        road.learn();
        let before = road.interface()["total"].clone();
        road.doomed(40);
        let after = road.interface();
        let further = |total: &Value| number(&total["segments"]) - number(&total["packets"]);
        let (nic, cut_up) = (&after["nic"], further(&after["total"]) - further(&before));
        assert_eq!(number(&after["total"]["packets"]) - number(&before["packets"]), 40);
        assert_eq!(
            (&nic["device_drops"], &nic["unaccounted"]["packets"]),
            (&json!(40), &json!(0)),
            "{kind:?}: {nic:#}"
        );
        let hidden = number(&nic["hidden_at_most"]);
        proven(kind, &format!("40 packets of {} segments that die behind the hook", 40 + cut_up), "tcx", nic);
        // What the device would have taken whole died as one, and one was counted; what was to be cut up may be more.
        assert_eq!(hidden, if kind == Kind::Veth { 0 } else { cut_up }, "{kind:?}: {nic:#}");
        road.bypass(hidden + 37);
        road.nic_found(37);
        if kind == Kind::Veth {
            // At once.
            road.doomed(40);
            road.bypass(30);
            road.nic_found(37 + 30);
        }
        assert!(!road.findings("unaccounted_egress").is_empty());
    }
}

#[test]
fn super_packets_that_come_to_a_device_of_few_offloads_whole_or_cut_up_hide_nothing() {
    let mut road = Road::new(Kind::Partial, "tcx");
    road.learn();
    let [from, to] = road.addresses();
    for round in 1..=2 {
        road.stage.near.run(|| send_udp_supers(from, to, 1_000, 20, 10)).unwrap();
        let frame = (eth() / ip(v4(OUTSIDE).into()) / tcp(9) / payload(4_000)).bytes();
        road.stage.near.run(|| send_supers(INTERFACE, &frame, 14, (54, 1_400), 10)).unwrap();
        road.bypass(50);
        // Ten whole, ten of three segments.
        let nic = road.nic_after(10 + round * (10 + 30 + 50));
        let found = (&nic["unaccounted"]["packets"], &nic["hidden_at_most"], &nic["lost"]);
        assert_eq!(found, (&json!(50 * round), &json!(0), &json!(0)), "{nic:#}");
        assert_eq!(nic["counts"], "skbs");
        if round == 2 {
            proven(road.kind, "super-packets that come whole and cut up, 50 sent beside the hook", "tcx", &nic);
        }
    }
    assert!(!road.findings("unaccounted_egress").is_empty());
}

#[test]
fn packets_that_go_by_an_ifb_device_and_back_pass_the_hook_twice_and_hide_nothing() {
    for (kind, hook) in [(Kind::Veth, "tcx"), (Kind::Veth, "clsact"), (Kind::Partial, "tcx"), (Kind::Tun, "tcx")] {
        let mut road = Road::new(kind, hook);
        let (near, device) = (&road.stage.near, name(kind));
        for arguments in [&["link", "add", "ifb0", "type", "ifb"][..], &["link", "set", "ifb0", "up"]] {
            near.ip(arguments).unwrap();
        }
        if hook == "tcx" {
            near.tc(&["qdisc", "add", "dev", device, "clsact"]).unwrap();
        }
        let filter = ["filter", "add", "dev", device, "egress", "protocol", "all", "prio", "10", "u32"];
        let action = ["match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", "ifb0"];
        near.tc(&[&filter[..], &action].concat()).unwrap();
        // From here on the action's counter is read.
        road.nic();
        road.send(100);
        road.nic_after(100);
        let interface = road.interface();
        let nic = &interface["nic"];
        assert_eq!((&interface["total"]["packets"], &nic["filtered"]), (&json!(200), &json!(100)), "{interface:#}");
        assert_eq!((&nic["hidden_at_most"], &nic["unaccounted"]["packets"]), (&json!(0), &json!(0)), "{nic:#}");
        road.send(50);
        road.bypass(137);
        road.nic_after(100 + 50 + 137);
        let nic = road.nic_found(137);
        proven(kind, "packets that go by an ifb device and back, 137 sent beside the hook", hook, &nic);
        assert_eq!((&nic["hidden_at_most"], &nic["lost"]), (&json!(0), &json!(0)), "{nic:#}");
        assert!(!road.findings("unaccounted_egress").is_empty());
    }
}

#[test]
fn a_program_behind_ours_that_drops_hides_no_more_than_is_said_and_is_told() {
    for kind in [Kind::Veth, Kind::Partial, Kind::Tun] {
        let mut road = Road::new(kind, "tcx");
        let behind = road.stage.near.run(|| DropsEverything::behind_on(name(kind))).unwrap();
        road.send(100);
        let nic = road.nic();
        assert_eq!((&nic["sent"]["packets"], &nic["hidden_at_most"]), (&json!(0), &json!(100)), "{nic:#}");
        proven(kind, "100 packets that a program behind ours drops", "tcx", &nic);
        road.bypass(137);
        assert_eq!(road.nic_found(37)["hidden_at_most"], 0, "{kind:?}");
        if kind == Kind::Veth {
            // What nobody counts is lost for certain after fifteen seconds.
            road.send(100);
            road.daemon.json_until(&["status"], |status| status["interfaces"][0]["nic"]["lost"] == 100).unwrap();
            road.daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("egress_lost")).unwrap();
            drop(behind);
            road.bypass(1);
            road.nic_found(38);
        }
        assert!(!road.findings("unaccounted_egress").is_empty());
    }
}

#[test]
fn a_device_that_counts_a_packet_once_for_each_remote_is_not_compared_and_accuses_nobody() {
    let stage = Stage::build(false).unwrap();
    let vxlan = ["link", "add", "vx0", "type", "vxlan", "id", "5", "dstport", "4789", "dev", INTERFACE];
    stage.near.ip(&vxlan).unwrap();
    stage.near.ip(&["link", "set", "vx0", "arp", "off", "up"]).unwrap();
    for remote in [INSIDE, OUTSIDE] {
        let remote = v4(remote).to_string();
        let mut bridge = stage.near.command("bridge").unwrap();
        bridge.args(["fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", &remote]);
        assert!(bridge.status().unwrap().success());
    }
    let config = stage.config("epoch = \"5min\"", "").replace(&format!("[\"{INTERFACE}\"]"), "[\"vx0\"]");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let frame = (eth() / ip(v4(OUTSIDE).into()) / udp(9) / payload(200)).bytes();
    stage.near.run(|| send_frames("vx0", vec![frame.as_slice(); 20])).unwrap();
    let interface = daemon.json(&["status"]).unwrap()["interfaces"][0].clone();
    let nic = &interface["nic"];
    assert_eq!((&interface["total"]["packets"], &nic["sent"]["packets"]), (&json!(20), &json!(40)), "{interface:#}");
    assert_eq!(nic["unaccounted"]["packets"], 0);
    assert!(nic["not_comparable"].as_str().unwrap().contains("several remotes"), "{nic:#}");
    let ended = daemon.stop().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    assert!(!ended.alerts.iter().any(|line| line.contains("unaccounted_egress")), "{:#?}", ended.alerts);
}

/// What accuses nobody.
mod quiet {
    use super::*;

    /// For how many seconds: 1,200 in `cargo xtask prove coverage`.
    fn seconds() -> u64 {
        std::env::var("QUIET_SECONDS").ok().map_or(10, |seconds| seconds.parse().expect("QUIET_SECONDS is a number"))
    }

    #[test]
    fn nobody_is_accused_while_all_kinds_of_traffic_leave_and_offloads_and_queues_change() {
        let stage = Stage::build(true).unwrap();
        let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
        let sinks =
            [443, 444].map(|port| TcpSink::listen(&stage.far, SocketAddr::new(v4(INSIDE).into(), port)).unwrap());
        let [bulk, short] = [&sinks[0], &sinks[1]].map(|sink| (stage.from(sink.address()), sink.address()));
        let to = SocketAddr::new(v4(INSIDE).into(), 53);
        let from = stage.from(to);
        // A queue may lose what it likes: only that they go on is asked.
        let senders = [
            Background::repeat(&stage.near, 0, move || drop(send_tcp(bulk.0, bulk.1, 2_000_000, PATIENCE))).unwrap(),
            Background::repeat(&stage.near, 1, move || drop(send_tcp(short.0, short.1, 300, PATIENCE))).unwrap(),
            Background::repeat(&stage.near, 1, move || {
                // Each by a socket of its own, and now and then many at once, some as super-packets.
                drop(send_udp(from, to, &[40]));
                drop(send_udp(from, to, &[1_200; 20]));
                drop(send_udp_supers(from, to, 1_200, 10, 3));
                std::thread::sleep(Duration::from_millis(5));
            })
            .unwrap(),
        ];
        let queue = |arguments: &[&str]| {
            let root = ["qdisc", "replace", "dev", INTERFACE, "root"];
            stage.near.tc(&[&root[..], arguments].concat()).map(drop)
        };
        let changes: [(&str, &dyn Fn() -> anyhow::Result<()>); 8] = [
            ("no offloads", &|| offload::set(&stage.near, INTERFACE, false)),
            ("offloads", &|| offload::set(&stage.near, INTERFACE, true)),
            ("no TCP offloads", &|| offload::tcp_segmentation(&stage.near, INTERFACE, false)),
            ("tbf", &|| queue(&["tbf", "rate", "400mbit", "burst", "32kb", "limit", "100kb"])),
            ("TCP offloads", &|| offload::tcp_segmentation(&stage.near, INTERFACE, true)),
            ("htb", &|| queue(&["htb"])),
            ("netem", &|| queue(&["netem", "delay", "2ms", "loss", "1%"])),
            ("no queue", &|| stage.near.tc(&["qdisc", "del", "dev", INTERFACE, "root"]).map(drop)),
        ];
        let began = Instant::now();
        let seconds = seconds();
        let step = Duration::from_secs(seconds) / 10;
        let step = step.min(Duration::from_secs(60));
        let (mut made, mut missing) = (BTreeMap::new(), BTreeMap::new());
        for (what, change) in changes.iter().cycle() {
            match change() {
                Ok(()) => *made.entry(*what).or_insert(0) += 1,
                Err(error) => drop(missing.insert(*what, error.to_string())),
            }
            let until = Instant::now() + step;
            while Instant::now() < until {
                let nic = daemon.json(&["status"]).unwrap()["interfaces"][0]["nic"].clone();
                assert_eq!(nic["unaccounted"]["packets"], 0, "{what}, after {:?}: {nic:#}", began.elapsed());
                std::thread::sleep(Duration::from_millis(100));
            }
            // On a machine however slow, each of them once.
            let all = made.len() + missing.len() == changes.len();
            if all && began.elapsed() >= Duration::from_secs(seconds) {
                break;
            }
        }
        senders.into_iter().for_each(Background::stop);
        let status = daemon.json(&["status"]).unwrap();
        let one = &status["interfaces"][0];
        let [epochs, packets] = [&status["epoch"]["count"], &one["total"]["packets"]].map(number);
        let (kinds, changed) = (made.keys().copied().collect::<Vec<_>>().join(", "), made.values().sum::<u64>());
        println!(
            "proven: nobody accused through {kinds}: {} s, {changed} changes, {epochs} epochs, {packets} packets",
            began.elapsed().as_secs()
        );
        // A kernel that has netem has all of them; this one may lack just that.
        assert!(missing.keys().all(|what| *what == "netem"), "not tried: {missing:#?}");
        assert!(epochs > 50 && packets > 10_000, "too little to prove anything: {status:#}");
        let ended = daemon.stop().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
        assert!(!ended.alerts.iter().any(|line| line.contains("unaccounted_egress")), "{:#?}", ended.alerts);
    }
}

/// What takes a queueing discipline that not every kernel has.
mod queues {
    use super::*;

    #[test]
    #[ignore = "needs netem: `cargo xtask prove kernels` has it"]
    fn losses_of_a_queue_and_of_one_below_it_hide_nothing() {
        for kind in [Kind::Veth, Kind::Partial, Kind::Tun] {
            let mut road = Road::new(kind, "auto");
            let device = ["qdisc", "add", "dev", name(kind)];
            let loses = ["netem", "loss", "100%"];
            road.stage.near.tc(&[&device[..], &["root", "handle", "1:"], &loses].concat()).unwrap();
            for below in [false, true] {
                if below {
                    road.stage.near.tc(&["qdisc", "del", "dev", name(kind), "root"]).unwrap();
                    let root = ["root", "handle", "1:", "htb", "default", "1"];
                    road.stage.near.tc(&[&device[..], &root].concat()).unwrap();
                    let class =
                        ["class", "add", "dev", name(kind), "parent", "1:", "classid", "1:1", "htb", "rate", "1gbit"];
                    road.stage.near.tc(&class).unwrap();
                    road.stage.near.tc(&[&device[..], &["parent", "1:1", "handle", "2:"], &loses].concat()).unwrap();
                }
                let before = road.nic();
                road.send(100);
                road.bypass(137);
                let nic = road.nic_found(number(&before["unaccounted"]["packets"]) + 137);
                let drops = number(&nic["qdisc_drops"]) - number(&before["qdisc_drops"]);
                assert_eq!((drops, &nic["hidden_at_most"]), (100, &json!(0)), "{nic:#}");
                let place = if below { "below htb" } else { "at the root" };
                proven(kind, &format!("100 packets that netem loses {place}, 137 sent beside the hook"), "auto", &nic);
            }
            assert!(!road.findings("unaccounted_egress").is_empty());
        }
    }
}
