//! Promise: whatever way out of a host packets take, they are watched, each once: a second card by any kind of route or
//! none, a bridge's port, what is stacked on a card, a card that comes later or has another name since. `docs/coverage.md`
//! has the table of these tests.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TcAttachType};
use egress_monitor_tests::{
    corpus::build::{eth, ip, payload, udp_from},
    daemon::Daemon,
    flood::{Flood, Sender},
    monitor::kernel::{self, Interface, Kernel, Options},
    netns::{self, Namespace},
    stage::{INSIDE, INTERFACE, PATIENCE, Stage, flows, status, v4},
    traffic::Frames,
    wire::{Networks, Wire},
};
use serde_json::Value;

use crate::support::{
    attached::hook,
    cards::{FAR, PACKETS, SECOND, auto, device, ends_well, know, mac, second, send},
    policy::policy,
};

/// By the first card, and by the second.
const BY_FIRST: &str = "198.18.7.2";
const BY_SECOND: &str = "198.18.8.2";
/// A host with two cards.
fn host() -> Stage {
    let stage = Stage::build(false).unwrap();
    second(&stage);
    stage
}

/// What has come to the peer by both cards.
fn arrived(stage: &Stage) -> u64 {
    [INTERFACE, SECOND]
        .iter()
        .filter_map(|card| stage.far.statistics(card).ok())
        .map(|card| card.received.packets)
        .sum()
}

/// The packets to the far address that were counted, by interface and verdict.
fn counted(daemon: &Daemon) -> Vec<(String, String, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for row in flows(daemon).unwrap().flows.iter().filter(|row| row.destination == FAR.ip()) {
        *sums.entry((row.interface.clone(), row.verdict.clone())).or_insert(0) += row.sums.packets;
    }
    sums.into_iter().map(|((interface, verdict), packets)| (interface, verdict, packets)).collect()
}

/// Every packet by this way is counted once, on one of these interfaces, and dropped where that is enforced.
#[track_caller]
fn is_watched(stage: &Stage, by: &[&str], send: impl Fn()) {
    is_watched_as_it_arrives(stage, by, send, || arrived(stage));
}

/// The same where something else may come to the peer by its cards, too.
#[track_caller]
fn is_watched_as_it_arrives(stage: &Stage, by: &[&str], send: impl Fn(), arrived: impl Fn() -> u64) {
    for (mode, verdict) in [("observe", "observed"), ("enforce", "denied")] {
        let daemon = Daemon::start(&stage.near, &auto(stage, mode), &[]).unwrap();
        let before = arrived();
        send();
        let counted = counted(&daemon);
        assert_eq!(counted.iter().map(|(_, _, packets)| packets).sum::<u64>(), PACKETS, "{mode}: {counted:?}");
        let on: BTreeSet<&str> = counted.iter().map(|(interface, ..)| interface.as_str()).collect();
        assert_eq!(on, by.iter().copied().collect(), "{mode}: {counted:?}");
        assert!(counted.iter().all(|(_, of, _)| of == verdict), "{mode}: {counted:?}");
        let left = if mode == "enforce" { 0 } else { PACKETS };
        assert_eq!(arrived() - before, left, "{mode}");
        ends_well(daemon);
    }
}

fn is_open(status: &Value, finding: &str) -> bool {
    status["findings"].as_array().unwrap().iter().any(|condition| condition["type"] == finding)
}

#[test]
fn a_second_card_is_watched() {
    let stage = host();
    stage.near.ip(&["route", "add", "198.18.66.0/24", "via", BY_SECOND]).unwrap();
    is_watched(&stage, &[SECOND], || send(&stage.near, None));
}

#[test]
fn both_next_hops_of_a_route_are_watched() {
    let stage = host();
    stage.near.sysctl("net/ipv4/fib_multipath_hash_policy", "1").unwrap();
    let hops = ["nexthop", "via", BY_FIRST, "nexthop", "via", BY_SECOND];
    stage.near.ip(&[&["route", "add", "198.18.66.0/24"][..], &hops].concat()).unwrap();
    is_watched(&stage, &[INTERFACE, SECOND], || send(&stage.near, None));
}

#[test]
fn both_members_of_a_next_hop_group_are_watched() {
    let stage = host();
    stage.near.sysctl("net/ipv4/fib_multipath_hash_policy", "1").unwrap();
    for nexthop in [
        &["id", "1", "via", BY_FIRST, "dev", INTERFACE][..],
        &["id", "2", "via", BY_SECOND, "dev", SECOND],
        &["id", "3", "group", "1/2"],
    ] {
        stage.near.ip(&[&["nexthop", "add"], nexthop].concat()).unwrap();
    }
    stage.near.ip(&["route", "add", "198.18.66.0/24", "nhid", "3"]).unwrap();
    is_watched(&stage, &[INTERFACE, SECOND], || send(&stage.near, None));
}

#[test]
fn a_policy_table_is_watched() {
    let stage = host();
    stage.near.ip(&["route", "add", "default", "via", BY_FIRST]).unwrap();
    stage.near.ip(&["route", "add", "default", "via", BY_SECOND, "table", "100"]).unwrap();
    stage.near.ip(&["rule", "add", "to", "198.18.66.0/24", "table", "100"]).unwrap();
    is_watched(&stage, &[SECOND], || send(&stage.near, None));
}

#[test]
fn the_halves_of_a_split_default_route_are_watched() {
    let stage = host();
    stage.near.ip(&["route", "add", "default", "via", BY_FIRST]).unwrap();
    for half in ["0.0.0.0/1", "128.0.0.0/1"] {
        stage.near.ip(&["route", "add", half, "via", BY_SECOND]).unwrap();
    }
    is_watched(&stage, &[SECOND], || send(&stage.near, None));
}

#[test]
fn a_socket_bound_to_a_card_without_a_route_is_watched() {
    let stage = host();
    stage.near.ip(&["route", "add", "default", "via", BY_FIRST]).unwrap();
    is_watched(&stage, &[SECOND], || send(&stage.near, Some(SECOND)));
}

#[test]
fn what_guests_send_through_a_bridge_is_watched_at_its_port_and_counted_once() {
    let stage = host();
    let guest = Namespace::new("guest").unwrap();
    stage.near.ip(&["link", "add", "br0", "type", "bridge"]).unwrap();
    let wire = Wire::lay(&stage.near, "vnet0", &guest, "eth0", Networks::number(9)).unwrap();
    for port in [SECOND, "vnet0"] {
        stage.near.ip(&["link", "set", port, "master", "br0"]).unwrap();
    }
    stage.near.ip(&["link", "set", "br0", "arp", "off", "up"]).unwrap();
    guest.ip(&["route", "add", "default", "dev", &wire.far.interface]).unwrap();
    know(&guest, &wire.far.interface, &mac(&stage.far, SECOND));
    // Bridge and guest tell what multicast groups they are in, some time after they are up.
    let arrived = || stage.far.ipv4_packets_received().unwrap();
    is_watched_as_it_arrives(&stage, &[SECOND], || send(&guest, None), arrived);
}

#[test]
fn what_a_macvlan_sends_is_counted_once_at_its_card() {
    let stage = host();
    stage.near.ip(&["link", "add", "link", SECOND, "name", "mv0", "type", "macvlan", "mode", "bridge"]).unwrap();
    stage.near.ip(&["link", "set", "mv0", "arp", "off", "up"]).unwrap();
    stage.near.ip(&["address", "add", "198.18.8.77/32", "dev", "mv0"]).unwrap();
    stage.near.ip(&["route", "add", "198.18.66.0/24", "dev", "mv0"]).unwrap();
    know(&stage.near, "mv0", &mac(&stage.far, SECOND));
    is_watched(&stage, &[SECOND], || send(&stage.near, None));
    let daemon =
        Daemon::start(&stage.near, &auto(&stage, "observe").replace("\"auto\"", "\"auto\", \"mv0\""), &[]).unwrap();
    let status = daemon.json(&["status"]).unwrap();
    let macvlan = device(&status, "mv0");
    assert_eq!((&macvlan["role"], &macvlan["since"]), (&"transit".into(), &Value::Null));
    assert_eq!(macvlan["why"], "its packets pass eth1");
    send(&stage.near, None);
    assert_eq!(counted(&daemon), [(SECOND.into(), "observed".into(), PACKETS)]);
    ends_well(daemon);
}

#[test]
fn a_macvlan_whose_card_is_elsewhere_is_an_edge() {
    let stage = host();
    let container = Namespace::new("container").unwrap();
    stage.near.ip(&["link", "add", "link", SECOND, "name", "mv0", "type", "macvlan", "mode", "bridge"]).unwrap();
    stage.near.ip(&["link", "set", "mv0", "netns", container.name()]).unwrap();
    container.ip(&["link", "set", "mv0", "arp", "off", "up"]).unwrap();
    container.ip(&["route", "add", "default", "dev", "mv0"]).unwrap();
    know(&container, "mv0", &mac(&stage.far, SECOND));
    let daemon = Daemon::start(&container, &auto(&stage, "enforce"), &[]).unwrap();
    let before = arrived(&stage);
    send(&container, None);
    assert_eq!(counted(&daemon), [("mv0".into(), "denied".into(), PACKETS)]);
    assert_eq!(arrived(&stage), before);
    ends_well(daemon);
}

#[test]
fn a_card_that_is_plugged_in_later_is_watched_from_then_on() {
    for mode in ["observe", "enforce"] {
        let stage = Stage::build(false).unwrap();
        stage.near.ip(&["link", "set", INTERFACE, "name", "was0", "down"]).unwrap();
        // Nothing to watch: the loopback is none.
        let elsewhere = Namespace::new("elsewhere").unwrap();
        stage.near.ip(&["link", "set", "was0", "netns", elsewhere.name()]).unwrap();
        let daemon = Daemon::start(&stage.near, &auto(&stage, mode), &[]).unwrap();
        let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"interface_unavailable\"")).unwrap();
        assert!(line.contains("'auto': there is no edge to watch: there are lo"), "{line}");
        let first = daemon.log.wait_for(0, PATIENCE, |line| line.contains("watched")).unwrap();
        assert!(first.contains("NOTHING yet"), "{first}");
        second(&stage);
        stage.near.ip(&["route", "add", "198.18.66.0/24", "via", BY_SECOND]).unwrap();
        let is_watched = |status: &Value| device(status, SECOND)["since"].is_string();
        let status = daemon.json_until(&["status"], is_watched).unwrap();
        assert!(!is_open(&status, "interface_unavailable"), "{status:#}");
        let before = arrived(&stage);
        send(&stage.near, None);
        let (verdict, left) = if mode == "enforce" { ("denied", 0) } else { ("observed", PACKETS) };
        assert_eq!(counted(&daemon), [(SECOND.into(), verdict.into(), PACKETS)]);
        assert_eq!(arrived(&stage) - before, left);
        ends_well(daemon);
    }
}

#[test]
fn a_card_that_is_renamed_is_counted_on_under_its_new_name_and_two_that_swap_names_are_not_mixed_up() {
    let stage = host();
    stage.near.ip(&["route", "add", "default", "via", BY_FIRST]).unwrap();
    let daemon = Daemon::start(&stage.near, &auto(&stage, "observe"), &[]).unwrap();
    let index = |name: &str| device(&daemon.json(&["status"]).unwrap(), name)["index"].clone();
    let (first, second) = (index(INTERFACE), index(SECOND));
    send(&stage.near, Some(SECOND));
    assert_eq!(counted(&daemon), [(SECOND.into(), "observed".into(), PACKETS)]);
    for name in [INTERFACE, SECOND] {
        stage.near.ip(&["link", "set", name, "down"]).unwrap();
    }
    for (from, to) in [(INTERFACE, "x"), (SECOND, INTERFACE), ("x", SECOND)] {
        stage.near.ip(&["link", "set", from, "name", to]).unwrap();
    }
    for name in [INTERFACE, SECOND] {
        stage.near.ip(&["link", "set", name, "up"]).unwrap();
    }
    let swapped = |status: &Value| {
        let row = |name: &str| device(status, name)["index"].clone();
        (row(INTERFACE), row(SECOND)) == (second.clone(), first.clone())
    };
    daemon.json_until(&["status"], swapped).unwrap();
    send(&stage.near, Some(INTERFACE));
    assert_eq!(
        counted(&daemon),
        [(INTERFACE.into(), "observed".into(), PACKETS), (SECOND.into(), "observed".into(), PACKETS)]
    );
    let status = status(&daemon).unwrap();
    for interface in &status.interfaces {
        assert_eq!(interface.total.packets, PACKETS, "{interface:#?}");
        assert_eq!(interface.nic.as_ref().unwrap().unaccounted.packets, 0);
    }
    ends_well(daemon);
}

#[test]
fn an_edge_that_is_not_named_and_sends_is_critical_and_not_ready_until_it_is_gone() {
    let stage = host();
    let config = auto(&stage, "observe").replace("\"auto\"", "\"eth0\"");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(device(&status, SECOND)["why"], "[monitor] interfaces does not name it");
    assert!(!is_open(&status, "unwatched_egress"));
    send(&stage.near, Some(SECOND));
    let status = daemon.json_until(&["status"], |status| is_open(status, "unwatched_egress")).unwrap();
    assert_eq!(device(&status, SECOND)["unwatched"]["packets"], PACKETS);
    let not_ready = status["not_ready"].as_str().unwrap();
    assert!(not_ready.starts_with("eth1 (edge) sent 20 packets, 1840 bytes and is not watched"), "{not_ready}");
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"unwatched_egress\"")).unwrap();
    assert!(line.contains("\"Critical\""), "{line}");
    stage.near.ip(&["link", "del", SECOND]).unwrap();
    daemon.json_until(&["status"], |status| !is_open(status, "unwatched_egress")).unwrap();
    assert_eq!(daemon.stop().unwrap().status.code(), Some(0));

    // Left out on purpose.
    second(&stage);
    let daemon =
        Daemon::start(&stage.near, &auto(&stage, "observe").replace("\"auto\"", "\"auto\", \"!eth1\""), &[]).unwrap();
    send(&stage.near, Some(SECOND));
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(device(&status, SECOND)["why"], "'!eth1' leaves it out");
    assert_eq!(status["not_ready"], Value::Null);
    ends_well(daemon);
}

/// What is on a device of the namespace, by TCX.
fn is_attached(namespace: &Namespace, name: &str) -> bool {
    namespace
        .run(|| SchedClassifier::query_tcx(name, TcAttachType::Egress))
        .is_ok_and(|(_, programs)| !programs.is_empty())
}

/// More devices than there are slots, one after the other.
#[test]
fn devices_that_come_and_go_are_attached_to_at_once_and_their_slots_are_given_again() {
    let devices = std::env::var("DEVICES").map_or(80, |devices| devices.parse().expect("DEVICES is a number"));
    let stage = Stage::build(false).unwrap();
    let config = auto(&stage, "observe").replace("epoch = \"100ms\"", "epoch = \"5min\"");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let mut times = Vec::new();
    for number in 0..devices {
        let name = format!("hot{number}");
        stage
            .near
            .ip(&["link", "add", &name, "type", "veth", "peer", "name", "end", "netns", stage.far.name()])
            .unwrap();
        let made = Instant::now();
        while !is_attached(&stage.near, &name) {
            assert!(made.elapsed() < PATIENCE, "{name} is not attached to");
            std::thread::yield_now();
        }
        times.push(made.elapsed());
        stage.near.ip(&["link", "del", &name]).unwrap();
    }
    times.sort_unstable();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "proven: {devices} devices that come and go, each attached to after: {median:?} (median), {p99:?} (99th percentile) \
         from when `ip` had returned"
    );
    assert!(median < Duration::from_secs(1), "{median:?}");
    let last = format!("hot{}", devices - 1);
    let status = daemon.json_until(&["status"], |status| device(status, &last).is_null()).unwrap();
    assert!(!is_open(&status, "too_many_interfaces"), "{status:#}");
    ends_well(daemon);
}

/// Makes so many devices, `many0` and so on, as fast as it can be done.
fn many(stage: &Stage, devices: usize) {
    let lines: Vec<String> = (0..devices)
        .map(|number| format!("link add many{number} type veth peer name end{number} netns {}\n", stage.far.name()))
        .collect();
    let batch = stage.folder().join("batch");
    std::fs::write(&batch, lines.concat()).unwrap();
    stage.near.ip(&["-batch", batch.to_str().unwrap()]).unwrap();
}

#[test]
fn more_devices_than_can_be_told_apart_are_named_in_a_critical_finding_that_ends_when_there_is_room() {
    let stage = Stage::build(false).unwrap();
    // Each epoch reads what all of them have sent.
    let config = auto(&stage, "observe").replace("100ms", "1s");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    many(&stage, 256);
    let line = daemon.alerts.wait_for(0, 4 * PATIENCE, |line| line.contains("\"too_many_interfaces\"")).unwrap();
    assert!(line.contains("\"Critical\"") && line.contains("many255"), "{line}");
    let status = daemon.json(&["status"]).unwrap();
    let why = device(&status, "many255")["why"].clone();
    assert!(why.as_str().unwrap().contains("one interface too many"), "{why}");
    assert!(!is_open(&status, "interface_unavailable"), "{status:#}");
    for name in ["many1", "many2"] {
        stage.near.ip(&["link", "del", name]).unwrap();
    }
    let covered =
        |status: &Value| device(status, "many255")["since"].is_string() && !is_open(status, "too_many_interfaces");
    daemon.json_until(&["status"], covered).unwrap();
    ends_well(daemon);
}

#[test]
fn where_memory_max_leaves_no_slots_for_more_devices_they_are_named_and_it_is_not_tried_with_each_epoch() {
    let stage = Stage::build(false).unwrap();
    let config = auto(&stage, "observe").replace("[monitor]\n", "[monitor]\nmemory_max = 64\nflows = 32768\n");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    many(&stage, 12);
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"too_many_interfaces\"")).unwrap();
    // Those that were there by then; the status has all.
    assert!(line.contains("many"), "{line}");
    let tells = |status: &Value| device(status, "many11")["why"].as_str().is_some_and(|why| why.contains("raise it"));
    let status = daemon.json_until(&["status"], tells).unwrap();
    let why = device(&status, "many11")["why"].clone();
    assert!(why.as_str().unwrap().contains("[monitor] memory_max is 64 MiB: raise it"), "{why}");
    let epoch = |status: &Value| status["epoch"]["number"].as_u64().unwrap();
    let begun = epoch(&status);
    daemon.json_until(&["status"], |status| epoch(status) > begun + 10).unwrap();
    let tried = daemon.log.all().iter().filter(|line| line.contains("no slots could be made")).count();
    assert_eq!(tried, 1, "{:#?}", daemon.log.all());
    ends_well(daemon);
}

#[test]
fn what_a_device_sent_before_it_was_watched_is_told() {
    let stage = host();
    send(&stage.near, Some(SECOND));
    let daemon = Daemon::start(&stage.near, &auto(&stage, "observe"), &[]).unwrap();
    let row = device(&daemon.json(&["status"]).unwrap(), SECOND);
    assert_eq!(row["unwatched"]["packets"], PACKETS, "{row:#}");
    let text = String::from_utf8(daemon.ask(&["status", "--all"]).unwrap().stdout).unwrap();
    assert!(text.contains("eth1 (edge, tcx); boot window: 20 packets sent before"), "{text}");
    ends_well(daemon);
}

#[test]
fn a_device_whose_name_is_no_text_stops_nothing_and_is_told() {
    let stage = host();
    stage.near.ip(&["link", "set", SECOND, "down"]).unwrap();
    let mut command = stage.near.command("ip").unwrap();
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"od\xffd");
    assert!(command.args(["link", "set", SECOND, "name"]).arg(name).status().unwrap().success());
    let daemon = Daemon::start(&stage.near, &auto(&stage, "observe"), &[]).unwrap();
    let status = daemon.json(&["status"]).unwrap();
    assert!(device(&status, INTERFACE)["since"].is_string(), "{status:#}");
    assert_eq!(device(&status, "od\u{fffd}d")["why"], "its name is not UTF-8: rename it");
    // One that is watched already, too.
    let mut command = stage.near.command("ip").unwrap();
    stage.near.ip(&["link", "set", INTERFACE, "down"]).unwrap();
    let other = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xfe");
    assert!(command.args(["link", "set", INTERFACE, "name"]).arg(other).status().unwrap().success());
    daemon.json_until(&["status"], |status| device(status, "\u{fffd}")["since"].is_string()).unwrap();
    ends_well(daemon);
}

/// What decides in a container that was given a card whether its veth leads out.
#[test]
fn a_namespace_that_is_not_the_first_is_told_and_so_is_which_devices_have_a_way_of_their_own() {
    let stage = host();
    for arguments in
        [&["link", "add", "bare", "type", "veth", "peer", "name", "end"][..], &["link", "set", "bare", "up"]]
    {
        stage.near.ip(arguments).unwrap();
    }
    assert!(!stage.near.run(kernel::in_initial_namespace));
    let index = |name: &str| stage.near.run(|| netns::index(name).unwrap());
    let has_one = |name: &str| stage.near.run(|| kernel::own_ways().unwrap()).contains(&index(name));
    assert_eq!([INTERFACE, SECOND, "bare", "end"].map(has_one), [true, true, false, false]);
    // An address of the link alone, as every device has one, is none.
    stage.near.ip(&["address", "add", "169.254.7.1/16", "scope", "link", "dev", "bare"]).unwrap();
    assert!(!has_one("bare"));
    stage.near.ip(&["route", "add", "default", "dev", "bare", "metric", "9"]).unwrap();
    assert!(has_one("bare"));
}

#[test]
fn every_packet_is_counted_under_its_own_device_while_others_come_go_and_get_its_slot_and_its_index() {
    const ROUNDS: usize = 24;
    let stage = Stage::build(false).unwrap();
    let mut kernel = Kernel::load(Options { flows: 4096, cache: Some(512), ..Options::default() }, policy()).unwrap();
    let frames: Vec<Vec<u8>> = (1..=500)
        .map(|port| (eth() / ip(v4(INSIDE).into()) / udp_from(port, 20_000) / payload(usize::from(port) % 100)).bytes())
        .collect();
    stage.near.run(|| kernel.watch(&Interface::find(INTERFACE).unwrap(), None).unwrap());
    let sender = Sender::start(&stage.near, INTERFACE, 1, frames.clone()).unwrap();
    let mut drained = std::collections::BTreeMap::new();
    let mut flip = |kernel: &mut Kernel| {
        let snapshot = kernel.flip().unwrap();
        hook(&snapshot);
        for counts in snapshot.interfaces {
            *drained.entry(counts.name).or_insert(0) += counts.hook.packets;
        }
    };
    let mut waited = 0;
    for round in 0..ROUNDS {
        // Every second one gets the index of the one before.
        let (name, index) = (format!("hot{round}"), (500 + round / 2).to_string());
        let peer = ["type", "veth", "peer", "name", "end", "netns", stage.far.name()];
        stage.near.ip(&[&["link", "add", &name, "index", &index][..], &peer].concat()).unwrap();
        stage.far.ip(&["link", "set", "end", "arp", "off", "up"]).unwrap();
        stage.near.ip(&["link", "set", &name, "arp", "off", "up"]).unwrap();
        stage.near.run(|| {
            let interface = Interface::find(&name).unwrap();
            if kernel.watch(&interface, None).is_err() {
                waited += 1;
                flip(&mut kernel);
                kernel.watch(&interface, None).unwrap();
            }
            let sent = Flood::open(&name).unwrap().send(&frames).unwrap();
            assert_eq!(sent, Frames { sent: frames.len() as u64, refused: 0 });
            if round % 3 == 1 {
                flip(&mut kernel);
            }
            kernel.unwatch(interface.index);
        });
        stage.near.ip(&["link", "del", &name]).unwrap();
    }
    assert!(waited > 0, "an index is not given again within an epoch");
    let offered = sender.stop().unwrap();
    flip(&mut kernel);
    assert_eq!(drained.remove(INTERFACE), Some(offered.frames.sent + offered.frames.refused));
    for round in 0..ROUNDS {
        assert_eq!(drained.remove(&format!("hot{round}")), Some(frames.len() as u64), "hot{round}");
    }
    assert_eq!(drained.values().sum::<u64>(), 0, "{drained:?}");
}
