//! A bypass under the cover of packets that passed the hook and are not sent: all of it is found where somebody counts
//! those, else all but as many as were under way or lost at that moment, and how many these are is said.

use super::*;

#[test]
fn packets_that_the_device_drops_are_no_cover() {
    for skbs in [true, false] {
        let (mut world, mut desk) = (World::new(skbs), Desk::default());
        world.send(40, Packet::SUPER);
        desk.read(&world.read());
        world.doom(100, Packet::SMALL);
        world.bypass(100, 100);
        assert_eq!(desk.read(&world.read()).packets, 100);
        let report = desk.report();
        assert_eq!((report.device_drops, report.lost, report.hidden), (100, 0, 0));
    }
}

#[test]
fn super_packets_that_the_device_drops_uncut_are_no_cover_where_it_takes_them_whole() {
    let offloads = Offloads::default().with(SuperKind::Tcp4, Taken::Whole);
    for offloads in [Offloads::EVERYTHING, offloads] {
        let (mut world, mut desk) = (World { offloads, ..World::new(true) }, Desk::default());
        world.attach();
        world.send(40, Packet::SUPER);
        desk.read(&world.read());
        world.doom(100, Packet::SUPER);
        world.bypass(100, 100);
        assert_eq!(desk.read(&world.read()).packets, 100);
        assert_eq!((desk.report().lost, desk.report().hidden), (0, 0));
    }
}

#[test]
fn super_packets_that_are_dropped_uncut_where_they_would_be_cut_up_hide_as_many_as_is_said_and_are_told() {
    let (mut world, mut desk) = (World { offloads: Offloads::NOTHING, ..World::new(true) }, Desk::default());
    world.attach();
    world.send(40, Packet::SUPER);
    desk.read(&world.read());
    world.doom(10, Packet::SUPER);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!(desk.report().hidden, 90);
    world.bypass(100, 100);
    assert_eq!(desk.read(&world.read()).packets, 10);
    world.doom(10, Packet::SUPER);
    desk.read(&world.read());
    world.wait(15);
    desk.read(&world.read());
    assert_eq!((desk.report().lost, desk.report().hidden), (90, 0));
}

#[test]
fn what_hardware_says_it_dropped_explains_what_was_lost_and_accuses_nobody() {
    let mut world = World { comparison: Comparison::Sent, ..World::new(false) };
    world.attach();
    let mut desk = Desk::default();
    desk.read(&world.read());
    // Sent, and an error besides.
    world.send(20, Packet::SMALL);
    world.dropped += 20;
    assert_eq!(desk.read(&world.read()), Amount::default());
    world.doom(5, Packet::SMALL);
    world.lose(30, Packet::SMALL);
    desk.read(&world.read());
    assert_eq!(desk.report().hidden, 35);
    world.wait(15);
    desk.read(&world.read());
    assert_eq!((desk.report().lost, desk.report().device_drops, desk.report().hidden), (10, 25, 0));
}

#[test]
fn losses_below_the_root_that_it_is_not_told_of_are_no_cover() {
    let below = |drops| vec![Discipline { parent: 0x1, handle: 0x2_0000, kind: "netem".into(), drops }];
    let mut world = World { qdisc: "htb netem", below: below(3), ..World::new(false) };
    world.attach();
    let mut desk = Desk::default();
    desk.read(&world.read());
    world.lose(50, Packet::SMALL);
    world.below = below(53);
    world.bypass(50, 100);
    assert_eq!(desk.read(&world.read()).packets, 50);
    // What both say they dropped was dropped once.
    world.pass(Packet::SMALL);
    world.drop_queued();
    world.below = below(54);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!((desk.report().qdisc_drops, desk.report().hidden, desk.report().lost), (51, 0, 0));
}

#[test]
fn packets_that_pass_twice_by_an_ifb_device_count_once() {
    let filters = |packets| vec![FilterAction { id: ("mirred".into(), 1), packets }];
    let (mut world, mut desk) = (World { filters: filters(u32::MAX - 2), ..World::new(true) }, Desk::default());
    world.attach();
    desk.read(&world.read());
    for packets in [7, 17] {
        world.lose(10, Packet::SMALL);
        world.send(10, Packet::SMALL);
        world.filters = filters(packets);
        world.bypass(10, 100);
        assert_eq!(desk.read(&world.read()).packets, 10);
        assert_eq!(desk.report().hidden, 0);
    }
    assert_eq!((desk.report().filtered, desk.report().lost), (20, 0));
}

#[test]
fn super_packets_that_filters_take_accuse_nobody() {
    let filters = |packets| vec![FilterAction { id: ("mirred".into(), 1), packets }];
    let (mut world, mut desk) = (World { filters: filters(0), ..World::new(true) }, Desk::default());
    world.attach();
    world.send(40, Packet::SUPER);
    desk.read(&world.read());
    assert_eq!(desk.report().unit, CountingUnit::Skbs);
    for round in 1..=5 {
        // An action counts segments.
        world.lose(20, Packet::SUPER);
        world.filters = filters(round * 200);
        world.send(20, Packet::SUPER);
        assert_eq!(desk.read(&world.read()), Amount::default());
    }
}

#[test]
fn a_program_behind_the_hook_that_drops_hides_as_many_as_is_said_and_is_told() {
    let (mut world, mut desk) = (World::new(true), Desk::default());
    desk.read(&world.read());
    world.lose(50, Packet::SMALL);
    assert_eq!(desk.read(&world.read()), Amount::default());
    assert_eq!((desk.report().hidden, desk.report().lost), (50, 0));
    world.bypass(80, 100);
    assert_eq!(desk.read(&world.read()).packets, 30);
    assert_eq!(desk.0.losses().count(), 0);
    world.lose(50, Packet::SMALL);
    desk.read(&world.read());
    world.wait(15);
    desk.read(&world.read());
    assert_eq!((desk.report().hidden, desk.report().lost), (0, 50));
    let told: Vec<String> = desk.0.losses().map(|(name, text)| format!("{name} | {text}")).collect();
    assert!(told[0].starts_with("eth0 | eth0: 50 packets passed the hook"), "{told:?}");
    // A minute without any more.
    world.wait(59);
    desk.read(&world.read());
    assert_eq!(desk.0.losses().count(), 1);
    world.wait(1);
    desk.read(&world.read());
    assert_eq!(desk.0.losses().count(), 0);
}

#[test]
fn a_device_that_counts_frames_past_its_own_hook_is_not_compared() {
    let mut world = World { comparison: Comparison::None("a reason"), ..World::new(false) };
    world.attach();
    let mut desk = Desk::default();
    for _ in 0..3 {
        world.send(10, Packet::SMALL);
        world.lose(1, Packet::SMALL);
        world.bypass(5, 100);
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.wait(15);
    }
    let report = desk.report();
    assert_eq!((report.not_comparable, report.sent.packets), (Some("a reason"), 45));
    assert_eq!((report.hidden, report.lost, report.unaccounted), (0, 0, Amount::default()));
}
