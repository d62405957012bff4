//! The stage of the end-to-end tests: a host that runs the monitor, a peer on the other end of a silent wire with
//! addresses inside, outside and private, a configuration that makes them so, and the reading of what the monitor
//! counted. All are of the ranges for benchmarks and documentation, which sites alone can place: what is ambiguous,
//! unknown or carried in another address is tried in the kernel without a wire (`policy_in_kernel`).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    capture::{Capture, Captured, FlowId},
    corpus::build::{eth, ip, payload, udp},
    daemon::Daemon,
    leftovers,
    measure::pin,
    monitor::api::{Flows, Incidents, Status, Sums},
    netns::{Count, Namespace},
    traffic::send_udp,
    wire::{Networks, Wire},
};

/// For everything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The interface of either end.
pub const INTERFACE: &str = "eth0";

const NETWORKS: Networks = Networks::number(7);

/// A peer's address in Ireland, by the site map: inside.
pub const INSIDE: u8 = 2;
/// One in Singapore: outside.
pub const OUTSIDE: u8 = 3;
/// Its neighbour, with a rule that allows [`RULED_PORT`] by TCP and UDP.
pub const RULED: u8 = 4;
/// The neighbour on the other side: outside.
pub const NEIGHBOUR: u8 = 5;
/// One that nothing places, of a range for use inside networks of one's own.
pub const UNPLACED: u8 = 6;

/// What the rule allows.
pub const RULED_PORT: u16 = 4500;

/// After the configuration: 198.19.0.0/16 is in Singapore, to which frames alone go.
pub const ABROAD: &str = "\n[[site]]\nname = \"abroad\"\ncountry = \"SG\"\nnetworks = [\"198.19.0.0/16\"]\n";

/// A datagram to 198.19.`third`.`fourth`, with its Ethernet header.
#[must_use]
pub fn abroad(third: u8, fourth: u8) -> Vec<u8> {
    (eth() / ip(IpAddr::from([198, 19, third, fourth])) / udp(20_000) / payload(18)).bytes()
}

/// Host and peer. Traffic is made on the host (`near`), the peer (`far`) receives.
#[derive(Debug)]
pub struct Stage {
    /// The wire between them.
    pub wire: Wire,
    /// The monitored host.
    pub near: Namespace,
    /// The peer.
    pub far: Namespace,
    folder: TempDir,
    offloads: bool,
}

/// An IPv4 address of the peer by its number ([`INSIDE`]…).
#[must_use]
pub const fn v4(number: u8) -> Ipv4Addr {
    NETWORKS.host(number).0
}

/// The IPv6 address.
#[must_use]
pub const fn v6(number: u8) -> Ipv6Addr {
    NETWORKS.host(number).1
}

/// Both.
#[must_use]
pub const fn both(number: u8) -> [IpAddr; 2] {
    [IpAddr::V4(v4(number)), IpAddr::V6(v6(number))]
}

impl Stage {
    /// Builds it; `offloads`: whether the wire carries TCP super-packets.
    ///
    /// # Errors
    /// Not root, or no iproute2.
    pub fn build(offloads: bool) -> Result<Self> {
        let (near, far) = (Namespace::new("host")?, Namespace::new("peer")?);
        let networks = Networks { offloads, ..NETWORKS };
        let wire = Wire::lay(&near, INTERFACE, &far, INTERFACE, networks)?;
        for number in OUTSIDE..=UNPLACED {
            wire.add_far_host(&near, &far, networks, number)?;
        }
        let folder = leftovers::folder()?;
        // They contradict each other about the very addresses in use, on which no dataset has a say.
        for (name, country) in [("one", "IE"), ("two", "SG")] {
            let line = format!("2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,{country}\n");
            std::fs::write(folder.path().join(format!("{name}.csv")), line).context("a dataset")?;
        }
        Ok(Self { wire, near, far, folder, offloads })
    }

    /// The host's address of the family of `to`.
    #[must_use]
    pub fn source(&self, to: IpAddr) -> IpAddr {
        if to.is_ipv4() { self.wire.near.v4.into() } else { self.wire.near.v6.into() }
    }

    /// The same as a socket address, with any port.
    #[must_use]
    pub fn from(&self, to: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.source(to.ip()), 0)
    }

    /// A folder for files of the test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn dataset(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.csv"))
    }

    /// The configuration, with `monitor` as further lines of `[monitor]` and `zone` of `[zone]`.
    #[must_use]
    pub fn config(&self, monitor: &str, zone: &str) -> String {
        let place = |name: &str, country: &str, numbers: &[u8]| {
            let networks: Vec<String> =
                numbers.iter().map(|n| format!("\"{}/32\", \"{}/128\"", v4(*n), v6(*n))).collect();
            format!("[[site]]\nname = \"{name}\"\ncountry = \"{country}\"\nnetworks = [{}]\n", networks.join(", "))
        };
        // What no site places passes, so that there is something unplaced that does.
        let unknown = if zone.contains("on_unknown") { "" } else { "on_unknown = \"allow\"\n" };
        format!(
            "[monitor]\ninterfaces = [\"{INTERFACE}\"]\n{monitor}\n[zone]\nname = \"test\"\ninside = \"EEA\"\n{unknown}{zone}\n\
             [geo]\nsources = [\"{}\", \"{}\"]\n[management]\nnetworks = []\n[http]\nlisten = \"\"\n{}{}\
             [[allow]]\nid = \"ruled\"\nto = [\"{}\", \"{}\"]\nports = [\"udp/{RULED_PORT}\", \"tcp/{RULED_PORT}\"]\n\
             reason = \"a test\"\n",
            self.dataset("one").display(),
            self.dataset("two").display(),
            place("dublin", "IE", &[INSIDE]),
            place("singapore", "SG", &[OUTSIDE, RULED, NEIGHBOUR]),
            v4(RULED),
            v6(RULED),
        )
    }

    /// What the host's interface has sent since it was made.
    ///
    /// # Errors
    /// It is gone.
    pub fn sent(&self) -> Result<Count> {
        Ok(self.near.statistics(INTERFACE)?.sent)
    }

    /// Sends datagrams of one byte there; whether they left: all of them or none.
    ///
    /// # Errors
    /// They can't be sent, or some left and some did not.
    pub fn leaves(&self, to: SocketAddr, datagrams: usize) -> Result<bool> {
        let before = self.sent()?;
        self.near.run(|| send_udp(self.from(to), to, &vec![1; datagrams]))?;
        let left = self.sent()?.since(before).packets;
        ensure!(left == 0 || left == datagrams as u64, "{left} of {datagrams} packets left");
        Ok(left > 0)
    }

    /// What the peer's interface has received since it was made.
    ///
    /// # Errors
    /// It is gone.
    pub fn received(&self) -> Result<Count> {
        Ok(self.far.statistics(INTERFACE)?.received)
    }

    /// Sums as the interface counts them: with offloads it sends what the hook saw; without, the kernel cuts TCP's
    /// super-packets up between hook and interface, and only segments and wire bytes are the same on both sides.
    #[must_use]
    pub const fn as_sent(&self, sums: &Sums) -> Count {
        if self.offloads { count(sums) } else { wire_count(sums) }
    }

    /// Asks until the wire is quiet and the monitor's hook total is `before` plus what the interface has sent since
    /// then, plus what the monitor dropped: the last acknowledgements are on their way when programs are done. Gives
    /// the flows at that moment and what the capture had.
    ///
    /// # Errors
    /// That is never so; says both.
    pub fn when_quiet(&self, daemon: &Daemon, capture: &Capture, before: Count) -> Result<(Flows, Captured)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let first = self.sent()?.since(before);
            let flows = flows(daemon)?;
            let second = self.sent()?.since(before);
            let dropped = denied(&flows).plus(unparsed(daemon, "dropped")?);
            let hook = self.as_sent(&flows.hook);
            let passed = Count { packets: hook.packets - dropped.packets, bytes: hook.bytes - dropped.bytes };
            let captured = capture.wait_until(PATIENCE, |captured| captured.total.packets >= second.packets)?;
            if first == second && passed == second && captured.total.packets == second.packets {
                return Ok((flows, captured));
            }
            if Instant::now() > deadline {
                bail!(
                    "the hook let pass {passed:?} (of {:?}), the interface sent {second:?}, the peer captured {:?}",
                    flows.hook,
                    captured.total
                );
            }
        }
    }
}

/// `flows --json` with every flow.
///
/// # Errors
/// The daemon does not answer, or with something else.
pub fn flows(daemon: &Daemon) -> Result<Flows> {
    let answer = daemon.json(&["flows", "--top", "100000"])?;
    let flows: Flows = serde_json::from_value(answer).context("`flows --json` has another form")?;
    ensure!(flows.rest.flows == 0, "more flows than were asked for");
    Ok(flows)
}

/// `status --json`.
///
/// # Errors
/// The daemon does not answer, or with something else.
pub fn status(daemon: &Daemon) -> Result<Status> {
    serde_json::from_value(daemon.json(&["status"])?).context("`status --json` has another form")
}

/// Closes the epoch and asks for the incidents that are open.
///
/// # Errors
/// The daemon does not answer so.
pub fn incidents(daemon: &Daemon) -> Result<Incidents> {
    let client = monitor_api::client::Client::new(daemon.home().socket());
    client.get("/api/v1/incidents?fresh=1").context("incidents")
}

/// Packets and bytes of flows that the monitor says it dropped. What it could not parse and dropped is not in.
#[must_use]
pub fn denied(flows: &Flows) -> Count {
    let rows = flows.flows.iter().filter(|row| row.verdict == "denied");
    rows.fold(Count::default(), |sum, row| sum.plus(count(&row.sums)))
}

/// Packets that had no flow and `passed` or were `dropped`, over all reasons.
///
/// # Errors
/// The daemon does not answer.
pub fn unparsed(daemon: &Daemon, what: &str) -> Result<Count> {
    let status = daemon.json(&["status"])?;
    let rows = status["unparsed"].as_array().context("`status --json` has no unparsed")?;
    let number = |row: &serde_json::Value, key: &str| row[what][key].as_u64().context("a number in unparsed");
    rows.iter().try_fold(Count::default(), |sum, row| {
        Ok(sum.plus(Count { packets: number(row, "packets")?, bytes: number(row, "bytes")? }))
    })
}

/// Packets and bytes alone.
#[must_use]
pub const fn count(sums: &Sums) -> Count {
    Count { packets: sums.packets, bytes: sums.bytes }
}

/// Segments and bytes on the wire.
#[must_use]
pub const fn wire_count(sums: &Sums) -> Count {
    Count { packets: sums.segments, bytes: sums.wire_bytes }
}

/// What the parts of the document sum up to: the hook total, if nothing is lost.
#[must_use]
pub fn accounted(flows: &Flows) -> Sums {
    let rows = flows.flows.iter().map(|row| row.sums);
    let parts = [flows.rest.sums, flows.evicted.sums, flows.overflow, flows.unparsed];
    rows.chain(parts).fold(Sums::default(), |sum, part| Sums {
        packets: sum.packets + part.packets,
        segments: sum.segments + part.segments,
        bytes: sum.bytes + part.bytes,
        wire_bytes: sum.wire_bytes + part.wire_bytes,
    })
}

/// The flows with this verdict as the capture tells them apart, by [`count`] or [`wire_count`].
#[must_use]
pub fn by_flow(flows: &Flows, size: fn(&Sums) -> Count, verdict: impl Fn(&str) -> bool) -> BTreeMap<FlowId, Count> {
    let mut sums: BTreeMap<FlowId, Count> = BTreeMap::new();
    for row in flows.flows.iter().filter(|row| verdict(&row.verdict)) {
        let id = FlowId {
            source: row.source,
            destination: row.destination,
            protocol: row.protocol,
            source_port: row.source_port,
            destination_port: row.destination_port,
        };
        let sum = sums.entry(id).or_default();
        *sum = sum.plus(size(&row.sums));
    }
    sums
}

/// Runs `work` inside `namespace` on one CPU, beside the caller.
///
/// # Errors
/// The namespace's handle cannot be duplicated.
///
/// # Panics
/// The thread, if there is no CPU to run on.
pub fn on_cpu<T: Send + 'static>(
    namespace: &Namespace,
    cpu: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    namespace.spawn(move || {
        pin(cpu).expect("a CPU to run on");
        work()
    })
}
