//! The second way: each case alone through the loaded program (BPF_PROG_TEST_RUN).

use std::{collections::BTreeSet, sync::Arc};

use egress_monitor_tests::corpus::{self, Case, Wire};
use monitor_common::wire::{Counters, Link};

use super::{MODES, Mode, Outcome, all_right};
use crate::support::machine::{DROP, Machine, NEXT, can_be_run, run};

/// What BPF_PROG_TEST_RUN refuses and a wire carries: half IP headers behind their EtherType, half an Ethernet header
/// of a device that has none.
const BY_WIRE: [&str; 4] = ["bare_cut", "ip_missing", "v4_cut", "v6_cut"];

/// What it refuses and no wire here carries, either: the host's way alone holds these.
const BY_HOST: [&str; 4] = ["cut_ethernet", "jumbo_behind_options", "jumbogram", "jumbogram_second_options"];

/// Sends a case's packet, and gives everything that the kernel made of it; its earlier fragments are another epoch's.
fn outcome(machine: &mut Machine, mode: Mode, case: &Case) -> Outcome {
    let send = |machine: &mut Machine, frame: &[u8]| run(&mut machine.kernel, frame, frame.len() as u32, 1);
    if !case.before.is_empty() {
        for frame in &case.before {
            assert!(can_be_run(frame), "{}", case.name);
            send(machine, frame);
        }
        machine.kernel.flip().expect("the maps can be drained");
        while machine.events.ready().is_some() {}
    }
    let returned = send(machine, &case.frame);
    let drained = machine.kernel.flip().expect("the maps can be drained");
    let events: Vec<_> = std::iter::from_fn(|| machine.events.ready())
        .filter_map(|event| event.flow().map(|event| event.flow))
        .collect();
    let length = case.frame.len() as u64;
    let one = Counters { packets: 1, segments: 1, bytes: length, wire_bytes: length };
    let interface = drained.interfaces.iter().find(|i| i.name == "lo").expect("the interface was counted");
    assert_eq!((interface.hook, interface.overflow.len(), drained.events_lost), (one, 0, 0), "{}", case.name);
    let unparsed: Vec<_> = interface.unparsed.iter().collect();
    let outcome = match (drained.flows.as_slice(), unparsed.as_slice()) {
        ([(key, value)], []) => {
            assert_eq!(value.counters, one, "{}", case.name);
            assert!(events.is_empty() || events == [*key], "{}: {events:?}", case.name);
            Outcome::of(mode.policy(), key, !events.is_empty())
        }
        ([], [(reason, reason_sums)]) => {
            assert!(events.is_empty(), "{}: {events:?}", case.name);
            let dropped = reason_sums.passed.is_zero();
            assert_eq!(if dropped { reason_sums.dropped } else { reason_sums.passed }, one, "{}", case.name);
            assert_eq!(reason_sums.dropped.is_zero(), !dropped, "{}", case.name);
            Outcome::Unparsed { reason: **reason, dropped }
        }
        other => panic!("{}: one packet is {other:?}", case.name),
    };
    assert_eq!(returned, if outcome.dropped() { DROP } else { NEXT }, "{}: {outcome:?}", case.name);
    outcome
}

#[test]
fn every_case_alone_comes_out_of_the_kernel_as_the_corpus_says() {
    let corpus = corpus::corpus();
    let hold = |mode: Mode| {
        let (mut count, mut wrong) = (0, Vec::new());
        for link in [Link::Ethernet, Link::Ip, Link::Other] {
            let mut machine = Machine::new(Arc::clone(mode.policy()), mode.enforce, link);
            for case in corpus.iter().filter(|case| case.link == link && can_be_run(&case.frame)) {
                let got = outcome(&mut machine, mode, case);
                if got != Outcome::expected(case, mode) {
                    wrong.push((case, got));
                }
                count += 1;
            }
        }
        all_right(mode, &wrong);
        assert_eq!(count, corpus.len() - BY_WIRE.len() - BY_HOST.len());
        println!("{mode:?}: {count} cases");
    };
    // Beside each other: nearly all of the time is waiting for the ends of epochs.
    std::thread::scope(|scope| {
        for mode in MODES {
            scope.spawn(move || hold(mode));
        }
    });
}

#[test]
fn what_cannot_be_run_is_known_and_goes_by_wire() {
    let corpus = corpus::corpus();
    let refused = |wire: fn(&Wire) -> bool| -> BTreeSet<&str> {
        let refused = corpus.iter().filter(|case| !can_be_run(&case.frame) && wire(&case.wire));
        refused.map(|case| case.name).collect()
    };
    assert_eq!(refused(|wire| *wire == Wire::Sendable), BTreeSet::from(BY_WIRE));
    assert_eq!(refused(|wire| *wire != Wire::Sendable), BTreeSet::from(BY_HOST));
}
