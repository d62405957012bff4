//! Interfaces that come and go, and counters that begin anew.

use super::*;

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
        assert_eq!(desk.report().lost, 0);
    }
}

#[test]
fn what_was_sent_while_attaching_is_said_to_have_been() {
    let mut world = World::new(false);
    world.base.before = amount(900, 95_000);
    let mut desk = Desk::default();
    desk.read(&world.read());
    let standing = desk.report();
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
fn an_interface_that_goes_away_is_said_to_be_gone_and_nothing_else() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    world.send(10, Packet::SMALL);
    desk.read(&world.read());
    world.pass(Packet::SMALL);
    world.gone = true;
    assert_eq!(desk.read(&world.read()), Amount::default());
    let standing = desk.report();
    assert_eq!((standing.here, standing.sent), (false, amount(10, 1_000)));
    // The index is used again, for a device that the hook does not see.
    world.gone = false;
    world.queue.clear();
    world.sent = amount(0, 0);
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.bypass(30, 100);
    assert_eq!(desk.read(&world.read()).packets, 29, "the one that was under way is still waited for");
}
