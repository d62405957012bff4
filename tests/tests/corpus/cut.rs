//! A packet that is cut gives a reason, or the flow that the whole packet gives: never another one.

use egress_monitor_tests::{
    corpus::{self, Case, Expect},
    host::{Host, PacketOutcome},
};
use monitor_common::wire::Link;

use super::{ENFORCE, OBSERVE, Outcome};
use crate::support::{both::Both, machine::LONGEST};

/// That a cut case's outcome is a reason, or the case's own flow.
#[track_caller]
fn right(case: &Case, length: usize, by_host: &PacketOutcome) {
    let Outcome::Flow { flow: got, .. } = Outcome::from_host(OBSERVE.policy(), by_host) else { return };
    let Expect::Flow(expected) = &case.expect else {
        panic!("{} cut at {length}: has no flow, but here {got:?}", case.name)
    };
    assert_eq!(got, *expected, "{} cut at {length}", case.name);
}

#[test]
fn on_the_host_every_cut_of_every_case_is_a_reason_or_the_right_flow() {
    let (mut count, mut whole) = (0, 0);
    for case in corpus::corpus() {
        for length in 0..=case.frame.len() {
            let mut host = Host::new(OBSERVE.policy(), false, case.link, 1);
            for before in &case.before {
                host.packet(before, 1);
            }
            let by_host = host.packet(&case.frame[..length], 1);
            right(&case, length, &by_host);
            whole += usize::from(matches!(by_host, PacketOutcome::Flow { .. }));
            count += 1;
        }
    }
    println!("{count} packets, of which {whole} have a flow");
}

/// Here one memory of fragments serves all: what an earlier cut left in it may give another reason, but no other flow.
#[test]
fn in_the_kernel_every_cut_of_every_case_is_a_reason_or_the_right_flow() {
    for mode in [OBSERVE, ENFORCE] {
        let mut count = 0;
        for link in [Link::Ethernet, Link::Ip] {
            let mut both = Both::new(OBSERVE.policy(), mode.enforce, link);
            for case in corpus::corpus().iter().filter(|case| case.link == link && case.frame.len() <= LONGEST) {
                for length in 14..=case.frame.len() {
                    for before in &case.before {
                        both.send(before);
                    }
                    if let Some(by_host) = both.send(&case.frame[..length]) {
                        right(case, length, &by_host);
                    }
                }
            }
            both.compare();
            count += both.count;
        }
        println!("{count} packets");
    }
}
