//! Promise: on a device without a link header (tun; WireGuard is the same) every packet is understood from its
//! first byte, counted as the program that reads the device gets it, and dropped when it must be.

use std::{
    fs::File,
    io::{self, Read as _},
};

use anyhow::{Context as _, Result, ensure};
use egress_monitor_tests::{daemon::Daemon, netns::Namespace, traffic::send_udp, tun::tun0};

const CONFIG: &str = r#"
[monitor]
interfaces = ["tun0"]

[management]
networks = []

[http]
listen = ""

[[site]]
name = "berlin"
country = "DE"
networks = ["198.18.49.0/24", "2001:db8:49::/64"]

[[site]]
name = "singapore"
country = "SG"
networks = ["198.18.65.0/24", "2001:db8:65::/64"]
"#;

/// UDP packets that have left by the device so far: how many, and their bytes.
fn received(device: &mut File) -> Result<(u64, u64)> {
    const UDP: u8 = 17;
    let mut packet = [0; 2048];
    let (mut packets, mut bytes) = (0, 0);
    loop {
        match device.read(&mut packet) {
            Ok(length) => {
                let protocol = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
                if protocol == UDP {
                    packets += 1;
                    bytes += length as u64;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((packets, bytes)),
            Err(error) => return Err(error).context("reading tun0"),
        }
    }
}

/// Packets and bytes of `flows` to this destination with this verdict.
fn counted(daemon: &Daemon, destination: &str, verdict: &str) -> Result<(u64, u64)> {
    let document = daemon.json(&["flows"])?;
    let rows = document["flows"].as_array().context("flows")?;
    let mut sums = (0, 0);
    for row in rows.iter().filter(|row| row["destination"] == destination && row["verdict"] == verdict) {
        sums.0 += row["packets"].as_u64().context("packets")?;
        sums.1 += row["bytes"].as_u64().context("bytes")?;
    }
    Ok(sums)
}

#[test]
fn packets_without_a_link_header_are_counted_and_dropped_exactly() -> Result<()> {
    let host = Namespace::new("tun")?;
    let mut device = host.run(tun0)?;
    for arguments in [
        &["link", "set", "tun0", "up"][..],
        &["address", "add", "198.18.49.1/16", "dev", "tun0"],
        &["address", "add", "2001:db8:49::1/32", "dev", "tun0", "nodad"],
    ] {
        host.ip(arguments)?;
    }
    let sizes: Vec<usize> = (1..=50).map(|i| i * 20).collect();
    let payload: u64 = sizes.iter().map(|size| *size as u64).sum();
    // IP and UDP headers; no link header.
    let v4 = (50, payload + 50 * 28);
    let v6 = (50, payload + 50 * 48);
    let send = |to: &str| {
        let from = if to.starts_with('[') { "[2001:db8:49::1]:4000" } else { "198.18.49.1:4000" };
        host.run(|| send_udp(from.parse()?, to.parse()?, &sizes))
    };

    let daemon = Daemon::start(&host, CONFIG, &["--enforce"])?;
    received(&mut device)?;
    send("198.18.49.2:9")?;
    assert_eq!(received(&mut device)?, v4);
    send("[2001:db8:49::2]:9")?;
    assert_eq!(received(&mut device)?, v6);
    send("198.18.65.2:9")?;
    send("[2001:db8:65::2]:9")?;
    assert_eq!(received(&mut device)?, (0, 0), "Singapore is dropped");
    assert_eq!(counted(&daemon, "198.18.49.2", "allowed")?, v4);
    assert_eq!(counted(&daemon, "2001:db8:49::2", "allowed")?, v6);
    assert_eq!(counted(&daemon, "198.18.65.2", "denied")?, v4);
    assert_eq!(counted(&daemon, "2001:db8:65::2", "denied")?, v6);
    let ended = daemon.stop()?;
    ensure!(ended.status.success(), "{:?}", ended.log);
    Ok(())
}
