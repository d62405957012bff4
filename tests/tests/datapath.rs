//! Promise: the kernel makes of a packet exactly what the host's same code makes of it: key, class, rule, verdict,
//! reason and every counter.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use egress_monitor_tests::{
    corpus::{
        self,
        build::{eth, gre, ip, payload, udp, udp_from, vxlan},
    },
    monitor::{
        Snapshot,
        kernel::{Interface, Kernel, Mode, Options, Switch, boot_ns},
        policy::Policy,
    },
};
use monitor_common::{
    verdict::Verdict,
    wire::{Counters, Link, RuleRow},
};

use crate::support::{
    both::Both,
    machine::{DROP, LONGEST, LOOPBACK, Machine, NEXT, can_be_run, load, run, stay_on_this_cpu},
    mutate::{change, mutate},
    policy::{by_hand, policy},
    random,
};

/// The corpus's policy, by the compiler.
fn compiled() -> &'static Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    POLICY.get_or_init(|| Arc::new(corpus::policy::compile("").expect("the corpus's policy")))
}

/// UDP from some port.
fn udp_to(to: impl Into<IpAddr>, port: u16, bytes: usize) -> Vec<u8> {
    (eth() / ip(to.into()) / udp(port) / payload(bytes)).bytes()
}

fn with_loopback(enforce: bool) -> Kernel {
    Machine::new(policy(), enforce, Link::Ethernet).kernel
}

/// How many random frames in all: fewer on a slow machine, such as an emulated one (`cargo xtask prove kernels`).
fn wanted() -> usize {
    std::env::var("FRAMES").map_or(200_000, |frames| frames.parse().expect("FRAMES is a number"))
}

/// The cases whose packets a device with a link header sends, and that can be run.
fn cases() -> Vec<corpus::Case> {
    let cases = corpus::corpus().into_iter();
    cases.filter(|case| case.link == Link::Ethernet && (14..=LONGEST).contains(&case.frame.len())).collect()
}

#[test]
fn a_device_without_a_link_header_is_parsed_from_its_first_byte() {
    // Here the kernel takes the first 14 bytes of the IP header for an Ethernet header.
    let mut both = Both::new(compiled(), true, Link::Ip);
    let mut expected = 0;
    for case in cases() {
        for packet in [&case.frame[14..], &case.frame] {
            for length in 0..=packet.len() {
                expected += usize::from(can_be_run(&packet[..length]));
                both.send(&packet[..length]);
            }
        }
    }
    both.compare();
    assert_eq!(both.count, expected);
    println!("{expected} packets");
}

#[test]
fn random_and_mutated_frames_are_the_same_to_both() {
    let mut random = random();
    let cases = cases();
    let (mut count, mut fingerprint) = (0, 0);
    for (link, enforce) in [(Link::Ethernet, false), (Link::Ethernet, true), (Link::Ip, true)] {
        let mut both = Both::new(compiled(), enforce, link);
        while both.count < wanted().div_ceil(3) {
            let case = &cases[random.usize(..cases.len())];
            let part = |frame: Vec<u8>| if link == Link::Ip { frame[14.min(frame.len())..].to_vec() } else { frame };
            // Mostly as they are: what follows meets a first fragment.
            if random.u8(..4) != 0 {
                for before in &case.before {
                    let mut before = before.clone();
                    if random.u8(..8) == 0 {
                        change(&mut before, &mut random);
                    }
                    both.send(&part(before));
                }
            }
            both.send(&part(mutate(case, &mut random)));
        }
        both.compare();
        count += both.count;
        fingerprint = both.fingerprint.wrapping_add(fingerprint);
    }
    assert!(count >= wanted());
    println!("{count} frames, and what came of them: {fingerprint:016x}");
}

/// A UDP packet to any address, half of them near a border of the policy by hand.
fn to_random_destination(random: &mut fastrand::Rng) -> Vec<u8> {
    let (to, port): (IpAddr, u16) = if random.bool() {
        let mut to: [u8; 4] = random.u32(..).to_be_bytes();
        if random.bool() {
            to[..2].copy_from_slice(&[[100, 64], [203, 0], [198, 51], [192, 0]][random.usize(..4)]);
        }
        (Ipv4Addr::from(to).into(), random.u16(..))
    } else {
        let mut to = random.u128(..);
        if random.bool() {
            to = 0x2001_0db8 << 96 | to >> random.u32(32..128);
        }
        (Ipv6Addr::from_bits(to).into(), random.u16(..))
    };
    udp_to(to, port, 4)
}

#[test]
fn random_destinations_get_the_class_that_the_host_finds() {
    let mut random = random();
    let mut both = Both::new(by_hand(), false, Link::Ethernet);
    for _ in 0..wanted() / 2 {
        both.send(&to_random_destination(&mut random));
    }
    both.compare();
    assert_eq!(both.count, wanted() / 2);
}

#[test]
fn an_interface_that_nobody_registered_is_counted_under_no_name() {
    let mut kernel = load(policy(), false);
    let frame = udp_to(Ipv4Addr::new(198, 51, 100, 7), 53, 100);
    assert_eq!(run(&mut kernel, &frame, frame.len() as u32, 1), NEXT);
    let drained = kernel.flip().unwrap();
    assert_eq!(drained.interfaces.len(), 1);
    assert_eq!(
        (drained.interfaces[0].name.as_str(), drained.interfaces[0].ifindex, drained.interfaces[0].hook.packets),
        ("", 0, 1)
    );
    assert_eq!(drained.flows.len(), 1);
}

#[test]
fn a_full_table_counts_under_class_and_verdict_and_nothing_is_lost() {
    const PLACES: u32 = 1024;
    /// In the cache; every packet of this test is counted on one CPU.
    const CACHED: u32 = 128;
    const FLOWS: u32 = 5000;
    let options = Options { flows: PLACES, mode: Mode::Enforce, cache: Some(CACHED), ..Options::default() };
    stay_on_this_cpu();
    let mut kernel = Kernel::load(options, policy()).unwrap();
    kernel.register(&Interface { name: "lo".into(), index: LOOPBACK, link: Link::Ethernet }).unwrap();
    // Twice, so that the halves are known to be cleared.
    for _ in 0..4 {
        let mut by_verdict = BTreeMap::<u8, Counters>::new();
        for i in 0..FLOWS {
            // Inside and outside in turn; the source port tells the flows apart.
            let to = if i % 2 == 0 { [198, 51, 100, 7] } else { [203, 0, 113, 7] };
            let frame = (eth() / ip(Ipv4Addr::from(to).into()) / udp_from(i as u16, 9) / payload(20)).bytes();
            let length = frame.len() as u64;
            let verdict = run(&mut kernel, &frame, length as u32, 1);
            assert_eq!(verdict, if i % 2 == 0 { NEXT } else { DROP });
            by_verdict
                .entry(if i % 2 == 0 { Verdict::Allowed } else { Verdict::Denied } as u8)
                .or_default()
                .add(&Counters { packets: 1, segments: 1, bytes: length, wire_bytes: length });
        }
        let drained = kernel.flip().unwrap();
        // Where this took a while, silent flows gave way to others and are in the log.
        assert_eq!(drained.flows.len(), (PLACES + CACHED) as usize + drained.fill.log.used);
        assert_eq!((drained.fill.cache.used, drained.fill.table.used), (CACHED as usize, PLACES as usize));
        let interface = &drained.interfaces[0];
        assert_eq!(interface.overflow.len(), 2, "one class inside and one outside");
        let mut counted = BTreeMap::<u8, Counters>::new();
        for (key, value) in &drained.flows {
            counted.entry(key.flow.verdict).or_default().add(&value.counters);
        }
        for ((_, verdict), counters) in &interface.overflow {
            counted.entry(*verdict as u8).or_default().add(counters);
        }
        assert_eq!(counted, by_verdict);
        assert_eq!(interface.hook.packets, u64::from(FLOWS));
    }
}

#[test]
fn a_switch_closes_the_epoch_and_holds_for_the_next_packet() {
    let mut kernel = with_loopback(false);
    let frame = udp_to(Ipv4Addr::new(203, 0, 113, 7), 9, 20);
    let send = |kernel: &mut Kernel| run(kernel, &frame, frame.len() as u32, 1);
    assert_eq!(send(&mut kernel), NEXT);
    kernel.stage(Switch { policy: policy(), mode: Mode::Enforce }).unwrap();
    assert_eq!(send(&mut kernel), NEXT, "staged is not in force");
    let observed = kernel.flip().unwrap();
    assert_eq!(send(&mut kernel), DROP);
    let denied = kernel.flip().unwrap();
    let verdicts = |drained: &Snapshot| drained.flows.iter().map(|(key, _)| key.flow.verdict).collect::<Vec<_>>();
    assert_eq!(verdicts(&observed), [Verdict::Observed as u8]);
    assert_eq!(verdicts(&denied), [Verdict::Denied as u8]);
    assert_eq!((observed.mode.enforces(), denied.mode.enforces()), (false, true));
    assert_eq!(denied.epoch, observed.epoch + 1);
}

/// UDP to somebody inside, in tunnels; what is in them goes to `to`.
fn in_tunnels(to: impl Into<IpAddr>, port: u16) -> [Vec<u8>; 4] {
    let (to, outer): (IpAddr, IpAddr) = (to.into(), Ipv4Addr::new(198, 51, 100, 7).into());
    let inside = || ip(to) / udp(port) / payload(20);
    [
        (eth() / ip(outer) / inside()).bytes(),
        (eth() / ip(outer) / gre() / inside()).bytes(),
        (eth() / ip(outer) / udp(4789) / vxlan(7) / eth() / inside()).bytes(),
        (eth() / ip("2001:db8::1".parse::<IpAddr>().unwrap()) / gre() / eth().vlan(9) / inside()).bytes(),
    ]
}

#[test]
fn flows_in_tunnels_are_counted_by_epoch_and_judged_by_what_is_in_force() {
    /// Of each; more than one epoch's first.
    const PACKETS: u64 = 5;
    let mut kernel = with_loopback(false);
    let frames = in_tunnels(Ipv4Addr::new(203, 0, 113, 7), 9);
    // What is outside is denied by one and allowed by the other.
    let mut image = policy().image.clone();
    image.classes[2].deny = 0;
    let policies = [policy(), Arc::new(Policy { image, ..Policy::default() })];
    let (denies, allows) = (0, 1);
    let mut in_force = (denies, Mode::Observe);
    let next = [(denies, Mode::Enforce), (allows, Mode::Enforce), (allows, Mode::Enforce), (denies, Mode::Enforce)];
    for next in next.into_iter().chain([(allows, Mode::Observe), in_force, in_force]) {
        kernel.stage(Switch { policy: Arc::clone(&policies[next.0]), mode: next.1 }).unwrap();
        let verdict = match in_force {
            (1, _) => Verdict::Allowed,
            (_, mode) if mode.enforces() => Verdict::Denied,
            _ => Verdict::Observed,
        };
        for _ in 0..PACKETS {
            for frame in &frames {
                let result = run(&mut kernel, frame, frame.len() as u32, 1);
                assert_eq!(result, if verdict == Verdict::Denied { DROP } else { NEXT });
            }
        }
        let closed = kernel.flip().unwrap();
        in_force = next;
        assert_eq!(closed.flows.len(), frames.len());
        for (key, value) in &closed.flows {
            assert_eq!((key.flow.verdict, value.counters.packets), (verdict as u8, PACKETS), "{key:?}");
            assert_eq!((key.inner.exists(), key.inner.port), (true, 9), "{key:?}");
        }
    }
}

#[test]
fn a_flow_in_a_tunnel_stops_when_its_rule_ends() {
    const FOR: Duration = Duration::from_millis(700);
    /// See `support::policy`: to port 1 a rule allows until it ends.
    const PORT: u16 = 1;
    let mut kernel = with_loopback(true);
    let mut image = policy().image.clone();
    let ends = boot_ns() + FOR.as_nanos() as u64;
    image.rules[3].expires_ns = ends;
    let policy = Arc::new(Policy { image, ..Policy::default() });
    kernel.stage(Switch { policy, mode: Mode::Enforce }).unwrap();
    kernel.flip().unwrap();
    let frames = in_tunnels("2001:db8:7::1".parse::<Ipv6Addr>().unwrap(), PORT);
    let (mut passed, mut at) = (0, boot_ns());
    // 256 jiffies of the slowest kernel (100 Hz), a packet and a tick on either side.
    let bound = ends + 2_560_000_000 + 50_000_000;
    loop {
        let begun = boot_ns();
        let verdicts = frames.each_ref().map(|frame| run(&mut kernel, frame, frame.len() as u32, 1));
        if verdicts == [DROP; 4] {
            break;
        }
        if verdicts == [NEXT; 4] {
            (passed, at) = (passed + 1, begun);
        }
        assert!(begun < bound, "{verdicts:?} after the end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(passed > 10 && at > ends - FOR.as_nanos() as u64 / 2, "{passed} rounds passed");
    assert!(boot_ns() > ends, "it stopped before the end");
}

#[test]
fn a_policy_that_does_not_fit_changes_nothing() {
    let mut kernel = with_loopback(true);
    let mut large = policy().image.clone();
    large.rules = vec![RuleRow::default(); 100_000];
    let large = Arc::new(Policy { image: large, ..Default::default() });
    let error = kernel.stage(Switch { policy: large, mode: Mode::Observe }).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the new policy has 100000 rule rows, there is room for {}", policy().image.rules.len() + 1024)
    );
    let frame = udp_to(Ipv4Addr::new(203, 0, 113, 7), 9, 20);
    assert_eq!(run(&mut kernel, &frame, frame.len() as u32, 1), DROP);
}

#[test]
fn rules_hold_from_their_beginning_to_their_end_by_the_kernel_clock() {
    let mut kernel = with_loopback(true);
    // See `support::policy`: 2001:db8:7::/48 is outside; port 1 has expired, 2 not begun, 3 holds.
    let to: Ipv6Addr = "2001:db8:7::1".parse().unwrap();
    let verdicts: Vec<_> = [1, 2, 3]
        .map(|port| udp_to(to, port, 8))
        .iter()
        .map(|frame| run(&mut kernel, frame, frame.len() as u32, 1))
        .collect();
    assert_eq!(verdicts, [DROP, DROP, NEXT]);
}
