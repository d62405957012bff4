//! What passed the hook and is not sent: it waits, was dropped, is late or is lost.

use super::*;

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
    assert_eq!((desk.report().waiting, desk.report().qdisc_drops), (50, 30));
    // The queue's length is known, so even now a bypass is.
    world.bypass(4, 100);
    assert_eq!(desk.read(&world.read()).packets, 4);
    while !world.queue.is_empty() {
        world.dequeue();
        world.complete();
    }
    assert_eq!(desk.read(&world.read()), Amount::default());
    let standing = desk.report();
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
    assert_eq!(desk.report().unit, CountingUnit::Skbs);
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
    assert_eq!(desk.report().lost, 10);
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
    assert_eq!(desk.report().lost, 0);
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
fn drops_of_another_queue_or_over_the_end_of_the_counter_are_told_apart() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    world.drops = u32::MAX - 1;
    world.attach();
    for _ in 0..5 {
        world.pass(Packet::SMALL);
        world.drop_queued();
    }
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.report().qdisc_drops, 5);
    world.qdisc = "fq";
    world.drops = 70;
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.pass(Packet::SMALL);
    world.drop_queued();
    world.bypass(1, 100);
    assert_eq!(desk.read(&world.read()).packets, 1);
    assert_eq!(desk.report().qdisc_drops, 6);
}
