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
    for offloads in [Offloads::Everything, Offloads::Some, Offloads::Nothing] {
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
        world.offloads = if world.skbs { Offloads::Everything } else { Offloads::Nothing };
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

#[test]
fn a_device_that_takes_some_super_packets_whole_and_not_others_is_not_accused() {
    let (mut world, mut desk) = (World { offloads: Offloads::Some, ..World::new(true) }, Desk::default());
    world.attach();
    world.send(40, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.report().unit, CountingUnit::Skbs);
    for _ in 0..5 {
        world.send(30, Packet::SUPER);
        world.skbs = false;
        world.send(3, Packet::SUPER);
        world.skbs = true;
        assert_eq!(desk.read(&world.read()), Amount::default());
    }
    assert_ne!(desk.report().unit, CountingUnit::Skbs);
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
