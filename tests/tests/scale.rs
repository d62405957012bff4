//! Promise: a million flows at once are seen, told apart, kept and reported exactly, and asked for in no time, since
//! epochs end before there is too much in them; a million that all should alert make so many alerts as help, and say
//! how many are missing.

use std::{collections::BTreeMap, io::Write as _, net::IpAddr, os::unix::net::UnixStream, time::Instant};

use egress_monitor_tests::{
    corpus::build::{eth, ip, payload, udp},
    daemon::Daemon,
    monitor::{PER_EPOCH, api::Flows},
    netns::Count,
    stage::{self, INSIDE, INTERFACE, Stage, accounted, count, on_cpu, v4},
    traffic::send_varied,
};

/// Distinct flows.
const FLOWS: u32 = 1_000_000;
/// Of each destination: one flow a port, from [`FIRST_PORT`] on.
const PORTS: u32 = 100;
const FIRST_PORT: u32 = 20_000;
/// 198.19.0.0/18 has room for them.
const PEERS: u32 = FLOWS / PORTS;
const FIRST_PEER: u32 = 198 << 24 | 19 << 16;
/// Every so manyth flow gets further packets, each another number: flow `n` of these `n + 1`.
const HEAVY: u32 = 50_000;
/// Bytes of every frame.
const LENGTH: u64 = 60;

/// Destination and port of a flow.
fn target(flow: u32) -> (u32, u16) {
    (FIRST_PEER + flow / PORTS, (FIRST_PORT + flow % PORTS) as u16)
}

/// Writes the flow's destination and port into an Ethernet frame with IPv4 and UDP, and mends the header's checksum.
fn address(frame: &mut [u8], flow: u32) {
    let (peer, port) = target(flow);
    frame[30..34].copy_from_slice(&peer.to_be_bytes());
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    frame[24..26].fill(0);
    let words = frame[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes());
}

/// Packets of a flow.
fn packets(flow: u32) -> u64 {
    1 + if flow.is_multiple_of(HEAVY) { u64::from(flow / HEAVY) + 1 } else { 0 }
}

/// Where the sites below place a peer.
fn country(peer: u32) -> &'static str {
    match (peer - FIRST_PEER) >> 12 {
        0 => "IE",
        1 => "FI",
        _ => "FR",
    }
}

const SITES: &str = r#"
[[site]]
name = "cork"
country = "IE"
networks = ["198.19.0.0/20"]
[[site]]
name = "turku"
country = "FI"
networks = ["198.19.16.0/20"]
[[site]]
name = "lyon"
country = "FR"
networks = ["198.19.32.0/19"]
"#;

/// What `--by` is to say, from what was sent: flows and packets by key.
fn expected<K: Ord>(key: impl Fn(u32) -> K) -> BTreeMap<K, (u64, u64)> {
    (0..FLOWS).fold(BTreeMap::new(), |mut sums, flow| {
        let sum: &mut (u64, u64) = sums.entry(key(target(flow).0)).or_default();
        sum.0 += 1;
        sum.1 += packets(flow);
        sums
    })
}

fn dotted(address: u32) -> String {
    std::net::Ipv4Addr::from_bits(address).to_string()
}

fn ask(daemon: &Daemon, arguments: &[&str]) -> Flows {
    let (began, used) = (Instant::now(), cpu(daemon.id()));
    let answer = daemon.json(&[&["flows"], arguments].concat()).unwrap();
    // On a busy machine only the second is a figure.
    println!("flows {}: {:?}, {} ms of the daemon", arguments.join(" "), began.elapsed(), cpu(daemon.id()) - used);
    let flows: Flows = serde_json::from_value(answer).unwrap();
    // Nothing is lost between the hook and the answer, whatever is asked for.
    assert_eq!(flows.hook.packets, (0..FLOWS).map(packets).sum::<u64>());
    let sums = accounted(&flows);
    let groups = flows.groups.iter().fold(Count::default(), |sum, row| sum.plus(count(&row.sums)));
    assert_eq!(count(&sums).plus(groups), count(&flows.hook));
    let rows = flows.flows.len() as u64 + flows.groups.iter().map(|row| row.flows).sum::<u64>();
    assert_eq!(rows + flows.rest.flows, u64::from(FLOWS));
    assert_eq!((flows.evicted.flows, flows.overflow.packets, flows.unparsed.packets), (0, 0, 0));
    flows
}

/// Sends each flow once and, of the heavy ones, so many times their further packets, from two CPUs; gives how many
/// frames that was.
fn send_all(stage: &Stage, times: u64) -> u64 {
    let began = Instant::now();
    // Each sender has every second flow, and the further packets of the other's.
    let senders: Vec<_> = (0..2_u32)
        .map(|cpu| {
            let work = move || {
                let frame = (eth() / ip(IpAddr::V4(v4(INSIDE))) / udp(0) / payload(18)).bytes();
                assert_eq!(frame.len() as u64, LENGTH);
                let first = (0..FLOWS).filter(move |flow| flow % 2 == cpu);
                let further = (0..FLOWS).step_by(HEAVY as usize).filter(move |flow| flow / HEAVY % 2 != cpu);
                let further = further.flat_map(|flow| (0..times * (packets(flow) - 1)).map(move |_| flow));
                send_varied(INTERFACE, &frame, first.chain(further), address).unwrap()
            };
            on_cpu(&stage.near, cpu as usize, work).unwrap()
        })
        .collect();
    let sent: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
    println!("{sent} frames in {:?}", began.elapsed());
    assert_eq!(sent, (0..FLOWS).map(|flow| 1 + times * (packets(flow) - 1)).sum::<u64>());
    sent
}

/// Processor time that a process has used, in milliseconds (of ticks of ten).
fn cpu(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name before the parenthesis may hold anything.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    10 * [11, 12].map(|at| fields[at].parse::<u64>().unwrap()).iter().sum::<u64>()
}

/// Resident memory of a process, in MiB by kind.
fn memory(process: u32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let wanted = |line: &&str| line.starts_with("Rss") || line.starts_with("VmRSS") || line.starts_with("VmHWM");
    let lines = text.lines().filter(wanted).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {} MiB", words[0].trim_end_matches(':'), words[1].parse::<u64>().unwrap() / 1024)
    });
    lines.collect::<Vec<_>>().join(", ")
}

#[test]
#[ignore = "a million flows more: `cargo xtask prove scale`"]
fn a_million_flows_are_told_apart_and_every_answer_adds_up() {
    let stage = Stage::build(false).unwrap();
    let config = stage.config("epoch = \"5min\"\nflows = 1048576", "") + SITES;
    let before = stage.sent().unwrap();
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    println!("idle: {}", memory(daemon.id()));
    let sent = send_all(&stage, 1);
    assert_eq!(stage.sent().unwrap().since(before), Count { packets: sent, bytes: sent * LENGTH });

    let top = ask(&daemon, &["--top", "20"]);
    println!("asked once: {}", memory(daemon.id()));
    let rows: Vec<_> = top
        .flows
        .iter()
        .map(|row| (row.destination.to_string(), row.destination_port, count(&row.sums), row.country.as_str()))
        .collect();
    let heaviest = (0..FLOWS).step_by(HEAVY as usize).rev().map(|flow| {
        let (peer, port) = target(flow);
        let sums = Count { packets: packets(flow), bytes: packets(flow) * LENGTH };
        (dotted(peer), port, sums, country(peer))
    });
    assert_eq!(rows, heaviest.collect::<Vec<_>>());
    assert_eq!(top.rest.sums.packets, u64::from(FLOWS) - 20);

    for (by, rows) in [
        ("country", expected(|peer| country(peer).to_owned())),
        ("network", expected(|peer| format!("{}/24", dotted(peer & !0xff)))),
        ("peer", expected(dotted)),
        ("rule", expected(|_| "-".to_owned())),
    ] {
        let answer = ask(&daemon, &["--by", by, "--top", "100000"]);
        let reported = answer.groups.iter().map(|row| (row.key.clone(), (row.flows, row.sums.packets)));
        assert_eq!(reported.collect::<BTreeMap<_, _>>(), rows, "by {by}");
        assert_eq!(answer.rest.flows, 0);
    }
    assert_eq!(expected(dotted).len() as u32, PEERS);
    ask(&daemon, &["--top", "100000"]);
    println!("at the end: {}", memory(daemon.id()));
    let ended = daemon.stop().unwrap();
    assert!(ended.status.success(), "{:?}", ended.log);
    assert_eq!(ended.alerts.iter().filter(|line| line.contains("\"class_uid\":4001")).count(), 0);
}

#[test]
#[ignore = "a million flows more: `cargo xtask prove scale`"]
fn a_million_flows_to_alert_on_make_as_many_alerts_as_help_and_say_how_many_are_missing() {
    let stage = Stage::build(false).unwrap();
    // Nothing of it is inside.
    let abroad = SITES.replace("IE", "SG").replace("FI", "US").replace("FR", "IN");
    let config = stage.config("epoch = \"5min\"\nflows = 1048576", "") + &abroad;
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    // Each flow is one packet, and so in one epoch.
    let sent = send_all(&stage, 0);
    let (began, used) = (Instant::now(), cpu(daemon.id()));
    let status = stage::status(&daemon).unwrap();
    let used = cpu(daemon.id()) - used;
    println!("status: {:?}, {used} ms of the daemon; {}", began.elapsed(), memory(daemon.id()));
    let epoch = status.epoch.as_ref().unwrap();
    assert_eq!(status.interfaces[0].total.packets, sent);
    // Whether an event or the drain came first: each flow has an alert or is counted as having none.
    let made: u64 = status.alerts.iter().filter(|alert| alert.kind == "egress").map(|alert| alert.count).sum();
    assert!(made >= PER_EPOCH as u64 && made <= epoch.count * PER_EPOCH as u64, "{made} in {} epochs", epoch.count);
    assert_eq!(status.losses.alerts_suppressed, u64::from(FLOWS) - made);
    let suppressed = status.findings.iter().any(|condition| condition.kind == "alerts_suppressed");
    assert_eq!(suppressed, epoch.flows > PER_EPOCH);
    let began = Instant::now();
    let next = stage::status(&daemon).unwrap();
    println!("status: {:?}; {}", began.elapsed(), memory(daemon.id()));
    assert!(!next.findings.iter().any(|condition| condition.kind == "alerts_suppressed"));
    assert_eq!((next.losses.alerts_suppressed, next.interfaces), (status.losses.alerts_suppressed, status.interfaces));
    let ended = daemon.stop().unwrap();
    assert!(ended.status.success(), "{:?}", ended.log);
    let lines = ended.alerts.iter().filter(|line| line.contains("\"class_uid\":4001")).count() as u64;
    let lost = next.losses.alerts_queue_full;
    assert_eq!(lines + lost, made);
    let reported = ended.alerts.iter().filter(|line| line.contains("alerts_suppressed")).count();
    assert!(
        lost > 0 || (reported >= 2 && reported.is_multiple_of(2)),
        "{reported}: one when it begins, one when it ends"
    );
}

/// The most memory that a process has had, in KiB.
fn peak(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_million_flows_and_all_who_ask_for_them_and_do_not_read_fit_in_256_mib() {
    let stage = Stage::build(false).unwrap();
    // Sizes as they are by default.
    let config = stage.config("", "") + SITES;
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    const PIECES: u32 = 40;
    // An epoch has room for so many from one CPU.
    for piece in 0..PIECES {
        let flows = piece * (FLOWS / PIECES)..(piece + 1) * (FLOWS / PIECES);
        let frame = (eth() / ip(IpAddr::V4(v4(INSIDE))) / udp(0) / payload(18)).bytes();
        let sent = stage.near.run(|| send_varied(INTERFACE, &frame, flows, address)).unwrap();
        assert_eq!(sent, u64::from(FLOWS / PIECES));
        stage::status(&daemon).unwrap();
    }
    let known = ask_all(&daemon);
    assert!(known > u64::from(FLOWS) / 10 * 9, "{known}");
    println!("{known} flows known: {}", memory(daemon.id()));
    // More than there is room for.
    let held: Vec<_> = (0..8)
        .map(|number| {
            let mut stream = UnixStream::connect(daemon.home().socket()).unwrap();
            let by = if number % 2 == 0 { "" } else { "&by=peer&since=3600" };
            write!(stream, "GET /api/v1/flows?top=100000{by} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(ask_all(&daemon), known, "others are answered meanwhile");
    println!("asked by all: {}", memory(daemon.id()));
    let peak = peak(daemon.id());
    assert!(peak <= 256 * 1024, "{peak} KiB");
    drop(held);
}

/// Asks for as much as there is, and gives how many flows that is of.
fn ask_all(daemon: &Daemon) -> u64 {
    let flows: Flows = serde_json::from_value(daemon.json(&["flows", "--top", "100000"]).unwrap()).unwrap();
    flows.flows.len() as u64 + flows.rest.flows
}
