use std::collections::VecDeque;

use monitor_common::wire::{Counters, HookSums};

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A packet handed to the hook.
#[derive(Clone, Copy, Debug)]
struct Packet {
    segments: u64,
    bytes: u64,
}

impl Packet {
    const SMALL: Self = Self { segments: 1, bytes: 100 };
    /// TCP: ten segments of a kilobyte.
    const SUPER: Self = Self { segments: 10, bytes: 66 + 10_000 };

    fn counters(self) -> Counters {
        let wire_bytes = self.bytes + (self.segments - 1) * 66;
        Counters { packets: 1, segments: self.segments, bytes: self.bytes, wire_bytes }
    }
}

/// A host with hook, queue, driver and device, and what truly happened.
#[derive(Debug, Default)]
struct World {
    now: u64,
    hook: HookSums,
    closed: HookSums,
    queue: VecDeque<Packet>,
    ring: VecDeque<Packet>,
    drops: u32,
    sent: Amount,
    /// Whether the device counts skbs.
    skbs: bool,
    hardware: bool,
    holds: u64,
    qdisc: &'static str,
    offloads: Offloads,
    base: Base,
    /// What left without passing.
    beside: u64,
    gone: bool,
}

impl World {
    fn new(skbs: bool) -> Self {
        let mut world = Self { skbs, qdisc: "noqueue", offloads: Offloads::Everything, ..Self::default() };
        world.now = SECOND;
        world.sent = Amount { packets: 1_000, bytes: 100_000 };
        world.attach();
        world
    }

    fn attach(&mut self) {
        let after = self.device();
        self.base = Base { before: self.sent, after, queue: self.queue(), hook: self.hook };
    }

    fn device(&self) -> Device {
        let qdisc = self.qdisc.to_owned();
        let (hardware, holds, offloads) = (self.hardware, self.holds, self.offloads);
        Device { sent: self.sent, hardware, holds, offloads, qdisc }
    }

    fn queue(&self) -> Queue {
        Queue { id: (1, self.qdisc.into()), drops: self.drops, waiting: self.queue.len() as u32 }
    }

    /// Through the hook, into the queue.
    fn pass(&mut self, packet: Packet) {
        self.hook.total.add(&packet.counters());
        self.queue.push_back(packet);
    }

    /// Through the hook, which drops it.
    fn deny(&mut self, packet: Packet) {
        self.hook.total.add(&packet.counters());
        self.hook.dropped.add(&packet.counters());
    }

    /// From the queue into the driver.
    fn dequeue(&mut self) {
        self.ring.extend(self.queue.pop_front());
    }

    fn drop_queued(&mut self) {
        if self.queue.pop_back().is_some() {
            self.drops = self.drops.wrapping_add(1);
        }
    }

    /// The driver is done with one.
    fn complete(&mut self) {
        if let Some(packet) = self.ring.pop_front() {
            let counters = packet.counters();
            let skbs = (counters.packets, counters.bytes);
            let (packets, bytes) = if self.skbs { skbs } else { (counters.segments, counters.wire_bytes) };
            self.sent.packets += packets;
            self.sent.bytes += bytes;
        }
    }

    fn send(&mut self, count: usize, packet: Packet) {
        for _ in 0..count {
            self.pass(packet);
            self.dequeue();
            self.complete();
        }
    }

    fn bypass(&mut self, count: u64, bytes: u64) {
        self.sent.packets += count;
        self.sent.bytes += count * bytes;
        self.beside += count;
    }

    /// A reading with something going on between its steps.
    fn read_while(&mut self, mut go_on: impl FnMut(&mut Self)) -> Reading {
        self.closed = self.hook;
        let at = self.now;
        go_on(self);
        let queue = self.queue();
        go_on(self);
        let device = (!self.gone).then(|| self.device());
        go_on(self);
        let queue_after = self.queue();
        go_on(self);
        Reading {
            interface: "eth0".into(),
            ifindex: 7,
            base: self.base.clone(),
            at,
            closed: self.closed,
            queue,
            device,
            queue_after,
            open: self.hook,
            presence: Presence::Attached { ahead: 0 },
        }
    }

    fn read(&mut self) -> Reading {
        self.read_while(|_| {})
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }
}

/// A reconciler beside the world.
#[derive(Default)]
struct Desk(Reconciler);

impl Desk {
    fn read(&mut self, reading: &Reading) -> Amount {
        self.0.read(std::slice::from_ref(reading)).first().map(|surplus| surplus.found).unwrap_or_default()
    }

    fn standing(&self) -> Standing {
        self.0.standings().pop().expect("an interface")
    }
}

fn amount(packets: u64, bytes: u64) -> Amount {
    Amount { packets, bytes }
}

#[test]
fn a_bypass_is_found_in_its_epoch_to_the_packet_and_byte_and_not_again() {
    for skbs in [false, true] {
        let (mut world, mut desk) = (World::new(skbs), Desk::default());
        world.send(50, Packet::SMALL);
        world.deny(Packet::SMALL);
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.send(3, Packet::SMALL);
        world.bypass(7, 300);
        assert_eq!(desk.read(&world.read()), amount(7, 2_100));
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.bypass(1, 60);
        assert_eq!(desk.read(&world.read()), amount(1, 60));
        let standing = desk.standing();
        assert_eq!((standing.unaccounted, standing.lost), (amount(8, 2_160), 0));
        assert_eq!(standing.before_attach, amount(1_000, 100_000));
        assert_eq!((standing.sent, standing.dropped), (amount(61, 53 * 100 + 2_160), amount(1, 100)));
    }
}

#[test]
fn a_device_that_counts_skbs_is_known_by_its_super_packets_and_a_bypass_among_them_is_found() {
    let (mut world, mut desk) = (World::new(true), Desk::default());
    world.send(40, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.standing().kind, Kind::Skbs);
    world.send(40, Packet::SUPER);
    world.bypass(5, 700);
    assert_eq!(desk.read(&world.read()), amount(5, 3_500));
    assert_eq!(desk.standing().kind, Kind::Skbs);
}

#[test]
fn a_device_that_counts_segments_is_known_and_a_bypass_among_super_packets_is_found() {
    for offloads in [Offloads::Everything, Offloads::Some, Offloads::Nothing] {
        let (mut world, mut desk) = (World { offloads, ..World::new(false) }, Desk::default());
        world.attach();
        world.send(40, Packet::SUPER);
        assert_eq!(desk.read(&world.read()), Amount::default());
        assert_eq!(desk.standing().kind, Kind::Segments);
        world.send(40, Packet::SUPER);
        world.bypass(5, 700);
        assert_eq!(desk.read(&world.read()), amount(5, 3_500));
    }
}

#[test]
fn a_bypass_before_the_way_of_counting_is_known_is_found_with_its_bytes_once_it_is() {
    let (mut world, mut desk) = (World::new(true), Desk::default());
    world.bypass(2, 500);
    assert_eq!(desk.read(&world.read()), amount(2, 1_000));
    // Among super-packets it could be segments; it fits neither way, so nothing is accused.
    world.send(4, Packet::SUPER);
    world.bypass(3, 500);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_ne!(desk.standing().kind, Kind::Skbs);
}

#[test]
fn a_switch_of_offloads_is_no_breach_in_either_direction() {
    let (mut world, mut desk) = (World::new(true), Desk::default());
    for round in 0..6 {
        world.skbs = round % 2 == 0;
        world.offloads = if world.skbs { Offloads::Everything } else { Offloads::Nothing };
        for _ in 0..3 {
            world.send(40, Packet::SUPER);
            assert_eq!(desk.read(&world.read()), Amount::default());
        }
        let expected = if world.skbs { Kind::Skbs } else { Kind::Segments };
        assert_eq!(desk.standing().kind, expected, "round {round}");
        world.bypass(9, 100);
        assert_eq!(desk.read(&world.read()), amount(9, 900), "round {round}");
    }
}

#[test]
fn a_device_that_takes_some_super_packets_whole_and_not_others_is_not_accused() {
    let (mut world, mut desk) = (World { offloads: Offloads::Some, ..World::new(true) }, Desk::default());
    world.attach();
    world.send(40, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.standing().kind, Kind::Skbs);
    for _ in 0..5 {
        world.send(30, Packet::SUPER);
        world.skbs = false;
        world.send(3, Packet::SUPER);
        world.skbs = true;
        assert_eq!(desk.read(&world.read()), Amount::default());
    }
    assert_ne!(desk.standing().kind, Kind::Skbs);
}

#[test]
fn a_device_whose_losses_make_its_packets_fit_skbs_by_chance_is_not_believed_to_count_them() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    world.send(1, Packet::SUPER);
    for _ in 0..9 {
        world.pass(Packet::SMALL);
    }
    world.queue.clear();
    assert_eq!(world.hook.total.packets, world.sent.packets - 1_000);
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.send(40, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.standing().kind, Kind::Segments);
}

#[test]
fn a_busy_device_is_known_by_the_mass_of_its_super_packets() {
    for skbs in [false, true] {
        let (mut world, mut desk) = (World::new(skbs), Desk::default());
        for _ in 0..80 {
            world.send(100, Packet::SUPER);
            let reading = world.read_while(|world| {
                world.complete();
                for _ in 0..5 {
                    world.pass(Packet::SUPER);
                    world.dequeue();
                }
            });
            assert_eq!(desk.read(&reading), Amount::default());
            while !world.ring.is_empty() {
                world.complete();
            }
        }
        assert_eq!(desk.standing().kind, if skbs { Kind::Skbs } else { Kind::Segments });
    }
}

#[test]
fn a_queue_that_drops_and_holds_balances_and_hides_nothing_once_it_is_empty() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    for _ in 0..100 {
        world.pass(Packet::SMALL);
    }
    for _ in 0..30 {
        world.drop_queued();
    }
    for _ in 0..20 {
        world.dequeue();
        world.complete();
    }
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!((desk.standing().waiting, desk.standing().qdisc_drops), (50, 30));
    // The queue's length is known, so even now a bypass is.
    world.bypass(4, 100);
    assert_eq!(desk.read(&world.read()).packets, 4);
    while !world.queue.is_empty() {
        world.dequeue();
        world.complete();
    }
    assert_eq!(desk.read(&world.read()), Amount::default());
    let standing = desk.standing();
    assert_eq!((standing.waiting, standing.lost, standing.unaccounted.packets), (0, 0, 4));
    world.bypass(2, 100);
    assert_eq!(desk.read(&world.read()), amount(2, 200));
}

#[test]
fn what_is_still_in_the_driver_hides_a_bypass_only_until_it_is_sent() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    for _ in 0..10 {
        world.pass(Packet::SMALL);
        world.dequeue();
    }
    world.bypass(6, 100);
    assert_eq!(desk.read(&world.read()), Amount::default());
    for _ in 0..10 {
        world.complete();
    }
    assert_eq!(desk.read(&world.read()), amount(6, 600));
}

#[test]
fn as_many_on_their_way_as_went_past_the_hook_make_no_bytes_of_a_bypass() {
    let (mut world, mut desk) = (World::new(true), Desk::default());
    world.send(40, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.standing().kind, Kind::Skbs);
    // Packets balance by chance, bytes don't.
    world.pass(Packet::SUPER);
    world.dequeue();
    world.bypass(1, 60);
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.complete();
    assert_eq!(desk.read(&world.read()), amount(1, 60));
}

#[test]
fn a_loss_that_nobody_counts_hides_a_later_bypass_for_fifteen_seconds_at_most() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    desk.read(&world.read());
    for _ in 0..10 {
        world.pass(Packet::SMALL);
    }
    world.queue.clear();
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.wait(15);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.standing().lost, 10);
    world.bypass(3, 100);
    assert_eq!(desk.read(&world.read()), amount(3, 300));
}

#[test]
fn a_device_that_counts_late_is_not_accused_when_it_does() {
    // Not hardware: what that may have had on its way at the start would hide a mistake here.
    let (mut world, mut desk) = (World::new(false), Desk::default());
    for _ in 0..60 {
        for _ in 0..500 {
            world.pass(Packet::SMALL);
            world.dequeue();
        }
        // Always 500 under way: what is steady is not lost.
        assert_eq!(desk.read(&world.read()), Amount::default());
        for _ in 0..500 {
            world.complete();
        }
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.wait(1);
    }
    assert_eq!(desk.standing().lost, 0);
}

#[test]
fn a_tun_device_that_nobody_reads_for_minutes_is_not_accused_when_somebody_does() {
    let (mut world, mut desk) = (World { holds: 500, ..World::new(true) }, Desk::default());
    world.attach();
    for _ in 0..500 {
        world.pass(Packet::SMALL);
        world.dequeue();
    }
    for _ in 0..10 {
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.wait(60);
    }
    for _ in 0..500 {
        world.complete();
    }
    assert_eq!(desk.read(&world.read()), Amount::default());
}

#[test]
fn what_was_queued_before_the_hook_was_there_is_no_breach() {
    for hardware in [false, true] {
        let mut world = World { hardware, ..World::new(false) };
        let mut desk = Desk::default();
        for _ in 0..20 {
            world.pass(Packet::SUPER);
        }
        for _ in 0..5 {
            world.dequeue();
        }
        if !hardware {
            world.ring.clear();
        }
        world.hook = HookSums::default();
        world.attach();
        while !(world.queue.is_empty() && world.ring.is_empty()) {
            world.dequeue();
            world.complete();
        }
        assert_eq!(desk.read(&world.read()), Amount::default());
        // And it hides nothing for long.
        world.wait(15);
        desk.read(&world.read());
        world.wait(15);
        desk.read(&world.read());
        world.bypass(1, 100);
        assert_eq!(desk.read(&world.read()), amount(1, 100));
        assert_eq!(desk.standing().lost, 0);
    }
}

#[test]
fn what_was_sent_while_attaching_is_said_to_have_been() {
    let mut world = World::new(false);
    world.base.before = amount(900, 95_000);
    let mut desk = Desk::default();
    desk.read(&world.read());
    let standing = desk.standing();
    assert_eq!((standing.before_attach, standing.while_attaching), (amount(1_000, 100_000), amount(100, 5_000)));
}

#[test]
fn counters_that_begin_anew_accuse_nobody_and_the_next_bypass_is_found() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    world.send(100, Packet::SMALL);
    desk.read(&world.read());
    for left in [1_050, 5, 0] {
        world.send(10, Packet::SMALL);
        world.sent = amount(left, left * 100);
        assert_eq!(desk.read(&world.read()), Amount::default());
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.wait(15);
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.wait(15);
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.bypass(2, 100);
        assert_eq!(desk.read(&world.read()), amount(2, 200));
    }
}

#[test]
fn drops_of_another_queue_or_over_the_end_of_the_counter_are_told_apart() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    world.drops = u32::MAX - 1;
    world.attach();
    for _ in 0..5 {
        world.pass(Packet::SMALL);
        world.drop_queued();
    }
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.standing().qdisc_drops, 5);
    world.qdisc = "fq";
    world.drops = 70;
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.pass(Packet::SMALL);
    world.drop_queued();
    world.bypass(1, 100);
    assert_eq!(desk.read(&world.read()).packets, 1);
    assert_eq!(desk.standing().qdisc_drops, 6);
}

#[test]
fn an_interface_that_goes_away_is_said_to_be_gone_and_nothing_else() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    world.send(10, Packet::SMALL);
    desk.read(&world.read());
    world.pass(Packet::SMALL);
    world.gone = true;
    assert_eq!(desk.read(&world.read()), Amount::default());
    let standing = desk.standing();
    assert_eq!((standing.here, standing.sent), (false, amount(10, 1_000)));
    // The index is used again, for a device that the hook does not see.
    world.gone = false;
    world.queue.clear();
    world.sent = amount(0, 0);
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.bypass(30, 100);
    assert_eq!(desk.read(&world.read()).packets, 29, "the one that was under way is still waited for");
}

#[test]
fn bytes_alone_are_never_a_breach() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    for _ in 0..10 {
        world.send(10, Packet::SMALL);
        // Padding, a tag, a checksum: hardware adds them.
        world.sent.bytes += 40;
        assert_eq!(desk.read(&world.read()), Amount::default());
    }
    world.bypass(1, 100);
    assert_eq!(desk.read(&world.read()), amount(1, 100));
}

/// Anything at once, thousands of times: never more is found than left beside the hook; and what is lost, delayed or
/// ambiguous does not hide what comes once the line has been quiet. Where nothing is lost or ambiguous, all is found.
#[test]
fn under_any_mix_nothing_is_accused_that_passed_and_nothing_hides_for_ever() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all_found = 0;
    for round in 0..3_000 {
        let skbs = random.bool();
        let offloads = if skbs || random.bool() { Offloads::Everything } else { Offloads::Some };
        let mut world = World { offloads, hardware: random.u8(0..4) == 0, ..World::new(skbs) };
        world.qdisc = ["fq", "noqueue", "htb"][random.usize(0..3)];
        let (supers, lossy, beside) = (random.bool(), random.bool(), random.bool());
        let act = |world: &mut World, random: &mut fastrand::Rng| match random.u8(0..14) {
            0..=3 => world.pass(if supers && random.bool() { Packet::SUPER } else { Packet::SMALL }),
            4 => world.deny(Packet::SUPER),
            5 => world.drop_queued(),
            6 if lossy => drop(world.queue.pop_front()),
            7 if lossy => drop(world.ring.pop_back()),
            8 if beside => world.bypass(random.u64(1..4), 600),
            6..=10 => world.dequeue(),
            _ => world.complete(),
        };
        if lossy {
            for _ in 0..random.usize(0..50) {
                act(&mut world, &mut random);
            }
            // What only hardware may still have to report passed no hook of ours.
            if !world.hardware {
                world.ring.clear();
            }
        }
        world.hook = HookSums::default();
        world.beside = 0;
        world.attach();
        let mut desk = Desk::default();
        let (mut found, mut flushed) = (0, world.now);
        for _ in 0..random.usize(1..30) {
            for _ in 0..random.usize(0..60) {
                act(&mut world, &mut random);
            }
            found += desk.read(&world.read_while(|world| act(world, &mut random))).packets;
            assert!(found <= world.beside, "{found} of {}, round {round}", world.beside);
            world.now += random.u64(0..20) * SECOND / 4;
            // A driver may be slow, but not slower than the kernel lets it.
            if world.now - flushed > 5 * SECOND {
                flushed = world.now;
                while !world.ring.is_empty() {
                    world.complete();
                }
            }
        }
        while !(world.queue.is_empty() && world.ring.is_empty()) {
            world.dequeue();
            world.complete();
        }
        for _ in 0..4 {
            found += desk.read(&world.read()).packets;
            world.wait(15);
        }
        assert!(found <= world.beside, "round {round}");
        if !(lossy || supers || world.hardware) {
            assert_eq!((found, desk.standing().lost), (world.beside, 0), "round {round}");
            all_found += found;
        }
        world.bypass(3, 600);
        assert_eq!(desk.read(&world.read()).packets, 3, "{:?}, round {round}", desk.standing());
    }
    assert!(all_found > 1_000, "the test has tested little: {all_found}");
}
