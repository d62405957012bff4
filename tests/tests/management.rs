//! Promise: of what goes to a management network only that is never dropped which comes from the ports that the
//! configuration names, in the kernel as on the host.

use std::sync::{Arc, OnceLock};

use egress_monitor_tests::{
    corpus::{
        self,
        build::{Stack, eth, gre, ip, payload, tcp, udp_from},
        policy::{IN, OUT, OUT6},
    },
    host::PacketOutcome,
    monitor::{policy::Policy, policy_of},
};
use monitor_common::{verdict::Verdict, wire::Link};

use crate::support::both::Both;

/// The corpus's policy, and what of it is never dropped: what comes from port 22 of TCP, and from 161 of UDP.
fn compiled() -> &'static Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    POLICY.get_or_init(|| {
        let management = "[management]\nnetworks = [\"198.18.0.0/24\", \"2001:db8:2::/64\"]\n\
                          source_ports = [\"tcp/22\", \"udp/161\"]\n";
        let config = format!("{}{management}", corpus::policy::config(""));
        Arc::new(policy_of(&config).expect("the policy is good"))
    })
}

/// A TCP segment from this port to a client's.
fn segment(from: u16) -> Stack {
    let [high, low] = from.to_be_bytes();
    Stack::from(tcp(50_000).set(0, &[high, low]))
}

#[test]
fn answers_of_a_named_service_pass_and_nothing_else_does() {
    let mut both = Both::new(compiled(), true, Link::Ethernet);
    for (packet, passes) in [
        (eth() / ip(OUT) / segment(22), true),
        (eth() / ip(OUT6) / segment(22), true),
        (eth() / ip(OUT) / udp_from(161, 50_000) / payload(9), true),
        (eth() / ip(OUT) / segment(23), false),
        (eth() / ip(OUT) / segment(161), false),
        (eth() / ip(OUT6) / udp_from(22, 50_000) / payload(9), false),
        // To port 22 is not from it.
        (eth() / ip(OUT) / tcp(22), false),
        // IP options and a fragment: the header walker's way.
        (eth() / ip(OUT).options(&[1, 1, 1, 1]) / segment(22), true),
        (eth() / ip(OUT).options(&[1, 1, 1, 1]) / segment(23), false),
        // Through a tunnel it is not known where it comes from.
        (eth() / ip(IN) / gre() / ip(OUT) / segment(22), false),
    ] {
        let outcome = both.send(&packet.bytes()).expect("it can be run");
        let PacketOutcome::Flow { key, alert } = outcome else { panic!("{outcome:?}: {packet:?}") };
        let verdict = if passes { Verdict::Allowed } else { Verdict::Denied };
        assert_eq!((key.flow.verdict, key.flow.rule != 0, alert), (verdict as u8, passes, !passes), "{packet:?}");
    }
    both.compare();
}
