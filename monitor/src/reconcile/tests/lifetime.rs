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

#[test]
fn the_next_device_of_a_name_or_an_index_begins_anew_and_sums_stay_under_the_name() {
    let mut reconciler = Reconciler::default();
    let of = |world: &mut World, name: &str, attached, last| Reading {
        interface: name.into(),
        attached,
        last,
        ..world.read()
    };
    let sums = |reconciler: &Reconciler| {
        let of = |one: InterfaceAccount| (one.interface, one.here, one.sent.packets, one.unaccounted.packets);
        reconciler.accounts().into_iter().map(of).collect::<Vec<_>>()
    };
    let mut first = World::new(false);
    reconciler.read(&[of(&mut first, "eth0", 1, false)]);
    first.send(10, Packet::SMALL);
    first.bypass(3, 100);
    // Renamed meanwhile, with its counts.
    assert_eq!(reconciler.read(&[of(&mut first, "wan0", 1, false)])[0].interface, "wan0");
    assert_eq!(sums(&reconciler), [("wan0".into(), true, 13, 3)]);
    reconciler.read(&[of(&mut first, "wan0", 1, true)]);
    assert_eq!(sums(&reconciler), [("wan0".into(), false, 13, 3)]);
    // Another one with the index: what the first had is not held against it.
    let mut second = World::new(false);
    second.sent = amount(0, 0);
    second.hook = HookSums::default();
    second.attach();
    second.send(5, Packet::SMALL);
    assert_eq!(reconciler.read(&[of(&mut second, "lan0", 2, false)]), []);
    assert_eq!(sums(&reconciler), [("lan0".into(), true, 5, 0), ("wan0".into(), false, 13, 3)]);
    // It gets the first one's name: the sums of a name are those of all that had it.
    reconciler.read(&[of(&mut second, "wan0", 2, false)]);
    assert_eq!(sums(&reconciler), [("wan0".into(), true, 18, 3)]);
    // And without a last reading of it, another gets the index.
    let mut third = World::new(false);
    reconciler.read(&[of(&mut third, "wan0", 3, true)]);
    assert_eq!(sums(&reconciler), [("wan0".into(), false, 18, 3)]);
}

#[test]
fn what_there_was_of_interfaces_without_number_is_summed_up() {
    let mut reconciler = Reconciler::default();
    for number in 0..MOST_PAST as i128 + 9 {
        let mut world = World::new(false);
        reconciler.read(&[Reading { interface: format!("v{number}"), attached: number, ..world.read() }]);
        world.send(2, Packet::SMALL);
        reconciler.read(&[Reading { interface: format!("v{number}"), attached: number, last: true, ..world.read() }]);
    }
    let accounts = reconciler.accounts();
    assert_eq!(accounts.len(), MOST_PAST + 1);
    assert_eq!(accounts[0].interface, "(other)");
    assert_eq!(accounts[0].sent.packets, 18);
}
