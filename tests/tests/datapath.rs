//! Promise: the kernel makes of a packet exactly what the host's same code makes of it: key, class, rule, verdict,
//! reason and every counter.

mod common;
#[path = "common/machine.rs"]
mod machine;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::Ipv6Addr,
    sync::{Arc, OnceLock},
};

use common::{frames, policy};
use egress_monitor::{
    kernel::{Drained, Interface, Kernel, Options, Switch, boot_ns},
    policy::Policy,
};
use egress_monitor_tests::host::{Host, Told};
use machine::{DROP, LOOPBACK, Machine, NEXT, random, run};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Counters, Link, OnwardKey, Tally},
};

/// What the maps should hold after some packets.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    hook: Counters,
    flows: HashMap<OnwardKey, Counters>,
    unparsed: BTreeMap<Reason, Tally>,
    events: HashSet<OnwardKey>,
}

impl Expected {
    /// The host's opinion on a packet: counted here, and its return code given.
    fn packet(&mut self, host: &mut Host<'_>, frame: &[u8], size: &Counters) -> u32 {
        self.hook.add(size);
        let told = host.packet(frame, boot_ns());
        match told {
            Told::Flow { key, alert } => {
                self.flows.entry(key).or_default().add(size);
                if alert {
                    self.events.insert(key);
                }
            }
            Told::Unparsed { reason, dropped } => {
                let tally = self.unparsed.entry(reason).or_default();
                (if dropped { &mut tally.dropped } else { &mut tally.passed }).add(size);
            }
        }
        if told.dropped() { DROP } else { NEXT }
    }

    fn of(machine: &mut Machine) -> Self {
        let drained = machine.kernel.flip().expect("the maps can be drained");
        assert_eq!(drained.events_lost, 0);
        let interface = drained.interfaces.iter().find(|i| i.name == "lo").expect("the interface was counted");
        assert!(interface.overflow.is_empty());
        Self {
            hook: interface.hook,
            flows: drained.flows.iter().map(|(key, value)| (*key, value.counters)).collect(),
            unparsed: interface.unparsed.clone(),
            events: std::iter::from_fn(|| machine.events.ready()).map(|event| event.flow).collect(),
        }
    }
}

/// BPF_PROG_TEST_RUN refuses a frame whose EtherType says IP and that has no whole fixed header of it.
fn can_be_run(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x00] => frame.len() >= 34,
        [0x86, 0xdd] => frame.len() >= 54,
        _ => true,
    }
}

/// The kernel and the host, each with what it remembers of fragments.
struct Both {
    machine: Machine,
    host: Host<'static>,
}

impl Both {
    fn new(enforce: bool, link: Link) -> Self {
        static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
        let policy = POLICY.get_or_init(policy);
        Self {
            machine: Machine::new(Arc::clone(policy), enforce, link),
            host: Host::new(policy, enforce, link, LOOPBACK),
        }
    }
}

/// Sends frames through both and compares everything; gives how many there were.
fn compare(Both { machine, host }: &mut Both, frames: impl Iterator<Item = Vec<u8>>) -> usize {
    let mut expected = Expected::default();
    let mut count = 0;
    for (i, frame) in frames.filter(|frame| can_be_run(frame)).enumerate() {
        // Sizes that differ from each other and from packet to packet, so that no counter can stand in for another.
        let segments = (i % 5) as u32;
        let wire_len = frame.len() as u32 + 13 * segments;
        let size = Counters {
            packets: 1,
            segments: u64::from(segments.max(1)),
            bytes: frame.len() as u64,
            wire_bytes: u64::from(wire_len),
        };
        let host = expected.packet(host, &frame, &size);
        let kernel = run(&mut machine.kernel, &frame, wire_len, segments);
        assert_eq!(kernel, host, "verdict on {frame:02x?}");
        count += 1;
    }
    let counted = Expected::of(machine);
    for (key, counters) in &expected.flows {
        assert_eq!(counted.flows.get(key), Some(counters), "{key:x?}");
    }
    assert_eq!(counted, expected);
    count
}

fn with_loopback(enforce: bool) -> Kernel {
    Machine::new(policy(), enforce, Link::Ethernet).kernel
}

/// How many random frames in all: fewer on a slow machine, such as an emulated one (`cargo xtask kernels`).
fn wanted() -> usize {
    std::env::var("FRAMES").map_or(200_000, |frames| frames.parse().expect("FRAMES is a number"))
}

/// Of those, as many as the flow table and the ring hold in one epoch.
const BATCH: usize = 10_000;

#[test]
fn every_built_frame_and_every_cut_of_it_is_the_same_to_both() {
    for enforce in [false, true] {
        let mut both = Both::new(enforce, Link::Ethernet);
        let all = frames::all();
        let cuts = || all.iter().flat_map(|frame| (14..=frame.len()).map(|length| frame[..length].to_vec()));
        let expected = cuts().filter(|frame| can_be_run(frame)).count();
        assert_eq!(compare(&mut both, cuts()), expected);
    }
}

#[test]
fn a_device_without_a_link_header_is_parsed_from_its_first_byte() {
    // Here the kernel takes the first 14 bytes of the IP header for an Ethernet header, and refuses nothing.
    let mut both = Both::new(true, Link::Ip);
    let all: Vec<_> = frames::all().iter().map(|frame| frame[14..].to_vec()).chain(frames::all()).collect();
    let cuts = || all.iter().flat_map(|packet| (14..=packet.len()).map(|length| packet[..length].to_vec()));
    // But bytes 12 and 13 may by chance be an EtherType; in these packets they are the source address.
    let expected = cuts().filter(|packet| can_be_run(packet)).count();
    assert_eq!(compare(&mut both, cuts()), expected);
}

#[test]
fn random_and_mutated_frames_are_the_same_to_both() {
    let mut random = random();
    let all = frames::all();
    let mut count = 0;
    for enforce in [false, true] {
        let mut both = Both::new(enforce, Link::Ethernet);
        while count < if enforce { wanted() } else { wanted() / 2 } {
            let mutated =
                (0..BATCH.min(wanted())).map(|_| frames::mutate(&all[random.usize(..all.len())], &mut random));
            count += compare(&mut both, mutated);
        }
    }
    assert!(count >= wanted());
    println!("{count} frames");
}

#[test]
fn random_destinations_get_the_class_that_the_host_finds() {
    let mut random = random();
    let mut both = Both::new(false, Link::Ethernet);
    let batch = BATCH.min(wanted() / 2);
    for _ in 0..wanted() / 2 / batch {
        let packets: Vec<_> = (0..batch).map(|_| frames::to_random_destination(&mut random)).collect();
        assert_eq!(compare(&mut both, packets.into_iter()), batch);
    }
}

#[test]
fn an_interface_that_nobody_registered_is_counted_under_no_name() {
    let mut kernel = machine::load(policy(), false);
    let frame = frames::udp_v4([198, 51, 100, 7], 53, 100);
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
    const FLOWS: u32 = 5000;
    let options = Options { flows: PLACES, enforce: true, log_level: 0 };
    let mut kernel = Kernel::load(options, policy()).unwrap();
    kernel.register(&Interface { name: "lo".into(), index: LOOPBACK, link: Link::Ethernet }).unwrap();
    // Twice, so that the halves are known to be cleared.
    for _ in 0..4 {
        let mut by_verdict = BTreeMap::<u8, Counters>::new();
        for i in 0..FLOWS {
            // Inside and outside in turn; the source port tells the flows apart.
            let to = if i % 2 == 0 { [198, 51, 100, 7] } else { [203, 0, 113, 7] };
            let mut frame = frames::udp_v4(to, 9, 20);
            frame[34..36].copy_from_slice(&(i as u16).to_be_bytes());
            let length = frame.len() as u64;
            let verdict = run(&mut kernel, &frame, length as u32, 1);
            assert_eq!(verdict, if i % 2 == 0 { NEXT } else { DROP });
            by_verdict
                .entry(if i % 2 == 0 { Verdict::Allowed } else { Verdict::Denied } as u8)
                .or_default()
                .add(&Counters { packets: 1, segments: 1, bytes: length, wire_bytes: length });
        }
        let drained = kernel.flip().unwrap();
        assert_eq!(drained.flows.len(), PLACES as usize);
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
    let frame = frames::udp_v4([203, 0, 113, 7], 9, 20);
    let send = |kernel: &mut Kernel| run(kernel, &frame, frame.len() as u32, 1);
    assert_eq!(send(&mut kernel), NEXT);
    kernel.stage(Switch { policy: policy(), enforce: true }).unwrap();
    assert_eq!(send(&mut kernel), NEXT, "staged is not in force");
    let observed = kernel.flip().unwrap();
    assert_eq!(send(&mut kernel), DROP);
    let denied = kernel.flip().unwrap();
    let verdicts = |drained: &Drained| drained.flows.iter().map(|(key, _)| key.flow.verdict).collect::<Vec<_>>();
    assert_eq!(verdicts(&observed), [Verdict::Observed as u8]);
    assert_eq!(verdicts(&denied), [Verdict::Denied as u8]);
    assert_eq!((observed.enforce, denied.enforce), (false, true));
    assert_eq!(denied.epoch, observed.epoch + 1);
}

#[test]
fn a_policy_that_does_not_fit_changes_nothing() {
    let mut kernel = with_loopback(true);
    let mut large = policy().image.clone();
    large.rules = vec![Default::default(); 100_000];
    let large = std::sync::Arc::new(egress_monitor::policy::Policy { image: large, ..Default::default() });
    let error = kernel.stage(Switch { policy: large, enforce: false }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the new policy has 100000 rule rows, there is room for 1024: restart egress-monitor to make room"
    );
    let frame = frames::udp_v4([203, 0, 113, 7], 9, 20);
    assert_eq!(run(&mut kernel, &frame, frame.len() as u32, 1), DROP);
}

#[test]
fn rules_hold_from_their_beginning_to_their_end_by_the_kernel_clock() {
    let mut kernel = with_loopback(true);
    // See `common::policy`: 2001:db8:7::/48 is outside; port 1 has expired, 2 not begun, 3 holds.
    let to: Ipv6Addr = "2001:db8:7::1".parse().unwrap();
    let verdicts: Vec<_> = [1, 2, 3]
        .map(|port| frames::udp_v6(to, port, 8))
        .iter()
        .map(|frame| run(&mut kernel, frame, frame.len() as u32, 1))
        .collect();
    assert_eq!(verdicts, [DROP, DROP, NEXT]);
}
