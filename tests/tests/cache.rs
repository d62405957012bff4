//! Promise: what a CPU counts in its flow cache is counted once, in its flow, under the policy that holds; and a
//! verdict kept there does not outlive what it was given for.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    corpus::build::{arp, eth, ip, mpls, payload, udp_from},
    measure::pin,
    monitor::{
        Snapshot,
        kernel::{Interface, Kernel, Mode, Options, Switch, boot_ns},
        policy::Policy,
    },
};
use monitor_common::{
    cache::{IDLE, VERDICT_AGE},
    parse::Reason,
    verdict::Verdict,
    wire::{Counters, HEAD, Link, Reported},
};

use crate::support::{
    machine::{DROP, LOOPBACK, Machine, NEXT, run},
    policy::policy,
};

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

fn udp(to: impl Into<IpAddr>, source: u16, port: u16) -> Vec<u8> {
    (eth() / ip(to.into()) / udp_from(source, port) / payload(20)).bytes()
}

fn send(kernel: &mut Kernel, frame: &[u8]) -> u32 {
    run(kernel, frame, frame.len() as u32, 1)
}

fn with_cache(policy: Arc<Policy>, places: u32) -> Kernel {
    let options = Options { flows: 4096, mode: Mode::Enforce, cache: Some(places), ..Options::default() };
    let mut kernel = Kernel::load(options, policy).expect("the kernel part loads: these tests need root");
    kernel.register(&Interface { name: "lo".into(), index: LOOPBACK, link: Link::Ethernet }).expect("it fits");
    kernel
}

fn packets(drained: &Snapshot) -> u64 {
    drained.flows.iter().map(|(_, value)| value.counters.packets).sum()
}

#[test]
fn a_rule_that_ends_ends_for_an_established_flow_too_without_a_flip() {
    let mut kernel = with_cache(policy(), 1024);
    let mut image = policy().image.clone();
    // Port 3 of 2001:db8:7::/48: let through until now and a bit.
    let row = image.rules.iter_mut().find(|row| row.rule == 6).expect("rule 6");
    let end = boot_ns() + 600_000_000;
    row.expires_ns = end;
    let policy = Arc::new(Policy { image, ..Policy::default() });
    kernel.stage(Switch { policy, mode: Mode::Enforce }).unwrap();
    kernel.flip().unwrap();
    let frame = udp("2001:db8:7::1".parse::<Ipv6Addr>().unwrap(), 9, 3);
    let (mut let_through, mut dropped) = (0, 0);
    let since = Instant::now();
    while dropped == 0 {
        let before = boot_ns();
        match send(&mut kernel, &frame) {
            NEXT => let_through += 1,
            DROP => {
                assert!(before + 1_000_000_000 > end, "dropped before its end");
                dropped += 1;
            }
            other => panic!("{other}"),
        }
        assert!(since.elapsed() < Duration::from_secs(20), "the rule never ends");
    }
    assert!(let_through > 0);
    let drained = kernel.flip().unwrap();
    // Not longer after its end than a verdict is kept, and the time of one packet.
    let kept = Duration::from_secs(u64::from(VERDICT_AGE)) / drained.hz;
    let late = Duration::from_nanos(boot_ns().saturating_sub(end));
    assert!(late < kept + Duration::from_secs(2), "{late:?} late, {kept:?} kept");
    let mut rows: Vec<_> =
        drained.flows.iter().map(|(key, value)| (key.flow.verdict, key.flow.rule, value.counters.packets)).collect();
    rows.sort_unstable();
    assert_eq!(rows, [(Verdict::Allowed as u8, 6, let_through), (Verdict::Denied as u8, 0, 1)]);
    assert_eq!(drained.interfaces[0].hook.packets, let_through + 1);
}

#[test]
fn a_flow_that_several_cpus_count_is_one_flow() {
    let cpus = aya::util::online_cpus().expect("the CPUs");
    let mut kernel = with_cache(policy(), 1024);
    let frame = udp(OUTSIDE, 9, 53);
    let length = frame.len() as u64;
    for epoch in 1..4 {
        for cpu in &cpus {
            pin(*cpu as usize).unwrap();
            for _ in 0..epoch {
                assert_eq!(send(&mut kernel, &frame), DROP);
            }
        }
        let drained = kernel.flip().unwrap();
        let sent = cpus.len() as u64 * epoch;
        let sums = Counters { packets: sent, segments: sent, bytes: sent * length, wire_bytes: sent * length };
        assert_eq!(drained.flows.iter().map(|(_, value)| value.counters).collect::<Vec<_>>(), [sums]);
        assert_eq!((drained.fill.cache.used, drained.fill.table.used), (cpus.len(), 0));
        assert_eq!(drained.interfaces[0].hook, sums);
    }
}

#[test]
fn flows_that_leave_the_cache_and_come_back_are_one_flow_each() {
    const FLOWS: u16 = 600;
    pin(0).unwrap();
    let mut kernel = with_cache(policy(), 128);
    let hz = kernel.flip().unwrap().hz;
    let frames: Vec<_> = (0..FLOWS).map(|source| udp(OUTSIDE, source, 53)).collect();
    for epoch in 0..2 {
        // Of the first half, those that have a place are silent long enough to lose it to the second half, then are
        // back.
        let (first, second) = frames.split_at(usize::from(FLOWS) / 2);
        let mut sent = 0;
        for part in [first, second, first] {
            for frame in part {
                assert_eq!(send(&mut kernel, frame), DROP);
                sent += 1;
            }
            pause(IDLE, hz);
        }
        let drained = kernel.flip().unwrap();
        assert_eq!(drained.flows.len(), usize::from(FLOWS), "epoch {epoch}");
        let mut counts: Vec<(u16, u64)> =
            drained.flows.iter().map(|(key, value)| (key.flow.source_port, value.counters.packets)).collect();
        counts.sort_unstable();
        let expected: Vec<(u16, u64)> =
            (0..FLOWS).map(|source| (source, if source < FLOWS / 2 { 2 } else { 1 })).collect();
        assert_eq!(counts, expected);
        assert_eq!((packets(&drained), drained.interfaces[0].hook.packets), (sent, sent));
        // All places of both were in use: more than there are flows, since some were in both.
        assert_eq!(drained.fill.cache.used, 128);
        let left = drained.fill.log.used + drained.fill.table.used;
        assert!(left > usize::from(FLOWS) - 128, "{:?}: nothing left the cache", drained.fill);
        for (_, value) in &drained.flows {
            assert!(value.first <= value.last && value.last <= drained.jiffies, "{value:?}");
        }
    }
}

/// Waits for more jiffies than that, of which there are `hz` a second.
fn pause(jiffies: u32, hz: u32) {
    std::thread::sleep(Duration::from_secs(u64::from(jiffies) + 2) / hz);
}

#[test]
fn an_event_reports_a_flow_once_an_epoch_also_when_it_leaves_the_cache_and_comes_back() {
    let mut machine = Machine::new(policy(), false, Link::Ethernet);
    let hz = machine.kernel.flip().unwrap().hz;
    let frames: Vec<_> = (0..3000).map(|source| udp(OUTSIDE, source, 53)).collect();
    for _ in 0..2 {
        for round in 0..2 {
            for frame in &frames {
                assert_eq!(send(&mut machine.kernel, frame), NEXT);
            }
            let events = std::iter::from_fn(|| machine.events.ready()).count();
            assert_eq!(events, if round == 0 { frames.len() } else { 0 }, "round {round}");
            pause(IDLE, hz);
        }
        assert_eq!(machine.kernel.flip().unwrap().flows.len(), frames.len());
    }
}

/// Who sends rubbish fills no ring, in which others' events are.
#[test]
fn a_packet_without_a_flow_is_reported_once_an_epoch_for_each_reason_with_its_first_bytes() {
    let mut machine = Machine::new(policy(), false, Link::Ethernet);
    let (mpls, unknown) = ((eth() / mpls(&[7]) / payload(64)).bytes(), (eth().ether(0x88b5) / payload(5)).bytes());
    // Of which nothing is told.
    let control = (eth() / arp(0x0806, 1)).bytes();
    for epoch in 0..2 {
        for frame in [&mpls, &unknown, &control].into_iter().cycle().take(3_000) {
            assert_eq!(send(&mut machine.kernel, frame), NEXT);
        }
        let reported: Vec<Reported> = std::iter::from_fn(|| machine.events.ready()).collect();
        let of = |event: &Reported| match event {
            Reported::Unparsed(event) => {
                (Reason::from_wire(event.reason), event.ifindex, event.head[..event.length.into()].to_vec())
            }
            Reported::Flow(event) => panic!("{event:?}"),
        };
        let head = |frame: &[u8]| frame[..HEAD.min(frame.len())].to_vec();
        assert_eq!(
            reported.iter().map(of).collect::<Vec<_>>(),
            [(Some(Reason::Mpls), LOOPBACK, head(&mpls)), (Some(Reason::NotIp), LOOPBACK, head(&unknown)),],
            "epoch {epoch}"
        );
        let snapshot = machine.kernel.flip().unwrap();
        let counted = &snapshot.interfaces.iter().find(|interface| interface.ifindex == LOOPBACK).unwrap().unparsed;
        assert_eq!([Reason::Mpls, Reason::NotIp].map(|reason| counted[&reason].passed.packets), [1_000; 2]);
        assert_eq!(snapshot.events_lost, 0);
    }
}

#[test]
fn a_burst_finds_room_and_the_next_epochs_have_places_for_all_of_it() {
    const FLOWS: u16 = 5_000;
    pin(0).unwrap();
    for to in [IpAddr::from(OUTSIDE), IpAddr::from("2001:db8:ffff::7".parse::<Ipv6Addr>().unwrap())] {
        let mut kernel = Kernel::load(Options { mode: Mode::Observe, ..Options::default() }, policy()).unwrap();
        kernel.register(&Interface { name: "lo".into(), index: LOOPBACK, link: Link::Ethernet }).unwrap();
        let frames: Vec<_> = (0..FLOWS).map(|source| udp(to, source, 53)).collect();
        assert!(!kernel.fill().crowded);
        let mut epochs = 0;
        loop {
            for frame in &frames {
                assert_eq!(send(&mut kernel, frame), NEXT);
            }
            let crowded = kernel.fill().crowded;
            let drained = kernel.flip().unwrap();
            assert_eq!(drained.residual().iter().map(|(_, sums)| sums.packets).sum::<u64>(), 0);
            assert_eq!((drained.flows.len(), packets(&drained)), (FLOWS.into(), FLOWS.into()));
            // A few find every way of both their sets taken: chance.
            let fill = drained.fill;
            assert_eq!(fill.cache.used + fill.log.used + fill.table.used, usize::from(FLOWS));
            assert!(fill.table.used < usize::from(FLOWS) / 20, "{fill:?}");
            epochs += 1;
            if !crowded {
                break;
            }
            assert!(epochs < 4, "{fill:?}: it does not come to rest");
        }
        assert!(epochs > 1, "nothing was crowded");
    }
}

#[test]
fn what_gives_way_when_the_log_is_full_is_in_the_table() {
    const AT_ONCE: usize = 1_000;
    pin(0).unwrap();
    let options = Options { flows: 65_536, mode: Mode::Observe, cache: Some(1024), ..Options::default() };
    let mut kernel = Kernel::load(options, policy()).unwrap();
    kernel.register(&Interface { name: "lo".into(), index: LOOPBACK, link: Link::Ethernet }).unwrap();
    let hz = kernel.flip().unwrap().hz;
    for _ in 0..2 {
        let (mut sent, mut after) = (0_usize, 0);
        // Each lot finds the one before silent for long enough to take its places.
        while after < 3 {
            for flow in sent..sent + AT_ONCE {
                let frame = udp(OUTSIDE, (flow >> 8) as u16, 10_000 + (flow & 0xff) as u16);
                assert_eq!(send(&mut kernel, &frame), NEXT);
            }
            sent += AT_ONCE;
            let log = kernel.fill().log;
            after += u32::from(log.used == log.capacity as usize);
            assert!(sent < 50_000, "the log is never full: {log:?}");
            pause(IDLE, hz);
        }
        let drained = kernel.flip().unwrap();
        assert_eq!((drained.flows.len(), packets(&drained)), (sent, sent as u64));
        assert_eq!(drained.interfaces[0].hook.packets, sent as u64);
        let fill = drained.fill;
        assert_eq!(fill.cache.used + fill.log.used + fill.table.used, sent, "{fill:?}");
        // More than found every way of their set active.
        assert!(fill.table.used > AT_ONCE, "{fill:?}");
    }
}
