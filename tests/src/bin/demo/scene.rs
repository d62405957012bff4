//! The stage: an enclave host, a peer in Germany and a peer in Singapore, each a network namespace with real
//! programs in it, and what those peers really receive.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use egress_monitor_tests::{
    capture::{Capture, Captured, Direction, FlowId, flow},
    netns::{Count, Namespace, Statistics},
    ping::{echo_frame, ping},
    traffic::{TcpSink, Transfer, UdpSink, send_tcp, send_udp, udp_frame},
    wire::{Networks, Wire},
};

/// What the programs send to each address.
pub const TCP_BYTES: u64 = 1 << 20;
const DATAGRAMS: u64 = 100;
const DATAGRAM_SIZE: usize = 500;
const PINGS: u16 = 5;
const PING_SIZE: usize = 56;

const UDP_PORT: u16 = 4500;

/// How long a program waits for an answer before it gives up.
const TCP_PATIENCE: Duration = Duration::from_millis(1_300);
const PATIENCE: Duration = Duration::from_millis(300);

/// A peer and the network it is on.
#[derive(Debug)]
pub struct Place {
    /// For people.
    pub country: &'static str,
    /// ISO 3166.
    pub code: &'static str,
    /// The host's interface towards it.
    pub interface: &'static str,
    /// Its networks.
    pub networks: Networks,
    /// Its first and second address, each of both families.
    pub addresses: [[IpAddr; 2]; 2],
    source: [IpAddr; 2],
    /// What had arrived when a program was last waited for.
    arrived: BTreeMap<FlowId, Count>,
    capture: Capture,
    tcp: Vec<TcpSink>,
    udp: Vec<UdpSink>,
    _namespace: Namespace,
}

/// All three.
#[derive(Debug)]
pub struct Scene {
    /// Germany, Singapore. Dropped before the host: their wires end there.
    pub places: [Place; 2],
    /// The enclave host.
    pub host: Namespace,
    /// What the programs sent, where that is known in advance: by UDP and ICMP.
    pub sent: BTreeMap<FlowId, Count>,
}

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A transfer of [`TCP_BYTES`] to a port.
    Tcp(u16),
    /// Datagrams to port 4500.
    Udp,
    /// Echo requests.
    Ping,
}

/// How that went, at the receiving end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything arrived.
    Complete,
    /// Nothing arrived.
    Stopped,
    /// Some of it arrived.
    Partly(u64),
}

impl Scene {
    /// Builds it.
    pub fn build() -> Result<Self> {
        let host = Namespace::new("enclave")?;
        let places = [
            Place::build(&host, "Germany", "DE", "de0", Networks::number(49))?,
            Place::build(&host, "Singapore", "SG", "sg0", Networks::number(65))?,
        ];
        Ok(Self { places, host, sent: BTreeMap::new() })
    }

    /// Runs one program on the host: to address `address` (0 or 1) of place `place`, in family `family` (0: IPv4).
    pub fn send(&mut self, place: usize, address: usize, family: usize, errand: Errand) -> Result<Outcome> {
        let at = &self.places[place];
        let (source, destination) = (at.source[family], at.addresses[address][family]);
        match errand {
            Errand::Tcp(port) => {
                let from = SocketAddr::new(source, 0);
                let to = SocketAddr::new(destination, port);
                let sent = self.host.run(|| send_tcp(from, to, TCP_BYTES, TCP_PATIENCE))?;
                Ok(if matches!(sent, Transfer::Complete(_)) { Outcome::Complete } else { Outcome::Stopped })
            }
            Errand::Udp => {
                // One port an address, so that each address is one flow however often it is sent to.
                let from = SocketAddr::new(source, 40_000 + address as u16);
                let to = SocketAddr::new(destination, UDP_PORT);
                let sizes = [DATAGRAM_SIZE; DATAGRAMS as usize];
                self.host.run(|| send_udp(from, to, &sizes))?;
                let bytes = DATAGRAMS * udp_frame(destination, DATAGRAM_SIZE);
                self.arrival(place, flow(from, to, 17), Count { packets: DATAGRAMS, bytes })
            }
            Errand::Ping => {
                self.host.run(|| ping(source, destination, PINGS, PING_SIZE, PATIENCE))?;
                let (protocol, kind) = if destination.is_ipv4() { (1, 8) } else { (58, 128) };
                let id = FlowId { source, destination, protocol, source_port: 0, destination_port: kind << 8 };
                let count = u64::from(PINGS);
                self.arrival(place, id, Count { packets: count, bytes: count * echo_frame(destination, PING_SIZE) })
            }
        }
    }

    /// Notes what was sent and waits a moment for it at the other end.
    fn arrival(&mut self, place: usize, id: FlowId, sent: Count) -> Result<Outcome> {
        let sum = self.sent.entry(id).or_default();
        *sum = sum.plus(sent);
        let capture = &self.places[place].capture;
        let before = self.places[place].arrived.get(&id).copied().unwrap_or_default();
        let missing = |captured: &Captured| {
            let arrived = captured.flows.get(&id).copied().unwrap_or_default().since(before).packets;
            sent.packets.saturating_sub(arrived)
        };
        let captured = match capture.wait_until(PATIENCE, |captured| missing(captured) == 0) {
            Ok(captured) => captured,
            // Not all of it came, which is what some are here to show.
            Err(_) => capture.wait_until(PATIENCE, |_| true)?,
        };
        let missing = missing(&captured);
        self.places[place].arrived = captured.flows;
        Ok(match missing {
            0 => Outcome::Complete,
            all if all == sent.packets => Outcome::Stopped,
            some => Outcome::Partly(sent.packets - some),
        })
    }

    /// What the peers have received so far, flow by flow.
    pub fn received(&self) -> Result<BTreeMap<FlowId, Count>> {
        let mut flows = BTreeMap::new();
        for place in &self.places {
            flows.extend(place.capture.wait_until(PATIENCE, |_| true)?.flows);
        }
        Ok(flows)
    }

    /// The counters of the host's interfaces.
    pub fn statistics(&self) -> Result<Vec<(&'static str, Statistics)>> {
        self.places.iter().map(|place| Ok((place.interface, self.host.statistics(place.interface)?))).collect()
    }

    /// Stops the peers' programs. Transfers were checked byte for byte; gives their number and their bytes.
    pub fn close(self) -> Result<(usize, u64)> {
        let (mut transfers, mut bytes) = (0, 0);
        for place in self.places {
            for sink in place.tcp {
                let lengths = sink.stop()?;
                transfers += lengths.len();
                bytes += lengths.iter().sum::<u64>();
            }
            for sink in place.udp {
                sink.stop()?;
            }
            place.capture.stop()?;
        }
        Ok((transfers, bytes))
    }
}

impl Place {
    fn build(
        host: &Namespace,
        country: &'static str,
        code: &'static str,
        interface: &'static str,
        networks: Networks,
    ) -> Result<Self> {
        let namespace = Namespace::new(&country.to_lowercase())?;
        let wire = Wire::lay(host, interface, &namespace, "eth0", networks)?;
        let (second_v4, second_v6) = wire.add_far_host(host, &namespace, networks, 3)?;
        let addresses = [[wire.far.v4.into(), wire.far.v6.into()], [IpAddr::from(second_v4), IpAddr::from(second_v6)]];
        let mut tcp = Vec::new();
        let mut udp = Vec::new();
        for address in addresses.into_iter().flatten() {
            for port in [443, 80] {
                tcp.push(TcpSink::listen(&namespace, SocketAddr::new(address, port))?);
            }
            udp.push(UdpSink::bind(&namespace, SocketAddr::new(address, UDP_PORT))?);
        }
        let capture = Capture::start(&namespace, "eth0", Direction::Incoming)?;
        Ok(Self {
            country,
            code,
            interface,
            networks,
            addresses,
            source: [wire.near.v4.into(), wire.near.v6.into()],
            arrived: BTreeMap::new(),
            capture,
            tcp,
            udp,
            _namespace: namespace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_monitor_everything_arrives_and_all_counts_agree() {
        let mut scene = Scene::build().unwrap();
        let before = scene.statistics().unwrap();
        for (place, family) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for (address, errand) in [(0, Errand::Tcp(443)), (1, Errand::Tcp(80)), (0, Errand::Udp), (1, Errand::Ping)]
            {
                let outcome = scene.send(place, address, family, errand).unwrap();
                assert_eq!(outcome, Outcome::Complete, "{errand:?} to {place}, {address}, {family}");
            }
        }
        let sum = |flows: &BTreeMap<FlowId, Count>, wanted: fn(&FlowId) -> bool| {
            let wanted = flows.iter().filter(|(id, _)| wanted(id));
            wanted.fold(Count::default(), |sum, (_, count)| sum.plus(*count))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let received = scene.received().unwrap();
            let after = scene.statistics().unwrap();
            let interfaces = before.iter().zip(&after).map(|((_, old), (_, new))| new.sent.since(old.sent));
            let sent = interfaces.fold(Count::default(), Count::plus);
            let tcp = scene.host.tcp_segments_sent().unwrap();
            // The last acknowledgements may be on their way.
            if sum(&received, |_| true) == sent && sum(&received, |id| id.protocol == 6).packets == tcp {
                for (id, sent) in &scene.sent {
                    assert_eq!(received.get(id), Some(sent), "{id}");
                }
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{received:?} {sent:?} {tcp}");
        }
        assert_eq!(scene.close().unwrap(), (8, 8 * TCP_BYTES));
    }
}
