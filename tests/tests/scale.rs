//! Promise: a million flows at once are seen, told apart, kept and reported exactly, and asked for in no time, since
//! epochs end before there is too much in them; a million that all should alert drown nobody.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use egress_monitor_tests::{
    corpus::build::{eth, ip, payload, udp},
    daemon::Daemon,
    monitor::api::Flows,
    netns::Count,
    stage::{self, ABROAD, INSIDE, INTERFACE, Stage, accounted, count, on_cpu, v4},
    traffic::{send_frames, send_varied},
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

/// Writes the flow's destination and port.
fn address(frame: &mut [u8], flow: u32) {
    let (peer, port) = target(flow);
    write(frame, peer, port);
}

/// Writes destination and port into an Ethernet frame with IPv4 and UDP, and mends the header's checksum.
fn write(frame: &mut [u8], peer: u32, port: u16) {
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

/// Of the flood: as many flows, to all of 198.19.0.0/16.
fn flood(frame: &mut [u8], flow: u32) {
    write(frame, FIRST_PEER + flow % 65_536, (FIRST_PORT + flow / 65_536) as u16);
}

/// Twenty networks of the flood's country.
fn beside(number: u8) -> IpAddr {
    IpAddr::from([198, 18, 64 + number, 9])
}

/// Twenty in twenty other countries.
fn elsewhere(number: u8) -> IpAddr {
    IpAddr::from([198, 18, 128 + number, 9])
}

const COUNTRIES: [&str; 20] = [
    "US", "CN", "IN", "JP", "KR", "BR", "AR", "CL", "ZA", "EG", "TR", "RU", "UA", "AU", "NZ", "CA", "MX", "TH", "VN",
    "ID",
];

#[test]
#[ignore = "a million flows more: `cargo xtask prove scale`"]
fn under_a_flood_of_a_million_flows_each_of_forty_others_has_its_alert_within_the_epoch() {
    let stage = Stage::build(false).unwrap();
    let site = |name: &str, country: &str, network: &str| {
        format!("[[site]]\nname = \"{name}\"\ncountry = \"{country}\"\nnetworks = [\"{network}\"]\n")
    };
    let mut config = stage.config("epoch = \"5min\"\nflows = 1048576", "") + ABROAD;
    config += &site("beside", "SG", "198.18.64.0/19");
    for (number, country) in (0..).zip(COUNTRIES) {
        config += &site(country, country, &format!("{}/32", elsewhere(number)));
    }
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    println!("idle: {}", memory(daemon.id()));
    let others: Vec<IpAddr> = (0..20).flat_map(|number| [beside(number), elsewhere(number)]).collect();
    let began = Instant::now();
    let senders: Vec<_> = (0..2_u32)
        .map(|cpu| {
            let others: Vec<IpAddr> = others.iter().skip(cpu as usize).step_by(2).copied().collect();
            let work = move || {
                let frame = (eth() / ip(IpAddr::V4(v4(INSIDE))) / udp(0) / payload(18)).bytes();
                let flows = (0..FLOWS).filter(move |flow| flow % 2 == cpu);
                let (first, second): (Vec<u32>, Vec<u32>) = flows.partition(|flow| *flow < FLOWS / 2);
                let mut sent = send_varied(INTERFACE, &frame, first, flood).unwrap();
                // In the midst of it.
                for other in others {
                    let frame = (eth() / ip(other) / udp(443) / payload(18)).bytes();
                    sent += send_frames(INTERFACE, [frame.as_slice()]).unwrap().sent;
                }
                sent + send_varied(INTERFACE, &frame, second, flood).unwrap()
            };
            on_cpu(&stage.near, cpu as usize, work).unwrap()
        })
        .collect();
    let sent: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
    println!("{sent} frames in {:?}; {}", began.elapsed(), memory(daemon.id()));
    assert_eq!(sent, u64::from(FLOWS) + 40);
    let (began, used) = (Instant::now(), cpu(daemon.id()));
    let open = stage::incidents(&daemon).unwrap().incidents;
    println!("incidents: {:?}, {} ms of the daemon; {}", began.elapsed(), cpu(daemon.id()) - used, memory(daemon.id()));
    // Each flow is one packet, and counted once.
    let counted = open.iter().fold((0, 0), |(flows, packets), row| (flows + row.flows, packets + row.sums.packets));
    assert_eq!(counted, (sent, sent));
    let of_flood = open.iter().filter(|row| row.network.as_ref().is_some_and(|of| of.starts_with("198.19.")));
    assert_eq!(of_flood.count(), 32);
    let status = stage::status(&daemon).unwrap();
    assert_eq!((status.interfaces[0].total.packets, status.losses.alerts_queue_full), (sent, 0));
    let ended = daemon.stop().unwrap();
    assert!(ended.status.success(), "{:?}", ended.log);
    for other in others {
        let to = format!("\"ip\":\"{other}\"");
        let is = |line: &&String| line.contains("\"class_uid\":4001") && line.contains(&to);
        assert_eq!(ended.alerts.iter().filter(is).count(), 1, "{other}");
    }
    let lines = ended.alerts.iter().filter(|line| line.contains("\"class_uid\":4001")).count();
    // 32 of the flood, one for what has no place, told again at most once for each epoch; and the forty.
    assert!((73..=73 + status.epoch.unwrap().count as usize).contains(&lines), "{lines}");
}
