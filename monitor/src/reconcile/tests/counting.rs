//! What a device counts as a packet, skbs or segments, and how that is known.

use super::*;

#[test]
fn a_device_that_counts_skbs_is_known_by_its_super_packets_and_a_bypass_among_them_is_found() {
    let (mut world, mut desk) = (World::new(true), Desk::default());
    world.send(40, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.report().unit, CountingUnit::Skbs);
    world.send(40, Packet::SUPER);
    world.bypass(5, 700);
    assert_eq!(desk.read(&world.read()), amount(5, 3_500));
    assert_eq!(desk.report().unit, CountingUnit::Skbs);
}

#[test]
fn a_device_that_counts_segments_is_known_and_a_bypass_among_super_packets_is_found() {
    for offloads in [Offloads::EVERYTHING, Offloads::default().with(SuperKind::Tcp4, Taken::Whole), Offloads::NOTHING] {
        let (mut world, mut desk) = (World { offloads, ..World::new(false) }, Desk::default());
        world.attach();
        world.send(40, Packet::SUPER);
        assert_eq!(desk.read(&world.read()), Amount::default());
        assert_eq!(desk.report().unit, CountingUnit::Segments);
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
    assert_ne!(desk.report().unit, CountingUnit::Skbs);
}

#[test]
fn a_switch_of_offloads_is_no_breach_in_either_direction() {
    let (mut world, mut desk) = (World::new(true), Desk::default());
    for round in 0..6 {
        world.skbs = round % 2 == 0;
        world.offloads = if world.skbs { Offloads::EVERYTHING } else { Offloads::NOTHING };
        for _ in 0..3 {
            world.send(40, Packet::SUPER);
            assert_eq!(desk.read(&world.read()), Amount::default());
        }
        let expected = if world.skbs { CountingUnit::Skbs } else { CountingUnit::Segments };
        assert_eq!(desk.report().unit, expected, "round {round}");
        world.bypass(9, 100);
        assert_eq!(desk.read(&world.read()), amount(9, 900), "round {round}");
    }
}

/// TCP comes to the device whole, UDP is cut up, or it is not known.
fn partial(udp: Taken) -> World {
    let offloads = Offloads::default().with(SuperKind::Tcp4, Taken::Whole).with(SuperKind::Udp, udp);
    let mut world = World { offloads, ..World::new(true) };
    world.attach();
    world
}

#[test]
fn a_device_that_takes_some_super_packets_whole_and_not_others_is_not_accused_and_covers_nothing() {
    let (mut world, mut desk) = (partial(Taken::CutUp), Desk::default());
    world.send(40, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.report().unit, CountingUnit::Skbs);
    for _ in 0..5 {
        world.send(30, Packet::SUPER);
        world.send(3, Packet::SUPER_UDP);
        assert_eq!(desk.read(&world.read()), Amount::default());
        assert_eq!(desk.report().hidden, 0);
        // Super-packets that came whole are no room for others.
        world.send(30, Packet::SUPER);
        world.send(3, Packet::SUPER_UDP);
        world.bypass(7, 100);
        assert_eq!(desk.read(&world.read()), amount(7, 700));
    }
    assert_eq!((desk.report().unit, desk.report().lost), (CountingUnit::Skbs, 0));
}

#[test]
fn super_packets_of_which_nobody_knows_are_room_that_is_told_until_they_settle_and_are_not_lost() {
    let (mut world, mut desk) = (partial(Taken::Unknown), Desk::default());
    world.send(40, Packet::SUPER);
    desk.read(&world.read());
    assert_eq!(desk.report().unit, CountingUnit::Skbs);
    world.send(5, Packet::SUPER_UDP);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.report().hidden, 5 * 9);
    world.bypass(50, 100);
    assert_eq!(desk.read(&world.read()).packets, 5);
    world.send(5, Packet::SUPER_UDP);
    desk.read(&world.read());
    for _ in 0..2 {
        world.wait(15);
        assert_eq!(desk.read(&world.read()), Amount::default());
    }
    assert_eq!((desk.report().hidden, desk.report().lost), (0, 0));
    world.bypass(1, 100);
    assert_eq!(desk.read(&world.read()).packets, 1);
}

#[test]
fn what_was_learnt_of_a_device_changes_with_its_offloads_and_with_nothing_that_it_sends() {
    for qdisc in ["noqueue", "htb", "htb fq netem"] {
        let (mut world, mut desk) = (World { qdisc, ..World::new(true) }, Desk::default());
        world.attach();
        world.send(40, Packet::SUPER);
        desk.read(&world.read());
        assert_eq!(desk.report().unit, CountingUnit::Skbs);
        // As many as the super-packets have segments, as long as headers are.
        world.send(1, Packet::SUPER);
        world.bypass(9, 66);
        assert_eq!(desk.read(&world.read()), amount(9, 594), "{qdisc}");
        assert_eq!(desk.report().unit, CountingUnit::Skbs);
        world.offloads = Offloads::NOTHING;
        world.send(40, Packet::SUPER);
        assert_eq!(desk.read(&world.read()), Amount::default());
        assert_eq!(desk.report().unit, CountingUnit::Segments);
    }
}

#[test]
fn a_queue_that_may_cut_super_packets_up_accuses_nobody_whichever_it_does() {
    for qdisc in ["tbf", "htb tbf", "cake", "netem netem(corrupt)"] {
        let (mut world, mut desk) = (World { qdisc, ..World::new(true) }, Desk::default());
        world.attach();
        for round in 0..20 {
            world.offloads = if round % 3 == 0 { Offloads::NOTHING } else { Offloads::EVERYTHING };
            world.send(40, Packet::SUPER);
            // Whatever it did, it does not say so.
            world.offloads = Offloads::EVERYTHING;
            assert_eq!(desk.read(&world.read()), Amount::default(), "{qdisc}");
            world.wait(4);
        }
        assert_eq!((desk.report().unit, desk.report().lost), (CountingUnit::Skbs, 0), "{qdisc}");
    }
}

#[test]
fn where_some_super_packets_may_be_cut_up_only_what_is_short_hides_among_them_and_how_much_is_said() {
    let most = Offloads::default().with(SuperKind::Tcp4, Taken::Mostly).with(SuperKind::Udp, Taken::CutUp);
    let (mut world, mut desk) = (World { offloads: most, ..World::new(true) }, Desk::default());
    world.attach();
    world.send(40, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!((desk.report().unit, desk.report().hidden), (CountingUnit::Skbs, 360));
    // Too long for parts of super-packets.
    world.bypass(5, 700);
    assert_eq!(desk.read(&world.read()), amount(5, 3_500));
    // Not too long, but too many.
    world.bypass(400, 66);
    assert_eq!(desk.read(&world.read()).packets, 40);
    assert_eq!(desk.report().hidden, 360);
    world.wait(15);
    desk.read(&world.read());
    assert_eq!(desk.report().hidden, 0);
    world.bypass(1, 66);
    assert_eq!(desk.read(&world.read()), amount(1, 66));
    assert_eq!((desk.report().unit, desk.report().lost), (CountingUnit::Skbs, 0));
    // And one that is cut up is no surplus.
    world.send(30, Packet::SUPER);
    world.offloads = Offloads::NOTHING;
    world.send(3, Packet::SUPER);
    world.offloads = most;
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.bypass(5, 700);
    assert_eq!(desk.read(&world.read()), amount(5, 3_500));
}

#[test]
fn from_one_set_of_offloads_to_another_nobody_is_accused() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..500 {
        let (mut world, mut desk) = (World::new(true), Desk::default());
        let mut found = 0;
        for _ in 0..30 {
            let taken = |random: &mut fastrand::Rng| [Taken::Whole, Taken::CutUp][random.usize(0..2)];
            if random.u8(0..4) == 0 {
                let (tcp, udp) = (taken(&mut random), taken(&mut random));
                let some = Offloads::default().with(SuperKind::Tcp4, tcp).with(SuperKind::Udp, udp);
                world.offloads = [Offloads::EVERYTHING, Offloads::NOTHING, some][random.usize(0..3)];
            }
            let go_on = |world: &mut World| {
                world.pass([Packet::SUPER, Packet::SUPER_UDP, Packet::SMALL][random.usize(0..3)]);
                world.dequeue();
                world.complete();
            };
            found += desk.read(&world.read_while(go_on)).packets;
            assert_eq!(found, 0, "round {round}");
            world.now += SECOND;
        }
    }
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
    assert_eq!(desk.report().unit, CountingUnit::Segments);
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
        assert_eq!(desk.report().unit, if skbs { CountingUnit::Skbs } else { CountingUnit::Segments });
    }
}
