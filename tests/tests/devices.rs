//! Promise: what leaves by a device that is stacked on others, or by a tunnel that encrypts, is judged, dropped where it is
//! to be, and counted once (by a device that encrypts, apart); and no device's own account is in doubt, idle or not.
//!
//! A kernel that has no such device fails the test. Those for clouds, and this machine's it may be, have hardly any of them:
//! `cargo xtask prove kernels` runs this on Debian's generic ones.

use std::{collections::BTreeMap, fs, process::Stdio};

use egress_monitor_tests::{
    daemon::Daemon,
    netns::Namespace,
    stage::{PATIENCE, Stage, flows, incidents, status},
    team,
    wire::{Networks, Wire},
};

use crate::support::{
    cards::{FAR, PACKETS, SECOND, auto, ends_well, know, mac, second},
    ways::{Peer, Way, is_judged, lead, route, way_is_judged},
};

/// The wires beneath a bond or team.
const SLAVES: [&str; 2] = ["s0", "s1"];

/// A host with a second card, and that card's peer.
fn host() -> (Stage, Wire) {
    let stage = Stage::build(false).unwrap();
    let wire = second(&stage);
    (stage, wire)
}

#[test]
#[ignore = "takes VLAN devices: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_a_vlan_is_judged_and_counted_at_its_card() {
    let (stage, _) = host();
    for end in [&stage.near, &stage.far] {
        end.ip(&["link", "add", "link", SECOND, "name", "eth1.5", "type", "vlan", "id", "5"]).unwrap();
    }
    stage.far.ip(&["link", "set", "eth1.5", "up"]).unwrap();
    lead(&stage, "eth1.5", &mac(&stage.far, "eth1.5"));
    way_is_judged(&stage, Way { device: "eth1.5", ..Way::default() });
}

/// Two wires whose ends are slaves of a bond, or ports of a team, on either side.
fn stack(stage: &Stage, name: &str, kind: &[&str], set_up: impl Fn(&Namespace)) {
    for (number, slave) in (9..).zip(SLAVES) {
        Wire::lay(&stage.near, slave, &stage.far, slave, Networks::number(number)).unwrap();
    }
    for end in [&stage.near, &stage.far] {
        end.ip(&[&["link", "add", name, "type"][..], kind].concat()).unwrap();
        set_up(end);
        for slave in SLAVES {
            end.ip(&["link", "set", slave, "down"]).unwrap();
            end.ip(&["link", "set", slave, "master", name]).unwrap();
        }
    }
    stage.far.ip(&["link", "set", name, "up"]).unwrap();
    lead(stage, name, &mac(&stage.far, name));
}

/// Above two slaves.
fn above_slaves<'a>(device: &'a str, counted: &'a [(&'a [&'a str], u64)], copies: u64) -> Way<'a> {
    Way { device, why: "its packets pass s0, s1", counted, copies, ..Way::default() }
}

fn bond(mode: &[&str], counted: &[(&[&str], u64)], copies: u64) {
    let stage = Stage::build(false).unwrap();
    stack(&stage, "bond0", &[&["bond", "miimon", "100", "mode"][..], mode].concat(), |_| ());
    way_is_judged(&stage, above_slaves("bond0", counted, copies));
}

#[test]
#[ignore = "takes bonds: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_a_bond_with_one_active_slave_is_judged_and_counted_once_at_its_slaves() {
    bond(&["active-backup"], &[(&SLAVES, PACKETS)], 1);
}

#[test]
#[ignore = "takes bonds: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_the_slaves_of_a_bond_in_turn_is_judged_and_counted_once_at_its_slaves() {
    bond(&["balance-rr"], &[(&SLAVES, PACKETS)], 1);
}

#[test]
#[ignore = "takes bonds: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_a_bond_distributes_by_a_hash_is_judged_and_counted_once_at_its_slaves() {
    bond(&["balance-xor"], &[(&SLAVES, PACKETS)], 1);
}

#[test]
#[ignore = "takes bonds: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_an_aggregate_is_judged_and_counted_once_at_its_slaves_beside_lacp() {
    bond(&["802.3ad", "lacp_rate", "fast"], &[(&SLAVES, PACKETS)], 1);
}

#[test]
#[ignore = "takes bonds: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_a_bond_sends_by_all_slaves_is_judged_and_counted_copy_by_copy() {
    bond(&["broadcast"], &[(&["s0"], PACKETS), (&["s1"], PACKETS)], 2);
}

#[test]
#[ignore = "takes team devices: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_a_team_is_judged_and_counted_once_at_its_ports() {
    let stage = Stage::build(false).unwrap();
    stack(&stage, "team0", &["team"], |end| end.run(|| team::round_robin("team0")).unwrap());
    way_is_judged(&stage, above_slaves("team0", &[(&SLAVES, PACKETS)], 1));
}

#[test]
#[ignore = "takes VRF devices: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_a_vrf_is_judged_and_counted_at_its_slave_and_the_vrf_itself_is_refused() {
    let (stage, wire) = host();
    stage.near.ip(&["link", "add", "blue", "type", "vrf", "table", "10"]).unwrap();
    stage.near.ip(&["link", "set", "blue", "up"]).unwrap();
    stage.near.ip(&["link", "set", SECOND, "master", "blue"]).unwrap();
    route(&stage, SECOND, &["table", "10"]);
    // The card went down and up, and has forgotten its neighbours.
    know(&stage.near, SECOND, &mac(&stage.far, &wire.far.interface));
    let peer = Peer::open(&stage);
    peer.hears(&stage, "blue");
    ends_well(is_judged(&stage, &peer, Way { device: "blue", ..Way::default() }));

    let config = auto(&stage, "observe").replace("\"auto\"", "\"auto\", \"blue\"");
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"interface_unavailable\"")).unwrap();
    assert!(line.contains("no packet passes the hook of a VRF: name its slaves (eth1)"), "{line}");
    ends_well(daemon);
}

#[test]
#[ignore = "takes dummy devices: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_is_sent_to_a_dummy_where_there_is_no_hardware_is_judged_and_counted_there() {
    let stage = Stage::build(false).unwrap();
    stage.near.ip(&["link", "add", "dum0", "type", "dummy"]).unwrap();
    lead(&stage, "dum0", "02:00:00:00:00:09");
    let peer = Peer::open(&stage);
    let way = Way { device: "dum0", role: "edge", why: "", counted: &[(&["dum0"], PACKETS)], copies: 0, config: "" };
    ends_well(is_judged(&stage, &peer, way));
}

fn ipvlan(mode: &str) {
    let (stage, wire) = host();
    stage.near.ip(&["link", "add", "link", SECOND, "name", "ipvl0", "type", "ipvlan", "mode", mode]).unwrap();
    let peer = mac(&stage.far, &wire.far.interface);
    lead(&stage, "ipvl0", &peer);
    // By layer 3 it asks the card's routes and neighbours.
    route(&stage, SECOND, &["metric", "100"]);
    know(&stage.near, SECOND, &peer);
    way_is_judged(&stage, Way { device: "ipvl0", ..Way::default() });
}

#[test]
#[ignore = "takes ipvlan devices: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_an_ipvlan_on_layer_2_is_judged_and_counted_at_its_card() {
    ipvlan("l2");
}

#[test]
#[ignore = "takes ipvlan devices: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_an_ipvlan_on_layer_3_is_judged_and_counted_at_its_card() {
    ipvlan("l3");
}

#[test]
#[ignore = "takes ipvlan devices: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_an_ipvlan_on_layer_3_with_filters_is_judged_and_counted_at_its_card() {
    ipvlan("l3s");
}

/// Counted before it is encrypted.
fn inner<'a>(device: &'a str, counted: &'a [(&'a [&'a str], u64)]) -> Way<'a> {
    Way { device, role: "inner", why: "counted apart, before it is encrypted", counted, ..Way::default() }
}

/// What all edges have counted.
fn edges(daemon: &Daemon) -> u64 {
    let interfaces = status(daemon).unwrap().interfaces;
    interfaces.iter().filter(|one| one.role.as_deref() == Some("edge")).map(|one| one.total.packets).sum()
}

/// What the last line of the table of totals says, or the last but one where something is counted apart.
fn all(daemon: &Daemon) -> u64 {
    let text = String::from_utf8(daemon.ask(&["status", "--all"]).unwrap().stdout).unwrap();
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("all ")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().next().unwrap().replace(',', "").parse().unwrap()
}

#[test]
#[ignore = "takes WireGuard: `cargo xtask prove kernels` runs it on kernels that have it"]
fn what_leaves_by_wireguard_is_judged_before_it_is_encrypted_and_counted_apart() {
    let stage = Stage::build(false).unwrap();
    let key = stage.folder().join("key");
    let key = key.to_str().unwrap();
    let wg = |end: &Namespace, arguments: &[&str]| {
        let output = end.command("wg").unwrap().args(arguments).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "wg {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let public = [&stage.near, &stage.far].map(|end| {
        fs::write(key, wg(end, &["genkey"])).unwrap();
        end.ip(&["link", "add", "wg0", "type", "wireguard"]).unwrap();
        wg(end, &["set", "wg0", "private-key", key, "listen-port", "51820"]);
        end.ip(&["link", "set", "wg0", "up"]).unwrap();
        wg(end, &["show", "wg0", "public-key"])
    });
    let [near, far] = [stage.wire.near.v4, stage.wire.far.v4].map(|address| format!("{address}:51820"));
    let peer = ["allowed-ips", "198.18.0.0/15", "endpoint"];
    wg(&stage.near, &[&["set", "wg0", "peer", &public[1]][..], &peer, &[&far]].concat());
    wg(&stage.far, &[&["set", "wg0", "peer", &public[0]][..], &peer, &[&near]].concat());
    route(&stage, "wg0", &[]);
    let peer = Peer::open(&stage);
    peer.hears(&stage, "wg0");
    let daemon = is_judged(&stage, &peer, inner("wg0", &[(&["wg0"], PACKETS)]));
    // Outside it is one more flow, to where the tunnel ends, which is inside.
    let rows = flows(&daemon).unwrap().flows;
    let tunnel: Vec<_> = rows.iter().filter(|row| row.opaque.as_deref() == Some("wireguard")).collect();
    assert!(!tunnel.is_empty() && tunnel.iter().all(|row| row.interface == "eth0" && row.verdict == "allowed"));
    let told = daemon.alerts.all().iter().filter(|line| line.contains("\"class_uid\":4001")).count();
    let forbidden =
        |verdict| rows.iter().filter(|row| row.destination == FAR.ip() && row.verdict == verdict).count() as u64;
    let open = incidents(&daemon).unwrap().incidents;
    let counted: BTreeMap<_, _> = open.iter().map(|row| (row.verdict.as_str(), row.flows)).collect();
    let expected = ["denied", "observed"].map(|verdict| (verdict, forbidden(verdict)));
    assert_eq!(counted, expected.into(), "none is for the tunnel");
    assert_eq!((open.len(), told), (2, 2));
    // Meanwhile the tunnel may say that it is alive.
    let (before, shown, after) = (edges(&daemon), all(&daemon), edges(&daemon));
    assert!((before..=after).contains(&shown), "the sum is over edges: {before}, {shown}, {after}");
    ends_well(daemon);
}

#[test]
#[ignore = "takes xfrm interfaces: `cargo xtask prove kernels` runs it on kernels that have them"]
fn what_leaves_by_an_xfrm_interface_is_judged_before_it_is_encrypted_and_counted_apart() {
    let stage = Stage::build(false).unwrap();
    let [near, far] = [stage.wire.near.v4, stage.wire.far.v4].map(|address| address.to_string());
    let to = format!("{}/32", FAR.ip());
    let ends = ["src", &near, "dst", &far, "proto", "esp"];
    let template = [&["tmpl"][..], &ends, &["reqid", "1", "mode", "tunnel"]].concat();
    let cipher = ["aead", "rfc4106(gcm(aes))", "0x000102030405060708090a0b0c0d0e0f10111213", "128"];
    stage.near.ip(&["link", "add", "ipsec0", "type", "xfrm", "dev", "eth0", "if_id", "42"]).unwrap();
    stage.near.ip(&["link", "set", "ipsec0", "up"]).unwrap();
    for (end, direction, id) in [(&stage.near, "out", &["if_id", "42"][..]), (&stage.far, "in", &[][..])] {
        let state =
            [&["xfrm", "state", "add"][..], &ends, &["spi", "0x1000", "reqid", "1", "mode", "tunnel"], id, &cipher];
        end.ip(&state.concat()).unwrap();
        let policy = ["xfrm", "policy", "add", "src", "0.0.0.0/0", "dst", &to, "dir", direction];
        end.ip(&[&policy[..], id, &template].concat()).unwrap();
    }
    route(&stage, "ipsec0", &[]);
    way_is_judged(&stage, inner("ipsec0", &[(&["ipsec0"], PACKETS)]));
}

#[test]
#[ignore = "takes MACsec: `cargo xtask prove kernels` runs it on kernels that have it"]
fn what_leaves_by_macsec_is_judged_before_it_is_encrypted_and_counted_apart() {
    let (stage, _) = host();
    let keys = ["00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"];
    for (end, other, [own, theirs]) in [(&stage.near, &stage.far, keys), (&stage.far, &stage.near, [keys[1], keys[0]])]
    {
        let other = mac(other, SECOND);
        let sa = ["sa", "0", "pn", "1", "on", "key"];
        let from = ["rx", "port", "1", "address", &other];
        end.ip(&["link", "add", "link", SECOND, "name", "macsec0", "type", "macsec", "port", "1", "encrypt", "on"])
            .unwrap();
        end.ip(&[&["macsec", "add", "macsec0", "tx"][..], &sa, &["01", own]].concat()).unwrap();
        end.ip(&[&["macsec", "add", "macsec0"][..], &from].concat()).unwrap();
        end.ip(&[&["macsec", "add", "macsec0"][..], &from, &sa, &["02", theirs]].concat()).unwrap();
    }
    stage.far.ip(&["link", "set", "macsec0", "up"]).unwrap();
    lead(&stage, "macsec0", &mac(&stage.far, "macsec0"));
    // The other end of the wire is ours: what its frames carry was judged before.
    let way =
        Way { config: "[zone.undecodable]\nmacsec = \"allow\"\n", ..inner("macsec0", &[(&["macsec0"], PACKETS)]) };
    way_is_judged(&stage, way);
}
