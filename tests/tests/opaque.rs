//! Promise: content that cannot be read goes by its destination, or is denied mark by mark unless a rule allows it; what
//! stays on its link or host is not. In the kernel as on the host, packet by packet of the corpus.

use std::sync::Arc;

use egress_monitor_tests::{
    corpus::{self, Expect, policy::compile},
    host::PacketOutcome,
    monitor::policy::Policy,
};
use monitor_common::{
    verdict::Verdict,
    wire::{Class, Link, Opaque},
};

use crate::support::{both::Both, machine::can_be_run};

/// Holds every flow of the corpus against this zone, which denies these marks.
fn hold(zone: &str, denied: &[Opaque]) {
    let policy: &'static Arc<Policy> = Box::leak(Box::new(Arc::new(compile(zone).expect("the zone is good"))));
    for enforce in [false, true] {
        let mut both = Both::new(policy, enforce, Link::Ethernet);
        let (mut by_mark, mut others) = (0, 0);
        for case in corpus::corpus().iter().filter(|case| case.link == Link::Ethernet) {
            let Expect::Flow(flow) = &case.expect else { continue };
            if !can_be_run(&case.frame) {
                continue;
            }
            for before in &case.before {
                both.send(before);
            }
            let outcome = both.send(&case.frame).expect("it can be run");
            let PacketOutcome::Flow { key, alert } = outcome else { panic!("{}: {outcome:?}", case.name) };
            let stays = matches!(flow.place, Class::Local | Class::LinkLocal);
            let by_class = matches!(flow.place, Class::Outside | Class::Unknown)
                || (flow.place == Class::LinkLocal && flow.destination.is_ipv4());
            let marked = denied.contains(&flow.opaque) && !stays;
            let is_denied = !flow.rule && (by_class || marked);
            let verdict = match (is_denied, enforce) {
                (false, _) => Verdict::Allowed,
                (true, false) => Verdict::Observed,
                (true, true) => Verdict::Denied,
            };
            assert_eq!((key.flow.verdict, alert), (verdict as u8, is_denied), "{}", case.name);
            by_mark += u32::from(is_denied && !by_class);
            others += u32::from(flow.opaque != Opaque::None && !is_denied);
        }
        both.compare();
        println!("{zone:?}: {by_mark} denied by their mark, {others} marked and allowed");
        assert_eq!(by_mark > 0, !denied.is_empty());
        assert!(others > 0);
    }
}

#[test]
fn by_default_the_destination_decides() {
    hold("", &[]);
}

#[test]
fn what_cannot_be_read_is_denied_to_inside_too_unless_a_rule_allows_it() {
    hold("on_opaque = \"deny\"", &[Opaque::Esp, Opaque::EspInUdp, Opaque::WireGuard, Opaque::Quic, Opaque::Other]);
}

#[test]
fn each_mark_has_the_action_that_the_configuration_gives_it() {
    hold(
        "on_opaque = \"deny\"\nopaque.quic = \"allow\"",
        &[Opaque::Esp, Opaque::EspInUdp, Opaque::WireGuard, Opaque::Other],
    );
    hold("opaque.esp = \"deny\"\nopaque.quic = \"deny\"", &[Opaque::Esp, Opaque::Quic]);
}
