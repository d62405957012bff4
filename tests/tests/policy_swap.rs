//! Promise: a policy is exchanged for another one that disagrees on everything while both CPUs send, again and again,
//! and one of 500,000 networks again and again; no packet is lost, and none sees something of both: each is evaluated,
//! counted, and dropped or not, wholly as the policy of its epoch says.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use egress_monitor_tests::{
    corpus::build::{eth, ip, payload, udp},
    flood::Sender,
    monitor::{
        Snapshot,
        kernel::{Mode, Switch},
        policy::Policy,
        policy_of,
    },
    netns::Count,
    stage::{INTERFACE, PATIENCE, Stage},
};
use monitor_common::{
    verdict::Verdict,
    wire::{Class, Counters},
};

use crate::support::{
    attached::{attach, hook},
    random,
};

/// Networks in each policy.
#[derive(Clone, Copy)]
struct Size {
    /// Single IPv4 addresses: every second one from the beginning of 198.18.0.0/15 on.
    v4: u32,
    /// Every second /64 from the beginning of 2001:db8::/32 on.
    v6: u32,
}

/// The port that everything goes to: no tunnel's.
const PORT: u16 = 20_000;

/// Which addresses a policy has a rule for: the even ones or the odd ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Even,
    Odd,
}

impl Side {
    const fn bit(self) -> u32 {
        self as u32
    }

    /// Number of the rule that lets traffic through: another one in either policy.
    const fn rule(self) -> u16 {
        1 + self as u16
    }
}

const fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc612_0000 + number)
}

/// The network of that number.
const fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | ((number as u128) << 64))
}

/// The policy from the operator's files: everything is outside, and denied but for the networks of one list.
fn policy(stage: &Stage, side: Side, size: Size) -> Arc<Policy> {
    let list = stage.folder().join(format!("{side:?}.txt"));
    let mut networks = String::new();
    for number in 0..size.v4 {
        let _ = writeln!(networks, "{}/32", v4(2 * number + side.bit()));
    }
    for number in 0..size.v6 {
        let _ = writeln!(networks, "{}/64", v6(2 * number + side.bit()));
    }
    std::fs::write(&list, networks).unwrap();
    // One rule more before the list, so that its number is another one.
    let more = match side {
        Side::Even => "",
        Side::Odd => "[[allow]]\nid = \"nowhere\"\nto = [\"192.0.2.0/24\"]\nreason = \"a test\"\n",
    };
    let text = format!(
        "[zone]\nname = \"test\"\ninside = \"EEA\"\n[policy]\nallowlists = [\"{}\"]\n{more}[[site]]\nname = \
         \"singapore\"\ncountry = \"SG\"\nnetworks = [\"198.18.0.0/15\", \"2001:db8::/32\"]\n",
        list.display()
    );
    let began = Instant::now();
    let policy = policy_of(&text).unwrap();
    println!("{side:?}: {} networks read and compiled in {:.2?}", size.v4 + size.v6, began.elapsed());
    assert!(policy.rules[usize::from(side.rule()) - 1].id.starts_with(&format!("{side:?}")));
    Arc::new(policy)
}

/// Whether the address is an even or an odd one, as the lists count.
fn side_of(destination: IpAddr) -> Side {
    let bit = match destination {
        IpAddr::V4(address) => address.to_bits() & 1,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u32 & 1,
    };
    if bit == 0 { Side::Even } else { Side::Odd }
}

/// Holds every flow of an epoch against what its policy says, and adds it to what was allowed and denied.
fn wholly(side: Side, drained: &Snapshot, sums: &mut BTreeMap<u8, Counters>) {
    hook(drained);
    for (key, value) in &drained.flows {
        let key = &key.flow;
        let destination = key.destination;
        let destination: IpAddr = match key.ip_version {
            4 => Ipv4Addr::from_bits(destination.low as u32).into(),
            _ => Ipv6Addr::from_bits(u128::from(destination.high) << 64 | u128::from(destination.low)).into(),
        };
        let expected = if side_of(destination) == side {
            (Verdict::Allowed as u8, side.rule())
        } else {
            (Verdict::Denied as u8, 0)
        };
        assert_eq!((key.verdict, key.rule), expected, "{destination} under {side:?}, epoch {}", drained.epoch);
        assert_eq!(drained.policy.classes[usize::from(key.class_id)].class, Class::Outside);
        sums.entry(key.verdict).or_default().add(&value.counters);
    }
    for interface in &drained.interfaces {
        assert!(interface.overflow.is_empty() && interface.unparsed.is_empty(), "{interface:?}");
    }
}

/// Both CPUs send to all of it without end, while the two policies take turns; every epoch is held against its policy,
/// and the sum of all against what left.
fn take_turns(size: Size, switches: usize, flows: u32, frames: usize, between: u64) {
    let stage = Stage::build(false).unwrap();
    let sides = [Side::Even, Side::Odd];
    let policies = sides.map(|side| policy(&stage, side, size));
    let mut kernel = attach(&stage, flows, true, Arc::clone(&policies[0]));
    let before = stage.sent().unwrap();
    let mut random = random();
    let mut frames = || -> Vec<Vec<u8>> {
        let mut one = || {
            let to: IpAddr = if random.bool() {
                v4(random.u32(..2 * size.v4)).into()
            } else {
                Ipv6Addr::from_bits(v6(random.u32(..2 * size.v6)).to_bits() | u128::from(random.u64(..))).into()
            };
            (eth() / ip(to) / udp(PORT) / payload(random.usize(..40))).bytes()
        };
        (0..frames).map(|_| one()).collect()
    };
    let senders = [0, 1].map(|cpu| Sender::start(&stage.near, INTERFACE, cpu, frames()).unwrap());
    let offered = || senders.iter().map(Sender::offered).sum::<u64>();
    let mut sums = BTreeMap::new();
    let (mut force, mut switching) = (0, Vec::new());
    for _ in 0..switches {
        // Some packets under the one in force, so that every epoch has some.
        let (already, deadline) = (offered(), Instant::now() + PATIENCE);
        while offered() < already + between {
            assert!(Instant::now() < deadline, "the senders stand still");
            std::thread::yield_now();
        }
        // Written while packets go by the other one.
        let began = Instant::now();
        kernel.stage(Switch { policy: Arc::clone(&policies[1 - force]), mode: Mode::Enforce }).unwrap();
        let drained = kernel.flip().unwrap();
        kernel.verify().unwrap();
        switching.push(began.elapsed());
        assert!(Arc::ptr_eq(&drained.policy, &policies[force]));
        assert!(!drained.flows.is_empty());
        wholly(sides[force], &drained, &mut sums);
        force = 1 - force;
    }
    let ended = senders.map(|sender| sender.stop().unwrap());
    wholly(sides[force], &kernel.flip().unwrap(), &mut sums);

    // What the policies let through is what left, to the byte, and what was offered is that and what they denied.
    let [allowed, denied] = [Verdict::Allowed, Verdict::Denied].map(|verdict| {
        let sums = sums.remove(&(verdict as u8)).unwrap_or_default();
        Count { packets: sums.packets, bytes: sums.bytes }
    });
    assert_eq!(stage.sent().unwrap().since(before), allowed);
    assert_eq!(ended.iter().map(|ended| ended.frames.sent).sum::<u64>(), allowed.packets);
    assert_eq!(ended.iter().map(|ended| ended.frames.refused).sum::<u64>(), denied.packets);
    assert_eq!(ended.iter().fold(Count::default(), |sum, ended| sum.plus(ended.offered)), allowed.plus(denied));
    assert!(allowed.packets > 0 && denied.packets > 0);
    switching.sort_unstable();
    let (median, longest) = (switching[switching.len() / 2], switching[switching.len() - 1]);
    println!(
        "{allowed:?} allowed, {denied:?} denied; {switches} times written, checked, switched and drained: median \
         {median:.1?}, longest {longest:.1?}"
    );
}

#[test]
fn no_packet_sees_something_of_two_policies_of_500_000_networks() {
    take_turns(Size { v4: 65_536, v6: 500_000 - 65_536 }, 12, 262_144, 60_000, 20_000);
}

/// The policies disagree on every packet that is sent: one that saw something of both would be under a rule or verdict
/// that its epoch's policy does not give it.
#[test]
fn switches_under_traffic_of_both_cpus_lose_no_packet_and_mix_none() {
    // A thousand in `cargo xtask prove scale`.
    let switches = std::env::var("SWITCHES").map_or(200, |switches| switches.parse().expect("SWITCHES is a number"));
    take_turns(Size { v4: 500, v6: 500 }, switches, 32_768, 2_000, 100);
}
