//! What is told of an incident that goes on, its end, and what a restart or a reboot makes of it.

use super::*;
use crate::model::{Host, severity::Severity};

/// An epoch `seconds` after the first, with so many packets of 104 bytes of one flow.
fn epoch(number: u32, seconds: u64, packets: u64) -> Snapshot {
    let mut snapshot = fake::snapshot(1);
    if packets > 0 {
        fake::add(&mut snapshot, fake::key(7, fake::OUTSIDE, 443), packets);
    }
    later(&mut snapshot, seconds);
    snapshot.epoch = number;
    snapshot
}

fn host(boot: &str) -> Host {
    Host { boot_id: boot.into(), ..Host::default() }
}

fn told(made: &[Alert]) -> Vec<(Stage, u64)> {
    made.iter().map(|alert| (on(alert).stage, on(alert).incident.totals.packets)).collect()
}

#[test]
fn volume_is_told_by_doubling_from_a_mebibyte_and_at_most_every_minute_and_the_end_with_all() {
    let mut bench = Bench::new();
    // A mebibyte is 10,083 packets of 104 bytes.
    assert_eq!(told(&bench.snapshot(&epoch(1, 0, 1))), [(Stage::First, 1)]);
    assert_eq!(told(&bench.snapshot(&epoch(2, 10, 20_000))), []);
    assert_eq!(told(&bench.snapshot(&epoch(3, 70, 1))), [(Stage::More, 20_002)]);
    assert_eq!(told(&bench.snapshot(&epoch(4, 80, 30_000))), []);
    assert_eq!(told(&bench.snapshot(&epoch(5, 129, 0))), []);
    assert_eq!(told(&bench.snapshot(&epoch(6, 131, 0))), [(Stage::More, 50_002)]);
    assert_eq!(told(&bench.snapshot(&epoch(7, 300, 50_001))), []);
    assert_eq!(told(&bench.snapshot(&epoch(8, 310, 1))), [(Stage::More, 100_004)]);
    assert_eq!(told(&bench.snapshot(&epoch(9, 900, 0))), []);
    let made = bench.snapshot(&epoch(10, 911, 0));
    assert_eq!(told(&made), [(Stage::End, 100_004)]);
    assert_eq!((made[0].severity(), on(&made[0]).incident.flows), (Severity::Informational, 1));
    // What comes later is another one.
    let again = bench.snapshot(&epoch(11, 920, 5));
    assert_eq!(told(&again), [(Stage::First, 5)]);
    assert_ne!(on(&again[0]).incident.id, on(&made[0]).incident.id);
    assert_eq!(on(&again[0]).incident.flows, 1);
}

#[test]
fn who_sets_the_clock_ends_no_incident() {
    let mut bench = Bench::new();
    bench.snapshot(&epoch(1, 0, 1));
    let mut ahead = epoch(2, 10, 1);
    ahead.ended += 31_536_000_000_000_000;
    assert_eq!(told(&bench.snapshot(&ahead)), []);
    assert_eq!(told(&bench.snapshot(&epoch(3, 20, 1))), []);
}

#[test]
fn a_restart_goes_on_with_what_was_open_and_a_reboot_ends_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || Incidents::new(StateDirectory::open(directory.path()), 1_000, LIMITS);
    let mut bench = Bench::over(open(), fake::policy());
    let first = bench.snapshot(&epoch(1, 0, 7));
    bench.incidents.unsaved = true;
    bench.incidents.save();
    let begin = |boot: &str| {
        let mut bench = Bench::over(open(), fake::policy());
        let mut state = MonitorState { host: host(boot), started: fake::START, ..MonitorState::default() };
        state.coverage.local = bench.incidents.local.clone();
        state.traffic.identities = Arc::clone(&bench.identities);
        let none = crate::engine::pipeline::told(|_, findings| bench.incidents.begin(&mut state, findings));
        assert_eq!(none, []);
        (bench, state)
    };
    let (mut bench, state) = begin("b0");
    assert_eq!(state.incidents.keys().copied().collect::<Vec<_>>(), [on(&first[0]).incident.id]);
    assert_eq!(told(&bench.snapshot(&epoch(2, 10, 3))), []);
    let made = bench.snapshot(&epoch(3, 700, 0));
    assert_eq!((told(&made), on(&made[0]).incident.id), (vec![(Stage::End, 10)], on(&first[0]).incident.id));

    let (bench, state) = begin("b1");
    assert!(state.incidents.is_empty());
    assert_eq!(
        bench.incidents.ended.iter().map(|alert| told(std::slice::from_ref(alert))).collect::<Vec<_>>(),
        [[(Stage::End, 7)]]
    );
    assert_eq!(on(&bench.incidents.ended[0]).time, fake::START);
}

#[test]
fn half_a_file_and_one_of_a_later_version_are_none() {
    let directory = tempfile::tempdir().expect("a directory");
    for text in ["{\"format\":1,\"boot_id\":\"b0\",\"inci", "{\"format\":2,\"boot_id\":\"b0\",\"incidents\":[]}", ""] {
        std::fs::write(directory.path().join(kept::FILE), text).expect("written");
        let mut incidents = Incidents::new(StateDirectory::open(directory.path()), 10, LIMITS);
        let mut state = MonitorState { host: host("b0"), ..MonitorState::default() };
        crate::engine::pipeline::told(|_, findings| incidents.begin(&mut state, findings));
        assert!(state.incidents.is_empty(), "{text}");
    }
}

#[test]
fn the_state_shows_what_is_open_as_it_stands_and_nothing_else() {
    let mut bench = Bench::new();
    let mut state = MonitorState::default();
    bench.snapshot(&epoch(1, 0, 7));
    assert!(bench.incidents.book.is_changed());
    bench.incidents.show(&mut state);
    assert!(!bench.incidents.book.is_changed());
    bench.snapshot(&epoch(2, 10, 5));
    bench.incidents.show(&mut state);
    let packets: Vec<u64> = state.incidents.values().map(|incident| incident.totals.packets).collect();
    assert_eq!(packets, [12]);
    bench.snapshot(&epoch(3, 700, 0));
    bench.incidents.show(&mut state);
    assert!(state.incidents.is_empty());
}
