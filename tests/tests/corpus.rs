//! Promise: every packet is understood, or counted by reason. What the parser, the fragment table and the judge make of
//! each case of the corpus on the host is what the corpus says, which was written from the standards.

use std::net::IpAddr;

use egress_monitor_tests::corpus::{self, Case, Expect, Flow, policy};
use monitor_common::{
    classify::{Classified, build::Image},
    fragments::{FRAGMENT_SETS, FragmentSet, set_of},
    judge::Judgement,
    parse::{MAX_FRAGMENTS, Reason, Walk, plain},
    wire::{ClassRow, Embedded, FlowKey, Kind, Link, Onward, Opaque, RuleRow, Via},
};

const INTERFACE: u32 = 7;
const UNKNOWN: u32 = 0;
const LOCAL: u32 = 3;
const PRIVATE: u32 = 4;
const RULED: u32 = 5;

/// The corpus's policy by hand: a class is a number in `classes`.
fn image() -> Image {
    let row = |kind: Kind, deny| ClassRow {
        kind: kind as u8,
        deny: u8::from(deny),
        alert: u8::from(deny),
        ..ClassRow::default()
    };
    let mut classes = vec![
        row(Kind::Unknown, true),
        row(Kind::Inside, false),
        row(Kind::Outside, true),
        row(Kind::Local, false),
        row(Kind::Private, false),
        ClassRow { rules_len: policy::RULED_PORTS.len() as u32, ..row(Kind::Outside, true) },
    ];
    let mut networks: Vec<(String, u32)> = [
        ("0.0.0.0/0", UNKNOWN),
        ("::/0", UNKNOWN),
        ("192.0.2.0/24", PRIVATE),
        ("2001:db8::/32", PRIVATE),
        ("64:ff9b:1::/48", PRIVATE),
        ("255.255.255.255/32", LOCAL),
        ("fe80::/10", LOCAL),
        ("ff02::/16", LOCAL),
    ]
    .map(|(network, class)| (network.to_owned(), class))
    .to_vec();
    for (network, _, kind) in policy::SITES {
        let class = if policy::RULED_NETWORKS.contains(&network) { RULED } else { kind as u32 };
        networks.push((network.to_owned(), class));
    }
    let mut carriers: Vec<(&str, Embedded)> = vec![
        ("64:ff9b::/96", Embedded::Low32),
        ("::ffff:0:0/96", Embedded::Low32),
        ("::/96", Embedded::Low32),
        ("2002::/16", Embedded::SixToFour),
        ("2001::/32", Embedded::Teredo),
    ];
    carriers.extend(policy::NAT64.map(|network| {
        let length = network.split_once('/').and_then(|(_, length)| length.parse().ok()).expect("a length");
        (network, Embedded::nat64(length).expect("a length of RFC 6052"))
    }));
    for (network, form) in carriers {
        networks.push((network.to_owned(), classes.len() as u32));
        classes.push(ClassRow { embedded: form as u8, ..row(Kind::Unknown, true) });
    }
    let rules = policy::RULED_PORTS.map(|(protocol, port_low, port_high)| RuleRow {
        expires_ns: u64::MAX,
        port_low,
        port_high,
        rule: 1,
        protocol,
        ..RuleRow::default()
    });
    let v4: Vec<(u32, u32)> = intervals(&networks, 32, |bits| IpAddr::from((bits as u32).to_be_bytes()))
        .map(|(s, c)| (s as u32, c))
        .collect();
    let v6: Vec<(u128, u32)> = intervals(&networks, 128, |bits| IpAddr::from(bits.to_be_bytes())).collect();
    Image::build(&v4, &v6, classes, rules.to_vec()).expect("a partition")
}

/// Where an address's narrowest network changes, for the addresses of `width` bits.
fn intervals(
    networks: &[(String, u32)],
    width: u32,
    address: impl Fn(u128) -> IpAddr,
) -> impl Iterator<Item = (u128, u32)> {
    let parsed = networks.iter().filter_map(|(text, class)| {
        let (base, length) = text.split_once('/')?;
        let (bits, family) = match base.parse().ok()? {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        (family == width).then_some((text.as_str(), bits, length.parse::<u32>().ok()?, *class))
    });
    let parsed: Vec<_> = parsed.collect();
    let mut starts: Vec<u128> = Vec::new();
    for (_, bits, length, _) in &parsed {
        starts.push(*bits);
        let size = 1_u128.checked_shl(width - length).unwrap_or(0);
        let after = bits.wrapping_add(size);
        if size != 0 && after != 0 && (width == 128 || after < 1 << 32) {
            starts.push(after);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let class = |start: &u128| {
        let holding = parsed.iter().filter(|(text, ..)| policy::holds(text, address(*start)));
        holding.max_by_key(|(_, _, length, _)| *length).map_or(UNKNOWN, |(.., class)| *class)
    };
    starts.iter().map(|start| (*start, class(start))).collect::<Vec<_>>().into_iter()
}

/// The host's way of what the kernel program does with a packet.
struct Monitor {
    image: Image,
    fragments: Vec<FragmentSet>,
    now_ns: u64,
}

/// What comes out: a flow's key with its further destination, or a reason; and the strictest standing met.
type Outcome = (Result<(FlowKey, Onward), Reason>, Classified);

impl Monitor {
    fn new() -> Self {
        Self { image: image(), fragments: vec![FragmentSet::default(); FRAGMENT_SETS as usize], now_ns: 1 }
    }

    fn packet(&mut self, frame: &[u8], link: Link) -> Outcome {
        self.now_ns += 1;
        let mut walk = Walk::default();
        let mut kept = Onward::default();
        let read = walk.whole(frame, link).and_then(|()| self.resume(&mut walk, &mut kept));
        // A link layer that is not known, or no IP header: no destination.
        let judgement = Judgement::of(&self.image, &walk, &kept).expect("the image is whole");
        if read.is_ok() {
            for fragment in (0..MAX_FRAGMENTS as usize).filter_map(|number| walk.fragment_at(number)) {
                let set = &mut self.fragments[set_of(&fragment, INTERFACE) as usize];
                set.keep(&fragment, INTERFACE, self.now_ns, &walk, &judgement.onward);
            }
        }
        let mut short = FlowKey::default();
        if plain(frame, frame.len() as u32, link, &mut short).is_some() {
            assert_eq!(read, Ok(()), "the short way reads what the walk refuses");
            assert_eq!(short, walk.key, "the short way reads another key");
            assert!(!judgement.onward.exists(), "the short way overlooks a destination");
        }
        (read.map(|()| (walk.key, judgement.onward)), judgement.to)
    }

    fn resume(&mut self, walk: &mut Walk, kept: &mut Onward) -> Result<(), Reason> {
        for number in 0..MAX_FRAGMENTS as usize {
            let Some(fragment) = walk.fragment_at(number) else { break };
            let set = &mut self.fragments[set_of(&fragment, INTERFACE) as usize];
            *kept = set.resume(&fragment, INTERFACE, self.now_ns, walk)?;
        }
        Ok(())
    }

    /// In the corpus's words.
    fn outcome(&mut self, case: &Case) -> (Expect, Classified) {
        for frame in &case.before {
            let _: Outcome = self.packet(frame, case.link);
        }
        let (read, to) = self.packet(&case.frame, case.link);
        let place = Kind::from_wire(self.image.classes[usize::from(to.class)].kind);
        let expect = match read {
            Err(reason) => Expect::Unread { reason, to: Some(place) },
            Ok((key, onward)) => Expect::Flow(Flow {
                source: key.ip(key.source),
                destination: key.ip(key.destination),
                protocol: key.protocol,
                source_port: key.source_port,
                destination_port: key.destination_port,
                opaque: Opaque::from_wire(key.flags),
                onward: onward
                    .ip()
                    .map(|ip| (ip, onward.protocol, onward.port, Via::from_wire(onward.via).expect("a known way"))),
                place,
                rule: to.rule != 0,
            }),
        };
        (expect, to)
    }
}

#[test]
fn every_case_comes_out_as_the_corpus_says() {
    let mut wrong = Vec::new();
    for case in corpus::corpus() {
        let (got, to) = Monitor::new().outcome(&case);
        let denied = to.deny && to.rule == 0;
        let right = match (&case.expect, &got) {
            (Expect::Unread { reason, to }, Expect::Unread { reason: read, .. }) => {
                reason == read && (*to == Some(Kind::Outside)) == denied
            }
            (expected, got) => expected == got,
        };
        if !right {
            wrong.push(format!("{}: {}\n  expected {}\n  got      {got}", case.name, case.about, case.expect));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_cases_do_not_disturb_each_other() {
    let mut monitor = Monitor::new();
    for case in corpus::corpus() {
        assert_eq!(monitor.outcome(&case).0, Monitor::new().outcome(&case).0, "{}", case.name);
    }
}

/// [`Monitor::packet`] compares the short way with the walk.
#[test]
fn the_short_way_agrees_with_the_walk_on_broken_packets() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut monitor = Monitor::new();
    let corpus = corpus::corpus();
    for _ in 0..200_000 {
        let case = &corpus[random.usize(..corpus.len())];
        for before in &case.before {
            let _: Outcome = monitor.packet(before, case.link);
        }
        let mut frame = case.frame.clone();
        for _ in 0..random.usize(0..4) {
            let headers = frame.len().min(120);
            match random.u8(..4) {
                0 => frame[random.usize(..headers)] = random.u8(..),
                1 => frame[random.usize(..headers)] ^= 1 << random.u8(..8),
                2 => frame.truncate(random.usize(1..=frame.len())),
                _ => frame.extend(case.frame.iter().skip(random.usize(..case.frame.len())).take(60)),
            }
        }
        let _: Outcome = monitor.packet(&frame, case.link);
    }
}
