//! Promise: what no receiver of a tunnel would accept is no tunnel but an ordinary datagram. Clients behind a NAT have
//! the ports of tunnels, too: an answer to them passes wherever its destination is inside, and what a receiver of the
//! tunnel would take goes where its content goes.

use std::sync::{Arc, OnceLock};

use egress_monitor_tests::{
    corpus::{
        self,
        build::{Stack, eth, geneve, gtp, ip, mpls, payload, raw, udp, udp_from, vxlan},
        policy::{IN, IN6, OUT, OUT6},
    },
    host::{Host, PacketOutcome},
    monitor::policy::Policy,
    payloads::Payload,
};
use monitor_common::{verdict::Verdict, wire::Link};

use crate::support::{both::Both, random};

/// Every port whose datagrams are read as a tunnel, or marked.
const PORTS: [u16; 15] = [443, 1194, 1701, 2152, 2268, 3544, 4341, 4500, 4789, 4790, 5247, 6080, 6081, 6635, 8472];

/// Payloads of each kind and port.
const EACH: usize = 10_000;

fn compiled() -> &'static Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    POLICY.get_or_init(|| Arc::new(corpus::policy::compile("").expect("the corpus's policy")))
}

/// An answer to a client inside that has this port.
fn answer(random: &mut fastrand::Rng, kind: Payload, port: u16) -> Vec<u8> {
    let from = match kind {
        Payload::Quic => 443,
        Payload::Dns => 53,
        Payload::Dtls | Payload::Srtp => random.u16(1_024..),
    };
    let to = if random.bool() { IN } else { IN6 };
    (eth() / ip(to) / udp_from(from, port) / raw(&kind.random(random))).bytes()
}

#[test]
fn no_answer_to_a_client_inside_is_dropped_whatever_port_it_has() {
    // The same ones each time: among as many other ones there is, once in some hundred runs, one that by chance has every
    // byte that a receiver looks at.
    let mut random = fastrand::Rng::with_seed(14);
    let mut host = Host::new(compiled(), true, Link::Ethernet, 1);
    let mut onward = 0;
    for kind in Payload::ALL {
        for port in PORTS {
            for _ in 0..EACH {
                let frame = answer(&mut random, kind, port);
                let outcome = host.packet(&frame, 1);
                let PacketOutcome::Flow { key, .. } = outcome else {
                    panic!("{kind:?} to port {port}: {outcome:?}\n{frame:02x?}")
                };
                assert_eq!(key.flow.verdict, Verdict::Allowed as u8, "{kind:?} to port {port}: {key:x?}\n{frame:02x?}");
                onward += u32::from(key.inner.exists());
            }
        }
    }
    assert_eq!(onward, 0, "taken for a tunnel by chance");
}

#[test]
fn the_kernel_takes_the_same_answers_for_ordinary_datagrams() {
    let mut random = random();
    let mut both = Both::new(compiled(), true, Link::Ethernet);
    for port in PORTS {
        for kind in Payload::ALL {
            for _ in 0..250 {
                let frame = answer(&mut random, kind, port);
                let outcome = both.send(&frame).expect("it can be run");
                assert!(!outcome.dropped(), "{kind:?} to port {port}: {outcome:?}\n{frame:02x?}");
            }
        }
    }
    both.compare();
}

/// A tunnel to inside whose content goes outside, in every form that a receiver takes.
fn to_outside() -> Vec<Stack> {
    let four = || ip(OUT) / udp(53) / payload(20);
    let six = || ip(OUT6) / udp(53) / payload(20);
    let to = |port| eth() / ip(IN) / udp(port);
    let gpe = |next: u8| vxlan(9).set(0, &[0x0c]).set(3, &[next]);
    vec![
        to(4789) / vxlan(9) / eth() / four(),
        to(8472) / vxlan(9) / eth().vlan(7) / six(),
        // Reserved bits, the I flag left out, a group policy: some receiver takes each.
        to(4789) / vxlan(9).set(0, &[0]) / eth() / four(),
        to(4789) / vxlan(9).set(0, &[0x88, 0, 0, 7]) / eth() / six(),
        to(4789) / vxlan(9).set(7, &[1]) / eth() / four(),
        to(4790) / gpe(1) / four(),
        to(4790) / gpe(2) / six(),
        to(4790) / gpe(3) / eth() / four(),
        to(4790) / gpe(5) / mpls(&[100]) / six(),
        to(4789) / gpe(1) / four(),
        to(6081) / geneve(&[]) / eth() / four(),
        to(6081) / geneve(&[]) / six(),
        to(6081) / geneve(&[]).set(1, &[0x3f]) / eth() / four(),
        to(2152) / gtp(0, 255, &[]) / four(),
        to(2152) / gtp(2, 255, &[0, 1, 0, 0]) / six(),
        to(6635) / mpls(&[100, 200]) / four(),
        to(6635) / mpls(&[100]) / six(),
        to(3544) / six(),
        to(3544) / raw(&[0, 0, 0x12, 0x34, 1, 2, 3, 4]) / six(),
        to(3544) / raw(&[&[0, 1, 3, 5][..], &[7; 3 + 5 + 9]].concat()) / six(),
        to(3544) / raw(&[&[0, 1, 0, 0][..], &[7; 9], &[0, 0, 0x12, 0x34, 1, 2, 3, 4]].concat()) / six(),
    ]
}

#[test]
fn what_a_receiver_of_the_tunnel_takes_is_dropped_if_its_content_goes_outside() {
    let mut both = Both::new(compiled(), true, Link::Ethernet);
    for packet in to_outside() {
        let frame = packet.bytes();
        let outcome = both.send(&frame).expect("it can be run");
        let PacketOutcome::Flow { key, .. } = outcome else { panic!("{outcome:?}\n{frame:02x?}") };
        assert!(key.inner.exists(), "{frame:02x?}");
        assert_eq!(key.flow.verdict, Verdict::Denied as u8, "{key:x?}\n{frame:02x?}");
    }
    both.compare();
}
