//! Promise: the kernel does with a destination exactly what `explain` says, under the real embedded datasets: class,
//! country, rule, verdict and alert are the same, and under enforce what is outside, ambiguous or unknown and has no
//! rule is dropped, and what a deny rule covers, inside too. At every boundary of the compiled table the kernel finds the
//! class and rule that the host finds. Of a packet with a further destination it does what `explain` says of the stricter of the two.
//! Packets go through the loaded program (BPF_PROG_TEST_RUN) and nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, OnceLock},
};

use egress_monitor_tests::{
    corpus::{
        build::{
            Stack, esp, eth, gre, icmp, icmpv6, ip, ports,
            proto::{ESP, GRE, ICMP, ICMPV6, IPIP, IPV6, SCTP, TCP, UDP},
            raw, tcp, udp,
        },
        policy::NAT64,
    },
    leftovers,
    monitor::{
        config::{self, Spec},
        geo::{self, Range, Space, special},
        kernel::boot_ns,
        now,
        policy::{self, ClockMap, ExplainInputs, Explanation, Knowledge, Policy, Target, explain, has_ports},
    },
};
use monitor_common::{
    classify::classify,
    verdict::{Verdict, decide},
    wire::{Address, FlowKey, FullKey, Link},
};

use crate::support::machine::{DROP, Machine, NEXT, random, run};

/// Sites that contradict the datasets, one of them below a /64, and rules of every kind.
const SITES_AND_RULES: &str = r#"
[[site]]
name = "dublin"
country = "IE"
networks = ["10.32.0.0/12", "8.8.4.0/24", "2001:db8:1::/48", "2001:4860:4860::8844/128"]

[[site]]
name = "singapore"
country = "SG"
networks = ["10.64.0.0/10", "5.9.0.128/25", "2001:db8:4::/48"]

[[allow]]
id = "resolver"
to = ["8.8.8.8/32", "2001:4860:4860::8888/128"]
ports = ["udp/53", "tcp/853"]
reason = "a test"

[[allow]]
id = "not-yet"
to = ["8.8.8.0/24", "2001:4860::/32"]
reason = "a test"
not_before = 2098-01-01T00:00:00Z

[[allow]]
id = "migration"
to = ["10.64.8.0/24", "2001:db8:4:8::/64"]
reason = "a test"
expires = 2099-01-01T00:00:00Z

[[allow]]
id = "relay"
to = ["64:ff9b::/96", "2002::/16"]
ports = ["udp/4500-4510"]
reason = "a test"

[[deny]]
id = "telnet"
to = ["0.0.0.0/0", "::/0"]
ports = ["tcp/23"]
reason = "a test"

[[deny]]
id = "lab"
to = ["10.32.8.0/24"]
reason = "a test"

[[allow]]
id = "lab-ssh"
to = ["10.32.8.0/24"]
ports = ["tcp/22"]
reason = "a test"

[[deny]]
id = "ireland-sctp"
to = ["Ireland"]
ports = ["sctp"]
reason = "a test"

[management]
networks = ["10.32.8.7/32"]
ports = ["udp/161", "tcp/22"]
"#;

/// Those of them that deny.
const DENYING: [&str; 3] = ["telnet", "lab", "ireland-sctp"];

/// Random packets of each family, in each mode; the ring holds their events.
const RANDOM: usize = 10_000;

/// A configuration, what it was compiled from, and when.
struct World {
    config: Spec,
    policy: Arc<Policy>,
    clock: ClockMap,
}

fn knowledge() -> &'static Knowledge {
    static KNOWLEDGE: OnceLock<Knowledge> = OnceLock::new();
    KNOWLEDGE.get_or_init(|| Knowledge::new(&geo::load("embedded").unwrap(), special::table()))
}

impl World {
    /// `zone`: the lines of `[zone]`.
    fn new(zone: &str) -> Self {
        let folder = leftovers::folder().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, format!("[zone]\nnat64 = {NAT64:?}\n{zone}\n{SITES_AND_RULES}")).unwrap();
        let config = config::load(Some(&file)).unwrap_or_else(|error| panic!("{error}"));
        let clock = ClockMap { realtime_ns: i64::try_from(now()).unwrap(), boottime_ns: boot_ns() };
        let policy = Arc::new(policy::compile(&config.spec, knowledge(), &clock).unwrap());
        Self { config: config.spec, policy, clock }
    }

    fn explain(&self, end: End) -> Explanation {
        let End { to: address, protocol, port } = end;
        let grounds =
            ExplainInputs { spec: &self.config, knowledge: knowledge(), policy: &self.policy, clock: self.clock };
        let target = Target { address, port, protocol: Some(protocol) };
        explain(&target, &grounds).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What the kernel noted of a flow, in words.
    fn noted(&self, key: &FlowKey, alert: bool) -> Answer {
        let info = &self.policy.classes[usize::from(key.class_id)];
        Answer {
            country: info.country.to_string(),
            class: info.class.name(),
            rule: usize::from(key.rule).checked_sub(1).map(|number| self.policy.rules[number].id.clone()),
            verdict: Verdict::from_wire(key.verdict).name(),
            alert,
        }
    }

    /// What the kernel has to make of a packet: of two destinations the stricter decides, of equals the outer.
    fn decisive(&self, packet: &Packet) -> Explanation {
        let outer = self.explain(packet.end);
        match packet.inner.map(|inner| self.explain(inner)) {
            Some(inner) if rank(&inner) > rank(&outer) => inner,
            _ => outer,
        }
    }

    /// Sends packets through the kernel, holds all that it does against `explain`, and gives that.
    fn hold(&self, machine: &mut Machine, enforce: bool, packets: &[Packet]) -> BTreeMap<Packet, Answer> {
        let mut explained: BTreeMap<Packet, (Answer, u64)> = BTreeMap::new();
        for packet in packets {
            let story = self.decisive(packet);
            let frame = packet.frame();
            let returned = run(&mut machine.kernel, &frame, frame.len() as u32, 1);
            let answer = Answer {
                verdict: if enforce { story.enforce } else { story.observe },
                country: story.country,
                class: story.class,
                rule: story.rule,
                alert: story.alert,
            };
            let denied = answer.verdict == "denied";
            assert_eq!(returned, if denied { DROP } else { NEXT }, "{packet:?}: {}", story.reason);
            assert!(enforce || !denied, "{packet:?}");
            explained.entry(*packet).or_insert((answer, 0)).1 += 1;
        }
        let drained = machine.kernel.flip().unwrap();
        assert_eq!(drained.events_lost, 0);
        let alerted: BTreeSet<FullKey> =
            std::iter::from_fn(|| machine.events.ready()).map(|event| event.flow).collect();
        let mut noted = BTreeMap::new();
        for (key, value) in &drained.flows {
            let answer = (self.noted(&key.flow, alerted.contains(key)), value.counters.packets);
            assert_eq!(noted.insert(Packet::from(key), answer), None, "noted twice: {key:x?}");
        }
        for (packet, answer) in &explained {
            assert_eq!(noted.get(packet), Some(answer), "{packet:?}");
        }
        assert_eq!(noted.len(), explained.len());
        assert!(alerted.iter().all(|key| noted.contains_key(&Packet::from(key))));
        explained.into_iter().map(|(packet, (answer, _))| (packet, answer)).collect()
    }

    /// 20 addresses of a class, if there are as many, out of those right behind the datasets' ranges.
    fn examples(&self, class: &str, v6: bool) -> Vec<Packet> {
        let v4 =
            knowledge().datasets.iter().flat_map(|dataset| &dataset.v4).filter_map(|range| range.last.checked_add(1));
        let beyond =
            knowledge().datasets.iter().flat_map(|dataset| &dataset.v6).filter_map(|range| range.last.checked_add(1));
        let all: Box<dyn Iterator<Item = IpAddr>> = if v6 {
            Box::new(beyond.map(|address| Ipv6Addr::from(address).into()))
        } else {
            Box::new(v4.map(|address| Ipv4Addr::from(address).into()))
        };
        let ends = all.map(|to| End { to, protocol: UDP, port: Some(9) });
        ends.filter(|end| self.explain(*end).class == class).take(20).map(Packet::from).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    country: String,
    class: &'static str,
    rule: Option<String>,
    verdict: &'static str,
    alert: bool,
}

/// How strict the policy is: denied, alerted of, let through by a rule, allowed.
fn rank(story: &Explanation) -> u8 {
    match story {
        _ if story.enforce == "denied" => 3,
        _ if story.alert => 2,
        _ if story.rule.is_some() => 1,
        _ => 0,
    }
}

/// One way to send to an address: with a port if the protocol has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    to: IpAddr,
    protocol: u8,
    port: Option<u16>,
}

impl End {
    fn new(to: IpAddr, protocol: u8, port: u16) -> Self {
        Self { to, protocol, port: has_ports(protocol).then_some(port) }
    }
}

/// A packet to there, and what it carries on to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    end: End,
    inner: Option<End>,
}

impl From<End> for Packet {
    fn from(end: End) -> Self {
        Self { end, inner: None }
    }
}

impl From<&str> for Packet {
    /// As `explain` takes it on the command line.
    fn from(text: &str) -> Self {
        let target: Target = text.parse().unwrap();
        let protocol = target.protocol.expect("a protocol");
        assert_eq!(target.port.is_some(), has_ports(protocol), "{text} cannot be sent");
        Self::from(End { to: target.address, protocol, port: target.port })
    }
}

impl From<&FullKey> for Packet {
    fn from(FullKey { flow, inner }: &FullKey) -> Self {
        Self {
            end: End::new(flow.ip(flow.destination), flow.protocol, flow.destination_port),
            inner: inner.ip().map(|to| End::new(to, inner.protocol, inner.port)),
        }
    }
}

/// A third anywhere; a third in a dataset's range, a third at its first or last address or one beside it.
fn near_a_border<A: Space>(random: &mut fastrand::Rng, ranges: &[Range<A>]) -> u128 {
    let range = &ranges[random.usize(..ranges.len())];
    let (first, last) = (range.first.number(), range.last.number());
    let address = match random.u8(0..6) {
        0 | 1 => random.u128(..),
        2 | 3 => random.u128(first..=last),
        4 => first.wrapping_sub(random.u128(0..2)),
        _ => last.wrapping_add(random.u128(0..2)),
    };
    address & A::LAST.number()
}

impl End {
    /// Without a link header.
    fn packet(self) -> Stack {
        // At no port a tunnel or anything else that is looked into; where a careless parser would find port 53.
        let data = raw(&[0, 0, 1, 0, 0, 53, 0, 0, 0, 0, 0, 53]);
        let header = match (self.protocol, self.port) {
            (TCP, Some(port)) => tcp(port),
            (UDP, Some(port)) => udp(port),
            (protocol, Some(port)) => ports(protocol, port),
            (ICMP, None) => icmp(8, 0),
            (ICMPV6, None) => icmpv6(128, 0),
            (ESP, None) => esp(),
            (protocol, None) => panic!("no packet of protocol {protocol}"),
        };
        ip(self.to) / header / data
    }

    fn random(random: &mut fastrand::Rng, v6: bool) -> Self {
        let datasets = &knowledge().datasets;
        let dataset = &datasets[random.usize(..datasets.len())];
        let v4 = near_a_border(random, &dataset.v4) as u32;
        let to = if v6 {
            let bits = match random.u8(0..10) {
                // IPv4 in every form that IPv6 carries it in.
                0 => [0, 0xffff << 32, 0x64_ff9b << 96][random.usize(..3)] | u128::from(v4),
                1 => 0x2002 << 112 | u128::from(v4) << 80 | random.u128(..) >> 48,
                2 => 0x2001 << 112 | u128::from(random.u64(..)) << 32 | u128::from(!v4),
                3 => translated(NAT64[random.usize(..NAT64.len())], v4, random.u128(..)),
                4 => {
                    let prefix = near_a_border(random, &dataset.v6) >> 64 << 64;
                    let identifier = [0x5efe_u128, 0x0200_5efe][random.usize(..2)];
                    prefix | identifier << 32 | u128::from(v4)
                }
                // Near what the sites and rules name.
                5 => 0x2001_0db8 << 96 | u128::from(random.u8(..8)) << 80 | random.u128(..) >> random.u32(48..128),
                _ => near_a_border(random, &dataset.v6),
            };
            Ipv6Addr::from(bits).into()
        } else {
            Ipv4Addr::from(v4).into()
        };
        let (protocol, port) = match random.u8(0..8) {
            0 => (if v6 { ICMPV6 } else { ICMP }, 0),
            1 => (ESP, 0),
            2 => (SCTP, random.u16(..)),
            3 => (UDP, random.u16(4_498..4_513)),
            4 => (UDP, 53),
            5 => (TCP, [53, 853][random.usize(..2)]),
            _ => ([TCP, UDP][random.usize(..2)], random.u16(..)),
        };
        Self::new(to, protocol, port)
    }
}

/// An IPv4 address in a translator's prefix (RFC 6052, 2.2): right behind it, but for bits 64 to 71; what is behind the
/// address is `rest`.
fn translated(prefix: &str, v4: u32, rest: u128) -> u128 {
    let (base, length) = prefix.split_once('/').unwrap();
    let (base, length): (Ipv6Addr, usize) = (base.parse().unwrap(), length.parse().unwrap());
    let mut octets = rest.to_be_bytes();
    octets[..length / 8].copy_from_slice(&base.octets()[..length / 8]);
    let free = (length / 8..16).filter(|at| *at != 8);
    for (at, octet) in free.zip(v4.to_be_bytes()) {
        octets[at] = octet;
    }
    u128::from_be_bytes(octets)
}

impl Packet {
    fn frame(self) -> Vec<u8> {
        let Some(inner) = self.inner else { return (eth() / self.end.packet()).bytes() };
        match self.end.protocol {
            GRE => (eth() / ip(self.end.to) / gre() / inner.packet()).bytes(),
            _ => (eth() / ip(self.end.to) / inner.packet()).bytes(),
        }
    }

    fn random(random: &mut fastrand::Rng, v6: bool) -> Self {
        End::random(random, v6).into()
    }

    /// IP in IP or GRE, of either family in either.
    fn random_tunnel(random: &mut fastrand::Rng) -> Self {
        let inner = {
            let v6 = random.bool();
            End::random(random, v6)
        };
        let v6 = random.bool();
        let to = End::random(random, v6).to;
        let protocol = match inner.to {
            _ if random.bool() => GRE,
            IpAddr::V4(_) => IPIP,
            IpAddr::V6(_) => IPV6,
        };
        Self { end: End { to, protocol, port: None }, inner: Some(inner) }
    }
}

/// Destination, country, class and rule, said by hand. The country is the first dataset's, by which 2001:4860:4860::/48
/// is in Canada; where a country makes no sense, it is `--`.
const KNOWN: &[(&str, &str, &str, Option<&str>)] = &[
    ("8.8.8.8:54/udp", "US", "outside", None),
    ("5.9.0.1:443/tcp", "DE", "inside", None),
    ("[2a00:1450:4001::1]:443/tcp", "DE", "inside", None),
    ("[2001:4860:4860::8889]:443/tcp", "CA", "outside", None),
    // Rules: ports hit and missed, on both sides of a range.
    ("8.8.8.8:53/udp", "US", "outside", Some("resolver")),
    ("8.8.8.8:853/tcp", "US", "outside", Some("resolver")),
    ("8.8.8.8:53/tcp", "US", "outside", None),
    ("8.8.8.8:53/sctp", "US", "outside", None),
    ("8.8.8.8/esp", "US", "outside", None),
    ("8.8.8.8/icmp", "US", "outside", None),
    ("8.8.8.9:53/udp", "US", "outside", None),
    ("[2001:4860:4860::8888]:53/udp", "CA", "outside", Some("resolver")),
    ("2001:4860:4860::8888/ipv6-icmp", "CA", "outside", None),
    ("10.64.8.1:1/tcp", "SG", "outside", Some("migration")),
    ("10.64.8.255/icmp", "SG", "outside", Some("migration")),
    ("10.64.8.255/esp", "SG", "outside", Some("migration")),
    ("10.64.9.0:1/tcp", "SG", "outside", None),
    ("[2001:db8:4:8::1]:1/tcp", "SG", "outside", Some("migration")),
    ("[2001:db8:4:9::]:1/tcp", "SG", "outside", None),
    // Sites, against the datasets and below a /64.
    ("10.32.0.1:1/tcp", "IE", "inside", None),
    ("8.8.4.4:1/tcp", "IE", "inside", None),
    ("8.8.5.0:1/tcp", "US", "outside", None),
    ("5.9.0.127:1/tcp", "DE", "inside", None),
    ("5.9.0.128:1/tcp", "SG", "outside", None),
    ("[2001:4860:4860::8844]:1/tcp", "IE", "inside", None),
    ("[2001:4860:4860::8845]:1/tcp", "CA", "outside", None),
    ("[2001:db8:1::1]:1/tcp", "IE", "inside", None),
    // Private, local, multicast, reserved.
    ("10.1.2.3:443/tcp", "--", "private", None),
    ("192.168.255.255:1/udp", "--", "private", None),
    ("[fd00::1]:1/tcp", "--", "private", None),
    ("[2001:db8::1]:1/tcp", "--", "private", None),
    ("127.0.0.1:1/tcp", "--", "local", None),
    ("169.254.1.1:1/tcp", "--", "local", None),
    ("255.255.255.255:67/udp", "--", "local", None),
    ("224.0.0.251:5353/udp", "--", "local", None),
    ("239.1.1.1:1/udp", "--", "private", None),
    ("232.1.1.1:1/udp", "--", "unknown", None),
    ("240.0.0.1:1/udp", "--", "unknown", None),
    ("fe80::1/ipv6-icmp", "--", "local", None),
    ("ff02::1/ipv6-icmp", "--", "local", None),
    ("[ff0e::1]:1/udp", "--", "unknown", None),
    ("[4000:db8::2]:9/udp", "--", "unknown", None),
    // IPv4 inside IPv6: where the packet ends up decides; rules of the prefix and of the inner address both count.
    ("[64:ff9b::808:808]:54/udp", "US", "outside", None),
    ("[64:ff9b::808:808]:53/udp", "US", "outside", Some("resolver")),
    ("[64:ff9b::808:808]:4499/udp", "US", "outside", None),
    ("[64:ff9b::808:808]:4500/udp", "US", "outside", Some("relay")),
    ("[64:ff9b::808:808]:4510/udp", "US", "outside", Some("relay")),
    ("[64:ff9b::808:808]:4511/udp", "US", "outside", None),
    ("[64:ff9b::509:1]:54/udp", "DE", "inside", None),
    ("[64:ff9b::a01:203]:54/udp", "--", "private", None),
    ("[::ffff:8.8.8.8]:54/udp", "US", "outside", None),
    ("[::ffff:8.8.8.8]:53/udp", "US", "outside", Some("resolver")),
    ("[::ffff:5.9.0.1]:54/udp", "DE", "inside", None),
    ("[::8.8.8.8]:54/udp", "US", "outside", None),
    // What is local inside and yet is sent is not local.
    ("[::ffff:127.0.0.1]:54/udp", "--", "unknown", None),
    ("[2002:808:808::1]:54/udp", "US", "outside", None),
    ("[2002:808:808::1]:4505/udp", "US", "outside", Some("relay")),
    ("[2002:509:1::1]:54/udp", "DE", "inside", None),
    ("[2001:0:1:2:3:4:f7f7:f7f7]:54/udp", "US", "outside", None),
    ("[2001:0:1:2:3:4:faf6:fffe]:54/udp", "DE", "inside", None),
    // The operator's own translators: each length of RFC 6052.
    ("[3fff:640:808:808::]:54/udp", "US", "outside", None),
    ("[3fff:640:509:1::]:54/udp", "DE", "inside", None),
    ("[2001:db8:6408:808:8::]:54/udp", "US", "outside", None),
    ("[2001:db8:6405:900:1::]:54/udp", "DE", "inside", None),
    ("[2001:db8:6500:808:8:800::]:54/udp", "US", "outside", None),
    ("[2001:db8:6500:509:0:100::]:54/udp", "DE", "inside", None),
    ("[2001:db8:6600:5608:8:808::]:54/udp", "US", "outside", None),
    ("[2001:db8:6600:5605:9:1::]:54/udp", "DE", "inside", None),
    ("[2001:db8:6700:64:8:808:800:0]:54/udp", "US", "outside", None),
    ("[2001:db8:6700:64:5:900:100:0]:54/udp", "DE", "inside", None),
    ("[2001:db8:64::808:808]:54/udp", "US", "outside", None),
    ("[2001:db8:64::509:1]:54/udp", "DE", "inside", None),
    ("[2001:db8:64::808:808]:53/udp", "US", "outside", Some("resolver")),
    ("[2001:db8:64::a01:203]:54/udp", "--", "private", None),
    // Beside the prefix nothing is translated.
    ("[2001:db8:64::1:808:808]:54/udp", "--", "private", None),
    // ISATAP: the stricter of the prefix and of the address inside; a rule is for the one it names.
    ("[2a00:1450:4001::5efe:808:808]:54/udp", "US", "outside", None),
    ("[2a00:1450:4001::200:5efe:808:808]:54/udp", "US", "outside", None),
    ("[2a00:1450:4001::5efe:808:808]:53/udp", "US", "outside", Some("resolver")),
    ("[2a00:1450:4001::5efe:509:1]:54/udp", "DE", "inside", None),
    ("[2001:4860:4860::5efe:509:1]:54/udp", "CA", "outside", None),
    ("[2001:db8:4:8::5efe:808:808]:54/udp", "US", "outside", None),
    ("[2001:db8:1::5efe:808:808]:54/udp", "US", "outside", None),
    ("[2001:db8:1::100:5efe:808:808]:54/udp", "IE", "inside", None),
    // Rules that deny, inside the region too; the narrower network, then the narrower ports.
    ("10.32.0.1:23/tcp", "IE", "inside", Some("telnet")),
    ("[2001:db8:1::1]:23/tcp", "IE", "inside", Some("telnet")),
    ("5.9.0.1:23/tcp", "DE", "inside", Some("telnet")),
    ("8.8.8.9:23/tcp", "US", "outside", Some("telnet")),
    ("127.0.0.1:23/tcp", "--", "local", Some("telnet")),
    ("10.64.8.1:23/tcp", "SG", "outside", Some("migration")),
    ("10.32.8.1:23/tcp", "IE", "inside", Some("lab")),
    ("10.32.8.1:1/udp", "IE", "inside", Some("lab")),
    ("10.32.8.1/icmp", "IE", "inside", Some("lab")),
    ("10.32.8.1:22/tcp", "IE", "inside", Some("lab-ssh")),
    ("10.32.7.255:1/sctp", "IE", "inside", Some("ireland-sctp")),
    ("8.8.4.4:1/sctp", "IE", "inside", Some("ireland-sctp")),
    ("5.9.0.1:1/sctp", "DE", "inside", None),
    // What is kept whatever other rules say.
    ("10.32.8.7:22/tcp", "IE", "inside", Some("management")),
    ("10.32.8.7:161/udp", "IE", "inside", Some("management")),
    ("10.32.8.7:162/udp", "IE", "inside", Some("lab")),
    ("10.32.8.8:161/udp", "IE", "inside", Some("lab")),
    // Of a prefix and the address inside the stricter rule, management above both.
    ("[64:ff9b::a20:801]:1/udp", "IE", "inside", Some("lab")),
    ("[64:ff9b::a20:801]:4500/udp", "IE", "inside", Some("lab")),
    ("[64:ff9b::a20:801]:22/tcp", "IE", "inside", Some("lab-ssh")),
    ("[64:ff9b::a20:807]:161/udp", "IE", "inside", Some("management")),
    ("[64:ff9b::808:808]:23/tcp", "US", "outside", Some("telnet")),
    ("[64:ff9b::a40:801]:23/tcp", "SG", "outside", Some("telnet")),
    ("[2001:db8:1::5efe:a20:801]:1/udp", "IE", "inside", Some("lab")),
    ("[2001:db8:1::5efe:a20:807]:161/udp", "IE", "inside", Some("management")),
];

const DROPPED: [&str; 3] = ["outside", "ambiguous", "unknown"];

/// What the default zone and the rules have to make of a class.
fn verdict(class: &str, rule: Option<&str>, enforce: bool) -> &'static str {
    let denied = rule.map_or(DROPPED.contains(&class), |rule| DENYING.contains(&rule));
    match (denied, enforce) {
        (false, _) => "allowed",
        (true, false) => "observed",
        (true, true) => "denied",
    }
}

#[test]
fn each_kind_of_destination_fares_in_the_kernel_as_explain_says() {
    let world = World::new("");
    let packets: Vec<Packet> = KNOWN.iter().map(|(text, ..)| Packet::from(*text)).collect();
    for enforce in [false, true] {
        let mut machine = Machine::new(Arc::clone(&world.policy), enforce, Link::Ethernet);
        let held = world.hold(&mut machine, enforce, &packets);
        assert_eq!(held.len(), KNOWN.len());
        for ((text, country, class, rule), packet) in KNOWN.iter().zip(&packets) {
            let verdict = verdict(class, *rule, enforce);
            let expected = Answer {
                country: (*country).to_owned(),
                class,
                rule: rule.map(str::to_owned),
                verdict,
                alert: verdict != "allowed",
            };
            assert_eq!(held[packet], expected, "{text}");
        }
    }
}

#[test]
fn what_the_datasets_place_on_both_sides_or_nowhere_is_dropped_unless_the_zone_allows_it() {
    let open = "inside = \"EEA + CH\"\non_ambiguous = \"allow\"\non_unknown = \"allow\"\non_private = \"deny\"";
    for (zone, dropped) in [("", &DROPPED[..]), (open, &["outside", "private"])] {
        let world = World::new(zone);
        let mut machine = Machine::new(Arc::clone(&world.policy), true, Link::Ethernet);
        for v6 in [false, true] {
            for class in ["inside", "outside", "ambiguous", "unknown", "private"] {
                // No dataset places what is private.
                let mut packets = if class == "private" { Vec::new() } else { world.examples(class, v6) };
                assert!(class == "private" || !packets.is_empty(), "no {class} address, IPv6: {v6}");
                if matches!(class, "unknown" | "private") {
                    let known = KNOWN.iter().filter(|row| row.2 == class).map(|row| Packet::from(row.0));
                    packets.extend(known.filter(|packet| packet.end.to.is_ipv6() == v6));
                }
                let verdict = if dropped.contains(&class) { "denied" } else { "allowed" };
                for (packet, answer) in world.hold(&mut machine, true, &packets) {
                    assert_eq!((answer.class, answer.verdict), (class, verdict), "{packet:?}");
                }
            }
        }
    }
}

#[test]
fn random_destinations_fare_in_the_kernel_as_explain_says() {
    let mut random = random();
    let world = World::new("");
    let mut met: BTreeMap<(bool, &str), u32> = BTreeMap::new();
    for enforce in [false, true] {
        let mut machine = Machine::new(Arc::clone(&world.policy), enforce, Link::Ethernet);
        for v6 in [false, true] {
            let packets: Vec<Packet> = (0..RANDOM).map(|_| Packet::random(&mut random, v6)).collect();
            for (packet, answer) in world.hold(&mut machine, enforce, &packets) {
                let expected = verdict(answer.class, answer.rule.as_deref(), enforce);
                assert_eq!(answer.verdict, expected, "{packet:?}: {answer:?}");
                *met.entry((v6, answer.class)).or_default() += 1;
            }
        }
    }
    println!("{met:?}");
    // Every class, but for IPv6's local addresses, which are too few to be met by chance.
    for class in ["ambiguous", "inside", "outside", "private", "unknown"] {
        assert!(met.contains_key(&(false, class)) && met.contains_key(&(true, class)), "no {class}: {met:?}");
    }
    assert!(met.contains_key(&(false, "local")), "{met:?}");
}

#[test]
fn of_two_destinations_the_stricter_decides() {
    let mut random = random();
    let world = World::new("");
    let mut met = BTreeSet::new();
    for enforce in [false, true] {
        let mut machine = Machine::new(Arc::clone(&world.policy), enforce, Link::Ethernet);
        let mut packets: Vec<Packet> = (0..RANDOM).map(|_| Packet::random_tunnel(&mut random)).collect();
        // Each of those said by hand, to each.
        let known: Vec<End> = KNOWN.iter().map(|(text, ..)| Packet::from(*text).end).collect();
        for end in &known {
            let outer = End { to: end.to, protocol: GRE, port: None };
            packets.extend(known.iter().map(|inner| Packet { end: outer, inner: Some(*inner) }));
        }
        // As many as the ring has room for events.
        for some in packets.chunks(8_192) {
            world.hold(&mut machine, enforce, some);
        }
        for packet in &packets {
            let ranks = [Some(packet.end), packet.inner].map(|end| rank(&world.explain(end.expect("both are there"))));
            met.insert(ranks);
        }
    }
    // Denied, let through by a rule and allowed, in each order.
    for outer in [0, 1, 3] {
        for inner in [0, 1, 3] {
            assert!(met.contains(&[outer, inner]), "{outer}, then {inner}: {met:?}");
        }
    }
}

/// Every address at which anything begins that the table was compiled from (so every boundary of the table), and the one
/// before it.
fn boundaries(config: &Spec) -> BTreeSet<IpAddr> {
    let mut starts: BTreeSet<IpAddr> = BTreeSet::new();
    let mut v4 = |first: u32, last: u32| {
        let around = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
        starts.extend(around.map(|at| IpAddr::from(Ipv4Addr::from_bits(at))));
    };
    knowledge().datasets.iter().flat_map(|dataset| &dataset.v4).for_each(|range| v4(range.first, range.last));
    let rules =
        config.rules.iter().flat_map(|rule| &rule.to).chain(config.sites.iter().flat_map(|site| &site.networks));
    let rules = rules.chain(&config.zone.nat64).chain(config.management.iter().flat_map(|of| &of.networks));
    let named = rules.map(|(network, _)| network).chain(knowledge().special.iter().map(|special| &special.network));
    let named: Vec<(IpAddr, IpAddr)> = named.map(|network| (network.network(), network.broadcast())).collect();
    for ends in &named {
        if let (IpAddr::V4(first), IpAddr::V4(last)) = ends {
            v4(first.to_bits(), last.to_bits());
        }
    }
    let mut v6 = |first: u128, last: u128| {
        let around = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
        starts.extend(around.map(|at| IpAddr::from(Ipv6Addr::from_bits(at))));
    };
    knowledge().datasets.iter().flat_map(|dataset| &dataset.v6).for_each(|range| v6(range.first, range.last));
    for ends in &named {
        if let (IpAddr::V6(first), IpAddr::V6(last)) = ends {
            v6(first.to_bits(), last.to_bits());
        }
    }
    starts
}

#[test]
fn at_every_boundary_of_the_compiled_table_the_kernel_finds_what_the_host_finds() {
    let world = World::new("");
    let mut machine = Machine::new(Arc::clone(&world.policy), true, Link::Ethernet);
    let all: Vec<IpAddr> = boundaries(&world.config).into_iter().collect();
    assert!(all.len() > 500_000, "{} boundaries", all.len());
    // By a protocol without ports, of which no header says more: the same frame but for the destination.
    let frames = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
        .map(|to| Packet::from(End { to, protocol: ESP, port: None }).frame());
    let mut asked = 0;
    // As many as the flow table has room for.
    for some in all.chunks(60_000) {
        let mut expected: BTreeMap<IpAddr, (u16, u16, u8)> = BTreeMap::new();
        for to in some {
            let mut frame = frames[usize::from(to.is_ipv6())].clone();
            let (version, address) = match to {
                IpAddr::V4(v4) => {
                    frame[14 + 16..14 + 20].copy_from_slice(&v4.octets());
                    (4, Address::v4(v4.to_bits()))
                }
                IpAddr::V6(v6) => {
                    frame[14 + 24..14 + 40].copy_from_slice(&v6.octets());
                    (6, Address::from(*v6))
                }
            };
            let found = classify(&world.policy.image, version, address, ESP, Some(0)).expect("the image is whole");
            let verdict = decide(&found, true);
            let returned = run(&mut machine.kernel, &frame, frame.len() as u32, 1);
            assert_eq!(returned, if verdict == Verdict::Denied { DROP } else { NEXT }, "{to}");
            expected.insert(*to, (found.class_id, found.rule, verdict as u8));
        }
        let drained = machine.kernel.flip().unwrap();
        let noted = drained.flows.iter().map(|(key, _)| {
            let FullKey { flow, .. } = key;
            (flow.ip(flow.destination), (flow.class_id, flow.rule, flow.verdict))
        });
        assert!(noted.collect::<BTreeMap<_, _>>() == expected, "after {asked}");
        asked += expected.len();
        while machine.events.ready().is_some() {}
    }
    println!("{asked} addresses");
}
