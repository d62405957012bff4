//! A host with a second card, and what is sent to a far address behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use egress_monitor_tests::{
    daemon::Daemon,
    netns::Namespace,
    stage::{INTERFACE, Stage},
    wire::{Networks, Wire},
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// The second card.
pub const SECOND: &str = "eth1";
/// Outside, and on neither card's own network.
pub const FAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 66, 9)), 9);
/// Packets that are sent each time.
pub const PACKETS: u64 = 20;

/// Plugs the second card in.
pub fn second(stage: &Stage) -> Wire {
    Wire::lay(&stage.near, SECOND, &stage.far, SECOND, Networks::number(8)).unwrap()
}

/// A configuration for everything by which packets leave the host, in which the far address is outside.
pub fn auto(stage: &Stage, mode: &str) -> String {
    let config = stage.config(&format!("mode = \"{mode}\"\nepoch = \"100ms\""), "");
    let site = "[[site]]\nname = \"far\"\ncountry = \"SG\"\nnetworks = [\"198.18.66.0/24\"]\n";
    config.replace(&format!("[\"{INTERFACE}\"]"), "[\"auto\"]") + site
}

/// The Ethernet address of a device.
pub fn mac(namespace: &Namespace, device: &str) -> String {
    let links: Value = serde_json::from_str(&namespace.ip(&["-j", "link", "show", "dev", device]).unwrap()).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

/// Has what `device` sends to the far address go to this neighbour.
pub fn know(namespace: &Namespace, device: &str, mac: &str) {
    let far = FAR.ip().to_string();
    namespace.ip(&["neighbour", "replace", &far, "lladdr", mac, "dev", device, "nud", "permanent"]).unwrap();
}

/// Sends, each packet by a socket of its own; a drop is no failure.
pub fn send(namespace: &Namespace, device: Option<&str>) {
    namespace.run(|| {
        for _ in 0..PACKETS {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.bind_device(device.map(str::as_bytes)).unwrap();
            let _ = UdpSocket::from(socket).send_to(&[7; 50], FAR);
        }
    });
}

/// Stops it; it must not have found any packet that was not judged.
#[track_caller]
pub fn ends_well(daemon: Daemon) {
    let ended = daemon.stop().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    for defect in ["conservation_breach", "unaccounted_egress", "unwatched_egress"] {
        assert!(!ended.alerts.iter().any(|line| line.contains(defect)), "{:#?}", ended.alerts);
    }
}

/// The row of a device.
pub fn device(status: &Value, name: &str) -> Value {
    let rows = status["coverage"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).cloned().unwrap_or(Value::Null)
}
